"""Runs the commands of pages in this process: few steps, few units, a tiny base in place of a real one."""

from __future__ import annotations

import fnmatch
import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from cslm import cli
from cslm.errors import UserError
from tests.docs.not_run import NOT_RUN
from tests.docs.pages import Command, commands
from tests.recipes.conftest import TWO_STEPS

FP32 = ["--model.dtype", "float32", "--training.device.precision", "fp32"]
TEXT_LM = Path("runs/village/text_lm")
QUICK = {
    "fit-tokenizer": ["--codebook_size", "16", "--sample_hours", "0.01"],
    "tokenize-corpus": ["--num_workers", "1"],
    "pretrain": [*TWO_STEPS, *FP32],
    "finetune": [*TWO_STEPS, *FP32],
    "lr-find": ["--num_steps", "5", "--training.tokens_per_step", "300", *FP32],
    "respond": ["--decoding.max_new_tokens", "1500", "--decoding.temperature", "1"],
    "train-decoder": [*TWO_STEPS, "--crop_frames", "16", "--decoder.width", "32"],
    "score": ["--max_items", "1", "--ears.other", "null", "--ears.own.max_new_tokens", "20"],
}
QUICK["score"] += [f"--scores.{name}.decoding.max_new_tokens=60" for name in ("tts", "dialogue")]
"""What is added to the commands of a verb."""
THERE = {
    "wikimedia/wikipedia": "wikipedia",
    "20231101.fr": "default",
    "$SLURM_ARRAY_TASK_ID/16": "0/16",
    "five": "tiny",
}
"""Words of commands, and what stands in their place."""
OF_BASES = ("recipes/own_corpus/pretrain.yaml", "recipes/paper/pretrain.yaml")
"""Settings whose base is on the Hub."""
VERBS = {"inspect-sequences": "inspect"}
"""Scripts that are not called as their verb is."""


def why_not(command: Command) -> str | None:
    """Why a command is not run, or None where it is."""
    return next((reason for pattern, reason in NOT_RUN.items() if fnmatch.fnmatchcase(command.line, pattern)), None)


def verb_of(words: list[str]) -> str | None:
    """The verb that a command runs, as a script or as ``cslm VERB``; None where it is none of ours."""
    if words[0] == "cslm":
        return words[1]
    script = next((word for word in words if word.endswith(".py")), None)
    name = Path(script).stem.replace("_", "-") if script else None
    return VERBS.get(name, name) if name is not None else None


def arguments_of(words: list[str]) -> list[str]:
    """What a command gives to its verb."""
    start = next(place for place, word in enumerate(words) if word.endswith(".py") or (place and words[0] == "cslm"))
    return [THERE.get(word, word) for word in words[start + 1 :]]


def run(words: list[str], *more: str) -> None:
    """Run a command in this process, with what makes it quick."""
    verb, arguments = verb_of(words), arguments_of(words)
    assert verb in cli.VERBS or verb in ("--help", "--version"), words
    if "--help" in words:
        try:
            return cli.dispatch([*([] if verb == "--help" else [verb]), *arguments])
        except SystemExit as left:
            assert left.code in (0, None)
            return None
    given = dict(itertools.pairwise(arguments))
    if given.get("--config") in OF_BASES:
        more = (*more, "--model.base", str(TEXT_LM.resolve()))
    if arguments[:1] == ["village"]:
        more = (*more, "--num_workers", "1")
    if verb == "push-to-hub" and "--dry_run" not in given:
        more = (*more, "--dry_run", "true")
    return cli.dispatch([verb, *arguments, *QUICK.get(verb, []), *more])


def run_until_it_speaks(words: list[str]) -> None:
    """After two steps a model writes anything: half of its replies end before they have any speech."""
    for seed in range(20):
        try:
            return run(words, "--seed", str(seed))
        except UserError as error:
            assert "no speech" in str(error) or "max_new_tokens" in str(error), error
    raise AssertionError("20 replies without any speech")


def walk(page: str, before: Mapping[str, Callable[[], None]] | None = None) -> int:
    """Run the commands of a page in their order, and return how many were run.

    A training run whose page names no output of its own writes into one for this page.
    """
    done = 0
    for command in commands(page):
        if why_not(command):
            continue
        verb = verb_of(command.words)
        (before or {}).get(str(verb), lambda: None)()
        if verb == "respond":
            run_until_it_speaks(command.words)
        elif verb in ("pretrain", "finetune", "train-decoder") and "--output" not in command.words:
            run(command.words, "--output", f"{verb}_{Path(page).stem}")
        else:
            run(command.words)
        done += 1
    return done


def write_dialogues(corpus: Path) -> None:
    """Every utterance answered by the next."""
    rows = [json.loads(line) for line in (corpus / "manifest.jsonl").read_text("utf-8").splitlines()]
    dialogues = [
        {"id": question["id"], "direction": "zh-zh", "question": question["id"], "answer": answer["id"]}
        | {"question_language": "zh", "question_text": question["text"]}
        | {"answer_language": "zh", "answer_text": answer["text"]}
        for question, answer in itertools.pairwise(rows)
    ]
    lines = "".join(json.dumps(dialogue, ensure_ascii=False) + "\n" for dialogue in dialogues)
    (corpus / "dialogues.jsonl").write_text(lines, encoding="utf-8")
