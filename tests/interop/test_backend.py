#!/usr/bin/env python3
"""ONNX's own backend tests through `pare infer`: Debian's libonnx-testdata (node, simple), and the newest node cases, which
the onnx wheel generates. A case counts when all its ops are among the engine's. A refusal counts as failed."""
import collections
import glob
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy as np
    import onnx
    from onnx import numpy_helper
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(1 if os.environ.get("CI") == "true" else 77)

PARE = os.environ["PARE_BIN"]
LISTED = set("""Conv ConvTranspose Gemm MatMul BatchNormalization LayerNormalization InstanceNormalization GroupNormalization
Relu LeakyRelu PRelu Elu Selu Clip Sigmoid HardSigmoid HardSwish Tanh Erf Gelu Softplus Mish Add Sub Mul Div Pow Sqrt Exp Log
Neg Abs Reciprocal Floor Ceil Round Sign Min Max Mean Sum Where Equal Greater GreaterOrEqual Less LessOrEqual And Or Not
MaxPool AveragePool GlobalAveragePool GlobalMaxPool ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2
ArgMax ArgMin Softmax LogSoftmax Flatten Reshape Transpose Squeeze Unsqueeze Concat Split Slice Gather Expand Tile Pad Resize
Upsample DepthToSpace SpaceToDepth Cast Shape Constant ConstantOfShape Range Identity Dropout LRN TopK Einsum CumSum
GatherElements GatherND ScatterND OneHot Trilu Mod Sin Cos QuantizeLinear DequantizeLinear DynamicQuantizeLinear QLinearConv
QLinearMatMul MatMulInteger ConvInteger""".split())
# Cases that are left out: name -> why. At most 2 % of all runs, and whatever else can't be read is a failure.
STRINGS = "strings, which are no numbers: pare refuses them by name"
EXCEPTIONS = {
    "test_identity_sequence": "a sequence: no tensors to run on",
    "test_identity_opt": "an optional: no tensors to run on",
    "test_training_dropout": "draws from numpy's generator",
    "test_training_dropout_default": "draws from numpy's generator",
    "test_training_dropout_default_mask": "draws from numpy's generator",
    "test_training_dropout_mask": "draws from numpy's generator",
    "test_cast_FLOAT_to_STRING": STRINGS,
    "test_cast_STRING_to_FLOAT": STRINGS,
    "test_castlike_FLOAT_to_STRING_expanded": STRINGS,
    "test_castlike_STRING_to_FLOAT_expanded": STRINGS,
    "test_equal_string": STRINGS,
    "test_equal_string_broadcast": STRINGS,
}
# The same in Debian's older set alone; the newest cases of these names are run.
OLD_EXCEPTIONS = {
    "test_cast_FLOAT_to_BFLOAT16": "made before bfloat16 was rounded: its numbers are cut off",
    "test_castlike_BFLOAT16_to_FLOAT_expanded": "`like` is of shape [1], the model declares [3, 4]",
    "test_castlike_FLOAT_to_BFLOAT16_expanded": "`like` is of shape [1], the model declares [3, 4]",
}
MOST_LEFT_OUT = 0.02
LEAST = 2100  # runs that must pass; fewer: the cases were not found
only = sys.argv[1] if len(sys.argv) > 1 else None


def cases(tmp):
    """(model file, its name): the files of Debian's package, then the wheel's cases written out."""
    roots = glob.glob("/usr/share/libonnx-testdata/data") + glob.glob("/usr/lib/python3/dist-packages/onnx/backend/test/data")
    for root in map(Path, roots):
        for kind in ("node", "simple"):
            yield from sorted(root.glob(f"{kind}/*/model.onnx"))
    from onnx.backend.test.case.node import collect_testcases
    for case in collect_testcases(None):
        if case.model is None or not case.data_sets:
            continue
        folder = Path(tmp) / "newest" / case.name
        try:
            for k, (ins, outs) in enumerate(case.data_sets):
                data = folder / f"test_data_set_{k}"
                data.mkdir(parents=True)
                for which, values, infos in (("input", ins, case.model.graph.input), ("output", outs, case.model.graph.output)):
                    for i, (v, info) in enumerate(zip(values, infos, strict=True)):
                        t = v if isinstance(v, onnx.TensorProto) else numpy_helper.from_array(np.asarray(v), info.name)
                        (data / f"{which}_{i}.pb").write_bytes(t.SerializeToString())
        except Exception:  # sequences, optionals
            continue
        onnx.save(case.model, folder / "model.onnx")
        yield folder / "model.onnx"


