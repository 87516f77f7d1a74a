# tests/cli/lib.sh - sourced by the test_*.sh beside it: runs pare and checks what a person would see.
# Gives: $pare, $tmp (removed at the end), ok, fails, says, note. A test ends with `finish`.
set -u
pare=${PARE_BIN:?PARE_BIN must name the pare executable}
source_dir=${PARE_SOURCE:?PARE_SOURCE must name the source tree}
tmp=$(mktemp -d "${TMPDIR:-/tmp}/pare-cli-XXXXXX")
trap 'chmod -R u+w "$tmp" 2>/dev/null; rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
export XDG_DATA_HOME="$tmp/no-user-plugins" XDG_CACHE_HOME="$tmp/cache" NO_COLOR=1
unset PARE_PLUGIN_PATH PARE_TUNE
passed=0
failed=0

good() { passed=$((passed + 1)); }
bad() {
    failed=$((failed + 1))
    echo "FAILED: $1"
    echo "  stdout: $(head -c 1500 out 2>/dev/null)"
    echo "  stderr: $(head -c 1500 err 2>/dev/null)"
}

# ok ARGS...: pare ARGS exits 0
ok() {
    "$pare" "$@" > out 2> err
    local rc=$?
    if [ $rc -eq 0 ]; then good; else bad "exit $rc, not 0: pare $*"; fi
}

# fails RC CODE ARGS...: pare ARGS exits RC and says error[CODE], once
fails() {
    local want=$1 code=$2
    shift 2
    "$pare" "$@" > out 2> err
    local rc=$?
    local n
    n=$(grep -cF "error[$code]" err)
    if [ $rc -eq "$want" ] && [ "$n" -ge 1 ]; then good; else bad "exit $rc with $n of error[$code], not $want: pare $*"; fi
    [ -s out ] && bad "an error, yet stdout is not empty: pare $*"
    return 0
}

# says TEXT: the last call's output holds TEXT
says() { if grep -qF -- "$1" out err; then good; else bad "does not say: $1"; fi; }
# check WORDS...: a command that must succeed
check() { if "$@"; then good; else bad "not so: $*"; fi; }

finish() {
    echo "$passed passed, $failed failed"
    [ $failed -eq 0 ]
}

# A pipeline that is quick: a narrow image and few classes.
pipeline() {
    cat << YAML
version: 1
name: ${1:-quick}
seed: 7
models:
  net: {zoo: resnet18, with: {classes: 10, channels: 1, size: 28}}
steps:
  - id: pruned
    use: prune.unstructured
    with: {sparsity: ${2:-0.9}}
report: {metrics: [size]}
output: {dir: "runs/\${name}", gzip: off}
YAML
}
