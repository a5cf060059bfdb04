#!/usr/bin/env bash
# Lint, types and all tests, on both supported stacks, each in an environment of its own under .venv-test.
#
#   bash tools/test.sh [--stack latest|fairseq2] [--index_url URL] [--python PYTHON] [PYTEST ARGUMENTS]
#
# --stack      this one alone (fairseq2 takes about 8 GB and 3 minutes to install)
# --index_url  torch from this package index (elsewhere the pinned version may bring CUDA)
# --python     the interpreter to make the environments with (default: the first of python3, python3.13, ... that fits)
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/environment.sh

stacks="latest fairseq2" index_url="" python=""
while [ $# -gt 0 ]; do
    case $1 in
        --stack | --index_url | --python) [ $# -ge 2 ] || fail "$1 wants a value" ;;&
        --stack) stacks=$2 && shift 2 ;;
        --index_url) index_url=$2 && shift 2 ;;
        --python) python=$2 && shift 2 ;;
        -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0" && exit 0 ;;
        *) break ;;
    esac
done

python=${python:-$(find_python)}
check_machine "$python"
status=0

# attempt COMMAND ...: run it, and remember the worst exit status.
attempt() {
    local code=0
    echo "+ $*"
    "$@" || code=$?
    if [ "$code" -gt "$status" ]; then status=$code; fi
}

for stack in $stacks; do
    case $stack in
        latest) requirement=".[dev]" ;;
        fairseq2) requirement=".[dev,fairseq2,speechtokenizer,s3tokenizer]" ;;
        *) fail "there is no stack '$stack': latest or fairseq2" ;;
    esac
    make_environment ".venv-test/$stack" "$python" "constraints/$stack.txt" "$requirement" "$index_url"
done

for stack in $stacks; do
    echo "== stack $stack"
    (
        enter_environment ".venv-test/$stack"
        for other in ${stacks/"$stack"/}; do export CSLM_OTHER_STACK_PYTHON=$PWD/.venv-test/$other/bin/python; done
        if [ "$stack" = latest ]; then
            attempt ruff check .
            attempt ruff format --check .
            attempt mypy
            attempt shellcheck --external-sources tools/*.sh recipes/*/*.sh .ci/run
        fi
        attempt python -m pytest --numprocesses "$(nproc)" --dist loadfile --durations 10 "$@"
        exit "$status"
    ) || { code=$? && if [ "$code" -gt "$status" ]; then status=$code; fi; }
done
exit "$status"
