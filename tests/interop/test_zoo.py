#!/usr/bin/env python3
"""The zoo's networks against torchvision's, by ONNX Runtime: weights go in through `weights:` (safetensors and .pth)
or are pare's own, and the logits must be those that tests/golden/make_zoo.py recorded from torchvision with the same
weights."""
import subprocess
import sys
import tempfile
from pathlib import Path

import common
from common import PARE, expect, needed

with needed():
    import numpy as np
    import onnx
    import onnxruntime as ort

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
sys.path.insert(0, str(GOLDEN))
import zoo_formula as zf  # noqa: E402

ort.set_default_logger_severity(3)


def shapes(which, params):
    """torchvision's names and shapes, with another stem and head."""
    all_shapes = {}
    for line in (GOLDEN / f"zoo_{which}.txt").read_text().splitlines():
        name, *dims = line.split()
        all_shapes[name] = tuple(int(d) for d in dims)
    first, last = ("conv1", "fc") if which == "resnet18" else ("features.0.0", "classifier.1")
    out, _, k, _ = all_shapes[f"{first}.weight"]
    if params.get("stem", "imagenet") != "imagenet":
        k = 3
    all_shapes[f"{first}.weight"] = (out, params.get("channels", 3), k, k)
    classes = params.get("classes", 1000)
    all_shapes[f"{last}.weight"] = (classes, all_shapes[f"{last}.weight"][1])
    all_shapes[f"{last}.bias"] = (classes,)
    return all_shapes


def run(folder, which, params, seed=1, weights=None, reinit=None, ok=True):
    text = ", ".join(f"{k}: {v}" for k, v in params.items())
    more = (f", weights: {weights}" if weights else "") + (f", reinit: {reinit}" if reinit else "")
    config = folder / "zoo.yaml"
    config.write_text(f"version: 1\nname: zoo\nseed: {seed}\nmodels:\n"
                      f"  net: {{zoo: {which}, with: {{{text}}}{more}}}\nsteps: []\n"
                      "report: {metrics: [size]}\noutput: {gzip: off, pack: off}\n")
    out = Path(tempfile.mkdtemp(dir=folder)) / "out"
    p = subprocess.run([PARE, "run", str(config), "--quiet", "--out", str(out)], capture_output=True, text=True)
    if ok and p.returncode:
        print(p.stderr)
        sys.exit(f"FAILED  pare run gave {p.returncode}")
    return p if not ok else out / "model.onnx"


def check_logits(model, shape, want, what):
    got = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"]).run(None, {"input": zf.image(shape)})[0]
    error = float(np.abs(got - want).max() / np.abs(want).max()) if got.shape == want.shape else np.inf
    expect(error <= 1e-4, f"{what}: differs from torchvision by {error:.1e} of the largest logit")


def check_model(model, which, params):
    m = onnx.load(model)
    onnx.checker.check_model(m, full_check=True)
    got = {t.name: tuple(t.dims) for t in m.graph.initializer}
    want = shapes(which, params)
    expect(list(got.items()) == list(want.items()), f"{which} {params}: the initializers are torchvision's state dict")
    expect((m.ir_version, m.opset_import[0].version) == (8, 17), f"{which} {params}: IR 8, opset 17")
    names = [n.name for n in m.graph.node]
    expect(all(names) and len(set(names)) == len(names), f"{which} {params}: nodes have names of their own")
    dims = [d.dim_param or d.dim_value for d in m.graph.input[0].type.tensor_type.shape.dim]
    size = params.get("size", 224)
    expect(m.graph.input[0].name == "input" and dims == ["N", params.get("channels", 3), size, size],
           f"{which} {params}: input {dims}")
    dims = [d.dim_param or d.dim_value for d in m.graph.output[0].type.tensor_type.shape.dim]
    expect(m.graph.output[0].name == "logits" and dims == ["N", params.get("classes", 1000)],
           f"{which} {params}: logits {dims}")


def cases(folder, golden):
    for case, (which, params, shape) in zf.CASES.items():
        tensors = {n: zf.tensor(n, s) for n, s in shapes(which, params).items()}
        pth = case == "mobilenet_v2"
        weights = folder / ("weights.pth" if pth else "weights.safetensors")
        (zf.write_pth if pth else zf.write_safetensors)(weights, tensors)
        model = run(folder, which, params, weights=weights)
        check_model(model, which, params)
        check_logits(model, shape, golden[case], f"{case}, weights loaded from {weights.name}")
        model.unlink()
    for case in zf.SEEDED:
        which, params, shape = zf.CASES[case]
        model = run(folder, which, params, seed=zf.SEED)
        check_logits(model, shape, golden["seed-" + case], f"{case}, pare's own weights of seed {zf.SEED}")
        model.unlink()


def other_head(folder):
    """Weights of another number of classes: an error that says how, then `reinit`."""
    which, params, _ = zf.CASES["mobilenet_v2-small"]
    weights = folder / "weights.safetensors"
    zf.write_safetensors(weights, {n: zf.tensor(n, s) for n, s in shapes(which, params).items()})
    params = dict(params, classes=5)
    p = run(folder, which, params, weights=weights, ok=False)
    expect(p.returncode == 2 and "reinit: [classifier.1.*]" in p.stderr, "another head is refused with the way out")
    model = run(folder, which, params, weights=weights, reinit="[classifier.1.*]")
    plain = run(folder, which, params)
    a, b = ({t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(m).graph.initializer} for m in (model, plain))
    expect(all(np.array_equal(a[n], b[n] if n.startswith("classifier.") else zf.tensor(n, a[n].shape)) for n in a),
           "reinit keeps the head's initial values and loads the rest")


with tempfile.TemporaryDirectory(prefix="pare-zoo-") as tmp:
    cases(Path(tmp), np.load(GOLDEN / "zoo_logits.npz"))
    other_head(Path(tmp))
sys.exit(common.verdict())
