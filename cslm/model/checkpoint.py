"""The checkpoint: a plain Hugging Face folder that any stack opens; what speech needs is in its folder ``speech/``."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from cslm.codecs.card import copy_card
from cslm.errors import UserError
from cslm.files.progress import without_progress_bar
from cslm.model.extension import num_embeddings
from cslm.sequences.text_tokenizer import save_text_tokenizer

SPEECH_KEY = "speech"
SPEECH_FOLDER = "speech"
CARD_FILE = "card.yaml"
"""of the speech tokenizer, in the folder ``speech/``"""
DECODER_FOLDER = "decoder"
"""of the speech decoder, in the folder ``speech/``"""
DECODER_FILES = ("model.safetensors", "config.json")
_OF_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_h")
_WRITING = ".checkpoint-being-written"
_RUN_FILE, _BEST_FOLDER = "config.yaml", "best"
"""of the folder of a run: its configuration, and its best model so far"""


def save_checkpoint(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    weights: dict[str, Tensor] | None = None,
    speech: dict[str, Any] | None = None,
    card: str | os.PathLike[str] | None = None,
    decoder: Path | None = None,
    end_of_turn: int | None = None,
) -> None:
    """Write model, text tokenizer and speech section into ``folder``, beside whatever else it holds.

    All files are written aside and flushed, then moved; ``config.json`` last, so a folder without it is not whole.

    Args:
        weights: the full state of ``model``; by default its own.
        speech: the section ``speech`` of the configuration; None for a model of text alone.
        card: the speech tokenizer's card, copied to ``speech/`` with its tensors.
        decoder: a speech decoder's folder, copied to ``speech/decoder/``: the checkpoint then speaks wherever it is.
        end_of_turn: the id that ends an assistant's turn; generation stops there too.
    """
    aside = folder / _WRITING
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    if speech is not None:
        setattr(model.config, SPEECH_KEY, speech)
    prepare_generation(model, tokenizer, end_of_turn)
    _save_pretrained(model, aside, weights)
    save_text_tokenizer(tokenizer, aside)
    _readable_by_both_stacks(aside)
    if card is not None:
        copy_card(card, aside / SPEECH_FOLDER)
    if decoder is not None:
        (aside / SPEECH_FOLDER / DECODER_FOLDER).mkdir(parents=True)
        for name in DECODER_FILES:
            shutil.copyfile(decoder / name, aside / SPEECH_FOLDER / DECODER_FOLDER / name)
    _move_into(aside, folder)


def check_checkpoint(folder: Path) -> dict[str, Any]:
    """Make sure that a checkpoint folder is whole; returns its ``config.json``.

    Raises:
        UserError: no folder, no model in it, a bad ``config.json``, no weights, or weights that are cut off.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such checkpoint folder: looked for {folder.absolute()}")
    check_holds_model(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{folder / 'config.json'} is not JSON ({error}): copy the checkpoint again") from None
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(f"{folder}: no weights (*.safetensors): copy the checkpoint again or convert it to safetensors")
    for file in files:
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError as error:
            raise UserError(f"{file} is cut off or damaged ({error}): copy the checkpoint again") from None
    assert isinstance(config, dict)
    return config


def check_holds_model(folder: Path) -> None:
    """Make sure that a folder holds a model at all.

    Raises:
        UserError: it is empty, the folder of a run that is not finished, or something else.
    """
    if (folder / "config.json").is_file():
        return
    run = folder / _RUN_FILE
    if not any(folder.iterdir()):
        raise UserError(f"{folder} is empty ({folder.absolute()} has no config.json): give the folder of a checkpoint")
    if run.is_file():
        best = folder / _BEST_FOLDER
        instead = f", or take its best model so far, {best}" if (best / "config.json").is_file() else ""
        raise UserError(
            f"{folder} is a run that is not finished, and holds no model yet (no config.json): finish it with "
            f"`cslm {_verb_of(run)} --config {run}`{instead}"
        )
    if (folder / "state.json").is_file():
        raise UserError(f"{folder} is a state to resume a run from, and no model (no config.json): finish that run")
    raise UserError(f"{folder}: no config.json, so it is no finished checkpoint: give the folder of one")


_VERBS = {
    "voices": "train-decoder",
    "recognizer": "train-recognizer",
    "connector": "train-prompt",
    "decoder": "finetune",
}
"""by a key that the runs of others do not have"""


def _verb_of(run: Path) -> str:
    """Which command made the configuration of a run."""
    try:
        found = yaml.safe_load(run.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        found = None
    keys = found if isinstance(found, dict) else {}
    return next((verb for key, verb in _VERBS.items() if key in keys), "pretrain")


def read_speech_section(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The speech section of a checkpoint folder; None for a model of text alone, the authors' release or a Hub id."""
    path = Path(folder) / "config.json"
    if not path.is_file():
        return None
    section = json.loads(path.read_text(encoding="utf-8")).get(SPEECH_KEY)
    return section if isinstance(section, dict) else None


def prepare_generation(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, end_of_turn: int | None) -> None:
    """Rows that name nothing get no probability in generation; a missing end or padding id is the tokenizer's."""
    generation = model.generation_config
    assert generation is not None
    generation._from_model_config = False  # what follows is chosen here, and is to stay
    generation.do_sample = generation.do_sample or _asks_to_sample(generation)
    named = set(tokenizer.get_vocab().values())
    num_rows = num_embeddings(model)
    generation.suppress_tokens = [row for row in range(num_rows) if row not in named] or None
    known = generation.eos_token_id
    ends = {*(known if isinstance(known, list) else [known]), end_of_turn} & named
    ends = ends or {tokenizer.eos_token_id} - {None}
    generation.eos_token_id = (sorted(ends) if len(ends) > 1 else next(iter(ends))) if ends else None
    for name in ("bos_token_id", "pad_token_id"):
        if getattr(generation, name) not in named:
            setattr(generation, name, getattr(tokenizer, name))


def _asks_to_sample(generation: GenerationConfig) -> bool:
    """Whether it has settings that only drawing reads: transformers does not write these beside greedy decoding."""
    plain = GenerationConfig()
    return any(getattr(generation, name, None) not in (None, getattr(plain, name, None)) for name in _OF_SAMPLING)


def _save_pretrained(model: PreTrainedModel, folder: Path, weights: dict[str, Tensor] | None) -> None:
    try:
        with without_progress_bar():
            model.save_pretrained(folder, state_dict=weights)
    except SafetensorError as error:
        if "No space left" not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


def _readable_by_both_stacks(folder: Path) -> None:
    """Write the rotary parameters where transformers 4 and where transformers 5 look for them."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _complete_rotary(config)
    _write_json(folder / "config.json", config)


def _complete_rotary(config: dict[str, Any]) -> None:
    """``rope_parameters`` (5) and ``rope_theta``, ``rope_scaling``, ``rope_local_base_freq`` (4) from one another."""
    parameters = config.get("rope_parameters")
    if parameters is None:
        if "rope_theta" in config and "rope_local_base_freq" not in config:
            scaling = config.get("rope_scaling") or {"rope_type": "default"}
            config["rope_parameters"] = {**scaling, "rope_theta": config["rope_theta"]}
        return
    if "sliding_attention" in parameters:
        config["rope_local_base_freq"] = parameters["sliding_attention"]["rope_theta"]
    parameters = parameters.get("full_attention", parameters)
    if "rope_theta" in parameters:
        config["rope_theta"] = parameters["rope_theta"]
        if parameters.get("rope_type", "default") != "default":
            config["rope_scaling"] = {key: value for key, value in parameters.items() if key != "rope_theta"}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def _move_into(aside: Path, folder: Path) -> None:
    """Flush every file, then move all of ``aside`` into ``folder``, ``config.json`` last; drop weights it replaces."""
    for file in aside.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
    (folder / "config.json").unlink(missing_ok=True)
    for old in (*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")):
        old.unlink()
    for entry in sorted(aside.iterdir(), key=lambda entry: entry.name == "config.json"):
        target = folder / entry.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(entry, target)
    aside.rmdir()
