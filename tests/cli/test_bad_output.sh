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
finish
