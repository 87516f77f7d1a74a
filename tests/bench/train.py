"""The training step, measured: pare's own loop (tests/tool_train_step) against PyTorch. Used by run.py.

One recipe to the letter on both sides: the same initial weights (pare writes them, PyTorch loads them), the same batches
in the same order, float32, SGD with Nesterov momentum 0.9, weight decay 5e-4 on every tensor, one learning rate, no
Dropout; BatchNormalization with PyTorch's momentum. The first losses are compared, so that both are known to compute
the same. PyTorch runs in each of its settings once; the fastest is then measured against pare, processes in
turn, 2 threads. pare's time is that of whole steps of its loop (reading the batch included), PyTorch's that of a step
on a tensor in memory.
"""
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

# Memory that malloc gives back at each free has to be mapped again in each step.
TUNED = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "8589934592",
         "MALLOC_TOP_PAD_": "268435456"}

PEER = r"""
import json, sys, time
o = json.loads(sys.argv[1])
import numpy as np, onnx, torch, torchvision
from onnx import numpy_helper
from torch import nn
torch.set_num_threads(o["threads"])
torch.backends.mkldnn.deterministic = False

def build(path, net, channels, stem, classes):
    if net == "resnet18":
        m = torchvision.models.resnet18(num_classes=classes)
        m.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False) if stem == "imagenet" else \
            nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
        if stem == "cifar":
            m.maxpool = nn.Identity()
    else:
        m = torchvision.models.mobilenet_v2(num_classes=classes, dropout=0.0)
        m.features[0][0] = nn.Conv2d(channels, 32, 3, 2 if stem == "imagenet" else 1, 1, bias=False)
    state = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in onnx.load(path).graph.initializer}
    own = m.state_dict()
    missing = [k for k in own if k not in state and "num_batches_tracked" not in k]
    assert not missing, missing
    m.load_state_dict({k: state.get(k, v) for k, v in own.items()})
    return m

net = build(o["model"], o["net"], o["channels"], o["stem"], o["classes"]).train()
last = torch.channels_last if o["channels_last"] else torch.contiguous_format
net = net.to(memory_format=last)
x = torch.from_numpy(np.load(o["x"])).to(memory_format=last)
y = torch.from_numpy(np.load(o["y"]))
teacher = None
if o.get("teacher"):
    teacher = build(o["teacher"], o["teacher_net"], o["channels"], o["stem"], o["classes"]).eval().to(memory_format=last)
    with torch.no_grad():
        teacher = torch.jit.freeze(torch.jit.trace(teacher, x[:o["batch"]]))
run = torch.compile(net) if o["compile"] else net
opt = torch.optim.SGD(net.parameters(), lr=o["lr"], momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True)
ce, T, alpha = nn.CrossEntropyLoss(), 4.0, 0.7
times, cpus, losses, n = [], [], [], len(y) // o["batch"]
for i in range(o["warmup"] + o["steps"]):
    start, cpu = time.perf_counter(), time.process_time()
    a, b = i % n * o["batch"], (i % n + 1) * o["batch"]
    opt.zero_grad(set_to_none=True)
    out = run(x[a:b])
    loss = ce(out, y[a:b])
    if teacher is not None:
        with torch.no_grad():
            t = teacher(x[a:b])
        kl = nn.functional.kl_div(nn.functional.log_softmax(out / T, 1), nn.functional.log_softmax(t / T, 1),
                                  reduction="batchmean", log_target=True)
        loss = alpha * T * T * kl + (1 - alpha) * loss
    loss.backward()
    opt.step()
    times.append(time.perf_counter() - start)
    cpus.append(time.process_time() - cpu)
    losses.append(float(loss.detach()))
peak = next(float(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM"))
mid = lambda v: float(np.median(v[o["warmup"]:])) * 1e3
print(json.dumps({"step_ms": mid(times), "cpu_ms": mid(cpus), "losses": losses, "peak_mib": peak / 1024}))
"""


def preloads():
    """Allocators for LD_PRELOAD that are installed."""
    lib = Path("/usr/lib/x86_64-linux-gnu")
    return {name: str(p) for name, pattern in (("jemalloc", "libjemalloc.so.2"), ("tcmalloc", "libtcmalloc*.so.4"))
            for p in sorted(lib.glob(pattern))[:1]}


