#!/usr/bin/env python3
"""The engine's lowering against ONNX's own tests: every model of libonnx-testdata, of onnx's wheel and of its test
generator is lowered to opset 21, passes onnx.checker, and gives what the original gives in ONNX Runtime (in onnx's
reference evaluator where that one can't) or what the test expects; and models of opsets 1 to 12 made here do so too.

env: PARE_BUILD (the build tree, for tests/tool_lower)
options: --every N takes each Nth model; -v names what is skipped and why."""
import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from common import needed

with needed():
    import numpy as np
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

OPSET = 21
# Ops that came after opset 21 and are refused by name; the engine may get kernels for them one day.
TOO_NEW = {"BitCast", "CausalConvWithState", "CumProd", "LinearAttention", "RotaryEmbedding", "SwiGLU",
           "TensorScatter"}
# What no two runs have in common.
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
# Refused for a meaning that opset 21 does not have: shifts of signed numbers, Scan of opset 8 (over a batch), rounding
# to float8e8m0 other than up, strings and sparse tensors; Attention with a cache, a window or more outputs.
REFUSED = {"Attention", "BitShift", "Scan", "Cast", "CastLike", "Constant"}

Case = collections.namedtuple("Case", "name model sets")  # sets: [(inputs, outputs)]


def load_value(path):
    data = path.read_bytes()
    t = TensorProto()
    t.ParseFromString(data)
    return numpy_helper.to_array(t)


def array_of(value):
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def made_up(model):
    """Input for a model that comes without: where it takes float32 of known sizes alone."""
    weights = {t.name for t in model.graph.initializer}
    feeds = []
    for v in model.graph.input:
        t = v.type.tensor_type
        dims = [d.dim_value for d in t.shape.dim]
        if v.name in weights:
            continue
        if t.elem_type != TensorProto.FLOAT or 0 in dims:
            return []
        feeds.append(np.random.default_rng(7).standard_normal(dims).astype(np.float32))
    return [(feeds, [None] * len(model.graph.output))] if feeds else []


def folder_cases():
    for root in (Path("/usr/share/libonnx-testdata"), Path(onnx.__file__).parent / "backend" / "test" / "data"):
        for path in sorted(root.rglob("*.onnx")):
            if path.name != "model.onnx" and (path.parent / "model.onnx").exists():
                continue
            try:
                model = onnx.load(path)
            except Exception:
                continue  # test_roundtrip.py looks at those
            sets = []
            for folder in sorted(path.parent.glob("test_data_set_*")):
                try:
                    pair = [[load_value(f) for f in sorted(folder.glob(f"{kind}_*.pb"),
                                                           key=lambda f: int(f.stem.split("_")[1]))]
                            for kind in ("input", "output")]
                except Exception:
                    continue  # sequences and the like
                sets.append(tuple(pair))
            sets = sets or made_up(model)
            name = path.parent.name if path.name == "model.onnx" else path.stem
            yield Case(f"{path.parent.parent.name}/{name}", model, sets)


def generated_cases():
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
            yield Case(f"generated/{case.name}", case.model, [tuple([array_of(v) for v in side] for side in pair)
                                                              for pair in case.data_sets or []])


def one(name, opset, op, inputs, expected, inits=(), n_out=1, **attrs):
    """One node of `op` at `opset`. inputs: arrays; those whose index is in inits are initializers."""
    outs = [f"y{i}" for i in range(n_out)]
    names = [f"x{i}" if x is not None else "" for i, x in enumerate(inputs)]
    node = helper.make_node(op, names, outs, name=f"the_{op}", **attrs)
    infos = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
             for n, x in zip(names, inputs) if x is not None]
    weights = [numpy_helper.from_array(inputs[i], names[i]) for i in inits]
    like = [inputs[0] if e is None else np.asarray(e) for e in expected]
    results = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(e.dtype),
                                             [f"{n}_{k}" for k in range(e.ndim)]) for n, e in zip(outs, like)]
    graph = helper.make_graph([node], name, infos, results, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=3)
    feeds = [x for i, x in enumerate(inputs) if x is not None and i not in inits]
    return Case(f"made/{name}", model, [(feeds, [e if e is None else np.asarray(e) for e in expected])])


