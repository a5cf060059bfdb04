"""Speech decoders beside each other and the synthesizer, on held-out sentences spoken from their true units.

The units are those of the synthesizer's own audio, with their durations, so that frames lie at the same times. By
language and decoder, and in ``synthesizer`` the same of its own audio:

- ``real_time_factor``: seconds of decoding for a second of sound, of each sentence streamed, eight rows of units a time
  (``time.perf_counter``); ``cold`` is the first sentence, which is left out of the others.
- ``own_ear``, ``other_ear``: WER or CER (characters) with its 95 % interval: the model's own ASR, and PocketSphinx
  (English).
- ``log_mel_distance``: mean absolute difference to the synthesizer's natural log-mel, over frames and bands.
- ``dnsmos``: mean overall score of DNSMOS P.835 (``speechmos``) with its interval, and ``below_synthesizer``, the
  paired difference: the synthesizer's own minus the decoder's.

``differences`` are between the decoders, the later minus the first, paired by sentence, with 95 % intervals.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cslm.audio.log_mel import LogMel
from cslm.audio.waveform import resample
from cslm.benchmarks.timed_reply import spread
from cslm.codecs.units import Units, merge_repeats
from cslm.corpora.manifest import Utterance
from cslm.decoder.decoder_config import DecoderConfig
from cslm.decoder.speech_decoder import SpeechDecoder
from cslm.decoder.speech_stream import SpeechStream
from cslm.errors import MissingExtraError
from cslm.evaluation.error_rates import rate_name, rate_scores, text_errors
from cslm.evaluation.paired_tests import NUM_RESAMPLES, Interval, clustered_mean, paired_difference
from cslm.evaluation.recognizers import Clip, Recognizer
from cslm.evaluation.scored_model import load_clip

SYNTHESIZER = "synthesizer"
_DNSMOS_RATE_HZ = 16000
_ROWS = 8  # of units, handed over together


def vocoder_quality(
    processor: Any,
    decoders: Mapping[str, SpeechDecoder],
    items: Mapping[str, Sequence[tuple[Utterance, Path]]],
    ears: Mapping[str, Recognizer],
    with_dnsmos: bool = True,
) -> dict[str, Any]:
    """The figures of this module.

    Args:
        processor: whose speech tokenizer made the units, and whose voices speak.
        decoders: by the name that they get.
        items: utterances and their audio, by language.
        ears: by name; a language that one does not hear is left out of it.
        with_dnsmos: whether that is measured.

    Raises:
        MissingExtraError: DNSMOS is not installed.
    """
    if with_dnsmos:
        _dnsmos()
    return {
        language: _of_language(processor, decoders, of_language, language, ears, with_dnsmos)
        for language, of_language in items.items()
    }


def _of_language(
    processor: Any,
    decoders: Mapping[str, SpeechDecoder],
    items: Sequence[tuple[Utterance, Path]],
    language: str,
    ears: Mapping[str, Recognizer],
    with_dnsmos: bool,
) -> dict[str, Any]:
    own = [load_clip(utterance, path) for utterance, path in items]
    units = true_units(processor, own)
    texts = [utterance.text for utterance, _ in items]
    values: dict[str, dict[str, list[float]]] = {}
    found: dict[str, Any] = {"n": len(items)}
    for name, decoder in {SYNTHESIZER: None, **decoders}.items():
        clips, told, values[name] = own, {}, {}
        if decoder is not None:
            voices = [_voice(decoder, processor, language)] * len(items)
            clips = [(sound, decoder.sample_rate_hz) for sound in decoder.decode_batch(units, voices)]
            factors = [_real_time_factor(decoder, one, voices[0]) for one in units]
            told["real_time_factor"] = {"cold": factors[0], "warm": spread(factors[1:])}
            config = decoder.card.decoder
            values[name]["log_mel_distance"] = [
                log_mel_distance(*pair, config) for pair in zip(clips, own, strict=True)
            ]
        for ear, recognizer in ears.items():
            if recognizer.hears(language):
                told[ear] = _error_rate(texts, recognizer.transcribe(clips, [language] * len(clips)), language)
        if with_dnsmos:
            values[name]["dnsmos"] = [dnsmos(clip) for clip in clips]
        told |= {figure: interval(clustered_mean(of, None, None, NUM_RESAMPLES, _drawing()))
                 for figure, of in values[name].items()}  # fmt: skip
        if with_dnsmos and decoder is not None:
            told["dnsmos"]["below_synthesizer"] = difference(values[SYNTHESIZER]["dnsmos"], values[name]["dnsmos"])
        found[name] = told
    first, *later = decoders
    found["differences"] = {
        f"{name} - {first}": {figure: difference(of, values[first][figure]) for figure, of in values[name].items()}
        for name in later
    }
    return found


def true_units(processor: Any, clips: Sequence[Clip]) -> list[Units]:
    """The units of clips with their durations: merged as the decoder reads them, or a row a frame."""
    codec = processor.speech_tokenizer()
    found = codec.encode([resample(samples, rate, codec.sample_rate_hz) for samples, rate in clips])
    merged = processor.vocabulary.merges_repeats
    return [merge_repeats(units) if merged else units for units in found]


def log_mel_distance(clip: Clip, true: Clip, config: DecoderConfig) -> float:
    """Mean absolute difference of natural log-mel, over the frames that both have."""
    log_mel = LogMel(
        config.sample_rate_hz, config.n_fft, config.hop_length, config.num_bands, config.f_min, config.f_max
    )
    with torch.no_grad():
        first, second = (
            log_mel(torch.from_numpy(np.ascontiguousarray(resample(samples, rate, config.sample_rate_hz))))
            for samples, rate in (clip, true)
        )
    frames = min(len(first), len(second))
    return float((first[:frames] - second[:frames]).abs().mean())


def dnsmos(clip: Clip) -> float:
    """The overall score of DNSMOS P.835, 1 to 5; a short clip is repeated by it until it fills its nine seconds.

    Raises:
        MissingExtraError: it is not installed.
    """
    samples = np.clip(resample(*clip, _DNSMOS_RATE_HZ), -1, 1)
    return float(_dnsmos().run(samples, sr=_DNSMOS_RATE_HZ)["ovrl_mos"])


def _dnsmos() -> Any:
    try:
        from speechmos import dnsmos as module
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "mos", "DNSMOS") from None
    return module


def interval(found: Interval) -> dict[str, Any]:
    """As JSON has it."""
    return {"mean": found.value, "interval": [found.low, found.high]}


def difference(values: Sequence[float], others: Sequence[float]) -> dict[str, Any]:
    """The first minus the second, paired."""
    return interval(paired_difference(values, others, None, None, NUM_RESAMPLES, _drawing()))


def _real_time_factor(decoder: SpeechDecoder, units: Units, voice: str) -> float:
    start, stream = time.perf_counter(), SpeechStream(decoder, voice)
    num_samples = 0
    for row in range(0, len(units), _ROWS):
        num_samples += len(stream.push(Units(units.ids[row : row + _ROWS])).samples)
    num_samples += len(stream.finish().samples)
    return (time.perf_counter() - start) * decoder.sample_rate_hz / max(1, num_samples)


def _error_rate(texts: Sequence[str], heard: Sequence[str], language: str) -> dict[str, Any]:
    return rate_scores(text_errors(texts, heard, language), rate_name(language), _drawing())


def _voice(decoder: SpeechDecoder, processor: Any, language: str) -> str:
    return language if language in decoder.voices else str(processor.voice(language))


def _drawing() -> np.random.Generator:
    return np.random.default_rng(0)
