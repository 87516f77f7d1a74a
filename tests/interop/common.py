"""What the interop scripts share: skipping, counting, and running pare.

A script imports what it needs under `with common.needed():`. What is missing then is a skip (exit 77); with CI=true a skip
is a failure, as bootstrap promises."""
import contextlib
import os
import subprocess
import sys
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


def verdict():
    """Says how it went; the exit status."""
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0