def made_cases():
    rng = np.random.default_rng(7)

    def f(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    a, b2, b1, b0, s, end = f(2, 3, 4, 5), f(3, 4), f(2), f(3), f(1), f(4, 5) + 3
    for op, fn in (("Add", np.add), ("Sub", np.subtract), ("Mul", np.multiply), ("Div", np.divide)):
        for opset in (1, 6):
            yield one(f"{op}_{opset}_axis1", opset, op, [a, b2], [fn(a, b2[None, :, :, None])], broadcast=1, axis=1)
            yield one(f"{op}_{opset}_axis0", opset, op, [a, b1], [fn(a, b1[:, None, None, None])], [1], broadcast=1,
                      axis=0)
            yield one(f"{op}_{opset}_suffix", opset, op, [a, end], [fn(a, end)], broadcast=1)
            yield one(f"{op}_{opset}_one", opset, op, [a, s], [fn(a, s)], broadcast=1, axis=1)
            yield one(f"{op}_{opset}_same", opset, op, [a, a + 9], [fn(a, a + 9)])
    p = np.abs(a) + 1
    yield one("Pow_1_axis", 1, "Pow", [p, b2], [p ** b2[None, :, :, None]], broadcast=1, axis=1)
    yield one("Add_6_negative_axis", 6, "Add", [a, b2], [a + b2[None, :, :, None]], broadcast=1, axis=-3)
    yield one("Greater_1_axis", 1, "Greater", [a, b2], [a > b2[None, :, :, None]], broadcast=1, axis=1)
    yield one("Less_1_axis", 1, "Less", [a, b0], [a < b0[None, :, None, None]], broadcast=1, axis=1)
    q, r = a > 0, b0 > 0
    yield one("And_1_axis", 1, "And", [q, r], [q & r[None, :, None, None]], broadcast=1, axis=1)
    yield one("Or_1_axis", 1, "Or", [q, r], [q | r[None, :, None, None]], broadcast=1, axis=1)
    yield one("Xor_1_axis", 1, "Xor", [q, r], [q ^ r[None, :, None, None]], broadcast=1, axis=1)
    i, j = rng.integers(0, 3, (2, 3, 4)), rng.integers(0, 3, (3,))
    yield one("Equal_1_axis", 1, "Equal", [i, j], [i == j[None, :, None]], broadcast=1, axis=1)
    slope = np.abs(b0)
    for opset in (1, 6):
        yield one(f"PRelu_{opset}", opset, "PRelu", [a, slope], [np.where(a < 0, a * slope[:, None, None], a)], [1])
        yield one(f"PRelu_{opset}_one", opset, "PRelu", [a, s], [np.where(a < 0, a * s, a)])
    yield one("PRelu_6_rows", 6, "PRelu", [a[0, :, :3, 0], slope], [np.where(a[0, :, :3, 0] < 0,
                                                                            a[0, :, :3, 0] * slope, a[0, :, :3, 0])])
    yield one("Relu_1", 1, "Relu", [a], [np.maximum(a, 0)], consumed_inputs=[0])
    x, w, c = f(3, 4), f(4, 5), f(5)
    yield one("Gemm_1", 1, "Gemm", [x, w, c], [2 * x @ w + 0.5 * c], broadcast=1, alpha=2.0, beta=0.5)
    yield one("Gemm_6", 6, "Gemm", [x, w, f(3, 5) * 0], [x @ w])
    # BatchNormalization
    scale, bias, mean, var = f(3), f(3), f(3), np.abs(f(3)) + 0.5
    col = [v[None, :, None, None] for v in (scale, bias, mean, var)]
    bn = col[0] * (a - col[2]) / np.sqrt(col[3] + 1e-5) + col[1]
    args = [a, scale, bias, mean, var]
    yield one("BatchNormalization_1", 1, "BatchNormalization", args, [bn], is_test=1, consumed_inputs=[0, 0, 0, 1, 1])
    yield one("BatchNormalization_6", 6, "BatchNormalization", args, [bn], range(1, 5), is_test=1, spatial=1)
    yield one("BatchNormalization_7", 7, "BatchNormalization", args, [bn], spatial=1)
    yield one("BatchNormalization_9", 9, "BatchNormalization", args, [bn])
    flat = f(4, 3)
    yield one("BatchNormalization_7_flat", 7, "BatchNormalization", [flat, scale, bias, mean, var],
              [scale * (flat - mean) / np.sqrt(var + 1e-5) + bias], spatial=0)
    yield one("BatchNormalization_7_element", 7, "BatchNormalization", [a] + [f(3, 4, 5)] * 4, ["spatial is 0"],
              spatial=0)
    # Softmax and its kin on rows
    def rows(fn, v, axis):
        n = int(np.prod(v.shape[:axis], dtype=np.int64))
        return fn(v.reshape(n, -1)).reshape(v.shape)

    def softmax(v):
        e = np.exp(v - v.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    def hardmax(v):
        h = np.zeros_like(v)
        h[np.arange(len(v)), v.argmax(1)] = 1
        return h

    thin = f(2, 3, 1, 1)
    for op, fn in (("Softmax", softmax), ("LogSoftmax", lambda v: np.log(softmax(v))), ("Hardmax", hardmax)):
        for opset in (1, 11, 12):
            yield one(f"{op}_{opset}", opset, op, [a], [rows(fn, a, 1)])
            for axis in (0, 2, 3):
                yield one(f"{op}_{opset}_{axis}", opset, op, [a], [rows(fn, a, axis)], axis=axis)
            yield one(f"{op}_{opset}_thin", opset, op, [thin], [rows(fn, thin, 1)])
        yield one(f"{op}_11_back2", 11, op, [a], [rows(fn, a, 2)], axis=-2)
        yield one(f"{op}_11_last", 11, op, [a], [rows(fn, a, 3)], axis=-1)
    # attributes that became inputs
    yield one("Squeeze_1", 1, "Squeeze", [thin], [thin[:, :, :, 0]], axes=[3])
    yield one("Squeeze_1_all", 1, "Squeeze", [thin], [thin[:, :, 0, 0]])
    yield one("Unsqueeze_1", 1, "Unsqueeze", [b2], [b2[None, :, :, None]], axes=[0, 3])
    for op, fn in (("ReduceSum", np.sum), ("ReduceMean", np.mean), ("ReduceMax", np.max), ("ReduceMin", np.min),
                   ("ReduceProd", np.prod), ("ReduceL1", lambda v, **k: np.abs(v).sum(**k)),
                   ("ReduceL2", lambda v, **k: np.sqrt((v * v).sum(**k))),
                   ("ReduceSumSquare", lambda v, **k: (v * v).sum(**k))):
        for opset in (1, 11, 12) if op == "ReduceSum" else (1, 12, 13, 17):
            yield one(f"{op}_{opset}", opset, op, [a], [fn(a, axis=(1, 3), keepdims=False)], axes=[1, 3], keepdims=0)
            yield one(f"{op}_{opset}_all", opset, op, [b2], [fn(b2, axis=None, keepdims=True)])
    for opset in (1, 6, 10):
        yield one(f"Clip_{opset}", opset, "Clip", [a], [np.clip(a, -0.5, 0.25)], min=-0.5, max=0.25)
        yield one(f"Clip_{opset}_min", opset, "Clip", [a], [np.maximum(a, -0.5)], min=-0.5)
    yield one("Clip_6_f64", 6, "Clip", [a.astype(np.float64)], [np.minimum(a.astype(np.float64), 0.25)], max=0.25)
    yield one("Clip_6_f16", 6, "Clip", [a.astype(np.float16)], [np.minimum(a.astype(np.float16), np.float16(.25))],
              max=0.25)
    padded = np.pad(b2, ((1, 0), (2, 3)), constant_values=1.5)
    yield one("Pad_1", 1, "Pad", [b2], [padded], paddings=[1, 2, 0, 3], value=1.5)
    yield one("Pad_2", 2, "Pad", [b2], [padded], pads=[1, 2, 0, 3], value=1.5)
    yield one("Pad_2_zero", 2, "Pad", [b2], [np.pad(b2, ((1, 0), (2, 3)))], pads=[1, 2, 0, 3])
    yield one("Pad_2_reflect", 2, "Pad", [b2], [np.pad(b2, ((1, 0), (2, 3)), mode="reflect")], pads=[1, 2, 0, 3],
              mode="reflect")
    yield one("Slice_1", 1, "Slice", [a], [a[:, 1:3, :, 0:-1]], starts=[1, 0], ends=[1000, -1], axes=[1, 3])
    yield one("Slice_1_first", 1, "Slice", [a], [a[1:2, 0:2]], starts=[1, 0], ends=[2, 2])
    parts = np.split(a, [1, 3], axis=2)
    yield one("Split_1", 1, "Split", [a], parts, n_out=3, axis=2, split=[1, 2, 1])
    yield one("Split_1_input", 1, "Split", [a, np.array([1, 2, 1], np.float32)], ["axis"], n_out=3)
    yield one("Split_2", 2, "Split", [a], parts, n_out=3, axis=2, split=[1, 2, 1])
    yield one("Split_11_equal", 11, "Split", [a], np.split(a, 2, axis=2), n_out=2, axis=2)
    yield one("Split_13_equal", 13, "Split", [a], np.split(a, 2, axis=2), n_out=2, axis=2)
    yield one("TopK_1", 1, "TopK", [np.arange(12, dtype=np.float32).reshape(3, 4)],
              [np.array([[3, 2], [7, 6], [11, 10]], np.float32), np.array([[3, 2]] * 3)], n_out=2, k=2, axis=1)
    yield one("Reshape_1", 1, "Reshape", [a], [a.reshape(2, 12, 5)], shape=[0, -1, 5], consumed_inputs=[0])
    yield one("Dropout_1", 1, "Dropout", [a], [a], is_test=1, ratio=0.3)
    yield one("Dropout_6", 6, "Dropout", [a], [a], is_test=1)
    yield one("Dropout_7", 7, "Dropout", [a], [a], ratio=0.9)
    yield one("Dropout_6_training", 6, "Dropout", [a], ["is_test is 0"], is_test=0)
    yield one("Cast_1", 1, "Cast", [a], [a.astype(np.int32)], to="INT32")
    yield one("Cast_1_f16", 1, "Cast", [a], [a.astype(np.float16)], to="FLOAT16")
    yield one("Concat_1", 1, "Concat", [b2, b2], [np.concatenate([b2, b2], 1)])
    yield one("Selu_1", 1, "Selu", [b2], [1.0507 * np.where(b2 > 0, b2, 1.6732 * np.exp(b2) - 1.6732)])
    yield one("Tile_1", 1, "Tile", [b2, np.array([2], np.int64), np.array([1], np.int64)], [np.tile(b2, (1, 2))],
              [1, 2])
    yield one("Tile_1_float", 1, "Tile", [b2, np.array([3], np.float32), np.array([0], np.float32)],
              [np.tile(b2, (3, 1))], [1, 2])
    yield one("Tile_1_run_time", 1, "Tile", [b2, np.array([2], np.int64), np.array([1], np.int64)], ["constants"])
    # Upsample and Resize
    img = f(1, 2, 3, 4)
    twice = img.repeat(2, 2).repeat(3, 3)
    yield one("Upsample_1", 1, "Upsample", [img], [twice], height_scale=2.0, width_scale=3.0, mode="nearest")
    yield one("Upsample_7", 7, "Upsample", [img], [twice], scales=[1.0, 1.0, 2.0, 3.0])
    scales = np.array([1, 1, 2, 3], np.float32)
    yield one("Upsample_9", 9, "Upsample", [img, scales], [twice], [1])
    yield one("Upsample_9_run_time", 9, "Upsample", [img, scales], [twice])
    yield one("Resize_10", 10, "Resize", [img, scales], [twice], [1])

    def bilinear(v, sy, sx):
        def axis_weights(n, s):
            x = np.arange(int(n * s)) / s
            lo = np.minimum(np.floor(x).astype(int), n - 1)
            hi = np.minimum(lo + 1, n - 1)
            return lo, hi, np.clip(x - lo, 0, 1)

        for axis, s in ((2, sy), (3, sx)):
            lo, hi, t = axis_weights(v.shape[axis], s)
            t = t.reshape([-1 if k == axis else 1 for k in range(4)])
            v = v.take(lo, axis) * (1 - t) + v.take(hi, axis) * t
        return v.astype(np.float32)

    yield one("Upsample_1_bilinear", 1, "Upsample", [img], [bilinear(img, 2, 3)], height_scale=2.0, width_scale=3.0,
              mode="bilinear")
    yield one("Resize_10_linear", 10, "Resize", [img, scales], [bilinear(img, 2, 3)], [1], mode="linear")
    down = np.array([1, 1, 0.6, 0.6], np.float32)
    ramp = np.arange(1, 9, dtype=np.float32).reshape(1, 1, 2, 4)
    yield one("Resize_10_down", 10, "Resize", [ramp, down], [np.array([[[[1, 3]]]], np.float32)], [1])
    mixed = np.array([1, 1, 2, 0.6], np.float32)
    yield one("Resize_10_mixed", 10, "Resize", [ramp, mixed],
              [np.array([[[[1, 3], [1, 3], [5, 7], [5, 7]]]], np.float32)], [1])
    sizes, none = np.array([1, 2, 6, 7], np.int64), np.array([], np.float32)
    yield one("Resize_11_sizes", 11, "Resize", [img, none, none, sizes], [None], [1, 2, 3], mode="linear")
    yield one("Resize_11_tf", 11, "Resize", [img, none, scales], [None], [1, 2], nearest_mode="floor",
              coordinate_transformation_mode="tf_half_pixel_for_nn")
    yield one("GridSample_16", 16, "GridSample", [img, f(1, 2, 2, 2) * 0.4], [None], mode="bilinear")
    # GroupNormalization 18: one scale a group
    g = f(2, 6, 3)
    gs, gb = f(2), f(2)
    part = g.reshape(2, 2, 9)
    norm = (part - part.mean(2, keepdims=True)) / np.sqrt(part.var(2, keepdims=True) + 1e-5)
    yield one("GroupNormalization_18", 18, "GroupNormalization", [g, gs, gb],
              [(norm * gs[None, :, None] + gb[None, :, None]).reshape(g.shape)], num_groups=2)
    # newer than 21
    yield one("Swish_24", 24, "Swish", [a], [a / (1 + np.exp(-0.5 * a))], alpha=0.5)
    m, k = f(40) * 5, f(40)
    yield one("Mod_28_float", 28, "Mod", [m, k], [np.mod(m, k)])
    for mode in ("CRD", "DCR"):
        v = f(1, 3, 4, 4)
        t = v.reshape(1, 3, 2, 2, 2, 2).transpose((0, 1, 3, 5, 2, 4) if mode == "CRD" else (0, 3, 5, 1, 2, 4))
        yield one(f"SpaceToDepth_28_{mode}", 28, "SpaceToDepth", [v], [t.reshape(1, 12, 2, 2)], blocksize=2, mode=mode)
    for form, value, expected in (("value_int", 7, np.int64(7)), ("value_ints", [1, 2], np.array([1, 2])),
                                  ("value_float", 0.5, np.float32(0.5)),
                                  ("value_floats", [0.5, 2.0], np.array([0.5, 2], np.float32)),
                                  ("value_string", "no", "value_string")):
        yield one(f"Constant_12_{form}", 12, "Constant", [], [expected], **{form: value})
    yield one("unknown", 9, "Frobnicate", [a], ["no such operator"])
    yield subgraph_case()


def subgraph_case():
    """Old forms inside If, one of them on a captured value."""
    x = np.arange(-4, 4, dtype=np.float32).reshape(2, 1, 4)
    then = helper.make_graph([helper.make_node("Clip", ["x"], ["t0"], min=-1.0, max=2.0),
                              helper.make_node("Squeeze", ["t0"], ["t"], axes=[1])], "then", [],
                             [helper.make_tensor_value_info("t", 1, [2, 4])])
    other = helper.make_graph([helper.make_node("Softmax", ["x"], ["e0"]),
                               helper.make_node("Squeeze", ["e0"], ["e"], axes=[1])], "else", [],
                              [helper.make_tensor_value_info("e", 1, [2, 4])])
    graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)], "sub",
                              [helper.make_tensor_value_info("c", TensorProto.BOOL, []),
                               helper.make_tensor_value_info("x", 1, [2, 1, 4])],
                              [helper.make_tensor_value_info("y", 1, [2, 4])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=4)
    e = np.exp(x - x.max(2, keepdims=True))
    return Case("made/subgraph", model, [([np.array(True), x], [np.clip(x, -1, 2)[:, 0]]),
                                         ([np.array(False), x], [(e / e.sum(2, keepdims=True))[:, 0]])])


