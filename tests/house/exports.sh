#!/usr/bin/env bash
# tests/house/exports.sh PLUGINS - every plugin built here exports pare_plugin_v1 and nothing else, and wants no symbol
# and no library of pare.
set -u
plugins=$1
n=0
failed=0
complain() {
    echo "$(basename "$so"): $*"
    failed=$((failed + 1))
}
for so in "$plugins"/*.so; do
    [ -e "$so" ] || continue
    n=$((n + 1))
    # A sanitizer adds symbols of its own to what it instruments.
    exported=$(nm -D --defined-only "$so" | awk '{print $NF}' | grep -Ev '^(__odr_asan|__asan|__ubsan|__tsan)' | sort | tr '\n' ' ')
    [ "$exported" = "pare_plugin_v1 " ] || complain "exports [ $exported], not pare_plugin_v1 alone"
    wanted=$(nm -D --undefined-only "$so" | awk '$NF ~ /^_*pare/ {print $NF}' | tr '\n' ' ')
    [ -z "$wanted" ] || complain "wants symbols of the host: $wanted"
    linked=$(readelf -d "$so" | grep -E 'NEEDED|RPATH|RUNPATH' | grep -E 'libpare|RPATH|RUNPATH')
    [ -z "$linked" ] || complain "is linked to what it must not need: $linked"
done
echo "$n plugins, $failed complaints"
[ "$n" -gt 0 ] && [ "$failed" -eq 0 ]
