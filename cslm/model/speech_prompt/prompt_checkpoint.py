"""The checkpoint of a speech prompt: what was trained, and of what is frozen name, revision and a hash of its tensors.

``config.json`` has the hashes, ``speech_prompt.yaml`` the settings, ``model.safetensors`` the connector and LoRA. A
whole folder (``merge``) holds the frozen parts too, as they were; it is opened by the same code.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from cslm.chosen_section import chosen_section
from cslm.codecs.encoder_hash import ENCODER
from cslm.configuration import load_configuration, save_configuration
from cslm.encoders.encoders import source_of, with_source
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError
from cslm.files.atomic_file import folder_aside
from cslm.files.can_be_made import check_can_be_made
from cslm.model.backbone import load_text_tokenizer
from cslm.model.checkpoint import check_checkpoint
from cslm.model.frozen_llm import LANGUAGE_MODEL
from cslm.model.local_folder import local_folder
from cslm.model.speech_prompt.frozen_hash import check_frozen
from cslm.model.speech_prompt.prompt_parts import PromptParts, open_parts
from cslm.model.speech_prompt.prompt_settings import PromptSettings
from cslm.model.speech_prompt.speech_prompt import SpeechPrompt, trained_names
from cslm.sequences.hearing import PLACEHOLDER
from cslm.sequences.text_tokenizer import save_text_tokenizer

SECTION = "speech_prompt"
"""of ``config.json``; without a model type, for this is no model of transformers"""
SETTINGS_FILE = "speech_prompt.yaml"
WEIGHTS_FILE = "model.safetensors"
LLM_FOLDER, ENCODER_FOLDER = "llm", "encoder"
"""of a whole folder"""
_WRITING = ".checkpoint-being-written"
OF_A_MODEL = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.bin")
"""what ``merge`` copies of a frozen part"""


def save_prompt(
    settings: PromptSettings,
    tokenizer: PreTrainedTokenizerBase,
    hashes: dict[str, str],
    weights: dict[str, Tensor],
    folder: Path,
) -> None:
    """Write a checkpoint into ``folder``, beside whatever else it holds; ``config.json`` comes last.

    Args:
        settings: paths in it are from here; in the checkpoint they lead there from its folder.
        weights: by :func:`trained_names`.
    """
    aside = folder / _WRITING
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    save_text_tokenizer(tokenizer, aside)
    save_file({name: value.contiguous() for name, value in weights.items()}, aside / WEIGHTS_FILE, {"format": "pt"})
    save_configuration(_seen_from(settings, folder), aside / SETTINGS_FILE)
    config = {SECTION: {"hashes": hashes}}
    (aside / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "config.json").unlink(missing_ok=True)
    for entry in sorted(aside.iterdir(), key=lambda entry: entry.name == "config.json"):
        with entry.open("rb") as opened:
            os.fsync(opened.fileno())
        os.replace(entry, folder / entry.name)
    aside.rmdir()


def holds_prompt(folder: Path) -> bool:
    """Whether a folder holds the checkpoint of a speech prompt.

    A ``config.json`` that cannot be read is of none: whoever opens the folder then says what is wrong with it.
    """
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and SECTION in content


def is_whole(folder: Path) -> bool:
    """Whether the folder of a speech prompt holds its frozen parts too."""
    return (folder / LLM_FOLDER / "config.json").is_file()


def open_prompt(
    folder: Path,
    runtime: Runtime,
    llm: str | None = None,
    encoder: str | None = None,
    dtype: str | None = None,
    attention: str | None = None,
) -> tuple[PromptParts, PromptSettings]:
    """Open a checkpoint, with the frozen parts that it names or that are given.

    Args:
        llm: folder or Hub id of the language model, if it lies elsewhere now.
        encoder: the same of the encoder.
        dtype: of the language model, if not that of the training.
        attention: of the language model.

    Raises:
        UserError: a folder that is not whole, a part that cannot be opened, or one that it was not trained with.
    """
    config = check_checkpoint(folder)
    if SECTION not in config:
        raise UserError(
            f"{folder} is no checkpoint of train-prompt, whose model hears by a connector: give one of those"
        )
    hashes = config[SECTION]["hashes"]
    settings = load_configuration(PromptSettings, folder / SETTINGS_FILE)
    if llm is not None:
        settings = dataclasses.replace(settings, llm=os.path.abspath(llm) if Path(llm).exists() else llm, revision=None)
    if encoder is not None:
        source = os.path.abspath(encoder) if Path(encoder).exists() else encoder
        settings = dataclasses.replace(settings, encoder=with_source(settings.encoder, source))
    settings = _seen_from_here(settings, folder)
    if dtype is not None:
        settings = dataclasses.replace(settings, dtype=dtype)
    llm_folder = local_folder(settings.llm, settings.revision)
    parts = open_parts(settings, str(llm_folder), runtime, attention)
    places = {LANGUAGE_MODEL: settings.llm, ENCODER: source_of(settings.encoder)[0]}
    check_frozen(hashes, parts.hashes, places, str(folder))
    _load_trained(parts.prompt, folder)
    tokenizer = load_text_tokenizer(str(folder))
    hearing = dataclasses.replace(parts.hearing, placeholder_id=int(tokenizer.get_vocab()[PLACEHOLDER]))
    return dataclasses.replace(parts, tokenizer=tokenizer, hearing=hearing), settings


def start_from(parts: PromptParts, settings: PromptSettings, folder: Path) -> None:
    """Load the trained part of another run, before the same frozen parts, in place.

    Args:
        parts: with a connector (and LoRA) of the same sizes.
        settings: where the frozen parts lie.
        folder: of a checkpoint.

    Raises:
        UserError: no checkpoint of a speech prompt, another connector, other languages or frozen parts, or tensors of
            other names or sizes.
    """
    if not holds_prompt(folder):
        raise UserError(f"start: {folder} is no checkpoint of train-prompt: give the folder of a finished run")
    hashes = check_checkpoint(folder)[SECTION]["hashes"]
    before = load_configuration(PromptSettings, folder / SETTINGS_FILE)
    kinds = [chosen_section(it.connector, "connector")[0] for it in (before, settings)]
    if kinds[0] != kinds[1]:
        raise UserError(f"start: {folder} has the connector {kinds[0]}, and this run {kinds[1]}: give the same one")
    if before.languages != settings.languages:
        raise UserError(
            f"start: {folder} tells apart the languages {before.languages}, and this run {settings.languages}: give "
            "the same ones in the same order"
        )
    places = {LANGUAGE_MODEL: settings.llm, ENCODER: source_of(settings.encoder)[0]}
    check_frozen(hashes, parts.hashes, places, str(folder))
    found = load_file(folder / WEIGHTS_FILE)
    odd = _odd_tensor(parts.prompt, found)
    if odd is not None:
        there, here = (_size(tensors, odd) for tensors in (found, _trained(parts.prompt)))
        raise UserError(
            f"start: {odd} is {there} in {folder} and {here} in this run: give connector and lora the settings of "
            f"{folder / SETTINGS_FILE}"
        )
    parts.prompt.load_state_dict(found, strict=False)


def merge_prompt(folder: Path, output: Path, llm: str | None = None, encoder: str | None = None) -> None:
    """Write the checkpoint in ``folder`` as a whole: with its frozen parts, as they are.

    Args:
        llm: folder or Hub id of the language model, if it lies elsewhere now.
        encoder: the same of the encoder.

    Raises:
        UserError: ``output`` holds something, or a frozen part that cannot be opened or is another.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is there and not empty: give another folder")
    check_can_be_made("output", str(output / "config.json"))
    parts, settings = open_prompt(folder, Runtime(), llm, encoder)
    source, revision = source_of(settings.encoder)
    with folder_aside(output) as aside:
        _copy(local_folder(settings.llm, settings.revision), aside / LLM_FOLDER)
        if settings.encoder.fairseq2 is not None:
            (aside / ENCODER_FOLDER).mkdir()
            inside = f"{ENCODER_FOLDER}/{Path(source).name}"
            shutil.copyfile(source, aside / inside)
        else:
            inside = ENCODER_FOLDER
            _copy(local_folder(source, revision), aside / ENCODER_FOLDER)
        moved = with_source(settings.encoder, str(aside / inside))
        whole = dataclasses.replace(settings, llm=str(aside / LLM_FOLDER), revision=None, encoder=moved)
        save_prompt(whole, parts.tokenizer, parts.hashes, _trained(parts.prompt), aside)


