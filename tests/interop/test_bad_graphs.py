#!/usr/bin/env python3
"""Graphs and inputs that can't be run: `pare infer` says so in one clear error that names the place, and ends with 2 (or,
where only the numbers at run time are wrong, with 1 or 2); it never crashes, and never answers. Where ONNX Runtime
answers after all, `pare` may too, with the same numbers."""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy as np
    import onnx
    from onnx import TensorProto as T
    from onnx import helper, numpy_helper
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(1 if os.environ.get("CI") == "true" else 77)

PARE = os.environ["PARE_BIN"]
only = sys.argv[1:]
cases = []


def case(name, nodes, ins, consts=(), says=(), feed=None, opset=21, outs=("y",), code=(2,), out_type=T.FLOAT, extra=()):
    """ins: (name, dtype, dims); consts: name -> array; says: what stderr must hold; feed: name -> array."""
    cases.append(locals())


def node(op, ins, outs=("y",), name="n1", **attrs):
    return helper.make_node(op, list(ins), list(outs), name=name, **attrs)


def f32(*dims):
    return (np.arange(int(np.prod(dims)) if dims else 1, dtype=np.float32).reshape(dims) - 3) / 7


def i64(*v):
    return np.array(v, np.int64)


X = ("x", T.FLOAT)
# ---- what comes in ----
relu = [node("Relu", ["x"])]
case("wrong shape", relu, [(*X, [2, 3])], feed={"x": f32(2, 4)}, says=('"x"', "[2, 4]", ", 3]"))
case("wrong rank", relu, [(*X, [2, 3])], feed={"x": f32(6)}, says=('"x"', "[6]", ", 3]"))
case("wrong dtype", relu, [(*X, [2, 3])], feed={"x": f32(2, 3).astype(np.int32)}, says=('"x"', "int32", "float32"))
case("wrong name", relu, [(*X, [2, 3])], feed={"z": f32(2, 3)}, says=('"z"', '"x"'))
case("one too few", [node("Add", ["x", "b"])], [(*X, [2]), ("b", T.FLOAT, [2])], feed={"x": f32(2)}, says=('"b"',))
case("one too many", relu, [(*X, [2])], feed={"x": f32(2), "q": f32(2)}, says=('"q"',))
case("symbols differ", [node("Add", ["x", "b"])], [(*X, ["N", 2]), ("b", T.FLOAT, ["N", 2])],
     feed={"x": f32(3, 2), "b": f32(4, 2)}, says=('"N"', "3", "4", '"b"'))
case("strings", [node("Identity", ["x"])], [("x", T.STRING, [2])], feed={}, says=('"x"', "string"), out_type=T.STRING)
# ---- shapes that don't fit ----
case("reshape count", [node("Reshape", ["x", "s"])], [(*X, [2, 3])], {"s": i64(4, 2)}, says=("Reshape", "n1"))
case("reshape two -1", [node("Reshape", ["x", "s"])], [(*X, [2, 3])], {"s": i64(-1, -1)}, says=("Reshape", "n1"))
case("reshape -2", [node("Reshape", ["x", "s"])], [(*X, [2, 3])], {"s": i64(-2, 3)}, says=("Reshape", "n1"))
case("reshape -1 by 0", [node("Reshape", ["x", "s"], allowzero=1)], [(*X, [0, 3])], {"s": i64(0, -1)}, says=("Reshape", "n1"),
     feed={"x": f32(0, 3)})
case("reshape 0 past the end", [node("Reshape", ["x", "s"])], [(*X, [6])], {"s": i64(2, 3, 0)}, says=("Reshape", "n1"))
case("reshape indivisible", [node("Reshape", ["x", "s"])], [(*X, ["N", 3])], {"s": i64(4, -1)}, says=("Reshape", "n1"),
     feed={"x": f32(3, 3)})
