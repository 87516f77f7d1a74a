#!/usr/bin/env bash
# Measuring as a person meets it: pare eval, pare compare --data, the metrics of a run's report; and what they refuse.
. "$(dirname "$0")/lib.sh"

# ---- models and sets, made here ----
net() { # NAME CLASSES CHANNELS SIZE [MORE]: NAME.onnx, a network with fresh weights
    printf 'version: 1\nname: %s\nmodels: {net: {zoo: mobilenet_v2, with: {classes: %s, channels: %s, size: %s}%s}}\nsteps: []\n' \
        "$1" "$2" "$3" "$4" "${5:-}" > "$1.yaml"
    echo 'output: {gzip: off, pack: off}' >> "$1.yaml"
    ok run "$1.yaml" --out "run-$1"
    cp "run-$1/model.onnx" "$1.onnx"
}
net ten 10 1 32
net other 7 1 32

# .npy and safetensors files, and small ONNX graphs, from Python's own library.
cat > make.py << 'PY'
import json, struct

def npy(path, descr, shape, data):
    head = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    open(path, "wb").write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data)

def pixels(n, size, channels=1):
    return bytes((i * 2654435761 >> 11) & 255 for i in range(n * channels * size * size))

def labels(path, values):
    npy(path, "<i8", (len(values),), struct.pack(f"<{len(values)}q", *values))

npy("x.npy", "|u1", (40, 1, 32, 32), pixels(40, 32))
labels("y.npy", [i % 10 for i in range(40)])
labels("high.npy", [i % 10 if i != 17 else 10 for i in range(40)])
npy("five.npy", "|u1", (4, 5, 32, 32), pixels(4, 32, 5))
labels("y4.npy", [0, 1, 2, 3])
npy("tiny.npy", "|u1", (4, 1, 30, 32), pixels(4, 32)[: 4 * 30 * 32])
npy("none.npy", "|u1", (0, 1, 32, 32), b"")
npy("lost.npy", "<f4", (1, 1, 4, 4), struct.pack("<16f", *[0.5] * 16))

# weights that are all there but for one: the classifier's bias has a NaN for class 3
bias = struct.pack("<10f", *[float("nan") if i == 3 else 0.0 for i in range(10)])
head = json.dumps({"classifier.1.bias": {"dtype": "F32", "shape": [10], "data_offsets": [0, 40]}}).encode()
open("nan.safetensors", "wb").write(struct.pack("<Q", len(head)) + head + bias)

# protobuf by hand: field number, then a varint, bytes or a message
def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])

def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value

def port(name, *dims, kind=1):
    shape = b"".join(field(1, field(1, d) if isinstance(d, int) else field(2, d)) for d in dims)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, shape)))

def model(path, ins, nodes, out, more=b""):
    g = b"".join(field(1, b"".join(field(1, i) for i in n[1]) + field(2, n[2]) + field(4, n[0])) for n in nodes)
    g += field(2, "g") + b"".join(field(11, i) for i in ins) + field(12, out) + more
    open(path, "wb").write(field(1, 8) + field(7, g) + field(8, field(2, 17)))

model("two.onnx", [port("a", "N", 10), port("b", "N", 10)], [("Add", ["a", "b"], "y")], port("y", "N", 10))
model("open.onnx", [port("x", "N", "C", "H", "W")], [("GlobalAveragePool", ["x"], "p"), ("Flatten", ["p"], "y")],
      port("y", "N", "C"))
model("log.onnx", [port("x", "N", 4)], [("Log", ["x"], "y")], port("y", "N", 4))
model("four.onnx", [port("x", 4, 1, 32, 32)], [("GlobalAveragePool", ["x"], "p"), ("Flatten", ["p"], "y")],
      port("y", 4, 1))
model("odd.onnx", [port("x", "N", 4)], [("NoSuchOp", ["x"], "y")], port("y", "N", 4))
model("last.onnx", [port("x", "N", 32, 32, 1)], [("Flatten", ["x"], "y")], port("y", "N", 1024))
# one NaN in a convolution's weight, which the Relu behind it answers with a number
weight = b"".join(field(1, d) for d in (2, 1, 3, 3)) + field(2, 1) + field(8, "w")
weight += field(9, struct.pack("<18f", *[float("nan") if i == 5 else 0.1 for i in range(18)]))
model("lost.onnx", [port("x", "N", 1, 4, 4)], [("Conv", ["x", "w"], "c"), ("Relu", ["c"], "r"), ("Flatten", ["r"], "y")],
      port("y", "N", 8), field(5, weight))
