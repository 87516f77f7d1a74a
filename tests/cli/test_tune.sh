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
check test "$(grep -cv "choosing kernels" err)" = 0 # how far it is may be said where it takes long

# JSON: the conditions, and with --nodes a row for each node
ok bench "$model" --runs 3 --threads 1 --nodes --json
cat > look.py << 'PY'
import json
j = json.load(open("out"))
assert (j["batch"], j["threads"], j["runs"], j["device"], j["set"]) == (1, 1, 3, "cpu", "noise"), j
assert j["engine"] and j["cpu"] and j["path"].endswith("model.onnx") and j["p50_ms"] > 0
rows = j["node_rows"]
assert len(rows) == sum(j["nodes"].values()) and abs(sum(r["share"] for r in rows) - 1) < 1e-6
assert all(set(r) == {"node", "op", "ms", "share", "gflops", "dtype", "fell_back", "layout", "kernel"} for r in rows)
convs = [r for r in rows if r["op"] == "Conv"]
assert convs and all(r["gflops"] > 0 and r["ms"] > 0 and r["kernel"] for r in convs)
assert not any(r["layout"].startswith("own:") for r in rows), rows
PY
check python3 look.py
ok bench "$model" --runs 3 --threads 1 --json
check python3 -c 'import json; assert json.load(open("out"))["node_rows"] is None'
ok bench "$model" --runs 1 --threads 1
says "batch 1 of noise"
says "; 1 run"
ok bench "$model" --runs 1500 --threads 1 --batch 1 --quiet # the range of its default
says "; 1500 runs"
ok bench "$model" --runs 1 --threads 1000
says "warning[cli.threads]"
finish
