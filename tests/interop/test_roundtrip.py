#!/usr/bin/env python3
"""Every ONNX model of Debian's libonnx-testdata and of onnx's own wheel is read and written by pare, and compared by
meaning with onnx's own reader; the checker passes on what was written wherever it did on what came in.

env: PARE_BUILD (the build tree, for tests/tool_roundtrip), PARE_BIN (optional: the same through `pare run`, steps: [])
options: --every N takes each Nth model; --pare-every N each Nth of those for `pare run` (default 10)."""
import argparse
import collections
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common import BUILD, needed, skip

with needed():
    import numpy as np
    import onnx
    from google.protobuf.unknown_fields import UnknownFieldSet
    from onnx import numpy_helper

TYPED = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data",
         "data_location", "external_data")


def unknown(msg):
    return [(f.field_number, f.wire_type, str(f.data)) for f in UnknownFieldSet(msg)]


def tensor_bytes(t):
    """The values of a tensor in one form, whichever field holds them."""
    if t.data_type == onnx.TensorProto.STRING:
        return tuple(t.string_data)
    a = np.ascontiguousarray(numpy_helper.to_array(t))
    return (str(a.dtype), a.shape, a.tobytes())


def canonical(msg):
    """A message as nested tuples. Absent and default-valued scalars are one, as are "ai.onnx" and "" as a domain; the
    order of value_info means nothing."""
    out = []
    is_tensor = isinstance(msg, onnx.TensorProto)
    for field, value in msg.ListFields():
        if is_tensor and field.name in TYPED:
            continue
        repeated = isinstance(value, collections.abc.Sequence) and not isinstance(value, (str, bytes))
        if field.message_type:
            value = tuple(canonical(v) for v in value) if repeated else canonical(value)
            if field.name == "value_info":
                value = tuple(sorted(value, key=repr))
        elif repeated:
            value = tuple(value)
        else:
            if field.name == "domain" and value == "ai.onnx":
                value = ""
            if isinstance(value, float):
                value = np.float64(value).tobytes()  # NaN is itself
            elif value == field.default_value:
                continue
        out.append((field.name, value))
    if is_tensor:
        out.append(("values", tensor_bytes(msg)))
    rest = unknown(msg)
    if rest:
        out.append(("unknown", rest))
    return tuple(out)


def first_difference(a, b, path=""):
    if type(a) is tuple and type(b) is tuple:
        for i in range(max(len(a), len(b))):
            x, y = (a[i] if i < len(a) else None), (b[i] if i < len(b) else None)
            if x != y:
                name = x[0] if type(x) is tuple and x and type(x[0]) is str else str(i)
                return first_difference(x, y, f"{path}/{name}")
    return f"{path}: {repr(a)[:200]} became {repr(b)[:200]}"


def self_test():
    """What must count as a difference does, and what must not doesn't."""
    def model(**change):
        w = onnx.helper.make_tensor("w", 1, [2], change.get("values", [1.0, 2.0]))
        if change.get("raw"):
            w = numpy_helper.from_array(np.array([1, 2], np.float32), "w")
        node = onnx.helper.make_node("Add", ["x", change.get("input", "w")], ["y"], domain=change.get("domain"),
                                     k=change.get("k", 3))
        info = [onnx.helper.make_tensor_value_info(n, 1, change.get("shape", ["N"])) for n in "xy"]
        m = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [info[0]], [info[1]], [w]))
        m.graph.node[0].MergeFromString(change.get("bytes", b""))
        return canonical(m)
    same = model()
    assert same == model(raw=True) == model(domain="") == model(domain="ai.onnx")
    for change in ({"values": [1.0, 3.0]}, {"input": "x"}, {"domain": "d"}, {"k": 4}, {"shape": ["M"]}, {"shape": None},
                   {"bytes": b"\xb0\x06\x01"}):
        assert same != model(**change), change


def load(path):
    """With external data in place, where onnx can find it."""
    try:
        return onnx.load(str(path))
    except Exception:
        return onnx.load(str(path), load_external_data=False)


def valid(model):
    try:
        onnx.checker.check_model(model)
        return True
    except Exception:
        return False


class Results:
    def __init__(self):
        self.passed = self.failed = 0

    def compare(self, source, copy, how):
        a, b = load(source), load(copy)
        ca, cb = canonical(a), canonical(b)
        if ca != cb:
            self.fail(f"{how}: {source}: {first_difference(ca, cb)}")
        elif valid(a) and not valid(b):
            self.fail(f"{how}: {source}: the checker passed before and doesn't now")
        else:
            self.passed += 1

    def fail(self, what):
        self.failed += 1
        print(f"FAILED: {what}")


def models():
    roots = [Path("/usr/lib/python3/dist-packages/onnx/backend/test/data"), Path(onnx.__file__).parent]
    return [p for root in roots if root.exists() for p in sorted(root.rglob("*.onnx"))]


def by_tool(tool, sources, folder, results, external):
    how = "external" if external else "copy"
    out = [Path(folder) / f"{i:05}.onnx" for i in range(len(sources))]
    lines = "".join(f"{s}\t{o}\n" for s, o in zip(sources, out))
    p = subprocess.run([tool] + (["--external"] if external else []), input=lines, capture_output=True, text=True)
    answers = p.stdout.splitlines()
    if p.returncode or len(answers) != len(sources):
        results.fail(f"{how}: {tool} ended with {p.returncode} after {len(answers)} models\n{p.stderr[-2000:]}")
    for source, copy, answer in zip(sources, out, answers):
        if answer == "ok":
            results.compare(source, copy, how)
        else:
            results.fail(f"{how}: {source}: {answer}")
    if p.stderr:
        print(p.stderr)


def by_pare(pare, sources, folder, results):
    for i, source in enumerate(sources):
        out = Path(folder) / f"run{i}"
        config = Path(folder) / f"run{i}.yaml"
        config.write_text(f'version: 1\nname: copy\nmodels:\n  net: {{onnx: "{source}"}}\nsteps: []\n'
                          f'report: {{metrics: [size]}}\noutput: {{dir: "{out}", gzip: off, pack: off}}\n')
        p = subprocess.run([pare, "run", str(config)], capture_output=True, text=True)
        if p.returncode:
            results.fail(f"pare run: {source}: exit {p.returncode}\n{p.stderr}")
        else:
            results.compare(source, out / "model.onnx", "pare run")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--every", type=int, default=1)
    arguments.add_argument("--pare-every", type=int, default=10)
    options = arguments.parse_args()
    sources = models()[::options.every]
    self_test()
    results = Results()
    if not sources:
        return skip("no models found; install libonnx-testdata")
    tool = BUILD / "tests/tool_roundtrip"
    with tempfile.TemporaryDirectory() as folder:
        by_tool(tool, sources, folder, results, False)
    with tempfile.TemporaryDirectory() as folder:
        by_tool(tool, sources[::5], folder, results, True)
    if os.environ.get("PARE_BIN"):
        with tempfile.TemporaryDirectory() as folder:
            by_pare(os.environ["PARE_BIN"], sources[::options.pare_every], folder, results)
    print(f"{results.passed} passed, {results.failed} failed")
    return 1 if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
