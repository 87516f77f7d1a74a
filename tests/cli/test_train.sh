#!/usr/bin/env bash
# Steps that train, as a person meets them: what is refused and how, what an interrupt leaves, repeated runs.
. "$(dirname "$0")/lib.sh"
cp "$source_dir/tests/golden/nets/fashion.onnx" . || exit 1

# train FIT [STEP...]: a pipeline that trains a tiny net on noise
train() {
    local fit=$1
    shift
    cat << YAML
version: 1
name: t
seed: 7
models: {net: {onnx: fashion.onnx}, wide: {zoo: resnet18, with: {classes: 12, channels: 1, size: 28}}, large: {zoo: resnet18, with: {classes: 10, channels: 1, size: 32}}}
data:
  train: {random: 96, classes: 10}
  more: {random: 96, classes: 12}
  one: {random: 96, classes: 1}
  bare: {random: 96}
  val: {random: 64, classes: 10, seed: 8}
steps:
  - {id: a, model: net, use: train.supervised, fit: {batch: 32, $fit}}
$*
report: {metrics: [size]}
output: {dir: "runs/\${name}", gzip: off, pack: off}
YAML
}

train 'epochs: 2, validate: val, keep: best' > t.yaml
ok check t.yaml
ok run t.yaml
check test -s runs/t/steps/01-a/model.onnx
check test ! -e runs/t/steps/01-a/checkpoint.safetensors
check grep -q "a: epoch 2: loss" runs/t/log.txt
check grep -q "a: epoch 2: accuracy" runs/t/log.txt
check python3 -c 'import json; c = json.load(open("runs/t/report.json"))["steps"][0]["curves"]; assert len(c["accuracy"]) == 2 and c["loss"] and c["lr"][-1][0] == 2'
check grep -q "kind: cosine" runs/t/pipeline.lock.yaml
# again, and with one thread twice: the same bytes
ok run t.yaml
check cmp runs/t/model.onnx runs/t-2/model.onnx
ok run t.yaml --out lr --set steps.a.fit.lr=0.001
check test "$(cmp -s runs/t/model.onnx lr/model.onnx; echo $?)" = 1

# a teacher among the steps, kept until it is needed last; its logits from disk are what it says
train 'epochs: 1' '  - {id: b, from: a, use: prune.unstructured, with: {sparsity: 0.5}}
  - {id: c, use: train.supervised, fit: {batch: 32, epochs: 3, loss: {use: distill.hinton, with: {teacher: a}}}}' > d.yaml
ok run d.yaml --out kept
ok run d.yaml --out asked --set steps.c.fit.cache_logits=off
check cmp kept/model.onnx asked/model.onnx
check test -z "$(ls -A kept | grep logits)"

# ---- refused before anything runs ----
refused() { # refused CODE WORDS FIT [STEP...]: by check and by run
    local code=$1 words=$2
    shift 2
    train "$@" > bad.yaml
    fails 2 "$code" check bad.yaml
    says "$words"
    fails 2 "$code" run bad.yaml --out never
    check test ! -e never -a ! -e never.partial
}
train 'data: bare' > bad.yaml
fails 2 train.labels run bad.yaml --out never
says "takes labels"
train 'data: more' > bad.yaml
fails 2 data.label-range run bad.yaml --out never
says "the label of sample 2 is 10"
train 'batch: 97' | sed 's/batch: 32, //' > bad.yaml
fails 2 train.batch run bad.yaml --out never
says "only 96 samples"
train 'lr: 0' > bad.yaml
fails 2 config.range check bad.yaml
says "lr must be a float above 0"
train 'loss: {use: distill.hinton, with: {temperature: 2}}' > bad.yaml
fails 2 config.missing check bad.yaml
says "teacher is missing"
train 'loss: {use: distill.hinton, with: {teacher: wide}}' > bad.yaml
fails 2 train.teacher run bad.yaml --out never
says "12 classes, the student 10"
train 'loss: {use: distill.hinton, with: {teacher: large}}' > bad.yaml
fails 2 train.teacher-input run bad.yaml --out never
says "1x32x32"
says "adapts its input"
refused train.pattern "stem.0.weigt" 'freeze: [stem.0.weigt]'
refused train.nothing "nothing to train" 'freeze: ["*"]'
train 'epochs: 1, data: one' > one.yaml
ok run one.yaml --out one
says "are of one class"

# a real set: the file, and which of its samples
if [ -e /usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz ]; then
    train 'epochs: 1' | sed 's|train: {random: 96, classes: 10}|train: {idx: /usr/share/datasets/fashion-mnist/t10k}|; s|model: net, use|model: two, use|; s|net: {onnx: fashion.onnx}|two: {zoo: resnet18, with: {classes: 9, channels: 1, size: 28}}|' > bad.yaml
    fails 2 data.label-range check bad.yaml
    says "t10k"
    train 'epochs: 1' | sed 's|train: {random: 96, classes: 10}|train: {idx: /usr/share/datasets/fashion-mnist/t10k, take: 20}|' > bad.yaml
    fails 2 train.batch check bad.yaml
    says "step a: the batch is 32, but the set train has only 20 samples"
fi

# ---- while it runs ----
train 'epochs: 4, lr: 1.0e+9' > hot.yaml
fails 1 train.diverged run hot.yaml --out never
says "learning rate"
check test ! -e never -a ! -e never.partial

# an interrupt: the batch ends, the checkpoint stays, and the folder says which run it is of
train 'epochs: 100000' > long.yaml
"$pare" run long.yaml --out long > out 2> err &
job=$!
for _ in $(seq 100); do
    [ -s long.partial/steps/01-a/checkpoint.safetensors ] && break
    sleep 0.1
done
kill -INT $job
wait $job
check test $? = 1
says "cancelled"
says "how far step a came"
check test ! -e long
check test -s long.partial/log.txt
check python3 - << 'PY'
import json, struct
raw = open("long.partial/steps/01-a/checkpoint.safetensors", "rb").read()
n, = struct.unpack("<Q", raw[:8])
head = json.loads(raw[8:8 + n])
at = json.loads(head.pop("__metadata__")["ai.pare.checkpoint"])
assert at["step"] >= at["steps_per_epoch"] == 3 and at["steps"] == 300000 and len(at["options"]) == 64, at
assert any(k.startswith("velocity:") for k in head), head.keys()
assert len(raw) == 8 + n + max(t["data_offsets"][1] for t in head.values())
PY
# such a leftover makes way for the next run
train 'epochs: 1' > short.yaml
ok run short.yaml --out long
check test ! -e long.partial
finish
