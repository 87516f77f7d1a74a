#!/usr/bin/env python3
"""quantize.static against ONNX Runtime and numpy. Every net of tests/golden/nets becomes a file that the checker takes,
that ONNX Runtime runs with no product left in float, and that `pare infer` computes alike. Weights, biases and zeros of
small made networks are worked out again in numpy; pruning composes with it in both orders; what is wrong is refused by
name.

env: PARE_BIN, PARE_SOURCE
options: names of tests, to run these alone"""
import collections
import json
import sys
import tempfile
from pathlib import Path

import common
from common import SOURCE, expect, needed, pare

with needed():
    import numpy as np
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

ort.set_default_logger_severity(3)
NETS = SOURCE / "tests/golden/nets"
PRODUCTS = {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "ConvTranspose"}
FLOAT_THERE = {"unet-d23": 3, "unet-ts": 3}  # ConvTranspose: ONNX Runtime has no int8 kernel for it
CHAOTIC = {"convnext-d23"}  # LayerNormalization in float between int8: ORT's own optimizations differ as much
FIXED = {"vit-d23"}  # exported for a batch of 1
NOISE = "data: random, samples: 12, sanity: off, check_samples: 6"


def step(options, name="int8"):
    return f"  - {{id: {name}, use: quantize.static, with: {{{options}}}}}\n"


def run(folder, model, steps, data="", ok=True, name="run"):
    """The finished run's folder and report, or (None, stderr)."""
    pipeline = folder / f"{name}.yaml"
    pipeline.write_text(f"version: 1\nname: t\nseed: 7\nmodels: {{net: {{onnx: \"{model}\"}}}}\n{data}steps:\n{steps}"
                        "report: {baseline: net, metrics: [size]}\noutput: {gzip: off, pack: off}\n")
    out = folder / name
    done = pare("run", pipeline, "--out", out, "--force", "--quiet", ok=ok)
    if done.returncode:
        return None, done.stderr
    return out, json.loads((out / "report.json").read_text())


def session(path, optimized=None):
    o = ort.SessionOptions()
    o.intra_op_num_threads = 2
    o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if optimized:
        o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        o.optimized_model_filepath = str(optimized)
    return ort.InferenceSession(str(path), o, providers=["CPUExecutionProvider"])


def sqnr(want, got):
    want, got = want.astype(np.float64), got.astype(np.float64)
    noise = ((want - got) ** 2).sum()
    return np.inf if noise == 0 else 10 * np.log10((want**2).sum() / noise)


def feed(path, batch=2):
    i = onnx.load(path).graph.input[0]
    dims = [d.dim_value or batch for d in i.type.tensor_type.shape.dim]
    return {i.name: np.random.default_rng(3).normal(size=dims).astype(np.float32)}


def tensors(path):
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def node_of(model, output):
    return next((n for n in model.graph.node if output in n.output), None)


def layers(path):
    """(node, x scale, w int8, w scale, w axis, bias int32 or None) of each Conv and Gemm whose weight is quantized."""
    model, at = onnx.load(path), tensors(path)
    for n in model.graph.node:
        if n.op_type not in ("Conv", "Gemm"):
            continue
        x, w = node_of(model, n.input[0]), node_of(model, n.input[1])
        if not w or w.op_type != "DequantizeLinear":
            continue
        b = node_of(model, n.input[2]) if len(n.input) > 2 else None
        axis = next((a.i for a in w.attribute if a.name == "axis"), None)
        yield n, at[x.input[1]], at[w.input[0]], at[w.input[1]], axis, at[b.input[0]] if b else None


# ---- the nets ----


