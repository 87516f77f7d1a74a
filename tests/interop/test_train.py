#!/usr/bin/env python3
"""A run that trains, prunes, recovers with its own teacher, and trains an untrained student: what report.json says of
accuracy, loss and agreement against numpy on ONNX Runtime's outputs of the files it wrote (Debian's dataset-fashion-mnist;
skipped, exit 77, without it). The files are ordinary inference models: no domain but ONNX's, no training op, no extra
input; ONNX's own checker takes them. Zeros that pruning left are still +0.0 after two trainings.

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
    import onnx
    import onnx.numpy_helper
    import onnxruntime as ort

SET = Path(os.environ.get("PARE_FASHION", "/usr/share/datasets/fashion-mnist"))
MODEL = SOURCE / "tests/golden/nets/fashion.onnx"
TIE = 1e-4

PIPELINE = """version: 1
name: train
seed: 7
models: {{net: {{onnx: "{model}"}}, small: {{zoo: mobilenet_v2, with: {{classes: 10, channels: 1, size: 28}}}}}}
data:
  preprocess: {{mean: [0.2860], std: [0.3530]}}
  train: {{idx: "{set}/train", take: 768}}
  test: {{idx: "{set}/t10k"}}
steps:
  - {{id: trained, model: net, use: train.supervised, fit: {{epochs: 1, batch: 64, lr: 0.01, ema: 0.9, validate: test}}}}
  - {{id: pruned, use: prune.unstructured, with: {{sparsity: 0.7, ops: [Conv, Gemm]}}}}
  - {{id: recovered, use: train.supervised, fit: {{epochs: 2, batch: 64, micro_batch: 32, lr: 0.02,
      loss: {{use: distill.hinton, with: {{teacher: trained}}}}}}}}
  - {{id: again, use: train.supervised, fit: {{steps: 5, batch: 64, optimizer: adam, label_smoothing: 0.1}}}}
  - {{id: student, from: small, use: distill.hinton, with: {{teacher: again}}, fit: {{steps: 4, batch: 64}}}}
