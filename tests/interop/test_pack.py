#!/usr/bin/env python3
"""`pare pack` and `pare unpack` against ONNX Runtime, and against OpenVINO where it can be imported: outputs of the
packed file are those of the plain one bit for bit, the optimised graphs hold the same ops (so everything was folded at
load), and unpacking gives the plain file back byte for byte. Exit 77 where onnxruntime is missing."""
import collections
import gzip
import json
import sys
import tempfile
from pathlib import Path

import common
from common import SOURCE, expect, needed, pare

with needed():
    import ml_dtypes
    import numpy as np
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper
try:
    import openvino
    CORE = openvino.Core()
except ImportError:
    CORE = None

WORK = tempfile.TemporaryDirectory(prefix="pare-pack-")
ROOT = Path(WORK.name)
KEY = "ai.pare.packed"
ort.set_default_logger_severity(3)
rng = np.random.default_rng(5)


# ---- running ----

def by_ort(path, feed):
    """Outputs, and the ops of the optimised graph."""
    optimised = ROOT / "optimised.onnx"
    o = ort.SessionOptions()
    o.intra_op_num_threads = 2
    o.log_severity_level = 3
    o.optimized_model_filepath = str(optimised)
    o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    y = ort.InferenceSession(str(path), o, providers=["CPUExecutionProvider"]).run(None, feed)
    ops = collections.Counter(n.op_type for n in onnx.load(optimised, load_external_data=False).graph.node)
    return y, ops


def by_openvino(path, feed):
    model = CORE.compile_model(CORE.read_model(str(path)), "CPU")
    y = list(model(feed).values())
    kinds = (op.get_rt_info()["layerType"] for op in model.get_runtime_model().get_ops())
    return y, collections.Counter(getattr(k, "value", k) for k in kinds)


def same_bits(a, b):
    return len(a) == len(b) and all(x.shape == y.shape and x.tobytes() == y.tobytes() for x, y in zip(a, b))


def check(label, plain, feed, packs, openvino_folds=True):
    """Packs the file, runs both, unpacks. Returns the packed path."""
    copy, packed, back = (ROOT / f"{label}.{k}.onnx" for k in ("plain", "packed", "unpacked"))
    pare("unpack", "--force", "--quiet", plain, copy)  # as pare writes it
    said = json.loads(pare("pack", "--force", "--json", copy, packed).stdout)
    expect(said["tensors_packed"] == packs, f"{label}: {said}")
    pare("unpack", "--force", "--quiet", packed, back)
    expect(copy.read_bytes() == back.read_bytes(), f"{label}: unpacking gives the first file back")
    try:
        onnx.checker.check_model(onnx.load(packed), full_check=True)
        expect(True, label)
    except Exception as e:
        expect(False, f"{label}: onnx's checker: {e}")
    (a, ops), (b, packed_ops) = by_ort(copy, feed), by_ort(packed, feed)
    expect(same_bits(a, b), f"{label}: outputs of ONNX Runtime")
    expect(ops == packed_ops, f"{label}: ONNX Runtime folds everything, left: {packed_ops - ops}")
    if CORE:
        (a, ops), (b, packed_ops) = by_openvino(copy, feed), by_openvino(packed, feed)
        expect(same_bits(a, b), f"{label}: outputs of OpenVINO")
        if openvino_folds:
            expect(ops == packed_ops, f"{label}: OpenVINO folds everything, left: {packed_ops - ops}")
    return packed


# ---- models ----

def save(name, nodes, inputs, outputs, tensors, opset=17, ir=8):
    inits = [t if isinstance(t, onnx.TensorProto) else numpy_helper.from_array(t, n) for n, t in tensors.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, inits)
    path = ROOT / f"{name}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir), path)
    return path


def value(name, dtype, dims):
    return helper.make_tensor_value_info(name, dtype, dims)


def raw(name, dtype, dims, data):
    return helper.make_tensor(name, dtype, dims, data, raw=True)


def sparse(dims, share, dtype=np.float32, fill=0):
    x = rng.normal(0, 40 if np.dtype(dtype).itemsize == 1 else 1, dims)
    x = np.abs(x) if dtype == np.uint8 else x
    x = x.astype(dtype)
    x[rng.random(dims) < share] = fill
    return x


