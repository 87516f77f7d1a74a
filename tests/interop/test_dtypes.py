#!/usr/bin/env python3
"""Each listed op with each dtype that its schema allows: a case of ONNX's backend suite is retyped, and `pare infer` is
compared with ONNX Runtime, or with onnx.reference where that has no kernel. Strings, complex numbers, 4- and 8-bit
floats and ints below 8 bits are left out. Prints what is covered."""
import collections
import os
import re
import subprocess
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

try:
    import numpy as np
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto as T
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(1 if os.environ.get("CI") == "true" else 77)

warnings.filterwarnings("ignore")
ort.set_default_logger_severity(4)
PARE = os.environ["PARE_BIN"]
only = sys.argv[1:]
source = (Path(__file__).parent / "test_backend.py").read_text()
LISTED = re.search(r'LISTED = set\("""(.*?)"""', source, re.S).group(1).split()
DTYPES = {"float": T.FLOAT, "double": T.DOUBLE, "float16": T.FLOAT16, "bfloat16": T.BFLOAT16, "bool": T.BOOL}
DTYPES |= {f"{u}int{b}": getattr(T, f"{u}INT{b}".upper()) for u in ("", "u") for b in (8, 16, 32, 64)}
NAMES = {v: k for k, v in DTYPES.items()}
TOLERANCE = {T.FLOAT16: 4e-3, T.BFLOAT16: 3e-2}
# Retyped values that make no case: (op, dtype) -> why.
EXCEPTIONS = {}


def cases_by_op():
    """op -> its backend cases of one node, the plainest name first."""
    from onnx.backend.test.case.node import collect_testcases
    found = collections.defaultdict(list)
    for c in collect_testcases(None):
        if c.model is None or len(c.model.graph.node) != 1 or c.model.graph.initializer or not c.data_sets:
            continue
        n = c.model.graph.node[0]
        if n.domain in ("", "ai.onnx") and n.op_type in LISTED and "training" not in c.name:
            found[n.op_type].append(c)
    return found


def formal(schema, i, params):
    p = params[min(i, len(params) - 1)]
    return p.type_str


def cast(a, dtype):
    t = onnx.helper.tensor_dtype_to_np_dtype(dtype)
    a = np.asarray(a)
    if np.issubdtype(t, np.unsignedinteger):
        a = np.abs(a)
    if np.issubdtype(t, np.integer) or t == np.bool_:
        if a.dtype.kind == "f":
            a = np.clip(np.nan_to_num(np.round(a * 3)), -100, 100)
        a = a.astype(np.int64)
        if np.iinfo(t).max < 200 if t != np.bool_ else False:
            a = np.clip(a, np.iinfo(t).min, np.iinfo(t).max)
    return a.astype(t)


def retyped(case, var, dtype):
    """The model with every operand of this type variable of another dtype, and its inputs; None: no such thing."""
    m = onnx.ModelProto()
    m.CopyFrom(case.model)
    n = m.graph.node[0]
    version = {o.domain: o.version for o in m.opset_import}.get("", 1)
    schema = onnx.defs.get_schema(n.op_type, version)
    ins, outs = case.data_sets[0]
    feed = {}
    for info, v in zip(m.graph.input, ins):
        v = numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else np.asarray(v)
        slot = list(n.input).index(info.name)
        if formal(schema, slot, schema.inputs) == var:
            v = cast(v, dtype)
            if n.op_type in ("Div", "Mod") and slot == 1 and v.dtype.kind in "iub":
                v = np.where(v == 0, v.dtype.type(1), v)
            info.type.tensor_type.elem_type = dtype
        feed[info.name] = v
    for i, info in enumerate(m.graph.output):
        slot = list(n.output).index(info.name)
        if formal(schema, slot, schema.outputs) == var:
            info.type.tensor_type.elem_type = dtype
        info.type.tensor_type.ClearField("shape")
    return m, feed


def right_answer(m, feed):
    try:
        if any(v.dtype.kind not in "biuf" for v in feed.values()):
            raise ValueError("onnxruntime takes no such numpy arrays")
        s = ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"])
        return s.run(None, feed), "ort"
    except Exception:
        try:
            return ReferenceEvaluator(m).run(None, feed), "reference"
        except Exception:
            return None, "nobody"