model("div.onnx", [port("x", 1), port("k", 1, kind=7), port("n", 1, kind=7)],
      [("Div", ["k", "n"], "s"), ("Expand", ["x", "s"], "y")], port("y", "N"))
npy("unit.npy", "<f4", (1,), struct.pack("<f", 1))
npy("eight.npy", "<i8", (1,), struct.pack("<q", 8))
npy("zero.npy", "<i8", (1,), struct.pack("<q", 0))
npy("minus.npy", "<f4", (2, 4), struct.pack("<8f", -1, 1, 1, 1, 0, 1, 1, 1))
npy("odd.npy", "<f4", (2, 4), struct.pack("<8f", 1, 1, 1, 1, float("nan"), 1, float("inf"), 1))
PY
check python3 make.py
cat > data.yaml << YAML
data: {test: {npy: x.npy, labels: y.npy}}
YAML

# ---- pare eval ----
ok eval ten.onnx --data data.yaml --runs 5
says "on 40 samples of test"
says "accuracy"
says "latency p95"
says "MACs, effective"
says "batch 1 of noise"
ok eval ten.onnx --data data.yaml --runs 5 --batch 4 --threads 1 --json
cat > look.py << 'PY'
import json, math
j = json.load(open("out"))
assert j["samples"] == 40 and j["set"] == "test" and len(j["classes"]) == 10, j
assert abs(sum(c["samples"] * c["accuracy"] for c in j["classes"]) / 40 - j["accuracy"]) < 1e-12
assert 0 <= j["accuracy"] <= j["top5"] <= 1 and j["loss"] > 0 and j["not_finite"] == 0
assert j["bytes"] > j["gzip_bytes"] > 0 and j["macs"] >= j["macs_effective"] > 0
l = j["latency"]
assert (l["batch"], l["threads"], l["runs"], l["device"], l["set"]) == (4, 1, 5, "cpu", "noise"), l
assert l["engine"] and l["cpu"] and 0 < j["latency_p50_ms"] <= j["latency_p95_ms"]
assert math.isclose(j["images_per_s"], 4e3 / j["latency_p50_ms"])
PY
check python3 look.py

# many classes: the worst first
printf 'data: {test: {random: 64, classes: 40}}\n' > many.yaml
net forty 40 1 32
ok eval forty.onnx --data many.yaml --runs 3
says "worst of"

# ---- pare compare ----
ok compare ten.onnx ten.onnx --data data.yaml --runs 20 --json
cat > look.py << 'PY'
import json
j = json.load(open("out"))
assert j["agreement"] == 1 and j["sqnr_db"] is None and j["kl"] == 0 and j["max_abs_diff"] == 0, j
assert j["mcnemar_p"] == 1 and j["accuracy_within_noise"] is True and j["samples"] == 40
l = j["latency"]
assert l["ratio_low"] <= l["ratio"] <= l["ratio_high"] and l["runs"] == 20
assert l["within_noise"] == (l["ratio_low"] <= 1.02 and l["ratio_high"] >= 0.98)
assert j["a"]["accuracy"] == j["b"]["accuracy"] and j["b"]["latency_p50_ms"] > 0 and j["a"]["images_per_s"] > 0
PY
check python3 look.py
ok compare ten.onnx ten.onnx --data data.yaml --runs 3
says "equal outputs"
says "within noise (McNemar's p 1)"
ok compare ten.onnx ten.onnx --json
check python3 -c 'import json; j = json.load(open("out")); assert j["agreement"] is j["latency"] is j["a"]["accuracy"] is None'

# ---- the report of a run ----
cat > report.yaml << 'YAML'
version: 1
models: {net: {onnx: ten.onnx}}
data: {test: {npy: x.npy, labels: y.npy}}
steps:
  - {id: less, use: prune.unstructured, with: {sparsity: 0.3}}
  - {id: none, use: prune.unstructured, with: {sparsity: 0.95}}
report:
  "on": test
  metrics: [size, gzip, macs, loss, accuracy, top5, agreement, kl, sqnr, latency, images_per_s]
  latency: {batch: 2, threads: 1, runs: 10}
