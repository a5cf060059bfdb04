"""The commands of docs/synthesis.md: those without models run, those with models are read with all their options."""

from __future__ import annotations

import importlib
import json
from typing import get_type_hints

import numpy as np
import pytest
import soundfile

pytest.importorskip("espeakng_loader", reason="the extra tts is not installed")

from cslm.configuration import parse_configuration
from cslm.synthesis.prepare_corpus import CORPORA, main
from cslm.synthesis.stories import StoriesConfig
from cslm.synthesis.synthesizers import SYNTHESIZERS
from cslm.synthesis.translators import TRANSLATORS
from tests.docs.pages import commands, text_of

PAGE = "docs/synthesis.md"
CLOZE = (
    "InputStoryid,InputSentence1,InputSentence2,InputSentence3,InputSentence4,"
    "RandomFifthSentenceQuiz1,RandomFifthSentenceQuiz2,AnswerRightEnding\n"
    "1,Tom woke.,Tom ran.,Tom fell.,Tom rose.,Tom won.,Tom lost.,1\n"
    "2,Mia woke.,Mia ran.,Mia fell.,Mia rose.,Mia lost.,Mia won.,2\n"
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with prompts of two languages, and StoryCloze with translations."""
    monkeypatch.chdir(tmp_path)
    for language in ("en", "fr"):
        (tmp_path / "prompts" / language).mkdir(parents=True)
        for name in "abcd":
            soundfile.write(tmp_path / "prompts" / language / f"{name}.wav", np.ones(800) * 0.1, 8000)
        rows = "".join(f"{name}\t{language} {name}\n" for name in "abcd")
        (tmp_path / "prompts" / f"{language}.tsv").write_text(f"id\ttext\n{rows}")
    (tmp_path / "cloze.csv").write_text(CLOZE)
    words = {"woke": "se leva", "ran": "courut", "fell": "tomba", "rose": "se releva", "won": "gagna", "lost": "perdit"}
    pairs = "".join(f"{who} {one}.\t{who} {other}.\n" for who in ("Tom", "Mia") for one, other in words.items())
    (tmp_path / "cloze.tsv").write_text(f"en\tfr\n{pairs}")
    return tmp_path


def typed(words):
    """What a command of the page does."""
    if words[0] == "printf":
        text = words[1].replace("\\n", "\n").replace("\\t", "\t")
        with open(words[3], "a" if words[2] == ">>" else "w", encoding="utf-8") as file:
            file.write(text)
    else:
        assert words[:2] == ["cslm", "prepare-corpus"], words
        main(words[2:])


def test_the_commands_of_the_page_run(place):
    made = []
    for command in commands(PAGE):
        if "http://localhost" in command.line:  # needs models
            config = parse_configuration(StoriesConfig, command.words[4:], "stories")
            assert config.speakers.threshold == 0.9 and config.synthesizer.endpoint.voices == ["anna", "bert", "carl"]
            continue
        typed(command.words)
        made += command.words[3:4] if command.words[0] == "cslm" else []
    assert made == ["TALES", "ALIGNED", "PAIRS", "CLOZE"]
    assert (place / "PAIRS/slamkit/topic-en-fr/1_incorrect.wav").is_file()
    kinds = {json.loads(line)["kind"] for line in (place / "CLOZE/story_pairs.jsonl").read_text().splitlines()}
    assert kinds == {"topic", "cloze"}


def test_the_page_names_every_translator_synthesizer_and_corpus():
    page = text_of(PAGE)
    assert [name for name in TRANSLATORS if f"`translator.{name}`" not in page] == []
    assert [name for name in SYNTHESIZERS if f"`synthesizer.{name}`" not in page] == []
    for name in ("stories", "aligned", "story_pairs", "topic_pairs"):
        module, _, function = CORPORA[name].partition(":")
        assert f"`cslm prepare-corpus {name}`" in page
        assert get_type_hints(getattr(importlib.import_module(module), function))["config"]
