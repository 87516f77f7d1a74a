#!/usr/bin/env python3
"""`pare schema` against python's jsonschema: the schema is one, every file of configs/ passes it and `pare check`, and
what it must refuse it refuses; each refusal is one that `pare check` makes too."""
import copy
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import common
from common import PARE, SOURCE, expect, needed

with needed():
    import jsonschema
    import yaml

schema = json.loads(subprocess.run([PARE, "schema"], check=True, capture_output=True).stdout)
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)

configs = sorted((SOURCE / "configs").glob("*.yaml"))
expect(configs, "there are configs")
for path in configs:
    errors = [e.message for e in validator.iter_errors(yaml.safe_load(path.read_text()))]
    expect(not errors, f"{path.name} by schema: {errors[:2]}")
    p = subprocess.run([PARE, "check", path], capture_output=True, text=True)
    expect(p.returncode == 0, f"pare check {path.name}: {p.stderr}")

GOOD = {
    "version": 1, "name": "x", "seed": 3,
    "models": {"net": {"zoo": "resnet18", "with": {"classes": 10, "channels": 1, "size": 28}}},
    "steps": [{"id": "p", "use": "prune.unstructured", "with": {"sparsity": 0.9, "criterion": "magnitude",
                                                                 "layers": [{"match": "fc.*", "sparsity": 0.5}]}}],
    "report": {"metrics": ["size", "gzip"]}, "output": {"dir": "runs/x", "pack": "auto"},
}
TRAINS = {
    "version": 1, "name": "x", "models": GOOD["models"],
    "data": {"train": {"random": 256, "classes": 10}, "val": {"random": 32, "classes": 10}},
    "steps": [
        {"id": "a", "use": "train.supervised", "fit": {}},
        {"id": "b", "use": "train.supervised", "fit": {
            "epochs": 2, "steps": 9, "batch": 64, "micro_batch": 16, "drop_last": False, "optimizer": "adamw", "lr": 1e-3,
            "betas": [0.9, 0.99], "epsilon": 1e-8, "weight_decay": 0, "decay": "all", "clip_norm": 1, "ema": 0.99,
            "label_smoothing": 0.1, "freeze": "conv1.weight", "train": ["fc.*", "conv1.weight"], "freeze_batchnorm": True,
            "layers": [{"match": "fc.*", "lr": 2, "decay": 0}], "schedule": {"kind": "poly", "power": 2, "warmup": 3},
            "augment": {"flip": 0.5, "crop": 2, "resized_crop": [0.5, 1], "cutout": 3, "mixup": 0.1}, "data": "train",
            "validate": "val", "recompute": 4, "keep": "best", "early_stop": 2, "logits": "logits",
            "loss": [{"use": "distill.hinton", "with": {"teacher": "a"}, "weight": 0.5}, "cross_entropy", {"use": "mse"}]}},
        {"id": "c", "use": "train.supervised", "fit": {"schedule": "constant", "loss": "mse", "cache_logits": "off",
                                                        "recompute": "auto"}},
        {"id": "d", "use": "distill.hinton", "with": {"teacher": "a"}, "fit": {"momentum": 0}}],
}


def changed(good, path, value):
    doc = copy.deepcopy(good)
    at = doc
    for k in path[:-1]:
        at = at[k]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return doc


STEP = ("steps", 0)
BAD = [
    (("version",), 2), (("version",), None), (("models",), None), (("models",), {}), (("bogus",), 1),
    (("seed",), "lots"), (("seed",), -1), (("name",), "a/b"),
    (("models", "net", "zoo"), "resnet19"), (("models", "net", "with", "classes"), 0),
    (("models", "net", "with", "clases"), 10), (("models", "net", "onnx"), "also.onnx"),
    (STEP + ("use",), "prune.unstructurd"), (STEP + ("use",), None), (STEP + ("id",), None), (STEP + ("wiht",), {}),
    (STEP + ("with", "sparsity"), 1.5), (STEP + ("with", "sparsity"), "high"), (STEP + ("with", "sparsty"), 0.5),
    (STEP + ("with", "criterion"), "size"), (STEP + ("with", "layers"), [{"match": "fc.*", "sparse": 1}]),
    (("report", "metrics"), ["sise"]), (("output", "pack"), "maybe"), (("output", "gzipped"), "on"),
]

FIT = STEP + ("fit",)
BAD_FITS = [
    (FIT, None), (FIT, 3), (FIT + ("epoch",), 2), (FIT + ("epochs",), 0), (FIT + ("epochs",), "two"), (FIT + ("batch",), 0),
    (FIT + ("lr",), 0), (FIT + ("lr",), -0.1), (FIT + ("optimizer",), "lion"), (FIT + ("momentum",), 1),
    (FIT + ("drop_last",), 1), (FIT + ("schedule",), "cosin"), (FIT + ("schedule",), {"kind": "cosine", "wormup": 1}),
    (FIT + ("augment",), {"flip": 2}), (FIT + ("augment",), {"spin": 1}), (FIT + ("keep",), "worst"), (FIT + ("loss",), []),
    (FIT + ("loss",), {"with": {}}), (FIT + ("loss",), {"use": "distill.hintn", "with": {"teacher": "net"}}),
    (FIT + ("loss",), {"use": "distill.hinton"}), (FIT + ("loss",), {"use": "mse", "weight": 0}),
    (FIT + ("loss",), {"use": "distill.hinton", "with": {"teacher": "net", "temprature": 2}}),
    (FIT + ("layers",), [{"match": "fc.*", "rl": 1}]), (FIT + ("label_smoothing",), 1), (FIT + ("early_stop",), 0),
    (FIT + ("recompute",), 1), (FIT + ("recompute",), "some"), (FIT + ("recompute",), True),
]

with tempfile.TemporaryDirectory() as tmp:
    def checks(doc, name):
        path = Path(tmp) / f"{name}.yaml"
        path.write_text(yaml.safe_dump(doc, sort_keys=False))
        return subprocess.run([PARE, "check", path], capture_output=True, text=True).returncode

    expect(validator.is_valid(GOOD), f"the good file by schema: {[e.message for e in validator.iter_errors(GOOD)]}")
    expect(checks(GOOD, "good") == 0, "the good file by check")
    expect(validator.is_valid(TRAINS), f"the one that trains: {[e.message for e in validator.iter_errors(TRAINS)][:1]}")
    expect(checks(TRAINS, "trains") == 0, "the one that trains, by check")
    bad = [(GOOD, *b) for b in BAD] + [(TRAINS, *b) for b in BAD_FITS] + [(GOOD, STEP + ("fit",), {"epochs": 1, "lrr": 1})]
    for i, (good, path, value) in enumerate(bad):
        doc = changed(good, path, value)
        expect(not validator.is_valid(doc), f"schema accepts {path} = {value}")
        expect(checks(doc, f"bad{i}") == 2, f"check accepts {path} = {value}")

sys.exit(common.verdict())