output: {gzip: off, pack: off}
YAML
ok run report.yaml --out report
says "agreement, SQNR, KL: with net's outputs"
says "batch 2 of noise, 10 runs each, in turn"
cat > look.py << 'PY'
import json
j = json.load(open("report/report.json"))
assert j["measured_on"] == {"set": "test", "samples": 40}
assert (j["latency"]["batch"], j["latency"]["threads"], j["latency"]["runs"]) == (2, 1, 10)
rows = [j["input"]["metrics"]] + [s["metrics"] for s in j["steps"]]
for i, m in enumerate(rows):
    for key in ("bytes", "gzip_bytes", "macs", "macs_effective", "loss", "accuracy", "top5", "latency_p50_ms",
                "latency_p95_ms", "images_per_s", "not_finite"):
        assert m[key] is not None, (i, key)
    for key in ("agreement", "kl", "sqnr_db", "mcnemar_p", "latency_ratio", "latency_ratio_low", "latency_ratio_high"):
        assert (m[key] is None) == (i == 0), (i, key, m[key])
    assert len(m["classes"]) == 10 and sum(c["samples"] for c in m["classes"]) == 40
assert rows[2]["sqnr_db"] < rows[1]["sqnr_db"]
assert all(m["latency_by_threads"] is None for m in rows)
PY
check python3 look.py

# at several numbers of threads: each against the baseline, in turn with it
ok run report.yaml --out threads --set 'report.latency.threads=[1, 2]' --set 'report.metrics=[latency, agreement]'
says "p50, 1 thread"
says "p50, 2 threads"
cat > look.py << 'PY'
import json
j = json.load(open("threads/report.json"))
assert j["latency"]["threads"] == 1 and j["latency"]["all_threads"] == [1, 2], j["latency"]
rows = [j["input"]["metrics"]] + [s["metrics"] for s in j["steps"]]
for i, m in enumerate(rows):
    one, two = m["latency_by_threads"]
    assert one["threads"] == 1 and two["threads"] == 2
    assert one["p50_ms"] == m["latency_p50_ms"] and one["ratio"] == m["latency_ratio"] and two["p50_ms"] > 0
    assert (two["ratio"] is None) == (i == 0), m
assert all(m["agreement"] is not None for m in rows[1:])
PY
check python3 look.py
check grep -q "threads: \[1, 2\]" threads/pipeline.lock.yaml

# ---- NaN ----
net nan 10 1 32 ', weights: nan.safetensors, reinit: ["features*", "classifier.1.weight"]'
ok eval nan.onnx --data data.yaml --runs 3
says "40 of 40 samples give outputs that are NaN or infinite, 40 of them NaN"
says "samples with NaN or infinity"
ok eval nan.onnx --data data.yaml --runs 3 --json --quiet
check python3 -c 'import json; j = json.load(open("out")); assert j["nan"] == j["not_finite"] == 40 and j["accuracy"] == 0 and j["loss"] is None'
says "nan.onnx: weights hold values that are no numbers: classifier.1.bias (1 NaN)"
ok compare ten.onnx nan.onnx --data data.yaml --runs 3
says "classifier.1.bias (1 NaN)"
says "no SQNR, no KL"
says "samples with NaN or inf"
printf 'data: {test: {npy: lost.npy}}\n' > lost.yaml
for what in "eval lost.onnx --data lost.yaml --runs 3" "bench lost.onnx --runs 3" "infer lost.onnx --in lost.npy --out lost"; do
    # shellcheck disable=SC2086 # words
    ok $what
    says "lost.onnx: weights hold values that are no numbers: w (1 NaN)"
done
check test "$(grep -c 'output y' err)" = 0
printf 'data: {test: {npy: odd.npy}}\n' > odd.yaml
ok eval log.onnx --data odd.yaml --runs 3
says "1 of 2 samples hold NaN or infinity before the model sees them"
ok infer log.onnx --in odd.npy --out odd
says "input x holds 1 NaN and 1 infinite values among 8"
sed 's/ten.onnx/nan.onnx/' report.yaml > nan-report.yaml
ok run nan-report.yaml --out nan-report
says "net: 40 of 40 samples"
says "net: weights hold"
check python3 -c 'import json; m = json.load(open("nan-report/report.json"))["steps"][0]["metrics"]; assert m["not_finite"] == 40 and m["accuracy"] == 0 and m["loss"] is m["sqnr_db"] is None'
ok infer log.onnx --in minus.npy --out log
says "output y holds 1 NaN and 1 infinite values among 8"

