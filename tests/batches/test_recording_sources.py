"""Sources that read recordings: places by their true lengths, and nothing that is left out in silence."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from cslm.batches.document_index import IndexFolder
from cslm.batches.packed_row import packed_row
from cslm.batches.parts import Part
from cslm.batches.sources import SourceConfig, open_sources
from cslm.errors import UserError
from cslm.sequences.sequence_format import SequenceFormat
from tests.worlds.heard_world import NUM_RECORDINGS, PLACEHOLDER_ID, hearing, write_heard_world
from tests.worlds.small_corpus import glide
from tests.worlds.small_village import small_tokenizer


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_heard_world(tmp_path_factory.mktemp("heard"))


@pytest.fixture(scope="module")
def form(tmp_path_factory) -> SequenceFormat:
    return SequenceFormat(small_tokenizer(tmp_path_factory.mktemp("tokenizer"))).hearing_by(hearing())


def configs(root: Path) -> dict[str, SourceConfig]:
    manifest, documents = str(root / "manifest.jsonl"), str(root / "dialogues.jsonl")
    return {
        "asr": SourceConfig("audio_asr", 1, manifest=manifest),
        "dialogue": SourceConfig("audio_dialogue", 1, manifest=manifest, documents=documents),
    }


def one(config: SourceConfig, form: SequenceFormat, **settings):
    return open_sources({"a": config}, form, **settings)["a"]


def test_a_recording_keeps_as_many_places_as_its_samples_take(root, form):
    source = one(configs(root)["asr"], form)
    assert source.num_documents == NUM_RECORDINGS and source.languages == ["de", "en"]
    document = source.sequence(1, 0)
    (clip,) = document.clips
    waveform = clip.clip.read()
    assert len(waveform) == len(glide(1, 0.43)) and waveform.dtype == np.float32
    assert clip.stop - clip.start == form.hearing.num_places(len(waveform)) == 6
    assert document.ids[clip.start : clip.stop].tolist() == [PLACEHOLDER_ID] * 6
    said = [(span.modality, text) for span, text in form.span_texts(document) if span.modality == "text"]
    assert said[0][1].endswith("\n") and said[-1][1]
    assert [span.trained for span in document.spans if span.modality == "audio"] == [False]


def test_an_instruction_stands_before_a_recording_where_there_is_one(root, form):
    source = one(configs(root)["dialogue"], form)
    without, asked = (form.span_texts(source.sequence(index, 0)) for index in (0, 1))
    assert ("text", "Answer briefly.\n") in [(span.modality, text) for span, text in asked]
    before = [text for span, text in without if span.role == "user" and span.modality == "text"]
    assert before == []


def test_a_chain_with_labels_is_written_before_the_answer(root, form):
    config = dataclasses.replace(configs(root)["dialogue"], order="xs_cot_labels")
    text = "".join(text for span, text in form.span_texts(one(config, form).sequence(0, 0)) if span.modality == "text")
    assert text.startswith("Question: ") and "\nTranslation: " in text and "\nAnswer: " in text
    with pytest.raises(UserError, match="the order xs_cot needs markers or units, .* choose one of xs_cot_labels"):
        one(dataclasses.replace(config, order="xs_cot"), form)


def test_what_cannot_be_heard_is_counted_and_named(tmp_path, form):
    root = write_heard_world(tmp_path, broken=True)
    source = one(configs(root)["asr"], form.hearing_by(hearing(most_sec=1.0)))
    unread, long = source.told
    assert str(unread).startswith("recordings that cannot be read are left out (audio/13.wav: cannot be read as audio")
    assert unread.count == 1 and list(unread.names()) == ["u13"]
    assert long.count == 1 and "too long: 1.1 s, long_audio.longest_sec is 1" in str(long)
    assert list(long.names()) == ["u6"]
    assert source.num_documents == NUM_RECORDINGS - 2
    dialogues = one(configs(root)["dialogue"], form)
    assert dialogues.num_documents == NUM_RECORDINGS - 1
    assert "documents left out, for their question cannot be heard" in str(dialogues.told[-1])


def test_a_manifest_of_unreadable_recordings_was_blamed_on_its_filters(tmp_path, form):
    root = write_heard_world(tmp_path)
    for path in (root / "audio").iterdir():
        path.write_bytes(b"no audio at all")
    with pytest.raises(UserError, match=r"\(no filter\): recordings that cannot be read .*: 14 .*; mend that"):
        one(configs(root)["asr"], form)


def test_an_index_is_read_once_and_kept(root, form, tmp_path, monkeypatch):
    kept_in = IndexFolder(tmp_path / "kept", 0)
    (tmp_path / "kept").mkdir()
    first = one(configs(root)["asr"], form, kept_in=kept_in)
    digest = kept_in.digests[root / "manifest.jsonl"]
    monkeypatch.setattr("cslm.batches.recording_index.load_waveform", lambda *given, **more: pytest.fail("read again"))
    again = one(configs(root)["asr"], form, kept_in=kept_in)
    assert kept_in.digests[root / "manifest.jsonl"] == digest
    for index in range(first.num_documents):
        assert first.sequence(index, 3).ids.tolist() == again.sequence(index, 3).ids.tolist()


def test_a_file_that_changed_is_refused(tmp_path, form):
    from cslm.audio.waveform import save_waveform

    root = write_heard_world(tmp_path)
    source = one(configs(root)["asr"], form)
    save_waveform(root / "audio/00.wav", glide(0, 2.0), 16000)
    with pytest.raises(UserError, match="00.wav has 32,000 samples, and had 4,800 when the run began"):
        packed_row([source.sequence(0, 0)], {f"audio_asr/{kind}/en": 0 for kind in ("text", "template")})


def test_filters_and_parts(root, form):
    config = configs(root)["asr"]
    assert one(dataclasses.replace(config, languages=["de"]), form).num_documents == 4
    assert one(dataclasses.replace(config, speakers=["voice1"]), form).num_documents == 7
    with pytest.raises(UserError, match="wants speaker nobody, which .*manifest.jsonl does not have; it has voice0"):
        one(dataclasses.replace(config, speakers=["nobody"]), form)
    held, rest = (one(config, form, part=Part(0.3, held_out)).num_documents for held_out in (True, False))
    both = one(configs(root)["dialogue"], form, part=Part(0.3, True)).num_documents
    assert held + rest == NUM_RECORDINGS and held == both > 0


def test_a_model_without_a_connector_hears_nothing(root, form, tmp_path):
    with pytest.raises(UserError, match=r"has no connector, so no recording can be put before it"):
        one(configs(root)["asr"], SequenceFormat(small_tokenizer(tmp_path)))
    with pytest.raises(UserError, match="the source a has the task audio_asr and needs a manifest"):
        one(SourceConfig("audio_asr", 1), form)