DTYPES = {"float32": (TensorProto.FLOAT, np.float32), "float16": (TensorProto.FLOAT16, np.float16),
          "bfloat16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16), "float64": (TensorProto.DOUBLE, np.float64),
          "int8": (TensorProto.INT8, np.int8), "uint8": (TensorProto.UINT8, np.uint8)}


def one_of_each(name, opset, dims, fill=0):
    """y_i = x * w_i with a tensor for each form; the fill of 8-bit ones is the zero point."""
    code, kind = DTYPES[name]
    wide = TensorProto.DOUBLE if name == "float64" else TensorProto.FLOAT
    nodes, outputs, tensors = [], [], {}
    for share in (0.0, 0.3, 0.7, 0.86, 0.95, 0.999, 1.0):
        w = f"w{share}"
        a = sparse(dims, share, kind, fill)
        if np.dtype(kind).itemsize > 1 and share < 1:
            a.reshape(-1)[[0, 5, -1]] = np.array([-0.0, np.nan, 3]).astype(kind)
        tensors[w] = raw(w, code, dims, a.tobytes())
        if kind in (np.int8, np.uint8):
            tensors["scale"] = np.float32(0.1)
            tensors["zero"] = raw("zero", code, [], np.asarray(fill, kind).tobytes())
            nodes.append(helper.make_node("DequantizeLinear", [w, "scale", "zero"], [f"{w}f"]))
            w += "f"
        elif code in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
            nodes.append(helper.make_node("Cast", [w], [f"{w}f"], to=TensorProto.FLOAT))
            w += "f"
        nodes.append(helper.make_node("Mul", ["x", w], [f"y{share}"]))
        outputs.append(value(f"y{share}", wide, dims))
    path = save(f"{name}-{opset}", nodes, [value("x", wide, [1])], outputs, tensors, opset)
    return path, {"x": np.ones(1, np.float64 if name == "float64" else np.float32)}


