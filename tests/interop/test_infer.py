#!/usr/bin/env python3
"""pare's shape inference against onnx's: every model of Debian's libonnx-testdata, of onnx's own wheel, and every case its
backend test generator makes, as it is and with all shapes but the inputs' taken out. No model may be refused; where
both know a dtype, a rank or a dim, they are the same; and what the model says of its outputs holds.

env: PARE_BUILD (the build tree, for tests/tool_infer)
options: --every N takes each Nth model; -v lists what onnx knows and pare doesn't."""
import argparse
import collections
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from common import BUILD, needed

with needed():
    import onnx
    from onnx import shape_inference


def type_of(vi):
    """(dtype, dims or None) of a ValueInfoProto's tensor; None for what is no tensor."""
    if vi.type.WhichOneof("value") != "tensor_type":
        return None
    t = vi.type.tensor_type
    if not t.HasField("shape"):
        return t.elem_type, None
    return t.elem_type, [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in t.shape.dim]


def types_of(model):
    g = model.graph
    return {v.name: t for v in [*g.input, *g.value_info, *g.output] if (t := type_of(v)) is not None}


def stripped(model):
    """Without value_info, and outputs of tensors without dims: what is known then was inferred."""
    m = onnx.ModelProto()
    m.CopyFrom(model)
    del m.graph.value_info[:]
    for o in m.graph.output:
        if o.type.WhichOneof("value") == "tensor_type":
            o.type.tensor_type.ClearField("shape")
    return m


def disagreement(a, b):
    """What two (dtype, dims) can't both be, or None. Names of dims are no more than names."""
    if a[0] and b[0] and a[0] != b[0]:
        return f"dtype {a[0]} and {b[0]}"
    if a[1] is None or b[1] is None:
        return None
    if len(a[1]) != len(b[1]):
        return f"rank of {a[1]} and {b[1]}"
    for x, y in zip(a[1], b[1]):
        if isinstance(x, int) and isinstance(y, int) and x != y:
            return f"{a[1]} and {b[1]}"
    return None


def knows_less(ours, theirs):
    if theirs[1] is None:
        return bool(theirs[0]) and not ours[0]
    return ours[1] is None or any(isinstance(y, int) and not isinstance(x, int) for x, y in zip(ours[1], theirs[1]))


def generated():
    """The cases of onnx's generator: newer opsets than any file on disk has."""
    try:
        from onnx.backend.test.case.node import collect_testcases
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cases = collect_testcases(None)
    except Exception as e:  # a wheel without its test cases, or one that needs more packages
        print(f"note: onnx's generator is not used: {e}")
        return
    for case in cases:
        if case.model is not None:
            yield case.name, case.model


def files():
    roots = [Path("/usr/share/libonnx-testdata"), Path(onnx.__file__).parent / "backend" / "test" / "data"]
    for root in roots:
        for path in sorted(root.rglob("*.onnx")):
            try:
                yield f"{path.parent.name}/{path.name}", onnx.load(path, load_external_data=False)
            except Exception:
                continue  # test_roundtrip.py looks at those


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("-v", action="store_true")
    args = parser.parse_args()
    tool = BUILD / "tests/tool_infer"
    models = [m for i, m in enumerate([*files(), *generated()]) if i % args.every == 0]
    failures, weaker, compared, unread = [], collections.Counter(), 0, 0
    with tempfile.TemporaryDirectory(prefix="pare-infer-") as tmp:
        paths = []
        for i, (_, model) in enumerate(models):
            for kind, m in (("whole", model), ("bare", stripped(model))):
                path = Path(tmp) / f"{i}-{kind}.onnx"
                path.write_bytes(m.SerializeToString())
                paths.append(str(path))
        run = subprocess.run([str(tool)], input="\n".join(paths) + "\n", capture_output=True, text=True, check=True)
        results = [json.loads(line) for line in run.stdout.splitlines()]
        assert len(results) == len(paths), "tool_infer stopped early"
        for k, result in enumerate(results):
            name, model = models[k // 2]
            bare = k % 2 == 1
            say = f"{name}{' (bare)' if bare else ''}"
            if result["read"] != 0:
                unread += 1
                continue  # external data, say; test_roundtrip.py judges the reader
            if result["infer"] != 0:
                failures.append(f"{say}: refused: {result['messages']}")
                continue
            ours = {n: (t[0], t[1]) for n, t in result["values"].items()}
            theirs = {}
            try:
                whole = stripped(model) if bare else model
                theirs = types_of(shape_inference.infer_shapes(whole, data_prop=True))
            except Exception:
                pass  # onnx can't: nothing to compare with
            said = types_of(model) if bare else {}
            for what, other in (("onnx's inference", theirs), ("the file", said)):
                for value, t in other.items():
                    if value not in ours:
                        continue
                    compared += 1
                    wrong = disagreement(ours[value], t)
                    if wrong:
                        ops = [n.op_type for n in model.graph.node if value in n.output]
                        failures.append(f"{say}: {value} of {ops}: pare and {what} say {wrong}")
                    elif knows_less(ours[value], t) and what != "the file":
                        for n in model.graph.node:
                            if value in n.output:
                                weaker[n.op_type] += 1
                                if args.v:
                                    print(f"{say}: {value} of {n.op_type}: pare {ours[value]}, onnx {t}")
            for severity, text in result["messages"]:
                if not bare:
                    failures.append(f"{say}: {severity}: {text}")
    for f in failures:
        print(f)
    print(f"{len(models)} models, {compared} values compared, {len(failures)} disagreements, {unread} files not read")
    print("onnx knows more of:", ", ".join(f"{op} {n}" for op, n in weaker.most_common()) or "nothing")
    assert models and compared
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