case("reshape overflow", [node("Reshape", ["x", "s"])], [(*X, [2, 3])], {"s": i64(2**40, 2**40)}, says=("Reshape",))
case("kernel too large", [node("Conv", ["x", "w"])], [(*X, [1, 1, 2, 2])], {"w": f32(1, 1, 5, 5)}, says=("Conv", "n1"))
case("conv channels", [node("Conv", ["x", "w"])], [(*X, [1, 3, 8, 8])], {"w": f32(4, 2, 3, 3)}, says=("Conv", "n1", "3", "2"))
case("conv group 0", [node("Conv", ["x", "w"], group=0)], [(*X, [1, 2, 8, 8])], {"w": f32(4, 2, 3, 3)}, says=("Conv", "n1"))
case("conv group indivisible", [node("Conv", ["x", "w"], group=3)], [(*X, [1, 6, 8, 8])], {"w": f32(4, 2, 3, 3)}, says=("Conv", "n1"))
case("conv stride 0", [node("Conv", ["x", "w"], strides=[0, 1])], [(*X, [1, 2, 8, 8])], {"w": f32(4, 2, 3, 3)}, says=("Conv", "n1", "strides"))
case("conv dilation 0", [node("Conv", ["x", "w"], dilations=[0, 1])], [(*X, [1, 2, 8, 8])], {"w": f32(4, 2, 3, 3)}, says=("Conv", "n1", "dilations"))
case("conv bias size", [node("Conv", ["x", "w", "b"])], [(*X, [1, 2, 8, 8])], {"w": f32(4, 2, 3, 3), "b": f32(3)}, says=("Conv", "n1"))
case("conv kernel_shape", [node("Conv", ["x", "w"], kernel_shape=[5, 5])], [(*X, [1, 2, 8, 8])], {"w": f32(4, 2, 3, 3)}, says=("Conv", "n1"))
case("convT channels", [node("ConvTranspose", ["x", "w"])], [(*X, [1, 3, 8, 8])], {"w": f32(4, 2, 3, 3)}, says=("ConvTranspose", "n1"))
case("convT stride 0", [node("ConvTranspose", ["x", "w"], strides=[0, 0])], [(*X, [1, 4, 8, 8])], {"w": f32(4, 2, 3, 3)}, says=("ConvTranspose", "n1"))
case("pool stride 0", [node("MaxPool", ["x"], kernel_shape=[2, 2], strides=[0, 0])], [(*X, [1, 2, 8, 8])], says=("MaxPool", "n1"))
case("pool kernel 0", [node("MaxPool", ["x"], kernel_shape=[0, 2])], [(*X, [1, 2, 8, 8])], says=("MaxPool", "n1"))
case("pool too large", [node("AveragePool", ["x"], kernel_shape=[9, 9])], [(*X, [1, 2, 8, 8])], says=("AveragePool", "n1"), code=(0, 2))  # nothing comes out, as in ONNX Runtime
case("pool pads", [node("MaxPool", ["x"], kernel_shape=[2, 2], pads=[-9, -9, 0, 0])], [(*X, [1, 2, 8, 8])], says=("MaxPool", "n1"))
case("matmul dims", [node("MatMul", ["x", "w"])], [(*X, [2, 3])], {"w": f32(4, 5)}, says=("MatMul", "n1", "3", "4"))
case("gemm dims", [node("Gemm", ["x", "w"])], [(*X, [2, 3])], {"w": f32(4, 5)}, says=("Gemm", "n1"))
case("gemm bias", [node("Gemm", ["x", "w", "b"])], [(*X, [2, 3])], {"w": f32(3, 5), "b": f32(4)}, says=("Gemm", "n1"))
case("add dims", [node("Add", ["x", "b"])], [(*X, [2, 3])], {"b": f32(4)}, says=("Add", "n1", "3", "4"))
case("where dims", [node("Where", ["c", "x", "b"])], [(*X, [2, 3])], {"b": f32(4), "c": np.array([True])}, says=("Where", "n1"))
case("concat dims", [node("Concat", ["x", "b"], axis=0)], [(*X, [2, 3])], {"b": f32(2, 4)}, says=("Concat", "n1"))
case("concat axis", [node("Concat", ["x", "x"], axis=2)], [(*X, [2, 3])], says=("Concat", "n1", "axis"))
case("softmax axis", [node("Softmax", ["x"], axis=5)], [(*X, [2, 3])], says=("Softmax", "n1", "axis"))
case("transpose perm", [node("Transpose", ["x"], perm=[0, 0])], [(*X, [2, 3])], says=("Transpose", "n1"))
case("transpose rank", [node("Transpose", ["x"], perm=[0, 1, 2])], [(*X, [2, 3])], says=("Transpose", "n1"))
case("squeeze not 1", [node("Squeeze", ["x", "a"])], [(*X, [2, 3])], {"a": i64(0)}, says=("Squeeze", "n1"))
case("unsqueeze axis", [node("Unsqueeze", ["x", "a"])], [(*X, [2, 3])], {"a": i64(7)}, says=("Unsqueeze", "n1"))
case("split sums", [node("Split", ["x", "s"], ["y", "z"])], [(*X, [2, 3])], {"s": i64(1, 2)}, says=("Split", "n1"))
case("split negative", [node("Split", ["x", "s"], ["y", "z"])], [(*X, [2, 3])], {"s": i64(-1, 3)}, says=("Split", "n1"))
case("slice step 0", [node("Slice", ["x", "a", "b", "c", "d"])], [(*X, [2, 3])], {"a": i64(0), "b": i64(2), "c": i64(0), "d": i64(0)}, says=("Slice", "n1"))
case("slice axis", [node("Slice", ["x", "a", "b", "c"])], [(*X, [2, 3])], {"a": i64(0), "b": i64(2), "c": i64(9)}, says=("Slice", "n1"))
case("gather axis", [node("Gather", ["x", "i"], axis=4)], [(*X, [2, 3])], {"i": i64(0)}, says=("Gather", "n1"))
case("gather out of range", [node("Gather", ["x", "i"])], [(*X, [2, 3])], {"i": i64(7)}, says=("Gather", "n1"), code=(1, 2))
case("gather out of range later", [node("Gather", ["x", "i"])], [(*X, [2, 3]), ("i", T.INT64, [1])], feed={"x": f32(2, 3), "i": i64(-3)}, says=("Gather", "n1"), code=(1, 2))
case("gather elements out of range", [node("GatherElements", ["x", "i"])], [(*X, [2, 3]), ("i", T.INT64, [1, 1])], feed={"x": f32(2, 3), "i": i64(5).reshape(1, 1)}, says=("GatherElements", "n1"), code=(1, 2))
case("gatherND out of range", [node("GatherND", ["x", "i"])], [(*X, [2, 3]), ("i", T.INT64, [1, 2])], feed={"x": f32(2, 3), "i": i64(1, 3).reshape(1, 2)}, says=("GatherND", "n1"), code=(1, 2))
case("gatherND depth", [node("GatherND", ["x", "i"])], [(*X, [2, 3])], {"i": i64(1, 1, 1).reshape(1, 3)}, says=("GatherND", "n1"))
case("scatterND out of range", [node("ScatterND", ["x", "i", "u"])], [(*X, [2, 3]), ("i", T.INT64, [1, 2])], {"u": f32(1)}, feed={"x": f32(2, 3), "i": i64(1, 3).reshape(1, 2)}, says=("ScatterND", "n1"), code=(1, 2))
case("expand dims", [node("Expand", ["x", "s"])], [(*X, [2, 3])], {"s": i64(2, 4)}, says=("Expand", "n1"))
case("expand negative", [node("Expand", ["x", "s"])], [(*X, [2, 1])], {"s": i64(2, -4)}, says=("Expand", "n1"))
case("tile rank", [node("Tile", ["x", "s"])], [(*X, [2, 3])], {"s": i64(2)}, says=("Tile", "n1"))
case("tile negative", [node("Tile", ["x", "s"])], [(*X, [2, 3])], {"s": i64(2, -1)}, says=("Tile", "n1"))
case("tile overflow", [node("Tile", ["x", "s"])], [(*X, [2, 3])], {"s": i64(2**40, 2**40)}, says=("Tile",), code=(1, 2))
case("pad count", [node("Pad", ["x", "p"])], [(*X, [2, 3])], {"p": i64(1, 1)}, says=("Pad", "n1"))
case("pad too negative", [node("Pad", ["x", "p"])], [(*X, [2, 3])], {"p": i64(-3, 0, 0, 0)}, says=("Pad", "n1"))
case("pad reflect too far", [node("Pad", ["x", "p"], mode="reflect")], [(*X, [2, 3])], {"p": i64(5, 0, 5, 0)}, says=("Pad", "n1"), code=(0, 1, 2))  # numpy goes to and fro
case("pad mode", [node("Pad", ["x", "p"], mode="nonsense")], [(*X, [2, 3])], {"p": i64(1, 0, 1, 0)}, says=("Pad", "n1"))
case("resize to 0", [node("Resize", ["x", "", "", "s"])], [(*X, [1, 1, 4, 4])], {"s": i64(1, 1, 0, 4)}, says=("Resize", "n1"), code=(0, 2))
case("resize negative", [node("Resize", ["x", "", "", "s"])], [(*X, [1, 1, 4, 4])], {"s": i64(1, 1, -2, 4)}, says=("Resize", "n1"))
case("resize scale 0", [node("Resize", ["x", "", "s"])], [(*X, [1, 1, 4, 4])], {"s": np.array([1, 1, 0, 2], np.float32)}, says=("Resize", "n1"))
case("resize scale nan", [node("Resize", ["x", "", "s"])], [(*X, [1, 1, 4, 4])], {"s": np.array([1, 1, np.nan, 2], np.float32)}, says=("Resize", "n1"))
case("resize scale huge", [node("Resize", ["x", "", "s"])], [(*X, [1, 1, 4, 4])], {"s": np.array([1, 1, 1e30, 2], np.float32)}, says=("Resize", "n1"))
case("resize count", [node("Resize", ["x", "", "s"])], [(*X, [1, 1, 4, 4])], {"s": np.array([1, 2], np.float32)}, says=("Resize", "n1"))
case("topk k", [node("TopK", ["x", "k"], ["y", "i"])], [(*X, [2, 3])], {"k": i64(4)}, says=("TopK", "n1", "4", "3"))
case("topk negative", [node("TopK", ["x", "k"], ["y", "i"])], [(*X, [2, 3])], {"k": i64(-1)}, says=("TopK", "n1"))
case("range delta 0", [node("Range", ["a", "b", "c"], ["r"]), node("Add", ["r", "x"], name="n2")], [(*X, [1])], {"a": np.float32(0), "b": np.float32(4), "c": np.float32(0)}, says=("Range", "n1"))
case("range huge", [node("Range", ["a", "b", "c"], ["r"]), node("Add", ["r", "x"], name="n2")], [(*X, [1])], {"a": np.float32(0), "b": np.float32(1e30), "c": np.float32(1)}, says=("Range", "n1"))
case("range nan", [node("Range", ["a", "b", "c"], ["r"]), node("Add", ["r", "x"], name="n2")], [(*X, [1])], {"a": np.float32(0), "b": np.float32(np.nan), "c": np.float32(1)}, says=("Range", "n1"))
case("constant of negative shape", [node("ConstantOfShape", ["s"], ["r"]), node("Add", ["r", "x"], name="n2")], [(*X, [1])], {"s": i64(-2)}, says=("ConstantOfShape", "n1"))
case("constant of huge shape", [node("ConstantOfShape", ["s"], ["r"]), node("Add", ["r", "x"], name="n2")], [(*X, [1])], {"s": i64(2**40, 2**40)}, says=("ConstantOfShape",), code=(1, 2))
case("constant of 1 TB", [node("ConstantOfShape", ["s"], ["r"]), node("Add", ["r", "x"], name="n2")], [(*X, [1])], {"s": i64(2**38)}, says=(), code=(1, 2))
case("one-hot depth", [node("OneHot", ["i", "d", "v"])], [("i", T.INT64, [2])], {"d": i64(-2), "v": f32(2)}, feed={"i": i64(0, 1)}, says=("OneHot", "n1"))
case("depth to space", [node("DepthToSpace", ["x"], blocksize=2)], [(*X, [1, 3, 2, 2])], says=("DepthToSpace", "n1"))
case("depth to space 0", [node("DepthToSpace", ["x"], blocksize=0)], [(*X, [1, 4, 2, 2])], says=("DepthToSpace", "n1"))
case("space to depth", [node("SpaceToDepth", ["x"], blocksize=2)], [(*X, [1, 3, 3, 2])], says=("SpaceToDepth", "n1"))
case("batchnorm channels", [node("BatchNormalization", ["x", "a", "a", "a", "a"])], [(*X, [1, 3, 2, 2])], {"a": f32(4) + 2}, says=("BatchNormalization", "n1"))
case("layernorm axis", [node("LayerNormalization", ["x", "a"], axis=7)], [(*X, [2, 3])], {"a": f32(3)}, says=("LayerNormalization", "n1"))
case("layernorm scale", [node("LayerNormalization", ["x", "a"])], [(*X, [2, 3])], {"a": f32(4)}, says=("LayerNormalization", "n1"))
case("groupnorm groups", [node("GroupNormalization", ["x", "a", "a"], num_groups=2)], [(*X, [1, 3, 2, 2])], {"a": f32(3)}, says=("GroupNormalization", "n1"))
case("groupnorm 0", [node("GroupNormalization", ["x", "a", "a"], num_groups=0)], [(*X, [1, 3, 2, 2])], {"a": f32(3)}, says=("GroupNormalization", "n1"))
case("lrn size 0", [node("LRN", ["x"], size=0)], [(*X, [1, 3, 2, 2])], says=("LRN", "n1"), code=(0, 2))
case("einsum", [node("Einsum", ["x", "x"], equation="ij,jk->ik")], [(*X, [2, 3])], says=("Einsum", "n1"))
case("einsum nonsense", [node("Einsum", ["x"], equation="i>>j")], [(*X, [2, 3])], says=("Einsum", "n1"))
case("argmax axis", [node("ArgMax", ["x"], axis=4)], [(*X, [2, 3])], says=("ArgMax", "n1"), out_type=T.INT64)
case("argmax of nothing", [node("ArgMax", ["x"], axis=0)], [(*X, [0, 3])], feed={"x": f32(0, 3)}, says=("ArgMax", "n1"), out_type=T.INT64, code=(1, 2))
case("reduce axis", [node("ReduceMean", ["x", "a"])], [(*X, [2, 3])], {"a": i64(4)}, says=("ReduceMean", "n1"))
case("cumsum axis", [node("CumSum", ["x", "a"])], [(*X, [2, 3])], {"a": i64(4)}, says=("CumSum", "n1"))
case("mod by 0", [node("Mod", ["x", "b"])], [("x", T.INT64, [2])], {"b": i64(0, 1)}, feed={"x": i64(3, 4)}, says=("Mod", "n1"), out_type=T.INT64, code=(0, 1, 2))
case("int div by 0", [node("Div", ["x", "b"])], [("x", T.INT64, [2])], {"b": i64(0, 1)}, feed={"x": i64(3, 4)}, says=("Div", "n1"), out_type=T.INT64, code=(0, 1, 2))
case("int div overflow", [node("Div", ["x", "b"])], [("x", T.INT64, [2])], {"b": i64(-1, 1)}, feed={"x": i64(-2**63, 4)}, says=("Div", "n1"), out_type=T.INT64, code=(0, 1, 2))
# ---- arithmetic on shapes ----
shape0 = [node("Shape", ["x"], ["s"], name="n0")]
case("shape / 0", shape0 + [node("Div", ["s", "z"], ["t"]), node("Reshape", ["x", "t"], name="n2")], [(*X, ["N", 3])], {"z": i64(0, 1)}, feed={"x": f32(2, 3)}, says=("Div", "n1"))
case("shape mod 0", shape0 + [node("Mod", ["s", "z"], ["t"]), node("Reshape", ["x", "t"], name="n2")], [(*X, ["N", 3])], {"z": i64(0, 1)}, feed={"x": f32(2, 3)}, says=("Mod", "n1"))
case("shape negative", shape0 + [node("Sub", ["s", "z"], ["t"]), node("ConstantOfShape", ["t"], name="n2")], [(*X, ["N", 3])], {"z": i64(9, 9)}, feed={"x": f32(2, 3)}, says=("ConstantOfShape", "n2"))
case("shape times too much", shape0 + [node("Mul", ["s", "z"], ["t"]), node("Expand", ["x", "t"], name="n2")], [(*X, ["N", 1])], {"z": i64(2**62, 2**62)}, feed={"x": f32(2, 1)}, says=(), code=(1, 2))
case("data decides a shape", [node("NonZero", ["x"], ["i"]), node("Cast", ["i"], name="n2", to=1)], [(*X, [4])], says=("NonZero", "n1"))
case("data decides a shape later", [node("ReduceSum", ["q"], ["k"], keepdims=1), node("Reshape", ["x", "k"], name="n2")], [(*X, [4]), ("q", T.INT64, ["K"])], feed={"x": f32(4), "q": i64(2, 3)}, says=("Reshape", "n2"))
# ---- ops and opsets ----
case("nobody's op", [helper.make_node("Frobnicate", ["x"], ["y"], name="n1", domain="my.own")], [(*X, [2])], says=("Frobnicate", "n1"), extra=("my.own",))
case("no such op", [node("Frobnicate", ["x"])], [(*X, [2])], says=("Frobnicate",))
case("opset 0", relu, [(*X, [2])], opset=0, says=("opset", "0"))
case("opset -5", relu, [(*X, [2])], opset=-5, says=("opset", "-5"))
case("opset 99", relu, [(*X, [2])], opset=99, says=("opset", "99"))
case("attribute missing", [node("Concat", ["x", "x"])], [(*X, [2])], says=("Concat", "axis"))
case("attribute of another type", [node("Concat", ["x", "x"], axis=1.5)], [(*X, [2])], says=("Concat", "axis"))
case("input missing", [node("Conv", ["x"])], [(*X, [1, 1, 4, 4])], says=("Conv", "n1"))
case("too many inputs", [node("Relu", ["x", "x"])], [(*X, [2])], says=("Relu", "n1"))
case("cast to nothing", [node("Cast", ["x"], to=77)], [(*X, [2])], says=("Cast", "n1"))
case("cast to string", [node("Cast", ["x"], to=T.STRING)], [(*X, [2])], says=("Cast", "n1"), out_type=T.STRING)
case("mixed dtypes", [node("Add", ["x", "b"])], [(*X, [2])], {"b": i64(1, 2)}, says=("Add", "n1"))
case("bool sum", [node("Add", ["x", "x"])], [("x", T.BOOL, [2])], feed={"x": np.array([True, False])}, says=("Add", "n1"), out_type=T.BOOL, code=(0, 2))
case("huge input", relu, [(*X, [2**40, 2**40])], says=(), feed={}, code=(1, 2))


