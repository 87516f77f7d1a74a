"""Files that ONNX Runtime's quantizers wrote, as pare looks at them and prunes them: parameters counted once and as many
as the float model has, bytes, dtypes, multiply-adds and how much of both is in 8 bits, zeros by the zero point; pruning
of what stands behind DequantizeLinear, against the file's own numbers."""
import json
import logging
import sys
import tempfile
from pathlib import Path

import common
from common import expect, pare

with common.needed():
    import numpy as np
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime.quantization import (CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic,
                                          quantize_static)

logging.disable(logging.WARNING)  # of ONNX Runtime's quantizers: they want to be called on other files
random = np.random.default_rng(3)


def float_net():
    """x (N, 3, 16, 16) -> Conv -> Relu -> Conv (depthwise) -> Relu -> MaxPool -> Conv -> Add of a 1x1 Conv -> global
    average -> Gemm. Biases are in it, so that they are counted too."""
    def weight(name, *dims):
        return numpy_helper.from_array(random.standard_normal(dims).astype(np.float32) / 4, name)

    weights = [weight("w1", 16, 3, 3, 3), weight("b1", 16), weight("w2", 16, 1, 3, 3), weight("b2", 16),
               weight("w3", 24, 16, 3, 3), weight("b3", 24), weight("w4", 24, 16, 1, 1), weight("b4", 24),
               weight("w5", 10, 24), weight("b5", 10)]
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], **pads), helper.make_node("Relu", ["c1"], ["r1"]),
             helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], group=16, **pads),
             helper.make_node("Relu", ["c2"], ["r2"]),
             helper.make_node("MaxPool", ["r2"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
             helper.make_node("Conv", ["p", "w3", "b3"], ["c3"], **pads),
             helper.make_node("Conv", ["p", "w4", "b4"], ["c4"]), helper.make_node("Add", ["c3", "c4"], ["a"]),
             helper.make_node("Relu", ["a"], ["r3"]), helper.make_node("GlobalAveragePool", ["r3"], ["g"]),
             helper.make_node("Flatten", ["g"], ["f"]), helper.make_node("Gemm", ["f", "w5", "b5"], ["y"], transB=1)]
    graph = helper.make_graph(nodes, "net",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 16, 16])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


class Noise(CalibrationDataReader):
    def __init__(self):
        self.left = 8

    def get_next(self):
        self.left -= 1
        return {"x": np.random.default_rng(self.left).standard_normal((1, 3, 16, 16)).astype(np.float32)} \
            if self.left >= 0 else None


def make(folder):
    """The float model and quantized ones: {name: file}."""
    made = {"float": folder / "float.onnx"}
    onnx.save(float_net(), made["float"])
    kinds = {"qdq": (QuantFormat.QDQ, True, QuantType.QUInt8, QuantType.QInt8),
             "qdq-u8": (QuantFormat.QDQ, False, QuantType.QUInt8, QuantType.QUInt8),
             "qdq-s8": (QuantFormat.QDQ, True, QuantType.QInt8, QuantType.QInt8),
             "qoperator": (QuantFormat.QOperator, True, QuantType.QUInt8, QuantType.QInt8)}
    for name, (form, per_channel, activations, weights) in kinds.items():
        made[name] = folder / f"{name}.onnx"
        quantize_static(str(made["float"]), str(made[name]), Noise(), quant_format=form, per_channel=per_channel,
                        activation_type=activations, weight_type=weights)
    made["dynamic"] = folder / "dynamic.onnx"
    quantize_dynamic(str(made["float"]), str(made["dynamic"]), per_channel=True, weight_type=QuantType.QInt8)
    return made


def looked(path):
    return json.loads(pare("inspect", path, "--json").stdout)