def run_ort(data, feeds):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip([i.name for i in session.get_inputs()], feeds)))


def run_reference(data, feeds):
    model = onnx.load_from_string(data)
    weights = {t.name for t in model.graph.initializer}
    names = [i.name for i in model.graph.input if i.name not in weights]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ReferenceEvaluator(model).run(None, dict(zip(names, feeds)))


def outcome(run, data, feeds):
    try:
        return run(data, feeds), None
    except Exception as e:
        return None, f"{type(e).__name__}: {str(e).splitlines()[0][:160] if str(e) else ''}"


def difference(got, want, loose):
    """None where two lists of outputs are the same; else what differs."""
    if len(got) != len(want):
        return f"{len(got)} outputs for {len(want)}"
    for k, (g, w) in enumerate(zip(got, want)):
        if w is None:
            continue
        if isinstance(w, list) or isinstance(g, list):
            wrong = difference(g, w, loose) if isinstance(w, list) and isinstance(g, list) else "a list and no list"
            if wrong:
                return wrong
            continue
        g, w = np.asarray(g), np.asarray(w)
        if g.shape != w.shape:
            return f"output {k}: shape {g.shape}, not {w.shape}"
        text = g.dtype.kind in "OUS" and w.dtype.kind in "OUS"
        if g.dtype != w.dtype and not text:
            if "V" not in (g.dtype.kind, w.dtype.kind) or g.dtype.itemsize != w.dtype.itemsize:
                return f"output {k}: dtype {g.dtype}, not {w.dtype}"
            g = g.view(w.dtype)  # older onnx hands out bfloat16 and smaller as their bits
        if w.dtype.kind in "fc":
            tolerance = (1e-2, 1e-3) if w.dtype.itemsize <= 2 else (1e-3, 1e-5) if loose else (1e-5, 1e-6)
            if not np.allclose(g, w, rtol=tolerance[0], atol=tolerance[1], equal_nan=True):
                return f"output {k}: differs by {np.nanmax(np.abs(g.astype(np.float64) - w.astype(np.float64))):g}"
        elif w.dtype.kind == "V":  # ml_dtypes: bfloat16 and smaller
            if not np.array_equal(g.astype(np.float32), w.astype(np.float32), equal_nan=True):
                return f"output {k}: differs"
        elif not np.array_equal(g.astype(w.dtype) if text else g, w):
            return f"output {k}: differs"
    return None


