"""A reply event by event: for every chain, the same ids and the same sound as the whole, and nothing left behind."""

from __future__ import annotations

import gc
import json
import shutil
import threading
import weakref
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from cslm import CSLMForCausalLM
from cslm.decoder.speech_stream import SpeechStream
from cslm.errors import UserError
from cslm.generation.decoding import DecodingConfig
from cslm.generation.events import (
    AnswerSamples,
    AnswerText,
    AnswerUnits,
    QuestionHeard,
    QuestionText,
    ReplyEnd,
    join_events,
)
from cslm.generation.speech_tasks import SpeechTasks
from cslm.generation.streaming import ReplyTeller
from cslm.sequences.chain_of_modality import dialogue
from cslm.sequences.chains import CHAINS
from tests.worlds.tiny_checkpoint import make_checkpoint, tone

QUESTION = (tone(0.6, 16000), 16000)
DRAWN = DecodingConfig(max_new_tokens=120, temperature=1.0)
FURTHER = {"core_language": "en", "core_question": "Who is she?", "core_answer": "Anna."}


def drawing(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> CSLMForCausalLM:
    """A model that likes to speak, and whose units last some frames, so that sound comes before the end."""
    model = CSLMForCausalLM.from_pretrained(make_checkpoint(tmp_path_factory.mktemp("speaking") / "llama")).eval()
    torch.nn.init.constant_(model.processor.decoder.durations.linear.bias, 1.0)

    def speak_sooner(_: object, __: object, output: dict[str, torch.Tensor]) -> None:
        output["logits"][..., model.processor.vocabulary.sosp] += 5.0

    model.register_forward_hook(speak_sooner)
    return model


@pytest.fixture
def answering(checkpoint: Path, tmp_path: Path):
    """A function: the checkpoint, answering in a chain."""

    def open_in(order: str) -> CSLMForCausalLM:
        folder = shutil.copytree(checkpoint, tmp_path / order)
        config = json.loads((folder / "config.json").read_text())
        config["speech"]["order"] = order
        (folder / "config.json").write_text(json.dumps(config))
        return CSLMForCausalLM.from_pretrained(folder).eval()

    return open_in


def written_before(model: CSLMForCausalLM, decoding: DecodingConfig, generator: torch.Generator) -> list[int]:
    """The ids of a whole reply as they are generated offline."""
    units = model.processor.units(QUESTION)
    return model.tasks().answer([units], ["en"], ["zh"], decoding, generator)[0].ids


@pytest.mark.parametrize("order", CHAINS)
def test_the_ids_of_a_stream_are_those_of_the_whole_reply(answering, order: str) -> None:
    model = answering(order)
    for decoding in (DecodingConfig(max_new_tokens=40), DRAWN):
        *_, end = model.stream(QUESTION, "zh", "en", decoding, drawing(4))
        assert isinstance(end, ReplyEnd)
        assert list(end.ids) == written_before(model, decoding, drawing(4))
        assert end.is_whole == (end.ids[-1] in model.processor.end_ids)


def scripted(model: CSLMForCausalLM, monkeypatch: pytest.MonkeyPatch, num_chunks: int = 3) -> list[int]:
    """Let the model write a reply of the chain of the checkpoint."""
    processor = model.processor
    texts = ["Anna works ", "in this village", ", as a baker."][:num_chunks]
    generator = np.random.default_rng(0)
    steps = [generator.integers(1, 16, (40, 1)) for _ in texts]
    units = [type(processor.units(QUESTION))(np.cumsum(step, axis=0) % 16) for step in steps]
    chunks = list(zip(texts, units, strict=True)) if processor.chain.speaks else [("".join(texts), None)]
    if not processor.chain.chunked and processor.chain.speaks:
        chunks = [("".join(texts), units[0])]
    order = processor.order
    sequence = dialogue(processor.form, units[0], "Who is Anna?", "en", chunks, "en", order, FURTHER)
    ids = [int(token_id) for token_id in sequence.ids[sequence.trained]]

    def write(self: SpeechTasks, *_: object) -> object:
        yield from ids

    monkeypatch.setattr(SpeechTasks, "write_answer", write)
    return ids


@pytest.mark.parametrize("order", ["interleaved", "full", "no_question", "transcript_then_answer", "direct"])
def test_events_come_in_the_order_of_the_chain_and_join_to_the_reply(
    answering, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    model = answering(order)
    ids = scripted(model, monkeypatch)
    events = list(model.stream(QUESTION, "en", "en"))
    reply = join_events(events, 22050, model.processor.speaks)
    assert isinstance(events[0], QuestionHeard) and isinstance(events[-1], ReplyEnd)
    assert list(events[-1].ids) == ids and reply.is_whole
    assert "".join(e.text for e in events if isinstance(e, QuestionText)) == (reply.question or "")
    assert "".join(e.text for e in events if isinstance(e, AnswerText)) == reply.answer
    for chunk, (text, units) in enumerate(reply.segments):
        parts = [e.units.ids for e in events if isinstance(e, AnswerUnits) and e.chunk == chunk]
        assert np.array_equal(np.concatenate([*parts, units.ids[:0]]), units.ids)
        assert "".join(e.text for e in events if isinstance(e, AnswerText) and e.chunk == chunk).strip() == text
    times = [event.time_sec for event in events]
    assert times == sorted(times) and times[0] >= 0
    assert [event.num_ids for event in events] == sorted(event.num_ids for event in events)
    samples = [event for event in events if isinstance(event, AnswerSamples)]
    assert (reply.waveform is None) == (not samples) == (not model.processor.chain.speaks)
    assert [e.first_sample for e in samples] == list(np.cumsum([0, *(len(e.samples) for e in samples)])[:-1])


def test_the_sound_is_that_of_all_units_in_one(speaking: CSLMForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(speaking, monkeypatch)
    events = list(speaking.stream(QUESTION, "en", "en"))
    reply = join_events(events, 22050, True)
    units = type(reply.question_units)(np.concatenate([part.ids for _, part in reply.segments]))
    whole = speaking.processor.speech_decoder().decode(units, "en")
    assert reply.waveform is not None and len(reply.waveform) == len(whole)
    np.testing.assert_allclose(reply.waveform, whole, rtol=0, atol=5e-4 * np.abs(whole).max())
    sounds = [event for event in events if isinstance(event, AnswerSamples)]
    assert sounds[-1].num_units == len(units) and [s.num_units for s in sounds] == sorted(s.num_units for s in sounds)


def test_sound_comes_while_the_model_still_writes(speaking: CSLMForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = scripted(speaking, monkeypatch)
    written = SpeechTasks.write_answer

    def slowly(self: SpeechTasks, *given: object) -> object:
        for token_id in written(self, *given):
            threading.Event().wait(0.002)
            yield token_id

    monkeypatch.setattr(SpeechTasks, "write_answer", slowly)
    sounds = [event for event in speaking.stream(QUESTION, "en", "en") if isinstance(event, AnswerSamples)]
    assert len(sounds) > 2 and sounds[0].num_ids < 0.7 * len(ids)


def test_the_first_sound_is_made_where_it_is_waited_for_and_the_rest_beside(
    speaking: CSLMForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(speaking, monkeypatch)
    made, here = list[bool](), threading.current_thread()
    sound = SpeechStream._sound

    def noted(self: SpeechStream, stop: int) -> object:
        made.append(threading.current_thread() is here)
        return sound(self, stop)

    monkeypatch.setattr(SpeechStream, "_sound", noted)
    list(speaking.stream(QUESTION, "en", "en"))
    assert len(made) > 2 and made == [True] + [False] * (len(made) - 1)


def test_drawn_replies_do_not_depend_on_the_threads(speaking: CSLMForCausalLM) -> None:
    one, two, other = (speaking.respond(QUESTION, "en", "en", DRAWN, drawing(seed)) for seed in (1, 1, 2))
    assert one.waveform is not None and len(one.waveform)
    assert np.array_equal(one.waveform, two.waveform) and one.answer == two.answer
    assert not np.array_equal(one.waveform, other.waveform)


def test_a_thousand_cancels_leave_nothing(speaking: CSLMForCausalLM) -> None:
    """Closed after any number of events, the first and none at all included."""
    process = psutil.Process()
    numbers = np.random.default_rng(0)
    caches: list[weakref.ref] = []
    hook = speaking.register_forward_hook(
        lambda *called: caches.append(weakref.ref(called[-1].get("past_key_values", called[-1].get("cache"))))
    )

    def cancel(times: int) -> None:
        for _ in range(times):
            events = speaking.stream(QUESTION, "en", "en", DRAWN, drawing(int(numbers.integers(99))))
            for _ in range(int(numbers.integers(0, 12))):
                next(events, None)
            events.close()
            with pytest.raises(StopIteration):
                next(events)

    cancel(30)
    gc.collect()
    threads, files = threading.active_count(), process.num_fds()
    grown = []
    for _ in range(4):
        before = process.memory_info().rss
        cancel(250)
        gc.collect()
        grown.append(process.memory_info().rss - before)
    hook.remove()
    assert threading.active_count() == threads and process.num_fds() == files
    assert not any(cache() is not None for cache in caches)
    # An allocator may keep a block of many MiB once; what leaks grows in every round.
    assert min(grown) < 2**20, grown


def test_nothing_is_written_after_a_stream_is_closed(speaking: CSLMForCausalLM) -> None:
    passes: list[int] = []
    hook = speaking.register_forward_hook(lambda *_: passes.append(1))
    events = speaking.stream(QUESTION, "en", "en", DRAWN, drawing())
    assert not passes
    for _ in range(6):
        next(events)
    before = len(passes)
    events.close()
    hook.remove()
    assert before and len(passes) == before and not [t for t in threading.enumerate() if t.name.startswith("speaker")]


def test_what_cannot_be_answered_is_refused_before_the_first_event(model: CSLMForCausalLM) -> None:
    with pytest.raises(UserError, match="no voice for the language 'fr'"):
        next(model.stream(QUESTION, "fr"))
    with pytest.raises(UserError, match="is too short to hold speech"):
        next(model.stream((np.zeros(10, np.float32), 16000), "en"))


def test_the_clock_is_the_one_that_is_handed_in(model: CSLMForCausalLM) -> None:
    ticks = iter(range(100_000))
    events = list(
        model.stream(QUESTION, "en", "en", DecodingConfig(max_new_tokens=9), clock=lambda: float(next(ticks)))
    )
    times = [event.time_sec for event in events]
    assert all(time == int(time) for time in times) and times == sorted(times) and times[-1] > times[0]


def test_an_answer_may_be_told_without_its_sound(speaking: CSLMForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = scripted(speaking, monkeypatch)
    *events, end = ReplyTeller(speaking.processor, "en", None, lambda: 0.0, with_sound=False).tell(ids)
    assert isinstance(end, ReplyEnd) and list(end.ids) == ids
    assert not [event for event in events if isinstance(event, AnswerSamples)]


def test_the_first_sound_reckons_with_what_writing_took_elsewhere(
    speaking: CSLMForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ids are all there at once, but were written slower than they sound: all is made first."""
    ids = scripted(speaking, monkeypatch)
    teller = ReplyTeller(speaking.processor, "en", None, lambda: 0.0)
    sounds = [event for event in teller.tell(ids, lambda: 10.0) if isinstance(event, AnswerSamples)]
    assert len(sounds) == 1 and sounds[0].num_units == 120
