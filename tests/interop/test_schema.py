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


def changed(path, value):
    doc = copy.deepcopy(GOOD)
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

with tempfile.TemporaryDirectory() as tmp:
    def checks(doc, name):
        path = Path(tmp) / f"{name}.yaml"
        path.write_text(yaml.safe_dump(doc, sort_keys=False))
        return subprocess.run([PARE, "check", path], capture_output=True, text=True).returncode

    expect(validator.is_valid(GOOD), f"the good file by schema: {[e.message for e in validator.iter_errors(GOOD)]}")
    expect(checks(GOOD, "good") == 0, "the good file by check")
    for i, (path, value) in enumerate(BAD):
        doc = changed(path, value)
        expect(not validator.is_valid(doc), f"schema accepts {path} = {value}")
        expect(checks(doc, f"bad{i}") == 2, f"check accepts {path} = {value}")

sys.exit(common.verdict())
