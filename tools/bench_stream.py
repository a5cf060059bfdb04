"""Streamed replies, measured: ``python tools/bench_stream.py CHECKPOINT DIALOGUES MANIFEST [--json FILE]``."""

from __future__ import annotations

from typing import Any

from cslm.benchmarks.reply_command import measure_replies, reply_parser
from cslm.benchmarks.streamed_replies import streamed_replies
from cslm.errors import exit_with_status
from cslm.files.written_yaml import expand_path
from cslm.generation.decoding import DecodingConfig


def main() -> None:
    """Measure and print; the figures are explained in ``cslm/benchmarks/streamed_replies.py``."""
    parser = reply_parser(__doc__, questions=21)
    parser.add_argument("--full", type=expand_path, help="a checkpoint that answers by the full chain, to compare with")
    parser.add_argument("--cancels", type=int, default=100, help="replies that are cancelled")
    given = parser.parse_args()

    def measured(model: Any, asked: list[Any]) -> dict[str, Any]:
        from cslm import CSLMForCausalLM

        full = None
        if given.full is not None:
            full = CSLMForCausalLM.from_pretrained(given.full, decoder=given.decoder).eval()
        return streamed_replies(model, asked, DecodingConfig(given.max_new_tokens), given.cancels, full)

    measure_replies(given, measured)


if __name__ == "__main__":
    exit_with_status(main)
