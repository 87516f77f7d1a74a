#!/usr/bin/env python3
"""quantize.dynamic, quantize.weights and quantize.float16 against ONNX and ONNX Runtime. Their files pass the checker in
full and run there; ONNX Runtime fuses what dynamic writes (read from its optimized model); of its integers pare's engine
makes the same, one step apart at most; and signal to noise against the float model stays above a floor for each.

env: PARE_BIN, PARE_SOURCE"""
import collections
import json
import tempfile
from pathlib import Path

import common
from common import SOURCE, expect, needed, output_file, pare

with needed():
    import numpy as np
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto as T
    from onnx import helper as h
    from onnx import numpy_helper as nh

ort.set_default_logger_severity(3)
NETS = SOURCE / "tests/golden/nets"
ALL, EXTENDED, NONE = (ort.GraphOptimizationLevel.ORT_ENABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
                       ort.GraphOptimizationLevel.ORT_DISABLE_ALL)


def sqnr(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    noise = ((a - b) ** 2).sum()
    return np.inf if noise == 0 else 10 * np.log10((a ** 2).sum() / noise)


def ops(path):
    return collections.Counter(n.op_type for n in onnx.load(path).graph.node)


def step(tmp, name, model, use, with_="{}", ok=True, more=""):
    """One step; its model, what was said, and its entry in report.json."""
    cfg, out = tmp / f"{name}.yaml", tmp / name
    cfg.write_text(f"version: 1\nmodels: {{net: {{onnx: {model}}}}}\nsteps:\n{more}  - {{id: q, use: {use}, with: {with_}}}\n"
                   "report: {metrics: [size]}\noutput: {dir: \"" + str(out) + "\", gzip: off}\n")
    run = pare("run", cfg, ok=ok)
    if run.returncode:
        return None, run.stderr, None
    report = json.loads((out / "report.json").read_text())
    return out / "model.onnx", run.stderr, report["steps"][-1]


def run_ort(model, feed, level=ALL, optimized=None, exact=False):
    opts = ort.SessionOptions()
    opts.graph_optimization_level = level
    if optimized:
        opts.optimized_model_filepath = str(optimized)
    if exact:  # else MatMulNBits rounds activations to 8 bits of its own accord
        opts.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    s = ort.InferenceSession(str(model), opts, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in s.get_outputs()], s.run(None, feed)))


def run_pare(tmp, model, feed):
    out = tmp / "out"
    args = []
    for name, a in feed.items():
        np.save(tmp / f"in_{name}.npy", a)
        args += ["--in", f"{name}={tmp / f'in_{name}.npy'}"]
    pare("infer", model, *args, "--out", out)
    return {o.name: np.load(output_file(out, o.name)) for o in onnx.load(model).graph.output}


def checked(model, what):
    try:
        onnx.checker.check_model(str(model), full_check=True)
        expect(True, what)
    except Exception as e:
        expect(False, f"{what}: {e}")


def feed_of(model, rng, batch=1):
    feed = {}
    for i in onnx.load(model).graph.input:
        dims = [d.dim_value or batch for d in i.type.tensor_type.shape.dim]
        kind = i.type.tensor_type.elem_type
        a = rng.integers(0, 50, dims) if kind == T.INT64 else rng.standard_normal(dims)
        feed[i.name] = a.astype(h.tensor_dtype_to_np_dtype(kind))
    return feed


# ---- a net that has every case ----

