#!/usr/bin/env python3
"""Whole networks against ONNX Runtime: the narrow ones of tests/golden/nets (PyTorch's exports by both exporters), the
zoo's at full size, and a trained one that rapidocr-onnxruntime ships (skipped, exit 77, where its wheel can't be had).
Outputs of `pare infer` differ by 1e-4 of the largest number at most, at batch 1 and 3; where the exporter fixed the
batch at 1, batch 3 gives what three images give one by one. And what `pare run` writes without a step is valid and computes the same bits.

env: PARE_BIN, PARE_SOURCE
options: names of nets, to try these alone"""
import collections
import sys
import tempfile
from pathlib import Path

import common
from common import SOURCE, expect, needed, pare

with needed():
    import numpy as np
    import onnx
    import onnxruntime as ort

MOST = 1e-4
ort.set_default_logger_severity(3)
ops = collections.Counter()


def session(path):
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def reference(net, x):
    """ONNX Runtime's outputs; images one by one where the model's batch is fixed at 1."""
    at = net.get_inputs()[0]
    rows = [x[i:i + 1] for i in range(len(x))] if at.shape[0] == 1 else [x]
    outs = [net.run(None, {at.name: r}) for r in rows]
    return [np.concatenate(o) for o in zip(*outs)]


def infer(path, x, out):
    """pare's outputs, in the model's order."""
    np.save(out.with_suffix(".npy"), x)
    pare("infer", path, "--in", out.with_suffix(".npy"), "--out", out, "--quiet")
    return [np.load(common.output_file(out, o.name)) for o in onnx.load(path, load_external_data=False).graph.output]


def compare(path, pixels, batch, folder):
    """The largest relative error over the outputs."""
    what = f"{path.stem} at batch {batch}"
    x = np.random.default_rng(batch).normal(size=(batch, *pixels)).astype(np.float32)
    want = reference(session(path), x)
    got = infer(path, x, folder / f"{path.stem}-{batch}")
    worst = 0.0
    for g, w in zip(got, want, strict=True):
        expect(g.shape == w.shape and g.dtype == w.dtype, f"{what}: {g.dtype} {g.shape}, not {w.dtype} {w.shape}")
        if g.shape != w.shape:
            return np.inf
        expect(np.isfinite(w).all() and np.abs(w).max() > 0, f"{what}: ONNX Runtime's outputs are of no use here")
        worst = max(worst, float(np.abs(g - w).max() / np.abs(w).max()))
    return worst


def copied(path, folder):
    """`pare run` without a step."""
    config = folder / "copy.yaml"
    config.write_text(f"version: 1\nname: copy\nmodels: {{net: {{onnx: {path}}}}}\nsteps: []\n"
                      "report: {metrics: [size]}\noutput: {gzip: off, pack: off}\n")
    out = Path(tempfile.mkdtemp(dir=folder)) / "out"
    return out / "model.onnx" if pare("run", config, "--quiet", "--out", out).returncode == 0 else None


def check(path, folder, copy=True):
    """One model, of one input of images."""
    model = onnx.load(path)
    ops.update({n.op_type for n in model.graph.node})
    dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    pixels = [d or dflt for d, dflt in zip(dims[1:], (3, 48, 192))]
    fixed = dims[0] == 1
    errors = [compare(path, pixels, batch, folder) for batch in (1, 3)]
    opset = next(o.version for o in model.opset_import if not o.domain)
    said = [f"{e:.1e} at batch {b}" for b, e in zip((1, 3), errors)]
    print(f"{path.stem:18} opset {opset:2} {len(model.graph.node):4} nodes, {'batch 1' if fixed else 'any batch':9}: "
          f"off by {', '.join(said)}")
    for batch, error in zip((1, 3), errors):
        expect(error <= MOST, f"{path.stem}: differs from ONNX Runtime by {error:.1e} at batch {batch}")
    twin = copied(path, folder) if copy else None
    if twin:
        onnx.checker.check_model(str(twin), full_check=True)
        x = np.random.default_rng(7).normal(size=(1, *pixels)).astype(np.float32)
        one, two = reference(session(path), x), reference(session(twin), x)
        same = [np.array_equal(a, b) for a, b in zip(one, two, strict=True)]
        expect(all(same), f"{path.stem}: the copy computes other numbers")


def zoo(name, folder):
    config = folder / "zoo.yaml"
    config.write_text(f"version: 1\nname: zoo\nseed: 3\nmodels: {{net: {{zoo: {name}}}}}\nsteps: []\n"
                      "report: {metrics: [size]}\noutput: {gzip: off, pack: off}\n")
    out = folder / f"zoo-{name}"
    pare("run", config, "--quiet", "--out", out)
    path = folder / f"zoo-{name}.onnx"
    (out / "model.onnx").rename(path)
    return path


def main():
    def wanted(name):
        return len(sys.argv) < 2 or any(a in name for a in sys.argv[1:])

    files = sorted((SOURCE / "tests/golden/nets").glob("*.onnx"))
    expect(len(files) >= 24, f"{len(files)} golden nets")
    had_wheel = True
    with tempfile.TemporaryDirectory(prefix="pare-nets-") as tmp:
        folder = Path(tmp)
        for path in files:
            if wanted(path.stem):
                check(path, folder)
        for name in ("resnet18", "mobilenet_v2"):
            if wanted(f"zoo-{name}"):
                check(zoo(name, folder), folder, copy=False)
        if wanted("classifier"):
            had_wheel = common.classifier(folder / "classifier.onnx")
            if had_wheel:
                check(folder / "classifier.onnx", folder)
    print(f"{len(ops)} ops, with the number of nets that have them: "
          + ", ".join(f"{op} {n}" for op, n in sorted(ops.items())))
    status = common.verdict()
    return status if status or had_wheel else common.skip("the wheel of rapidocr-onnxruntime can't be had here")


sys.exit(main())
