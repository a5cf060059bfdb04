"""A causal language model from a folder, with every tensor accounted for: transformers makes up what is missing.

It fills weights that a checkpoint lacks with random numbers, leaves out those that it has no place for, and warns. A
base like that trains, and its loss falls: so it is refused before the first step.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import PreTrainedModel

from cslm.errors import UserError
from cslm.files.progress import without_progress_bar

_MOST_NAMES = 4


def load_whole(
    model_class: Any, place: str | os.PathLike[str], *arguments: Any, unused: Sequence[str] = (), **options: Any
) -> PreTrainedModel:
    """``model_class.from_pretrained(place, ...)``, refused unless files and model hold the same tensors.

    Args:
        model_class: of transformers, or ``AutoModelForCausalLM``.
        place: a folder or a Hub id.
        unused: patterns (``mtp.*``) of tensors that may lie in the files though the model has no place for them.
        options: as for ``from_pretrained``.

    Raises:
        UserError: tensors that are missing, left over, of another shape, or tied in the configuration and not in the
            files; they are named. Or a file of tensors that is cut short.
    """
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
    try:
        with without_progress_bar():
            model, found = model_class.from_pretrained(str(place), *arguments, **options)
    except SafetensorError as error:
        raise UserError(f"{place}: a file of tensors is cut short or damaged ({error}): copy the model again") from None
    shapes = {_name_of(entry) for entry in found["mismatched_keys"]}
    missing = set(found["missing_keys"]) - shapes
    left_over = [name for name in found["unexpected_keys"] if not any(fnmatch.fnmatch(name, it) for it in unused)]
    faults = [
        _fault("missing from its files, and would be random", missing),
        _fault("in its files with another shape than config.json says", shapes),
        _fault("in its files, and the model has no place for them", left_over),
        _fault("not what config.json ties them to (tie_word_embeddings)", _parted(model, Path(place))),
    ]
    told = [fault for fault in faults if fault]
    if told:
        advice = "copy the checkpoint again, or mend its config.json or the names of its tensors"
        raise UserError(f"{place}: tensors that are {'; '.join(told)}: {advice}")
    assert isinstance(model, PreTrainedModel)
    return model


def _name_of(entry: Any) -> str:
    """The name in an entry of ``mismatched_keys``: transformers 4 gives names, 5 also the shapes."""
    return str(entry if isinstance(entry, str) else entry[0])


def _fault(what: str, names: Collection[str]) -> str:
    """What is wrong with these tensors, in words; nothing where there are none."""
    if not names:
        return ""
    first = sorted(names)[:_MOST_NAMES]
    more = f" and {len(names) - len(first):,} more" if len(names) > len(first) else ""
    return f"{what}: {', '.join(first)}{more}"


def _parted(model: PreTrainedModel, folder: Path) -> list[str]:
    """The head's weight, where the configuration ties it and the files hold one that differs from the embedding."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if not isinstance(head, nn.Linear) or not folder.is_dir() or not model.config.get_text_config().tie_word_embeddings:
        return []
    names = {id(module): name for name, module in model.named_modules()}
    wanted = [f"{names[id(module)]}.weight" for module in (head, embedding)]
    stored = _tensors(wanted, sorted(folder.glob("*.safetensors")))
    return [wanted[0]] if len(stored) == 2 and not torch.equal(*stored.values()) else []


def _tensors(wanted: Iterable[str], files: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Those of the wanted tensors that the files hold."""
    stored: dict[str, torch.Tensor] = {}
    for file in files:
        with safe_open(file, framework="pt") as opened:
            stored |= {name: opened.get_tensor(name) for name in wanted if name in opened.keys()}  # noqa: SIM118
    return stored
