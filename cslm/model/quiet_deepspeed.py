"""DeepSpeed without its warning that it finds no accelerator."""

from __future__ import annotations

import os


def tell_deepspeed_of_cpu() -> None:
    """Tell DeepSpeed, before it is imported, that it runs on a CPU: where no GPU is, it warns of that else.

    Training imports it, and so does transformers where a model is saved.
    """
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
