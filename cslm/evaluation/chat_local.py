"""A chat model of transformers on this machine: its own chat template, the project's own decoding."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessorList

from cslm.codecs.fingerprint import canonical_json, fingerprint
from cslm.errors import UserError, first_line
from cslm.evaluation.chat_config import ChatConfig
from cslm.evaluation.chat_contract import ChatFailure, ChatText, Messages
from cslm.generation.decoding import DecodingConfig, ReplyRules, context_length, decode
from cslm.model.loading import load_whole


class LocalChat:
    """Answers in batches; a reply does not depend on what it is batched with, but for the rounding of its kernels."""

    def __init__(self, config: ChatConfig) -> None:
        """Load model and tokenizer.

        Raises:
            UserError: they cannot be loaded, or the tokenizer has no chat template.
        """
        assert config.local is not None and config.max_tokens is not None and config.temperature is not None
        self._local, self._name = config.local, config.model
        self._decoding = DecodingConfig(config.max_tokens, config.temperature)
        self._tokenizer, self._model = _opened(config)
        if self._tokenizer.chat_template is None:
            raise UserError(f"{config.model} has no chat template: choose a model that was taught to chat")
        ends = self._model.generation_config.eos_token_id if self._model.generation_config is not None else None
        own = {self._tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
        self._ends = frozenset(int(token_id) for token_id in own if token_id is not None)
        if not self._ends:
            raise UserError(f"{config.model} names no token that ends a reply: give eos_token_id in its configuration")
        tensors = {name: _plain_bytes(tensor) for name, tensor in self._model.state_dict().items()}
        self._weights = fingerprint(tensors, {"chat_template": self._tokenizer.chat_template})

    @property
    def identity(self) -> Mapping[str, Any]:
        """Weights and template by their hash, not by the folder; and the parameters."""
        return {
            "model": self._weights,
            "dtype": str(self._model.dtype),
            "temperature": self._decoding.temperature,
            "max_tokens": self._decoding.max_new_tokens,
            "template": self._local.template,
        }

    def complete(self, conversations: Sequence[Messages]) -> Iterator[tuple[int, ChatText | ChatFailure]]:
        """Yield replies batch by batch; a conversation that the model's context has no room for is ``refused``."""
        prompts = [self._prompt(messages) for messages in conversations]
        context = context_length(self._model)
        order = sorted(range(len(prompts)), key=lambda index: (-len(prompts[index]), index))
        while order and context is not None and len(prompts[order[0]]) >= context:
            tokens = f"{len(prompts[order[0]])} tokens"
            yield order.pop(0), ChatFailure("refused", f"{tokens} do not fit into the model's context of {context}")
        for start in range(0, len(order), self._local.batch_size):
            batch = order[start : start + self._local.batch_size]
            generators = [_generator(conversations[index]) for index in batch]
            yield from zip(batch, self._answers([prompts[index] for index in batch], generators), strict=True)

    def _prompt(self, messages: Messages) -> NDArray[np.int64]:
        """The ids ``(num_ids,)`` of a conversation up to where the model's reply begins."""
        plain = [dict(message) for message in messages]
        try:
            text = self._tokenizer.apply_chat_template(
                plain, tokenize=False, add_generation_prompt=True, **self._local.template
            )
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in plain)
            raise UserError(
                f"the chat template of {self._name} refuses a conversation of {roles} ({first_line(error)}): use a "
                "prompt without that role, or another model"
            ) from None
        return np.asarray(self._tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int64)

    def _answers(
        self, prompts: Sequence[NDArray[np.int64]], generators: Sequence[torch.Generator]
    ) -> list[ChatText | ChatFailure]:
        rules = ReplyRules(LogitsProcessorList(), self._ends, min(self._ends))  # type: ignore[arg-type]
        written: list[list[int]] = [[] for _ in prompts]
        for step in decode(self._model, prompts, rules, self._decoding, generators):
            for place, token_id in zip(step.prompts, step.ids, strict=True):
                written[place].append(token_id)
        return [self._reply(ids) for ids in written]

    def _reply(self, ids: Sequence[int]) -> ChatText | ChatFailure:
        text = self._tokenizer.decode(ids, skip_special_tokens=True).strip()
        if not text:
            return ChatFailure("malformed", "the model wrote no text")
        return ChatText(text, ids[-1] in self._ends)


def _opened(config: ChatConfig) -> tuple[Any, Any]:
    """Tokenizer and model, every tensor accounted for."""
    assert config.local is not None
    try:
        tokenizer = AutoTokenizer.from_pretrained(config.model, revision=config.revision)
        options: dict[str, Any] = {"revision": config.revision, "dtype": config.local.dtype}
        model: Any = load_whole(AutoModelForCausalLM, config.model, **options)
        model.to(config.local.device)
    except UserError:
        raise
    except (OSError, ValueError, RuntimeError, AssertionError) as error:
        raise UserError(f"the chat model {config.model} cannot be opened: {first_line(error)}") from None
    return tokenizer, model.eval()


def _plain_bytes(tensor: torch.Tensor) -> NDArray[np.uint8]:
    """The bytes of a tensor: numpy has no bfloat16."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def _generator(messages: Messages) -> torch.Generator:
    """Draws for one conversation, from its own text: no draw depends on what else is asked."""
    digest = hashlib.sha256(canonical_json([dict(message) for message in messages]).encode("utf-8")).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
