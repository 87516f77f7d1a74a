"""What the interop scripts share: skipping, counting, and running pare.

A script imports what it needs under `with common.needed():`. What is missing then is a skip (exit 77); with CI=true a skip
is a failure, as bootstrap promises."""
import contextlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

SOURCE = Path(os.environ.get("PARE_SOURCE", Path(__file__).resolve().parents[2]))
BUILD = Path(os.environ.get("PARE_BUILD", SOURCE / "build/release"))
PARE = os.environ.get("PARE_BIN", str(BUILD / "bin/pare"))
passed = failed = 0


def skip(why):
    """The exit status of a test that can't be run here."""
    if os.environ.get("CI") == "true":
        print(f"FAILED: it can't be skipped where CI=true: {why}")
        return 1
    print(f"skipped: {why}")
    return 77


@contextlib.contextmanager
def needed():
    try:
        yield
    except ImportError as e:
        sys.exit(skip(e))


def expect(ok, what):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print(f"FAILED: {what}")


def pare(*args, ok=True):
    """Runs pare; ok: anything but success is a failure of the test."""
    run = subprocess.run([PARE, *map(str, args)], capture_output=True, text=True, timeout=300)
    if ok:
        expect(run.returncode == 0, f"pare {' '.join(map(str, args))}: {run.returncode}\n{run.stderr}")
    return run


def classifier(path):
    """Writes to `path` the trained text-direction classifier (PP-OCR's mobile one) that rapidocr-onnxruntime ships.
    False: its wheel can't be had."""
    cache = Path(os.environ.get("PARE_CACHE", Path.home() / ".cache" / "pare")) / "wheels"
    cache.mkdir(parents=True, exist_ok=True)
    if not list(cache.glob("rapidocr_onnxruntime-*.whl")):
        try:
            subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "1",
                            "--timeout", "15", "--disable-pip-version-check", "--dest", str(cache),
                            "rapidocr-onnxruntime"],
                           capture_output=True, timeout=180)
        except subprocess.TimeoutExpired:
            return False
    wheels = sorted(cache.glob("rapidocr_onnxruntime-*.whl"))
    if not wheels:
        return False
    with zipfile.ZipFile(wheels[-1]) as z:
        name = next(n for n in z.namelist() if n.endswith(".onnx") and "cls" in n)
        path.write_bytes(z.read(name))
    return True


def output_file(folder, name):
    """Where `pare infer --out folder` puts the output of that name."""
    return Path(folder) / (re.sub(r"[/\x00-\x1f]", "_", name) + ".npy")


def verdict():
    """Says how it went; the exit status."""
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0
