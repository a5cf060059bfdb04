"""``python -m cslm VERB ...`` is the console command."""

from __future__ import annotations

from cslm.cli import run

if __name__ == "__main__":
    run()
