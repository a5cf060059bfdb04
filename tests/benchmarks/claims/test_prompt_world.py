"""The world of the speech prompt, tiny, from nothing to the figures: each claim's stages run one behind the other."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml
from transformers import AutoTokenizer

from cslm.benchmarks.claims import cascade, mtbi, prompt_documents, worlds
from cslm.benchmarks.claims.figures import Rows
from cslm.benchmarks.claims.lad import BANK_CLAIM, distance_rows, gate_rows
from cslm.benchmarks.claims.lad_figures import DISTANCE, HEARD_VOICES, SWITCHED, TABLE, UNHEARD_VOICES, bank_figures
from cslm.benchmarks.claims.mtbi import CASCADE_CLAIM, INTERLEAVING, LESS_DATA
from cslm.benchmarks.claims.mtbi_figures import cascade_figures
from cslm.benchmarks.claims.prompt_documents import spoken_tasks
from cslm.benchmarks.claims.prompt_world import LANGUAGES, make_parts
from cslm.benchmarks.claims.stages import Stages
from cslm.benchmarks.claims.worlds import settings_file
from cslm.benchmarks.claims.xs_cot_prompt import CHAIN
from cslm.cli import dispatch
from cslm.corpora.manifest import read_manifest
from cslm.files.json_lines import read_json_lines
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.task_pool import Prompt
from cslm.units.sample_store import TARGETS, SampleStore

SMALL = """
    num_people: 5
    num_core_people: 2
    num_core_test_people: 1
    attributes: [pet, food]
    num_values: 3
    num_clause_sentences: 30
    num_question_voice_sentences: 2
    num_short_sentences: 4
    num_text_sentences: 2
    num_instructions: 8
    num_translations: 4
    num_asr_test: 2
    num_unheard_test: 2
    num_tts_test: 16
    num_free_dialogues_per_direction: 2
    num_translated_statements: 6
    num_core_test: 1
    num_dialogue_test: 1
    num_stories_per_person: 1
"""
SMALL_WHISPER = """
    {width: 16, encoder_layers: 1, decoder_layers: 1, heads: 2, inner: 16, window_sec: 6, positions: 96,
     vocab_size: 400}
"""
SMALL_LLM = """
    {model_type: qwen3, hidden_size: 16, intermediate_size: 16, num_hidden_layers: 1, num_attention_heads: 2,
     num_key_value_heads: 2, head_dim: 8, max_position_embeddings: 512, tie_word_embeddings: false}
"""
TWO_STEPS = {"max_steps": 2, "log_every": 1, "device": {"zero_stage": 0, "num_threads": 1}}
AT_ONCE = {**TWO_STEPS, "schedule": {"warmup_steps": 0}}
THREE_TOKENS = {"scores": {"spoken_questions": {"decoding": {"max_new_tokens": 3}}}, "max_items": 1}
TINY = {
    "village": yaml.safe_load(SMALL),
    "recognizer": {
        "recognizer": {"whisper": yaml.safe_load(SMALL_WHISPER)},
        "training": {**TWO_STEPS, "tokens_per_step": 1000, "tokens_per_micro_batch": 1000},
    },
    "text_lm": {
        "model": {"architecture": yaml.safe_load(SMALL_LLM)},
        "training": {**TWO_STEPS, "tokens_per_step": 600},
    },
    "lad": {"training": AT_ONCE, "validation": {"eval_steps": 1, "share": 0.2, "max_documents": 3}},
    "mtbi": {"training": {**TWO_STEPS, "tokens_per_step": 400}, "validation": None},
    "chain_lm": {
        "model": {"architecture": yaml.safe_load(SMALL_LLM)},
        "training": {**TWO_STEPS, "tokens_per_step": 600},
    },
    "chain": {"training": {**TWO_STEPS, "tokens_per_step": 600}},
    "targets": {"prompts": 1, "max_new_tokens": 3},
    "grid_targets": {"max_new_tokens": 3},
    "curve": {"max_items": 1},
    "lad_score": THREE_TOKENS,
    "chain_score": THREE_TOKENS,
}
"""what is smaller than in the recipe, by the file that says it"""


class HereStages(Stages):
    """Runs each stage once, in this process."""

    def run(self, name, verb, arguments, settings=()):
        """Mark it by a file."""
        mark = self.folder / f"{name}.done"
        if not mark.exists():
            with contextlib.chdir(self.folder):
                dispatch([verb, *arguments])
            mark.touch()


def smaller(values, by):
    """``values`` with those of ``by`` in their place, at any depth."""
    for key, value in by.items():
        values[key] = smaller(dict(values.get(key) or {}), value) if isinstance(value, dict) else value
    return values


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Encoder, language model and frames of seed 100, and the settings of a tiny world."""
    pytest.importorskip("espeakng_loader", reason="the extra tts is not installed")
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "seed100").mkdir()
    (folder / "settings").mkdir()
    real = settings_file("prompt", "village").parent
    for path in real.glob("*.yaml"):
        shutil.copy(path, folder / "settings")
    for name, by in TINY.items():
        values = smaller(yaml.safe_load((real / f"{name}.yaml").read_text("utf-8")), by)
        (folder / "settings" / f"{name}.yaml").write_text(yaml.safe_dump(values, allow_unicode=True), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worlds, "find_shipped", lambda name: folder / "settings" / Path(name).name)
        patch.setattr(prompt_documents, "NUM_TASK_DOCUMENTS", 60)
        patch.setattr(cascade, "NUM_TIMED", 2)
        stages = HereStages(folder / "seed100")
        make_parts(stages, 100)
        yield stages


