"""The Python of the pages runs; what the page on adding adds is added, and used."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cslm.batches.sources import SourceConfig, open_sources
from cslm.corpora.manifest import read_manifest
from cslm.evaluation.scores import SCORES, config_class, score_tables
from cslm.generation import modeling
from cslm.generation.decoding import DecodingConfig
from cslm.sequences.chains import CHAINS
from cslm.sequences.prompts import prompt_for
from cslm.sequences.tasks import TASKS
from cslm.synthesis.prepare_corpus import CORPORA, prepare_corpus
from tests.docs.pages import PAGES, blocks, own_test
from tests.worlds.small_corpus import glide
from tests.worlds.small_world import write_lines

ADDING = "docs/adding.md"
WITH_PYTHON = [page for page in PAGES if blocks(page, "python") and page != ADDING and not own_test(page)]


@pytest.fixture
def checkpoint_at_hand(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny checkpoint as ``runs/village/finetune``, a question, and replies of a few tokens."""
    from cslm.audio.waveform import save_waveform

    shutil.copytree(checkpoint, tmp_path / "runs" / "village" / "finetune")
    save_waveform(tmp_path / "question.wav", glide(1, 1.0), 16000)
    monkeypatch.chdir(tmp_path)
    short = lambda **given: DecodingConfig(**{**given, "max_new_tokens": 40})  # noqa: E731
    monkeypatch.setattr(modeling, "DecodingConfig", short)
    monkeypatch.setattr("cslm.generation.speech_tasks.DecodingConfig", short)


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_the_python_of_a_page_runs(page, checkpoint_at_hand):
    for code in blocks(page, "python"):
        scope: dict[str, object] = {}
        exec(code, scope)
        assert scope["model"].config.vocab_size > 0
        assert "reply" not in scope or scope["reply"].answer_language == "zh"


def added(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """The block of the page that defines ``name``, as a module."""
    (code,) = [block for block in blocks(ADDING, "python") if re.search(rf"\b{name}\b", block)]
    module = f"of_the_page_{name.lower()}"
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, module, raising=False)
    return importlib.import_module(module)


def test_the_corpus_of_the_page_is_prepared(tmp_path, monkeypatch):
    module = added("prepare_pairs", tmp_path, monkeypatch)
    monkeypatch.setitem(CORPORA, "pairs", f"{module.__name__}:prepare_pairs")
    (tmp_path / "audio").mkdir()
    for name in ("a", "b"):
        (tmp_path / "audio" / f"{name}.txt").write_text(f"this is {name}\n")
    options = ["--audio_dir", str(tmp_path / "audio"), "--language", "en"]
    assert prepare_corpus("pairs", tmp_path / "corpus", options)
    found = list(read_manifest(tmp_path / "corpus" / "manifest.jsonl"))
    assert [(one.id, one.text, one.language) for one in found] == [("a", "this is a", "en"), ("b", "this is b", "en")]
    assert Path(found[0].audio).name == "a.wav"


def test_the_task_of_the_page_is_trained_and_asked_for(tmp_path, monkeypatch, form):
    monkeypatch.setitem(TASKS, "one_word", None)
    added("write_one_word", tmp_path, monkeypatch)
    lines = [{"language": "en", "text": "anna is a baker", "word": "baker"}]
    config = SourceConfig("one_word", 1, documents=write_lines(tmp_path / "words.jsonl", lines))
    document = open_sources({"words": config}, form)["words"].sequence(0, 0)
    learnt = form.encoder.surface([int(id_) for id_ in document.ids[document.trained]])
    assert "baker" in learnt and "anna" not in learnt
    prompt = prompt_for(form, "one_word", language="en", text="anna is a baker")
    assert document.ids[: len(prompt)].tolist() == prompt.tolist()


def test_the_chain_of_the_page_is_one(tmp_path, monkeypatch):
    monkeypatch.setitem(CHAINS, "four_parts", None)
    added("CHAINS", tmp_path, monkeypatch)
    chain = CHAINS["four_parts"]
    assert chain.markers == ("[question]", "[translation]", "[thought]", "[answer]") and chain.speaks
    assert chain.core_languages == ("en",)
    assert chain.fields == ("question_text", "question_text_en", "answer_text_en", "answer_text")


def test_the_score_of_the_page_is_configured_computed_and_shown(tmp_path, monkeypatch):
    module = added("LettersScore", tmp_path, monkeypatch)
    monkeypatch.setitem(SCORES, "letters", f"{module.__name__}:LettersScore")
    assert config_class(["letters"]).__dataclass_fields__["scores"].type.__name__ == "Scores"
    score = module.LettersScore("test.jsonl")
    assert score.files() == ["test.jsonl"]
    texts = {"en": [(SimpleNamespace(text="four"), None), (SimpleNamespace(text="seven"), None)]}
    found = score.compute(SimpleNamespace(by_language=lambda name: texts)).results
    assert json.loads(json.dumps(found)) == {"en": {"n": 9}}
    (table,) = score_tables({"scores": {"letters": found}})
    assert table.heading == "Letters" and ">9<" in table.html