def model_of(c):
    m = helper.make_model(helper.make_graph(
        c["nodes"], "g", [helper.make_tensor_value_info(n, t, d) for n, t, d in c["ins"]],
        [helper.make_tensor_value_info(o, c["out_type"], None) for o in c["outs"]],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in dict(c["consts"]).items()]))
    del m.opset_import[:]
    m.opset_import.add(domain="", version=c["opset"])
    for d in c["extra"]:
        m.opset_import.add(domain=d, version=1)
    m.ir_version = 10
    return m


def feeds(c):
    if c["feed"] is not None:
        return c["feed"]
    return {n: f32(*d) for n, t, d in c["ins"]}


def of_ort(path, feed):
    """What ONNX Runtime says, in a process of its own: some of these end it."""
    code = """
import sys, numpy as np, onnxruntime as ort
so = ort.SessionOptions(); so.log_severity_level = 4
try: print(ort.InferenceSession(sys.argv[1], so, providers=["CPUExecutionProvider"]).run(None, dict(np.load(sys.argv[2]))))
except Exception as e: print(str(e).replace(chr(10), " ")[:200])
"""
    np.savez(f"{path}.npz", **feed)
    p = subprocess.run([sys.executable, "-c", code, str(path), f"{path}.npz"], capture_output=True, text=True)
    return p.stdout.strip() if not p.returncode else f"exit {p.returncode}"


