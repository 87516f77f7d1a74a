#!/usr/bin/env bash
# What can go wrong while writing: no permission, a full disk, SIGINT. Nothing half-written is left.
. "$(dirname "$0")/lib.sh"
pipeline > p.yaml

if [ "$(id -u)" != 0 ]; then
    mkdir ro && chmod a-w ro
    "$pare" run p.yaml --out ro/run > out 2> err
    check test $? = 2
    check test -z "$(ls -A ro)"
fi
# a folder that even root can't write in
"$pare" run p.yaml --out /proc/nowhere/run > out 2> err
check test $? = 2
says "/proc/nowhere"
"$pare" run p.yaml --out p.yaml/run > out 2> err
check test $? != 0
check grep -q "version: 1" p.yaml

# only what a run wrote is ever replaced
ok run p.yaml --out r
mkdir r.old r.replaced-1 && echo mine > r.old/mine && echo mine > r.replaced-1/mine
ok run p.yaml --out r --force
check test "$(cat r.old/mine r.replaced-1/mine)" = "mine
mine"
check test "$(ls -d r.*)" = "r.old
r.replaced-1"
mkdir project && echo '{}' > project/report.json && echo mine > project/thesis.tex
fails 2 run.folder-in-use run p.yaml --out project --force
says thesis.tex
check test "$(cat project/thesis.tex)" = mine
mkdir z.partial && echo log > z.partial/log.txt && echo mine > z.partial/thesis.tex
fails 2 run.folder-in-use run p.yaml --out z
check test "$(cat z.partial/thesis.tex)" = mine
fails 2 run.no-folder run p.yaml --out ''
mkdir here && cd here && cp ../p.yaml . && mkdir inner && cd inner || exit 1
"$pare" run ../p.yaml --out . > "$tmp/out" 2> "$tmp/err"
check test $? = 0
check test -s "$tmp/here/inner/model.onnx"
cd "$tmp" || exit 1
mkdir target && ln -s target link
ok run p.yaml --out link
check test -s target/model.onnx
check test -L link

# a killed run's leftovers make way; those of one that is going on don't
mkdir k.partial && echo "pare 0: x" > k.partial/log.txt && echo half > k.partial/model.onnx
ok run p.yaml --out k
check test -s k/report.json
check test ! -e k.partial
mkdir b.partial && echo "pare 0: x" > b.partial/log.txt
flock b.partial/log.txt sleep 3 &
sleep 0.3
fails 2 run.folder-in-use run p.yaml --out b
says "another run"
wait

# two at once: both whole, under two names
"$pare" run p.yaml > out1 2> err1 &
first=$!
"$pare" run p.yaml > out2 2> err2
rc2=$?
wait $first
check test $? = 0
check test $rc2 = 0
check cmp runs/quick/model.onnx runs/quick-2/model.onnx

# stdout that can't be written is a failure
for c in "schema" "plugins --json" "--help" "check p.yaml"; do
    # shellcheck disable=SC2086
    "$pare" $c > /dev/full 2> err
    check test $? = 1
done

# a failing second step: the first one's result is kept, and where it lies is said
cat > second.yaml << YAML
version: 1
models: {net: {zoo: resnet18, with: {classes: 10, channels: 1, size: 28}}}
steps:
  - {id: a, use: prune.unstructured, with: {sparsity: 0.5}}
  - {id: b, use: prune.unstructured, with: {sparsity: 0.6, include: [nothing_like_it]}}
YAML
"$pare" run second.yaml --out second > out 2> err
check test $? = 2
says "second.partial"
check test -s second.partial/steps/01-a/model.onnx
check test ! -e second

# a full disk: a small tmpfs where we may mount one
mkdir small
if mount -t tmpfs -o size=20m tmpfs small 2> /dev/null; then
    "$pare" run p.yaml --out small/run > out 2> err
    check test $? = 1
    says "No space left on device"
    check test -z "$(find small -name '*.onnx*' -o -name '*.tmp*')"
    check test ! -e small/run
    ok run p.yaml --out fits
    cp fits/model.packed.onnx in.onnx
    head -c 15000000 /dev/zero > small/filler
    "$pare" unpack in.onnx small/out.onnx > out 2> err
    check test $? = 1
    check test "$(ls small)" = filler
    umount small
else
    [ "${CI:-}" = true ] && bad "CI=true and no tmpfs can be mounted: the full disk was not tried"
    echo "(no right to mount a tmpfs: the full disk is not tried)"
fi

# SIGINT in the middle: exit 1, nothing under the name
"$pare" run "$source_dir/configs/resnet18-prune90.yaml" --out int > out 2> err &
pid=$!
for _ in $(seq 600); do [ -e int.partial/log.txt ] && break; sleep 0.02; done
kill -INT $pid 2> /dev/null
wait $pid
check test $? = 1
says "cancelled"
check test ! -e int
check test ! -e int.partial
finish
