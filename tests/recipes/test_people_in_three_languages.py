"""Recordings of people who say the same things in three languages, through both methods by the commands of their pages.

Skipped unless ``CSLM_PROMPTS`` names a folder with ``{en,fr,ru}.tsv`` (id, text) and ``{en,fr,ru}/ID.wav``.
"""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from cslm import cli
from cslm.corpora.manifest import read_manifest
from cslm.model.checkpoint import save_checkpoint
from cslm.sequences.text_tokenizer import train_text_tokenizer
from cslm.synthesis.prepare_corpus import prepare_corpus
from tests.recipes.conftest import ROOT
from tests.worlds.architectures import architecture

LANGUAGES = ("en", "fr", "ru")
XLI, XS_COT = ROOT / "recipes" / "cross_lingual_interleaving", ROOT / "recipes" / "xs_cot"
TINY = ["--training.max_steps", "24", "--training.tokens_per_step", "512", "--training.tokens_per_micro_batch", "1500"]
TINY += ["--training.max_length", "256", "--training.device.num_threads", "1", "--training.device.precision", "fp32"]
TINY += ["--model.dtype", "float32", "--training.device.gradient_checkpointing", "false"]


@pytest.fixture(scope="module")
def prompts() -> dict[str, dict[str, str]]:
    """Text by id, by language."""
    folder = os.environ.get("CSLM_PROMPTS")
    if not folder:
        pytest.skip("CSLM_PROMPTS names no folder with {en,fr,ru}.tsv and their recordings")
    tables = {name: (Path(folder) / f"{name}.tsv").read_text("utf-8").splitlines()[1:] for name in LANGUAGES}
    return {name: dict(row.split("\t", 1) for row in rows) for name, rows in tables.items()}