def run(work):
    tmp, k, case, op, var, dtype = work
    try:
        m, feed = retyped(case, var, dtype)
    except Exception:
        return op, dtype, "skipped", "can't be retyped"
    want, who = right_answer(m, feed)
    path = Path(tmp) / f"{k}.onnx"
    path.write_bytes(m.SerializeToString())
    cmd = [PARE, "infer", str(path), "--out", f"{tmp}/{k}", "--quiet", "--threads", "1"]
    for i, info in enumerate(m.graph.input):
        file = Path(tmp) / f"{k}-{i}.pb"
        file.write_bytes(numpy_helper.from_array(feed[info.name], info.name).SerializeToString())
        cmd += ["--in", str(file)]
    p = subprocess.run(cmd, capture_output=True, text=True)
    if want is None:
        return op, dtype, "crash" if p.returncode < 0 else "unknown", "nobody to compare with"
    if p.returncode:
        return op, dtype, "refused" if p.returncode > 0 else "crash", p.stderr.strip().split("\n")[0][-200:]
    tol = max(TOLERANCE.get(o.type.tensor_type.elem_type, 1e-4) for o in list(m.graph.output) + list(m.graph.input))
    for o, w in zip(m.graph.output, want):
        stem = re.sub(r"[/\x00-\x1f]", "_", o.name)
        pb = Path(tmp) / str(k) / f"{stem}.pb"
        got = numpy_helper.to_array(onnx.load_tensor(pb)) if pb.exists() else np.load(f"{tmp}/{k}/{stem}.npy")
        w = np.asarray(w)
        if got.shape != w.shape:
            return op, dtype, "wrong", f"{who}: {o.name} is {w.shape}, pare: {got.shape}"
        if op == "Resize" and w.dtype.kind in "iu" and np.abs(got.astype(int) - w.astype(int)).max() <= 1:
            continue  # what is 23 exactly, ONNX Runtime's float32 has as 22.99, and cuts off
        a, b = got.astype(np.float64), w.astype(np.float64)
        if not np.allclose(a, b, rtol=tol, atol=tol * 0.1 * max(1.0, np.nanmax(np.abs(b[np.isfinite(b)]), initial=0)), equal_nan=True):
            return op, dtype, "wrong", f"{who}: {w.ravel()[:4]}, pare: {got.ravel()[:4]}"
    return op, dtype, "right", who


found = cases_by_op()
missing = [op for op in LISTED if op not in found and op != "Upsample"]
works = []
with tempfile.TemporaryDirectory() as tmp:
    for op in LISTED:
        if (only and op not in only) or op not in found:
            continue
        cs = sorted(found[op], key=lambda c: (c.name != f"test_{op.lower()}", len(c.name)))
        case = cs[0]
        n = case.model.graph.node[0]
        schema = onnx.defs.get_schema(op, {o.domain: o.version for o in case.model.opset_import}.get("", 1))
        variables = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
        for var in dict.fromkeys(p.type_str for p in schema.inputs):
            for t in variables.get(var, []):
                name = t[len("tensor("):-1] if t.startswith("tensor(") else ""
                if name in DTYPES and (op, name) not in EXCEPTIONS:
                    works.append((tmp, len(works), case, op, var, DTYPES[name]))
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, works))
count = collections.Counter(r[2] for r in results)
by = collections.Counter((NAMES[r[1]], r[2]) for r in results)
bad = [r for r in results if r[2] in ("wrong", "refused", "crash")]
for op, dtype, what, text in bad:
    print(f"{what.upper()} {op} {NAMES[dtype]}: {text}")
for name in DTYPES:
    print(f"  {name:9}", ", ".join(f"{by[name, k]} {k}" for k in ("right", "wrong", "refused", "crash", "unknown", "skipped") if by[name, k]))
print(f"{len(results)} pairs of op and dtype: " + ", ".join(f"{v} {k}" for k, v in count.most_common()))
if missing:
    print("ops without a case:", *missing)
sys.exit(1 if bad else 0)