def nets(folder):
    for path in sorted(NETS.glob("*.onnx")):
        name = path.stem
        out, report = run(folder, path, step(NOISE), name=name)
        if not out:
            continue
        model = out / "model.onnx"
        onnx.checker.check_model(onnx.load(model), full_check=True)
        optimized = folder / "optimized.onnx"
        x = feed(model, 1 if name in FIXED else 2)
        fast = session(model, optimized).run(None, x)
        plain = session(model).run(None, x)
        ops = collections.Counter(n.op_type for n in onnx.load(optimized).graph.node)
        left = sum(ops[op] for op in PRODUCTS)
        expect(left == FLOAT_THERE.get(name, 0), f"{name}: ONNX Runtime runs {left} products in float: {dict(ops)}")
        notes = report["steps"][0]["notes"]
        expect(notes["float_layers"] == FLOAT_THERE.get(name, 0), f"{name}: {notes}")
        for a, b in zip(plain, fast):
            expect(sqnr(a, b) > 34, f"{name}: ONNX Runtime optimized and not are {sqnr(a, b):.1f} dB apart")
        np.save(folder / "x.npy", next(iter(x.values())))
        pare("infer", model, "--in", folder / "x.npy", "--out", folder / "infer", "--quiet")
        for o, a in zip(onnx.load(model).graph.output, plain):
            got = np.load(common.output_file(folder / "infer", o.name))
            expect(sqnr(a, got) > (34 if name in CHAOTIC else 40), f"{name}: pare and ONNX Runtime are {sqnr(a, got):.1f} dB apart")
        rows = [r for r in report["steps"][0]["layers"] if r["achieved"] != 32]
        expect(all(r["cosine"] and r["cosine"] > 0.5 for r in rows), f"{name}: a layer's cosine")


def targets(folder):
    """Each target's file is valid, runs everywhere, and is as good."""
    for target in ("tensorrt", "openvino", "generic", "pare"):
        for name in ("resnet18-ts", "mobilenet_v3-ts", "vit-ts", "unet-ts"):
            out, report = run(folder, NETS / f"{name}.onnx", step(f"{NOISE}, target: {target}"),
                              name=f"{name}-{target}")
            if not out:
                continue
            model = onnx.load(out / "model.onnx")
            onnx.checker.check_model(model, full_check=True)
            x = feed(out / "model.onnx")
            a, b = session(NETS / f"{name}.onnx").run(None, x)[-1], session(out / "model.onnx").run(None, x)[-1]
            expect(sqnr(a, b) > 15, f"{name} for {target}: {sqnr(a, b):.1f} dB from float")
            expect(report["steps"][0]["notes"]["float_layers"] == 0, f"{name} for {target}: layers in float")
            zeros = [t for t in model.graph.initializer if t.name.endswith("_zero_point")]
            signed = all(t.data_type == TensorProto.INT8 and not numpy_helper.to_array(t).any() for t in zeros)
            expect(signed == (target == "tensorrt"), f"{name} for {target}: zero points")


# ---- numbers ----