def ops_of(graph):
    for n in graph.node:
        yield n.op_type if not n.domain or n.domain == "ai.onnx" else f"{n.domain}.{n.op_type}"
        for a in n.attribute:
            for g in ([a.g] if a.HasField("g") else []) + list(a.graphs):
                yield from ops_of(g)


def same_as_original(data, low, feeds, want, loose):
    """(None, None) when lowered gives what is wanted, or what the original gives; else (what is wrong, or None) and why
    nothing could be compared. The first runtime that can run the lowered model decides."""
    reasons = []
    for run in (run_ort, run_reference):
        got, why = outcome(run, low, feeds)
        if got is None:
            reasons.append(f"lowered: {why}")
            continue
        known = all(w is not None for w in want)
        wrong = difference(got, want, loose) if known else None
        if known and not wrong:
            return None, None
        original, why = outcome(run, data, feeds)
        if original is None:
            return (f"{run.__name__}: {wrong}", None) if known else (None, f"original: {why}")
        unlike = difference(got, original, loose=False)
        if unlike:
            return f"{run.__name__}: {wrong or unlike}", None
        if known and run is run_reference:
            return None, f"the evaluator gives the same for both, and not what is expected: {wrong}"
        return None, None  # the runtime itself is off, or nothing is known to be expected
    return None, "; ".join(reasons)


