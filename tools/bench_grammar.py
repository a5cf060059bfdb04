"""Replies of an untrained model: ``python tools/bench_grammar.py CHECKPOINT [--json FILE]``."""

from __future__ import annotations

from typing import Any

from cslm.benchmarks.drawn_replies import drawn_replies
from cslm.benchmarks.reply_command import figures_parser, measure
from cslm.errors import UserError, exit_with_status
from cslm.files.written_yaml import expand_path


def main() -> None:
    """Draw, count and print; status 2 where the grammar was broken. See ``cslm/benchmarks/drawn_replies.py``."""
    parser = figures_parser(__doc__)
    parser.add_argument(
        "checkpoint", type=expand_path, help="that gives sizes and vocabulary; its weights are drawn anew"
    )
    parser.add_argument("--replies", type=int, default=10_000)
    parser.add_argument("--max_new_tokens", type=int, default=100, help="of a reply")
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0, help="of weights and draws")
    given = parser.parse_args()
    found: dict[str, Any] = {}

    def measured() -> dict[str, Any]:
        from cslm import CSLMForCausalLM

        model = CSLMForCausalLM.from_pretrained(given.checkpoint).eval()
        found.update(drawn_replies(model, given.replies, given.max_new_tokens, given.temperature, given.seed))
        return found

    measure(given, measured)
    if found["breaks"]:
        raise UserError(f"{sum(found['breaks'].values())} replies break the grammar")


if __name__ == "__main__":
    exit_with_status(main)
