"""Questions in real time: ``python tools/bench_question.py CHECKPOINT DIALOGUES MANIFEST [--json FILE]``."""

from __future__ import annotations

from cslm.benchmarks.reply_command import measure_replies, reply_parser
from cslm.benchmarks.spoken_questions import spoken_questions
from cslm.errors import exit_with_status
from cslm.generation.decoding import DecodingConfig


def main() -> None:
    """Measure and print; the figures are explained in ``cslm/benchmarks/spoken_questions.py``."""
    parser = reply_parser(__doc__, questions=11)
    parser.add_argument("--short_sec", type=float, default=2.0, help="seconds of a short question")
    parser.add_argument("--long_sec", type=float, default=10.0, help="seconds of a long one")
    given = parser.parse_args()
    wanted = DecodingConfig(given.max_new_tokens), given.short_sec, given.long_sec
    measure_replies(given, lambda model, asked: spoken_questions(model, asked, *wanted))


if __name__ == "__main__":
    exit_with_status(main)
