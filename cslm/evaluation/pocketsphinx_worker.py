"""One process of :mod:`cslm.evaluation.pocketsphinx_ear`: ``python THIS FOLDER CLIPS.npz`` prints a JSON list of texts.

It imports nothing of this package, so it starts at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pocketsphinx


def main(folder: Path, clips: str) -> None:
    """Recognise the clips, one after another, with the models in the folder."""
    pocketsphinx.set_loglevel("FATAL")
    decoder = pocketsphinx.Decoder(
        pocketsphinx.Config(
            lm=str(folder / "bigram.arpa"),
            dict=str(folder / "words.dict"),
            cmn="batch",
            fwdflat=False,
            beam=1e-40,
            pbeam=1e-40,
            wbeam=1e-20,
        )
    )
    content = np.load(folder / clips)
    texts = []
    for samples in np.split(content["samples"], np.cumsum(content["lengths"])[:-1]):
        texts.append(_text(decoder, samples) if len(samples) else "")
    print(json.dumps(texts))


def _text(decoder: pocketsphinx.Decoder, samples: np.ndarray) -> str:
    decoder.start_utt()
    decoder.process_raw(samples.astype("<i2").tobytes(), no_search=False, full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return str(found.hypstr) if found is not None else ""


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
