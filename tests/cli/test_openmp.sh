#!/usr/bin/env bash
# How threads that have nothing to do wait: pare sets it before libgomp comes in, which reads it once; a person's own
# word goes first. libgomp says itself what it has read.
. "$(dirname "$0")/lib.sh"
unset OMP_WAIT_POLICY GOMP_SPINCOUNT
export OMP_DISPLAY_ENV=verbose
printf 'version: 1\nmodels: {net: {zoo: mobilenet_v2, with: {classes: 10, channels: 1, size: 32}}}\nsteps: []\noutput: {gzip: off, pack: off}\n' > m.yaml
ok run m.yaml --out m --quiet

ok bench m/model.onnx --runs 1 --threads 2
if grep -q 'GOMP_SPINCOUNT' err; then
    says "GOMP_SPINCOUNT = '1000'"
else
    echo "skipped: this OpenMP runtime doesn't say what it has read"
    exit 77
fi
GOMP_SPINCOUNT=7 ok bench m/model.onnx --runs 1 --threads 2
says "GOMP_SPINCOUNT = '7'"
OMP_WAIT_POLICY=active ok bench m/model.onnx --runs 1 --threads 2
says "OMP_WAIT_POLICY = 'ACTIVE'"
check test "$(grep -c "GOMP_SPINCOUNT = '1000'" err)" = 0
finish
