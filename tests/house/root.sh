#!/usr/bin/env bash
# tests/house/root.sh SOURCE - the root holds only what belongs there: the house's rooms, the build's two files, a
# README, a licence, one bootstrap script and dotfiles. What git ignores (build/, runs/) may lie about.
set -u
cd "$1" || exit 2
failed=0
for entry in *; do
    case $entry in
        core | plugins | configs | sdk | tests) [ -d "$entry" ] || { echo "$entry is no folder"; failed=1; } ;;
        CMakeLists.txt | CMakePresets.json | README.md | LICENSE | bootstrap) ;;
        build | runs) ;;
        *) echo "$entry does not belong in the root"; failed=1 ;;
    esac
done
for entry in core plugins configs sdk tests CMakeLists.txt CMakePresets.json LICENSE bootstrap .ci/run; do
    [ -e "$entry" ] || { echo "$entry is missing"; failed=1; }
done
exit $failed
