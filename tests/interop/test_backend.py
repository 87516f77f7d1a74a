#!/usr/bin/env python3
"""ONNX's own backend tests through `pare infer`: Debian's libonnx-testdata (node, simple) and the onnx wheel's. A case counts
when pare takes its model; a model pare refuses by name (exit 2) is listed at the end, never counted as passed."""
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
    sys.exit(77)

PARE = os.environ["PARE_BIN"]
LISTED = set("""Conv ConvTranspose Gemm MatMul BatchNormalization LayerNormalization InstanceNormalization GroupNormalization
Relu LeakyRelu PRelu Elu Selu Clip Sigmoid HardSigmoid HardSwish Tanh Erf Gelu Softplus Mish Add Sub Mul Div Pow Sqrt Exp Log
Neg Abs Reciprocal Floor Ceil Round Sign Min Max Mean Sum Where Equal Greater GreaterOrEqual Less LessOrEqual And Or Not
MaxPool AveragePool GlobalAveragePool GlobalMaxPool ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2
ArgMax ArgMin Softmax LogSoftmax Flatten Reshape Transpose Squeeze Unsqueeze Concat Split Slice Gather Expand Tile Pad Resize
Upsample DepthToSpace SpaceToDepth Cast Shape Constant ConstantOfShape Range Identity Dropout LRN TopK Einsum CumSum
GatherElements GatherND ScatterND OneHot Trilu Mod Sin Cos QuantizeLinear DequantizeLinear DynamicQuantizeLinear QLinearConv
QLinearMatMul MatMulInteger ConvInteger""".split())
only = sys.argv[1] if len(sys.argv) > 1 else None


def cases():
    roots = [Path(onnx.__file__).parent / "backend/test/data"]
    roots += [Path(p) for p in glob.glob("/usr/share/libonnx-testdata/data") + glob.glob("/usr/lib/python3/dist-packages/onnx/backend/test/data")]
    seen = set()
    for root in roots:
        for kind in ("node", "simple"):
            for model in sorted(root.glob(f"{kind}/*/model.onnx")):
                if model.resolve() in seen:
                    continue
                seen.add(model.resolve())
                yield model


def load(path):
    t = onnx.TensorProto()
    t.ParseFromString(path.read_bytes())
    return t


def numbers(path):
    return int(re.search(r"(\d+)\.pb$", path.name).group(1))


passed = failed = 0
refused = collections.Counter()
with tempfile.TemporaryDirectory() as tmp:
    for n, model in enumerate(cases()):
        if only and only not in str(model):
            continue
        m = onnx.load(model)
        ops = {x.op_type for x in m.graph.node if x.domain in ("", "ai.onnx")}
        foreign = {x.op_type for x in m.graph.node if x.domain not in ("", "ai.onnx")}
        if foreign or not ops <= LISTED:
            continue
        for data in sorted(model.parent.glob("test_data_set_*")):
            try:
                ins = [load(p) for p in sorted(data.glob("input_*.pb"), key=numbers)]
                want = [load(p) for p in sorted(data.glob("output_*.pb"), key=numbers)]
                want = [numpy_helper.to_array(t) for t in want]
            except Exception:
                continue  # sequences, optionals
            if any(t.data_type == onnx.TensorProto.STRING for t in ins) or any(w.dtype == object for w in want):
                continue
            out = Path(tmp) / str(n)
            cmd = [PARE, "infer", str(model), "--out", str(out), "--quiet"]
            for p in sorted(data.glob("input_*.pb"), key=numbers):
                cmd += ["--in", str(p)]
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
            for o, w in zip(m.graph.output, want):
                got = np.load(out / (re.sub(r"[/\x00-\x1f]", "_", o.name) + ".npy"))
                w = np.asarray(w)
                if w.dtype.kind not in "biufc":  # ml_dtypes: compare as float32
                    w = w.astype(np.float32)
                    if got.dtype.kind != "f" or got.dtype.itemsize < 4:
                        continue
                if "dropout" in model.parent.name and "training" in model.parent.name or "bernoulli" in model.parent.name:
                    continue
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
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