def encoder(path, opset=13):
    """Embedding, LayerNorm in parts, shared inputs, Gemm with its factors, a weight behind Transpose, one of three dims."""
    rng = np.random.default_rng(5)
    w = {"table": (50, 24), "q": (24, 24), "k": (24, 24), "v": (24, 40), "turned": (24, 40), "three": (1, 24, 24), "fc": (7, 24)}
    init = [nh.from_array((rng.standard_normal(d) / 5).astype(np.float32), n) for n, d in w.items()]
    init += [nh.from_array(rng.standard_normal(7).astype(np.float32), "b"), nh.from_array(np.array([-1, 24]), "flat")]
    nodes = [h.make_node("Gather", ["table", "ids"], ["e"]), h.make_node("MatMul", ["e", "q"], ["yq"]),
             h.make_node("MatMul", ["e", "k"], ["yk"]), h.make_node("Add", ["yq", "yk"], ["s"]),
             h.make_node("Relu", ["s"], ["r"]), h.make_node("MatMul", ["r", "v"], ["yv"], "wide"),
             h.make_node("Transpose", ["turned"], ["t"], perm=[1, 0]), h.make_node("MatMul", ["yv", "t"], ["yt"]),
             h.make_node("MatMul", ["yt", "three"], ["y3"]), h.make_node("Reshape", ["y3", "flat"], ["rows"]),
             h.make_node("Gemm", ["rows", "fc", "b"], ["y"], transB=1, alpha=0.5, beta=2.0)]
    g = h.make_graph(nodes, "g", [h.make_tensor_value_info("ids", T.INT64, [2, 9])],
                     [h.make_tensor_value_info("y", T.FLOAT, [18, 7])], init)
    onnx.save(h.make_model(g, opset_imports=[h.make_opsetid("", opset)], ir_version=7), path)


