#!/usr/bin/env bash
# README's plugin is compiled and run as it is printed, with nothing but the SDK's headers; its pipeline too.
. "$(dirname "$0")/lib.sh"
readme=$source_dir/README.md
# block NAME: the fenced block that follows the line <!-- NAME -->
block() { awk -v want="<!-- $1 -->" '$0 == want {on = 1; next} on && /^```/ {if (inside) exit; inside = 1; next} inside' "$readme"; }

block round.c > round.c
check test -s round.c
mkdir plugins
check "${CC:-cc}" -std=c11 -Wall -Wextra -Werror -shared -fPIC -fvisibility=hidden -I "$source_dir/sdk" round.c -o plugins/round.so
check test "$(grep -c . round.c)" -le 45
ok plugins --plugin-dir plugins --why
says "plugins/round.so"

block round.yaml > round.yaml
check test -s round.yaml
ok run round.yaml --plugin-dir plugins --out rounded
says "example.round"
check test -s rounded/model.onnx

block measured.yaml > measured.yaml
check test -s measured.yaml
cp "$source_dir/tests/golden/nets/fashion.onnx" "$source_dir/tests/golden/boot.png" .
if [ -e /usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz ]; then
    ok run measured.yaml
    says "agreement"
    check test -s runs/measured/model.onnx
    ok eval runs/measured/model.onnx --data measured.yaml
    ok compare fashion.onnx runs/measured/model.onnx --data measured.yaml --threads 1 --runs 50
    says "differs (McNemar"
    ok compare runs/measured/model.onnx runs/measured/model.onnx --data measured.yaml --runs 3
    says "equal outputs"
    ok infer runs/measured/model.onnx boot.png
    check grep -q "^ *1  9 " out
fi
ok bench fashion.onnx --threads 1 --nodes --runs 20
check grep -q "nChw[0-9]*c\|nhwc" out
# every command that README shows with these files is one that works for a reader
for line in 'compare fashion.onnx runs/measured/model.onnx --data measured.yaml --threads 1' \
    'infer runs/measured/model.onnx boot.png' 'bench fashion.onnx --threads 1 --nodes' \
    'cp tests/golden/nets/fashion.onnx tests/golden/boot.png .'; do
    grep -qF -- "$line" "$readme" && good || bad "README does not say: $line"
done

block train.yaml > train.yaml
check test -s train.yaml
if [ -e /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz ]; then
    ok run train.yaml --out trained --set data.train.take=512 --set steps.recovered.fit.steps=4 --set output.gzip=off
    says "recalibrated"
    check test -s trained/steps/03-recovered/model.onnx
fi

block int8.yaml > int8.yaml
check test -s int8.yaml
if [ -e /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz ]; then
    ok run int8.yaml --out int8
    says "SQNR"
    check grep -q "input" int8/steps/01-int8/calibration.yaml
fi

block first.yaml > first.yaml
ok check first.yaml
finish
