"""What a frozen language model answers to conversations in text: greedily, in batches of similar length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from transformers import LogitsProcessorList

from cslm.generation.decoding import DecodingConfig, ReplyRules, generate
from cslm.model.frozen_llm import FrozenLLM


class TextAnswer(NamedTuple):
    """An answer, without what ended it."""

    ids: list[int]
    text: str
    truncated: bool
    """whether it was cut off"""


def text_answers(
    llm: FrozenLLM,
    prompts: Sequence[NDArray[Any]],
    max_new_tokens: int,
    batch_size: int,
    description: str | None = None,
) -> list[TextAnswer]:
    """The answer to each prompt ``(num_ids,)``. One thread computes: the same sums in the same order everywhere.

    Raises:
        UserError: a prompt that fills the model's context.
    """
    if not prompts:
        return []
    rules = ReplyRules(LogitsProcessorList(), llm.end_ids, min(llm.end_ids))  # type: ignore[arg-type]
    decoding = DecodingConfig(max_new_tokens, batch_size=batch_size)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        replies = generate(llm.model, prompts, rules, decoding, description=description)
    finally:
        torch.set_num_threads(num_threads)
    answers = []
    for reply in replies:
        ended = bool(reply.ids) and reply.ids[-1] in llm.end_ids
        ids = reply.ids[:-1] if ended else reply.ids
        answers.append(TextAnswer(ids, llm.form.encoder.decode(ids), not ended))
    return answers
