#!/usr/bin/env python3
"""The bars, measured: prints one Markdown table. Ratios and medians, both sides in this one run.

usage: run.py [--quick] [ROW ...]     rows: size packed roundtrip process gzip memory plugins fuzz first peak engine vit jpeg train train-memory distill
              int8 int8-size quantize dynamic
env:   PARE_BUILD (a release build tree), PARE_ASAN (an ASan build tree, for fuzz), PARE_SOURCE
Needs onnx, onnxruntime and torch (tests/bench/requirements.txt); `./bootstrap bench` sets all of it up.
"""
import gzip
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(os.environ.get("PARE_SOURCE", Path(__file__).resolve().parents[2]))
BUILD = Path(os.environ.get("PARE_BUILD", SOURCE / "build/release"))
ASAN = Path(os.environ.get("PARE_ASAN", SOURCE / "build/asan"))
PARE = BUILD / "bin/pare"
CONFIG = SOURCE / "configs/resnet18-prune90.yaml"
QUICK = "--quick" in sys.argv
RUNS = 3 if QUICK else 7

table = []


def row(what, measured, bar, ok):
    table.append((what, measured, bar, "yes" if ok else "NO"))
    print(f"  {what}: {measured}  (bar: {bar})  {'ok' if ok else 'MISSED'}", file=sys.stderr)


