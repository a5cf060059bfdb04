"""The page in a browser, measured: ``python tools/bench_page.py CHECKPOINT DIALOGUES MANIFEST [--json FILE]``."""

from __future__ import annotations

from cslm.benchmarks.reply_command import measure_replies, reply_parser
from cslm.errors import exit_with_status


def main() -> None:
    """Measure and print; the figures are explained in ``cslm/benchmarks/heard_pages.py``."""
    from cslm.benchmarks.heard_pages import heard_pages

    parser = reply_parser(__doc__, questions=1)
    parser.add_argument("--replies", type=int, default=21, help="to the last of the questions")
    given = parser.parse_args()
    measure_replies(given, lambda model, asked: heard_pages(model, asked[-1], given.max_new_tokens, given.replies))


if __name__ == "__main__":
    exit_with_status(main)
