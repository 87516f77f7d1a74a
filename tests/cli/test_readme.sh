#!/usr/bin/env bash
# README's plugin is compiled and run as it is printed, with nothing but the SDK's headers; its pipeline too.
. "$(dirname "$0")/lib.sh"
readme=$source_dir/README.md
# block NAME: the fenced block that follows the line <!-- NAME -->
block() { awk -v want="<!-- $1 -->" '$0 == want {on = 1; next} on && /^```/ {if (inside) exit; inside = 1; next} inside' "$readme"; }

block scale.c > scale.c
check test -s scale.c
mkdir plugins
check "${CC:-cc}" -std=c11 -Wall -Wextra -Werror -shared -fPIC -fvisibility=hidden -I "$source_dir/sdk" scale.c -o plugins/scale.so
check test "$(grep -c . scale.c)" -le 45
ok plugins --plugin-dir plugins --why
says "plugins/scale.so"

block scale.yaml > scale.yaml
check test -s scale.yaml
ok run scale.yaml --plugin-dir plugins --out scaled
says "example.scale"
check test -s scaled/model.onnx

block first.yaml > first.yaml
ok check first.yaml
finish
