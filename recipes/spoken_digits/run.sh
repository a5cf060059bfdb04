#!/usr/bin/env bash
# Spoken digits, end to end: strings of human recordings in, word error rates for known and unseen speakers out.
#   bash recipes/spoken_digits/run.sh RECORDINGS OUT --test_speakers A,B [--seed N]
# RECORDINGS holds {digit}_{speaker}_{index}.wav. A finished stage is not redone.
set -euo pipefail

usage="usage: bash recipes/spoken_digits/run.sh RECORDINGS OUT --test_speakers A,B [--seed N]"
recipe="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$recipe/../.." && pwd)"
# shellcheck source=tools/environment.sh
source "$root/tools/environment.sh"

recordings="" out="" test_speakers="" seed=0
while [ $# -gt 0 ]; do
    case "$1" in
        --test_speakers) test_speakers="${2:?$usage}"; shift 2 ;;
        --test_speakers=*) test_speakers="${1#*=}"; shift ;;
        --seed) seed="${2:?$usage}"; shift 2 ;;
        --seed=*) seed="${1#*=}"; shift ;;
        -*) fail "unknown option $1; $usage" ;;
        *) if [ -z "$recordings" ]; then recordings="$1"; elif [ -z "$out" ]; then out="$1"; else fail "$usage"; fi; shift ;;
    esac
done
[ -n "$recordings" ] && [ -n "$out" ] && [ -n "$test_speakers" ] || fail "$usage"
[ -d "$recordings" ] || fail "$recordings is not a folder; give the folder that holds {digit}_{speaker}_{index}.wav"

if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    if [ -x "$root/.venv/bin/python" ]; then PYTHON="$root/.venv/bin/python"; fi
fi
PATH="$(dirname "$(command -v "$PYTHON")"):$PATH"
export PATH
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$(nproc)}"
mkdir -p "$out"

settings="$(cd "$recordings" && pwd) $test_speakers $seed"
if [ -f "$out/.settings" ] && [ "$(cat "$out/.settings")" != "$settings" ]; then
    fail "$out holds another run ($(cat "$out/.settings")); give another OUT"
fi
printf '%s\n' "$settings" >"$out/.settings"

stage() { # NAME COMMAND...: run once, and remember
    local name="$1"; shift
    if [ -f "$out/.stages/$name.json" ]; then echo "== $name: done before"; return; fi
    echo "== $name"
    local start; start="$(date +%s)"
    "$@"
    mkdir -p "$out/.stages"
    printf '{"seconds": %d}\n' "$(($(date +%s) - start))" >"$out/.stages/$name.json.part"
    mv "$out/.stages/$name.json.part" "$out/.stages/$name.json"
}

stage prepare_corpus "$PYTHON" "$root/tools/prepare_corpus.py" spoken_digits "$out/corpus" \
    --recordings "$recordings" --test_speakers "$test_speakers" --seed "$seed"
stage fit_tokenizer "$PYTHON" "$root/tools/fit_tokenizer.py" "$out/corpus/train.jsonl" \
    --config "$recipe/tokenizer.yaml" --seed "$seed" --output "$out/tokenizer/card.yaml"
stage tokenize_corpus "$PYTHON" "$root/tools/tokenize_corpus.py" "$out/corpus/train.jsonl" \
    --tokenizer "$out/tokenizer/card.yaml" --output "$out/units"
stage train launch "$root/recipes/pretrain.py" --config "$recipe/train.yaml" \
    --data_root "$out" --output "$out/model" --training.seed "$seed"
stage score "$PYTHON" "$root/recipes/score.py" "$out/model" --config "$recipe/score.yaml" \
    --data_root "$out" --output "$out/results.json"
"$PYTHON" "$root/tools/record_seconds.py" "$out" --seed "$seed"
cat "$out/results.json"
