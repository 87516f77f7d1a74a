#!/usr/bin/env bash
# Kernels chosen by measurement: on for pare bench, off elsewhere, said by PARE_TUNE; remembered in the cache folder.
. "$(dirname "$0")/lib.sh"

pipeline tuned > m.yaml
ok run m.yaml --out m --set output.gzip=off --set 'report.metrics=[size]' --quiet
model=m/model.onnx
check test -s "$model"

ok bench "$model" --runs 2 --threads 1 --json
says '"tune": "on"'
check test "$(ls cache/pare/tune-*.txt | wc -l)" = 1
check grep -q "^Conv.*	0:[0-9]" cache/pare/tune-*.txt
cp cache/pare/tune-*.txt before

ok bench "$model" --runs 2 --threads 1 --nodes
check cmp -s before cache/pare/tune-*.txt

export PARE_TUNE=off
ok bench "$model" --runs 2 --threads 1 --json
says '"tune": "off"'
export PARE_TUNE=fast
fails 2 engine.tune bench "$model" --runs 2
says '"fast"'
says "PARE_TUNE=off"

# a folder that can't be written to: measured anew each time, and no word about it
unset PARE_TUNE
echo no-folder > file
XDG_CACHE_HOME=$tmp/file ok bench "$model" --runs 2 --threads 1
check test ! -s err
finish
