"""Many replies together and one by one: ``python tools/bench_offline.py CHECKPOINT DIALOGUES MANIFEST``."""

from __future__ import annotations

from cslm.benchmarks.offline_replies import offline_replies
from cslm.benchmarks.reply_command import measure_replies, reply_parser
from cslm.errors import exit_with_status
from cslm.generation.decoding import DecodingConfig


def main() -> None:
    """Measure and print; the figures are explained in ``cslm/benchmarks/offline_replies.py``."""
    parser = reply_parser(__doc__, questions=200)
    parser.add_argument("--replies", type=int, default=200, help="of these questions in turn")
    parser.add_argument("--batch_size", type=int, default=DecodingConfig().batch_size, help="written together")
    given = parser.parse_args()
    decoding = DecodingConfig(given.max_new_tokens, batch_size=given.batch_size)
    measure_replies(given, lambda model, asked: offline_replies(model, asked, decoding, given.replies))


if __name__ == "__main__":
    exit_with_status(main)
