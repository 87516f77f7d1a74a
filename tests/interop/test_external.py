#!/usr/bin/env python3
"""A run that writes its weights beside the graph: onnx and ONNX Runtime open every model in the run folder, and get what the
run with the weights inside gives."""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy as np
    import onnx
    import onnxruntime as ort
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(1 if os.environ.get("CI") == "true" else 77)

PARE = os.environ["PARE_BIN"]
CONFIG = """
version: 1
models: {net: {zoo: resnet18, with: {classes: 10, channels: 1, size: 28}}}
steps:
  - {id: a, use: prune.unstructured, with: {sparsity: 0.5}}
  - {id: b, use: prune.unstructured, with: {sparsity: 0.9}}
report: {metrics: [size]}
output: {dir: x, gzip: off, external_data: "%s"}
"""
passed = failed = 0
with tempfile.TemporaryDirectory() as tmp:
    tmp = Path(tmp)
    for mode in ("off", "on"):
        (tmp / f"{mode}.yaml").write_text(CONFIG % mode)
        subprocess.run([PARE, "run", tmp / f"{mode}.yaml", "--out", tmp / mode, "--quiet"], check=True,
                       stdout=subprocess.DEVNULL)
    x = np.random.default_rng(0).standard_normal((2, 1, 28, 28), dtype=np.float32)
    for rel in ("model.onnx", "steps/01-a/model.onnx", "steps/02-b/model.onnx", "model.packed.onnx"):
        ys = []
        for mode in ("off", "on"):
            onnx.checker.check_model(onnx.load(tmp / mode / rel))
            ys.append(ort.InferenceSession(tmp / mode / rel, providers=["CPUExecutionProvider"]).run(None, {"input": x})[0])
        if ys[0].tobytes() == ys[1].tobytes():
            passed += 1
        else:
            failed += 1
            print(f"FAILED: {rel}: outputs differ")
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