def _load_trained(prompt: SpeechPrompt, folder: Path) -> None:
    """Load the trained tensors, every one accounted for."""
    found = load_file(folder / WEIGHTS_FILE)
    odd = _odd_tensor(prompt, found)
    if odd is not None:
        raise UserError(f"{folder / WEIGHTS_FILE} does not hold what {SETTINGS_FILE} says: the tensor {odd} differs")
    prompt.load_state_dict(found, strict=False)


def _trained(prompt: SpeechPrompt) -> dict[str, Tensor]:
    """The trained tensors, by name."""
    state = prompt.state_dict()
    return {name: state[name] for name in trained_names(prompt)}


def _odd_tensor(prompt: SpeechPrompt, found: Mapping[str, Tensor]) -> str | None:
    """The first name of a trained tensor that is on one side alone, or has another size there; None if all agree."""
    own = _trained(prompt)
    return min((name for name in {*found, *own} if _size(found, name) != _size(own, name)), default=None)


def _size(tensors: Mapping[str, Tensor], name: str) -> str:
    return f"of the size {tuple(tensors[name].shape)}" if name in tensors else "missing"


def _seen_from(settings: PromptSettings, folder: Path) -> PromptSettings:
    """The settings with paths that lead from ``folder`` to what they lead to from here."""
    return _moved(settings, lambda name: os.path.relpath(os.path.abspath(name), os.path.abspath(folder)))