failed = 0
with tempfile.TemporaryDirectory() as tmp:
    for k, c in enumerate(cases):
        if only and not any(o in c["name"] for o in only):
            continue
        m, feed, path = model_of(c), feeds(c), Path(tmp) / f"{k}.onnx"
        path.write_bytes(m.SerializeToString())
        cmd = [PARE, "infer", str(path), "--out", f"{tmp}/{k}", "--quiet"]
        for name, a in feed.items():
            np.save(f"{tmp}/{k}-{name}.npy", a)
            cmd += ["--in", f"{name}={tmp}/{k}-{name}.npy"]
        try:
            p = subprocess.run(cmd, capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            p = subprocess.CompletedProcess(cmd, -99, "", "hangs")
        why = []
        if p.returncode not in c["code"]:
            why.append(f"exit {p.returncode}, not {c['code']}")
        if p.returncode:
            errors = p.stderr.count("error[")
            if errors != 1:
                why.append(f"{errors} errors")
            why += [f"does not say {s!r}" for s in c["says"] if s not in p.stderr]
        if why:
            failed += 1
            print(f"FAILED {c['name']}: {'; '.join(why)}\n    pare: {p.stderr.strip()[:400]}\n    ort: {of_ort(path, feed)}")
        elif only:
            print(f"{c['name']}: exit {p.returncode}: {p.stderr.strip()}\n    ort: {of_ort(path, feed)}")
print(f"{len(cases)} cases, {failed} failed")
sys.exit(1 if failed else 0)
