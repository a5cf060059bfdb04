"""Run by test_head_loss.py with Triton's interpreter: Liger's kernel, on a CPU, against PyTorch's operations."""

from __future__ import annotations

import torch
from torch import nn

from cslm.model import head_loss

WIDTH, IDS = 16, 1000


def found(kernel: str, positions: int) -> list[torch.Tensor]:
    """Loss, losses, what is right, and the gradients of hidden states and weight."""
    torch.manual_seed(positions)
    head = nn.Linear(WIDTH, IDS, bias=False)
    hidden = torch.randn(positions, WIDTH).mul_(4).requires_grad_()
    with torch.no_grad():
        targets = torch.where(torch.arange(positions) % 2 == 0, head(hidden).argmax(1), 7)  # every other one is right
    weights = torch.linspace(0.5, 2.0, positions)
    loss, losses, correct = head_loss.head_loss(head, hidden, targets, weights, kernel=kernel)
    (loss / 3).backward()
    return [loss, losses, correct, hidden.grad, head.weight.grad]


def main() -> None:
    """One chunk, several, and a last one that is not full."""
    for chunk in (head_loss.CHUNK_LOGITS, 5 * IDS):
        head_loss.CHUNK_LOGITS = chunk
        for one, other in zip(found("liger", 12), found("torch", 12), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        with torch.no_grad():
            head = nn.Linear(WIDTH, IDS, bias=False)
            arguments = (head, torch.randn(3, WIDTH), torch.tensor([1, 2, 3]), torch.ones(3))
            both = [head_loss.head_loss(*arguments, kernel=kernel) for kernel in ("liger", "torch")]
            for one, other in zip(*both, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        print(f"chunks of {chunk // IDS}: equal", flush=True)


if __name__ == "__main__":
    main()
