"""The steps beneath every reply: any backbone, several streams in turns, closed at any point."""

from __future__ import annotations

import copy
import gc
import warnings
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LogitsProcessor, PreTrainedModel

from cslm import CSLMForCausalLM
from cslm.errors import UserError
from cslm.generation import decoding as decoding_module
from cslm.generation import forward_passes, speech_tasks
from cslm.generation.decoding import DecodingConfig, ReplyRules, RunningBatch, Step, decode, generate
from cslm.generation.token_choice import TokenDraws, reply_generators
from tests.worlds.tiny_checkpoint import tone
from tests.worlds.tiny_models import tiny_model


class Everything(LogitsProcessor):
    """A grammar that forbids nothing."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores


RULES = ReplyRules(Everything(), [2, 7, 9], 0)


def gpt2() -> PreTrainedModel:
    return _noisy("gpt2", n_embd=32, n_layer=2, n_head=2, n_positions=256, bos_token_id=1, eos_token_id=2)


def never_the_same_again() -> PreTrainedModel:
    """A model that comes to an end: sooner or later it has written all else."""
    model = gpt2()
    model.generation_config.repetition_penalty = 1.3
    return model


def mamba() -> PreTrainedModel:
    return _noisy("mamba", hidden_size=32, num_hidden_layers=2, state_size=4, pad_token_id=0, eos_token_id=2)


def _noisy(model_type: str, **options: object) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, vocab_size=64, **options))
        for parameter in model.parameters():
            parameter.data.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: tiny_model("llama"),
    "qwen3": lambda: tiny_model("qwen3"),
    "gemma3": lambda: tiny_model("gemma3_text"),  # windows of 8 in its first layer
    "gpt2": gpt2,
    "mamba": mamba,
}


def prompts() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(10, 64, size=length) for length in (5, 40, 17)]


def greedy_without_cache(model: PreTrainedModel, prompt: np.ndarray, most: int) -> list[int]:
    ids = prompt.tolist()
    with torch.no_grad():
        while len(ids) < len(prompt) + most and (len(ids) == len(prompt) or ids[-1] not in RULES.end_ids):
            ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each forward pass."""
    rows: list[int] = []
    compute = forward_passes.ForwardPasses.next_logits

    def counted(self: forward_passes.ForwardPasses) -> torch.Tensor:
        rows.append(len(self.ids))
        return compute(self)

    monkeypatch.setattr(forward_passes.ForwardPasses, "next_logits", counted)
    return rows


@pytest.mark.parametrize("family", FAMILIES)
def test_any_backbone_writes_in_a_batch_what_it_writes_without_a_cache(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding_module, "_STRETCH", 4)
    model = FAMILIES[family]()
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # transformers renames the argument of the cache
        replies = generate(model, prompts(), RULES, DecodingConfig(max_new_tokens=30))
    assert [reply.ids for reply in replies] == [greedy_without_cache(model, prompt, 30) for prompt in prompts()]


def test_a_model_that_hands_no_cache_back_reads_everything_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    expected = generate(model, prompts(), RULES, DecodingConfig(max_new_tokens=9))
    monkeypatch.setattr(forward_passes, "cache_name", lambda *_: None)
    again = generate(model, prompts(), RULES, DecodingConfig(max_new_tokens=9))
    assert [reply.ids for reply in again] == [reply.ids for reply in expected]


def test_a_step_holds_one_id_for_each_open_reply_and_replies_are_what_steps_join_to(passes: list[int]) -> None:
    model, decoding = never_the_same_again(), DecodingConfig(max_new_tokens=150)
    whole = generate(model, prompts(), RULES, decoding, with_probabilities=True)
    joined: dict[int, list[int]] = {0: [], 1: [], 2: []}
    passes.clear()
    steps = list(decode(model, prompts(), RULES, decoding, with_probabilities=True))
    assert len(passes) == len(steps)
    for step in steps:
        assert len(step.prompts) == len(step.ids) == len(step.log_probabilities or [])
        for prompt, token_id in zip(step.prompts, step.ids, strict=True):
            joined[prompt].append(token_id)
    assert list(joined.values()) == [reply.ids for reply in whole]
    assert len({len(ids) for ids in joined.values()}) > 1  # some end early


