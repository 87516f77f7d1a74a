#!/usr/bin/env bash
# tests/house/hardened.sh BUILD PLUGINS - the program and the plugins are position independent, their relocations
# read-only after start, their stacks not executable, and (x86) their functions ready for CET. Not for sanitizer builds.
set -u
build=$1
plugins=$2
n=0
failed=0
for file in "$build"/bin/pare "$plugins"/*.so; do
    [ -e "$file" ] || continue
    n=$((n + 1))
    headers=$(readelf -W -h -l -d -n "$file" 2> /dev/null)
    check() { # what it is, a pattern that must be there
        grep -Eq "$2" <<< "$headers" || { echo "$(basename "$file"): $1"; failed=$((failed + 1)); }
    }
    check 'not position independent' 'Type: +DYN'
    check 'relocations stay writable (no RELRO)' 'GNU_RELRO'
    check 'symbols are bound late (no BIND_NOW)' 'BIND_NOW|FLAGS_1.*NOW'
    check 'the stack is executable' 'GNU_STACK.* RW '
    if grep -Eq 'Machine:.*X86-64' <<< "$headers"; then
        # The file as a whole is marked only where libc's start-up code is; our functions must be ready anyway.
        objdump -d --no-show-raw-insn "$file" | grep endbr64 > /dev/null ||
            { echo "$(basename "$file"): built without -fcf-protection"; failed=$((failed + 1)); }
    fi
done
echo "$n files, $failed complaints"
[ "$n" -gt 0 ] && [ "$failed" -eq 0 ]
