"""A question in pieces has the units of the whole, and is read while it is still spoken."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cslm import CSLMForCausalLM
from cslm.codecs.card import save_card
from cslm.codecs.codec import reach_of
from cslm.codecs.families import load_codec
from cslm.codecs.mel_kmeans import MelKMeans, MelKMeansParameters
from cslm.errors import UserError
from cslm.generation.decoding import DecodingConfig
from cslm.generation.events import QuestionHeard, ReplyEnd
from cslm.generation.forward_passes import ForwardPasses
from cslm.generation.listening import Listener, ReadAhead, beginning_of
from cslm.generation.turns import until_silence
from tests.worlds.tiny_checkpoint import NUM_UNITS, tone

BOUNDED = MelKMeansParameters(fixed_level=1, mean_share=0.0, num_warps=1, change_penalty=0.0)
SHORT = DecodingConfig(max_new_tokens=30)


@pytest.fixture(scope="module")
def bounded(model: CSLMForCausalLM) -> CSLMForCausalLM:
    """The model, with a speech tokenizer whose units depend on a part of the clip."""
    tones = [tone(2.0, 16000, 150.0 + 80 * index, index) for index in range(6)]
    codec, _ = MelKMeans.fit(tones, name="bounded", parameters=BOUNDED, codebook_size=NUM_UNITS, seed=0)
    other = copy.copy(model)
    other.processor = copy.copy(model.processor)
    other.processor.codec = codec
    return other


def speech(seconds: float, rate: int) -> np.ndarray:
    parts = [tone(0.4, rate, 150.0 + 60 * place, place) * (place % 3 > 0) for place in range(int(seconds / 0.4))]
    return np.concatenate(parts)


def in_pieces(waveform: np.ndarray, rate: int, size: int) -> list[tuple[np.ndarray, int]]:
    return [(waveform[start : start + size], rate) for start in range(0, len(waveform), size)]


@pytest.mark.parametrize("rate", [16000, 24000, 8000])
@pytest.mark.parametrize("size", [160, 777, 9000])
def test_units_in_pieces_are_those_of_the_whole_clip(bounded: CSLMForCausalLM, rate: int, size: int) -> None:
    waveform, listener = speech(3.2, rate), Listener(bounded.processor)
    whole = bounded.processor.units((waveform, rate))
    known = [listener.push(*piece) for piece in in_pieces(waveform, rate, size)]
    assert np.array_equal(listener.finish().ids, whole.ids) and len(whole) > 15
    for units in known:
        assert np.array_equal(units.ids, whole.ids[: len(units)])
    assert len(known[-1]) > 0.8 * len(whole)


def test_the_reach_is_what_it_says(bounded: CSLMForCausalLM) -> None:
    codec, waveform = bounded.processor.speech_tokenizer(), speech(3.2, 16000)
    reach, hop = reach_of(codec), 160
    assert reach is not None and 0 < reach < 0.3 * 16000
    changed = waveform.copy()
    changed[24000:] = tone(2.0, 16000, 900.0)[: len(waveform) - 24000]
    one, other = (codec.encode([clip])[0].ids for clip in (waveform, changed))
    certain = (24000 - reach) // hop
    assert np.array_equal(one[:certain], other[:certain]) and not np.array_equal(one, other)
    louder = np.concatenate([waveform, np.ones(800, np.float32)])
    assert np.array_equal(codec.encode([louder])[0].ids[:certain], one[:certain])


def test_cards_of_before_keep_their_fingerprint(bounded: CSLMForCausalLM, checkpoint: Path, tmp_path: Path) -> None:
    old = load_codec(checkpoint / "speech" / "card.yaml")
    assert reach_of(old) is None and "fixed_level" not in old.card().parameters
    codec = bounded.processor.codec
    save_card(codec.card(), tmp_path / "card.yaml", codec.tensors)
    opened = load_codec(tmp_path / "card.yaml")
    assert opened.fingerprint == codec.fingerprint and reach_of(opened) == reach_of(codec)


def test_a_question_in_pieces_is_read_ahead_and_answered_as_the_whole(bounded: CSLMForCausalLM) -> None:
    waveform = speech(3.2, 16000)
    heard, *_, end = bounded.stream(iter(in_pieces(waveform, 16000, 1600)), "zh", "en", SHORT)
    first, *_, whole = bounded.stream((waveform, 16000), "zh", "en", SHORT)
    assert isinstance(heard, QuestionHeard) and isinstance(end, ReplyEnd)
    assert end.ids == whole.ids and np.array_equal(heard.units.ids, first.units.ids)
    prompt = bounded.processor.question_prompt(first.units, "en", "zh")
    assert heard.num_read_ahead > 0.6 * len(prompt) and first.num_read_ahead == 0


def test_what_is_left_to_read_at_the_end_does_not_grow_with_the_question(bounded: CSLMForCausalLM) -> None:
    left = []
    for seconds in (2.0, 10.0):
        pieces = in_pieces(speech(seconds, 16000), 16000, 800)
        heard = next(bounded.stream(pieces, "en", "en", SHORT))
        left.append(len(bounded.processor.question_prompt(heard.units, "en", "en")) - heard.num_read_ahead)
    assert left[1] <= left[0] + 8


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_was_foretold_of_the_transcript_changes_no_id(
    bounded: CSLMForCausalLM, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    """Whatever is foretold: what comes true, what does so for a while, and what never does."""
    waveform, decoding = speech(3.2, 16000), DecodingConfig(max_new_tokens=30, temperature=temperature)
    *_, whole = bounded.stream((waveform, 16000), "zh", "en", decoding)
    right = list(whole.ids)
    for guess in (right[:-1], right[:9] + [right[0]] * 5, [right[3], right[4]], right + [right[0]] * 9):
        monkeypatch.setattr(ReadAhead, "_foretell", lambda self, *_, guess=guess: setattr(self, "_foretold", guess))
        heard, *_, end = bounded.stream(in_pieces(waveform, 16000, 1600), "zh", "en", decoding)
        assert end.ids == whole.ids and heard.num_read_ahead > 0


def test_a_transcript_that_was_foretold_takes_one_pass_for_all_that_came_true(bounded: CSLMForCausalLM) -> None:
    listener, ahead, num_passes = Listener(bounded.processor), ReadAhead(bounded), 0

    def count(*_: object) -> None:
        nonlocal num_passes
        num_passes += 1

    for piece in in_pieces(speech(3.2, 16000), 16000, 1600):
        units = listener.push(*piece)
        if len(units):
            ahead.read(beginning_of(bounded.processor, units, "en", "zh"))
    prompt = bounded.processor.question_prompt(listener.finish(), "en", "zh")
    assert len(ahead.foretold) >= 6  # of another prompt: in an untrained model little of it comes true
    alone = ForwardPasses(bounded, [prompt])
    right = [_next(alone) for _ in range(12)]
    for came_true in (0, 5, 12):
        guess = right[:came_true] + [right[0] + 1] * (12 - came_true)
        ahead._foretold = guess
        begun, hook = ahead.begun(prompt), bounded.register_forward_pre_hook(count)
        assert begun is not None
        num_passes = 0
        assert [_next(begun) for _ in right] == right
        hook.remove()
        assert num_passes == max(1, 12 - came_true)
        begun.rewind(ahead.num_ids)


def _next(passes: ForwardPasses) -> int:
    with torch.inference_mode():
        token_id = int(passes.next_logits().argmax())
        passes.append(torch.tensor([token_id]))
    return token_id


def test_others_wait_for_the_end_and_say_so(model: CSLMForCausalLM, bounded: CSLMForCausalLM) -> None:
    waveform = speech(1.6, 16000)
    pieces = in_pieces(waveform, 16000, 1600)
    for heard in (next(model.stream(pieces, "en", "en", SHORT)), next(bounded.stream(pieces, "en", None, SHORT))):
        assert heard.num_read_ahead == 0
    assert not Listener(model.processor).hears_ahead and Listener(bounded.processor).hears_ahead
    whole = model.processor.units((waveform, 16000))
    assert np.array_equal(next(model.stream(pieces, "en", "en", SHORT)).units.ids, whole.ids)


def test_pieces_that_cannot_be_used_are_refused(bounded: CSLMForCausalLM) -> None:
    waveform = speech(0.8, 16000)
    with pytest.raises(UserError, match="a piece of the question has 8000 Hz, the first 16000"):
        next(bounded.stream([(waveform, 16000), (waveform, 8000)], "en", "en"))
    for pieces in ([], [(waveform[:0], 16000)], [(waveform[:20], 16000)]):
        with pytest.raises(UserError, match="too short to hold speech"):
            next(bounded.stream(pieces, "en", "en"))


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), 1e-3, 10**12, None, "16000"])
def test_a_rate_that_is_none_was_not_refused(bounded: CSLMForCausalLM, rate: float) -> None:
    """The resampler never ended where it was NaN, and made gigabytes where it was small."""
    waveform = speech(0.8, 16000)
    for question in ((waveform, rate), [(waveform, rate)], until_silence([(waveform, rate)])):
        with pytest.raises(UserError, match="the sample rate is .*: give that of the samples in Hz, at least 1000"):
            next(bounded.stream(question, "en", "en"))


@pytest.mark.parametrize(
    "question", [5, None, np.zeros(9), b"RIFF", ["x.wav"], [np.zeros(9)], [(np.zeros(9), 8000, 1)]]
)
def test_a_question_that_is_no_sound_was_a_traceback(bounded: CSLMForCausalLM, question: Any) -> None:
    with pytest.raises(UserError, match="the question is a|a piece of the question is no pair"):
        next(bounded.stream(question, "en", "en"))
