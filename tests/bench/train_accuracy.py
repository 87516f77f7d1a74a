#!/usr/bin/env python3
"""Accuracy on Fashion-MNIST, paired: pare's training and PyTorch's from the same initial weights and batch order.

For each seed, on both sides: resnet18 (imagenet stem) for two epochs; its 90 % one-shot pruned copy (by magnitude, each
layer's share) recovered for one epoch with the dense one's softened logits; mobilenet_v2 alone for two epochs; and
distilled from that resnet18. One recipe to the letter: batch 128, the last short one of an epoch left out, SGD with
Nesterov momentum 0.9, weight decay 5e-4 on every tensor, half a cosine after 5 % of warm-up, no Dropout, no augmentation,
masked weights that never move. Each side goes on from its own networks. pare's exported file is scored by ONNX Runtime,
PyTorch's model by itself.

usage: train_accuracy.py [--seeds 0,1,2,3,4] [--only dense,pruned,alone,distilled] [--take N] [--threads N] [--keep DIR]
env:   PARE_BUILD (a release build tree), PARE_FASHION (the folder of the IDX files)
"""
import gzip
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("PARE_BUILD", SOURCE / "build/release"))
FASHION = Path(os.environ.get("PARE_FASHION", "/usr/share/datasets/fashion-mnist"))
TOOL = BUILD / "tests/tool_train_step"
MEAN, STD, BATCH, LR, SPARSITY = 0.2860, 0.3530, 128, 0.05, 0.9
THREADS = int(sys.argv[sys.argv.index("--threads") + 1]) if "--threads" in sys.argv else 2
BARS = {"dense": -0.15, "pruned": -0.15, "alone": -0.15, "distilled": -0.15}


def idx(name, head):
    for path, opener in ((FASHION / name, open), (FASHION / f"{name}.gz", gzip.open)):
        if path.exists():
            with opener(path, "rb") as f:
                return np.frombuffer(f.read(), np.uint8, offset=head)
    sys.exit(f"{FASHION / name} is missing (Debian: dataset-fashion-mnist)")