report: {{"on": test, baseline: trained, metrics: [size, loss, accuracy, agreement]}}
output: {{gzip: off, pack: off}}
"""


def idx(name):
    data = gzip.open(SET / f"{name}.gz").read()
    dims = struct.unpack(f">{data[3]}I", data[4:4 + 4 * data[3]])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(dims)


def logits(path, images):
    net = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = net.get_inputs()[0].name
    return np.concatenate([net.run(None, {name: images[i:i + 250]})[0] for i in range(0, len(images), 250)]).astype(float)


def ties(z):
    two = np.sort(z, axis=1)[:, -2:]
    return int((two[:, 1] - two[:, 0] < TIE * np.abs(z).max()).sum())


def cross_entropy(z, labels):
    z = z - z.max(axis=1, keepdims=True)
    return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), labels]).mean())


def zeros(path):
    """Of each weight with 2 dims or more: where it is 0; each of those is +0.0."""
    out = {}
    for t in onnx.load(path).graph.initializer:
        w = onnx.numpy_helper.to_array(t)
        if w.dtype != np.float32 or w.ndim < 2:
            continue
        out[t.name] = w == 0
        expect(not np.signbit(w[w == 0]).any(), f"{path.parent.name}: {t.name} holds -0.0")
    return out


if not (SET / "t10k-images-idx3-ubyte.gz").exists():
    sys.exit(common.skip(f"{SET} is not there (Debian's dataset-fashion-mnist)"))
labels = idx("t10k-labels-idx1-ubyte").astype(np.int64)
images = ((idx("t10k-images-idx3-ubyte")[:, None].astype(np.float32) / 255 - 0.2860) / 0.3530).astype(np.float32)

with tempfile.TemporaryDirectory() as tmp:
    tmp = Path(tmp)
    (tmp / "p.yaml").write_text(PIPELINE.format(model=MODEL, set=SET))
    pare("run", tmp / "p.yaml", "--out", tmp / "run", "--quiet")
    report = json.loads((tmp / "run/report.json").read_text())
    base, base_slack = None, 0
    for i, step in enumerate(report["steps"]):
        path, said = tmp / f"run/steps/{i + 1:02d}-{step['id']}/model.onnx", step["metrics"]
        z = logits(path, images)
        top, slack = z.argmax(axis=1), ties(z)
        if step["id"] == "trained":
            base, base_slack = top, slack
        right = int((top == labels).sum())
        expect(abs(round(said["accuracy"] * len(labels)) - right) <= slack,
               f"{step['id']}: {said['accuracy']} right by the report, {right} by ONNX Runtime ({slack} ties)")
        loss = cross_entropy(z, labels)
        expect(abs(said["loss"] - loss) <= 1e-4 * max(1, loss), f"{step['id']}: loss {said['loss']}, {loss} by numpy")
        if step["id"] != "trained":
            same = int((top == base).sum())
            expect(abs(round(said["agreement"] * len(labels)) - same) <= slack + base_slack,
                   f"{step['id']}: agreement {said['agreement']}, {same} of {len(labels)} by ONNX Runtime")
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        came = onnx.load(MODEL) if step["id"] != "student" else model
        expect([n.op_type for n in model.graph.node] == [n.op_type for n in came.graph.node], f"{step['id']}: other nodes")
        expect(all(n.domain in ("", "ai.onnx") for n in model.graph.node), f"{step['id']}: a domain of pare's")
        expect(len(model.graph.input) == 1 and len(model.graph.output) == 1, f"{step['id']}: inputs or outputs")
    steps = {s["id"]: s for s in report["steps"]}
    curve = steps["trained"]["curves"]["accuracy"]
    expect(curve[-1][1] == steps["trained"]["metrics"]["accuracy"], "the last epoch's accuracy is the report's")
    expect(steps["trained"]["notes"]["steps"] == 12, f"12 steps of 64 samples: {steps['trained']['notes']}")
    expect(steps["recovered"]["metrics"]["accuracy"] > steps["pruned"]["metrics"]["accuracy"], "recovery recovers")
    before = zeros(tmp / "run/steps/02-pruned/model.onnx")
    expect(sum(z.sum() for z in before.values()) > 25000, "70 % are zero")
    for late in ("03-recovered", "04-again"):
        after = zeros(tmp / f"run/steps/{late}/model.onnx")
        for name, z in before.items():
            expect((after[name] | ~z).all(), f"{late}: a zero of {name} grew")

    # an op without a gradient on the way to a weight: named, with the way out, by check and by run
    helper = onnx.helper
    w = np.random.default_rng(1).normal(size=(784, 10)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["f"], "flat"), helper.make_node("MatMul", ["f", "w"], ["h"], "first"),
         helper.make_node("Hardmax", ["h"], ["c"], "hard"), helper.make_node("Gemm", ["c", "v"], ["logits"], "last")],
        "g", [helper.make_tensor_value_info("x", 1, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", 1, ["N", 10])],
        [onnx.numpy_helper.from_array(w, "w"), onnx.numpy_helper.from_array(np.eye(10, dtype=np.float32), "v")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp / "odd.onnx")
    odd = """version: 1
models: {net: {onnx: odd.onnx}}
data: {train: {random: 32, classes: 10}}
steps: [{id: a, use: train.supervised, fit: {batch: 16%s}}]
"""
    (tmp / "odd.yaml").write_text(odd % "")
    for words in (["check"], ["run", "--out", tmp / "odd"]):
        p = pare(words[0], tmp / "odd.yaml", *words[1:], ok=False)
        expect(p.returncode == 2 and "Hardmax" in p.stderr and "\"hard\"" in p.stderr, f"{words[0]}: {p.stderr}")
        expect("freeze" in p.stderr and not (tmp / "odd").exists(), f"{words[0]}: the way out: {p.stderr}")
    (tmp / "odd.yaml").write_text(odd % ", freeze: [w]")
    pare("run", tmp / "odd.yaml", "--out", tmp / "odd", "--quiet")

sys.exit(common.verdict())
