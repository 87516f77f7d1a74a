#!/usr/bin/env python3
"""Quantized files against ONNX Runtime. Single ops between rounding points, in QDQ form and as QLinear ops, of random sizes
and parameters: on equal inputs the 8-bit results differ by one step at most, for the cpu backend and for the oracle. Small
nets that onnxruntime.quantization made (QDQ and QOperator, uint8 and int8 activations, per channel, int8 everywhere as for
TensorRT; dynamic; weights alone): SQNR of 40 dB between the two, and nothing that the oracle would run in floats.

Weights have 7 bits throughout: with 8, ONNX Runtime's own sums saturate on CPUs without VNNI.

env: PARE_BIN, PARE_SOURCE, PARE_BUILD
options: --graphs N, single ops of each kind (6); --seed S (1)"""
import argparse
import subprocess
import tempfile
from pathlib import Path

import common
from common import BUILD, expect, needed, pare

with needed():
    import numpy as np
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto as T
    from onnx import helper as h
    from onnx import numpy_helper as nh
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

ORACLE = BUILD / "tests/tool_oracle"
ort.set_default_logger_severity(3)
CODES = {T.UINT8: np.uint8, T.INT8: np.int8}


def tensor(name, a):
    return nh.from_array(np.asarray(a), name)


# ---- a graph that grows ----

class Graph:
    """Inputs are 8-bit numbers; each op stands between DequantizeLinear and QuantizeLinear."""

    def __init__(self, rng):
        self.rng, self.nodes, self.inits, self.inputs, self.feeds = rng, [], [], [], {}

    def params(self, name, dtype, scale=None):
        rng = self.rng
        zero = int(rng.integers(0, 256)) if dtype == T.UINT8 else int(rng.integers(-128, 128))
        if rng.random() < 0.3:
            zero = 0
        s = np.float32(scale if scale else rng.uniform(0.004, 0.05))
        self.inits += [tensor(name + "_s", s), tensor(name + "_z", CODES[dtype](zero))]
        return float(s)

    def input(self, name, dims, dtype):
        info = np.iinfo(CODES[dtype])
        self.feeds[name] = self.rng.integers(info.min, info.max + 1, dims).astype(CODES[dtype])
        self.inputs.append(h.make_tensor_value_info(name, dtype, dims))

    def node(self, op, inputs, out, domain="", **attrs):
        self.nodes.append(h.make_node(op, inputs, [out], domain=domain, **attrs))
        return out

    def weights(self, name, dims, axis, dtype=T.INT8):
        """7-bit weights, one scale or one a channel."""
        rng = self.rng
        codes = rng.integers(-64, 64, dims)
        n = 1 if axis is None else dims[axis]
        s = rng.uniform(0.002, 0.02, n).astype(np.float32)
        zero = np.zeros(n, np.int8) if dtype == T.INT8 else np.full(n, 128, np.uint8)
        codes = codes.astype(np.int8) if dtype == T.INT8 else (codes + 128).astype(np.uint8)
        if axis is None:
            s, zero = s[0], zero[0]
        self.inits += [tensor(name + "_q", codes), tensor(name + "_s", s), tensor(name + "_z", zero)]
        return s

    def bias(self, name, n, scale):
        codes = self.rng.integers(-3000, 3000, n).astype(np.int32)
        s = np.asarray(scale, np.float32)
        self.inits += [tensor(name + "_q", codes), tensor(name + "_s", s)]

    def model(self, outs, dtype, ms=False):
        values = [h.make_tensor_value_info(o, d, None) for o, d in outs]
        g = h.make_graph(self.nodes, "g", self.inputs, values, self.inits)
        sets = [h.make_opsetid("", 17)] + ([h.make_opsetid("com.microsoft", 1)] if ms else [])
        return h.make_model(g, opset_imports=sets, ir_version=8)


def read(g, name, axis=None):
    attrs = {} if axis is None else {"axis": axis}
    return g.node("DequantizeLinear", [name + "_q" if name + "_q" in {i.name for i in g.inits} else name,
                                       name + "_s", name + "_z"], name + "_d", **attrs)


def read_bias(g, name, axis):
    return g.node("DequantizeLinear", [name + "_q", name + "_s"], name + "_d", **({} if axis is None else {"axis": axis}))


def write(g, name):
    return g.node("QuantizeLinear", [name, name + "_s", name + "_z"], name + "_q")


def spread(n, sx, sw):
    """A result's scale that uses the 8 bits well for sums of n products."""
    return float(np.mean(sw)) * sx * np.sqrt(n) * 37 * 74 / 40


# ---- single ops in QDQ form ----

