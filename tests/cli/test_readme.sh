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
cp "$source_dir/tests/golden/nets/fashion.onnx" .
if [ -e /usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz ]; then
    ok run measured.yaml --out measured --set output.gzip=off
    says "agreement"
    ok eval measured/model.onnx --data measured.yaml
    ok compare fashion.onnx measured/model.onnx --data measured.yaml --threads 1 --runs 50
    says "differs (McNemar"
    ok compare measured/model.onnx measured/model.onnx --data measured.yaml --runs 3
    says "equal outputs"
fi

block first.yaml > first.yaml
ok check first.yaml
finish
