"""Documents with audio among others in a row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from cslm.batches.mixture import Mixture
from cslm.batches.packed_row import packed_row
from cslm.batches.stream import BatchSizes, BatchStream
from cslm.batches.unit_noise import read_with_noise
from cslm.sequences.sequence import COUNTS_OF_CLIPS, Sequence, SequenceBuilder
from cslm.sequences.sequence_view import sequence_lines
from tests.worlds.equal_batches import equal
from tests.worlds.small_village import some_units

PLACE = 5
"""id of a placeholder"""
GROUPS = {"test/text/en": 0, "test/speech/en": 1, "test/marker/en": 2}


@dataclass(frozen=True)
class Frames:
    """Features (frames, 2), all of one number."""

    num_frames: int
    number: float

    def read(self) -> np.ndarray:
        return np.full((self.num_frames, 2), self.number, np.float32)


def heard(form, text: str, *clips: tuple[int, Frames]) -> Sequence:
    """A text that is not learnt, clips with so many places each, and units that are learnt."""
    builder = SequenceBuilder(form.encoder, form.vocabulary, "test")
    builder.turn("user", "en", trained=False)
    builder.add_text(text)
    for num_places, clip in clips:
        builder.add_audio(num_places, PLACE, clip)
    builder.turn("assistant", "en", trained=True)
    builder.add_units(some_units(6))
    return builder.finish()


def test_an_audio_span_is_places_that_are_never_learnt(form):
    document = heard(form, "Anna", (3, Frames(7, 1.0)))
    (span,) = [span for span in document.spans if span.modality == "audio"]
    (clip,) = document.clips
    assert (clip.start, clip.stop, clip.language) == (span.start, span.stop, "en") and span.stop - span.start == 3
    assert document.ids[span.start : span.stop].tolist() == [PLACE] * 3
    assert not span.trained and not document.trained[: span.stop].any() and document.trained[span.stop :].all()


def test_clips_keep_their_places_when_documents_are_packed(form):
    first = heard(form, "Anna", (3, Frames(7, 1.0)), (2, Frames(4, 2.0)))
    second = heard(form, "Mira lives here", (4, Frames(5, 3.0)))
    without = heard(form, "Anna")
    row = packed_row([first, without, second], GROUPS)
    places = row.clips.places.tolist()
    expected = [*range(*places[0]), *range(*places[1]), *range(*places[2])]
    assert torch.nonzero(row.input_ids[0] == PLACE).flatten().tolist() == expected
    assert [stop - start for start, stop in places] == [3, 2, 4]
    assert places[2][0] == row.boundaries[2] + second.clips[0].start
    assert row.clips.values.shape == (3, 7, 2) and row.clips.lengths.tolist() == [7, 4, 5]
    assert row.clips.values[1, :4].unique().tolist() == [2.0] and not row.clips.values[1, 4:].any()
    assert row.clips.languages == ("en", "en", "en")
    brought = dict.fromkeys(COUNTS_OF_CLIPS, 0)
    assert row.counts() == {"targets": 3 * 8, "clips": 3, **brought} and row.num_slots == len(first) + len(
        without
    ) + len(second)
    for start, stop in places:  # neither a target nor, but for the last place, what predicts one
        assert not set(range(start, stop)) & set((row.target_positions + 1).tolist())


def test_waveforms_are_padded_to_the_longest(form):
    class Samples:
        def read(self) -> np.ndarray:
            return np.ones(9, np.float32)

    assert packed_row([heard(form, "Anna", (2, Samples()))], GROUPS).clips.values.shape == (1, 9)


def test_a_row_without_audio_has_no_clips(form):
    row = packed_row([heard(form, "Anna")], GROUPS)
    assert row.clips is None and equal(row, row.to(torch.device("cpu")))
    with_clips = packed_row([heard(form, "Anna", (3, Frames(7, 1.0)))], GROUPS)
    assert equal(with_clips, with_clips.to(torch.device("cpu"))) and not equal(row, with_clips)


def test_a_window_moves_whole_clips_and_splits_none(form):
    document = heard(form, "Anna", (3, Frames(7, 1.0)), (2, Frames(4, 2.0)))
    (first, second) = document.clips
    moved = document.window(first.start, second.stop + 2)
    assert [(clip.start, clip.stop) for clip in moved.clips] == [(0, 3), (3, 5)]
    assert document.window(second.start, len(document)).clips[0].clip is second.clip
    assert document.window(second.stop, len(document)).clips == ()
    assert document.splits_audio(first.start + 1, len(document)) and not document.splits_audio(
        first.stop, len(document)
    )
    with pytest.raises(AssertionError, match="splits a clip"):
        document.window(0, second.start + 1)


class Plain:
    """One document without turns, with a clip in its middle."""

    task, num_documents, languages, store, language_shares = "test", 1, ["en"], None, {"en": 1.0}

    def __init__(self, form) -> None:
        def content(builder: SequenceBuilder) -> None:
            builder.add_units(some_units(10))
            builder.add_audio(6, PLACE, Frames(3, 1.0))
            builder.add_units(some_units(10))

        self.document = form.document("test", "en", content)
        self.mean_length = float(len(self.document))

    def sequence(self, index: int, draw_seed: int, progress: float = 1.0) -> Sequence:
        return self.document

    clean_sequence = sequence


def test_a_cut_through_a_clip_drops_the_document_and_is_counted(form):
    source = Plain(form)
    stream = BatchStream({"plain": source}, Mixture({"plain": 1.0}, {"plain": 14.0}, 0), BatchSizes(60, 14, 14), seed=0)
    fitted = [stream.fit(source.document, slot) for slot in range(40)]
    assert 0 < sum(document is None for document in fitted) < 40
    assert all(len(document) == 14 for document in fitted if document is not None)
    notes = stream.step({}).notes
    assert notes["plain: dropped, longer than 14 tokens"] > 0 and notes["plain: cut, longer than 14 tokens"] > 0


def test_noise_leaves_placeholders_alone(form):
    document = heard(form, "Anna", (3, Frames(7, 1.0)))
    noisy = read_with_noise(document, 0.9, seed=1)
    clip = noisy.clips[0]
    assert noisy.read[clip.start : clip.stop].tolist() == [PLACE] * 3
    assert (noisy.read != noisy.ids).any()


def test_inspect_shows_an_audio_span_as_any(form):
    document = heard(form, "Anna", (3, Frames(7, 1.0)))
    (line,) = [line for line in sequence_lines(form, document) if " audio " in line]
    assert line.split()[1:5] == ["user", "en", "audio", "3"]
    assert len(sequence_lines(form, document, colour=True)) == len(document.spans)