# ---- how samples are prepared ----
ok eval ten.onnx --data data.yaml --runs 3
says "neither data.yaml nor ten.onnx says how samples are prepared"
ok compare ten.onnx ten.onnx --data data.yaml --runs 3
check test "$(grep -c "don't see the same samples" err)" = 0
cat > own.yaml << 'YAML'
version: 1
models: {net: {onnx: ten.onnx, preprocess: {mean: 0.5}}}
data: {test: {npy: x.npy, labels: y.npy}}
steps: []
output: {gzip: off, pack: off}
YAML
ok run own.yaml --out own
ok eval own/model.onnx --data data.yaml --runs 3
says "samples go through what own/model.onnx carries"
ok compare ten.onnx own/model.onnx --data data.yaml --runs 3
says "the two don't see the same samples"
sed 's/^models:.*/models: {net: {onnx: ten.onnx, preprocess: {mean: 0.5}}, b: {onnx: other.onnx}}/' own.yaml > two-own.yaml
loss() { "$pare" eval "$@" --runs 3 --json --quiet | python3 -c 'import json, sys; print(json.load(sys.stdin)["loss"])'; }
check test "$(loss ten.onnx --data own.yaml)" = "$(loss own/model.onnx --data data.yaml)"
check test "$(loss ten.onnx --data own.yaml)" != "$(loss ten.onnx --data data.yaml)"
check test "$(loss ten.onnx --data two-own.yaml)" = "$(loss ten.onnx --data own.yaml)"
cp ten.onnx copy.onnx
ok eval copy.onnx --data own.yaml --runs 3
says "copy.onnx is taken for own.yaml's model net"
ok eval copy.onnx --data two-own.yaml --runs 3
says "is not used: models.net"
check test "$(loss copy.onnx --data two-own.yaml)" = "$(loss ten.onnx --data data.yaml)"
sed 's/mean: 0.5/mean: lots/' own.yaml > bad-own.yaml
fails 2 config.type eval ten.onnx --data bad-own.yaml
says "models.net.preprocess.mean"

# ---- what pare check finds, and pare run before its first step ----
both() { # CODE FILE: check and run refuse it, and run leaves nothing behind
    fails 2 "$1" check "$2"
    fails 2 "$1" run "$2" --out no
    check test ! -e no
    says "$2:"
}
ok check report.yaml
sed 's/^data:.*/data: {preprocess: {resize: 32, crop: 30}, test: {npy: x.npy, labels: y.npy}}/' report.yaml > small.yaml
both data.image-size small.yaml
says "samples are 1x30x30, and the model takes 1x32x32"
says "this is where the report asks for it"
sed 's/^data:.*/data: {test: {npy: x.npy, labels: y.npy, take: 41}}/' report.yaml > take.yaml
both data.take take.yaml
says "take: 41 is more than the 40 samples there are"
sed 's/y.npy/high.npy/' report.yaml > high-check.yaml
both data.label-range high-check.yaml
mkdir lone # the plugins but for the CPU's backend
cp "$(dirname "$pare")"/../lib/pare/plugins/prune.so lone/
cp "$pare" lone/pare
for what in "check report.yaml" "run report.yaml --out no"; do
    # shellcheck disable=SC2086 # words
    lone/pare $what --plugin-dir lone > out 2> err
    check test $? = 2
    says "device.no-cpu"
    check test ! -e no
done
lone/pare check own.yaml --plugin-dir lone > out 2> err
check test $? = 0

# ---- no labels ----
printf 'data: {test: {npy: x.npy}}\n' > bare.yaml
ok eval ten.onnx --data bare.yaml --runs 3
says "no labels"
ok compare ten.onnx ten.onnx --data bare.yaml --runs 3
says "the same class in 100.00 %"
sed 's/, labels: y.npy//' report.yaml > unlabelled.yaml
fails 2 config.no-labels run unlabelled.yaml --out no
says "unlabelled.yaml:9"
check test ! -e no
cat > wrap.py << 'PY'
import zipfile
zipfile.ZipFile("bare.npz", "w").write("x.npy", "images.npy")
PY
check python3 wrap.py
sed 's/npy: x.npy, labels: y.npy/npz: bare.npz/' report.yaml > late.yaml # known only once the file is open
fails 2 score.no-labels run late.yaml --out no
says "test"
says "late.yaml:8"
check test ! -e no