@pytest.fixture(scope="module")
def data(prompts: dict[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest with groups and stories by one command, a card that is fitted on it, units; and a small text model."""
    data = tmp_path_factory.mktemp("people")
    tables = ", ".join(f"{name}: {os.environ['CSLM_PROMPTS']}/{name}.tsv" for name in LANGUAGES)
    stories = ["--tables", f"{{{tables}}}", "--sentences_per_document", "4", "--test_share", "0.2"]
    prepare_corpus("aligned", data / "stories", stories)
    train = str(data / "stories" / "story_train.jsonl")
    card = ["--output", str(data / "tokenizer" / "card.yaml")]
    cli.dispatch(["fit-tokenizer", train, "--codebook_size", "64", "--sample_hours", "0.05", *card])
    tokenize(data, train, "stories")
    texts = [text for told in prompts.values() for text in told.values()]
    tokenizer = train_text_tokenizer(texts, 700, data / "pieces")
    shape = architecture("qwen2", vocab_size=len(tokenizer), max_position_embeddings=4096, pad_token_id=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_checkpoint(AutoModelForCausalLM.from_config(shape), tokenizer, data / "base")
    return data


def tokenize(data: Path, manifest: str, store: str) -> None:
    """Units of a manifest; one process, for there are few."""
    card = ["--tokenizer", str(data / "tokenizer" / "card.yaml"), "--num_workers", "1"]
    cli.dispatch(["tokenize-corpus", manifest, *card, "--output", str(data / "units" / store)])


def records(path: Path) -> list[dict[str, Any]]:
    """The lines of a file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def ids(manifest: Path) -> set[str]:
    """Of its utterances."""
    return {one.id for one in read_manifest(manifest)}


def test_interleaved_from_recordings_to_pairs_across_languages(prompts, data, capsys):
    """Every recording is in the manifest, the store and a stage, or named; every pair has a score."""
    there = {f"{language}-{name}" for language, told in prompts.items() for name in told}
    parts = [ids(data / "stories" / f"story_{name}.jsonl") for name in ("train", "test")]
    assert parts[0] | parts[1] == ids(data / "stories" / "manifest.jsonl") == there and not parts[0] & parts[1]
    assert json.loads((data / "units" / "stories" / "header.json").read_text())["num_utterances"] == len(parts[0])
    capsys.readouterr()

    def train(stage: str, *more: str) -> str:
        cli.dispatch(["pretrain", "--config", str(XLI / f"{stage}.yaml"), "--data_root", str(data), *more, *TINY])
        return capsys.readouterr().out

    of_base = ["--model.base", "base", "--tokenizer_card", "tokenizer/card.yaml", "--model.merge_repeats", "true"]
    train("one_language", *of_base, "--sources.libriheavy.store", "units/stories")
    told = train("interleaved", "--sources.interleaved.languages", "[en, fr, ru]")
    train("alternating", "--sources.libriheavy.store", "units/stories")
    alone = [one.id for one in read_manifest(data / "stories" / "story_train.jsonl") if one.group is None]
    assert f"utterances left out, with neither a document nor a group: {len(alone)} ({alone[0]}" in told
    for stage, languages in (("one_language", {"en"}), ("interleaved", set(LANGUAGES)), ("alternating", {"en", "fr"})):
        assert json.loads((data / stage / "finished.json").read_text())["accounts"].keys() == languages

    made = str(data / "stories" / "story_test.jsonl")
    prepare_corpus("topic_pairs", data / "story_pairs", ["--manifests", f"[{made}]"])
    tokenize(data, str(data / "story_pairs" / "manifest.jsonl"), "story_pairs")
    score = ["--config", str(XLI / "score.yaml"), "--data_root", str(data), "--output", str(data / "xli" / "r.json")]
    cli.dispatch(["score", str(data / "alternating"), *score, "--scores.pairs.folders", "{}", "--max_items", "6"])
    scores = json.loads((data / "xli" / "r.json").read_text())["scores"]
    found = scores["pairs"]["stories"]["topic"]
    assert found.keys() == {f"{one}-{other}" for one in LANGUAGES for other in LANGUAGES}
    assert all(one["n"] == 6 and "left_out" not in one and 0 <= one["accuracy"] <= 1 for one in found.values())
    assert scores["alignment"]["stories"].keys() == {"en-fr", "en-ru", "fr-ru"}


def write_list(path: Path, language: str, prompts: dict[str, dict[str, str]]) -> None:
    """Each prompt that all languages have as a question whose answer is the next one, as four texts are published."""
    names = [name for name in prompts["en"] if all(name in told for told in prompts.values())]
    own, core = prompts[language], prompts["en"]
    rows = [
        [f"{asked}.wav", own[asked], core[asked], core[answer], own[answer]]
        for asked, answer in itertools.pairwise(names)
    ]
    header = ["audio", "question_text", "core_question", "core_answer", "answer_text"]
    path.write_text("".join("\t".join(row) + "\n" for row in [header, *rows]), "utf-8")


def test_chains_from_recordings_to_answers(prompts, data, capsys):
    """Every line of the lists is a chain, for training or for tests; three stages; every question has an answer."""
    for language in ("fr", "ru"):
        write_list(data / f"{language}.list", language, prompts)
        given = ["--list_file", str(data / f"{language}.list"), "--language", language, "--test_share", "0.1"]
        given += ["--audio", f"{os.environ['CSLM_PROMPTS']}/{language}"]
        prepare_corpus("four_texts", data / language, given)
        assert not (data / language / "rejected.jsonl").exists()
    kept = [records(data / language / "chains.jsonl") for language in ("fr", "ru")]
    assert [row["core_question"] for row in kept[0]] == [row["core_question"] for row in kept[1]]
    (data / "corpus").mkdir()
    lines = [(data / language / "chains.jsonl").read_text("utf-8") for language in ("fr", "ru")]
    (data / "corpus" / "chains.jsonl").write_text("".join(lines), "utf-8")
    manifests = [str(data / language / "manifest.jsonl") for language in ("fr", "ru")]
    card = ["--tokenizer", str(data / "tokenizer" / "card.yaml"), "--num_workers", "1"]
    cli.dispatch(["tokenize-corpus", *manifests, *card, "--output", str(data / "units" / "questions")])
    header = json.loads((data / "units" / "questions" / "header.json").read_text())
    assert header["num_utterances"] == sum(map(len, kept))

    def run(verb: str, stage: str, *more: str) -> str:
        cli.dispatch([verb, *more, "--config", str(XS_COT / f"{stage}.yaml"), "--data_root", str(data)])
        return capsys.readouterr().out

    longer = [*TINY, "--training.max_length", "1500"]
    run("pretrain", "asr", *longer, "--model.base", "base", "--sources.asr.store", "units/questions")
    shown = run("inspect", "compressed", "--model.base", "asr", "--progress", "1", "--count", "1")
    assert all(marker in shown for marker in ("[question]", "[translation]", "[thought]", "[answer]"))
    for stage in ("explicit", "compressed"):
        run("finetune", stage, *longer)
    for language in ("fr", "ru"):
        tests = [f"{language}/test.jsonl", "--scores.dialogue.dialogues", f"{language}/test_dialogues.jsonl"]
        output = ["--output", str(data / f"xs_cot_{language}" / "r.json"), "--max_items", "4"]
        quick = ["--scores.dialogue.decoding.max_new_tokens", "40", "--scores.dialogue.timed_items", "0"]
        run("score", "score", str(data / "compressed"), "--scores.dialogue.questions", *tests, *output, *quick)
        replies = records(data / f"xs_cot_{language}" / "replies.jsonl")
        assert len(replies) == 4 and {row["direction"] for row in replies} == {f"{language}-{language}"}
        scores = json.loads((data / f"xs_cot_{language}" / "r.json").read_text())["scores"]["dialogue"]
        assert scores[f"{language}-{language}"]["n"] == 4
