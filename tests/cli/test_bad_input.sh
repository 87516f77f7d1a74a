#!/usr/bin/env bash
# Bad pipelines, models and arguments, as a person meets them: exit 2, one clear error, nothing written.
. "$(dirname "$0")/lib.sh"

# the command line
fails 2 cli.command runn p.yaml
says 'did you mean `pare run`'
fails 2 cli.operands run
fails 2 cli.option run p.yaml --ot x
says "did you mean --out"
fails 2 cli.value run p.yaml --threads zero
fails 2 cli.value run p.yaml --out
"$pare" > out 2> err
check test $? = 2
for c in run check plugins schema inspect compare infer bench pack unpack; do
    ok "$c" --help
    says "usage: pare $c"
done
ok --help
ok --version

# the file
fails 2 file.missing run missing.yaml
mkdir folder
fails 2 yaml.folder run folder
: > empty.yaml
"$pare" run empty.yaml > out 2> err
check test $? = 2
pipeline > p.yaml
fails 2 device.unknown run p.yaml --device cuda
says "auto, cpu"
sed 's/sparsity/sparsty/' p.yaml > typo.yaml
"$pare" run typo.yaml > out 2> err
check test $? = 2
says "typo.yaml:9:12"
says "did you mean"
says "^"
"$pare" check typo.yaml > out 2> err
check test $? = 2
sed 's/prune.unstructured/prune.unstructurd/' p.yaml > tech.yaml
"$pare" run tech.yaml > out 2> err
check test $? = 2
says "prune.unstructured"
pipeline quick 1.5 > range.yaml
"$pare" run range.yaml > out 2> err
check test $? = 2
says "1.5"
check test ! -e runs

# patterns that match nothing, found by check as well as by run
cat > pattern.yaml << YAML
version: 1
models: {net: {zoo: resnet18, with: {classes: 10, channels: 1, size: 28}}}
steps:
  - id: pruned
    use: prune.unstructured
    with: {sparsity: 0.5, exclude: [layer1.0.conv1.wieght]}
YAML
"$pare" run pattern.yaml --out x > out 2> err
check test $? = 2
says "layer1.0.conv1.weight"
says "pattern.yaml:6"
"$pare" check pattern.yaml > out 2> err
check test $? = 2
check test ! -e x

# models
fails 2 file.missing inspect missing.onnx
head -c 1000 /dev/urandom > noise.onnx
"$pare" inspect noise.onnx > out 2> err
check test $? = 2
check grep -q 'error\[' err
: > zero.onnx
"$pare" inspect zero.onnx > out 2> err
check test $? = 2
printf '\377\330\377\340\000\020JFIF\000' > cat.onnx
"$pare" inspect cat.onnx > out 2> err
check test $? = 2
says JPEG
cat > nomodel.yaml << YAML
version: 1
models: {net: {onnx: missing.onnx}}
steps: []
YAML
"$pare" run nomodel.yaml --out x > out 2> err
check test $? = 2
says "missing.onnx"
check test ! -e x

# JSON diagnostics
"$pare" run typo.yaml --json > out 2> err
check test $? = 2
check python3 -c 'import json; [json.loads(l) for l in open("err")]'

# pack and unpack
ok run p.yaml --out r
fails 2 cli.out-exists pack r/model.onnx r/model.packed.onnx
ok pack r/model.onnx again.onnx
check cmp again.onnx r/model.packed.onnx
ok unpack again.onnx plain.onnx
check cmp plain.onnx r/model.onnx
ok unpack plain.onnx copy.onnx
says "not packed"
# in place
ok pack plain.onnx plain.onnx --force
check cmp plain.onnx again.onnx
finish