def peer(o, setting):
    env = dict(os.environ, OMP_NUM_THREADS=str(o["threads"]), **setting["env"])
    cfg = dict(o, channels_last=setting["channels_last"], compile=setting["compile"])
    p = subprocess.run([sys.executable, "-W", "ignore", "-c", PEER, json.dumps(cfg)], capture_output=True, text=True,
                       env=env)
    if p.returncode:
        return None
    return json.loads(p.stdout.strip().splitlines()[-1])


def settings(quick):
    mallocs = {"malloc": {}, "tuned malloc": TUNED, **{n: {"LD_PRELOAD": p} for n, p in preloads().items()}}
    for last in (False, True):
        for name, env in mallocs.items():
            if not (quick and name == "malloc"):
                yield {"name": ("channels_last, " if last else "") + name, "channels_last": last, "compile": False,
                       "env": env}
        if not quick:
            yield {"name": ("channels_last, " if last else "") + "tuned malloc, torch.compile", "channels_last": last,
                   "compile": True, "env": TUNED}


def ours(build, o):
    cmd = [build / "tests/tool_train_step", "--model", o["model"], "--data", o["x"], o["y"], "--losses"]
    for key in ("batch", "steps", "warmup", "threads", "lr", "teacher"):
        if o.get(key):
            cmd += [f"--{key}", str(o[key])]
    p = subprocess.run(cmd, capture_output=True, text=True)
    if p.returncode:
        sys.exit(f"{' '.join(map(str, cmd))}: exit {p.returncode}\n{p.stderr}")
    return json.loads(p.stdout)


def zoo(build, path, net, channels, size, stem, seed):
    cmd = [build / "tests/tool_train_step", "--net", net, "--channels", str(channels), "--size", str(size), "--stem",
           stem, "--seed", str(seed), "--save", path, "--batch", "2", "--steps", "1", "--warmup", "0"]
    subprocess.run(cmd, check=True, stdout=subprocess.DEVNULL)


def measure(build, tmp, net, channels, size, stem, teacher=None, steps=20, rounds=5, quick=False):
    """Medians of both, the setting of PyTorch that was taken, and how far the first 2 losses lie apart (float32 training
    drifts by itself: PyTorch's two layouts are further apart after three)."""
    import numpy as np
    tag = f"{net}-{channels}-{size}-{stem}"
    o = {"net": net, "channels": channels, "stem": stem, "classes": 10, "batch": 128, "steps": steps, "warmup": 4,
         "threads": 2, "lr": 0.01, "model": str(tmp / f"{tag}.onnx"), "x": str(tmp / f"{tag}-x.npy"),
         "y": str(tmp / f"{tag}-y.npy")}
    rng = np.random.default_rng(0)
    np.save(o["x"], rng.standard_normal((8 * 128, channels, size, size), dtype=np.float32))
    np.save(o["y"], rng.integers(0, 10, 8 * 128))
    zoo(build, o["model"], net, channels, size, stem, 0)
    if teacher:
        o["teacher"], o["teacher_net"] = str(tmp / f"teacher-{tag}.onnx"), teacher
        zoo(build, o["teacher"], teacher, channels, size, stem, 1)
    tried = {}
    for s in settings(quick):
        r = peer(dict(o, steps=max(4, steps // 4)), s)
        if r:
            tried[s["name"]] = (r["step_ms"], s)
    best = min(tried.values(), key=lambda t: t[0])[1]
    a, b = [], []
    for _ in range(3 if quick else rounds):
        a.append(ours(build, o))
        b.append(peer(o, best))
    apart = max(abs(x - y) / abs(y) for x, y in zip(a[0]["losses"][:2], b[0]["losses"][:2]))
    mid = lambda rs, key: statistics.median(r[key] for r in rs)
    return {"ours_ms": mid(a, "step_ms"), "peer_ms": mid(b, "step_ms"), "ours_mib": mid(a, "peak_mib"),
            "peer_mib": mid(b, "peak_mib"), "setting": best["name"], "apart": apart,
            "tried": {k: round(v[0], 1) for k, v in tried.items()}}


if __name__ == "__main__":  # train.py BUILD NET CHANNELS SIZE STEM [TEACHER]
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        args = [a for a in sys.argv[1:] if not a.startswith("-")]
        print(json.dumps(measure(Path(args[0]), Path(folder), args[1], int(args[2]), int(args[3]), args[4],
                                 args[5] if len(args) > 5 else None, quick="--quick" in sys.argv), indent=1))
