#!/usr/bin/env bash
# What pipeline.lock.yaml says of the data a run was made of: SHA-256 of its files, each once; of image folders one entry.
. "$(dirname "$0")/lib.sh"
cp "$source_dir/tests/golden/nets/fashion.onnx" . || exit 1

# arrays, and the same as images in folders of classes
check python3 - << 'PY'
import os, struct, zlib

def npy(path, descr, shape, data):
    head = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    open(path, "wb").write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data)

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

def png(path, pixels):
    rows = b"".join(b"\0" + pixels[y * 28:y * 28 + 28] for y in range(28))
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 28, 28, 8, 0, 0, 0, 0)) +
                           chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))

pixels = [bytes((i * 31 + k * 7) % 256 for k in range(784)) for i in range(40)]
npy("x.npy", "|u1", (40, 28, 28), b"".join(pixels))
npy("y.npy", "<i8", (40,), struct.pack("<40q", *[i % 10 for i in range(40)]))
for i, p in enumerate(pixels):
    os.makedirs(f"images/{i % 10}", exist_ok=True)
    png(f"images/{i % 10}/{i:02}.png", p)
PY

# lock TRAIN TEST: a run of both sets
lock() {
    cat > l.yaml << YAML
version: 1
seed: 7
models: {net: {onnx: fashion.onnx}}
data:
  all: {$1}
  train: {from: all, split: [0, 0.8]}
  rest: {from: all, split: [0.8, 1]}
  unused: {npy: x.npy}
  test: {$2}
steps:
  - {id: a, use: train.supervised, fit: {batch: 8, steps: 2, data: train, validate: rest}}
report: {on: test, metrics: [size, accuracy]}
output: {dir: out, gzip: off, pack: off}
YAML
    rm -rf out.d
    ok run l.yaml --out out.d
}
# entry PATH: what stands under it, on one line
entry() { grep -A4 "path: .*$1\$" out.d/pipeline.lock.yaml | tr -s ' \n' ' '; }

lock 'npy: x.npy, labels: y.npy' 'npy: x.npy, labels: y.npy'
for f in x.npy y.npy; do
    check test "$(grep -c "path: .*$f$" out.d/pipeline.lock.yaml)" = 1
    check grep -q "sha256: \"\?$(sha256sum < $f | cut -d' ' -f1)" out.d/pipeline.lock.yaml
    check grep -q "bytes: $(stat -c %s $f)" <(entry $f | tr ' ' '\n' | paste -sd' ')
done
check grep -q "name: data.all" out.d/pipeline.lock.yaml
check test "$(grep -c "name: data.unused" out.d/pipeline.lock.yaml)" = 0

# a folder is one entry, that knows names, sizes and contents, and not where it lies
lock 'folder: images' 'npy: x.npy, labels: y.npy'
check grep -q "files: 40 of: contents bytes: $(cat images/*/*.png | wc -c) sha256: \"\?[0-9a-f]\{64\}" <(entry images)
was=$(entry images | grep -o "[0-9a-f]\{64\}")
check test "$(grep -c 'path: .*png' out.d/pipeline.lock.yaml)" = 0
mkdir moved && mv images moved/images
lock 'folder: moved/images' 'npy: x.npy, labels: y.npy'
check test "$(entry images | grep -o "[0-9a-f]\{64\}")" = "$was"
mv moved/images/3/03.png moved/images/3/04.png
lock 'folder: moved/images' 'npy: x.npy, labels: y.npy'
check test "$(entry images | grep -o "[0-9a-f]\{64\}")" != "$was"
mv moved/images/3/04.png moved/images/3/03.png
cp moved/images/3/13.png moved/images/3/03.png
lock 'folder: moved/images' 'npy: x.npy, labels: y.npy'
check test "$(entry images | grep -o "[0-9a-f]\{64\}")" != "$was"

# gzipped IDX as it lies there
if [ -e /usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz ]; then
    lock 'idx: /usr/share/datasets/fashion-mnist/t10k' 'npy: x.npy, labels: y.npy'
    for f in images-idx3 labels-idx1; do
        check grep -q "sha256: \"\?$(sha256sum < /usr/share/datasets/fashion-mnist/t10k-$f-ubyte.gz | cut -d' ' -f1)" out.d/pipeline.lock.yaml
    done
fi
finish