def timed(cmd):
    """Seconds of a whole process; its stdout is thrown away."""
    start = time.perf_counter()
    p = subprocess.run(cmd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    seconds = time.perf_counter() - start
    if p.returncode:
        sys.exit(f"{' '.join(map(str, cmd))}: exit {p.returncode}\n{p.stderr.decode()}")
    return seconds


def peak_memory(cmd):
    """Peak resident bytes of a process. A child inherits its parent's peak until it has its own, so the parent is a small
    one."""
    script = ("import os, sys; pid = os.fork(); pid or os.execv(sys.argv[1], sys.argv[1:]); "
              "_, status, usage = os.wait4(pid, 0); print(usage.ru_maxrss * 1024, file=sys.stderr); sys.exit(status != 0)")
    p = subprocess.run([sys.executable, "-S", "-c", script, *cmd], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if p.returncode:
        sys.exit(f"{' '.join(map(str, cmd))}: failed\n{p.stderr.decode()}")
    return int(p.stderr.split()[-1])


def pare_run(out, *extra):
    return [PARE, "run", CONFIG, "--out", out, "--force", "--quiet", *extra]


def median_pair(a, b, runs=RUNS):
    """Medians of two callables that return seconds, taken in turn."""
    xs, ys = [], []
    for _ in range(runs):
        xs.append(a())
        ys.append(b())
    return statistics.median(xs), statistics.median(ys)


PEER = """
import gzip, shutil, sys, torch, torch.nn.utils.prune as prune
{imports}
torch.manual_seed(0)
{net}
for m in net.modules():
    if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear)):
        prune.l1_unstructured(m, "weight", 0.9)
        prune.remove(m, "weight")
torch.save(net.state_dict(), sys.argv[1])
with open(sys.argv[1], "rb") as f, gzip.GzipFile(sys.argv[1] + ".gz", "wb", compresslevel=6, mtime=0) as z:
    shutil.copyfileobj(f, z, 1 << 20)
"""


def peer_script():
    try:
        import torchvision  # noqa: F401
        return PEER.format(imports="import torchvision", net="net = torchvision.models.resnet18(weights=None)")
    except ImportError:
        sys.exit("torchvision is missing: pip install -r tests/bench/requirements.txt")


def bench_size(tmp):
    run = tmp / "size"
    subprocess.run(pare_run(run), check=True, stdout=subprocess.DEVNULL)
    data = (run / "model.onnx").read_bytes()
    ours = len(gzip.compress(data, 6, mtime=0))
    written = (run / "model.onnx.gz").stat().st_size
    assert gzip.decompress((run / "model.onnx.gz").read_bytes()) == data
    (tmp / "peer.py").write_text(peer_script())
    subprocess.run([sys.executable, tmp / "peer.py", tmp / "peer.pth"], check=True)
    peer = (tmp / "peer.pth.gz").stat().st_size
    row("resnet18, 1000 classes, 90 %: `gzip -6` of model.onnx",
        f"{ours / 1e6:.2f} MB by zlib, {written / 1e6:.2f} MB as written (PyTorch's file: {peer / 1e6:.2f} MB)",
        "<= 6.15 MB", max(ours, written) <= 6.15e6)


SESSION = """
import sys, time, numpy as np, onnxruntime as ort
opts = ort.SessionOptions()
opts.intra_op_num_threads = 2
x = np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)
start = time.perf_counter()
s = ort.InferenceSession(sys.argv[1], opts, providers=["CPUExecutionProvider"])
created = time.perf_counter() - start
times = []
for i in range(60):
    start = time.perf_counter()
    y = s.run(None, {s.get_inputs()[0].name: x})[0]
    times.append(time.perf_counter() - start)
np.save(sys.argv[2], y)
print(created, float(np.median(times[10:])))
"""


def session(path, out):
    """ONNX Runtime in a process of its own (two sessions' spinning threads would fight for two cores): seconds to create
    the session, median seconds of a run."""
    p = subprocess.run([sys.executable, "-c", SESSION, path, out], check=True, capture_output=True, text=True)
    return tuple(map(float, p.stdout.split()))


def bench_packed(tmp):
    import numpy as np
    run = tmp / "packed"
    subprocess.run(pare_run(run), check=True, stdout=subprocess.DEVNULL)
    plain, packed = run / "model.onnx", run / "model.packed.onnx"
    raw = packed.stat().st_size
    gz = len(gzip.compress(packed.read_bytes(), 6, mtime=0))
    row("its model.packed.onnx: raw / gzip -6",
        f"{raw / 1e6:.2f} MB ({plain.stat().st_size / raw:.2f}x) / {gz / 1e6:.2f} MB", "<= 5.95 MB / <= 4.95 MB",
        raw <= 5.95e6 and gz <= 4.95e6)
    plain_t, packed_t = [], []
    for _ in range(3 if QUICK else 15):
        plain_t.append(session(plain, tmp / "y1.npy"))
        packed_t.append(session(packed, tmp / "y2.npy"))
    a, b = (statistics.median(t[0] for t in ts) for ts in (plain_t, packed_t))
    row("ONNX Runtime session creation, packed against plain", f"{b * 1e3:.0f} / {a * 1e3:.0f} ms = {b / a:.2f}x",
        "<= 1.1x", b / a <= 1.1)
    same = np.load(tmp / "y1.npy").tobytes() == np.load(tmp / "y2.npy").tobytes()
    row("ONNX Runtime's outputs, packed against plain", "bit-identical" if same else "differ", "bit-identical", same)
    a, b = (statistics.median(t[1] for t in ts) for ts in (plain_t, packed_t))
    row("its latency, batch 1, 2 threads", f"{b * 1e3:.2f} / {a * 1e3:.2f} ms = {b / a:.3f}x", "1.0x within noise",
        b / a <= 1.05)


ORT_BENCH = """
import sys, time, numpy as np, onnxruntime as ort
opts = ort.SessionOptions()
opts.intra_op_num_threads = 2
x = np.random.default_rng(0).standard_normal((int(sys.argv[2]), 3, 224, 224), dtype=np.float32)
start = time.perf_counter()
s = ort.InferenceSession(sys.argv[1], opts, providers=["CPUExecutionProvider"])
name = s.get_inputs()[0].name
s.run(None, {name: x})
first = time.perf_counter() - start
times = []
while len(times) < 10 or sum(times) < 3:
    start = time.perf_counter()
    s.run(None, {name: x})
    times.append(time.perf_counter() - start)
print(first, float(np.median(times[3:])))
"""


def bench_engine(tmp):
    """Inference against ONNX Runtime, processes in turn, each warm, 2 threads; medians of the processes' medians."""
    bars = {("resnet18", 1): 1.0, ("resnet18", 16): 0.8, ("mobilenet_v2", 1): 1.0, ("mobilenet_v2", 16): 1.0}
    for (net, batch), bar in bars.items():
        cfg = tmp / f"{net}.yaml"
        cfg.write_text(f"version: 1\nmodels: {{net: {{zoo: {net}}}}}\nsteps: []\nreport: {{metrics: [size]}}\n"
                       "output: {dir: x, gzip: off}\n")
        out = tmp / net
        if not out.exists():
            subprocess.run([PARE, "run", cfg, "--out", out, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        ours, theirs = [], []
        for _ in range(3 if QUICK else 5):
            p = subprocess.run([PARE, "bench", out / "model.onnx", "--threads", "2", "--batch", str(batch), "--json"],
                               check=True, capture_output=True, text=True)
            ours.append(json.loads(p.stdout)["p50_ms"])
            p = subprocess.run([sys.executable, "-c", ORT_BENCH, out / "model.onnx", str(batch)], check=True,
                               capture_output=True, text=True)
            theirs.append(float(p.stdout.split()[1]) * 1e3)
        a, b = statistics.median(ours), statistics.median(theirs)
        row(f"{net} 224 fp32, batch {batch}, against ONNX Runtime", f"{a:.2f} / {b:.2f} ms = {a / b:.2f}x", f"<= {bar}x",
            a / b <= bar)


def bench_vit(tmp):
    """The ViT of tests/bench/vit.py with a symbolic batch, as resnet18 is measured."""
    model = tmp / "vit.onnx"
    subprocess.run([sys.executable, SOURCE / "tests/bench/vit.py", model, "--batch", "any"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for batch, bar in ((1, 1.1), (8, 1.1)):
        ours, theirs = [], []
        for _ in range(3 if QUICK else 5):
            p = subprocess.run([PARE, "bench", model, "--threads", "2", "--batch", str(batch), "--json"], check=True,
                               capture_output=True, text=True)
            ours.append(json.loads(p.stdout)["p50_ms"])
            p = subprocess.run([sys.executable, "-c", ORT_BENCH, model, str(batch)], check=True, capture_output=True,
                               text=True)
            theirs.append(float(p.stdout.split()[1]) * 1e3)
        a, b = statistics.median(ours), statistics.median(theirs)
        row(f"ViT encoder, hidden 384, 6 layers, 197 tokens, batch {batch}, against ONNX Runtime",
            f"{a:.2f} / {b:.2f} ms = {a / b:.2f}x", f"<= {bar}x (goal 0.9x)", a / b <= bar)


def fresh(out):
    shutil.rmtree(out, ignore_errors=True)  # a run into an empty place, as the peer's
    return out


ORT_FIRST = """
import sys, time, numpy as np, onnxruntime as ort
if len(sys.argv) == 2:  # what the interpreter and the imports alone take
    sys.exit()
opts = ort.SessionOptions()
opts.intra_op_num_threads = 2
x = np.load(sys.argv[2])
start = time.perf_counter()
s = ort.InferenceSession(sys.argv[1], opts, providers=["CPUExecutionProvider"])
s.run(None, {s.get_inputs()[0].name: x})
print(time.perf_counter() - start)
"""


def first_inputs(tmp, net, batch):
    """A zoo network's file, a batch of noise, and the commands that give the first answer."""
    import numpy as np
    model, x = tmp / f"first-{net}" / "model.onnx", tmp / f"noise{batch}.npy"
    if not model.exists():
        cfg = tmp / f"first-{net}.yaml"
        cfg.write_text(f"version: 1\nmodels: {{net: {{zoo: {net}}}}}\nsteps: []\nreport: {{metrics: [size]}}\n"
                       "output: {dir: x, gzip: off}\n")
        subprocess.run([PARE, "run", cfg, "--out", model.parent, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    np.save(x, np.random.default_rng(0).standard_normal((batch, 3, 224, 224), dtype=np.float32))
    ours = [PARE, "infer", model, "--in", x, "--out", tmp / "first-y", "--threads", "2", "--quiet"]
    return ours, [sys.executable, "-c", ORT_FIRST, model, x]


def bench_first(tmp):
    """pare's whole process (start, load, passes, packing, a run, the answer written) against the creation of ONNX
    Runtime's session and its first run alone, measured inside its process: without Python's start and imports."""
    for net, bar in (("resnet18", 1.0), ("mobilenet_v2", None)):
        pare, ort = first_inputs(tmp, net, 1)
        theirs = lambda: float(subprocess.run(ort, check=True, capture_output=True, text=True).stdout)
        timed(pare), theirs()
        a, b = median_pair(lambda: timed(pare), theirs, 5 if QUICK else 15)
        row(f"{net}, first answer: whole process against ONNX Runtime's session creation and first run",
            f"{a * 1e3:.0f} / {b * 1e3:.0f} ms = {a / b:.2f}x", f"<= {bar}x (goal 0.5x)" if bar else "(no bar)",
            not bar or a / b <= bar)


def bench_peak(tmp):
    """Peak resident memory of whole processes, one run of batch 16 each."""
    for net, bar in (("resnet18", 1.0), ("mobilenet_v2", None)):
        pare, ort = first_inputs(tmp, net, 16)
        xs, ys = [], []
        for _ in range(3 if QUICK else 5):
            xs.append(peak_memory(pare))
            ys.append(peak_memory(ort))
        a, b = statistics.median(xs), statistics.median(ys)
        base = peak_memory(ort[:3] + ["imports"])
        row(f"{net}, batch 16: peak memory against ONNX Runtime",
            f"{a / 1e6:.0f} / {b / 1e6:.0f} MB = {a / b:.2f}x ({a / (b - base):.2f}x without the {base / 1e6:.0f} MB of "
            "Python and its imports)", f"<= {bar}x (goal 0.8x)" if bar else "(no bar)", not bar or a / b <= bar)
        tuned = {"XDG_CACHE_HOME": str(tmp / "cache"), "PARE_TUNE": "on"}
        os.environ.update(tuned)
        peak_memory(pare)  # fills the cache
        c = statistics.median(peak_memory(pare) for _ in range(3))
        for name in tuned:
            del os.environ[name]
        row(f"{net}, batch 16: the same with PARE_TUNE=on and kernels chosen before", f"{c / 1e6:.0f} / {b / 1e6:.0f} MB = {c / b:.2f}x",
            "(no bar)", True)


def bench_process(tmp):
    out = tmp / "process"
    ours = lambda: timed(pare_run(fresh(out), "--set", "output.gzip=off", "--set", "report.metrics=[size]"))
    peer = lambda: timed([sys.executable, "-c", "import torch"])
    ours(), peer()
    a, b = median_pair(ours, peer)
    row("prune pipeline, whole process, no gzip, against `import torch`", f"{a * 1e3:.0f} / {b * 1e3:.0f} ms = 1/{b / a:.1f}",
        "<= 1/8 (goal 1/20)", a / b <= 1 / 8)


def bench_gzip(tmp):
    out = tmp / "gzip"
    (tmp / "peer.py").write_text(peer_script())
    ours = lambda: timed(pare_run(out, "--set", "report.metrics=[size]"))
    peer = lambda: timed([sys.executable, tmp / "peer.py", tmp / "peer.pth"])
    ours(), peer()
    a, b = median_pair(ours, peer, 3 if QUICK else 5)
    row("the same with gzip, against PyTorch pruning, saving and gzipping", f"{a:.2f} / {b:.2f} s = {a / b:.2f}x",
        "<= 0.6x (goal 0.3x)", a / b <= 0.6)


def bench_memory(tmp):
    out = tmp / "memory"
    peaks = [peak_memory(pare_run(out, "--set", "output.gzip=off", "--set", "report.metrics=[size]")) for _ in range(3)]
    size = (out / "model.onnx").stat().st_size
    peak = statistics.median(peaks)
    row("peak memory of that run", f"{peak / 1e6:.1f} MB = {peak / size:.2f}x the model's bytes", "<= 2.2x", peak / size <= 2.2)


def bench_plugins(tmp):
    times = [timed([PARE, "plugins"]) for _ in range(30 if QUICK else 100)]
    row("`pare plugins`", f"{statistics.median(times) * 1e3:.1f} ms median, {max(times) * 1e3:.1f} ms worst",
        "<= 10 ms / <= 20 ms", statistics.median(times) <= 0.010 and max(times) <= 0.020)


def bench_fuzz(tmp):
    """Real ONNX files, as they are and mutated, through `pare inspect` under ASan, UBSan and the leak checker."""
    if not (ASAN / "bin/pare").exists():
        return row("2,000 mutations under ASan", "no ASan build", "0 crashes", False)
    import onnx
    import glob
    roots = [Path(onnx.__file__).parent, *map(Path, glob.glob("/usr/lib/python3/dist-packages/onnx"))]
    seeds = sorted(p for r in roots for p in r.glob("backend/test/data/**/*.onnx"))
    seeds = seeds[::max(1, len(seeds) // 40)][:40]
    crashes = hangs = 0
    reasons = 0
    total = 100 if QUICK else 2000
    import random
    rng = random.Random(1)
    for i in range(total):
        data = bytearray(seeds[i % len(seeds)].read_bytes())
        if i >= len(seeds):
            for _ in range(rng.choice([1, 1, 2, 4, 16])):
                k = rng.random()
                at = rng.randrange(len(data)) if data else 0
                if k < 0.5 and data:
                    data[at] = rng.randrange(256)
                elif k < 0.65:
                    data[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice([1, 2, 9])))
                elif k < 0.8 and len(data) > 2:
                    del data[at:at + rng.choice([1, 3, 20])]
                elif k < 0.9 and len(data) > 2:
                    del data[at:]
                else:
                    data[at:at] = b"\xff\xff\xff\xff\x0f"
        path = tmp / "mutated.onnx"
        path.write_bytes(data)
        try:
            start = time.perf_counter()
            p = subprocess.run([ASAN / "bin/pare", "inspect", path], capture_output=True, timeout=20)
            hangs += time.perf_counter() - start > 2
        except subprocess.TimeoutExpired:
            hangs += 1
            continue
        if p.returncode not in (0, 2) or b"Sanitizer" in p.stderr or (i < len(seeds) and p.returncode):
            crashes += 1
            print(f"mutation {i}: exit {p.returncode}\n{p.stderr.decode(errors='replace')[:2000]}", file=sys.stderr)
        if p.returncode == 2 and b"error[" not in p.stderr:
            reasons += 1
    row(f"{total} mutated ONNX files through `pare inspect` under ASan",
        f"{crashes} crashes or leaks, {hangs} hangs, {reasons} refused without a reason", "0, 0, 0",
        not (crashes or hangs or reasons))


def bench_roundtrip(tmp):
    script = SOURCE / "tests/interop/test_roundtrip.py"
    env = dict(os.environ, PARE_BIN=str(PARE), PARE_BUILD=str(BUILD), PARE_SOURCE=str(SOURCE))
    p = subprocess.run([sys.executable, script], capture_output=True, text=True, env=env)
    last = p.stdout.strip().splitlines()[-1] if p.stdout.strip() else p.stderr.strip()[-200:]
    row("all models of libonnx-testdata and onnx's wheel through a copy", last, "every one the same", p.returncode == 0)


JPEG_MAKE = """
import sys, numpy as np
from pathlib import Path
from PIL import Image
root, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
for i in range(first, last):
    rng = np.random.default_rng(i)
    w, h = ((500, 375), (375, 500), (500, 500), (500, 333))[i % 4]
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    fine = rng.integers(0, 256, (h // 9, w // 9, 3), dtype=np.uint8)
    a = np.asarray(Image.fromarray(coarse).resize((w, h), Image.BICUBIC), dtype=np.float32)
    a = a + 0.25 * (np.asarray(Image.fromarray(fine).resize((w, h), Image.BICUBIC), dtype=np.float32) - 128)
    a += rng.normal(0, 7, (h, w, 1)).astype(np.float32) + np.linspace(-20, 20, w, dtype=np.float32)[None, :, None]
    folder = root / f"class{i % 10}"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(a, 0, 255).astype(np.uint8)).save(folder / f"{i:05}.jpg", quality=85)
"""

JPEG_PEER = """
import sys, time, torch
from torchvision import datasets, transforms as t
steps = t.Compose([t.Resize(256), t.CenterCrop(224), t.ToTensor(),
                   t.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
loader = torch.utils.data.DataLoader(datasets.ImageFolder(sys.argv[1], steps), batch_size=64, num_workers=2)
n, kept = 0, []
start = time.perf_counter()
for x, y in loader:
    n += len(y)
    if len(sys.argv) > 2:
        kept.append(x)
print(time.perf_counter() - start, n)
if kept:
    import numpy
    numpy.save(sys.argv[2], torch.cat(kept).numpy())
"""


def bench_jpeg(tmp):
    """An image folder of photo-like JPEGs of 500 pixels, about 45 kB each, to normalised 224x224 tensors."""
    import numpy as np
    n = 1000 if QUICK else 10000
    makers = [subprocess.Popen([sys.executable, "-c", JPEG_MAKE, tmp / "jpeg", str(a), str(b)])
              for a, b in ((0, n // 2), (n // 2, n))]
    if any([p.wait() for p in makers]):
        sys.exit("the images could not be made")
    for i in range(64):
        (tmp / "few/all").mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp / f"jpeg/class{i % 10}/{i:05}.jpg", tmp / "few/all")
    tool = BUILD / "tests/data_test_image"
    options = ["resize=256", "crop=224x224", "mean=0.485,0.456,0.406", "std=0.229,0.224,0.225", "threads=2"]

    def seconds(cmd):
        t, count = subprocess.run(cmd, check=True, capture_output=True, text=True).stdout.split()
        assert int(count) == n, f"{count} of {n} images were read"
        return float(t)

    subprocess.run([tool, "folder", tmp / "few", tmp / "few/ours", *options], check=True)
    subprocess.run([sys.executable, "-c", JPEG_PEER, tmp / "few", tmp / "few/theirs.npy"], check=True,
                   stdout=subprocess.DEVNULL)
    worst = np.abs(np.load(tmp / "few/ours.images.npy") - np.load(tmp / "few/theirs.npy")).max()
    ours = lambda: seconds([tool, "folder", tmp / "jpeg", tmp / "x", *options, "batch=64"])
    peer = lambda: seconds([sys.executable, "-c", JPEG_PEER, tmp / "jpeg"])
    ours(), peer()  # from here on the files lie in memory
    a, b = median_pair(ours, peer, 3 if QUICK else 5)
    row(f"{n} JPEGs of 500 px to 224, 2 threads, against torchvision's DataLoader with 2 workers",
        f"{n / a:.0f} / {n / b:.0f} images/s = {b / a:.2f}x; largest difference {worst:g}", ">= 1.0x (goal 1.5x)",
        a <= b and worst <= 1e-6)


TRAIN = (("resnet18", 1, 28, "imagenet", None, 0.75, 0.6), ("resnet18", 3, 32, "cifar", None, 0.75, 0.6),
         ("mobilenet_v2", 1, 28, "imagenet", None, 0.4, 0.2))
DISTILL = (("mobilenet_v2", 1, 28, "imagenet", "resnet18", 0.75, 0.5),)
train_results = {}


def train_result(tmp, case):
    """Both sides' numbers, measured once for the rows that tell of them."""
    import train
    if case not in train_results:
        net, channels, size, stem, teacher = case[:5]
        slow = stem == "cifar"
        train_results[case] = train.measure(BUILD, tmp, net, channels, size, stem, teacher, steps=5 if slow else 20,
                                            quick=QUICK)
        print(f"  {case[:5]}: {json.dumps(train_results[case])}", file=sys.stderr)
    return train_results[case]


def train_text(case):
    net, channels, size, stem, teacher = case[:5]
    what = f"{net} ({stem} stem), batch 128 of {channels}x{size}x{size}"
    return f"distillation step, teacher {teacher}, student {what}" if teacher else f"training step, {what}"


def train_rows(tmp, cases):
    for case in cases:
        r = train_result(tmp, case)
        ratio = r["ours_ms"] / r["peer_ms"]
        row(train_text(case) + ", against PyTorch", f"{r['ours_ms']:.0f} / {r['peer_ms']:.0f} ms = {ratio:.2f}x (PyTorch: "
            f"{r['setting']}; first 2 losses within {r['apart']:.0e})", f"<= {case[5]}x (goal {case[6]}x)",
            ratio <= case[5] and r["apart"] < 1e-2)


def bench_train(tmp):
    """The training step: tests/bench/train.py says what is the same on both sides."""
    train_rows(tmp, TRAIN)


def bench_distill(tmp):
    """The same with a teacher: its inference in float32, and a loss of its softened logits and the labels."""
    train_rows(tmp, DISTILL)


def bench_train_memory(tmp):
    """Peak resident memory of the processes of both rows."""
    for case in TRAIN + DISTILL:
        r = train_result(tmp, case)
        ratio = r["ours_mib"] / r["peer_mib"]
        row(train_text(case) + ": peak memory", f"{r['ours_mib']:.0f} / {r['peer_mib']:.0f} MiB = {ratio:.2f}x",
            "<= 0.8x (goal 0.5x)", ratio <= 0.8)


def bench_int8(tmp):
    """int8 files in both engines, and against pare's own float32."""
    import quantize as q
    for net, bars in (("resnet18", {1: (0.8, 0.7, 3.3), 16: (0.9, 0.8, 3.0)}),
                      ("mobilenet_v2", {1: (1.0, 0.85, None), 16: (1.0, 0.85, None)})):
        model, wide = q.noise(PARE, tmp, net), q.plain(PARE, tmp, net)
        for batch, (bar, goal, faster) in bars.items():
            a, b = q.against(PARE, model, batch, 3 if QUICK else 5)
            row(f"{net} 224 int8, batch {batch}, against ONNX Runtime on the same file",
                f"{a:.2f} / {b:.2f} ms = {a / b:.2f}x", f"<= {bar}x (goal {goal}x)", a / b <= bar)
            f = statistics.median(q.ours(PARE, wide, batch) for _ in range(3 if QUICK else 5))
            row(f"{net} 224 int8, batch {batch}, against pare's own float32", f"{f:.2f} / {a:.2f} ms = {f / a:.2f}x faster",
                f">= {faster}x (goal 4.2x)" if faster else "(no bar)", not faster or f / a >= faster)


def bench_int8_size(tmp):
    import quantize as q
    n = q.noise(PARE, tmp, "resnet18").stat().st_size
    row("resnet18 int8, 1000 classes: model.onnx", f"{n / 1e6:.3f} MB", "<= 11.85 MB", n <= 11.85e6)
    cfg = tmp / "both.yaml"
    cfg.write_text("version: 1\nmodels: {net: {zoo: resnet18}}\nsteps:\n  - {id: pruned, use: prune.unstructured, with: "
                   "{sparsity: 0.9, ops: [Conv, Gemm]}}\n  - {id: int8, use: quantize.static, with: {data: random, samples: "
                   "16, sanity: off}}\nreport: {metrics: [size]}\noutput: {dir: x, gzip: off, pack: on}\n")
    model = q.run(PARE, cfg, tmp / "both")
    gz = len(gzip.compress(model.read_bytes(), 9, mtime=0))
    row("resnet18 90 % pruned and int8: gzip -9 of model.onnx", f"{gz / 1e6:.3f} MB", "<= 2.20 MB", gz <= 2.2e6)
    packed = model.with_name("model.packed.onnx")
    if not packed.exists():
        row("its model.packed.onnx", "not written", "<= 2.50 MB (goal 2.40 MB)", False)
        return
    raw = packed.stat().st_size
    q.theirs(packed, 1)
    row("its model.packed.onnx, opened by ONNX Runtime", f"{raw / 1e6:.3f} MB", "<= 2.50 MB (goal 2.40 MB)", raw <= 2.5e6)


def bench_quantize(tmp):
    """Static quantization of mobilenet_v2 on 300 images of 224 x 224, whole processes."""
    import quantize as q
    python = Path(os.environ.get("PARE_QUANT_PYTHON", sys.executable))
    model = q.plain(PARE, tmp, "mobilenet_v2")
    theirs = {}
    for how in ("entropy", "minmax", "nncf"):
        n = 300 if how != "entropy" else 100  # it keeps all activations of all images: memory ends before 300 do
        t = q.peer(python, model, q.images(tmp, n), tmp / "peer.onnx", how)
        if t:
            theirs[f"onnxruntime {how}" if how != "nncf" else how] = t * 300 / n
    ours, peaks = {}, {}
    for n in (300, 3000):
        x = q.images(tmp, n)
        cfg = q.config(tmp / f"q{n}.yaml", f"{{onnx: {model}}}", f"data: {{images: {{npy: {x}}}}}\n",
                       f"{{data: images, samples: {n}, calibration: entropy, sanity: off}}")
        cmd = [PARE, "run", cfg, "--out", tmp / "quantize", "--force", "--quiet"]
        ours[n] = statistics.median(timed(cmd) for _ in range(1 if n > 300 else 3))
        peaks[n] = peak_memory(cmd)
        if n > 300:
            x.unlink()
    best = min(theirs, key=theirs.get)
    told = ", ".join(f"{k} {v:.1f} s" for k, v in theirs.items())
    row("static int8, mobilenet_v2, 300 images of 224, entropy, whole process, against the fastest peer",
        f"{ours[300]:.2f} / {theirs[best]:.1f} s ({best}) = {ours[300] / theirs[best]:.2f}x; all: {told}",
        "<= 0.2x (goal 0.1x)", ours[300] / theirs[best] <= 0.2)
    row("its peak memory, 300 and 3000 images", f"{peaks[300] / 1e6:.0f} / {peaks[3000] / 1e6:.0f} MB",
        "+ 5 % at most", peaks[3000] <= 1.05 * peaks[300])


def bench_dynamic(tmp):
    import quantize as q
    model = q.dynamic(PARE, tmp)
    a, b = q.against(PARE, model, 1, 3 if QUICK else 5)
    row("BERT-like encoder, hidden 384, 6 layers, 128 tokens, dynamic int8, batch 1, against ONNX Runtime on the same file",
        f"{a:.2f} / {b:.2f} ms = {a / b:.2f}x", "<= 1.0x (goal 0.8x)", a / b <= 1.0)


ROWS = {"size": bench_size, "packed": bench_packed, "roundtrip": bench_roundtrip, "process": bench_process,
        "gzip": bench_gzip, "memory": bench_memory, "plugins": bench_plugins, "fuzz": bench_fuzz, "first": bench_first,
        "peak": bench_peak, "engine": bench_engine, "vit": bench_vit,
        "jpeg": bench_jpeg, "train": bench_train, "train-memory": bench_train_memory, "distill": bench_distill,
        "int8": bench_int8, "int8-size": bench_int8_size, "quantize": bench_quantize, "dynamic": bench_dynamic}


def main():
    wanted = [a for a in sys.argv[1:] if not a.startswith("-")] or list(ROWS)
    for name in wanted:
        if name not in ROWS:
            sys.exit(f"no row {name}; there are {', '.join(ROWS)}")
    tmp = Path(tempfile.mkdtemp(prefix="pare-bench-"))
    try:
        for name in wanted:
            ROWS[name](tmp)
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    versions = []
    for mod in ("torch", "onnxruntime", "onnx"):
        try:
            versions.append(f"{mod} {__import__(mod).__version__}")
        except ImportError:
            pass
    print(f"{cpu}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}; {', '.join(versions)}\n")
    print("| what | measured | bar | met |\n|---|---|---|---|")
    for r in table:
        print("| " + " | ".join(r) + " |")
    return 0 if all(r[3] == "yes" for r in table) else 1


if __name__ == "__main__":
    sys.exit(main())
