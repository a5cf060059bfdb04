"""The table of a gate: true languages by what is heard, by length, of an unseen language, of switched speech."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cslm.corpora.manifest import Utterance, read_manifest, write_manifest
from cslm.encoders.encoder_config import EncoderConfig, WhisperEncoderConfig
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError
from cslm.evaluation.gate_report import _report, _Spoken, main
from cslm.model.speech_prompt.connector_config import ConnectorConfig, StackedConfig
from cslm.model.speech_prompt.prompt_checkpoint import save_prompt
from cslm.model.speech_prompt.prompt_parts import open_parts
from cslm.model.speech_prompt.prompt_settings import PromptSettings
from cslm.model.speech_prompt.query_bank_config import GateConfig, QFormerShapeConfig, QueryBankConfig
from cslm.model.speech_prompt.speech_prompt import trained_names
from tests.worlds.asr_models import write_whisper
from tests.worlds.heard_world import write_heard_world
from tests.worlds.tiny_llm import make_llm

SHAPE = QFormerShapeConfig(width=16, layers=1, heads=2, inner=16, positions=8)
BANK = QueryBankConfig(4, shape=SHAPE, gate=GateConfig(width=8))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = write_heard_world(tmp_path_factory.mktemp("world"))
    write_whisper(root / "whisper")
    make_llm(root / "llm")
    for name, connector in (("lad", {"query_bank": BANK}), ("plain", {"stacked": StackedConfig()})):
        encoder = EncoderConfig(whisper=WhisperEncoderConfig(str(root / "whisper")))
        settings = PromptSettings(encoder, ConnectorConfig(**connector), languages=["de", "en"], llm=str(root / "llm"))
        parts = open_parts(settings, str(root / "llm"), Runtime())
        state = parts.prompt.state_dict()
        weights = {key: state[key] for key in trained_names(parts.prompt)}
        save_prompt(settings, parts.tokenizer, parts.hashes, weights, root / name)
    others = [Utterance(f"x{it.id}", it.audio, it.text, "fr") for it in read_manifest(root / "manifest.jsonl")]
    write_manifest(others[:3], root / "unseen.jsonl")
    return root


def test_a_report_of_a_checkpoint(world, capsys):
    manifests = json.dumps([str(world / "manifest.jsonl"), str(world / "unseen.jsonl")])
    options = ["--manifests", manifests, "--output", str(world / "gate.json"), "--switched", "4", "--device", "cpu"]
    main([str(world / "lad"), *options])
    report = json.loads((world / "gate.json").read_text())
    assert json.loads(capsys.readouterr().out) == report
    rows = {name: sum(row.values()) for name, row in report["confusion"].items()}
    assert (rows["en"], rows["de"], rows["fr"]) == (10, 4, 3) and report["n"] == 14
    assert sum(count for name, count in rows.items() if "+" in name) == 4 == report["switched"]["n"]
    assert sum(row["n"] for row in report["by_length"].values()) == 14
    right = report["confusion"]["en"]["en"] + report["confusion"]["de"]["de"]
    assert report["accuracy"] == round(right / 14, 5)
    with pytest.raises(UserError, match="has no gate that hears"):
        main([str(world / "plain"), *options])


def test_a_report_on_nothing_was_written(world):
    (world / "empty.jsonl").write_text("")
    for manifests in ([str(world / "empty.jsonl")], []):
        with pytest.raises(UserError, match="there is no recording that can be read in"):
            main([str(world / "lad"), "--manifests", json.dumps(manifests), "--output", str(world / "nothing.json")])
    assert not (world / "nothing.json").exists()


def test_one_recording_that_cannot_be_read_ended_the_report(world, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"no audio at all")
    write_manifest([Utterance("broken", "broken.wav", "anna", "de")], tmp_path / "manifest.jsonl")
    manifests = json.dumps([str(world / "manifest.jsonl"), str(tmp_path / "manifest.jsonl")])
    main([str(world / "lad"), "--manifests", manifests, "--output", str(tmp_path / "gate.json"), "--device", "cpu"])
    report = json.loads((tmp_path / "gate.json").read_text())
    assert report["n"] == 14 and [row["id"] for row in report["rejected"]] == ["broken"]


def test_switched_speech_of_two_unknown_languages_counted_as_wrong(world):
    others = [Utterance(f"y{it.id}", it.audio, it.text, "ja") for it in read_manifest(world / "manifest.jsonl")]
    write_manifest(others[:3], world / "japanese.jsonl")
    given = ["--output", str(world / "gate.json"), "--switched", "40", "--device", "cpu"]
    unknown = [str(world / name) for name in ("unseen.jsonl", "japanese.jsonl")]
    main([str(world / "lad"), "--manifests", json.dumps([str(world / "manifest.jsonl"), *unknown]), *given])
    pairs = {name for name in json.loads((world / "gate.json").read_text())["confusion"] if "+" in name}
    assert pairs and not pairs & {"fr+ja", "ja+fr"}
    with pytest.raises(UserError, match="no two languages of which the gate knows one"):
        main([str(world / "lad"), "--manifests", json.dumps(unknown), *given])


def test_the_table_by_hand():
    spoken = [_Spoken(np.zeros(int(sec * 10)), language) for sec, language in
              ((0.5, "en"), (1.0, "en"), (3.0, "de"), (9.0, "de"), (2.0, "fr"), (2.0, "de+en"))]  # fmt: skip
    report = _report(spoken, ["en", "de", "de", "de", "en", "de"], ["de", "en"], 10, (1.0, 2.0))
    assert report["accuracy"] == 0.75 and report["switched"]["one_of_both"] == 1
    assert report["confusion"]["fr"] == {"de": 0, "en": 1} and report["confusion"]["en"] == {"de": 1, "en": 1}
    assert report["by_length"]["1 to 2 s"]["confusion"] == {"en": {"de": 1, "en": 0}}
    assert report["by_length"]["2 s and more"]["confusion"] == {"de": {"de": 2, "en": 0}}, "and not of unseen languages"
    found = {name: (row["accuracy"], row["n"]) for name, row in report["by_length"].items()}
    assert found == {"below 1 s": (1, 1), "1 to 2 s": (0, 1), "2 s and more": (1, 2)}
