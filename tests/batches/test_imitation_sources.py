"""Sources that imitate: the recording in the place of the transcript, the reply id by id, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from cslm.batches.packed_row import count_all, packed_row
from cslm.batches.parts import Part
from cslm.batches.source_config import WHOLE
from cslm.batches.sources import SourceConfig, open_sources
from cslm.batches.weights import WeightSchedule
from cslm.corpora.manifest import read_manifest, write_manifest
from cslm.errors import UserError
from cslm.model.frozen_llm import FrozenLLM, open_frozen_llm
from cslm.sequences.imitation import text_request
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.task_pool import Asked
from cslm.synthesis.make_targets import MakeTargetsConfig, make_targets
from cslm.units.sample_store import TARGETS, SampleStore
from tests.worlds.heard_world import NUM_RECORDINGS, PLACEHOLDER_ID, hearing, write_heard_world
from tests.worlds.small_village import word_times
from tests.worlds.tiny_llm import make_llm


@pytest.fixture(scope="module")
def llm(tmp_path_factory) -> FrozenLLM:
    return open_frozen_llm(make_llm(tmp_path_factory.mktemp("llm") / "tiny"))


@pytest.fixture(scope="module")
def root(tmp_path_factory, llm) -> Path:
    """The heard world with word times, and targets of all its transcripts."""
    root = write_heard_world(tmp_path_factory.mktemp("heard"))
    utterances = list(read_manifest(root / "manifest.jsonl"))
    for index, utterance in enumerate(utterances):
        utterance.words = word_times(utterance.text, "en", 0.3 + 0.13 * (index % 7))
    write_manifest(utterances, root / "manifest.jsonl")
    for name, cells in (("targets", ["seen"]), ("held_out", ["seen", "unseen_tasks"])):
        make_targets(
            MakeTargetsConfig(
                [str(root / "manifest.jsonl")],
                llm.tokenizer.name_or_path,
                str(root / name),
                max_new_tokens=8,
                prompts=3,
                cells=cells,
                device="cpu",
            )
        )
    return root


@pytest.fixture(scope="module")
def form(llm) -> SequenceFormat:
    return llm.form.hearing_by(dataclasses.replace(hearing(), hashes=llm.hashes))


def config(root: Path, **settings: object) -> SourceConfig:
    given = {"manifest": str(root / "manifest.jsonl"), "targets": str(root / "targets")}
    return SourceConfig("audio_imitation", 1, **{**given, **settings})  # type: ignore[arg-type]


def one(root: Path, form: SequenceFormat, part: Part = WHOLE, **settings: object):
    return open_sources({"a": config(root, **settings)}, form, part)["a"]


def test_the_recording_stands_where_the_transcript_stood(root, form):
    source, store = one(root, form), SampleStore.open(root / "targets", TARGETS)
    assert source.num_documents == len(store) == 3 * NUM_RECORDINGS
    for index in range(source.num_documents):
        row, document = store.row(index), source.sequence(index, 0)
        (placed,) = document.clips
        assert placed.stop - placed.start == form.hearing.num_places(len(placed.clip.read()))
        request = text_request(row["text"], Asked(row["before"], row["after"]), row["language"])
        prompt = form.prompt("imitation", request).ids.tolist()
        ids = document.ids.tolist()
        reply = document.ids[document.trained].tolist()
        assert reply[: len(row["target"])] == row["target"].tolist()
        assert (len(reply) == len(row["target"])) == row["truncated"]
        behind = ids[placed.stop : np.flatnonzero(document.trained)[0]] if reply else ids[placed.stop :]
        assert behind == prompt[len(prompt) - len(behind) :]
        teacher = placed.clip.teacher
        assert teacher.ids[: len(prompt)].tolist() == prompt
        assert teacher.ids[teacher.trained].tolist() == reply
        before = form.span_texts(document)[:3]
        said = "".join(text for span, text in before if span.modality == "text" and span.stop <= placed.start)
        assert said == row["before"].strip("\n") + "\n" * row["before"].count("\n") or not row["before"]
    told = " ".join(map(str, source.told))
    assert f"have no end to learn: {sum(store.column('truncated')):,}" in told


def test_text_takes_the_place_of_words_by_a_schedule(root, form):
    source = one(root, form, text_words=WeightSchedule([1.0, 0.0]), span_words=1.0)
    store = SampleStore.open(root / "targets", TARGETS)
    places = {0.0: 0, 0.5: 0, 1.0: 0}
    for progress in places:
        for index in range(source.num_documents):
            document = source.sequence(index, 3, progress)
            places[progress] += sum(clip.stop - clip.start for clip in document.clips)
            if progress == 0.0:
                row = store.row(index)
                request = text_request(row["text"], Asked(row["before"], row["after"]), row["language"])
                prompt = form.prompt("imitation", request).ids.tolist()
                assert document.ids[: len(prompt)].tolist() == prompt
    whole = sum(
        clip.stop - clip.start for i in range(source.num_documents) for clip in one(root, form).sequence(i, 0).clips
    )
    assert places[0.0] == 0
    assert places[1.0] == whole
    assert 0.3 * whole < places[0.5] < 0.7 * whole


def test_some_documents_are_heard_whole(root, form):
    source = one(root, form, text_words=1.0, text_documents=0.5)
    replaced = [not source.sequence(index, seed).clips for index in range(10) for seed in range(20)]
    assert 0.35 < np.mean(replaced) < 0.65
    assert source.sequence(3, 8).ids.tolist() == source.sequence(3, 8).ids.tolist()


def test_transcribing_counts_less(root, form):
    source, store = (
        one(root, form, transcribing_weight=0.1, loss_weight=2.0),
        SampleStore.open(root / "targets", TARGETS),
    )
    weights = {bool(store.row(i)["transcribes"]): source.sequence(i, 0).loss_weight for i in range(len(store))}
    assert weights == {True: pytest.approx(0.2), False: 2.0}


def test_rows_pack_with_other_documents(root, form):
    found = [one(root, form, text_words=0.5, span_words=1.0).sequence(index, 0) for index in range(4)]
    other = open_sources({"b": SourceConfig("audio_asr", 1, manifest=str(root / "manifest.jsonl"))}, form)["b"]
    documents = [*found, other.sequence(0, 0)]
    spans = [(d.task, s) for d in documents for s in d.spans if s.trained]
    groups = {f"{task}/{span.modality}/{span.language}": 0 for task, span in spans}
    row = packed_row(documents, groups)
    assert row.counts() == count_all(documents)
    assert row.counts()["imitated_tokens"] == sum(int(it.trained.sum()) for it in found if it.clips)
    assert row.clips is not None
    assert row.clips.more["teacher_ids"].lengths[-1] == 0


def test_held_out_utterances_are_not_trained_on(root, form):
    share = 0.3
    kept = one(root, form, Part(share, False))
    held_out = one(root, form, Part(share, True))
    assert kept.num_documents + held_out.num_documents == 3 * NUM_RECORDINGS
    assert kept.num_documents % 3 == 0


def test_what_is_left_out_is_told(root, form, tmp_path):
    utterances = list(read_manifest(root / "manifest.jsonl"))[:5]
    for utterance in utterances:
        utterance.audio = str(root / utterance.audio)
    write_manifest(utterances, tmp_path / "few.jsonl")
    source = one(root, form, manifest=str(tmp_path / "few.jsonl"))
    assert source.num_documents == 15
    told = [it for it in source.told if it.count]
    assert [it.count for it in told] == [3 * (NUM_RECORDINGS - 5)]
    assert "has no recording of them that can be read" in str(told[0])


def test_another_model_or_transcript_is_refused(root, form, llm, tmp_path):
    other = form.hearing_by(dataclasses.replace(hearing(), hashes={**llm.hashes, "language model": "sha256:other"}))
    with pytest.raises(UserError, match=r"made with another language model \(sha256:\w+\) than the model of this run"):
        one(root, other)
    utterances = list(read_manifest(root / "manifest.jsonl"))
    for utterance in utterances:
        utterance.audio, utterance.text = str(root / utterance.audio), utterance.text + " now"
    write_manifest(utterances, tmp_path / "changed.jsonl")
    with pytest.raises(UserError, match="was made from the transcript .* and the manifest says"):
        one(root, form, manifest=str(tmp_path / "changed.jsonl")).sequence(0, 0)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"targets": None}, "needs targets"),
        ({"text_words": 1.5}, "text_words 1.5: give a share from 0 to 1"),
        ({"text_words": WeightSchedule([0.5, -1.0])}, "text_words -1.0"),
        ({"text_documents": 2.0}, "text_documents 2.0"),
        ({"transcribing_weight": 0.0}, "transcribing_weight 0.0: give a number above 0"),
        ({"span_words": 0.5}, "span_words 0.5"),
        ({"order": "full"}, "does not read order"),
    ],
)
def test_what_cannot_be_done_is_refused_by_key(root, form, settings, told):
    with pytest.raises(UserError, match=told):
        one(root, form, **settings)


def test_what_is_held_out_from_training_is_never_trained_on(root, form):
    with pytest.raises(UserError, match="holds unseen_tasks, which are held out from training"):
        one(root, form, targets=str(root / "held_out"))


def test_interleaving_needs_word_times_and_vectors_in_time(root, form, tmp_path):
    plain = write_heard_world(tmp_path)
    with pytest.raises(UserError, match="have no word times: align the corpus"):
        one(root, form, manifest=str(plain / "manifest.jsonl"), text_words=0.5)
    bank = form.hearing_by(dataclasses.replace(form.hearing, in_time=False))
    with pytest.raises(UserError, match="do not follow the time of the recording"):
        one(root, bank, text_words=0.5)
    assert one(root, bank).num_documents


def test_a_bank_was_cut_on_the_way_from_all_words_to_none(root, form):
    """Neither end of the schedule cuts words; what lies between them does."""
    bank = form.hearing_by(dataclasses.replace(form.hearing, in_time=False))
    with pytest.raises(UserError, match="do not follow the time of the recording"):
        one(root, bank, text_words=WeightSchedule([1.0, 0.0]))
    assert one(root, bank, text_words=1.0).num_documents


def test_places_of_vectors_are_placeholders(root, form):
    document = one(root, form, text_words=0.5, span_words=1.0).sequence(0, 1)
    for clip in document.clips:
        assert set(document.ids[clip.start : clip.stop].tolist()) == {PLACEHOLDER_ID}
