"""What an encoder makes of recordings, kept once: training from it is training with the encoder."""

from __future__ import annotations

import dataclasses
import json
from contextlib import nullcontext

import numpy as np
import pytest

from cslm.audio.waveform import load_waveform, save_waveform
from cslm.batches.packed_row import packed_row
from cslm.batches.sources import SourceConfig, open_sources
from cslm.cli import dispatch
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError
from cslm.model.speech_prompt.prompt_checkpoint import open_prompt
from cslm.sequences.sequence_format import SequenceFormat
from cslm.units.sample_store import FRAMES, SampleStore
from tests.worlds.asr_models import write_whisper
from tests.worlds.heard_world import NUM_RECORDINGS, write_heard_world
from tests.worlds.tiny_prompt import make_prompt

SETTINGS = ["--long_audio.most_sec", "2", "--dtype", "float32", "--utterances_per_shard", "5"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = write_heard_world(tmp_path_factory.mktemp("frames"), broken=True)
    make_prompt(root)
    make(root, "whisper", "frames")
    return root


def make(root, encoder, output):
    model = ["--encoder.whisper.model", str(root / encoder)]
    dispatch(["make-frames", str(root / "manifest.jsonl"), *model, "--output", str(root / output), *SETTINGS])


def test_a_store_holds_what_the_encoder_makes_of_each_recording(root):
    store = SampleStore.open(root / "frames", FRAMES)
    assert len(store) == NUM_RECORDINGS - 1 and store.header.num_rejected == 1
    assert json.loads((root / "frames/rejected.jsonl").read_text())["id"] == "u13"
    parts, _ = open_prompt(root / "prompt", Runtime())
    documents = []
    for frames in (None, str(root / "frames")):
        config = SourceConfig("audio_asr", 1, manifest=str(root / "manifest.jsonl"), frames=frames)
        form = SequenceFormat(parts.tokenizer).hearing_by(parts.hearing)
        source = open_sources({"a": config}, form)["a"]
        documents.append([source.sequence(index, index) for index in (1, 4, 6)])
    groups = {f"audio_asr/{kind}/en": 0 for kind in ("text", "template")}
    heard, kept = (packed_row(some, groups) for some in documents)
    assert (heard.input_ids == kept.input_ids).all() and kept.clips.values.dim() == 3
    expected, found = (parts.prompt.frames(row.clips) for row in (heard, kept))
    assert expected.lengths.tolist() == found.lengths.tolist()
    for row, length in enumerate(found.lengths.tolist()):
        difference = (expected.values[row, :length] - found.values[row, :length]).abs().max()
        assert difference <= 1e-5 * expected.values[row, :length].abs().max()


def test_frames_of_another_encoder_are_refused(root):
    write_whisper(root / "other", seed=5)
    make(root, "other", "of_other")
    parts, _ = open_prompt(root / "prompt", Runtime())
    form = SequenceFormat(parts.tokenizer).hearing_by(parts.hearing)
    config = SourceConfig("audio_asr", 1, manifest=str(root / "manifest.jsonl"), frames=str(root / "of_other"))
    with pytest.raises(UserError, match="of_other was made with another encoder"):
        open_sources({"a": config}, form)
    both = {
        "a": SourceConfig("audio_asr", 1, manifest="m", frames="f"),
        "b": SourceConfig("audio_asr", 1, manifest="m"),
    }
    with pytest.raises(UserError, match="the source b has no frames, and others have"):
        open_sources(both, form)


def test_frames_of_another_recording_of_the_same_name_were_learnt_from(root, tmp_path):
    lines = [json.loads(line) for line in (root / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        line["audio"] = str(root / lines[1 if line["id"] == lines[2]["id"] else 2]["audio"])
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(it) + "\n" for it in lines[:3]), encoding="utf-8")
    parts, _ = open_prompt(root / "prompt", Runtime())
    form = SequenceFormat(parts.tokenizer).hearing_by(parts.hearing)
    config = SourceConfig("audio_asr", 1, manifest=str(tmp_path / "manifest.jsonl"), frames=str(root / "frames"))
    with pytest.raises(UserError, match=r"frames has heard another recording as u\d+ than .* names now"):
        open_sources({"a": config}, form)


def test_a_plan_took_a_length_that_was_rounded_for_another_recording(root, tmp_path):
    lines = [json.loads(line) for line in (root / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    waveform, rate_hz = load_waveform(str(root / lines[0]["audio"]))
    claimed = {"audio": str(root / lines[0]["audio"]), "duration_sec": (len(waveform) - 0.6) / rate_hz}
    (tmp_path / "manifest.jsonl").write_text(json.dumps({**lines[0], **claimed}) + "\n")
    parts, _ = open_prompt(root / "prompt", Runtime())
    hearing = dataclasses.replace(parts.hearing, decodes=False)
    config = SourceConfig("audio_asr", 1, manifest=str(tmp_path / "manifest.jsonl"), frames=str(root / "frames"))
    assert open_sources({"a": config}, SequenceFormat(parts.tokenizer).hearing_by(hearing))["a"].num_documents == 1


def test_frames_of_another_recording_of_the_same_length_were_learnt_from(root, tmp_path):
    lines = [json.loads(line) for line in (root / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    waveform, rate_hz = load_waveform(str(root / lines[0]["audio"]))
    save_waveform(tmp_path / "other.wav", waveform[::-1] * 0.9, rate_hz)
    parts, _ = open_prompt(root / "prompt", Runtime())
    form = SequenceFormat(parts.tokenizer).hearing_by(parts.hearing)
    for audio, is_same in ((root / lines[0]["audio"], True), (tmp_path / "other.wav", False)):
        (tmp_path / "manifest.jsonl").write_text(json.dumps({**lines[0], "audio": str(audio)}) + "\n")
        config = SourceConfig("audio_asr", 1, manifest=str(tmp_path / "manifest.jsonl"), frames=str(root / "frames"))
        refused = pytest.raises(UserError, match="another recording as u0 .*or of another loudness")
        with nullcontext() if is_same else refused:
            open_sources({"a": config}, form)


def test_the_same_recordings_are_the_same_bytes(root):
    make(root, "whisper", "again")
    for name in ("header.json", "rejected.jsonl"):
        assert (root / "again" / name).read_bytes() == (root / "frames" / name).read_bytes()
    shards = [sorted((root / folder).glob("*.parquet")) for folder in ("again", "frames")]
    assert [one.read_bytes() for one in shards[0]] == [one.read_bytes() for one in shards[1]] and len(shards[0]) == 3
    assert np.dtype(np.float32) == SampleStore.open(root / "frames", FRAMES).row(0)["frames"].dtype
