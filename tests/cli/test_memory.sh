#!/usr/bin/env bash
# A run that does not fit in memory is refused before it takes any, with what would fit.
. "$(dirname "$0")/lib.sh"
export PARE_TUNE=off

cat > m.yaml << YAML
version: 1
models: {net: {zoo: mobilenet_v2}}
steps: []
report: {metrics: [size]}
output: {dir: m, gzip: off}
YAML
ok run m.yaml --quiet

# the machine's own limit: no machine has 400 GB for this; nothing of it may have been touched
python3 - "$pare" << PY > measured
import resource, subprocess, sys
p = subprocess.run([sys.argv[1], "bench", "m/model.onnx", "--batch", "1000000"], capture_output=True, text=True)
open("out", "w").write(p.stdout)
open("err", "w").write(p.stderr)
kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print("exit", p.returncode)
print("small" if kib < 1 << 20 else "took %d KiB" % kib)
PY
check grep -qx "exit 2" measured
check grep -qx small measured
check test "$(grep -c 'error\[' err)" = 1
says "error[engine.memory]"
says "batch 1000000 "
says "this machine has"
says "a batch of about"

# a cap; a batch may run in pieces, but one image and the weights are the least
fails 2 engine.memory bench m/model.onnx --batch 64 --memory 8
says "memory is capped at"
check grep -Eq "a batch of about [0-9]+ fits|--memory [0-9]+" err
fails 2 engine.memory bench m/model.onnx --memory 1
enough=$(grep -Eo -- "--memory [0-9]+" err)
check test -n "$enough"
ok bench m/model.onnx --runs 1 $enough # by what is known ahead, and generous; less than that is told exactly
fails 2 engine.memory bench m/model.onnx --memory 8
ok bench m/model.onnx --runs 1 $(grep -Eo -- "--memory [0-9]+" err)

# the same from infer
head="{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 224, 224), }"
{ printf '\223NUMPY\001\000\166\000%-117s\n' "$head" && head -c $((3 * 224 * 224 * 4)) /dev/zero; } > x.npy
fails 2 engine.memory infer m/model.onnx --in x.npy --out d --memory 1
ok bench m/model.onnx --batch 2 --memory 256 --runs 1

# numbers that are none
fails 2 cli.value bench m/model.onnx --batch 0
fails 2 cli.value bench m/model.onnx --memory lots
fails 2 cli.value bench m/model.onnx --batch 99999999999999999999
finish
