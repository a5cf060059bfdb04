"""What the arms and claims of one world share: its corpus, its speech tokenizer and its units, made once a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cslm.benchmarks.claims.stages import Stages
from cslm.errors import UserError
from cslm.files.shipped_files import find_shipped


def settings_file(world: str, name: str) -> Path:
    """The YAML file ``recipes/village/WORLD/NAME.yaml``.

    Raises:
        UserError: it did not come with the package.
    """
    found = find_shipped(f"recipes/village/{world}/{name}.yaml")
    if found is None:
        raise UserError(f"recipes/village/{world}/{name}.yaml is missing from this installation")
    return found.resolve()


def told_by(files: Sequence[Path]) -> list[str]:
    """The arguments that name the files, the later one winning."""
    return [part for file in files for part in ("--config", str(file))]


def make_units(stages: Stages, seed: int, world: str, stores: Mapping[str, str]) -> None:
    """Make the corpus, fit ``card.yaml`` on the first manifest, and tokenize.

    Args:
        world: folder of ``recipes/village`` with ``village.yaml`` and ``tokenizer.yaml``.
        stores: by folder, the manifest whose units it holds.
    """
    village, fit = settings_file(world, "village"), settings_file(world, "tokenizer")
    told = ["village", "corpus", "--size", str(village), "--seed", str(seed)]
    stages.run("corpus", "prepare-corpus", told, [village])
    first = next(iter(stores.values()))
    fitted = ["--manifests", f"[{first}]", "--output", "card.yaml", "--seed", str(seed)]
    stages.run("card", "fit-tokenizer", [*told_by([fit]), *fitted], [fit])
    for store, manifest in stores.items():
        stages.run(store, "tokenize-corpus", [manifest, "--tokenizer", "card.yaml", "--output", store])


def train(
    stages: Stages, seed: int, world: str, verb: str, name: str, settings: Sequence[str], stop: int | None = None
) -> None:
    """Train the stage ``name`` with some settings of the world, the later ones winning, into the folder of its name.

    With ``stop`` only up to this step of the same schedule: a later stop, or none, goes on from there.
    """
    files = [settings_file(world, setting) for setting in settings]
    given = ["--data_root", ".", "--output", name, "--training.seed", str(seed)]
    stops = [] if stop is None else ["--training.max_steps", str(stop)]
    stages.run(name if stop is None else f"{name}_{stop}", verb, [*told_by(files), *given, *stops], files)


def score(stages: Stages, world: str, arm: str, settings: str, suffix: str = "", more: Sequence[str] = ()) -> Path:
    """Score an arm with some settings of the world; returns the folder of the scores, whose name ends in ``suffix``.

    Args:
        more: arguments that win over the settings.
    """
    file, folder = settings_file(world, settings), f"{arm}_{settings}{suffix}"
    given = ["--data_root", ".", "--output", f"{folder}/results.json"]
    stages.run(folder, "score", [arm, *told_by([file]), *given, *more], [file])
    return stages.folder / folder