def _seen_from_here(settings: PromptSettings, folder: Path) -> PromptSettings:
    """The settings of a checkpoint in ``folder`` with paths from here."""
    settings = dataclasses.replace(settings, llm=_there(settings.llm, folder))
    source = _there(source_of(settings.encoder)[0], folder)
    return dataclasses.replace(settings, encoder=with_source(settings.encoder, source))


def _there(name: str, folder: Path) -> str:
    """The path of a frozen part as it is from here; the id of one of the Hub stays.

    Raises:
        UserError: it is a path, and nothing is there.
    """
    if (folder / name).exists():
        return str(folder / name)
    if Path(name).parts[0] in (LLM_FOLDER, ENCODER_FOLDER):  # as merge writes them
        raise UserError(f"{folder} is not whole: {name} is missing in it; copy it again")
    if name.startswith((".", os.sep)):
        raise UserError(
            f"{folder} was trained before {os.path.abspath(folder / name)}, and there is nothing now: put it back, or "
            "say where it lies by --llm and --encoder of cslm merge, or llm and encoder of from_pretrained"
        )
    return name


def _moved(settings: PromptSettings, path_of: Any) -> PromptSettings:
    if Path(settings.llm).exists():
        settings = dataclasses.replace(settings, llm=path_of(settings.llm), revision=None)
    source, _ = source_of(settings.encoder)
    if Path(source).exists():
        settings = dataclasses.replace(settings, encoder=with_source(settings.encoder, path_of(source)))
    return settings


def _copy(source: Path, target: Path) -> None:
    """Copy the files of a model, links followed."""
    target.mkdir(parents=True)
    for pattern in OF_A_MODEL:
        for file in sorted(source.glob(pattern)):
            shutil.copyfile(file, target / file.name)
