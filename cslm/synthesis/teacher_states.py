"""Last hidden states of a frozen language model on transcripts: the rows of a store of teacher states."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from cslm.corpora.languages import language_tag
from cslm.corpora.manifest import Utterance
from cslm.encoders.audio_batches import AudioBatches
from cslm.evaluation.likelihood import padded_batch
from cslm.generation.decoding import context_length
from cslm.model.frozen_llm import FrozenLLM, open_frozen_llm
from cslm.model.loss import last_states
from cslm.sequences.audio_distillation import transcript_ids, transcript_prompt
from cslm.units.make_samples import MadeRows, SamplesJob

STATE_TYPES = {"float16": pa.float16(), "float32": pa.float32()}


class _Prompt(NamedTuple):
    utterance: Utterance
    ids: npt.NDArray[np.int32]
    num_ids: int
    """of its transcript"""


class TeacherStates:
    """What makes the rows of a shard: the state after the header of the reply. Batches are those of the shard alone."""

    def __init__(self, llm: FrozenLLM, batch_tokens: int, state_type: str) -> None:
        """States of ``llm``.

        Args:
            batch_tokens: ids read together, padding included.
            state_type: of a number in the store, by its name in ``STATE_TYPES``.
        """
        self._llm, self._batch_tokens, self._type = llm, batch_tokens, state_type
        self._context = context_length(llm.model)
        state = pa.list_(STATE_TYPES[state_type], int(llm.model.config.get_text_config().hidden_size))
        fields = [("id", pa.string()), ("language", pa.string()), ("text", pa.string()), ("num_ids", pa.int32())]
        self._schema = pa.schema([*fields, ("state", state)])

    def __call__(self, job: SamplesJob) -> MadeRows:
        """The states of the utterances of a job, in their order."""
        prompts, rejected = list[_Prompt](), list[dict[str, str]]()
        for utterance in job.samples:
            prompt = transcript_prompt(self._llm.form, utterance.text, language_tag(utterance.language))
            ids = transcript_ids(prompt)
            reason = self._unusable(len(prompt), len(ids) if utterance.text.strip() else 0)
            if reason is None:
                prompts.append(_Prompt(utterance, prompt.ids, len(ids)))
            else:
                rejected.append({"id": utterance.id, "reason": reason})
        num_threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in the workers: the same sums in the same order
        try:
            states = self._states(prompts)
        finally:
            torch.set_num_threads(num_threads)
        kept = [index for index, state in enumerate(states) if np.isfinite(state).all()]
        for index in sorted(set(range(len(prompts))) - set(kept)):
            reason = f"its state has numbers that {self._type} does not hold"
            rejected.append({"id": prompts[index].utterance.id, "reason": reason})
        rows = [_row(prompts[index], states[index]) for index in kept]
        counts = {"ids of transcripts": sum(row["num_ids"] for row in rows)}
        return MadeRows(pa.Table.from_pylist(rows, schema=self._schema), rejected, counts)

    def _unusable(self, num_prompt_ids: int, num_ids: int) -> str | None:
        if num_ids == 0:
            return "it has no transcript"
        if self._context is not None and num_prompt_ids > self._context:
            return f"its prompt of {num_prompt_ids} tokens is longer than the model's context of {self._context}"
        return None

    @torch.inference_mode()
    def _states(self, prompts: list[_Prompt]) -> list[npt.NDArray[np.floating]]:
        found: dict[int, npt.NDArray[np.floating]] = {}
        for group in AudioBatches(self._batch_tokens).groups([len(prompt.ids) for prompt in prompts], 1.0):
            given = padded_batch(self._llm.model, [prompts[index].ids for index in group])
            hidden = last_states(self._llm.model, given)
            with np.errstate(over="ignore"):
                for row, index in enumerate(group):
                    last = hidden[row, len(prompts[index].ids) - 1].float().cpu().numpy()
                    found[index] = last.astype(self._type)
        return [found[index] for index in range(len(prompts))]


def _row(prompt: _Prompt, state: npt.NDArray[np.floating]) -> dict[str, Any]:
    utterance = prompt.utterance
    language = language_tag(utterance.language)
    return {"id": utterance.id, "language": language, "text": utterance.text, "num_ids": prompt.num_ids, "state": state}


def open_teaching(
    place: str, revision: str | None, dtype: str, batch_tokens: int, state_type: str, device: str
) -> TeacherStates:
    """The same in a process of its own.

    Raises:
        UserError: the model cannot be opened.
    """
    return TeacherStates(open_frozen_llm(place, revision, dtype, device), batch_tokens, state_type)