def made(folder, name, weights, biases, clip=None, opset=13, group=1, size=6):
    """x (N, C, size, size) -> Conv -> [Clip] -> Conv -> ... -> y, with these weights."""
    nodes, inits, at = [], [], "x"
    for i, (w, b) in enumerate(zip(weights, biases)):
        inits.append(numpy_helper.from_array(w.astype(np.float32), f"w{i}"))
        ins = [at, f"w{i}"]
        if b is not None:
            inits.append(numpy_helper.from_array(b.astype(np.float32), f"b{i}"))
            ins.append(f"b{i}")
        last = i + 1 == len(weights)
        out = "y" if last else f"c{i}"
        nodes.append(helper.make_node("Conv", ins, [out], name=f"conv{i}", group=group if i else 1,
                                      pads=[w.shape[2] // 2, w.shape[3] // 2] * 2))
        at = out
        if not last:
            nodes.append(helper.make_node("Relu", [out], [f"r{i}"], name=f"relu{i}"))
            at = f"r{i}"
    c = weights[0].shape[1]
    graph = helper.make_graph(nodes, name, [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", c, size, size])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], inits)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path = folder / f"{name}.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def numbers(folder):
    """Scales, weights and biases, worked out again."""
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=s) * rng.uniform(0.1, 2, size=(s[0], 1, 1, 1)) for s in ((8, 3, 3, 3), (8, 8, 3, 3))]
    biases = [rng.normal(size=8), rng.normal(size=8)]
    path = made(folder, "numbers", weights, biases)
    for options, most, axis in (("", 127, 0), (", portable: on", 63, 0), (", weights: per_tensor", 127, None)):
        off = "" if options.startswith(", portable") else ", portable: off"
        out, _ = run(folder, path, step(NOISE + options + off), name=f"numbers{len(options)}")
        if not out:
            continue
        found = list(layers(out / "model.onnx"))
        expect(len(found) == 2, "both convolutions are quantized")
        for (n, xs, q, ws, ax, b), w, bias in zip(found, weights, biases):
            w = w.astype(np.float32)
            expect(ax == axis and q.dtype == np.int8 and ws.size == (8 if axis == 0 else 1), f"{n.name}: axis {ax}")
            want = np.abs(w.reshape(8, -1)).max(1) if axis == 0 else np.abs(w).max()[None]
            want = (want / np.float32(most)).astype(np.float32)
            expect(np.allclose(ws.reshape(-1), want, rtol=1e-6), f"{n.name}: scales")
            each = ws.reshape(-1, 1, 1, 1)
            expect(np.array_equal(q, np.rint(w / each).clip(-most, most).astype(np.int8)), f"{n.name}: weights")
            exact = np.rint(bias.astype(np.float32).astype(np.float64) / (xs * ws).astype(np.float64))
            expect(np.abs(b - exact).max() <= 1, f"{n.name}: biases")


def tiny_channels(folder):
    """Channels of zeros, tiny ones, and biases that would leave int32: the scale is raised, the output holds."""
    rng = np.random.default_rng(2)
    w = rng.normal(size=(6, 3, 3, 3))
    w[1] = 0
    w[2] *= 1e-12
    w[3] *= 1e-30
    b = np.array([0.5, -3.0, 7.0, 1e4, 0, -2.0])
    path = made(folder, "tiny", [w, rng.normal(size=(6, 6, 1, 1))], [b, rng.normal(size=6)])
    out, _ = run(folder, path, step(NOISE), name="tiny")
    if not out:
        return
    for n, xs, q, ws, _, bias in layers(out / "model.onnx"):
        expect(np.abs(bias.astype(np.int64)).max() <= 1 << 30, f"{n.name}: a bias of {np.abs(bias).max()}")
        expect((ws > 0).all() and np.isfinite(ws).all(), f"{n.name}: scales {ws}")
    expect(not tensors(out / "model.onnx")["w0"][1].any(), "zeros stay zero")
    x = feed(path)
    a, g = session(path).run(None, x)[0], session(out / "model.onnx", folder / "o.onnx").run(None, x)[0]
    expect(sqnr(a, g) > 25, f"tiny channels: {sqnr(a, g):.1f} dB")


def zeros_and_masks(folder):
    """Pruned weights: their zeros are zeros of the int8 tensor, under the same name, still masked; both orders."""
    prune = "  - {id: pruned, use: prune.unstructured, with: {sparsity: 0.9}}\n"
    net = NETS / "resnet18-ts.onnx"
    out, report = run(folder, net, prune + step(NOISE), name="prune-quantize")
    other, _ = run(folder, net, step(NOISE) + prune, name="quantize-prune")
    if not out or not other:
        return
    pruned, quantized = tensors(out / "steps/01-pruned/model.onnx"), tensors(out / "model.onnx")
    names = [n for n, t in pruned.items() if t.ndim in (2, 4)]
    expect(len(names) == 21, f"{len(names)} weights")
    for n in names:
        expect(quantized[n].dtype == np.int8, f"{n} is {quantized[n].dtype}")
        expect(not quantized[n][pruned[n] == 0].any(), f"{n}: a zero became something else")
    meta = {p.key: p.value for p in onnx.load(out / "model.onnx").metadata_props}
    expect(sorted(json.loads(meta["ai.pare.masked"])) == sorted(names), "masks are carried")
    again = tensors(other / "model.onnx")
    for n in names:
        share = (again[n] == 0).mean()
        expect(again[n].dtype == np.int8 and share > 0.87, f"{n}: {share:.3f} zeros after quantize, then prune")
    for model in (out, other):
        x = feed(model / "model.onnx")
        session(model / "model.onnx", folder / "o.onnx").run(None, x)
        ops = collections.Counter(n.op_type for n in onnx.load(folder / "o.onnx").graph.node)
        expect(not sum(ops[op] for op in PRODUCTS), f"{model.name}: {dict(ops)}")


def bias_correction(folder):
    """The shift of each bias against numpy: means of inputs, in float and rounded, through the layer."""
    rng = np.random.default_rng(4)
    weights = [rng.normal(size=(5, 3, 3, 3)), rng.normal(size=(7, 5, 3, 3))]
    biases = [rng.normal(size=5), rng.normal(size=7)]
    path = made(folder, "correct", weights, biases)
    data = (rng.normal(size=(40, 3, 6, 6)) ** 2).astype(np.float32)
    np.save(folder / "data.npy", data)
    block = f"data: {{cal: {{npy: \"{folder / 'data.npy'}\", layout: nchw}}}}\n"
    options = "data: cal, calibration: minmax, portable: off, samples: 0, bias_correction: "
    off, _ = run(folder, path, step(options + "off"), block, name="correct-off")
    on, _ = run(folder, path, step(options + "on"), block, name="correct-on")
    if not off or not on:
        return
    model = onnx.load(path)
    model.graph.output.append(helper.make_tensor_value_info("r0", TensorProto.FLOAT, None))
    r0 = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(["r0"], {"x": data})[0]
    at = tensors(on / "model.onnx")
    for i, (first, second, x) in enumerate(zip(layers(off / "model.onnx"), layers(on / "model.onnx"), (data, r0))):
        n, xs, q, ws, _, b = first
        name = "x" if i == 0 else "r0"
        zero = float(at[f"{name}_zero_point"])
        rounded = (np.clip(np.rint(x / xs) + zero, 0, 255) - zero) * xs
        w, wq = weights[i].astype(np.float32), q * ws.reshape(-1, 1, 1, 1)
        mean = lambda t: t.mean((0, 2, 3)).reshape(1, -1, 1, 1) * np.ones((1, 1, *x.shape[2:]))
        conv = lambda t, k: sum(np.einsum("ncij,oc->noij", np.pad(t, ((0, 0), (0, 0), (1, 1), (1, 1)))[
            :, :, dy:dy + t.shape[2], dx:dx + t.shape[3]], k[:, :, dy, dx]) for dy in range(3) for dx in range(3))
        shift = (conv(mean(x), w) - conv(mean(rounded), wq)).mean((0, 2, 3))
        step_size = xs * ws.reshape(-1)
        got = (second[5].astype(np.float64) - b) * step_size
        expect(np.abs(got - shift).max() <= 1.01 * step_size.max(), f"{n.name}: {got} for {shift}")
        expect(np.abs(shift).max() > step_size.max(), f"{n.name}: nothing to correct shows nothing")
    reference = session(path).run(None, {"x": data})[0]
    means = [np.abs((session(m / "model.onnx").run(None, {"x": data})[0] - reference).mean((0, 2, 3))).max()
             for m in (off, on)]
    expect(means[1] < means[0], f"the output's mean error is {means[1]}, without correction {means[0]}")
    rows = np.rint(data * 3) ** 2 / 7  # MatMul, whose bias is the Add behind it
    w, b = rng.normal(size=(6, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Add", ["a", "b"], ["y"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 6, 6])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3, 6, 4])],
                              [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")])
    path = folder / "rows.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    np.save(folder / "data.npy", rows.astype(np.float32))
    both = []
    for on in ("off", "on"):
        out, report = run(folder, path, step(options + on), block, name=f"rows-{on}")
        if not out:
            return
        both.append(session(out / "model.onnx").run(None, {"x": rows.astype(np.float32)})[0].mean((0, 1, 2)))
    expect(report["steps"][0]["notes"]["corrected_layers"] == 1, f"{report['steps'][0]['notes']}")
    want = session(path).run(None, {"x": rows.astype(np.float32)})[0].mean((0, 1, 2))
    errors = [np.abs(m - want).max() for m in both]
    expect(errors[1] < 0.1 * errors[0], f"mean errors of MatMul: {errors}")


def equalization(folder):
    """A pair whose channels differ by a thousand times keeps its function, and loses less per tensor."""
    rng = np.random.default_rng(5)
    factor = np.logspace(-1.5, 1.5, 8)
    w = [rng.normal(size=(8, 3, 3, 3)) * factor.reshape(-1, 1, 1, 1), rng.normal(size=(8, 8, 3, 3)) / factor.reshape(1, -1, 1, 1)]
    path = made(folder, "equal", w, [rng.normal(size=8) * factor, rng.normal(size=8)])
    x = feed(path)
    reference = session(path).run(None, x)[0]
    got = []
    for on in ("off", "on"):
        out, report = run(folder, path, step(f"{NOISE}, weights: per_tensor, portable: off, equalize: {on}"),
                          name=f"equal-{on}")
        if not out:
            return
        got.append(sqnr(reference, session(out / "model.onnx").run(None, x)[0]))
    expect(report["steps"][0]["notes"]["equalized_pairs"] == 1, "one pair")
    expect(got[1] > got[0] + 6, f"equalized {got[1]:.1f} dB, before {got[0]:.1f} dB")
    out, report = run(folder, NETS / "mobilenet_v2-ts.onnx", step(NOISE + ", equalize: on"), name="equal-clip")
    expect(bool(out), "Clip between convolutions is skipped")


def again(folder):
    """The same bytes on every run, from the ranges of an earlier one as well; edited ranges are taken."""
    net = NETS / "mobilenet_v2-ts.onnx"
    a, _ = run(folder, net, step(NOISE), name="a")
    b, _ = run(folder, net, step(NOISE), name="b")
    ranges = a / "steps/01-int8/calibration.yaml"
    c, _ = run(folder, net, step(f"sanity: off, check_samples: 6, ranges: \"{ranges}\""), name="c")
    if not (a and b and c):
        return
    want = (a / "model.onnx").read_bytes()
    expect((b / "model.onnx").read_bytes() == want, "two runs give the same bytes")
    expect((c / "model.onnx").read_bytes() == want, "the ranges of a run give the same bytes")
    expect((b / "steps/01-int8/calibration.yaml").read_bytes() == ranges.read_bytes(), "the artefact is the same")


def requantize(folder):
    net = NETS / "resnet18-ts.onnx"
    out, _ = run(folder, net, step(NOISE) + step(NOISE + ", requantize: true, target: tensorrt", "trt"), name="requant")
    if not out:
        return
    x = feed(net)
    a, b = session(net).run(None, x)[0], session(out / "model.onnx").run(None, x)[0]
    expect(sqnr(a, b) > 15, f"quantized twice: {sqnr(a, b):.1f} dB")
    q = [n for n in onnx.load(out / "model.onnx").graph.node if n.op_type == "QuantizeLinear"]
    expect(len(q) < 30, f"{len(q)} quantizers: the first ones are gone")


def tuned(folder):
    """A layer that int8 destroys is found and left in float."""
    rng = np.random.default_rng(6)
    classes, n = 4, 200
    y = rng.integers(0, classes, n)
    x = rng.normal(size=(n, 3, 6, 6)).astype(np.float32) * 0.3
    for i in range(n):
        x[i, 0, y[i], :3] += 1.0
    w0 = rng.normal(size=(6, 3, 3, 3)) * 0.1
    w0[0] = 0
    w0[0, 0, 1, 1] = 1.0
    w1 = rng.normal(size=(classes, 6, 6, 6)) * 1e-4
    for c in range(classes):
        w1[c, 0, c, :3] = 1.0
    w1[:, 5, 5, 5] = 400.0  # huge, and multiplied by nothing: per tensor, those that decide are lost
    w0[5] = 0
    path = made(folder, "tuned", [w0, w1], [np.zeros(6), np.zeros(classes)])
    model = onnx.load(path)
    del model.graph.node[-1].attribute[:]
    model.graph.node[-1].output[0] = "c1"
    model.graph.node.append(helper.make_node("Flatten", ["c1"], ["y"]))
    del model.graph.value_info[:]
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", classes]))
    onnx.save(model, path)
    np.save(folder / "tx.npy", x)
    np.save(folder / "ty.npy", y.astype(np.int64))
    block = f"data: {{set: {{npy: \"{folder / 'tx.npy'}\", labels: \"{folder / 'ty.npy'}\", layout: nchw, classes: 4}}}}\n"
    options = "data: set, weights: per_tensor, sanity: off, portable: off, calibration: minmax"
    out, report = run(folder, path, step(options + ", tune: {max_drop: 0.01, samples: 200}"), block, name="tuned")
    if not out:
        return
    rows = {r["name"]: r for r in report["steps"][0]["layers"]}
    expect(rows["w1"]["achieved"] == 32 and rows["w0"]["achieved"] == 8, f"{rows}")
    expect(rows["w1"]["alone_db"] < rows["w0"]["alone_db"], "what each costs is told")
    ranges = out / "steps/01-int8/calibration.yaml"
    again, _ = run(folder, path, step(f"{options}, ranges: \"{ranges}\", tune: {{max_drop: 0.01, samples: 200}}"), block,
                   name="tuned-again")
    expect(again and (again / "model.onnx").read_bytes() == (out / "model.onnx").read_bytes(), "tuned from ranges")
    curve = dict(map(tuple, report["steps"][0]["curves"]["tune"]))
    expect(curve[1] > curve[0] + 0.05, f"accuracy {curve}")


def refused(folder):
    """What is wrong, by name."""
    net = NETS / "resnet18-ts.onnx"

    def wrong(what, *words, model=net, steps=None, data="", options=NOISE):
        out, said = run(folder, model, steps or step(options), data, ok=False, name="wrong")
        expect(out is None, f"{what} is taken")
        for w in words:
            expect(out is not None or w in said, f"{what}: nothing of {w!r} in\n{said}")

    wrong("no data", "quantize.no-data", options="sanity: off")
    wrong("an unknown set", "calib", options="data: calib")
    wrong("a pattern without a layer", "layers.pattern", "stages9", options=NOISE + ", layers: [{match: stages9*, skip: true}]")
    wrong("an empty row", "quantize.row", options=NOISE + ", layers: [{match: fc*}]")
    wrong("an unknown op", "quantize.op", "Cnov", options=NOISE + ", ops: [Cnov]")
    wrong("tensorrt with uint8", "quantize.tensorrt", options=NOISE + ", target: tensorrt, activations: uint8")
    wrong("strict", "quantize.strict", "up.0.weight", "ConvTranspose", model=NETS / "unet-ts.onnx", options=NOISE + ", strict: true")
    wrong("quantized twice", "quantize.already", "requantize", steps=step(NOISE) + step(NOISE, "more"))
    wrong("tune without labels", "quantize.tune-data", options=NOISE + ", tune: {max_drop: 0.01}")
    wrong("nothing left", "quantize.nothing", options=NOISE + ", exclude: [\"*\"]")
    wrong("no such ranges", "config.no-file", options="ranges: nowhere.yaml")
    out, _ = run(folder, NETS / "mobilenet_v2-ts.onnx", step(NOISE), name="theirs")
    if out:
        wrong("another model's ranges", "ranges.other-graph", options=f"ranges: \"{out / 'steps/01-int8/calibration.yaml'}\"")
    rng = np.random.default_rng(7)
    w = rng.normal(size=(4, 3, 3, 3))
    w[1, 2, 0, 0] = np.nan
    wrong("a NaN in a weight", "NaN", model=made(folder, "nan", [w], [None]))
    x = rng.normal(size=(4, 3, 6, 6)).astype(np.float32)
    x[2, 0, 0, 0] = np.nan
    np.save(folder / "nan.npy", x)
    good = made(folder, "good", [rng.normal(size=(4, 3, 3, 3))], [None])
    wrong("a NaN in a sample", "NaN", "2", model=good, options="data: bad, samples: 0",
          data=f"data: {{bad: {{npy: \"{folder / 'nan.npy'}\", layout: nchw}}}}\n")


def odd_but_fine(folder):
    """One image, a constant one, old opsets, weights behind Transpose and Constant: done, and said."""
    rng = np.random.default_rng(8)
    good = made(folder, "fine", [rng.normal(size=(4, 3, 3, 3))], [None])
    np.save(folder / "one.npy", rng.normal(size=(1, 3, 6, 6)).astype(np.float32))
    np.save(folder / "zero.npy", np.zeros((3, 3, 6, 6), np.float32))
    for name in ("one", "zero"):
        block = f"data: {{set: {{npy: \"{folder / (name + '.npy')}\", layout: nchw}}}}\n"
        out, _ = run(folder, good, step("data: set, sanity: off"), block, name=f"fine-{name}")
        if out:
            scales = [t for n, t in tensors(out / "model.onnx").items() if n.endswith("_scale")]
            expect(all((s > 0).all() and np.isfinite(s).all() for s in scales), f"{name}: scales {scales}")
    old = made(folder, "old", [rng.normal(size=(4, 3, 3, 3)), rng.normal(size=(4, 4, 3, 3))], [None, rng.normal(size=4)],
               opset=11)
    out, _ = run(folder, old, step(NOISE), name="old")
    if out:
        opset = onnx.load(out / "model.onnx").opset_import[0].version
        expect(opset == 13, f"opset 11 becomes {opset}")
        onnx.checker.check_model(onnx.load(out / "model.onnx"), full_check=True)
        session(out / "model.onnx").run(None, feed(old))
    w = rng.normal(size=(6, 8)).astype(np.float32)
    nodes = [helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(rng.normal(size=(6, 6)).astype(np.float32))),
             helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0]),
             helper.make_node("MatMul", ["x", "wt"], ["a"]), helper.make_node("Gemm", ["a", "k", "c"], ["b"], alpha=0.5, beta=2.0),
             helper.make_node("Gemm", ["a", "v"], ["d"], transB=1), helper.make_node("Add", ["b", "d"], ["y"])]
    inits = [numpy_helper.from_array(w, "w"), numpy_helper.from_array(np.float32([3]), "c"),
             numpy_helper.from_array(rng.normal(size=(6, 6)).astype(np.float32), "v")]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 6])], inits)
    path = folder / "forms.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    out, report = run(folder, path, step(NOISE), name="forms")
    if out:
        x = feed(path, 16)
        a, b = session(path).run(None, x)[0], session(out / "model.onnx", folder / "o.onnx").run(None, x)[0]
        expect(sqnr(a, b) > 25, f"forms: {sqnr(a, b):.1f} dB")
        expect(report["steps"][0]["notes"]["int8_layers"] == 3, f"forms: {report['steps'][0]['notes']}")
        ops = collections.Counter(n.op_type for n in onnx.load(folder / "o.onnx").graph.node)
        expect(not sum(ops[op] for op in PRODUCTS), f"forms: {dict(ops)}")


