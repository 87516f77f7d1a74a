#!/usr/bin/env python3
"""common.py itself: what is missing is a skip here and a failure where CI=true, and a script that checked nothing didn't
pass."""
import os
import subprocess
import sys
from pathlib import Path

from common import expect, verdict

HERE = Path(__file__).parent


def status(code, ci=None):
    env = {k: v for k, v in os.environ.items() if k != "CI"}
    if ci is not None:
        env["CI"] = ci
    code = "import sys\nimport common\n" + code
    return subprocess.run([sys.executable, "-B", "-c", code], cwd=HERE, env=env, capture_output=True).returncode


MISSING = "with common.needed():\n    import no_such_module_of_anybody\n"
SKIPS = "sys.exit(common.skip('no models'))\n"
for code in (MISSING, SKIPS):
    for ci, want in ((None, 77), ("", 77), ("true", 1)):
        expect(status(code, ci) == want, f"CI={ci}: {status(code, ci)} of {code!r}")
expect(status("with common.needed():\n    import json\n", "true") == 0, "what is there is no skip")
expect(status("common.expect(True, 'x')\nsys.exit(common.verdict())\n") == 0, "a pass")
expect(status("common.expect(False, 'x')\nsys.exit(common.verdict())\n") == 1, "a failure")
expect(status("sys.exit(common.verdict())\n") == 1, "nothing checked")
sys.exit(verdict())
