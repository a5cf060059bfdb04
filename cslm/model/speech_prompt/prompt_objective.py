"""What a speech prompt learns by: encoder, connector and frozen language model over packed rows with clips."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from cslm.batches.packed_row import PackedRow
from cslm.model.loss import read_row, report_by_group, row_arguments, token_losses
from cslm.model.objective import Objective
from cslm.model.speech_prompt.heard_row import HeardRow, PromptLoss
from cslm.model.speech_prompt.speech_prompt import SpeechPrompt, trained_names


class PromptObjective(nn.Module):
    """The trained module: its gradients go through the frozen language model into the connector."""

    def __init__(
        self,
        prompt: SpeechPrompt,
        losses: Mapping[str, PromptLoss],
        num_groups: int,
        dims: int,
        loss_kernel: str = "auto",
    ) -> None:
        """The objective of ``prompt``.

        Args:
            losses: terms by name.
            num_groups: what it is reported in.
            dims: size of a frame of the encoder.
            loss_kernel: as in :func:`~cslm.model.head_loss.head_loss`.
        """
        super().__init__()
        self.prompt = prompt
        self._trained = {f"prompt.{name}" for name in trained_names(prompt)}
        self._losses, self._num_groups, self._dims, self._kernel = dict(losses), num_groups, dims, loss_kernel

    def begin(self, step: int, last_step: int) -> None:
        """Before the data of a step pass: for a connector, or a loss, that changes while training goes on."""
        for part in (self.prompt.connector, *self._losses.values()):
            if hasattr(part, "begin"):
                part.begin(step, last_step)

    def saves(self, name: str) -> bool:
        """Whether a tensor of the state is trained, and so part of a checkpoint."""
        return name in self._trained

    def forward(self, row: PackedRow) -> Objective:
        """The terms of one packed row."""
        prompt, clips = self.prompt, row.clips
        connected = prompt.connect_nothing(row.input_ids.device, self._dims) if clips is None else prompt.connect(clips)
        embeddings = prompt.embeddings(row.input_ids, clips, connected)
        arguments = {"inputs_embeds": embeddings, **row_arguments(prompt.llm, row)}
        read = read_row(prompt.llm, arguments, row.target_positions, self._kernel)
        targets = token_losses(prompt.llm, read, row, self._kernel)
        heard = HeardRow(row, connected, embeddings, read, targets, prompt.llm)
        terms = {name: loss(heard) for name, loss in self._losses.items()}
        return Objective(terms, report_by_group(targets, row, self._num_groups), row.counts())