def qdq_product(rng, op):
    g = Graph(rng)
    dtype = T.UINT8 if rng.random() < 0.5 else T.INT8
    per = rng.random() < 0.5
    sx = g.params("x", dtype)
    attrs, bias = {}, rng.random() < 0.7
    n, c, oc = int(rng.integers(1, 4)), int(rng.integers(1, 20)), int(rng.integers(1, 20))
    if op == "Conv":
        k, group = int(rng.choice([1, 3, 5])), 1
        if rng.random() < 0.4:
            group = c
            oc = c * int(rng.integers(1, 3))
        hw = int(rng.integers(k, 14))
        g.input("x", [n, c, hw, hw], dtype)
        dims, axis, fan = [oc, c // group, k, k], 0, c // group * k * k
        attrs = {"group": group, "pads": [int(rng.integers(0, k))] * 4, "strides": [int(rng.integers(1, 3))] * 2}
    elif op == "ConvTranspose":
        g.input("x", [n, c, 5, 5], dtype)
        dims, axis, fan, bias = [c, oc, 3, 3], 1, c * 4, False
        attrs = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
        per = False
    elif op == "Gemm":
        k = int(rng.integers(1, 70))
        g.input("x", [n, k], dtype)
        turned = rng.random() < 0.6
        dims, axis, fan = ([oc, k], 0, k) if turned else ([k, oc], 1, k)
        attrs = {"transB": int(turned)}
    else:
        k = int(rng.integers(1, 70))
        g.input("x", [n, 3, k], dtype)
        dims, axis, fan, bias = [k, oc], 1, k, False
    sw = g.weights("w", dims, axis if per else None)
    inputs = [read(g, "x"), read(g, "w", axis if per else None)]
    if bias:
        g.bias("b", oc, np.float32(sx) * sw)
        inputs.append(read_bias(g, "b", 0 if per else None))
    value = g.node(op, inputs, "y", **attrs)
    if rng.random() < 0.4:
        g.nodes[-1].output[0] = "r"
        value = g.node("Relu", ["r"], "y")
    g.params("y", dtype, spread(fan, sx, sw))
    return g, [(write(g, value), dtype)]


def qdq_sum(rng, op):
    """A convolution, rounded, plus a shortcut, as residual nets have it."""
    g = Graph(rng)
    dtype = T.UINT8 if rng.random() < 0.6 else T.INT8
    c, oc, hw = int(rng.integers(1, 12)), int(rng.integers(1, 24)), int(rng.integers(3, 9))
    sx = g.params("x", dtype)
    g.input("x", [2, c, hw, hw], dtype)
    g.input("s", [2, oc, hw, hw], dtype)
    g.params("s", dtype)
    sw = g.weights("w", [oc, c, 3, 3], 0)
    g.node("Conv", [read(g, "x"), read(g, "w", 0)], "c", pads=[1, 1, 1, 1])
    sc = g.params("c", dtype, spread(9 * c, sx, sw))
    c_d = g.node("DequantizeLinear", [write(g, "c"), "c_s", "c_z"], "c_d")
    both = [c_d, read(g, "s")]
    if rng.random() < 0.5:
        both.reverse()
    g.node(op, both, "a")
    g.params("y", dtype, max(sc, 0.03) * (1.5 if op == "Add" else 30))
    if rng.random() < 0.5:
        value = g.node("Relu", ["a"], "y")
    else:
        g.nodes[-1].output[0] = value = "y"
    return g, [(write(g, value), dtype)]


def qdq_plain(rng, op):
    g = Graph(rng)
    dtype = T.UINT8 if rng.random() < 0.6 else T.INT8
    dims = [int(rng.integers(1, 3)), int(rng.integers(1, 20)), int(rng.integers(3, 9)), int(rng.integers(3, 9))]
    attrs, scale, n = {}, None, 1
    if op in ("Add", "Mul", "Concat"):
        n = 2
    if op == "Concat":
        attrs["axis"] = 1
    if op == "AveragePool":
        attrs = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": int(rng.integers(0, 2))}
    if op == "MaxPool":
        attrs = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    if op == "Softmax":
        attrs, scale = {"axis": -1}, 1 / 256
    if op == "Sigmoid":
        scale = 1 / 256
    if op == "LeakyRelu":
        attrs["alpha"] = 0.1
    if op == "Transpose":
        attrs["perm"] = [0, 2, 3, 1]
    names = []
    for i in range(n):
        g.params(f"x{i}", dtype)
        g.input(f"x{i}", dims, dtype)
        names.append(read(g, f"x{i}"))
    g.node(op, names, "y", **attrs)
    if op in ("MaxPool", "Transpose") and rng.random() < 0.5:  # the same parameters on both sides
        g.inits += [tensor("y_s", nh.to_array(g.inits[0])), tensor("y_z", nh.to_array(g.inits[1]))]
    else:
        g.params("y", dtype, scale)
    return g, [(write(g, "y"), dtype)]


# ---- single QLinear ops ----

def qlinear(rng, op):
    g = Graph(rng)
    dtype = T.UINT8 if rng.random() < 0.6 else T.INT8
    dims = [int(rng.integers(1, 3)), int(rng.integers(1, 20)), int(rng.integers(3, 9)), int(rng.integers(3, 9))]
    domain = "" if op in ("QLinearConv", "QLinearMatMul") else "com.microsoft"
    attrs, scale = {}, None
    sx = g.params("x", dtype)
    x, y = ["x", "x_s", "x_z"], ["y_s", "y_z"]
    if op == "QLinearConv":
        g.input("x", dims, dtype)
        oc = int(rng.integers(1, 20))
        per = rng.random() < 0.5
        sw = g.weights("w", [oc, dims[1], 3, 3], 0 if per else None)
        inputs = x + ["w_q", "w_s", "w_z"] + y
        if rng.random() < 0.6:
            g.bias("b", oc, np.float32(sx) * sw)
            inputs.append("b_q")
        scale = spread(9 * dims[1], sx, sw)
        attrs = {"pads": [1, 1, 1, 1]}
    elif op in ("QLinearMatMul", "QGemm"):
        k, n = int(rng.integers(1, 60)), int(rng.integers(1, 30))
        g.input("x", [4, k], dtype)
        turned = op == "QGemm" and rng.random() < 0.5
        per = rng.random() < 0.5
        sw = g.weights("w", [n, k] if turned else [k, n], (0 if turned else 1) if per else None)
        scale = spread(k, sx, sw)
        inputs = x + ["w_q", "w_s", "w_z"]
        if op == "QGemm":
            g.bias("b", n, np.float32(sx) * sw)
            inputs.append("b_q" if rng.random() < 0.6 else "")
            attrs = {"transB": int(turned)}
        inputs += y
    elif op in ("QLinearAdd", "QLinearMul"):
        g.input("x", dims, dtype)
        g.params("z", dtype)
        g.input("z", dims, dtype)
        inputs = x + ["z", "z_s", "z_z"] + y
        scale = 0.05 if op == "QLinearAdd" else None
    elif op == "QLinearConcat":
        g.input("x", dims, dtype)
        g.params("z", dtype)
        g.input("z", dims, dtype)
        inputs = y + x + ["z", "z_s", "z_z"]
        attrs["axis"] = int(rng.integers(1, 3))
    else:
        g.input("x", dims, dtype)
        inputs = x + y
        attrs = {"QLinearLeakyRelu": {"alpha": 0.2}, "QLinearSoftmax": {"axis": 1 if rng.random() < 0.5 else -1, "opset": 13},
                 "QLinearAveragePool": {"kernel_shape": [2, 2], "strides": [1, 2], "pads": [1, 0, 0, 1]}}.get(op, {})
        scale = {"QLinearSigmoid": 1 / 256, "QLinearSoftmax": 1 / 256}.get(op)
    g.params("y", dtype, scale)
    if op == "QLinearSoftmax":  # ONNX Runtime takes these alone
        g.inits[-1] = tensor("y_z", CODES[dtype](0 if dtype == T.UINT8 else -128))
    return g, [(g.node(op, inputs, "out", domain=domain, **attrs), dtype)]


# ---- running ----

def reference(path, feeds):
    s = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return s.run(None, feeds)


def run_pare(path, feeds, folder):
    args = []
    for name, a in feeds.items():
        f = folder / f"in-{name}.npy"
        np.save(f, a)
        args += ["--in", f"{name}={f}" if len(feeds) > 1 else f]
    run = pare("infer", path, *args, "--out", folder / "got", "--quiet")
    if run.returncode:
        return None
    return [np.load(common.output_file(folder / "got", o.name)) for o in onnx.load(path).graph.output]


def run_oracle(path, feeds, folder, how="exact"):
    """Outputs, and the lines about nodes."""
    model = onnx.load(path)
    files = []
    for i in model.graph.input:
        f = folder / f"in-{i.name}.npy"
        np.save(f, feeds[i.name])
        files.append(str(f))
    out = folder / "oracle"
    out.mkdir(exist_ok=True)
    run = subprocess.run([str(ORACLE), how, str(path), str(out), *files], capture_output=True, text=True, timeout=300)
    expect(run.returncode == 0, f"{path.stem}: the oracle ends with {run.returncode}\n{run.stderr}")
    if run.returncode:
        return None, []
    return [np.load(out / f"{i}.npy") for i in range(len(model.graph.output))], run.stdout.splitlines()


def steps(a, b):
    return int(np.abs(a.astype(np.int32) - b.astype(np.int32)).max()) if a.size else 0


def single(make, op, rng, folder, what):
    g, outs = make(rng, op)
    model = g.model(outs, None, ms=make is qlinear)
    path = folder / "op.onnx"
    onnx.save(model, path)
    want = reference(path, g.feeds)
    for how, got in (("pare", run_pare(path, g.feeds, folder)), ("the oracle", run_oracle(path, g.feeds, folder)[0])):
        if got is None:
            continue
        same = all(a.shape == b.shape and a.dtype == b.dtype for a, b in zip(got, want, strict=True))
        far = max((steps(a, b) for a, b in zip(got, want, strict=True)), default=0) if same else -1
        if not same or far > 1:
            keep = Path(tempfile.gettempdir()) / f"pare-int8-{op}.onnx"
            onnx.save(model, keep)
            expect(False, f"{what}: {how} is {far} steps from ONNX Runtime; the graph: {keep}")
        else:
            expect(True, what)


# ---- nets ----

def floats(rng, name, *dims):
    fan = int(np.prod(dims[1:])) or 1
    return tensor(name, (rng.normal(size=dims) / np.sqrt(fan)).astype(np.float32))


def net(rng):
    """Everything at once: plain and depthwise convolutions, a shortcut, Concat, a squeeze-and-excite gate, poolings."""
    n, w = [], []

    def conv(x, out, ci, co, k=3, group=1, act=None, **attrs):
        w.extend([floats(rng, f"{out}_w", co, ci // group, k, k), floats(rng, f"{out}_b", co)])
        n.append(h.make_node("Conv", [x, f"{out}_w", f"{out}_b"], [out + ("_c" if act else "")],
                             pads=[k // 2] * 4, group=group, kernel_shape=[k, k], **attrs))
        if act == "Clip":
            n.append(h.make_node("Clip", [out + "_c", "zero", "six"], [out]))
        elif act:
            n.append(h.make_node(act, [out + "_c"], [out]))
        return out

    w.extend([tensor("zero", np.float32(0)), tensor("six", np.float32(6))])
    x = conv("x", "stem", 3, 16, act="Relu", strides=[2, 2])
    n.append(h.make_node("MaxPool", [x], ["pool"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]))
    a = conv(conv("pool", "a1", 16, 16, act="Relu"), "a2", 16, 16)
    n += [h.make_node("Add", [a, "pool"], ["sum"]), h.make_node("Relu", ["sum"], ["res"])]
    b = conv(conv("res", "b1", 16, 32, k=1, act="Clip"), "b2", 32, 32, group=32, act="Clip", strides=[2, 2])
    n.append(h.make_node("GlobalAveragePool", [b], ["se0"]))
    n.append(h.make_node("Sigmoid", [conv("se0", "se1", 32, 32, k=1)], ["gate"]))
    n.append(h.make_node("Mul", [b, "gate"], ["gated"]))
    c, d = conv("gated", "c1", 32, 8, k=1, act="Relu"), conv("gated", "c2", 32, 12, k=3, act="LeakyRelu")
    n.append(h.make_node("Concat", [c, d], ["cat"], axis=1))
    n.append(h.make_node("AveragePool", ["cat"], ["ap"], kernel_shape=[2, 2], strides=[2, 2]))
    n += [h.make_node("GlobalAveragePool", ["ap"], ["gap"]), h.make_node("Flatten", ["gap"], ["flat"])]
    w.extend([floats(rng, "fc_w", 10, 20), floats(rng, "fc_b", 10)])
    n.append(h.make_node("Gemm", ["flat", "fc_w", "fc_b"], ["y"], transB=1))
    g = h.make_graph(n, "net", [h.make_tensor_value_info("x", T.FLOAT, ["N", 3, 32, 32])],
                     [h.make_tensor_value_info("y", T.FLOAT, ["N", 10])], w)
    return h.make_model(g, opset_imports=[h.make_opsetid("", 17)], ir_version=8)


def encoder(rng):
    n, w = [], []
    for i, (a, b) in enumerate([(32, 64), (64, 32)]):
        w.extend([floats(rng, f"w{i}", a, b), floats(rng, f"b{i}", b)])
        n.append(h.make_node("MatMul", [f"h{i}" if i else "x", f"w{i}"], [f"m{i}"]))
        n.append(h.make_node("Add", [f"m{i}", f"b{i}"], [f"a{i}" if not i else "y"]))
    n.insert(2, h.make_node("Relu", ["a0"], ["h1"]))
    g = h.make_graph(n, "encoder", [h.make_tensor_value_info("x", T.FLOAT, ["N", 7, 32])],
                     [h.make_tensor_value_info("y", T.FLOAT, ["N", 7, 32])], w)
    return h.make_model(g, opset_imports=[h.make_opsetid("", 17)], ir_version=8)


class Reader(CalibrationDataReader):
    def __init__(self, dims):
        rng = np.random.default_rng(11)
        self.left = [rng.normal(size=dims).astype(np.float32) for _ in range(4)]

    def get_next(self):
        return {"x": self.left.pop()} if self.left else None


def sqnr(got, want):
    noise = float(np.square(got - want).sum())
    return np.inf if noise == 0 else 10 * np.log10(float(np.square(want).sum()) / noise)


def whole(path, x, folder, all_eight):
    want = reference(path, {"x": x})
    got = run_pare(path, {"x": x}, folder)
    oracle, lines = run_oracle(path, {"x": x}, folder)
    for how, out in (("pare", got), ("the oracle", oracle)):
        if out is None:
            continue
        worst = min(sqnr(a, b) for a, b in zip(out, want, strict=True))
        expect(worst >= 40, f"{path.stem}: {how} has an SQNR of {worst:.1f} dB against ONNX Runtime")
    if all_eight:
        left = [line for line in lines if "fell-back" in line or line.startswith(("Conv float32", "Gemm float32"))]
        expect(not left, f"{path.stem}: in floats: {left}")


def nets(folder, rng):
    dims = (2, 3, 32, 32)
    base = folder / "net.onnx"
    onnx.save(net(rng), base)
    x = np.random.default_rng(5).normal(size=dims).astype(np.float32)
    forms = {"qdq": {}, "qdq-s8": {"activation_type": QuantType.QInt8},
             "qdq-tensor": {"per_channel": False},
             "qoperator": {"quant_format": QuantFormat.QOperator},
             "qoperator-tensor": {"quant_format": QuantFormat.QOperator, "per_channel": False},
             "tensorrt": {"activation_type": QuantType.QInt8,
                          "extra_options": {"ActivationSymmetric": True, "WeightSymmetric": True,
                                            "QuantizeBias": False, "DedicatedQDQPair": True}},
             "float-weights": {"extra_options": {"AddQDQPairToWeight": True}}}
    for name, kw in forms.items():
        path = folder / f"{name}.onnx"
        options = {"quant_format": QuantFormat.QDQ, "activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8,
                   "per_channel": True, "reduce_range": True} | kw
        quantize_static(str(base), str(path), Reader(dims), **options)
        whole(path, x, folder, all_eight=True)
    text = folder / "encoder.onnx"
    onnx.save(encoder(rng), text)
    x = np.random.default_rng(5).normal(size=(2, 7, 32)).astype(np.float32)
    quantize_static(str(text), str(folder / "encoder-qdq.onnx"), Reader((2, 7, 32)), quant_format=QuantFormat.QDQ,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
    whole(folder / "encoder-qdq.onnx", x, folder, all_eight=False)
    for per in (False, True):
        for kind in (QuantType.QInt8, QuantType.QUInt8):
            path = folder / f"dynamic-{per}-{kind}.onnx"
            quantize_dynamic(str(text), str(path), per_channel=per, reduce_range=True, weight_type=kind)
            whole(path, x, folder, all_eight=False)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--graphs", type=int, default=6)
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args()
    if not ORACLE.exists():
        return common.skip(f"{ORACLE} is missing")
    kinds = {qdq_product: ("Conv", "ConvTranspose", "Gemm", "MatMul"), qdq_sum: ("Add", "Mul"),
             qdq_plain: ("Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "MaxPool", "Sigmoid", "Softmax",
                         "LeakyRelu", "Transpose"),
             qlinear: ("QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul", "QLinearConcat", "QGemm",
                       "QLinearGlobalAveragePool", "QLinearAveragePool", "QLinearLeakyRelu", "QLinearSigmoid",
                       "QLinearSoftmax")}
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        for make, ops in kinds.items():
            for op in ops:
                for i in range(args.graphs):
                    rng = np.random.default_rng([args.seed, i, *op.encode()])
                    single(make, op, rng, folder, f"{op} ({make.__name__}, graph {i})")
        nets(folder, np.random.default_rng(args.seed))
    return common.verdict()


if __name__ == "__main__":
    raise SystemExit(main())