def load(path):
    t = onnx.TensorProto()
    t.ParseFromString(path.read_bytes())
    return t


def numbers(path):
    return int(re.search(r"(\d+)\.pb$", path.name).group(1))


def typed(t, info):
    """Debian's set holds bfloat16 as uint16 of the same bits; the model says what is meant."""
    wanted = info.type.tensor_type.elem_type
    if t.data_type == onnx.TensorProto.UINT16 and wanted == onnx.TensorProto.BFLOAT16:
        t.data_type = wanted
    return t


passed = failed = 0
left_out = collections.Counter()
refused = collections.Counter()
with tempfile.TemporaryDirectory() as tmp:
    for n, model in enumerate(cases(tmp)):
        if only and only not in str(model):
            continue
        m = onnx.load(model)
        ops = {x.op_type for x in m.graph.node if x.domain in ("", "ai.onnx")}
        foreign = {x.op_type for x in m.graph.node if x.domain not in ("", "ai.onnx")}
        if foreign or not ops <= LISTED:
            continue
        why = EXCEPTIONS.get(model.parent.name)
        if not why and "newest" not in model.parts:
            why = OLD_EXCEPTIONS.get(model.parent.name)
        if why:
            left_out[f"{model.parent.name}: {why}"] += 1
            continue
        for data in sorted(model.parent.glob("test_data_set_*")):
            out = Path(tmp) / str(n)
            cmd = [PARE, "infer", str(model), "--out", str(out), "--quiet"]
            try:
                files = sorted(data.glob("input_*.pb"), key=numbers)
                for p in files:
                    t = load(p)
                    if typed(t, m.graph.input[numbers(p)]).data_type != load(p).data_type:
                        p = Path(tmp) / f"{n}-{p.name}"
                        p.write_bytes(t.SerializeToString())
                    cmd += ["--in", str(p)]
                want = [typed(load(p), o) for p, o in
                        zip(sorted(data.glob("output_*.pb"), key=numbers), m.graph.output, strict=True)]
                want = [numpy_helper.to_array(t) for t in want]
            except Exception as e:
                failed += 1
                print(f"FAILED {model.parent.name}: its data can't be read: {e}")
                continue
            p = subprocess.run(cmd, capture_output=True, text=True)
            if p.returncode == 2:
                refused[(p.stderr.strip().splitlines() or ["?"])[0][-140:]] += 1
                print(f"REFUSED {model.parent.name}: {p.stderr.strip().splitlines()[:1]}")
                failed += 1
                continue
            if p.returncode:
                failed += 1
                print(f"FAILED {model.parent.name}: exit {p.returncode}: {p.stderr[:300]}")
                continue
            bad = None
            for o, w in zip(m.graph.output, want, strict=True):
                stem = re.sub(r"[/\x00-\x1f]", "_", o.name)
                w = np.asarray(w)
                if (out / f"{stem}.pb").exists():
                    got = numpy_helper.to_array(load(out / f"{stem}.pb")).astype(np.float32)
                else:
                    got = np.load(out / f"{stem}.npy")
                if w.dtype.kind not in "biufc":  # ml_dtypes: compare as float32
                    w = w.astype(np.float32)
                    got = got.astype(np.float32)
                if got.shape != w.shape:
                    bad = f"{o.name}: shape {got.shape}, not {w.shape}"
                elif not np.allclose(got.astype(np.float64) if got.dtype.kind == "f" else got,
                                     w.astype(np.float64) if w.dtype.kind == "f" else w, rtol=1e-3, atol=1e-7, equal_nan=True):
                    bad = f"{o.name}: {got.ravel()[:5]}, not {w.ravel()[:5]}"
            if bad:
                failed += 1
                print(f"FAILED {model.parent.name}: {bad}")
            else:
                passed += 1
for why, k in refused.most_common():
    print(f"  refused {k}: {why}")
for name, k in left_out.most_common():
    print(f"  left out {k}: {name}")
n_left, total = left_out.total(), passed + failed + left_out.total()
print(f"{passed} passed, {failed} failed, {n_left} left out ({n_left / max(total, 1):.2%})")
if not only:
    if passed < LEAST:
        failed += 1
        print(f"FAILED: at least {LEAST} must pass")
    if n_left > MOST_LEFT_OUT * total:
        failed += 1
        print(f"FAILED: more than {MOST_LEFT_OUT:.0%} of the runs are left out")
sys.exit(1 if failed else 0)
