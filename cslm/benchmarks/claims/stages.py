"""The stages behind a claim: verbs of the package, each run once in a process of its own and marked when it is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from cslm.errors import UserError
from cslm.files.atomic_file import write_atomically

_MARKS = "stages"


class Stages:
    """The stages of one seed in one folder, which several arms and claims share.

    A stage that was killed goes on where its verb does; one that is marked is not run again. The mark holds what the
    stage was told: a folder is never used for two set-ups.
    """

    def __init__(self, folder: Path, expected: Mapping[str, str] | None = None) -> None:
        """Stages in ``folder``; what ``expected`` names of :attr:`settings` must be so."""
        self.folder, self._expected = folder, dict(expected or {})
        self.settings: dict[str, str] = {}
        """the start of the SHA-256 of each file of settings that stages were told, by name"""

    def run(self, name: str, verb: str, arguments: Sequence[str], settings: Sequence[Path] = ()) -> None:
        """Run ``cslm VERB ARGUMENTS`` in the folder, unless it is marked as done.

        Args:
            name: of the stage; its output is printed into ``stages/NAME.log``.
            arguments: of the verb; relative paths start from the folder.
            settings: files that decide the result, whose contents the mark keeps.

        Raises:
            UserError: the stage stopped, was done before with other settings, or has others than are expected.
        """
        names = {str(path): path.name for path in settings}  # their contents count, not where they lie
        told: dict[str, Any] = {
            "verb": verb,
            "arguments": [names.get(argument, argument) for argument in arguments],
            "settings": {path.name: path.read_text(encoding="utf-8") for path in settings},
        }
        self.settings |= {name: sha256(text.encode()).hexdigest()[:16] for name, text in told["settings"].items()}
        self._check_expected()
        mark, log = (self.folder / _MARKS / f"{name}{suffix}" for suffix in (".json", ".log"))
        if mark.is_file():
            self._check_same(mark, told)
            return
        log.parent.mkdir(parents=True, exist_ok=True)
        print(f"{self.folder.parent.name}, {self.folder.name}: {name}", flush=True)
        start = time.monotonic()
        with log.open("ab") as output:
            code = subprocess.run(
                [sys.executable, "-m", "cslm", verb, *arguments], cwd=self.folder, stdout=output, stderr=output,
                env=_environment(), check=False,
            ).returncode  # fmt: skip
        if code:
            raise UserError(f"{name} stopped with status {code}: see {log}; the same command goes on from there")
        write_atomically(mark, json.dumps({**told, "seconds": round(time.monotonic() - start, 1)}, indent=1).encode())

    def seconds(self) -> dict[str, float]:
        """How long each finished stage took, by name; of one that was killed, its last run."""
        marks = sorted((self.folder / _MARKS).glob("*.json"))
        return {mark.stem: float(json.loads(mark.read_bytes())["seconds"]) for mark in marks}

    def _check_expected(self) -> None:
        different = sorted(name for name, value in self.settings.items() if self._expected.get(name, value) != value)
        if different:
            raise UserError(
                f"{', '.join(different)} is not what other seeds of the file were measured with: name another file, or "
                "measure all of them again"
            )

    def _check_same(self, mark: Path, told: dict[str, Any]) -> None:
        before = json.loads(mark.read_bytes())
        different = [key for key, value in told.items() if before.get(key) != value]
        if different:
            raise UserError(
                f"{self.folder}: {mark.stem} was done with other {', '.join(different)}: name another folder"
            )


def _environment() -> dict[str, str]:
    """The process's own, in which the package is found wherever it was imported from."""
    root = str(Path(__file__).resolve().parents[3])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
