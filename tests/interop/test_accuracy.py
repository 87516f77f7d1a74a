#!/usr/bin/env python3
"""What pare says of a net's accuracy against numpy on ONNX Runtime's outputs, over all 10,000 test images of
Fashion-MNIST (Debian's dataset-fashion-mnist; skipped, exit 77, without it): `pare eval` of tests/golden/nets/fashion.onnx, and `pare
compare --data` of it with a copy that `prune.unstructured` made. Counts are equal to the image; only an image whose two
first logits are closer than 1e-4 of the largest, a tie, may fall either way.

env: PARE_BIN, PARE_SOURCE"""
import gzip
import json
import os
import struct
import sys
import tempfile
from pathlib import Path

import common
from common import SOURCE, expect, needed, pare

with needed():
    import numpy as np
    import onnxruntime as ort

SET = Path(os.environ.get("PARE_FASHION", "/usr/share/datasets/fashion-mnist"))
MODEL = SOURCE / "tests/golden/nets/fashion.onnx"
MEAN, STD = 0.2860, 0.3530
TIE = 1e-4

PIPELINE = """version: 1
name: fashion
models: {{net: {{onnx: "{model}"}}}}
data:
  preprocess: {{mean: [{mean:.4f}], std: [{std:.4f}]}}
  test: {{idx: "{set}/t10k"}}
steps:
  - {{id: half, use: prune.unstructured, with: {{sparsity: 0.5}}}}
report: {{on: test, metrics: [size]}}
output: {{gzip: off, pack: off}}
"""


def idx(name):
    data = gzip.open(SET / f"{name}.gz").read()
    dims = struct.unpack(f">{data[3]}I", data[4:4 + 4 * data[3]])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(dims)


def logits(path, images):
    net = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = net.get_inputs()[0].name
    return np.concatenate([net.run(None, {name: images[i:i + 250]})[0] for i in range(0, len(images), 250)])


class Answers:
    """ONNX Runtime's logits, and what numpy says of them."""

    def __init__(self, z, labels):
        self.z, self.labels = z.astype(np.float64), labels
        order = np.argsort(-self.z, axis=1, kind="stable")
        self.top, self.five = order[:, 0], order[:, :5]
        ranked = np.take_along_axis(self.z, order, 1)
        near = TIE * np.abs(self.z).max(1)
        self.ties = ranked[:, 0] - ranked[:, 1] < near
        self.five_ties = ranked[:, 4] - ranked[:, 5] < near
        self.right = self.top == labels
        self.in_five = (self.five == labels[:, None]).any(1)
        top = self.z.max(1, keepdims=True)
        self.loss = (np.log(np.exp(self.z - top).sum(1)) + top[:, 0] - self.z[np.arange(len(z)), labels]).mean()


def count(share, n):
    k = round(share * n)
    expect(abs(share * n - k) < 1e-6, f"{share} of {n} is no number of images")
    return k


def near(got, want, ties, what):
    expect(abs(got - want) <= ties, f"{what}: {got} images, {want} by ONNX Runtime ({ties} ties)")


def json_of(*args):
    run = pare(*args, "--json", "--quiet")
    return json.loads(run.stdout) if run.returncode == 0 else {}


def scores(got, ref, what):
    """The keys that eval and compare share."""
    n = len(ref.labels)
    expect(got.get("samples", n) == n, f"{what}: {got.get('samples')} images, not {n}")
    near(count(got["accuracy"], n), int(ref.right.sum()), int(ref.ties.sum()), f"{what}, accuracy")
    near(count(got["top5"], n), int(ref.in_five.sum()), int(ref.five_ties.sum()), f"{what}, top 5")
    off = abs(got["loss"] - ref.loss) / ref.loss
    expect(off <= 1e-5, f"{what}: loss {got['loss']}, {ref.loss} by ONNX Runtime")
    print(f"{what}: accuracy {got['accuracy']:.4f}, {int(ref.right.sum())} right by ONNX Runtime, "
          f"{int(ref.ties.sum())} ties; top 5 {got['top5']:.4f}; loss {got['loss']:.6f}, off by {off:.0e}")


def one(config, ref):
    got = json_of("eval", MODEL, "--data", config)
    if not got:
        return
    scores(got, ref, "fashion")
    expect(got["accuracy"] > 0.85, f"a net that learnt something: {got['accuracy']}")
    for row in got["classes"]:
        of = ref.labels == row["class"]
        near(count(row["accuracy"], int(of.sum())), int(ref.right[of].sum()), int(ref.ties[of].sum()),
             f"class {row['class']}")
        expect(row["samples"] == of.sum(), f"class {row['class']}: {row['samples']} images")
    expect(len(got["classes"]) == 10, "ten classes")


def two(config, folder, images, ref):
    """Dense and half pruned. Agreement: the share of images to which both give the same first answer."""
    pare("run", config, "--quiet", "--out", folder / "run")
    pruned = folder / "run" / "model.onnx"
    other = Answers(logits(pruned, images), ref.labels)
    got = json_of("compare", MODEL, pruned, "--data", config)
    if not got:
        return
    n = len(images)
    expect(got["samples"] == n, f"{got['samples']} images compared")
    scores(got["a"], ref, "dense")
    scores(got["b"], other, "pruned")
    agree = int((ref.top == other.top).sum())
    ties = int((ref.ties | other.ties).sum())
    near(count(got["agreement"], n), agree, ties, "agreement")
    noise = np.sum(np.square(ref.z - other.z))
    sqnr = 10 * np.log10(np.sum(np.square(ref.z)) / noise)
    expect(abs(got["sqnr_db"] - sqnr) <= 1e-3, f"SQNR {got['sqnr_db']} dB, {sqnr} by numpy")
    p, q = (np.exp(a.z - a.z.max(1, keepdims=True)) for a in (ref, other))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    kl = np.sum(p * (np.log(p) - np.log(q)), 1).mean()
    expect(abs(got["kl"] - kl) <= 1e-5 * max(kl, 1), f"KL {got['kl']}, {kl} by numpy")
    print(f"agreement {got['agreement']:.4f} ({agree} by numpy), SQNR {sqnr:.3f} dB, KL {kl:.6f}")


def main():
    if not (SET / "t10k-images-idx3-ubyte.gz").exists():
        return common.skip(f"there is no Fashion-MNIST in {SET} (Debian: dataset-fashion-mnist)")
    pixels = idx("t10k-images-idx3-ubyte")[:, None].astype(np.float32) / np.float32(255)
    images = (pixels - np.float32(MEAN)) / np.float32(STD)
    ref = Answers(logits(MODEL, images), idx("t10k-labels-idx1-ubyte").astype(np.int64))
    with tempfile.TemporaryDirectory(prefix="pare-accuracy-") as tmp:
        config = Path(tmp) / "fashion.yaml"
        config.write_text(PIPELINE.format(model=MODEL, set=SET, mean=MEAN, std=STD))
        one(config, ref)
        two(config, Path(tmp), images, ref)
    return common.verdict()


sys.exit(main())