# ---- what does not fit ----
sed 's/y.npy/high.npy/' data.yaml > high.yaml
fails 2 data.label-range eval ten.onnx --data high.yaml
says "sample 17 is 10; 0 to 9 are allowed"
sed 's/y.npy/high.npy/' report.yaml > high-report.yaml
fails 2 data.label-range run high-report.yaml --out no
check test ! -e no
printf 'data: {test: {npy: five.npy, labels: y4.npy}}\n' > five.yaml
"$pare" eval ten.onnx --data five.yaml > out 2> err
check test $? = 2
says "5"
printf 'data: {test: {npy: tiny.npy, labels: y4.npy}}\n' > tiny.yaml
"$pare" eval ten.onnx --data tiny.yaml > out 2> err
check test $? = 2
says "30"
fails 2 score.inputs eval two.onnx --data data.yaml
says "two.onnx"
says "2 inputs"
printf 'data: {test: {npy: none.npy}}\n' > none.yaml
"$pare" eval ten.onnx --data none.yaml > out 2> err
check test $? = 2
check grep -q 'error\[' err
ok compare ten.onnx other.onnx --data bare.yaml --runs 3
says "7 outputs a sample, the baseline has 10"
says "can't be compared"
fails 2 data.label-range compare ten.onnx other.onnx --data data.yaml

# ---- open dimensions: a set gives them, noise can't ----
fails 2 score.shape bench open.onnx --runs 3
says "input x: dimension 1 (C) is open"
says "--shape x=1,3,224,224"
ok bench open.onnx --runs 3 --shape x=2,3,20,20
says "batch 2 of noise"
ok bench open.onnx --runs 3 --shape 1,3,20,20
ok bench two.onnx --runs 3 --shape a=3,10 --shape b=3,10
fails 2 bench.shape bench open.onnx --shape x=1,3,20
says "x=N,C,H,W"
fails 2 bench.shape bench two.onnx --shape a=3,11
fails 2 bench.shape bench two.onnx --shape c=3,10
says '"a", "b"'
fails 2 bench.shape bench two.onnx --shape a=3,10 --shape a=3,10
fails 2 bench.shape bench two.onnx --shape 3,10
fails 2 bench.shape bench open.onnx --shape x=1,3,20,
fails 2 bench.shape bench open.onnx --shape x=1,0,20,20
fails 2 bench.shape bench open.onnx --shape x=1,3,20,20 --batch 2

# ---- a batch that the file fixes is the one that is timed ----
ok bench four.onnx --runs 3 --json
check python3 -c 'import json; assert json.load(open("out"))["batch"] == 4'
ok bench four.onnx --runs 3 --json --batch 2
check python3 -c 'import json; assert json.load(open("out"))["batch"] == 2'
ok eval four.onnx --data bare.yaml --runs 3
says "batch 4 of noise"

# ---- messages name the model, and whose numbers they are of ----
fails 2 engine.opset bench odd.onnx --runs 3
says "odd.onnx"
fails 2 engine.opset infer odd.onnx --in minus.npy --out odd
says "odd.onnx"
ok infer div.onnx --in unit.npy --in eight.npy --in eight.npy --out div
fails 2 engine.fold infer div.onnx --in unit.npy --in eight.npy --in zero.npy --out div
says "of the inputs' numbers or shapes"
says "divided by 0"
printf 'data: {preprocess: {layout: nchw}, test: {npy: x.npy, labels: y.npy}}\n' > nchw.yaml
fails 2 data.layout eval last.onnx --data nchw.yaml
says "the model takes 32 channels there and 1 where nhwc has them"
printf 'data: {test: {npy: x.npy}}\n' > bare.yaml
ok eval open.onnx --data bare.yaml
says "not timed"

# ---- the file with the data ----
fails 2 eval.data eval ten.onnx
printf 'version: 1\n' > nodata.yaml
fails 2 config.missing eval ten.onnx --data nodata.yaml
says "nodata.yaml"
printf 'data: {preprocess: {mean: [0]}}\n' > noset.yaml
fails 2 eval.set eval ten.onnx --data noset.yaml
printf 'data: {a: {npy: x.npy}, b: {npy: x.npy}}\n' > two.yaml
fails 2 eval.set eval ten.onnx --data two.yaml
says "2 sets"
fails 2 file.missing compare ten.onnx ten.onnx --data missing.yaml
sed 's/accuracy/acuracy/' report.yaml > typo.yaml
fails 2 config.choice run typo.yaml --out no
says 'did you mean "accuracy"'
says "typo.yaml:9"
finish