def load(part):
    return idx(f"{part}-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28), idx(f"{part}-labels-idx1-ubyte", 8)


def order(n, epochs, seed):
    """Sample numbers of all batches, epoch after epoch, without each one's short last batch."""
    rng = np.random.default_rng(1000 + seed)
    return np.concatenate([rng.permutation(n)[:n // BATCH * BATCH] for _ in range(epochs)])


def magnitude_masks(weights):
    """Of every convolution and product, the largest tenth of each."""
    masks = {}
    for name, w in weights.items():
        if w.ndim >= 2:
            gone = math.floor(SPARSITY * w.size)
            mask = np.ones(w.size, bool)
            mask[np.argsort(np.abs(w).ravel(), kind="stable")[:gone]] = False
            masks[name] = mask.reshape(w.shape)
    return masks


# ---- pare ----

def ours_train(tmp, model, out, samples, labels, teacher=None):
    np.save(tmp / "x.npy", samples)
    np.save(tmp / "y.npy", labels.astype(np.int64))
    cmd = [TOOL, "--model", model, "--data", tmp / "x.npy", tmp / "y.npy", "--batch", BATCH, "--warmup", 0, "--steps",
           len(labels) // BATCH, "--lr", LR, "--mean", MEAN, "--std", STD, "--cosine", "--threads", THREADS, "--home", out]
    subprocess.run([str(c) for c in cmd + (["--teacher", teacher] if teacher else [])], check=True,
                   stdout=subprocess.DEVNULL)


def ours_score(model, x, y):
    import onnxruntime as ort
    s = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    hits = sum((s.run(None, {s.get_inputs()[0].name: x[i:i + 500]})[0].argmax(1) == y[i:i + 500]).sum()
               for i in range(0, len(y), 500))
    return 100.0 * hits / len(y)


def ours_prune(model, out):
    import onnx
    from onnx import numpy_helper
    m = onnx.load(model)
    weights = {t.name: numpy_helper.to_array(t) for t in m.graph.initializer}
    masks = magnitude_masks(weights)
    for t in m.graph.initializer:
        if t.name in masks:
            t.CopyFrom(numpy_helper.from_array(np.where(masks[t.name], weights[t.name], np.float32(0)), t.name))
    entry = m.metadata_props.add()
    entry.key, entry.value = "ai.pare.masked", json.dumps(sorted(masks))
    onnx.save(m, out)


# ---- PyTorch ----

def build(model, net):
    import onnx
    import torch
    import torchvision
    from onnx import numpy_helper
    if net == "resnet18":
        m = torchvision.models.resnet18(num_classes=10)
        m.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    else:
        m = torchvision.models.mobilenet_v2(num_classes=10, dropout=0.0)
        m.features[0][0] = torch.nn.Conv2d(1, 32, 3, 2, 1, bias=False)
    state = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in onnx.load(model).graph.initializer}
    m.load_state_dict({k: state.get(k, v) for k, v in m.state_dict().items()})
    return m.to(memory_format=torch.channels_last)


def rate(step, steps):
    warm = math.floor(0.05 * steps)
    if step < warm:
        return LR * (step + 1) / warm
    return LR / 2 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def theirs_train(net, samples, labels, teacher=None, masks=None):
    import torch
    from torch.nn import functional as f
    named = dict(net.named_parameters())
    masks = {k: torch.from_numpy(v) for k, v in (masks or {}).items()}
    opt = torch.optim.SGD(net.parameters(), lr=LR, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps, T, alpha = len(labels) // BATCH, 4.0, 0.7
    net.train()
    for i in range(steps):
        x = (torch.from_numpy(samples[i * BATCH:(i + 1) * BATCH].astype(np.float32)) / 255 - MEAN) / STD
        x, y = x.contiguous(memory_format=torch.channels_last), torch.from_numpy(labels[i * BATCH:(i + 1) * BATCH])
        for group in opt.param_groups:
            group["lr"] = rate(i, steps)
        opt.zero_grad(set_to_none=True)
        out = net(x)
        loss = f.cross_entropy(out, y.long())
        if teacher is not None:
            with torch.no_grad():
                t = teacher(x)
            kl = f.kl_div(f.log_softmax(out / T, 1), f.log_softmax(t / T, 1), reduction="batchmean", log_target=True)
            loss = alpha * T * T * kl + (1 - alpha) * loss
        loss.backward()
        opt.step()
        with torch.no_grad():
            for name, mask in masks.items():
                named[name].mul_(mask)
    return net.eval()


def theirs_score(net, x, y):
    import torch
    with torch.no_grad():
        hits = sum((net(torch.from_numpy(x[i:i + 500])).argmax(1).numpy() == y[i:i + 500]).sum()
                   for i in range(0, len(y), 500))
    return 100.0 * hits / len(y)


# ---- all of it ----

def one_seed(tmp, seed, only, take, keep):
    (x, y), (tx, ty) = load("train"), load("t10k")
    x, y = x[:take], y[:take]
    tx = ((tx.astype(np.float32) / np.float32(255) - np.float32(MEAN)) / np.float32(STD)).astype(np.float32)
    two, one = order(len(y), 2, seed), order(len(y), 1, seed + 100)
    scores = {}
    for net in ("resnet18", "mobilenet_v2"):
        subprocess.run([TOOL, "--net", net, "--seed", str(seed), "--save", tmp / f"{net}.onnx", "--batch", "2", "--steps",
                        "1", "--warmup", "0"], check=True, stdout=subprocess.DEVNULL)

    def note(what, ours, theirs):
        scores[what] = (ours, theirs)
        if keep:
            shutil.copyfile(tmp / f"{what}.onnx", Path(keep) / f"{what}-{seed}.onnx")
        print(f"  seed {seed} {what}: pare {ours:.2f} %, PyTorch {theirs:.2f} %, {ours - theirs:+.2f} pt", flush=True)

    ours_train(tmp, tmp / "resnet18.onnx", tmp / "dense.onnx", x[two], y[two])
    dense = theirs_train(build(tmp / "resnet18.onnx", "resnet18"), x[two], y[two])
    note("dense", ours_score(tmp / "dense.onnx", tx, ty), theirs_score(dense, tx, ty))
    if "pruned" in only:
        ours_prune(tmp / "dense.onnx", tmp / "sparse.onnx")
        ours_train(tmp, tmp / "sparse.onnx", tmp / "pruned.onnx", x[one], y[one], tmp / "dense.onnx")
        import copy
        import torch
        sparse = copy.deepcopy(dense)
        masks = magnitude_masks({k: v.detach().numpy() for k, v in sparse.named_parameters()})
        with torch.no_grad():
            for name, p in sparse.named_parameters():
                if name in masks:
                    p.mul_(torch.from_numpy(masks[name]))
        theirs_train(sparse, x[one], y[one], dense, masks)
        note("pruned", ours_score(tmp / "pruned.onnx", tx, ty), theirs_score(sparse, tx, ty))
    for what in ("alone", "distilled"):
        if what in only:
            teach = what == "distilled"
            ours_train(tmp, tmp / "mobilenet_v2.onnx", tmp / f"{what}.onnx", x[two], y[two],
                       tmp / "dense.onnx" if teach else None)
            net = theirs_train(build(tmp / "mobilenet_v2.onnx", "mobilenet_v2"), x[two], y[two], dense if teach else None)
            note(what, ours_score(tmp / f"{what}.onnx", tx, ty), theirs_score(net, tx, ty))
    return scores


def option(name, default):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


def main():
    import torch
    torch.set_num_threads(THREADS)
    seeds = [int(s) for s in option("--seeds", "0,1,2,3,4").split(",")]
    only = option("--only", "dense,pruned,alone,distilled").split(",")
    results = {}
    with tempfile.TemporaryDirectory(prefix="pare-accuracy-") as folder:
        for seed in seeds:
            for what, pair in one_seed(Path(folder), seed, only, int(option("--take", "60000")),
                                        option("--keep", None)).items():
                results.setdefault(what, []).append(pair)
    met = True
    print("| what | seeds | pare | PyTorch | mean paired difference | bar | met |\n|---|---|---|---|---|---|---|")
    for what, pairs in results.items():
        mean = [sum(p[i] for p in pairs) / len(pairs) for i in (0, 1)]
        apart, ok = mean[0] - mean[1], mean[0] - mean[1] >= BARS[what]
        met = met and ok
        print(f"| {what} | {len(pairs)} | {mean[0]:.2f} % | {mean[1]:.2f} % | {apart:+.2f} pt | >= {BARS[what]} pt | "
              f"{'yes' if ok else 'NO'} |")
    if "alone" in results and "distilled" in results:
        gain = sum(d[0] - a[0] for d, a in zip(results["distilled"], results["alone"])) / len(results["alone"])
        print(f"\nmobilenet_v2 distilled against alone, pare: {gain:+.2f} pt (bar: >= -0.15 pt, goal: +0.5 pt)")
        met = met and gain >= -0.15
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
