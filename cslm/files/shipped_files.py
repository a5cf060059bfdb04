"""Files that come with the package: cards, recipes, YAML. In the checkout, or of a wheel in ``share/cslm``."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

_PARENT = Path(__file__).resolve().parents[2]
_CHECKOUT = (_PARENT,) if (_PARENT / "setup.cfg").is_file() else ()


def shipped_folders(name: str = "") -> list[Path]:
    """Where a shipped folder ``name`` may be, the checkout first.

    A wheel puts its data files below the environment, the user's own folder (``pip install --user``), the folder of
    ``pip install --target``, or that of ``--prefix``, in which the package is at ``lib/pythonX.Y/site-packages``.
    """
    environments = (sysconfig.get_path("data"), sysconfig.get_path("data", f"{os.name}_user"))
    prefixes = [*map(Path, environments), _PARENT, *_PARENT.parents[2:3]]
    roots = [*_CHECKOUT, *(prefix / "share" / "cslm" for prefix in prefixes)]
    return [root / name for root in dict.fromkeys(roots)]


def find_shipped(path: str | os.PathLike[str]) -> Path | None:
    """A file that comes with the package (``recipes/village/small/pretrain.yaml``), or None."""
    return next((folder / path for folder in shipped_folders() if (folder / path).is_file()), None)
