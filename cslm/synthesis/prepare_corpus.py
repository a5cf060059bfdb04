"""Make a corpus: from a name to a folder with audio and manifests."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from cslm.configuration import parse_configuration, save_configuration, to_plain
from cslm.corpora.intake import check_rejected_share
from cslm.errors import UserError
from cslm.files.written_yaml import expand_path
from cslm.mistyped import meant

CORPORA = {
    "village": "cslm.village.prepare_village:prepare_village",
    "spoken_digits": "cslm.corpora.spoken_digits:prepare_spoken_digits",
    "table": "cslm.corpora.table:prepare_table",
    "audio_folder": "cslm.corpora.audio_folder:prepare_audio_folder",
    "kaldi": "cslm.corpora.kaldi:prepare_kaldi",
    "tar_shards": "cslm.corpora.tar_shards:prepare_tar_shards",
    "lhotse_cuts": "cslm.corpora.lhotse_cuts:prepare_lhotse_cuts",
    "nemo": "cslm.corpora.nemo:prepare_nemo",
    "fairseq": "cslm.corpora.fairseq:prepare_fairseq",
    "long_utterances": "cslm.corpora.long_utterances:prepare_long_utterances",
    "hugging_face": "cslm.corpora.hugging_face:prepare_hugging_face",
    "spoken_instructions": "cslm.synthesis.instructions:prepare_spoken_instructions",
    "four_texts": "cslm.corpora.four_texts:prepare_four_texts",
    "hugging_face_text": "cslm.corpora.hugging_face_text:prepare_hugging_face_text",
    "stories": "cslm.synthesis.stories:prepare_stories",
    "aligned": "cslm.synthesis.aligned:prepare_aligned",
    "story_pairs": "cslm.synthesis.story_pairs:prepare_story_pairs",
    "heard": "cslm.synthesis.heard_corpus:prepare_heard_corpus",
    "audio_mlqa": "cslm.synthesis.audio_mlqa:prepare_audio_mlqa",
    "spoken_questions": "cslm.corpora.spoken_questions:prepare_spoken_questions",
    "topic_pairs": "cslm.synthesis.topic_pairs:prepare_topic_pairs",
}
"""Name of a corpus to ``module:function``; it takes (output, config), whose class holds the options."""

RESUMABLE = ("audio_mlqa", "heard", "hugging_face_text", "spoken_instructions", "stories", "story_pairs")
"""Corpora whose function goes on where an interrupted run left the folder; the others start again."""

_CONFIGURATION = "config.yaml"


def prepare_corpus(name: str, output: Path, options: Sequence[str] = ()) -> bool:
    """Make the corpus ``name`` in the folder ``output``, whole or not at all.

    Args:
        name: a key of :data:`CORPORA`.
        output: a folder that is empty or not there, or that holds this very corpus already.
        options: of the corpus, as on the command line (``--seed 1``).

    Returns:
        False where the corpus was there already, made with the same options, and nothing was done.

    Raises:
        UserError: an unknown corpus or option, an output folder that holds something else, or bad input; or more was
            left out than ``max_rejected_share`` allows, and then the corpus is made all the same.
    """
    if name not in CORPORA:
        raise UserError(f"there is no corpus {name!r}{meant(name, CORPORA)}; choose one of {', '.join(CORPORA)}")
    module_name, function_name = CORPORA[name].split(":")
    function = getattr(importlib.import_module(module_name), function_name)
    config = parse_configuration(get_type_hints(function)["config"], options, f"prepare-corpus {name}")
    most_rejected, listed = getattr(config, "max_rejected_share", 1.0), getattr(config, "LISTED", "manifest.jsonl")
    if not 0 <= most_rejected <= 1:
        raise UserError(f"--max_rejected_share is a share from 0 to 1, not {most_rejected}")
    if _already_made(name, output, config):
        check_rejected_share(output, most_rejected, listed)
        return False
    partial = output.with_name(f".{output.name}.partial")
    wanted = {"corpus": name, **to_plain(config)}
    if name not in RESUMABLE or not _same_corpus(_recorded(partial), wanted, config):
        shutil.rmtree(partial, ignore_errors=True)
    try:
        save_configuration(wanted, partial / _CONFIGURATION)
        function(partial, config)
        if output.is_dir():
            output.rmdir()
        partial.rename(output)
    finally:
        if name not in RESUMABLE or not _has_begun(partial):
            shutil.rmtree(partial, ignore_errors=True)
    check_rejected_share(output, most_rejected, listed)
    return True


def main(arguments: list[str]) -> None:
    """``prepare-corpus NAME OUTPUT [--option value ...]``; ``prepare-corpus NAME --help`` lists a corpus's options."""
    usage = f"usage: prepare-corpus NAME OUTPUT [--option value ...]; NAME is one of {', '.join(CORPORA)}"
    if arguments and arguments[0] in ("-h", "--help"):
        print(f"{usage}\n`prepare-corpus NAME --help` lists the options of a corpus.")
        return
    if arguments[1:] in (["-h"], ["--help"]):
        arguments = [arguments[0], "-", "--help"]
    elif len(arguments) < 2 or any(argument.startswith("-") for argument in arguments[:2]):
        raise UserError(usage)
    name, output = arguments[0], Path(expand_path(arguments[1]))
    made = prepare_corpus(name, output, arguments[2:])
    print(f"{output}: {'made' if made else 'is already there, made with the same options'}{_counted(output)}")


