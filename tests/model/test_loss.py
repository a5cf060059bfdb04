from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch.nn.functional import cross_entropy

from cslm.batches.packed_row import PackedRow
from cslm.model import head_loss
from cslm.model.head_loss import torch_losses
from cslm.model.loss import LanguageModelLoss
from tests.worlds.tiny_models import packed_row, tiny_model

LENGTHS = [7, 30, 12, 29, 3]


def plain_loss(model, row):
    """Ten lines of torch: every document alone, summed cross-entropy over its trained tokens."""
    total = torch.zeros(())
    positions = set(row.target_positions.tolist())
    boundaries = row.boundaries
    for start, stop in pairwise(boundaries):
        ids = row.input_ids[:, start:stop]
        logits = model(ids, use_cache=False).logits[0]
        for place in range(start, stop - 1):
            if place in positions:
                total = total + cross_entropy(logits[place - start], ids[0, place - start + 1])
    return total


@pytest.mark.parametrize(("family", "tied"), [("llama", False), ("qwen3", True), ("gemma3_text", True)])
def test_value_and_gradients_are_those_of_the_plain_loss(family, tied):
    ours, plain = tiny_model(family, tied, "document"), tiny_model(family, tied)
    row = packed_row(LENGTHS)
    output = LanguageModelLoss(ours, num_groups=3)(row)
    expected = plain_loss(plain, row)
    torch.testing.assert_close(output.weighted_sum, expected, rtol=1e-5, atol=1e-5)
    output.weighted_sum.div(row.num_targets).backward()
    expected.div(row.num_targets).backward()
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("family", "tied"), [("llama", False), ("qwen3", True), ("gemma3_text", True)])
def test_logits_in_chunks_give_the_same(family, tied, monkeypatch):
    row, found, sizes = packed_row(LENGTHS), [], []
    row = replace(row, target_weights=torch.linspace(0.5, 2, row.num_targets))

    def seen(logits, *arguments):
        sizes.append(len(logits))
        return torch_losses(logits, *arguments)

    monkeypatch.setattr(head_loss, "torch_losses", seen)
    for limit in (head_loss.CHUNK_LOGITS, 64 * 7):
        monkeypatch.setattr(head_loss, "CHUNK_LOGITS", limit)
        model = tiny_model(family, tied, "document")
        if family == "gemma3_text":
            model.config.final_logit_softcapping = 2.0
        sizes.clear()
        output = LanguageModelLoss(model, num_groups=3)(row)
        output.weighted_sum.backward()
        found.append((output, [p.grad for p in model.parameters()]))
    assert max(sizes) == 7
    for one, other in zip(*([output.weighted_sum, *output.report] for output, _ in found), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_packed_is_unpacked_and_one_row_is_many():
    model = LanguageModelLoss(tiny_model(attention="document"), num_groups=3)
    whole = packed_row(LENGTHS)
    parts = [slice_of(whole, document) for document in range(len(LENGTHS))]
    together = model(whole).weighted_sum
    apart = sum(model(part).weighted_sum for part in parts)
    torch.testing.assert_close(together, apart)


def test_sdpa_of_transformers_isolates_documents_too():
    row = packed_row(LENGTHS)
    one = LanguageModelLoss(tiny_model(attention="document"), 3)(row).weighted_sum
    other = LanguageModelLoss(tiny_model(attention="sdpa"), 3)(row).weighted_sum
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_groups_split_the_sum():
    row = packed_row(LENGTHS)
    output = LanguageModelLoss(tiny_model(attention="document"), num_groups=4)(row)
    torch.testing.assert_close(output.report.sums.sum(), output.weighted_sum.detach())
    assert output.report.counts.tolist() == [*torch.bincount(row.target_groups, minlength=3).tolist(), 0]
    assert (output.report.correct <= output.report.counts).all()
    assert not output.report.sums.requires_grad


def test_a_row_with_nothing_to_learn_still_runs_backward():
    model = LanguageModelLoss(tiny_model(attention="document"), num_groups=3)
    row = packed_row([1], trained=0.0)
    output = model(row)
    assert output.weighted_sum.item() == 0.0 and not any(row.counts().values())
    output.weighted_sum.backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_masked_positions_never_reach_the_head():
    model = LanguageModelLoss(tiny_model(attention="document"), num_groups=3)
    seen = []
    model.model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    row = packed_row(LENGTHS)
    model(row)
    assert seen == [(row.num_targets, 32)]


def slice_of(row, document):
    start, stop = row.boundaries[document : document + 2]
    inside = (row.target_positions >= start) & (row.target_positions < stop)
    return PackedRow(
        input_ids=row.input_ids[:, start:stop],
        position_ids=row.position_ids[:, start:stop],
        boundaries=(0, stop - start),
        target_positions=row.target_positions[inside] - start,
        target_ids=row.target_ids[inside],
        target_weights=row.target_weights[inside],
        target_groups=row.target_groups[inside],
    )


def test_a_weight_of_two_is_a_target_that_stands_there_twice():
    model = LanguageModelLoss(tiny_model(attention="document"), num_groups=3)
    row = packed_row(LENGTHS)
    heavy = torch.arange(row.num_targets) % 3 == 0
    names = ("target_positions", "target_ids", "target_weights", "target_groups")
    doubled = {name: torch.cat((getattr(row, name), getattr(row, name)[heavy])) for name in names}
    weighted = model(replace(row, target_weights=1.0 + heavy.float()))
    twice = model(replace(row, **doubled))
    torch.testing.assert_close(weighted.weighted_sum, twice.weighted_sum)
    torch.testing.assert_close(weighted.report.sums, model(row).report.sums)
    assert weighted.report.counts.sum() == row.num_targets
    losses = (weighted.weighted_sum, twice.weighted_sum)
    gradients = [torch.autograd.grad(loss, list(model.parameters())) for loss in losses]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