def measured(claim, stages, arms):
    return Rows(claim.measure(stages, 100, arms))


def test_lad_from_recordings_to_its_figures(made):
    rows = measured(BANK_CLAIM, made, ("static", "static_large", "bank", "text only", "cascade"))
    names = {figure.name for figure in bank_figures(rows)}
    assert {"all languages: bank against static, relative", "cascade, accuracy ja", "bank, accuracy"} <= names
    told = list(gate_rows(made, 100, "bank"))
    heard = Counter(row.metric for row in told if row.item != TABLE)
    assert heard == {HEARD_VOICES: 2 * 5 + 5, UNHEARD_VOICES: 2 * 5}, "asr_test and dialogue_test, five languages"
    table = {row.metric: row.value for row in told if row.item == TABLE}
    assert sum(table[f"es heard as {code}"] for code in LANGUAGES) == pytest.approx(1) and SWITCHED in table
    distances = list(distance_rows(made, 100, "bank"))
    assert {row.metric for row in distances} == {DISTANCE} and min(row.value for row in distances) > 0
    ids = {it.id for it in read_manifest(made.folder / "corpus" / "asr_test.jsonl")}
    assert {row.cluster for row in distances} < ids, "those with long transcripts are in no arm"


def test_mtbi_from_recordings_to_its_figures(made):
    rows = measured(CASCADE_CLAIM, made, CASCADE_CLAIM.arms)
    assert {"unseen tasks: many tasks - cascade", "time of an answer, of the cascade's"} <= {
        figure.name for figure in cascade_figures(rows)
    }
    corpus = made.folder / "corpus"
    test = {it.id for it in read_manifest(corpus / "statements_test.jsonl")}
    trained = {it.text for it in read_manifest(corpus / "statements.jsonl")}
    references = [row for _, row in read_json_lines(corpus / "references.jsonl")]
    assert trained and {row["id"] for row in references} == test
    assert set(Counter(row["id"] for row in references).values()) == {10 + 2 * 4}, "two tasks lead into four languages"
    tested = {it.text for it in read_manifest(corpus / "statements_test.jsonl")}
    assert not trained & tested
    told = [row["messages"] for _, row in read_json_lines(corpus / "tasks.jsonl")]
    assert not [one for messages in told for one in messages if one["content"] in tested]
    assert measured(LESS_DATA, made, ("answers",)).has("accuracy unseen_both", "answers")
    imitated, true = (SampleStore.open(made.folder / name, TARGETS) for name in ("targets_tasks", "targets_true"))
    assert len(imitated) == len(true) > 0
    asked = [(row["id"], row["before"], row["after"], row["wording"]) for row in map(true.row, range(len(true)))]
    assert asked == [
        (row["id"], row["before"], row["after"], row["wording"]) for row in map(imitated.row, range(len(true)))
    ]
    tasks = spoken_tasks(*(settings_file("prompt", name) for name in ("village", "tasks")), 100)
    form = SequenceFormat(AutoTokenizer.from_pretrained(made.folder / "text_lm"))
    for row in map(true.row, range(len(true))):
        prompt = Prompt(row["task"], row["wording"], row["target_language"])
        assert row["answer"] == tasks.answer(tasks.read(row["text"], row["language"]), row["language"], prompt)
        assert form.encoder.decode(row["target"].tolist()) == row["answer"] and not row["truncated"]


def test_a_run_that_stops_to_be_scored_goes_on_to_its_end(made, monkeypatch):
    monkeypatch.setattr(mtbi, "STEPS", (1, 2))
    rows = measured(INTERLEAVING, made, ("interleaved_constant",)).of("right answers", "interleaved_constant")
    assert [row.item for row in rows] == ["000001/curve", "000002/curve"]
    assert json.loads((made.folder / "interleaved_constant" / "finished.json").read_text())["steps"] == 2


def test_xs_cot_from_recordings_to_its_figures(made):
    pytest.importorskip("budoux", reason="the extra phrases is not installed")
    rows = measured(CHAIN, made, ("compressed", "transcript_then_answer", "english text"))
    for arm in ("compressed", "transcript_then_answer", "english text"):
        assert rows.has("accuracy fr", arm) and rows.has("accuracy zh", arm), arm