def test_rows_of_replies_that_have_ended_leave_the_batch(passes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_module, "_STRETCH", 5)
    replies = generate(never_the_same_again(), prompts(), RULES, DecodingConfig(max_new_tokens=150))
    ends = sorted(-(-len(reply.ids) // 5) * 5 for reply in replies)
    longest = max(len(reply.ids) for reply in replies)
    assert passes == [sum(end > place for end in ends) for place in range(longest)]


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_waiting_prompts_take_the_places_of_ended_replies_and_write_what_they_write_alone(
    family: str, temperature: float, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding_module, "_STRETCH", 3)
    model, numbers = FAMILIES[family](), np.random.default_rng(1)
    many = [numbers.integers(10, 64, size=length) for length in (5, 40, 17, 3, 28, 9, 9, 33, 12)]
    rules = ReplyRules(Everything(), [2, 7, 9, 11, 13, 20, 31, 44, 50, 51, 52, 53], 0)

    def replies(batch_size: int) -> list[list[int]]:
        decoding = DecodingConfig(40, temperature, 1.0, batch_size)
        return [reply.ids for reply in generate(model, many, rules, decoding, torch.Generator().manual_seed(7))]

    alone = replies(1)
    assert len({len(ids) for ids in alone}) > 2
    for batch_size in (2, 4):
        passes.clear()
        assert replies(batch_size) == alone
        assert max(passes) <= batch_size and len(passes) < sum(len(ids) for ids in alone)


def test_a_batch_that_goes_on_admits_and_drops(passes: list[int]) -> None:
    model, decoding = tiny_model("llama"), DecodingConfig(max_new_tokens=20)
    alone = [reply.ids for reply in generate(model, prompts(), RULES, decoding)]
    assert min(len(ids) for ids in alone) > 9
    batch, written = RunningBatch(model, RULES, decoding), {0: [], 1: [], 2: []}

    def take(step: Step) -> None:
        for number, token_id in zip(step.prompts, step.ids, strict=True):
            written[number].append(token_id)

    take(batch.admit(batch.read([0], prompts()[:1])))
    for _ in range(3):
        take(batch.step())
    take(batch.admit(batch.read([1, 2], prompts()[1:])))
    take(batch.step())
    batch.drop(0)
    batch.drop(0)
    assert batch.num_open == 2 and batch.num_ended == 1
    batch.make_room()
    passes.clear()
    while batch.num_open:
        take(batch.step())
    assert set(passes) <= {1, 2} and written[0] == alone[0][:5] and [written[1], written[2]] == alone[1:]


def test_prompts_that_cannot_be_read_left_the_batch_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    model, decoding = tiny_model("llama"), DecodingConfig(max_new_tokens=8)
    alone = generate(model, prompts()[:1], RULES, decoding)[0].ids
    batch = RunningBatch(model, RULES, decoding)
    written = batch.admit(batch.read([0], prompts()[:1])).ids
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="memory"):
        patched.setattr(forward_passes.ForwardPasses, "next_logits", _out_of_memory)
        batch.read([1, 2], prompts()[1:])
    assert batch.num_open == 1
    while batch.num_open:
        written += batch.step().ids
    assert written == alone


def _out_of_memory(_: object) -> torch.Tensor:
    raise RuntimeError("out of memory")


class Evens(LogitsProcessor):
    """A grammar of even ids."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores.masked_fill(torch.arange(scores.shape[1]) % 2 == 1, float("-inf"))


@pytest.mark.parametrize("temperature", [1e-38, 1e-45, 1e-7, 1e-4])
def test_a_tiny_temperature_drew_the_last_row_of_the_padding(temperature: float) -> None:
    """Scores divided by it were no numbers, and the last id was drawn, whatever the grammar said."""
    model, rules = tiny_model("llama"), ReplyRules(Evens(), [2], 0)
    greedy = generate(model, prompts(), rules, DecodingConfig(max_new_tokens=10))
    drawn = generate(model, prompts(), rules, DecodingConfig(10, temperature), torch.Generator().manual_seed(1))
    assert [reply.ids for reply in drawn] == [reply.ids for reply in greedy]
    assert all(token_id % 2 == 0 for reply in drawn for token_id in reply.ids)


@pytest.mark.parametrize("temperature", [float("inf"), float("nan"), -1.0])
def test_a_temperature_that_is_no_number_is_refused(temperature: float) -> None:
    with pytest.raises(UserError, match="temperature must be 0 or more"):
        DecodingConfig(temperature=temperature)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_id_that_the_grammar_forbids_is_never_written(temperature: float) -> None:
    """Where scores are no numbers, or all are forbidden, the first or last id was taken for an answer."""

    class Nothing(LogitsProcessor):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            return torch.full_like(scores, float("-inf"))

    rules = ReplyRules(Nothing(), [2], 0)
    with pytest.raises(AssertionError, match="forbids"):
        generate(tiny_model("llama"), prompts(), rules, DecodingConfig(5, temperature))


def test_nothing_is_computed_before_it_is_asked_for_nor_after_the_iterator_is_closed(passes: list[int]) -> None:
    caches: list[weakref.ref[object]] = []
    model = tiny_model("llama")
    model.register_forward_hook(lambda *called: caches.append(weakref.ref(_cache_of(called[-1]))))
    steps = decode(model, prompts(), RULES, DecodingConfig(max_new_tokens=50))
    assert passes == []
    next(steps)
    next(steps)
    assert len(passes) == 2 and caches[0]() is not None
    steps.close()
    gc.collect()
    assert len(passes) == 2 and caches[0]() is None
    with pytest.raises(StopIteration):
        next(steps)


def _cache_of(output: dict[str, object]) -> object:
    return output["cache" if "cache" in output else "past_key_values"]


def taken(streams: list[Iterator[Step]]) -> list[list[int]]:
    """The ids of each stream, a step of each in turn."""
    ids: list[list[int]] = [[] for _ in streams]
    going = list(range(len(streams)))
    while going:
        for stream in list(going):
            step = next(streams[stream], None)
            if step is None:
                going.remove(stream)
            else:
                ids[stream] += step.ids
    return ids


def test_two_replies_that_are_drawn_in_turns_are_those_drawn_alone() -> None:
    model, drawn = tiny_model("llama"), DecodingConfig(max_new_tokens=40, temperature=1.0, top_p=0.95)

    def stream(prompt: int, seed: int) -> Iterator[Step]:
        return decode(model, [prompts()[prompt]], RULES, drawn, [torch.Generator().manual_seed(seed)])

    alone = [taken([stream(0, 1)])[0], taken([stream(2, 5)])[0]]
    state = torch.random.get_rng_state()
    together = [stream(0, 1), stream(2, 5)]
    assert taken(together) == alone and alone[0] != alone[1]
    assert torch.equal(state, torch.random.get_rng_state())


def test_drawn_replies_do_not_depend_on_the_batches() -> None:
    model = tiny_model("qwen3")
    replies = [
        generate(model, prompts(), RULES, DecodingConfig(90, 1.0, 0.9, batch_size), torch.Generator().manual_seed(4))
        for batch_size in (1, 2, 3)
    ]
    assert [reply.ids for reply in replies[0]] == [reply.ids for reply in replies[1]]
    assert [reply.ids for reply in replies[0]] == [reply.ids for reply in replies[2]]


def test_tokens_are_drawn_by_their_probabilities_and_none_that_has_none() -> None:
    scores = torch.tensor([float("-inf"), 0.5, 0.2, 0.3, float("-inf")]).log().nan_to_num(nan=float("-inf"))
    draws = TokenDraws(reply_generators(None, 4000))
    counts = torch.bincount(draws.draw(scores.expand(4000, -1)), minlength=5) / 4000
    torch.testing.assert_close(counts, torch.tensor([0.0, 0.5, 0.2, 0.3, 0.0]), atol=0.03, rtol=0)
    assert counts[0] == counts[4] == 0


def test_one_draw_is_taken_from_the_generator_that_is_handed_in() -> None:
    """What is drawn after a reply (the noise of the decoder) does not depend on how long the reply was."""
    generator, other = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    generate(tiny_model("llama"), prompts(), RULES, DecodingConfig(max_new_tokens=3), generator)
    torch.randint(2**62, (), generator=other)
    assert torch.equal(generator.get_state(), other.get_state())


def test_padding_is_not_taken_for_a_repetition() -> None:
    model, decoding = never_the_same_again(), DecodingConfig(max_new_tokens=20)
    together = generate(model, prompts(), RULES, decoding, with_probabilities=True)
    for prompt, reply in zip(prompts(), together, strict=True):
        (alone,) = generate(model, [prompt], RULES, decoding, with_probabilities=True)
        assert alone.ids == reply.ids
        assert alone.mean_log_probability == pytest.approx(reply.mean_log_probability, abs=1e-5)


def test_respond_lays_out_each_grammar_once(model: CSLMForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    laid_out = speech_tasks.UnitGrammar
    monkeypatch.setattr(speech_tasks, "UnitGrammar", lambda *given: made.append(given) or laid_out(*given))
    model = copy.deepcopy(model)
    model._grammars = None
    question, short = (tone(0.5, 16000), 16000), DecodingConfig(max_new_tokens=5)
    first = model.respond(question, decoding=short)
    assert model.respond(question, decoding=short).answer == first.answer and len(made) == 1
    copied = copy.deepcopy(model)
    assert copied.respond(question, decoding=short).answer == first.answer and len(made) == 1
    model.resize_token_embeddings(model.get_input_embeddings().weight.shape[0] + 8)
    model.respond(question, decoding=short)
    assert made[-1][1] == made[0][1] + 8
