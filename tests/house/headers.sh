#!/usr/bin/env bash
# tests/house/headers.sh SOURCE - every SDK header compiles alone, and twice over, as C11 without a byte of padding and
# as C++17, with each compiler that is here.
set -u
source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
warnings=(-Wall -Wextra -Wpedantic -Wconversion -Werror)
tried=0
failed=0
for header in "$source"/sdk/pare/*.h; do
    name=pare/$(basename "$header")
    printf '#include <%s>\n#include <%s>\nint house_headers_unit;\n' "$name" "$name" > "$work/unit.c"
    cp "$work/unit.c" "$work/unit.cpp"
    # clang lays a struct out, and speaks of padding, only where somebody asks for its size
    sed -En 's/^(typedef )?struct (pare_[a-z0-9_]+) \{.*/typedef char size_of_\2[sizeof(struct \2)];/p' "$header" >> "$work/unit.c"
    for pair in gcc:g++ clang:clang++; do
        cc=${pair%:*}
        cxx=${pair#*:}
        if command -v "$cc" > /dev/null; then
            tried=$((tried + 1))
            "$cc" -std=c11 -fsyntax-only "${warnings[@]}" -Wpadded -Wstrict-prototypes -I"$source/sdk" "$work/unit.c" ||
                { echo "$name does not stand alone as C11 with $cc"; failed=$((failed + 1)); }
        fi
        if command -v "$cxx" > /dev/null; then
            tried=$((tried + 1))
            "$cxx" -std=c++17 -fsyntax-only "${warnings[@]}" -I"$source/sdk" "$work/unit.cpp" ||
                { echo "$name does not stand alone as C++17 with $cxx"; failed=$((failed + 1)); }
        fi
    done
done
echo "$tried compilations, $failed failed"
[ "$tried" -gt 0 ] && [ "$failed" -eq 0 ]
