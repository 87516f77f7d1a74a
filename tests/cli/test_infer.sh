#!/usr/bin/env bash
# pare infer on images, and on tensors that don't fit: what a person sees, with good input and with bad.
. "$(dirname "$0")/lib.sh"
. "$source_dir/tests/cli/images.sh"
images im
mkdir -p set/cat set/dog set/eel
for c in cat dog eel; do cp im/rgb.jpg im/palette.png set/$c; done

cat > d.yaml << YAML
version: 1
models: {net: {zoo: mobilenet_v2, with: {classes: 3, size: 32}}}
data:
  preprocess: {resize: 36, crop: 32, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}
  test: {folder: set}
steps: []
report: {on: test, metrics: [size, accuracy]}
output: {dir: made, gzip: off}
YAML
ok run d.yaml --quiet
m=made/model.onnx

# by the data file, and by what the model carries: the same answer
ok infer $m im/rgb.jpg --data d.yaml
check test "$(head -n 1 out)" = im/rgb.jpg
for c in cat dog eel; do says $c; done
check test "$(grep -c '%' out)" = 3
cp out first
ok infer $m --image im/rgb.jpg
check cmp -s out first
grep -q "the model's metadata" err || bad "doesn't say where preprocessing comes from"
ok infer $m --image=im/rgb.jpg --data d.yaml --quiet
check test ! -s err
ok inspect $m
says '"resize":36,"crop":[32,32]'
says '0.485,'
says 'cat, dog, eel'

# JSON, several images, folders, --data without a preprocess block
ok infer $m im/rgb.jpg set/dog --image im/one.png --json
check test "$(grep -c '"path"' out)" = 4
check test "$(grep -c '"rank": 1,' out)" = 4
says '"preprocess_from": "model"'
says '"class": "eel"'
printf 'data:\n  test: {folder: set}\n' > plain.yaml
ok infer $m im/rgb.jpg --data plain.yaml
check cmp -s out first
ok eval $m --data plain.yaml
says "what made/model.onnx carries"
ok eval $m --data d.yaml --json
says '"samples": 6'

# every kind of image: grey, CMYK, 16 bits, palette, alpha, 1x1, 30,000 wide
for f in grey.jpg cmyk.jpg deep.png palette.png alpha.png one.png wide.png; do
    ok infer $m im/$f
    says "im/$f"
    check test "$(grep -c '%' out)" = 3
done

# images that are none
head -c 200 im/rgb.jpg > cut.jpg
fails 2 image.corrupt infer $m cut.jpg
says cut.jpg
head -c 60 im/alpha.png > cut.png
fails 2 image.corrupt infer $m cut.png
echo "hello, world" > text.jpg
fails 2 image.corrupt infer $m text.jpg
says text.jpg
: > empty.png
fails 2 image.corrupt infer $m empty.png
fails 2 file.missing infer $m missing.jpg
mkdir void
fails 2 data.empty infer $m void

# one bad image among good ones: said, the others are shown, exit code 2; with on_error: skip a warning
"$pare" infer $m cut.jpg im/rgb.jpg missing.jpg im/grey.jpg > out 2> err
check test $? = 2
check test "$(grep -c '^im/' out)" = 2
check test "$(grep -cF 'error[' err)" = 2
says "image.corrupt"
says "file.missing"
says "2 of 4 can't be read"
mkdir mixed
cp im/rgb.jpg mixed/a.jpg
cp cut.jpg mixed/b.jpg
cp im/grey.jpg mixed/c.jpg
"$pare" infer $m mixed --json > out 2> err
check test $? = 2
check python3 -c 'import json; j = json.load(open("out")); assert [i["path"] for i in j["images"]] == ["mixed/a.jpg", "mixed/c.jpg"] and j["left_out"] == 1'
sed 's/folder: set/folder: set, on_error: skip/' d.yaml > lenient.yaml
ok infer $m mixed --data lenient.yaml
check test "$(grep -c '^mixed/' out)" = 2
says mixed/b.jpg
says "1 of 3 images were left out"

# in a set: fail names the file; skip leaves it out and says how many
cp cut.jpg set/dog/a.jpg
cp text.jpg set/eel/b.jpg
fails 2 image.corrupt eval $m --data d.yaml
says set/dog/a.jpg
sed 's/folder: set/folder: set, on_error: skip/' d.yaml > skip.yaml
ok eval $m --data skip.yaml
says set/eel/b.jpg
says "2 of 8 samples were left out"
ok run skip.yaml --out made-skip
says "2 of 8 samples were left out"
rm set/dog/a.jpg set/eel/b.jpg
mkdir set/fox
fails 2 data.empty-class eval $m --data d.yaml
says fox
cp im/one.png set/fox
fails 2 data.label-range eval $m --data d.yaml
says set/fox/one.png
says "is 3; 0 to 2"
rm -r set/fox
sed "s/folder: set/folder: im/" d.yaml > im.yaml
fails 2 data.no-classes eval $m --data im.yaml
printf 'data: {test: {list: l.txt}}\n' > list.yaml
printf 'set/cat/rgb.jpg 0\nset/cat/gone.jpg 1\n' > l.txt
fails 2 data.missing eval $m --data list.yaml
says "l.txt:2"

