from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from cslm.model.document_attention import DocumentGroups, PackedDocuments
from tests.worlds.tiny_models import packed_row, tiny_model

LENGTHS = [7, 1, 30, 12, 29, 3, 11]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60))
@settings(max_examples=50, deadline=None)
def test_groups_hold_every_token_once(lengths):
    boundaries = [0]
    for length in lengths:
        boundaries.append(boundaries[-1] + length)
    groups = DocumentGroups.from_boundaries(boundaries)
    assert sum(number for number, _ in groups.shapes) == len(lengths)
    assert len(groups.take) == sum(number * length for number, length in groups.shapes)
    assert torch.equal(groups.take[groups.back], torch.arange(boundaries[-1]))
    assert len(set(groups.back.tolist())) == boundaries[-1]


@given(st.lists(st.integers(1, 200), min_size=1, max_size=40))
@settings(max_examples=30, deadline=None)
def test_a_document_lies_at_the_start_of_its_slot_in_order(lengths):
    boundaries = [0]
    for length in lengths:
        boundaries.append(boundaries[-1] + length)
    groups = DocumentGroups.from_boundaries(boundaries)
    starts, slot = set(), 0
    for number, length in groups.shapes:
        starts |= {slot + i * length for i in range(number)}
        slot += number * length
    for start, stop in pairwise(boundaries):
        places = groups.back[start:stop]
        assert int(places[0]) in starts
        assert torch.equal(places, torch.arange(int(places[0]), int(places[0]) + stop - start))


def test_similar_lengths_share_a_group():
    groups = DocumentGroups.from_boundaries([0, 100, 199, 298, 308, 318, 327])
    assert len(groups.shapes) == 2
    assert DocumentGroups.from_boundaries([0, 5]).shapes == ((1, 5),)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma3_text"])
def test_logits_of_a_packed_document_are_those_of_the_document_alone(family):
    packed, alone = tiny_model(family, attention="document"), tiny_model(family)
    row = packed_row(LENGTHS)
    documents = PackedDocuments(row.boundaries)
    with torch.no_grad():
        logits = packed(
            input_ids=row.input_ids, position_ids=row.position_ids, use_cache=False, documents=documents
        ).logits[0]
        for start, stop in pairwise(row.boundaries):
            expected = alone(row.input_ids[:, start:stop], use_cache=False).logits[0]
            assert (logits[start:stop] - expected).abs().max() < 2e-6


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_gradients_of_packed_documents_are_the_sum_of_theirs_alone(family):
    packed, alone = tiny_model(family, attention="document"), tiny_model(family)
    row = packed_row([9, 20, 19, 4])
    boundaries = row.boundaries
    documents = PackedDocuments(boundaries)
    output = packed(input_ids=row.input_ids, position_ids=row.position_ids, use_cache=False, documents=documents)
    output.logits.logsumexp(-1).sum().backward()
    for start, stop in pairwise(boundaries):
        alone(row.input_ids[:, start:stop], use_cache=False).logits.logsumexp(-1).sum().backward()
    for one, other in zip(packed.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)


def test_without_documents_it_is_sdpa_with_padding():
    document, sdpa = tiny_model(attention="document"), tiny_model()
    ids = torch.randint(3, 64, (2, 10), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    with torch.no_grad():
        torch.testing.assert_close(document(ids).logits, sdpa(ids).logits)
        padded = document(ids, attention_mask=mask).logits[0, 4:]
        torch.testing.assert_close(padded, sdpa(ids, attention_mask=mask).logits[0, 4:])


def test_generation_with_the_cache_works():
    document, sdpa = tiny_model(attention="document"), tiny_model()
    ids = torch.randint(3, 64, (1, 6), generator=torch.Generator().manual_seed(0))
    ones = torch.ones_like(ids)
    found, expected = (
        model.generate(ids, attention_mask=ones, max_new_tokens=6, do_sample=False) for model in (document, sdpa)
    )
    assert torch.equal(found, expected)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3_text"])
@pytest.mark.parametrize("attention", ["sdpa", "eager", "flex_attention", "flash_attention_2", "flash_attention_3"])
def test_documents_are_apart_under_every_attention_of_transformers(attention, family):
    """Called as the loss calls it: places from 0 in each document, no mask, no cache."""
    if attention.startswith("flash") and not torch.cuda.is_available():
        pytest.skip(f"{attention} runs on a GPU alone")
    dtype = torch.bfloat16 if attention.startswith("flash") else torch.float32
    device = "cuda" if attention.startswith("flash") else "cpu"
    packed = tiny_model(family, attention=attention).to(device, dtype)
    alone = tiny_model(family, attention="sdpa").to(device, dtype)
    row = packed_row(LENGTHS)
    ids = row.input_ids.to(device)
    with torch.no_grad():
        logits = packed(input_ids=ids, position_ids=row.position_ids.to(device), use_cache=False).logits[0]
        for start, stop in pairwise(row.boundaries):
            expected = alone(ids[:, start:stop], use_cache=False).logits[0]
            assert (logits[start:stop] - expected).abs().max() < (2e-2 if dtype == torch.bfloat16 else 2e-6)


@pytest.mark.parametrize("kinds", [["full_attention", "full_attention"], ["sliding_attention", "full_attention"]])
def test_attention_sinks_are_those_of_the_document_alone(kinds):
    """GPT-OSS: our own message once sent its users to eager attention, which lets documents see each other."""
    shape = AutoConfig.for_model(
        "gpt_oss", vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, num_local_experts=2, num_experts_per_tok=1, layer_types=kinds,
        sliding_window=8, max_position_embeddings=256,
    )  # fmt: skip
    torch.manual_seed(0)
    alone = AutoModelForCausalLM.from_config(copy.deepcopy(shape), attn_implementation="eager").eval()
    for parameter in alone.parameters():
        parameter.data.normal_(0, 0.3)
    packed = AutoModelForCausalLM.from_config(shape, attn_implementation="document").eval()
    packed.load_state_dict(alone.state_dict())
    row = packed_row(LENGTHS)
    documents = PackedDocuments(row.boundaries)
    with torch.no_grad():
        logits = packed(
            input_ids=row.input_ids, position_ids=row.position_ids, use_cache=False, documents=documents
        ).logits[0]
        for start, stop in pairwise(row.boundaries):
            wanted = alone(input_ids=row.input_ids[:, start:stop], use_cache=False).logits[0]
            torch.testing.assert_close(logits[start:stop], wanted, atol=1e-4, rtol=1e-4)
