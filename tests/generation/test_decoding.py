"""Batched generation gives what each prompt gives alone, with the growing cache and without."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pytest
import torch

from cslm import CSLMForCausalLM
from cslm.errors import UserError
from cslm.generation import decoding as module
from cslm.generation import forward_passes
from cslm.generation import growing_cache as growing_cache_module
from cslm.generation.decoding import DecodingConfig, ReplyRules, Step, generate
from cslm.generation.grammar import UnitGrammar
from cslm.generation.growing_cache import GrowingLayer, growing_cache


def prompts() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(10, 260, size=length) for length in (5, 40, 17, 33, 9)]


def run(
    model: CSLMForCausalLM, given: list[np.ndarray], ends: Sequence[int] = (2,), **options: object
) -> list[list[int]]:
    vocabulary = model.processor.vocabulary
    grammar = UnitGrammar(vocabulary, model.get_output_embeddings().weight.shape[0])
    settings = {"max_new_tokens": 12, "batch_size": 3, **options}
    return [reply.ids for reply in generate(model, given, ReplyRules(grammar, ends, 0), DecodingConfig(**settings))]


def test_a_batch_gives_what_each_prompt_gives_alone(model: CSLMForCausalLM) -> None:
    assert run(model, prompts()) == [run(model, [prompt])[0] for prompt in prompts()]


def test_the_growing_cache_changes_nothing(model: CSLMForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing_cache_module, "_ROOM", 3)
    with_cache = run(model, prompts(), max_new_tokens=50)
    monkeypatch.setattr(forward_passes, "growing_cache", lambda model: None)
    assert run(model, prompts(), max_new_tokens=50) == with_cache


@pytest.mark.parametrize("with_growing_cache", [True, False])
def test_replies_that_have_ended_leave_the_batch_and_change_no_other(
    model: CSLMForCausalLM, monkeypatch: pytest.MonkeyPatch, with_growing_cache: bool
) -> None:
    if not with_growing_cache:
        monkeypatch.setattr(forward_passes, "growing_cache", lambda model: None)
    whole = run(model, prompts(), max_new_tokens=50, batch_size=5)
    # an id that ends some replies early, others late and some not at all
    end = max(set(whole[0]), key=lambda token_id: len({(*ids, token_id).index(token_id) for ids in whole}))
    expected = [ids[: ids.index(end) + 1] if end in ids else ids for ids in whole]
    assert len({len(ids) for ids in expected}) > 1
    for stretch in (1, 7, 64):
        monkeypatch.setattr(module, "_STRETCH", stretch)
        assert run(model, prompts(), max_new_tokens=50, batch_size=5, ends=[2, end]) == expected


def test_the_growing_cache_survives_reordering(model: CSLMForCausalLM) -> None:
    cache = growing_cache(model)
    assert cache is not None and all(isinstance(layer, GrowingLayer) for layer in cache.layers)
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    with torch.no_grad():
        name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
        model(ids, **{name: cache})
        cache.reorder_cache(torch.tensor([1, 0]))
        continued = model(torch.tensor([[11], [12]]), **{name: cache}).logits[:, -1]
        whole = model(torch.tensor([[8, 9, 10, 11], [5, 6, 7, 12]])).logits[:, -1]
    torch.testing.assert_close(continued, whole, atol=1e-5, rtol=1e-4)


def test_drawing_follows_its_seed_and_leaves_the_global_generator_alone(model: CSLMForCausalLM) -> None:
    state = torch.random.get_rng_state()
    drawn = run(model, prompts(), temperature=1.0, top_p=0.9)
    assert drawn == run(model, prompts(), temperature=1.0, top_p=0.9)
    assert drawn != run(model, prompts())
    assert torch.equal(state, torch.random.get_rng_state())


def test_probabilities_are_those_of_the_model(model: CSLMForCausalLM) -> None:
    vocabulary = model.processor.vocabulary
    grammar = UnitGrammar(vocabulary, model.get_output_embeddings().weight.shape[0], "text")
    prompt = prompts()[0]
    settings = DecodingConfig(max_new_tokens=4)
    (reply,) = generate(model, [prompt], ReplyRules(grammar, [2], 0), settings, with_probabilities=True)
    ids = torch.tensor([[*prompt.tolist(), *reply.ids]])
    with torch.no_grad():
        logits = model(ids).logits[0]
    expected = []
    for place in range(len(prompt), ids.shape[1]):
        scores = grammar(ids[:, :place], logits[[place - 1]])
        suppressed = model.generation_config.suppress_tokens or []
        scores[:, suppressed] = float("-inf")
        expected.append(float(scores.log_softmax(-1)[0, ids[0, place]]))
    assert math.isclose(reply.mean_log_probability, float(np.mean(expected)), abs_tol=1e-4)


def test_a_reply_stays_within_the_context_and_a_prompt_must_fit(model: CSLMForCausalLM) -> None:
    long = np.full(1020, 20)
    assert len(run(model, [long], max_new_tokens=50)[0]) <= 4
    with pytest.raises(UserError, match="1024"):
        run(model, [np.full(1024, 20)])


def test_replies_that_are_cut_off_were_not_counted_as_done(
    model: CSLMForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line of progress stood at none of five for as long as no reply ended by itself."""
    told = list[str]()

    def collected(steps: Iterable[Step], total: None, description: str, note: Callable[[], str]) -> Iterator[Step]:
        for step in steps:
            yield step
            told.append(note())

    monkeypatch.setattr(module, "progress_bar", collected)
    vocabulary = model.processor.vocabulary
    grammar = UnitGrammar(vocabulary, model.get_output_embeddings().weight.shape[0])
    replies = generate(model, prompts(), ReplyRules(grammar, [2], 0), DecodingConfig(4, batch_size=3), description="d")
    assert [len(reply.ids) for reply in replies] == [4] * 5
    assert (told[0], told[-1]) == ("0/5 replies", "5/5 replies")


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"batch_size": 0}):
        with pytest.raises(UserError):
            DecodingConfig(**wrong)
