#!/usr/bin/env bash
# From nothing to a bilingual voice assistant: installs, makes the village, trains, evaluates, answers, reports.
#
#   bash tools/quickstart.sh [OUT] [--size small|full] [--seed N] [--index_url URL] [--python PYTHON]
#
# OUT          where everything goes (default runs/village)
# --size       small (meant for half an hour on two cores, took 39 minutes) or full (meant for two hours, took 127); see recipes/village
# --seed       draws facts, voices and what is held out (default 0)
# --index_url  torch from this package index (elsewhere the pinned version may bring CUDA)
# --python     the interpreter to make .venv with (default: the first of python3, python3.13, ... that fits)
#
# Run again, it goes on where it stopped: a finished stage is not done again.
set -euo pipefail
started_in=$PWD
cd "$(dirname "$0")/.."
source tools/environment.sh

out=runs/village size=small seed=0 index_url="" python="" named=""
while [ $# -gt 0 ]; do
    case $1 in
        --size | --seed | --index_url | --python) [ $# -ge 2 ] || fail "$1 wants a value" ;;&
        --size) size=$2 && shift 2 ;;
        --seed) seed=$2 && shift 2 ;;
        --index_url) index_url=$2 && shift 2 ;;
        --python) python=$2 && shift 2 ;;
        -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0" && exit 0 ;;
        -*) fail "there is no option $1: --size, --seed, --index_url or --python" ;;
        *) [ -z "$named" ] || fail "two output folders, $out and $1: give one" ;;&
        *) out=$1 named=yes && shift ;;
    esac
done
if [ -n "$named" ] && [ "$started_in" != "$PWD" ] && [ "${out#/}" = "$out" ]; then out=$started_in/$out; fi
[[ $seed =~ ^[0-9]+$ ]] || fail "--seed is '$seed': a whole number is needed"
settings=recipes/village/$size
[ -d "$settings" ] || fail "--size is '$size': small or full"

# stage NAME COMMAND ...: run it unless it is done, and write down the seconds it took.
stage() {
    local name=$1 start=$EPOCHREALTIME code tenths
    shift
    if [ -f "$stages/$name.json" ]; then
        echo "== $name: done before"
        return
    fi
    echo "== $name"
    "$@" || {
        code=$?
        echo "error: $name stopped with status $code: run the same command again to go on" >&2
        exit "$code"
    }
    tenths=$(((${EPOCHREALTIME/[.,]/} - ${start/[.,]/}) / 100000))
    mark "$name" "$((tenths / 10)).$((tenths % 10))"
}

# mark NAME SECONDS: the stage is done. Written last, in one go.
mark() {
    echo "{\"seconds\": $2}" >"$stages/.$1.tmp"
    mv "$stages/.$1.tmp" "$stages/$1.json"
}

# train SCRIPT YAML ...: one process under the DeepSpeed launcher.
train() {
    local script=$1 yaml=$2
    shift 2
    launch "recipes/$script" --config "$settings/$yaml" --data_root "$out" --training.seed "$seed" "$@"
}

python=${python:-$(find_python)}
check_machine "$python"
stages=$out/.stages
run="{\"size\": \"$size\", \"seed\": $seed}"
if [ -f "$stages/run.txt" ]; then
    [ "$(cat "$stages/run.txt")" = "$run" ] ||
        fail "$out holds a run with $(cat "$stages/run.txt"), and this one is $run: name another folder or remove it"
elif [ -n "$(ls -A "$out" 2>/dev/null)" ]; then
    fail "$out is not empty and holds no run of this command: name another folder"
fi
mkdir -p "$stages"
exec 9>"$stages/lock"
! command -v flock >/dev/null || flock --nonblock 9 || fail "another quickstart is at work in $out"
echo "$run" >"$stages/run.txt"

make_environment .venv "$python" constraints/latest.txt ".[tts,ear,serve]" "$index_url" keep_torch
[ -f "$stages/install.json" ] || mark install "$(cat .venv/installed_seconds)"
enter_environment .venv
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc)}

stage prepare_corpus \
    python tools/prepare_corpus.py village "$out/corpus" --size "$size" --seed "$seed"
stage fit_tokenizer \
    python tools/fit_tokenizer.py "$out/corpus/train.jsonl" --config "$settings/tokenizer.yaml" \
    --output "$out/tokenizer/card.yaml" --seed "$seed"
stage tokenize_corpus \
    python tools/tokenize_corpus.py "$out/corpus/train.jsonl" --tokenizer "$out/tokenizer/card.yaml" --output "$out/units"
stage text_lm train pretrain.py text_lm.yaml --output "$out/text_lm"
stage pretrain train pretrain.py pretrain.yaml --output "$out/pretrain"
stage train_decoder train train_decoder.py decoder.yaml --output "$out/decoder"
stage finetune train finetune.py finetune.yaml --output "$out/finetune"
stage score \
    python recipes/score.py "$out/finetune" --config "$settings/score.yaml" --data_root "$out" --output "$out/results.json" \
    --seed "$seed"
stage respond python tools/answer_village_questions.py "$out/finetune" "$out/corpus" "$out/answers"
stage report python recipes/report.py "$out"
python tools/record_seconds.py "$out" --seed "$seed"
echo "done: listen and read in $out/report.html, the figures are in $out/results.json"
echo "talk to it: .venv/bin/cslm serve $out/finetune, and open http://127.0.0.1:8000/"
