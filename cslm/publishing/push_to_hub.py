"""Put a checkpoint or a data set on the Hub: ``python recipes/push_to_hub.py FOLDER --repo NAME/MODEL``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HFValidationError

from cslm.configuration import load_configuration, parse_configuration
from cslm.corpora.hugging_face import hub_faults
from cslm.encoders.encoders import source_of
from cslm.errors import UserError, first_line
from cslm.files.atomic_file import write_atomically
from cslm.model.checkpoint import SPEECH_FOLDER, check_checkpoint
from cslm.model.speech_prompt.prompt_checkpoint import (
    ENCODER_FOLDER,
    LLM_FOLDER,
    OF_A_MODEL,
    SETTINGS_FILE,
    holds_prompt,
    is_whole,
)
from cslm.model.speech_prompt.prompt_settings import PromptSettings
from cslm.publishing.model_card import WRITTEN_BY_US, model_card

CARD = "README.md"
MODEL_FILES = (
    "config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
    "tokenizer.model", "spiece.model", "chat_template.jinja", "additional_chat_templates/*.jinja",
)  # fmt: skip
"""What transformers writes of a model; all else in the folder of a run (state to resume from, logs) stays here."""
PROMPT_FILES = (SETTINGS_FILE, *(f"{part}/{name}" for part in (LLM_FOLDER, ENCODER_FOLDER) for name in OF_A_MODEL))
"""What a checkpoint of ``train-prompt`` has beside it, and of ``merge`` the frozen parts."""
SPEECH_FILES = ("card.yaml", "*.safetensors", "decoder/config.json", "decoder/*.safetensors")
"""What speech needs, in the folder ``speech/``."""
DATASET_FILES = "data/*/*.parquet"
"""What a data set consists of, beside its card."""
_OF_EARLIER_MODELS = [
    "*.safetensors", "*.safetensors.index.json", f"{SPEECH_FOLDER}/*", *PROMPT_FILES,
]  # fmt: skip


@dataclass
class PushToHubConfig:
    """One checkpoint or data set, and the repository that it goes to."""

    checkpoint: str
    """folder of the checkpoint, or of a data set that `export-dataset` wrote"""
    repo: str
    """NAME/MODEL on the Hub; it is made where it is not there"""
    private: bool = True
    """a repository that is made is private; one that is there stays as it is"""
    dry_run: bool = False
    """write the card and list what would be sent; nothing is sent"""
    results: str | None = None
    """results.json of `score`; null takes that of this checkpoint in the folder or beside it"""
    license: str | None = None
    """the Hub's name of a licence (apache-2.0), for the model's card; null says nothing about it. A data set's is given
    to `export-dataset`"""
    revision: str | None = None
    """branch to send to; null sends to the main one"""


def push_to_hub(config: PushToHubConfig) -> list[str]:
    """Write the model card and send the model's files; returns their paths from the folder on, sorted.

    The card is ``README.md`` of the folder. One that a person has written is sent as it is. Weights and files of
    ``speech/`` that an earlier model left in the repository are removed there. A data set is sent as it was exported,
    and replaces the data that was there.

    Raises:
        UserError: no whole checkpoint, or one whose frozen parts lie on this machine alone; no results where some are
            named, no token, no such repository or no network; a data set with settings of a model.
    """
    folder = Path(config.checkpoint)
    if is_dataset(folder):
        return _push_dataset(folder, config)
    check_checkpoint(folder)
    _check_prompt(folder)
    results = _results(folder, config.results)
    _check_token(config)
    if _is_ours(folder / CARD):
        write_atomically(folder / CARD, model_card(folder, config.repo, results, config.license).encode("utf-8"))
    else:
        print(f"{folder / CARD}: was not written here, so it is sent as it is", flush=True)
    files = model_files(folder)
    if not config.dry_run:
        _send(folder, files, config, _OF_EARLIER_MODELS, "Upload the model", {})
    return files


def model_files(folder: Path) -> list[str]:
    """Files of the checkpoint that belong to the model, and its card, as paths from ``folder`` on, sorted."""
    own = PROMPT_FILES if holds_prompt(folder) else [f"{SPEECH_FOLDER}/{name}" for name in SPEECH_FILES]
    patterns = (CARD, *MODEL_FILES, *own)
    found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return sorted(str(path.relative_to(folder)) for path in found)


def _check_prompt(folder: Path) -> None:
    """Make sure that others can open a checkpoint of ``train-prompt``.

    Raises:
        UserError: its language model or its encoder lies in a folder of this machine alone, or is a file of fairseq2.
    """
    if not holds_prompt(folder):
        return
    settings = load_configuration(PromptSettings, folder / SETTINGS_FILE)
    source, _ = source_of(settings.encoder)
    pickles = [file for part in (LLM_FOLDER, ENCODER_FOLDER) for file in folder.glob(f"{part}/*.bin")]
    if is_whole(folder) and (settings.encoder.fairseq2 is not None or pickles):
        found = pickles[0] if pickles else source
        raise UserError(f"{folder} holds {found}, a pickle, which is not opened from the Hub: push the trained part")
    local = [] if is_whole(folder) else [name for name in (settings.llm, source) if (folder / name).exists()]
    if local:
        raise UserError(
            f"{folder} was trained before {' and '.join(local)}, a folder here that nobody else has: push what cslm "
            "merge makes of it, which holds the frozen parts, or train with a model of the Hub by its id"
        )


def is_dataset(folder: Path) -> bool:
    """Whether a folder holds a data set as `export-dataset` writes it, and no model."""
    return not (folder / "config.json").is_file() and (folder / CARD).is_file() and any(folder.glob(DATASET_FILES))


def _push_dataset(folder: Path, config: PushToHubConfig) -> list[str]:
    for name in ("results", "license"):
        if getattr(config, name) is not None:
            raise UserError(f"{folder} is a data set, and {name} is for the card of a model: give it to export-dataset")
    _check_token(config)
    paths = [folder / CARD, *folder.glob(DATASET_FILES)]
    files = sorted(path.relative_to(folder).as_posix() for path in paths)
    if not config.dry_run:
        _send(folder, files, config, ["data/*"], "Upload the data set", {"repo_type": "dataset"})
    return files


def _check_token(config: PushToHubConfig) -> None:
    if not config.dry_run and get_token() is None:
        raise UserError("push-to-hub needs a token of the Hub: run `hf auth login`, or set HF_TOKEN")


def _results(folder: Path, named: str | None) -> dict[str, Any] | None:
    beside = folder.resolve().parent / "results.json"
    if named is not None:
        path = Path(named)
    elif (folder / "results.json").is_file():
        path = folder / "results.json"
    elif beside.is_file() and _is_of(beside.with_name("results_config.yaml"), folder):
        path = beside
    else:
        return None
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} are no results of score ({error}): give its results.json") from None
    return results


def _is_of(config: Path, folder: Path) -> bool:
    """Whether the configuration of ``score`` names the checkpoint ``folder``, from wherever it was started."""
    if not config.is_file():
        return False
    parts = Path(yaml.safe_load(config.read_text(encoding="utf-8"))["checkpoint"]).parts
    return folder.resolve().parts[-len(parts) :] == parts


def _is_ours(card: Path) -> bool:
    return not card.is_file() or WRITTEN_BY_US in card.read_text(encoding="utf-8")


def _send(
    folder: Path, files: list[str], config: PushToHubConfig, removed: list[str], message: str, kind: dict[str, Any]
) -> None:
    """Send ``files``, and remove what fits ``removed`` and is none of them; ``kind`` says what the repository is of."""
    try:
        api = HfApi()
        api.create_repo(config.repo, private=config.private, exist_ok=True, **kind)
        if config.revision is not None:
            api.create_branch(config.repo, branch=config.revision, exist_ok=True, **kind)
        api.upload_folder(
            repo_id=config.repo,
            folder_path=str(folder),
            revision=config.revision,
            allow_patterns=files,
            delete_patterns=removed,
            commit_message=message,
            **kind,
        )
    except HFValidationError as error:
        raise UserError(f"{config.repo!r} is no name of a repository, NAME/MODEL: {error}") from None
    except hub_faults() as error:
        raise UserError(f"the Hub: {first_line(error)} ({config.repo}): check token, name and network") from None


def main(arguments: list[str]) -> None:
    """``push-to-hub FOLDER --repo NAME/MODEL [--dry_run true]``; prints every file with its size."""
    config = parse_configuration(PushToHubConfig, arguments, "push-to-hub", ("checkpoint",))
    files = push_to_hub(config)
    sizes = {name: (Path(config.checkpoint) / name).stat().st_size for name in files}
    print(f"{'would send' if config.dry_run else 'sent'} {len(files)} files to {config.repo}:")
    for name, size in sizes.items():
        print(f"  {name}  {size:,} bytes")