def _counted(output: Path) -> str:
    """How long its manifest is, where it has one; to go behind what is said of a corpus."""
    path = output / "manifest.jsonl"
    if not path.is_file():
        return ""
    with path.open("rb") as lines:
        return f"; {sum(1 for _ in lines):,} utterances in {path.name}"


def _already_made(name: str, output: Path, config: Any) -> bool:
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: is a file; name a folder for the corpus")
    if not output.is_dir() or not any(output.iterdir()):
        return False
    recorded = _recorded(output)
    wanted = {"corpus": name, **to_plain(config)}
    if isinstance(recorded, dict) and _same_corpus({**_defaults(config), **recorded}, wanted, config):
        return True
    there = {**_defaults(config), **recorded} if isinstance(recorded, dict) else {}
    others = [
        f"{key} is {there.get(key)} there and {here} here" for key, here in wanted.items() if there.get(key) != here
    ]
    said = f": {', '.join(others)}" if there.get("corpus") == name else ""
    raise UserError(f"{output}: is not empty and holds another run{said}; choose another folder or remove this one")


def _same_corpus(recorded: Any, wanted: dict[str, Any], config: Any) -> bool:
    """Whether both make one corpus: all is the same but, in classes that name it, how it is run (``HOW_IT_RUNS``)."""
    if not isinstance(recorded, dict):
        return False
    one, other = copy.deepcopy(recorded), copy.deepcopy(wanted)
    for name in getattr(config, "HOW_IT_RUNS", ()):
        for options in (one, other):
            _take_out(options, name.split("."))
    return one == other


def _take_out(options: Any, names: list[str]) -> None:
    *groups, last = names
    for group in groups:
        options = options.get(group) if isinstance(options, dict) else None
    if isinstance(options, dict):
        options.pop(last, None)


def _defaults(config: Any) -> dict[str, Any]:
    """What options are where nobody says: a corpus that was made before an option came has it so."""
    return {
        option.name: option.default
        for option in dataclasses.fields(config)
        if option.default is not dataclasses.MISSING
    } | {
        option.name: option.default_factory()
        for option in dataclasses.fields(config)
        if option.default_factory is not dataclasses.MISSING
    }


def _recorded(folder: Path) -> Any:
    """The options that a folder was made with, or is being made with; None where it has none."""
    path = folder / _CONFIGURATION
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None


def _has_begun(folder: Path) -> bool:
    """Whether an interrupted run left more in its folder than its options."""
    return folder.is_dir() and any(path.name != _CONFIGURATION for path in folder.iterdir())
