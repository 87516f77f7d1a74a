#!/usr/bin/env python3
"""Makes zoo_*.txt and zoo_logits.npz: what torchvision says about its resnet18 and mobilenet_v2.

  make_zoo.py names               torchvision's tensor names and shapes
  make_zoo.py logits [PARE]       logits of torchvision's nets with the weights of zoo_formula.py; given the pare
                                  program, also with pare's own seeded weights, and a comparison with torch.onnx.export

Needs torch, torchvision, onnx, onnxruntime. The results are committed; tests need none of these but the last two.
"""
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torchvision

import zoo_formula as zf

HERE = pathlib.Path(__file__).parent


def net(name, classes=1000, channels=3, size=224, stem="imagenet"):
    """torchvision's net with the stem that DESIGN names."""
    m = getattr(torchvision.models, name)(weights=None, num_classes=classes)
    if name == "resnet18":
        if stem != "imagenet":
            m.conv1 = torch.nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
        elif channels != 3:
            m.conv1 = torch.nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        if stem == "cifar":
            m.maxpool = torch.nn.Identity()
    else:
        first = m.features[0]
        if channels != 3 or stem != "imagenet":
            first[0] = torch.nn.Conv2d(channels, 32, 3, 2 if stem == "imagenet" else 1, 1, bias=False)
        if stem == "cifar":
            m.features[2].conv[1][0].stride = (1, 1)
    return m.eval()


def weights_of(m):
    return {k: tuple(v.shape) for k, v in m.state_dict().items() if not k.endswith("num_batches_tracked")}


def names():
    for name in ("resnet18", "mobilenet_v2"):
        m = net(name)
        lines = [" ".join([k, *map(str, s)]) for k, s in weights_of(m).items()]
        (HERE / f"zoo_{name}.txt").write_text("\n".join(lines) + "\n")
        print(name, sum(p.numel() for p in m.parameters()), "parameters,", len(lines), "tensors")


def run(m, x):
    with torch.no_grad():
        return m(torch.from_numpy(x)).numpy()


def load(m, tensors):
    missing, extra = m.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in tensors.items()}, strict=False)
    assert not extra and all(k.endswith("num_batches_tracked") for k in missing), (missing, extra)


def pare_model(pare, folder, which, params, seed, weights=None):
    text = ", ".join(f"{k}: {v}" for k, v in params.items())
    config = pathlib.Path(folder, f"{which}.yaml")
    more = f", weights: {weights}" if weights else ""
    config.write_text(f"version: 1\nname: x\nseed: {seed}\nmodels:\n"
                      f"  net: {{zoo: {which}, with: {{{text}}}{more}}}\nsteps: []\n"
                      "report: {metrics: [size]}\noutput: {gzip: off, pack: off}\n")
    out = pathlib.Path(tempfile.mkdtemp(dir=folder), "out")
    subprocess.run([pare, "run", str(config), "--quiet", "--out", str(out)], check=True, stdout=subprocess.DEVNULL)
    return str(out / "model.onnx")


def seeded(pare, results):
    import onnx
    import onnxruntime
    from onnx import numpy_helper
    for case in zf.SEEDED:
        which, params, shape = zf.CASES[case]
        with tempfile.TemporaryDirectory() as folder:
            path = pare_model(pare, folder, which, params, zf.SEED)
            g = onnx.load(path).graph
            m = net(which, **params)
            load(m, {t.name: numpy_helper.to_array(t) for t in g.initializer})
            saved = str(pathlib.Path(folder, "torch.pth"))
            torch.save(m.state_dict(), saved)
            again = pare_model(pare, folder, which, params, zf.SEED + 1, saved)
            same = pathlib.Path(path).read_bytes() == pathlib.Path(again).read_bytes()
            x = zf.image(shape)
            y = results["seed-" + case] = run(m, x)
            z = onnxruntime.InferenceSession(path).run(None, {"input": x})[0]
            exported = str(pathlib.Path(folder, "torch.onnx"))
            torch.onnx.export(m, (torch.from_numpy(x),), exported, input_names=["input"], output_names=["logits"],
                              opset_version=17, dynamo=False, do_constant_folding=False,
                              training=torch.onnx.TrainingMode.PRESERVE)
            e = onnxruntime.InferenceSession(exported).run(None, {"input": x})[0]
            print(f"{case}: seed {zf.SEED}, max |logit| {abs(y).max():.3g}; pare's ONNX differs from torchvision by "
                  f"{abs(z - y).max():.2g}, from torch.onnx.export by {abs(z - e).max():.2g}; through torch.save and "
                  f"`weights:` {'the same bytes' if same else 'OTHER BYTES'} come back")


def logits(pare):
    results = {}
    for case, (which, params, shape) in zf.CASES.items():
        m = net(which, **params)
        load(m, {k: zf.tensor(k, s) for k, s in weights_of(m).items()})
        results[case] = run(m, zf.image(shape))
        print(case, results[case].shape, "std", results[case].std())
    if pare:
        seeded(pare, results)
    np.savez(HERE / "zoo_logits.npz", **results)


if __name__ == "__main__":
    torch.manual_seed(0)
    if sys.argv[1:] == ["names"]:
        names()
    elif sys.argv[1:2] == ["logits"]:
        logits(sys.argv[2] if len(sys.argv) > 2 else None)
    else:
        sys.exit(__doc__)
