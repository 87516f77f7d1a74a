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
  - {id: a, model: net, use: train.supervised, fit: {batch: ${batch:-32}, $fit}}
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
# by check and by run alike, before the first step
refused train.labels "step a: the loss takes labels, and the set bare has none" 'data: bare'
refused train.labels "the loss takes labels, and the set bare has none" 'data: bare, loss: {use: distill.hinton, with: {teacher: net}}'
train 'data: bare, loss: {use: distill.hinton, with: {teacher: net, alpha: 1}}' > soft.yaml
ok check soft.yaml
refused data.label-range "the label of sample 2 is 10; 0 to 9 are allowed" 'data: more'
batch=97 refused train.batch "step a: the batch is 97, but the set train has only 96 samples" 'epochs: 1'
train 'epochs: 1, drop_last: false' | sed 's/batch: 32/batch: 97/' > whole.yaml
ok check whole.yaml
refused config.range "lr must be a float above 0, got the int 0" 'lr: 0'
refused config.missing "teacher is missing" 'loss: {use: distill.hinton, with: {temperature: 2}}'
refused config.range "teacher must be a list that is not empty" 'loss: {use: distill.hinton, with: {teacher: []}}'
refused train.teacher 'the teacher "wide" tells 12 classes, the student 10' 'loss: {use: distill.hinton, with: {teacher: wide}}'
says "both need the same classes"
refused train.teacher-input "1x32x32" 'loss: {use: distill.hinton, with: {teacher: large}}'
says "adapts its input"
refused train.pattern "stem.0.weigt" 'freeze: [stem.0.weigt]'
refused train.nothing "nothing to train" 'freeze: ["*"]'
refused train.nothing "nothing to train" 'train: [fc.weight], freeze: [fc.*]'
train 'epochs: 1, data: one' > one.yaml
ok check one.yaml
says "step a: all samples of the set one are of one class"
ok run one.yaml --out one
check test "$(grep -c "are of one class" err)" = 1

# the technique that brings its loss is looked at as the loss is
hinton() { # hinton FIT WITH
    train "$1" | sed "s|use: train.supervised,|use: distill.hinton, with: {$2},|"
}
refused_as() { # refused_as CODE WORDS FIT WITH
    hinton "$3" "$4" > bad.yaml
    fails 2 "$1" check bad.yaml
    says "$2"
    fails 2 "$1" run bad.yaml --out never
    says "$2"
    check test ! -e never -a ! -e never.partial
}
refused_as train.labels "step a: the loss takes labels, and the set bare has none" 'data: bare' 'teacher: net'
refused_as train.teacher 'the teacher "wide" tells 12 classes, the student 10' 'epochs: 1' 'teacher: wide'
refused_as train.teacher-input "1x32x32" 'epochs: 1' 'teacher: [net, large]'
refused_as train.loss "it is trained by one of them" 'loss: mse' 'teacher: net'
refused_as config.missing "teacher is missing" 'epochs: 1' 'alpha: 0.5'
refused_as distill.weights "2 weights for 1 teacher" 'epochs: 1' 'teacher: net, weights: [1, 2]'
refused_as config.unknown-model '"./gone.onnx" is no earlier step, no model and no file' 'epochs: 1' 'teacher: ./gone.onnx'
hinton 'data: bare' 'teacher: net, alpha: 1' > soft.yaml
ok check soft.yaml

# a teacher's file is looked through, and said once
check python3 - << 'PY'
import struct
raw = bytearray(open("fashion.onnx", "rb").read())
at = raw.index(b"stem.0.weight\x4a") + len("stem.0.weight\x4a")
while raw[at] & 0x80: at += 1
raw[at + 1:at + 5] = struct.pack("<f", float("nan"))
open("odd.onnx", "wb").write(raw)
PY
train 'epochs: 1, steps: 1, lr: 1.0e-3, loss: [cross_entropy, {use: distill.hinton, with: {teacher: ./odd.onnx}}]' > odd.yaml
ok check odd.yaml
says "stem.0.weight (1 NaN)"
check test "$(grep -c "stem.0.weight (1 NaN)" err)" = 1
ok run odd.yaml --out odd
check test "$(grep -c "stem.0.weight (1 NaN)" err)" = 1

# a real set: the file, and which of its samples
if [ -e /usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz ]; then
    train 'epochs: 1' | sed 's|train: {random: 96, classes: 10}|train: {idx: /usr/share/datasets/fashion-mnist/t10k}|; s|model: net, use|model: two, use|; s|net: {onnx: fashion.onnx}|two: {zoo: resnet18, with: {classes: 9, channels: 1, size: 28}}|' > bad.yaml
    fails 2 data.label-range check bad.yaml
    says "/usr/share/datasets/fashion-mnist/t10k-labels-idx1-ubyte.gz: error[data.label-range]: the label of sample 0 is 9; 0 to 8 are allowed"
    train 'epochs: 1' | sed 's|train: {random: 96, classes: 10}|train: {idx: /usr/share/datasets/fashion-mnist/t10k, take: 20}|' > bad.yaml
    fails 2 train.batch check bad.yaml
    says "step a: the batch is 32, but the set train has only 20 samples"
fi

# a loss of a plugin that is worked out on the host, looked at and trained as any other
dir=$PARE_BUILD/tests/plugins/loss_evaluate
for loss in cross_entropy evaluated.labels; do
    train "epochs: 1, loss: $loss" > host.yaml
    ok check host.yaml --plugin-dir "$dir"
    ok run host.yaml --plugin-dir "$dir" --out "by-$loss"
done
check python3 - << 'PY'
import json
a, b = (json.load(open(f"by-{l}/report.json"))["steps"][0]["curves"]["loss"] for l in ("cross_entropy", "evaluated.labels"))
assert len(a) == len(b) == 3 and all(abs(x[1] - y[1]) < 1e-5 for x, y in zip(a, b)), (a, b)
PY
train 'data: bare, loss: evaluated.labels' > bad.yaml
fails 2 train.labels check bad.yaml --plugin-dir "$dir"
says "the loss takes labels, and the set bare has none"
train 'loss: {use: evaluated.teacher, with: {teacher: wide}}' > bad.yaml
fails 2 train.teacher check bad.yaml --plugin-dir "$dir"
train 'loss: evaluated.nan' > bad.yaml
fails 1 train.diverged run bad.yaml --plugin-dir "$dir" --out never
says "training diverged: the loss is nan at step 1"
check test ! -e never -a ! -e never.partial

# an editor is told of every key
"$pare" schema > schema.json
check python3 - << 'PY'
import json
step = json.load(open("schema.json"))["properties"]["steps"]["items"]["properties"]["fit"]
known = set().union(*(form.get("properties", {}) for form in step["anyOf"]))
keys = """epochs steps batch micro_batch drop_last optimizer lr momentum nesterov betas epsilon weight_decay decay schedule clip_norm
    label_smoothing ema freeze train layers freeze_batchnorm logits augment loss data validate keep early_stop cache_logits
    recompute""".split()
assert known == set(keys), known ^ set(keys)
PY

# ---- while it runs ----
train 'epochs: 4, lr: 1.0e+9' > hot.yaml
fails 1 train.diverged run hot.yaml --out never
says 'training diverged by step 3 (learning rate 9.'
says '"stem.0.weight" is the first tensor that holds NaN or Inf; the model is left as it was'
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
