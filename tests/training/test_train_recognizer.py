"""A recognizer from nothing: its loss falls, its folder is a plain one, an encoder and a Q-Former start from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCTC, AutoProcessor, WhisperForConditionalGeneration, WhisperProcessor

from cslm.audio.waveform import load_waveform
from cslm.encoders.encoder_config import EncoderConfig, HearingConfig, LongAudioConfig, WhisperEncoderConfig
from cslm.encoders.encoders import open_hearing
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError
from cslm.model.speech_prompt.connector import Between
from cslm.model.speech_prompt.connector_config import ConnectorConfig
from cslm.model.speech_prompt.connectors import build_connector
from cslm.model.speech_prompt.query_bank_config import QueryBankConfig
from cslm.synthesis.asr_listener import AsrListener
from cslm.synthesis.listener_config import AsrListenerConfig
from cslm.training import train_recognizer
from tests.worlds.flat_training import grouped
from tests.worlds.heard_world import write_heard_world
from tests.worlds.tiny_world import write_config

SIZES = {
    "whisper": {"width": 16, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "inner": 32, "window_sec": 2,
                "positions": 48, "vocab_size": 280},
    "ctc": {"width": 32, "layers": 1, "heads": 2, "inner": 32, "window_sec": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_heard_world(tmp_path_factory.mktemp("world"))


def run(root: Path, output: str, family: str = "whisper", sizes: dict | None = None, **training: object) -> Path:
    settings = {"max_steps": 16, "tokens_per_step": 800, "tokens_per_micro_batch": 400, "learning_rate": 0.02,
                "log_every": 1, "num_threads": 1}  # fmt: skip
    recognizer = {family: SIZES[family] | (sizes or {})}
    config = {"data_root": str(root), "output": output, "manifests": ["manifest.jsonl"], "recognizer": recognizer}
    config |= {"training": grouped(**settings | training)}
    train_recognizer.main(["--config", str(write_config(root / f"{output}.yaml", config))])
    return root / output


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def falls(values: list[float]) -> float:
    """How much of the loss of the first four steps is left in the last four."""
    return sum(values[-4:]) / sum(values[:4])


def test_a_whisper_from_nothing_is_a_whisper(root, capsys):
    folder = run(root, "whisper")
    assert falls(losses(folder)) < 0.8
    model, report = WhisperForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and model.config.max_source_positions == 100
    processor = WhisperProcessor.from_pretrained(folder)
    assert processor.tokenizer.decode(processor.tokenizer("Anna mag Brot").input_ids, skip_special_tokens=True)
    listener = AsrListener(AsrListenerConfig(str(folder), device="cpu"))
    clip = load_waveform(str(root / "audio/00.wav"))
    assert isinstance(listener.hear([clip], "de")[0], str)
    whisper = EncoderConfig(whisper=WhisperEncoderConfig(str(folder), whole_window=True))
    hearing = open_hearing(HearingConfig(whisper, LongAudioConfig(most_sec=2.0)), Runtime())
    assert dict(hearing([clip[0]]))[0].shape[1] == 16
    bank = build_connector(ConnectorConfig(query_bank=QueryBankConfig(8, str(folder))), Between(16, 24)).eval()
    positions = model.model.decoder.embed_positions.weight[:8]
    assert torch.equal(bank.qformer.positions, positions)
    assert "a recognizer (whisper) of de, en" in capsys.readouterr().out


def test_a_ctc_from_nothing_is_a_ctc(root):
    folder = run(root, "ctc", "ctc")
    assert falls(losses(folder)) < 0.9
    _, report = AutoModelForCTC.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert "a" in AutoProcessor.from_pretrained(folder).tokenizer.get_vocab()


def test_a_run_that_stopped_goes_on_as_if_it_had_not(root):
    whole = run(root, "whole", max_tokens=3200, max_steps=4)
    run(root, "stopped", max_tokens=3200, max_steps=2)
    assert losses(run(root, "stopped", max_tokens=3200, max_steps=4)) == losses(whole)


def test_what_is_left_out_is_counted_and_no_family_is_an_error(root, capsys):
    run(root, "short", sizes={"window_sec": 1}, max_steps=1)
    assert "left out, longer than recognizer.whisper.window_sec (1 s): 2 (u6, ...)" in capsys.readouterr().out
    config = {"output": "x", "manifests": ["manifest.jsonl"], "data_root": str(root)}
    path = write_config(root / "x.yaml", config | {"training": grouped(max_steps=1)})
    with pytest.raises(UserError, match="recognizer: none is given"):
        train_recognizer.main(["--config", str(path)])