# what a model carries can be wrong, too; a data file goes before it
sed 's/"crop":/"crup":/' $m > odd.onnx
fails 2 data.preprocess infer odd.onnx im/rgb.jpg
says crup
says odd.onnx
ok infer odd.onnx im/rgb.jpg --data d.yaml --quiet
check cmp -s out first

# nothing known: said; classes that don't fit are not used
cat > bare.yaml << YAML
models: {net: {zoo: mobilenet_v2, with: {classes: 4, size: 32}}}
version: 1
steps: []
report: {metrics: [size]}
output: {dir: bare, gzip: off}
YAML
ok run bare.yaml --quiet
fails 2 data.image-size infer bare/model.onnx im/rgb.jpg
says "resize"
ok infer bare/model.onnx im/rgb.jpg --data <(printf 'data: {preprocess: {resize: [32, 32]}, test: {folder: %s/set}}' "$tmp")
says "3 class names"
ok inspect bare/model.onnx
if grep -q preprocess out; then bad "metadata nobody asked for"; else good; fi

# combinations that mean nothing
fails 2 infer.mixed infer $m im/rgb.jpg --in x.npy
fails 2 infer.mixed infer $m im/rgb.jpg --out d
fails 2 infer.no-image infer $m --in x.npy --out d --data d.yaml
fails 2 infer.nothing infer $m
fails 2 infer.out infer $m --in x.npy
fails 2 infer.operand infer $m x.npy
fails 2 infer.input infer $m --in im/rgb.jpg --out d
fails 2 file.missing infer $m --in x.npy --out d

# tensors: count, dtype, shape, order and endianness
npy() { # FILE DESCR FORTRAN SHAPE BYTES: zeros
    local head="{'descr': '$2', 'fortran_order': $3, 'shape': $4, }"
    head=$(printf '%-117s' "$head")
    { printf '\223NUMPY\001\000\166\000%s\n' "$head" && head -c "$5" /dev/zero; } > "$1"
}
n=$((3 * 32 * 32 * 4))
npy x.npy '<f4' False '(1, 3, 32, 32)' $n
ok infer $m --in x.npy --out d
check test -s d/logits.npy
ok infer $m --in x.npy --out d --json
check python3 -c 'import json; o, = json.load(open("out"))["outputs"]; assert (o["name"], o["dtype"], o["shape"], o["path"], o["nan"], o["inf"]) == ("logits", "float32", [1, 3], "d/logits.npy", 0, 0), o'
npy x.npy '>f4' True '(1, 3, 32, 32)' $n
ok infer $m --in x.npy --out d
npy x.npy '|O' False '(1, 3, 32, 32)' $n
fails 2 npy.dtype infer $m --in x.npy --out d
npy x.npy '<f8' False '(1, 3, 32, 32)' $((n * 2))
"$pare" infer $m --in x.npy --out d > out 2> err
check test $? = 2
says float64
says input
npy x.npy '<f4' False '(1, 1, 32, 32)' $((n / 3))
"$pare" infer $m --in x.npy --out d > out 2> err
check test $? = 2
says 32
npy x.npy '<f4' False '(1, 3, 32, 32)' $((n - 1))
fails 2 npy.truncated infer $m --in x.npy --out d
npy x.npy '<f4' False '(1, 3, 32, 32)' $n
"$pare" infer $m --in x.npy --in x.npy --out d > out 2> err
check test $? = 2
says input
"$pare" infer $m --in nosuch=x.npy --out d > out 2> err
check test $? = 2
says nosuch

# inspect --nodes
ok inspect $m --nodes
says "Conv#0"
says "Nx3x32x32"
check test "$(awk '/Conv#|Gemm#/ { s += $(NF - 1) } END { print (s > 99.9 && s < 100.1) }' out)" = 1
ok inspect $m --nodes --json
says '"label": "Gemm#0"'
check test "$(grep -c '"share"' out)" = "$(grep -c '"label": "[A-Za-z]*#[0-9]*"' <(sed '/"tensors"/,/^  \]/d' out))"

finish
