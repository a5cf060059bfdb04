"""PyTorch's own ``varlen_attn`` runs here, with a plain kernel in the place of FlashAttention's, which GPUs alone have.

The plain kernel takes what FlashAttention 2 takes: a window counts the keys before a query, without itself, and -1 is
no limit (Dao 2023, arXiv 2307.08691, and the signature of ``aten::_flash_attention_forward``).
"""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from cslm.model import document_attention, varlen_attention
from cslm.model.document_attention import PackedDocuments
from cslm.model.varlen_attention import has_varlen
from tests.worlds.tiny_models import packed_row, tiny_model

LENGTHS = [7, 1, 30, 12, 29, 3, 11]
FAMILIES = ["llama", "qwen3", "gemma3_text"]
has_kernel = pytest.mark.skipif(varlen_attention._kernel() is None, reason="this PyTorch has no such varlen_attn")


def shares(query, key, start, stop, scale, window):
    """Attention weights (heads, length, length) of one document of (tokens, heads, head_dim)."""
    q, k = query[start:stop].transpose(0, 1), repeated(key, query)[start:stop].transpose(0, 1)
    back = torch.arange(stop - start)[:, None] - torch.arange(stop - start)
    seen = (back >= 0) & ((back <= window) if window >= 0 else torch.tensor(True))
    return torch.softmax((q @ k.transpose(1, 2) * scale).masked_fill(~seen, -torch.inf), -1)


def repeated(states, query):
    return states.repeat_interleave(query.shape[1] // states.shape[1], dim=1)


def plain_forward(query, key, value, cu_q, cu_k, max_q, max_k, dropout, causal, debug, **rest):
    assert cu_q.dtype == torch.int32 and max_q == int(cu_q.diff().max()) and not dropout
    assert rest["window_size_right"] == 0 and causal == (rest["window_size_left"] == -1)
    out = torch.empty_like(query)
    for start, stop in pairwise(cu_q.tolist()):
        weights = shares(query, key, start, stop, rest["scale"], rest["window_size_left"])
        out[start:stop] = (weights @ repeated(value, query)[start:stop].transpose(0, 1)).transpose(0, 1)
    nothing = query.new_zeros(0)
    return out, query.new_zeros(query.shape[1], query.shape[0]), nothing.clone(), nothing.clone(), nothing.clone()


def plain_backward(gradient, query, key, value, out, lse, cu_q, cu_k, max_q, max_k, dropout, causal, rng, un, **rest):
    results = [torch.zeros_like(states) for states in (query, key, value)]
    for start, stop in pairwise(cu_q.tolist()):
        weights = shares(query, key, start, stop, rest["scale"], rest["window_size_left"])
        q, k, v, g, o = (
            states[start:stop].transpose(0, 1)
            for states in (query, repeated(key, query), repeated(value, query), gradient, out)
        )
        scores = weights * (g @ v.transpose(1, 2) - (g * o).sum(-1, keepdim=True)) * rest["scale"]
        found = (scores @ k, scores.transpose(1, 2) @ q, weights.transpose(1, 2) @ g)
        for result, part in zip(results, found, strict=True):
            heads = part.unflatten(0, (result.shape[1], -1)).sum(1)
            result[start:stop] = heads.transpose(0, 1)
    return tuple(results)


@pytest.fixture
def plain_kernel(monkeypatch):
    library = torch.library.Library("aten", "IMPL")
    library.impl("_flash_attention_forward", plain_forward, "CPU")
    library.impl("_flash_attention_backward", plain_backward, "CPU")
    monkeypatch.setattr(document_attention, "has_varlen", lambda *arguments: True)
    yield
    library._destroy()


@has_kernel
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_gradients_are_those_of_the_documents_alone(plain_kernel, family):
    packed, alone = tiny_model(family, attention="document"), tiny_model(family)
    row = packed_row(LENGTHS)
    boundaries = row.boundaries
    logits = packed(
        input_ids=row.input_ids, position_ids=row.position_ids, use_cache=False,
        documents=PackedDocuments(boundaries),
    ).logits[0]  # fmt: skip
    logits.logsumexp(-1).sum().backward()
    for start, stop in pairwise(boundaries):
        expected = alone(row.input_ids[:, start:stop], use_cache=False).logits[0]
        assert (logits[start:stop] - expected).abs().max() < 2e-6
        expected.logsumexp(-1).sum().backward()
    for one, other in zip(packed.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)


@has_kernel
@pytest.mark.gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_the_kernel_of_a_gpu_keeps_documents_apart(family):
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    packed, alone = (tiny_model(family, attention=it).to("cuda", torch.bfloat16) for it in ("document", "sdpa"))
    row = packed_row(LENGTHS)
    ids, boundaries = row.input_ids.cuda(), row.boundaries
    documents = PackedDocuments(boundaries, "cuda")
    positions = row.position_ids.cuda()
    logits = packed(input_ids=ids, position_ids=positions, use_cache=False, documents=documents).logits[0]
    for start, stop in pairwise(boundaries):
        expected = alone(ids[:, start:stop], use_cache=False).logits[0]
        assert (logits[start:stop] - expected).abs().max() < 2e-2


@pytest.mark.parametrize(
    ("changed", "usable"),
    [
        ({}, True),
        ({"is_cuda": False}, False),
        ({"dtype": torch.float32}, False),
        ({"shape": (1, 4, 9, 320)}, False),
        ({"shape": (1, 4, 9, 12)}, False),
        ({"dropout": 0.1}, False),
        ({"softcap": 50.0}, False),
        ({"kernel": None}, False),
        ({"new_enough": False}, False),
    ],
)
def test_what_the_kernel_can_take(monkeypatch, changed, usable):
    facts = {"is_cuda": True, "dtype": torch.bfloat16, "shape": (1, 4, 9, 64), "device": "cuda", **changed}
    monkeypatch.setattr(varlen_attention, "_kernel", lambda: facts.get("kernel", "there"))
    monkeypatch.setattr(varlen_attention, "_is_new_enough", lambda device: facts.get("new_enough", True))
    assert has_varlen(SimpleNamespace(**facts), facts.get("dropout", 0.0), facts.get("softcap")) is usable