def dequantized(path):
    """Of each initializer behind a DequantizeLinear: name, numbers, zero points broadcast to them."""
    model = onnx.load(path)
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for n in model.graph.node:
        if n.op_type != "DequantizeLinear" or n.input[0] not in tensors:
            continue
        q, point = tensors[n.input[0]], tensors[n.input[2]] if len(n.input) > 2 and n.input[2] else np.int64(0)
        axis = next((a.i for a in n.attribute if a.name == "axis"), 1) % max(q.ndim, 1)
        if np.ndim(point) and point.size > 1:
            point = point.reshape([-1 if i == axis else 1 for i in range(q.ndim)])
        yield n.input[0], q, np.broadcast_to(point, q.shape)


def run(path, x):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def counts(made):
    base = looked(made["float"])
    expect(base["macs_int8"] == 0 and base["parameters_by_dtype"] == {"float32": base["parameters"]},
           "a float model has nothing in 8 bits")
    for name, path in made.items():
        j = looked(path)
        expect(j["parameters"] == base["parameters"], f"{name}: {j['parameters']} parameters, not {base['parameters']}")
        expect(j["macs"] == base["macs"], f"{name}: {j['macs']} MACs, not {base['macs']}")
        expect(sum(j["parameters_by_dtype"].values()) == j["parameters"], f"{name}: parameters by dtype")
        expect(sum(t["bytes"] for t in j["tensors"]) < j["bytes"] == path.stat().st_size, f"{name}: bytes")
        if name == "float":
            continue
        # ONNX Runtime's dynamic quantizer is the one that leaves biases in float32
        eight = sum(j["parameters_by_dtype"].get(t, 0) for t in ("int8", "uint8"))
        expect(eight == base["parameters"] - 90, f"{name}: {eight} parameters in 8 bits")
        expect(j["macs_int8"] == j["macs"], f"{name}: {j['macs_int8']} of {j['macs']} MACs in 8 bits")
        if name.startswith("qdq"):
            zeros = sum(int((q == point).sum()) for _, q, point in dequantized(path))
            expect(j["parameters"] - j["nonzero"] == zeros, f"{name}: {j['nonzero']} are not zero, {zeros} are")


def pruned(folder, made):
    x = random.standard_normal((4, 3, 16, 16)).astype(np.float32)
    for name in ("qdq", "qdq-u8", "qdq-s8"):
        config = folder / f"{name}.yaml"
        config.write_text(f"""version: 1
models: {{net: {{onnx: {made[name].name}}}}}
steps: [{{id: p, use: prune.unstructured, with: {{sparsity: 0.8}}}}]
output: {{dir: "pruned-{name}", gzip: off}}
""")
        pare("run", config, "--force")
        out = folder / f"pruned-{name}" / "model.onnx"
        onnx.checker.check_model(str(out))
        was = {t.name: numpy_helper.to_array(t) for t in onnx.load(made[name]).graph.initializer}
        now = {t.name: numpy_helper.to_array(t) for t in onnx.load(out).graph.initializer}
        changed = [n for n in was if not np.array_equal(was[n], now[n])]
        expect(len(changed) == 5 and all(was[n].dtype in (np.int8, np.uint8) for n in changed),
               f"{name}: other tensors than weights changed: {changed}")
        zeros = total = 0
        for n, q, point in dequantized(out):
            if n not in changed:
                continue
            expect(np.all((q == was[n]) | (q == point)), f"{name}: {n}: what was removed is not the zero point")
            zeros += int((q == point).sum())
            total += q.size
        expect(abs(zeros / total - 0.8) < 1e-3, f"{name}: {zeros} of {total} weights are zero, not 80 %")
        metrics = json.loads((out.parent / "report.json").read_text())["steps"][0]["metrics"]
        expect(metrics["parameters"] - metrics["nonzero"] >= zeros, f"{name}: zeros of the report")
        expect(metrics["macs_effective"] < 0.35 * metrics["macs"], f"{name}: {metrics['macs_effective']} MACs left")
        a, b = run(made[name], x), run(out, x)
        expect(np.isfinite(b).all() and not np.array_equal(a, b), f"{name}: outputs")


def main():
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        made = make(folder)
        counts(made)
        pruned(folder, made)
    return common.verdict()


sys.exit(main())
