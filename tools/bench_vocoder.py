"""Decoders beside the synthesizer: ``python tools/bench_vocoder.py CHECKPOINT MANIFEST DECODER [DECODER ...]``."""

from __future__ import annotations

from cslm.benchmarks.compared_decoders import compared_decoders
from cslm.benchmarks.reply_command import figures_parser, measure
from cslm.errors import exit_with_status
from cslm.files.written_yaml import expand_path, path_of


def main() -> None:
    """Measure and print; the figures are explained in ``cslm/benchmarks/vocoder_quality.py``."""
    parser = figures_parser(__doc__)
    parser.add_argument("checkpoint", type=expand_path, help="whose speech tokenizer and own ear are used")
    parser.add_argument("manifest", type=path_of, help="held-out sentences with the synthesizer's own audio")
    parser.add_argument("decoders", type=path_of, nargs="+", help="folders of decoders: the first is compared with")
    parser.add_argument("--sentences", type=int, default=100, help="of each language, at even distances")
    parser.add_argument(
        "--ear_sentences", type=path_of, help="manifest for the other ear's words (English); none: no ear"
    )
    parser.add_argument("--no_dnsmos", action="store_true", help="leave DNSMOS out")
    given = parser.parse_args()
    measure(given, lambda: compared_decoders(given))


if __name__ == "__main__":
    exit_with_status(main)
