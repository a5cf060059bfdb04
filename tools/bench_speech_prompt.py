"""A step of train-prompt with frozen work done once, beside the naive one: ``python tools/bench_speech_prompt.py``."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from cslm.benchmarks.speech_prompt_parts import BenchedShape, benched_folders, open_benched
from cslm.benchmarks.speech_prompt_speed import bytes_by_stage, compared_steps
from cslm.errors import exit_with_status


def main() -> None:
    """Measure and print; what is compared is explained in ``cslm/benchmarks/speech_prompt_speed.py``."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in vars(BenchedShape()).items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--pairs", type=int, default=5, help="pairs of steps that are timed")
    parser.add_argument("--stages", nargs="*", type=int, choices=(1, 2, 3), default=[1, 2, 3], help="of ZeRO")
    given = vars(parser.parse_args())
    pairs, stages = given.pop("pairs"), tuple(given.pop("stages"))
    shape = BenchedShape(**given)
    with tempfile.TemporaryDirectory() as scratch:
        whisper, llm, real = benched_folders(Path(scratch))
        print("parts: those of CSLM_PRETRAINED" if real else "parts: small ones with random weights", flush=True)
        found = compared_steps(open_benched(whisper, llm, shape), shape, pairs)
        ratios = ", ".join(f"{ratio:.2f}" for ratio in found.ratios)
        print(f"time, naive over once: {found.time_ratio:.2f} (pairs: {ratios})", flush=True)
        print(f"memory above the weights, once over naive: {found.once_bytes / found.naive_bytes:.2f} "
              f"({found.once_bytes / 2**20:.1f} and {found.naive_bytes / 2**20:.1f} MiB)", flush=True)  # fmt: skip
        for row in bytes_by_stage(shape, whisper, llm, stages):
            print(", ".join(f"{name} {value:,}" for name, value in row.items()), flush=True)


if __name__ == "__main__":
    exit_with_status(main)
