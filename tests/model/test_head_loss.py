from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from cslm.errors import MissingExtraError, UserError
from cslm.model import head_loss as module
from cslm.model.head_loss import head_loss
from cslm.model.loss import LanguageModelLoss
from tests.worlds.tiny_models import packed_row, tiny_model

ROOT = Path(__file__).resolve().parents[2]


def parts(positions=9, width=8, ids=50, dtype=torch.float32):
    torch.manual_seed(0)
    head = nn.Linear(width, ids, bias=False, dtype=dtype)
    hidden = torch.randn(positions, width, dtype=dtype, requires_grad=True)
    return head, hidden, torch.arange(positions) % ids, torch.linspace(0.5, 2, positions)


@pytest.mark.parametrize("softcap", [None, 0.5])
@pytest.mark.parametrize("chunk", [1, 4, 9, 100])
def test_value_and_gradients_are_those_of_logits_that_exist(monkeypatch, chunk, softcap):
    head, hidden, targets, weights = parts()
    monkeypatch.setattr(module, "CHUNK_LOGITS", chunk * 50)
    loss, losses, correct = head_loss(head, hidden, targets, weights, softcap)
    logits = hidden @ head.weight.T
    logits = logits if softcap is None else torch.tanh(logits / softcap) * softcap
    plain = cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(losses, plain.detach())
    assert correct.tolist() == (logits.argmax(1) == targets).float().tolist()
    found = torch.autograd.grad(loss * 3, (hidden, head.weight))
    wanted = torch.autograd.grad((plain * weights).sum() * 3, (hidden, head.weight))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("frozen", ["hidden", "weight"])
def test_what_does_not_learn_has_no_gradient_made(frozen):
    head, hidden, targets, weights = parts()
    (hidden if frozen == "hidden" else head.weight).requires_grad_(False)
    head_loss(head, hidden, targets, weights)[0].backward()
    assert (hidden.grad is None, head.weight.grad is None) == (frozen == "hidden", frozen == "weight")


def test_bf16_keeps_the_loss_in_float32():
    head, hidden, targets, weights = parts(dtype=torch.bfloat16)
    loss, losses, _ = head_loss(head, hidden, targets, weights)
    assert loss.dtype == losses.dtype == torch.float32
    loss.backward()
    assert hidden.grad.dtype == head.weight.grad.dtype == torch.bfloat16


def test_no_position_at_all_is_a_zero_with_zero_gradients():
    head, hidden, targets, weights = parts(positions=0)
    loss, losses, correct = head_loss(head, hidden, targets, weights)
    loss.backward()
    assert (loss.item(), len(losses), len(correct)) == (0, 0, 0)
    assert not head.weight.grad.any()


def test_the_head_is_called_once_and_is_itself_again(monkeypatch):
    """Under ZeRO 3 each call gathers its weight."""
    monkeypatch.setattr(module, "CHUNK_LOGITS", 100)
    head, hidden, targets, weights = parts()
    calls = []
    head.register_forward_hook(lambda *arguments: calls.append(1))
    head_loss(head, hidden, targets, weights)
    assert calls == [1]
    assert head(hidden).shape == (9, 50)


def test_validation_makes_no_gradients():
    head, hidden, targets, weights = parts()
    with torch.no_grad():
        loss, _, _ = head_loss(head, hidden, targets, weights)
    assert not loss.requires_grad


def test_ligers_kernel_gives_the_same_loss_and_gradients():
    pytest.importorskip("liger_kernel", reason="pip install 'cslm[liger]'")
    pytest.importorskip("triton", minversion="3.6", reason="the interpreter of older ones does not know numpy 2.4")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.model.compare_with_liger"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("equal") == 2


@pytest.mark.gpu
def test_ligers_kernel_is_taken_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    pytest.importorskip("liger_kernel", reason="pip install 'cslm[liger]'")
    found = []
    for kernel in ("auto", "torch"):
        head, *tensors = (it.cuda() for it in parts())
        hidden = tensors[0].detach().requires_grad_()
        loss, losses, correct = head_loss(head, hidden, *tensors[1:], kernel=kernel)
        loss.backward()
        found.append((loss, losses, correct, hidden.grad, head.weight.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_liger_where_it_cannot_run_is_named(monkeypatch):
    monkeypatch.setattr(module, "_has_liger", lambda: False)
    with pytest.raises(MissingExtraError, match=r"cslm\[liger\]"):
        head_loss(*parts(), kernel="liger")
    monkeypatch.setattr(module, "_has_liger", lambda: True)
    with pytest.raises(UserError, match="needs a GPU"):
        head_loss(*parts(), kernel="liger")
    with pytest.raises(UserError, match="does not cap logits"):
        head_loss(*parts(), softcap=2.0, kernel="liger")
    model = tiny_model(attention="document")
    model.config.model_type = "another"
    with pytest.raises(UserError, match="does not know the head of another"):
        LanguageModelLoss(model, 3, "liger")(packed_row([5, 3]))


def test_a_head_that_is_not_known_keeps_its_logits_whole_and_gives_the_same():
    row, found = packed_row([9, 20, 4]), []
    for name in ("qwen3", "another"):
        model = tiny_model(attention="document")
        model.config.model_type = name
        output = LanguageModelLoss(model, 3)(replace(row, target_weights=torch.linspace(0.5, 2, row.num_targets)))
        output.weighted_sum.backward()
        found.append([output.weighted_sum, *output.report, *(parameter.grad for parameter in model.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