def shared(folder):
    """A weight that int8 and float nodes share stays float for the latter; a bias that two layers share is one for
    each. Names of nodes stay unique."""
    rng = np.random.default_rng(9)
    f = lambda name, *dims: numpy_helper.from_array(rng.normal(size=dims).astype(np.float32), name)
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["a"]), helper.make_node("Tanh", ["a"], ["t"]),
             helper.make_node("Gemm", ["t", "w", "b"], ["h"]), helper.make_node("Gather", ["w", "i"], ["row"]),
             helper.make_node("Add", ["h", "row"], ["y"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 6])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 6])],
                              [f("w", 6, 6), f("b", 6), numpy_helper.from_array(np.int64(3), "i")])
    path = folder / "shared.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    out, _ = run(folder, path, step(NOISE + ", portable: off"), name="shared")
    if not out:
        return
    model = onnx.load(out / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    names = [n.name for n in model.graph.node if n.name]
    expect(len(names) == len(set(names)), f"names of nodes: {names}")
    at = tensors(out / "model.onnx")
    expect(at["w"].dtype == np.float32 and at["w_quantized"].dtype == np.int8, f"{sorted(at)}")
    expect(sum(t.dtype == np.int32 for t in at.values()) == 2, f"two biases: {sorted(at)}")
    x = feed(path, 16)
    a, b = session(path).run(None, x)[0], session(out / "model.onnx").run(None, x)[0]
    expect(sqnr(a, b) > 25, f"shared: {sqnr(a, b):.1f} dB")


def nested(folder):
    """A layer inside If is named, and stays in float."""
    w = numpy_helper.from_array(np.eye(6, dtype=np.float32), "inner")
    inner = helper.make_graph([helper.make_node("MatMul", ["h", "inner"], ["z"])], "then", [],
                              [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)], [w])
    other = helper.make_graph([helper.make_node("Identity", ["h"], ["zz"])], "else", [],
                              [helper.make_tensor_value_info("zz", TensorProto.FLOAT, None)])
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]),
             helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=other)]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 6])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
                              [numpy_helper.from_array(np.eye(6, dtype=np.float32), "w"),
                               numpy_helper.from_array(np.bool_(True), "yes")])
    path = folder / "nested.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    pipeline = folder / "nested.yaml"
    pipeline.write_text(f"version: 1\nname: t\nmodels: {{net: {{onnx: \"{path}\"}}}}\nsteps:\n{step(NOISE)}")
    done = pare("check", pipeline)
    expect("inner (MatMul#1) stays in float: it is inside a subgraph" in done.stderr + done.stdout, done.stderr)


def main():
    tests = [nets, targets, numbers, tiny_channels, zeros_and_masks, bias_correction, equalization, again, requantize,
             tuned, refused, odd_but_fine, shared, nested]
    with tempfile.TemporaryDirectory(prefix="pare-quantize-") as tmp:
        for test in tests:
            if sys.argv[1:] and test.__name__ not in sys.argv[1:]:
                continue
            folder = Path(tmp) / test.__name__
            folder.mkdir()
            test(folder)
    return common.verdict()


sys.exit(main())
