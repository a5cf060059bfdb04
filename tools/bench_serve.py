"""Served replies, measured: ``python tools/bench_serve.py CHECKPOINT DIALOGUES MANIFEST [--json FILE]``."""

from __future__ import annotations

from cslm.benchmarks.reply_command import measure_replies, reply_parser
from cslm.errors import exit_with_status


def main() -> None:
    """Measure and print; the figures are explained in ``cslm/benchmarks/served_replies.py``."""
    from cslm.benchmarks import served_replies as figures

    parser = reply_parser(__doc__, questions=20)
    parser.add_argument("--connections", type=int, default=8, help="that ask at the same time")
    parser.add_argument("--cancels", type=int, default=1000, help="replies that are cancelled")
    given = parser.parse_args()
    wanted = given.max_new_tokens, given.connections, given.cancels
    measure_replies(given, lambda model, asked: figures.served_replies(model, asked, *wanted))


if __name__ == "__main__":
    exit_with_status(main)
