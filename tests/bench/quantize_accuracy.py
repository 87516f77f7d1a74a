#!/usr/bin/env python3
"""What static int8 costs in accuracy on Fashion-MNIST, paired: pare's quantizer and onnxruntime's on the same networks
and calibration images.

The networks are those that train_accuracy.py --keep DIR leaves: dense-SEED.onnx (resnet18) and alone-SEED.onnx
(mobilenet_v2). Calibration: the first 300 images of a shuffled training set. pare with its defaults, once with
`portable: on`; onnxruntime's quantize_static per channel, uint8 activations, its default calibration (minmax), after its
own preprocessing. All files are scored by ONNX Runtime on the whole test set; pare's also by pare's own engine.

usage: quantize_accuracy.py DIR [--seeds 0,1,2,3,4]
env:   PARE_BUILD (a release build tree), PARE_FASHION (the folder of the IDX files)
"""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).resolve().parents[2]
PARE = Path(os.environ.get("PARE_BUILD", SOURCE / "build/release")) / "bin/pare"
sys.path.insert(0, str(Path(__file__).parent))
from train_accuracy import FASHION, MEAN, STD, load, option, ours_score  # noqa: E402

CONFIG = """version: 1
models: {{net: {{onnx: {model}}}}}
data:
  preprocess: {{mean: [{mean}], std: [{std}]}}
  calibration: {{npy: {images}}}
  test: {{idx: {fashion}/t10k}}
steps:
  - {{id: int8, use: quantize.static, with: {{data: calibration{more}}}}}
report: {{"on": test, metrics: [size, accuracy, agreement]}}
output: {{dir: x, gzip: off}}
"""


def ours(tmp, model, images, more):
    cfg, out = tmp / "q.yaml", tmp / "q"
    cfg.write_text(CONFIG.format(model=model, mean=MEAN, std=STD, images=images, fashion=FASHION, more=more))
    subprocess.run([PARE, "run", cfg, "--out", out, "--force", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    metrics = json.loads((out / "report.json").read_text())["steps"][-1]["metrics"]
    return out / "model.onnx", 100 * metrics["accuracy"]


def theirs(tmp, model, rows):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self, name):
            self.name, self.rows = name, iter(rows)

        def get_next(self):
            r = next(self.rows, None)
            return None if r is None else {self.name: r[None]}

    import onnx
    quant_pre_process(str(model), str(tmp / "pre.onnx"))
    name = onnx.load(tmp / "pre.onnx").graph.input[0].name
    quantize_static(str(tmp / "pre.onnx"), str(tmp / "theirs.onnx"), Reader(name), quant_format=QuantFormat.QDQ,
                    per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    return tmp / "theirs.onnx"


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    nets, seeds = Path(sys.argv[1]), [int(s) for s in option("--seeds", "0,1,2,3,4").split(",")]
    (x, _), (tx, ty) = load("train"), load("t10k")
    pick = np.sort(np.random.default_rng(300).permutation(len(x))[:300])
    scale = lambda a: ((a.astype(np.float32) / np.float32(255) - np.float32(MEAN)) / np.float32(STD)).astype(np.float32)
    rows, tx = scale(x[pick]), scale(tx)
    lost = {}
    with tempfile.TemporaryDirectory(prefix="pare-quantize-") as folder:
        tmp = Path(folder)
        np.save(tmp / "images.npy", x[pick])
        for what, net in (("dense", "resnet18"), ("alone", "mobilenet_v2")):
            for seed in seeds:
                model = nets / f"{what}-{seed}.onnx"
                base = ours_score(model, tx, ty)
                drops = []
                for more in ("", ", portable: on"):
                    path, own = ours(tmp, model, tmp / "images.npy", more)
                    drops += [base - ours_score(path, tx, ty), base - own]
                drops.append(base - ours_score(theirs(tmp, model, rows), tx, ty))
                lost.setdefault(net, []).append(drops)
                print(f"  {net} seed {seed}: float {base:.2f} %; lost: pare {drops[0]:+.2f} pt (its own engine "
                      f"{drops[1]:+.2f}), portable {drops[2]:+.2f} ({drops[3]:+.2f}), onnxruntime {drops[4]:+.2f}", flush=True)
    met = True
    print("| net | seeds | pare loses | portable: on | onnxruntime's quantizer loses | bar | met |\n|---|---|---|---|---|---|---|")
    for net, drops in lost.items():
        a, own, p, _, t = np.mean(drops, axis=0)
        ok = max(a, p) <= 0.10 and max(a, p) <= t + 0.05
        met = met and ok
        print(f"| {net} | {len(drops)} | {a:+.2f} pt (own engine {own:+.2f}) | {p:+.2f} pt | {t:+.2f} pt | <= 0.10 pt, <= "
              f"theirs + 0.05 | {'yes' if ok else 'NO'} |")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