def convnet(path):
    rng = np.random.default_rng(6)
    init = [nh.from_array((rng.standard_normal(d) / 4).astype(np.float32), n)
            for n, d in {"a": (8, 3, 3, 3), "ab": (8,), "dw": (8, 1, 3, 3), "up": (8, 4, 2, 2), "fc": (4, 5)}.items()]
    nodes = [h.make_node("Conv", ["x", "a", "ab"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
             h.make_node("Relu", ["c"], ["r"]), h.make_node("Conv", ["r", "dw"], ["d"], group=8, pads=[1, 1, 1, 1]),
             h.make_node("ConvTranspose", ["d", "up"], ["u"], strides=[2, 2]),
             h.make_node("GlobalAveragePool", ["u"], ["p"]), h.make_node("Flatten", ["p"], ["f"]),
             h.make_node("MatMul", ["f", "fc"], ["y"])]
    g = h.make_graph(nodes, "g", [h.make_tensor_value_info("x", T.FLOAT, [2, 3, 16, 16])],
                     [h.make_tensor_value_info("y", T.FLOAT, [2, 5])], init)
    onnx.save(h.make_model(g, opset_imports=[h.make_opsetid("", 13)], ir_version=7), path)


# ---- dynamic ----

def integers(model, path):
    """The model with what its integer nodes take and make as further outputs."""
    m = onnx.load(model)
    names = []
    for n in m.graph.node:
        if n.op_type == "DynamicQuantizeLinear":
            names += [n.input[0], *n.output]
        if n.op_type in ("MatMulInteger", "ConvInteger"):
            names.append(n.output[0])
    have = {o.name for o in m.graph.output} | {i.name for i in m.graph.input}
    m.graph.output.extend(h.make_empty_tensor_value_info(n) for n in dict.fromkeys(names) if n not in have)
    onnx.save(m, path)


def dynamic(tmp, name, net, floor, with_="{}", asked=("MatMul", "Gemm"), left=0):
    model, said, entry = step(tmp, f"dyn-{name}", net, "quantize.dynamic", with_)
    if not model:
        return
    checked(model, f"dynamic {name}: the checker")
    feed = feed_of(net, np.random.default_rng(1))
    before, count = ops(net), ops(model)
    made = count["MatMulInteger"] + count["ConvInteger"]
    expect(made and sum(count[o] for o in asked) == left, f"dynamic {name}: {count}")
    a = run_ort(net, feed)
    b = run_ort(model, feed, optimized=tmp / "opt.onnx")
    for k in a:
        expect(sqnr(a[k], b[k]) > floor, f"dynamic {name}: {k} has {sqnr(a[k], b[k]):.1f} dB in ONNX Runtime")
    fused = ops(tmp / "opt.onnx")
    expect(fused["MatMulInteger"] == 0 and
           fused["DynamicQuantizeMatMul"] + fused["MatMulIntegerToFloat"] == count["MatMulInteger"],
           f"dynamic {name}: ONNX Runtime left {fused} of {count}")
    # the engine: the first quantizer sees the same numbers, so its integers are equal; then rounding may differ by a step
    integers(model, tmp / "all.onnx")
    theirs, ours = run_ort(tmp / "all.onnx", feed, NONE), run_pare(tmp, tmp / "all.onnx", feed)
    for k in theirs:
        if theirs[k].dtype == np.uint8:
            far = np.abs(theirs[k].astype(int) - ours[k].astype(int))
            expect(far.max() <= 1 and (far > 0).mean() <= 0.01, f"dynamic {name}: {k} differs by {far.max()} steps, "
                   f"in {(far > 0).mean():.2%} of the elements")
    for k in a:
        expect(sqnr(a[k], run_pare(tmp, model, feed)[k]) > floor, f"dynamic {name}: {k} in pare's engine")
    expect(entry["notes"]["int8_layers"] == made, f"dynamic {name}: the report says {entry['notes']}")


def alone(tmp):
    """MatMulInteger and ConvInteger on equal inputs: the same bits."""
    rng = np.random.default_rng(2)
    for conv in (False, True):
        dims, wdims = ((2, 6, 9, 9), (5, 6, 3, 3)) if conv else ((3, 17, 33), (33, 20))
        node = h.make_node("Conv" if conv else "MatMul", ["x", "w"], ["y"], **({"pads": [1] * 4} if conv else {}))
        g = h.make_graph([node], "g", [h.make_tensor_value_info("x", T.FLOAT, dims)], [h.make_tensor_value_info("y", T.FLOAT, None)],
                         [nh.from_array(rng.standard_normal(wdims).astype(np.float32), "w")])
        net = tmp / f"alone{int(conv)}.onnx"
        onnx.save(h.make_model(g, opset_imports=[h.make_opsetid("", 13)], ir_version=7), net)
        model, said, _ = step(tmp, f"alone{int(conv)}", net, "quantize.dynamic", "{ops: [Conv, MatMul], portable: on}")
        if not model:
            continue
        expect(("dynamic" in said) == conv or not conv, "a warning about convolutions")
        feed = feed_of(net, rng)
        integers(model, tmp / "all.onnx")
        theirs, ours = run_ort(tmp / "all.onnx", feed, NONE), run_pare(tmp, tmp / "all.onnx", feed)
        for k in theirs:
            same = np.array_equal(theirs[k], ours[k]) if theirs[k].dtype != np.float32 else np.allclose(theirs[k], ours[k], 1e-5, 1e-5)
            expect(same, f"alone: {k} differs")


def opset(tmp):
    """An old file is raised to 11, and that is said; one of 11 is left as it is."""
    for old, new in ((9, 11), (11, 11)):
        g = h.make_graph([h.make_node("MatMul", ["x", "w"], ["y"])], "g", [h.make_tensor_value_info("x", T.FLOAT, [2, 8])],
                         [h.make_tensor_value_info("y", T.FLOAT, [2, 8])],
                         [nh.from_array(np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32), "w")])
        onnx.save(h.make_model(g, opset_imports=[h.make_opsetid("", old)], ir_version=4), tmp / "old.onnx")
        model, said, _ = step(tmp, f"opset{old}", tmp / "old.onnx", "quantize.dynamic")
        if not model:
            continue
        checked(model, f"opset {old}")
        expect(onnx.load(model).opset_import[0].version == new, f"opset {old}: {onnx.load(model).opset_import}")
        expect(("raised from 9 to 11" in said) == (old == 9), f"opset {old}: {said}")


# ---- weights ----

def weights(tmp, name, net, floor, with_="{}"):
    model, _, entry = step(tmp, f"w-{name}", net, "quantize.weights", with_)
    if not model:
        return
    checked(model, f"weights {name}: the checker")
    feed = feed_of(net, np.random.default_rng(1))
    a, b, c = run_ort(net, feed), run_ort(model, feed, exact=True), run_pare(tmp, model, feed)
    for k in a:
        expect(sqnr(a[k], b[k]) > floor, f"weights {name}: {k} has {sqnr(a[k], b[k]):.1f} dB")
        expect(sqnr(b[k], c[k]) > 60, f"weights {name}: {k} is {sqnr(b[k], c[k]):.1f} dB from ONNX Runtime's")
    int8 = [i for i in onnx.load(model).graph.initializer if i.data_type == T.INT8 and len(i.dims) > 1]
    expect(len(int8) == entry["notes"]["int8_layers"], f"weights {name}: {[i.name for i in int8]}, {entry['notes']}")


# ---- float16 ----

def half(tmp, name, net, floor, level=ALL):
    model, _, entry = step(tmp, f"h-{name}", net, "quantize.float16")
    if not model:
        return
    checked(model, f"float16 {name}: the checker")
    feed = feed_of(net, np.random.default_rng(1))
    a, b, c = run_ort(net, feed), run_ort(model, feed, level), run_pare(tmp, model, feed)
    for k in a:
        expect(b[k].dtype == np.float32, f"float16 {name}: {k} is {b[k].dtype}")
        expect(sqnr(a[k], b[k]) > floor, f"float16 {name}: {k} has {sqnr(a[k], b[k]):.1f} dB in ONNX Runtime")
        expect(sqnr(a[k], c[k]) > floor, f"float16 {name}: {k} has {sqnr(a[k], c[k]):.1f} dB in pare")
    big = [i.name for i in onnx.load(model).graph.initializer if i.data_type == T.FLOAT and np.prod(i.dims) > 16]
    expect(not big, f"float16 {name}: still float32: {big}")


def half_limits(tmp):
    """Numbers beyond float16, tiny ones, values that grow too large, and keep_io: false."""
    w = np.full((4, 4), 0.5, np.float32)
    w[0] = [1e5, 1e-9, -7e4, 1]
    nodes = [h.make_node("MatMul", ["x", "w"], ["m"]), h.make_node("Mul", ["m", "big"], ["wide"]),
             h.make_node("Sigmoid", ["wide"], ["g"]), h.make_node("MatMul", ["g", "v"], ["y"])]
    g = h.make_graph(nodes, "g", [h.make_tensor_value_info("x", T.FLOAT, [2, 4])], [h.make_tensor_value_info("y", T.FLOAT, [2, 4])],
                     [nh.from_array(w, "w"), nh.from_array(np.array([6e4], np.float32), "big"),
                      nh.from_array(np.eye(4, dtype=np.float32), "v")])
    net = tmp / "limits.onnx"
    onnx.save(h.make_model(g, opset_imports=[h.make_opsetid("", 13)], ir_version=7), net)
    model, said, entry = step(tmp, "limits", net, "quantize.float16")
    if model:
        expect(entry["notes"]["wide_values"] >= 1 and "ends at 65504" in said, f"float16 limits: {said}")
        expect(sqnr(run_ort(net, feed_of(net, np.random.default_rng(1)))["y"],
                    run_ort(model, feed_of(net, np.random.default_rng(1)))["y"]) > 30, "float16 limits: numbers")
    model, said, entry = step(tmp, "limits2", net, "quantize.float16", "{check_samples: 0, keep_io: false}")
    if model:
        notes = entry["notes"]
        expect(notes["overflowed"] == 2 and notes["flushed_to_zero"] == 1 and "became 65504" in said, f"float16: {notes} {said}")
        m = onnx.load(model)
        checked(model, "float16 keep_io: false")
        expect(m.graph.input[0].type.tensor_type.elem_type == T.FLOAT16, "float16: the input's dtype")
        expect(m.graph.output[0].type.tensor_type.elem_type == T.FLOAT16, "float16: the output's dtype")
        expect(run_ort(model, {"x": np.zeros((2, 4), np.float16)})["y"].dtype == np.float16, "float16: it runs")


# ---- together, and what is refused ----

def together(tmp, net):
    prune = "  - {id: p, use: prune.unstructured, with: {sparsity: 0.8}}\n"
    model, _, _ = step(tmp, "prune-dynamic", net, "quantize.dynamic", more=prune)
    if model:
        m = onnx.load(model)
        zeros = [(nh.to_array(i) == 0).mean() for i in m.graph.initializer if i.data_type == T.INT8]
        expect(zeros and min(zeros) > 0.5, f"prune then dynamic: shares of zeros {zeros}")
        checked(model, "prune then dynamic")
    _, said, _ = step(tmp, "dynamic-prune", net, "prune.unstructured", "{sparsity: 0.8}",
                      more="  - {id: p, use: quantize.dynamic}\n")
    expect("prune.integer" in said, f"dynamic then prune says what it leaves: {said}")
    model, _, _ = step(tmp, "prune-half", net, "quantize.float16", more=prune)
    if model:
        checked(model, "prune then float16")
    for first in ("quantize.dynamic", "quantize.weights"):
        model, said, _ = step(tmp, "twice", net, "quantize.float16", ok=False, more=f"  - {{id: p, use: {first}}}\n")
        expect(model is None and "quantized already" in said, f"{first} then float16: {said}")


def refused(tmp, net):
    for with_, words in (("{ops: [Softmax]}", "makes no \"Softmax\" int8"), ("{exclude: [nothing-such]}", "names no layer"),
                         ("{layers: [{match: wide}]}", "says nothing but match"),
                         ("{include: [three]}", "nothing to quantize"), ("{strict: true}", "can't be int8")):
        model, said, _ = step(tmp, "refused", net, "quantize.dynamic", with_, ok=False)
        expect(model is None and words in said, f"{with_}: {said}")
    m = onnx.load(net)
    w = next(i for i in m.graph.initializer if i.name == "k")
    a = nh.to_array(w).copy()
    a[0, 0] = np.nan
    w.CopyFrom(nh.from_array(a, "k"))
    onnx.save(m, tmp / "nan.onnx")
    for use in ("quantize.dynamic", "quantize.weights"):
        model, said, _ = step(tmp, "nan", tmp / "nan.onnx", use, ok=False)
        expect(model is None and '"k" hold a NaN' in said, f"{use}, NaN: {said}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        tmp = Path(folder)
        encoder(tmp / "encoder.onnx")
        convnet(tmp / "conv.onnx")
        alone(tmp)
        opset(tmp)
        dynamic(tmp, "encoder", tmp / "encoder.onnx", 25, left=1)
        dynamic(tmp, "conv", tmp / "conv.onnx", 20, "{ops: [Conv, MatMul]}", ("Conv", "MatMul"))
        weights(tmp, "encoder", tmp / "encoder.onnx", 30)
        weights(tmp, "conv", tmp / "conv.onnx", 30)
        half(tmp, "encoder", tmp / "encoder.onnx", 50)
        half(tmp, "conv", tmp / "conv.onnx", 45)
        for net in ("vit-ts", "vit-d23", "vit-d18"):
            path = NETS / f"{net}.onnx"
            dynamic(tmp, net, path, 15, "{portable: off}", ("Gemm",))
            weights(tmp, net, path, 18)
            # with its NCHWc layout on top, ONNX Runtime 1.32 crashes on vit-ts in float16
            half(tmp, net, path, 35, EXTENDED)
        half_limits(tmp)
        together(tmp, tmp / "encoder.onnx")
        refused(tmp, tmp / "encoder.onnx")
    return common.verdict()


if __name__ == "__main__":
    raise SystemExit(main())
