#!/usr/bin/env bash
# Steps that run their model on samples without training (a test plugin): sets, noise, files left behind, the lock.
. "$(dirname "$0")/lib.sh"
cp "$source_dir/tests/golden/nets/fashion.onnx" . || exit 1
with=(--plugin-dir "$PARE_BUILD/tests/plugins/runs")

# steps WITH [STEP...]: a pipeline with one step of the test plugin
steps() {
    local with=$1
    shift
    cat << YAML
version: 1
name: t
seed: 7
models: {net: {onnx: fashion.onnx}}
data:
  train: {random: 50, classes: 10}
  part: {from: train, take: 20}
  bare: {random: 30}
steps:
  - {id: a, use: test.runs, with: {$with}}
$*
report: {metrics: [size, accuracy], on: train}
output: {dir: "runs/\${name}", gzip: off, pack: off}
YAML
}

echo "ranges" > r.yaml
steps 'data: train, metric: accuracy, ranges: r.yaml, tune: {max_drop: 0.5, data: part}' > t.yaml
ok check t.yaml "${with[@]}"
says "warning[test.slow]"
ok run t.yaml "${with[@]}"
check test -s runs/t/steps/01-a/seen.yaml
cat > look.py << 'P'
import hashlib, json, sys
where = sys.argv[1]
r = json.load(open(f"{where}/report.json"))
step = r["steps"][0]
notes = step["notes"]
assert notes["seen"] == 50 and notes["labels"] == 50 and notes["first"].startswith("sample "), notes
assert notes["metric"] == step["metrics"]["accuracy"], (notes, step["metrics"])  # as the report measures it
assert notes["ranges"] == 7 and notes["max_drop"] == 0.5, notes
(f,) = step["files"]
data = open(f"{where}/{f['path']}", "rb").read()
assert f["path"] == "steps/01-a/seen.yaml" and f["bytes"] == len(data), f
assert hashlib.sha256(data).hexdigest() == f["sha256"]
assert f in r["outputs"], r["outputs"]
P
check python3 look.py runs/t
check grep -q "path: steps/01-a/seen.yaml" runs/t/pipeline.lock.yaml
check grep -q "name: steps.a.with.ranges" runs/t/pipeline.lock.yaml
check grep -q "$(sha256sum < r.yaml | cut -d' ' -f1)" runs/t/pipeline.lock.yaml
check grep -q "ranges: r.yaml" runs/t/pipeline.lock.yaml # as it was written
# again, and with other threads: the same bytes
ok run t.yaml "${with[@]}" --out again
check cmp runs/t/steps/01-a/seen.yaml again/steps/01-a/seen.yaml
check cmp runs/t/pipeline.lock.yaml again/pipeline.lock.yaml
# other samples, another hash of data; the graph's stays
ok run t.yaml "${with[@]}" --out part --set steps.a.with.data=part
check test "$(grep graph part/steps/01-a/seen.yaml)" = "$(grep graph runs/t/steps/01-a/seen.yaml)"
check test "$(grep data part/steps/01-a/seen.yaml)" != "$(grep data runs/t/steps/01-a/seen.yaml)"
# the step before changed the graph's weights
steps '' '  - {id: b, use: prune.unstructured, with: {sparsity: 0.5}}
  - {id: c, use: test.runs}' > p.yaml
ok run p.yaml "${with[@]}" --out p
check python3 -c 'import json; s = json.load(open("p/report.json"))["steps"]; assert s[0]["notes"]["seen"] == 300 and s[2]["notes"]["labels"] == 0 and s[0]["notes"]["sum"] != s[2]["notes"]["sum"]'
check test "$(grep graph p/steps/01-a/seen.yaml)" != "$(grep graph p/steps/03-c/seen.yaml)"
# noise, so many as are asked for; a part of a set
ok run p.yaml "${with[@]}" --out n --set steps.a.with.samples=8 --set steps.c.with.data=train --set steps.c.with.samples=9
check python3 -c 'import json; s = json.load(open("n/report.json"))["steps"]; assert s[0]["notes"]["seen"] == 8 and s[2]["notes"]["labels"] == 9'

# ---- what is refused ----
steps 'data: trian' > bad.yaml
fails 2 config.unknown-set check bad.yaml "${with[@]}"
says 'did you mean "train"'
steps 'ranges: gone.yaml' > bad.yaml
fails 2 config.no-file run bad.yaml "${with[@]}" --out never
steps 'metric: accuracy' > bad.yaml
fails 2 test.noise check bad.yaml "${with[@]}"
says "bad.yaml:10:44"
steps 'data: train, metric: acuracy' > bad.yaml
fails 2 run.metric run bad.yaml "${with[@]}" --out never
says "accuracy, top5, loss"
steps 'data: bare, metric: accuracy' > bad.yaml
fails 2 score.no-labels run bad.yaml "${with[@]}" --out never
# a step that fails leaves nothing
steps 'data: train, fail: true' > bad.yaml
fails 2 test.fails run bad.yaml "${with[@]}" --out never
check test ! -e never -a ! -e never.partial

# an image that holds NaN is named
python3 - << 'P' || exit 1
import struct
def npy(path, descr, shape, data):
    head = str({"descr": descr, "fortran_order": False, "shape": shape})
    head += " " * (63 - (10 + len(head)) % 64) + "\n"
    open(path, "wb").write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + data)
pixels = [0.5] * (6 * 784)
pixels[4 * 784:5 * 784] = [float("nan")] * 784
npy("x.npy", "<f4", (6, 1, 28, 28), struct.pack("<4704f", *pixels))
P
cat > nan.yaml << 'YAML'
version: 1
models: {net: {onnx: fashion.onnx}}
data: {odd: {npy: x.npy}}
steps:
  - {id: a, use: test.runs, with: {data: odd}}
YAML
fails 2 run.not-finite run nan.yaml "${with[@]}" --out never
says "sample 4 of odd holds NaN"
ok plugins "${with[@]}"
says "data: a set of samples (a name from \`data\`, or random); default random"
says "ranges: a file; optional"
says "tune: a record or a list of records with max_drop and data; optional"
ok schema "${with[@]}"
check python3 -c 'import json; json.load(open("out"))'

finish
