"""What a model knows in text: the ceiling of a chain that leads there from speech."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cslm.evaluation.facts import states_fact
from cslm.files.atomic_file import write_atomically
from cslm.sequences.prompts import prompt_for
from cslm.sequences.sequence_format import SequenceFormat

_MOST_TOKENS = 60


def text_ceiling(checkpoint: Path, dialogues: Iterable[Mapping[str, Any]], kept: Path) -> dict[str, bool]:
    """Whether the model answers each question rightly where it is put in the core language, as text; by its id.

    Args:
        checkpoint: folder of a model that was taught ``text_dialogue``.
        dialogues: tests with ``core_question``, ``core_language``, ``core_fact`` and ``core_wrong_facts``.
        kept: file of the answers; what is there is not asked again.
    """
    rows = list(dialogues)
    if not kept.is_file():
        asked = list(dict.fromkeys((row["core_question"], row["core_language"]) for row in rows))
        found = [[*question, answer] for question, answer in zip(asked, answers(checkpoint, asked), strict=True)]
        write_atomically(kept, json.dumps(found, ensure_ascii=False, indent=1).encode())
    told = {(text, code): answer for text, code, answer in json.loads(kept.read_bytes())}
    return {str(row["id"]): _is_right(row, told[row["core_question"], row["core_language"]]) for row in rows}


@torch.inference_mode()
def answers(checkpoint: Path, asked: Sequence[tuple[str, str]]) -> list[str]:
    """The greedy answer to each written question ``(text, language)``, one by one."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    form = SequenceFormat(tokenizer)
    ends = list(form.end_ids)
    texts = []
    for text, language in asked:
        prompt = torch.from_numpy(prompt_for(form, "text_dialogue", language=language, text=text)).long()[None]
        reply = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=_MOST_TOKENS, do_sample=False,
            eos_token_id=ends, pad_token_id=ends[0],
        )[0, prompt.shape[1] :]  # fmt: skip
        texts.append(form.encoder.decode([token for token in reply.tolist() if token not in ends]).strip())
    return texts


def _is_right(row: Mapping[str, Any], answer: str) -> bool:
    return states_fact(answer, row["core_fact"], row["core_wrong_facts"], row["core_language"])