def resnet18(name, share, quantized=False):
    """torchvision's shapes; quantized: int8 weights per channel, uint8 activations, in Q/DQ form."""
    nodes, tensors, counter = [], {}, iter(range(1000))

    def act(x):
        if not quantized:
            return x
        q = f"q{next(counter)}"
        tensors["act.scale"], tensors["act.zero"] = np.float32(0.05), np.uint8(128)
        nodes.append(helper.make_node("QuantizeLinear", [x, "act.scale", "act.zero"], [q]))
        nodes.append(helper.make_node("DequantizeLinear", [q, "act.scale", "act.zero"], [q + "d"]))
        return q + "d"

    def weight(n, *dims):
        w = rng.normal(0, (2 / np.prod(dims[1:])) ** 0.5, dims).astype(np.float32)
        w.reshape(-1)[np.argsort(np.abs(w), axis=None)[:round(share * w.size)]] = 0
        if not quantized:
            tensors[n] = w
            return n
        scale = np.abs(w.reshape(dims[0], -1)).max(1) / 127
        tensors[n] = np.clip(np.rint(w / scale.reshape(-1, *[1] * (len(dims) - 1))), -127, 127).astype(np.int8)
        tensors[n + ".scale"], tensors[n + ".zero"] = scale.astype(np.float32), np.zeros(dims[0], np.int8)
        nodes.append(helper.make_node("DequantizeLinear", [n, n + ".scale", n + ".zero"], [n + ".f"], axis=0))
        return n + ".f"

    def conv(x, n, cin, cout, k, stride, relu=True):
        w = weight(n + ".weight", cout, cin, k, k)
        tensors[n + ".bias"] = rng.normal(0, 0.1, cout).astype(np.float32)
        nodes.append(helper.make_node("Conv", [x, w, n + ".bias"], [n], pads=[k // 2] * 4, strides=[stride] * 2))
        if relu:
            nodes.append(helper.make_node("Relu", [n], [n + ".relu"]))
        return act(n + ".relu" if relu else n)

    x = conv(act("input"), "conv1", 3, 64, 7, 2)
    nodes.append(helper.make_node("MaxPool", [x], ["pool"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4))
    x, cin = "pool", 64
    for stage, cout in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            n = f"layer{stage + 1}.{block}"
            y = conv(conv(x, n + ".conv1", cin, cout, 3, stride), n + ".conv2", cout, cout, 3, 1, False)
            if stride == 2:
                x = conv(x, n + ".downsample.0", cin, cout, 1, stride, False)
            nodes.append(helper.make_node("Add", [x, y], [n + ".add"]))
            nodes.append(helper.make_node("Relu", [n + ".add"], [n + ".out"]))
            x, cin = act(n + ".out"), cout
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["gap"]))
    nodes.append(helper.make_node("Flatten", [act("gap")], ["flat"]))
    x = act("flat")
    w = weight("fc.weight", 1000, 512)
    tensors["fc.bias"] = np.zeros(1000, np.float32)
    nodes.append(helper.make_node("Gemm", [x, w, "fc.bias"], ["logits"], transB=1))
    path = save(name, nodes, [value("input", TensorProto.FLOAT, ["N", 3, 224, 224])],
                [value("logits", TensorProto.FLOAT, ["N", 1000])], tensors)
    return path, {"input": rng.normal(size=(1, 3, 224, 224)).astype(np.float32)}


# ---- cases ----

def every_dtype():
    for name in DTYPES:
        for opset, odd in ((11, True), (13, False), (17, True), (17, False), (21, False)):
            if name == "bfloat16" and opset == 11:
                continue
            fill = {"uint8": 128, "int8": -3}.get(name, 0) if opset >= 13 else 0
            path, feed = one_of_each(name, opset, (61, 7, 25) if odd else (32, 11, 30), fill)
            check(f"{name}-{opset}-{'odd' if odd else 'even'}", path, feed, packs=6)


def past_exact_floats():
    """Up to 2^24 elements the indices are summed in f32, above in int32 (which OpenVINO computes at run time)."""
    for n, share in ((1 << 24, 0.97), (1 << 24, 0.7), ((1 << 24) + 8, 0.97), ((1 << 24) + 3, 0.7)):
        w = sparse((n,), share, np.int8)
        w[[-2, -1]] = 5, 7
        nodes = [helper.make_node("DequantizeLinear", ["w", "scale"], ["wf"]),
                 helper.make_node("Mul", ["x", "wf"], ["y"])]
        path = save("long", nodes, [value("x", TensorProto.FLOAT, [1])], [value("y", TensorProto.FLOAT, [n])],
                    {"w": w, "scale": np.float32(1)})
        check(f"long-{n}-{share}", path, {"x": np.ones(1, np.float32)}, packs=1, openvino_folds=n <= 1 << 24)


def captured():
    """A weight that both branches of an If take from the outer graph, and one that is used twice."""
    def branch(op, out):
        node = helper.make_node(op, ["x", "w"], [out])
        return helper.make_graph([node], op, [], [value(out, TensorProto.FLOAT, [70, 91])])
    nodes = [helper.make_node("If", ["c"], ["a"], then_branch=branch("Add", "p"), else_branch=branch("Mul", "q")),
             helper.make_node("Add", ["a", "v"], ["b"]), helper.make_node("Mul", ["b", "v"], ["y"])]
    path = save("captured", nodes, [value("x", TensorProto.FLOAT, [1]), value("c", TensorProto.BOOL, [])],
                [value("y", TensorProto.FLOAT, [70, 91])], {"w": sparse((70, 91), 0.93), "v": sparse((70, 91), 0.6)})
    for c in (True, False):
        check("captured", path, {"x": np.ones(1, np.float32), "c": np.asarray(c)}, packs=2)


def external():
    path, feed = one_of_each("float32", 17, (40, 50, 7))
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="external.data", size_threshold=100)
    check("external", path, feed, packs=6)


def metadata():
    """Keys keep their order, foreign ones stay; a packed file that lost its metadata is an ordinary model."""
    path, feed = one_of_each("float32", 17, (31, 7, 25))
    model = onnx.load(path)
    helper.set_model_props(model, {"zebra": "1", "ape": "2"})
    onnx.save(model, path)
    packed = check("metadata", path, feed, packs=6)
    model = onnx.load(packed)
    expect([p.key for p in model.metadata_props] == ["zebra", "ape", KEY], "the order of metadata")
    names = [t.name for t in model.graph.initializer if t.name.startswith("w")]
    expect(names == ["w0.0"], f"initializers left: {names}")
    del model.metadata_props[2:]
    onnx.save(model, path)
    out = ROOT / "without.onnx"
    run = pare("unpack", path, out)
    expect("not-packed" in run.stderr and onnx.load(out).graph == model.graph, "a packed file without its metadata")


def damaged():
    path, _ = one_of_each("float32", 17, (31, 7, 25))
    packed, out = ROOT / "damaged.onnx", ROOT / "damaged-out.onnx"
    pare("pack", path, packed)
    good = onnx.load(packed)

    def refused(what, model):
        onnx.save(model, packed)
        for args in (["unpack", packed, out], ["inspect", packed]):
            run = pare(*args, ok=False)
            expect(run.returncode == 2 and "model.packed-damaged" in run.stderr and not out.exists(),
                   f"{what}: {args[0]} ends with {run.returncode}\n{run.stderr}")

    def copy():
        model = onnx.ModelProto()
        model.CopyFrom(good)
        return model, {t.name: t for t in model.graph.initializer}

    model, _ = copy()
    model.metadata_props[-1].value = "{}"
    refused("metadata", model)
    model, tensors = copy()
    gap = next(t for n, t in tensors.items() if n.endswith("/gap"))
    gap.raw_data = b"\xff" * len(gap.raw_data)
    refused("gaps past the end", model)
    model, tensors = copy()
    shape = next(t for n, t in tensors.items() if n.endswith("/shape"))
    shape.raw_data = np.array([1 << 20, 1 << 20, 4]).tobytes()
    refused("a bomb", model)
    model, _ = copy()
    next(n for n in model.graph.node if n.op_type == "ScatterElements").attribute.append(
        helper.make_attribute("reduction", "add"))
    refused("an attribute", model)


def old_files():
    """Opset 10 and IR 3 can't be packed, and say so."""
    for opset, ir in ((10, 8), (17, 3)):
        w = sparse((50, 60), 0.95)
        inputs = [value("x", TensorProto.FLOAT, [1])] + ([value("w", TensorProto.FLOAT, [50, 60])] if ir < 4 else [])
        path = save("old", [helper.make_node("Mul", ["x", "w"], ["y"])], inputs,
                    [value("y", TensorProto.FLOAT, [50, 60])], {"w": w}, opset, ir)
        run = pare("pack", path, ROOT / "old-packed.onnx", ok=False)
        expect(run.returncode == 2 and ("opset 11" in run.stderr or "IR version 4" in run.stderr), run.stderr)


def demo():
    """The demo's own files: the bars on their sizes, and the outputs."""
    out = ROOT / "run"
    pare("run", SOURCE / "configs/resnet18-prune90.yaml", "--out", out, "--quiet")
    plain, packed = out / "model.onnx", out / "model.packed.onnx"
    size, small = packed.stat().st_size, len(gzip.compress(packed.read_bytes(), 6))
    expect(size <= 5_950_000, f"the demo's packed file has {size} bytes")
    expect(small <= 4_950_000, f"gzipped {small}")
    feed = {"input": rng.normal(size=(1, 3, 224, 224)).astype(np.float32)}
    again = check("demo", plain, feed, packs=21)
    expect(again.read_bytes() == packed.read_bytes(), "run and pack write the same bytes")


def networks():
    path, feed = resnet18("resnet", 0.75)
    check("resnet", path, feed, packs=21)
    path, feed = resnet18("int8", 0.9, quantized=True)
    packed = check("int8", path, feed, packs=21)
    size = packed.stat().st_size
    expect(size <= 2_500_000, f"int8: {size} bytes")


def main():
    if not CORE:
        print("openvino can't be imported: only ONNX Runtime is asked")
    for case in (every_dtype, past_exact_floats, captured, external, metadata, damaged, old_files, demo, networks):
        if len(sys.argv) < 2 or case.__name__ in sys.argv[1:]:
            case()
    return common.verdict()


sys.exit(main())
