#!/usr/bin/env bash
# pare run: the run folder, repeated runs, --out, --force, --set, --json, the same bytes again.
. "$(dirname "$0")/lib.sh"

pipeline > p.yaml
ok run p.yaml
says "pruned"
for f in model.onnx model.packed.onnx report.json pipeline.lock.yaml log.txt steps/01-pruned/model.onnx; do
    check test -s "runs/quick/$f"
done
check test ! -e runs/quick/model.onnx.gz
check test ! -e runs/quick.partial
check test runs/quick/model.onnx -ef runs/quick/steps/01-pruned/model.onnx

# again: the next free name, and the same bytes
ok run p.yaml
check cmp runs/quick/model.onnx runs/quick-2/model.onnx
check cmp runs/quick/model.packed.onnx runs/quick-2/model.packed.onnx
check cmp runs/quick/pipeline.lock.yaml runs/quick-2/pipeline.lock.yaml
ok run p.yaml
check test -d runs/quick-3

# one thread or two: the same bytes
ok run p.yaml --threads 1 --out one
check cmp runs/quick/model.onnx one/model.onnx
# another seed: others
ok run p.yaml --set seed=8 --out other
check test "$(cmp -s runs/quick/model.onnx other/model.onnx; echo $?)" = 1

# a finished run is refused, --force replaces it
fails 2 run.finished run p.yaml --out one
cp one/report.json before.json
ok run p.yaml --out one --force --set steps.pruned.with.sparsity=0.5
check test "$(cmp -s before.json one/report.json; echo $?)" = 1
check test ! -e one.old
mkdir taken && echo mine > taken/file
fails 2 run.folder-in-use run p.yaml --out taken
fails 2 run.folder-in-use run p.yaml --out taken --force
check test "$(cat taken/file)" = mine
echo x > afile
fails 2 run.not-a-folder run p.yaml --out afile
mkdir empty
ok run p.yaml --out empty

# gzip holds the model, mtime 0
ok run p.yaml --out z --set output.gzip=on
check test "$(gunzip -c z/model.onnx.gz | sha256sum)" = "$(sha256sum < z/model.onnx)"
check test "$(od -An -tx1 -j4 -N4 z/model.onnx.gz | tr -d ' ')" = 00000000

# packed: off and on
ok run p.yaml --out np --set output.pack=off
check test ! -e np/model.packed.onnx
ok run p.yaml --out p --set output.pack=on
ok unpack p/model.packed.onnx plain.onnx
check cmp plain.onnx p/model.onnx

# JSON on stdout alone
ok run p.yaml --out j --json
check python3 -c 'import json; j = json.load(open("out")); assert j["name"] == "quick" and j["steps"][0]["id"] == "pruned" and j["steps"][0]["metrics"]["accuracy"] is None'
check python3 -c 'import json; a = json.load(open("j/report.json")); assert a["input"]["metrics"]["parameters"] == a["steps"][0]["metrics"]["parameters"]; assert abs(a["steps"][0]["layers"][0]["achieved"] - 0.9) < 1e-3; assert {o["path"] for o in a["outputs"]} == {"model.onnx", "model.packed.onnx"}'

# no steps: a copy
cat > copy.yaml << YAML
version: 1
name: copy
models: {net: {onnx: j/model.onnx}}
steps: []
output: copied
YAML
ok run copy.yaml
check cmp copied/model.onnx j/model.onnx

# two models, branches
cat > two.yaml << YAML
version: 1
name: two
models:
  a: {zoo: resnet18, with: {classes: 10, channels: 1, size: 28}}
  b: {zoo: mobilenet_v2, with: {classes: 10, channels: 1, size: 32}}
steps:
  - {id: half, use: prune.unstructured, model: a, with: {sparsity: 0.5}}
  - {id: most, use: prune.unstructured, from: half, with: {sparsity: 0.8}}
  - {id: other, use: prune.unstructured, from: a, with: {sparsity: 0.3}}
  - {id: bee, use: prune.unstructured, model: b, with: {sparsity: 0.5}}
report: {metrics: [size]}
output: {dir: two, gzip: off}
YAML
ok run two.yaml
check test -s two/models/a.onnx
check test -s two/steps/02-most/model.onnx
check cmp two/model.onnx two/steps/04-bee/model.onnx
check cmp two/models/a.onnx two/steps/03-other/model.onnx

# external data: the file beside the model is found again
ok run p.yaml --out e --set output.external_data=on
check test -s e/model.onnx.data
check test "$(stat -c %h e/model.onnx.data)" = 1
check test ! -e e/model.onnx.gz
ok inspect e/model.onnx
says "44.9 MB, gzip -6 5."
ok run copy.yaml --set models.net.onnx=e/model.onnx --out inlined
check cmp inlined/model.onnx j/model.onnx
check grep -q "net data" inlined/pipeline.lock.yaml
printf '\357\273\277' | cat - p.yaml > bom.yaml
ok check bom.yaml
"$pare" check p.yaml --set models.net.with.size=1 > out 2> err
check test $? = 2
says "--set:1:"
finish