def judge(case, data, low, result):
    """("passed" | "failed" | "skipped" | "refused", why)"""
    expected = case.sets[0][1] if case.sets else []
    refusal = next((str(e) for e in expected if isinstance(e, (str, np.str_)) or
                    isinstance(e, np.ndarray) and e.dtype.kind == "U" and e.ndim == 0), None)
    made = case.name.startswith("made/")
    if made and refusal:
        text = "; ".join(result["messages"])
        return ("passed", "") if result["status"] and refusal in text else ("failed", f"not refused: {result}")
    ops = set(ops_of(case.model.graph))
    if result["status"]:
        text = "; ".join(result["messages"])
        named = {op for op in ops if f"{op} node" in text}
        fine = case.model.functions or named and named <= TOO_NEW | REFUSED
        return ("refused", text) if fine and not made else ("failed", f"refused: {text}")
    try:
        model = onnx.load_from_string(low)
        onnx.checker.check_model(model, full_check=False)
    except Exception as e:
        try:
            onnx.checker.check_model(case.model)
        except Exception:
            return "failed" if made else "skipped", f"nor does the original pass: {str(e).splitlines()[0]}"
        return "failed", f"checker: {e}"
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if versions != [OPSET] or model.ir_version < 10:
        return "failed", f"opset {versions}, IR {model.ir_version}"
    if ops & RANDOM or "training_dropout" in case.name:
        return "skipped", "random"
    if not case.sets:
        return "skipped", "no values"
    notes = []
    for feeds, want in case.sets:
        wrong, nothing = same_as_original(data, low, list(feeds), list(want), loose=not made)
        if wrong:
            return "failed", wrong
        if nothing:
            notes.append(nothing)
    if notes:
        return "failed" if made else "skipped", notes[0]
    return "passed", ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("-k", default="", help="only names that hold this")
    parser.add_argument("-v", action="store_true")
    args = parser.parse_args()
    tool = Path(os.environ.get("PARE_BUILD", "build/release")) / "tests" / "tool_lower"
    every = [*made_cases(), *folder_cases(), *generated_cases()]
    cases = [c for i, c in enumerate(every) if i % args.every == 0 and args.k in c.name]
    count = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="pare-lower-") as tmp:
        lines = []
        for i, c in enumerate(cases):
            path = Path(tmp) / f"{i}.onnx"
            path.write_bytes(c.model.SerializeToString())
            lines.append(f"{path}\t{tmp}/{i}-low.onnx")
        run = subprocess.run([str(tool)], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True)
        results = [json.loads(line) for line in run.stdout.splitlines()]
        assert len(results) == len(cases), "tool_lower stopped early"
        for i, (case, result) in enumerate(zip(cases, results)):
            low = b"" if result["status"] else Path(f"{tmp}/{i}-low.onnx").read_bytes()
            verdict, why = judge(case, Path(f"{tmp}/{i}.onnx").read_bytes(), low, result)
            count[verdict] += 1
            if verdict == "failed" or args.v and verdict != "passed":
                print(f"{verdict}: {case.name}: {why}")
    print(f"{count['skipped']} could not be compared, {count['refused']} refused by name")
    print(f"{count['passed']} passed, {count['failed']} failed")
    return 1 if count["failed"] or not count["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
