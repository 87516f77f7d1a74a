"""Quantization, measured: int8 files in pare's engine and in ONNX Runtime, and the time that quantizing takes. Used by
run.py.

The files are pare's own (quantize.static, target onnxruntime, noise, 224 x 224), and both engines run the same one.
Processes in turn, 2 threads, medians. The peers that quantize are onnxruntime's quantize_static and nncf's quantize, each
as its documentation has it, on the same 300 images.
"""
import json
import os
import statistics
import subprocess
import sys
import time

ORT = """
import sys, time, numpy as np, onnxruntime as ort
opts = ort.SessionOptions()
opts.intra_op_num_threads = 2
s = ort.InferenceSession(sys.argv[1], opts, providers=["CPUExecutionProvider"])
feed, rng = {}, np.random.default_rng(0)
for i in s.get_inputs():
    dims = [int(sys.argv[2]) if isinstance(d, str) or d is None or k == 0 else d for k, d in enumerate(i.shape)]
    feed[i.name] = rng.standard_normal(dims, dtype=np.float32) if "float" in i.type else rng.integers(0, 1000, dims)
times = []
while len(times) < 10 or sum(times) < 3:
    start = time.perf_counter()
    s.run(None, feed)
    times.append(time.perf_counter() - start)
print(float(np.median(times[3:])) * 1e3)
"""

# argv: model, images.npy, out, how
PEER = """
import sys, numpy as np, onnx
model, x, out, how = sys.argv[1], np.load(sys.argv[2], mmap_mode="r"), sys.argv[3], sys.argv[4]
if how == "nncf":
    import nncf
    m = onnx.load(model)
    name = m.graph.input[0].name
    data = nncf.Dataset([x[i:i + 1] for i in range(len(x))], lambda a: {name: np.ascontiguousarray(a)})
    onnx.save(nncf.quantize(m, data, subset_size=len(x)), out)
else:
    from onnxruntime.quantization import (CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType,
                                          quantize_static)
    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rows = iter(range(len(x)))
        def get_next(self):
            i = next(self.rows, None)
            return None if i is None else {name: np.ascontiguousarray(x[i:i + 1])}
    name = onnx.load(model).graph.input[0].name
    extra = {"CalibStridedMinMax": 1} if how == "minmax" else {}
    quantize_static(model, out, Reader(), quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    calibrate_method=CalibrationMethod.Entropy if how == "entropy" else CalibrationMethod.MinMax,
                    extra_options=extra)
"""


def config(path, net, data, options):
    path.write_text(f"version: 1\nmodels: {{net: {net}}}\n{data}steps:\n  - {{id: int8, use: quantize.static, with: {options}}}\n"
                    "report: {metrics: [size]}\noutput: {dir: x, gzip: off}\n")
    return path


def run(pare, cfg, out):
    subprocess.run([pare, "run", cfg, "--out", out, "--force", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return out / "model.onnx"


def plain(pare, tmp, net):
    """The float zoo network's file."""
    out = tmp / f"float-{net}"
    if not out.exists():
        cfg = tmp / f"float-{net}.yaml"
        cfg.write_text(f"version: 1\nmodels: {{net: {{zoo: {net}}}}}\nsteps: []\nreport: {{metrics: [size]}}\n"
                       "output: {dir: x, gzip: off}\n")
        subprocess.run([pare, "run", cfg, "--out", out, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return out / "model.onnx"


def noise(pare, tmp, net):
    """The zoo network's int8 file, calibrated on noise."""
    out = tmp / f"int8-{net}"
    if out.exists():
        return out / "model.onnx"
    return run(pare, config(tmp / f"int8-{net}.yaml", f"{{zoo: {net}}}", "",
                            "{data: random, samples: 16, sanity: off}"), out)


def ours(pare, model, batch):
    p = subprocess.run([pare, "bench", model, "--threads", "2", "--batch", str(batch), "--json"], check=True,
                       capture_output=True, text=True)
    return json.loads(p.stdout)["p50_ms"]


def theirs(model, batch):
    return float(subprocess.run([sys.executable, "-c", ORT, model, str(batch)], check=True, capture_output=True,
                                text=True).stdout)


def against(pare, model, batch, runs):
    """Median milliseconds: pare's, ONNX Runtime's."""
    a, b = [], []
    for _ in range(runs):
        a.append(ours(pare, model, batch))
        b.append(theirs(model, batch))
    return statistics.median(a), statistics.median(b)


def images(tmp, n):
    """n images of 224 x 224 as floats, smooth as pictures are rather than white noise."""
    import numpy as np
    path = tmp / f"images{n}.npy"
    if not path.exists():
        out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, 3, 224, 224))
        rng = np.random.default_rng(7)
        for i in range(n):
            coarse = rng.standard_normal((3, 15, 15), dtype=np.float32)
            out[i] = np.kron(coarse, np.ones((16, 16), np.float32))[:, :224, :224]
        del out
    return path


def peer(python, model, x, out, how):
    """Seconds of a whole process, or None where it doesn't run."""
    start = time.perf_counter()
    p = subprocess.run([python, "-c", PEER, model, x, out, how], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if p.returncode:
        tail = p.stderr.decode().strip().splitlines()[-1:]
        print(f"  {how} doesn't run: {''.join(tail)}", file=sys.stderr)
    return None if p.returncode else time.perf_counter() - start


def bert(tmp):
    """A BERT-like encoder (hidden 384, 6 layers, 128 tokens) as a float file."""
    path = tmp / "bert.onnx"
    if not path.exists():
        script = os.path.join(os.path.dirname(__file__), "vit.py")
        subprocess.run([sys.executable, script, path, "--batch", "any", "--tokens", "128", "--attention", "plain"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return path


def dynamic(pare, tmp):
    cfg = tmp / "dynamic.yaml"
    cfg.write_text(f"version: 1\nmodels: {{net: {{onnx: {bert(tmp)}}}}}\nsteps:\n  - {{id: int8, use: quantize.dynamic}}\n"
                   "report: {metrics: [size]}\noutput: {dir: x, gzip: off}\n")
    return run(pare, cfg, tmp / "dynamic")
