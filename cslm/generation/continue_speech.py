"""Go on from a recording: ``python recipes/continue_speech.py CHECKPOINT IN.wav OUT.wav``, with a textless model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from cslm.audio.waveform import save_waveform
from cslm.configuration import parse_configuration
from cslm.errors import UserError
from cslm.files.can_be_made import check_can_be_made
from cslm.generation.decoding import DecodingConfig
from cslm.generation.modeling import CSLMForCausalLM
from cslm.generation.speech_continuation import CONTINUING, Continuation
from cslm.model.local_folder import local_folder
from cslm.model.speech_prompt.prompt_checkpoint import holds_prompt


@dataclass
class ContinueSpeechConfig:
    """One recording, continued by one checkpoint."""

    checkpoint: str
    """folder of a textless checkpoint"""
    audio: str
    """the recording to go on from"""
    output: str
    """the continuation: a wav file to write"""
    seconds: float = 10.0
    """so much more at most; the model may end before"""
    with_prompt: bool = False
    """whether the file begins with the recording, as its units sound"""
    voice: str | None = None
    """voice of the speech decoder; null takes its first; without a decoder the speech tokenizer makes the sound"""
    tokenizer_card: str | None = None
    """card of the speech tokenizer, path or name; null takes the checkpoint's own"""
    decoder: str | None = None
    """folder of a speech decoder; null takes the checkpoint's own"""
    device: str = "auto"
    """where the model runs: cpu, cuda, cuda:1; auto is the first accelerator, else the CPU"""
    decoding: DecodingConfig = field(default_factory=lambda: replace(CONTINUING))
    """how units are drawn; seconds say how many"""
    seed: int = 0
    """for drawing, and for the noise of the decoder"""


def continue_speech(config: ContinueSpeechConfig) -> Continuation:
    """Open the checkpoint, go on from the recording and write the wav file.

    Raises:
        UserError: an output that cannot be made, a checkpoint or a recording that cannot be used, nothing that turns
            units into sound, or a model that ends at once.
    """
    check_can_be_made("output", config.output)
    if holds_prompt(local_folder(config.checkpoint, weights=False)):
        raise UserError(f"{config.checkpoint} answers in text, and does not go on speaking: ask it by cslm respond")
    model = CSLMForCausalLM.from_pretrained(
        config.checkpoint, tokenizer_card=config.tokenizer_card, decoder=config.decoder, device=config.device
    ).eval()
    generator = torch.Generator().manual_seed(config.seed)
    said: Continuation = model.continue_speech(config.audio, config.seconds, config.voice, config.decoding, generator)
    assert said.waveform is not None and said.prompt_waveform is not None and said.sample_rate_hz is not None
    if not len(said.waveform):
        raise UserError(f"{config.checkpoint} ended at once behind {config.audio}: give another seed or recording")
    parts = [said.prompt_waveform, said.waveform] if config.with_prompt else [said.waveform]
    save_waveform(config.output, np.concatenate(parts), said.sample_rate_hz)
    seconds = len(said.waveform) / said.sample_rate_hz
    ended = "and ended there" if said.is_whole else "and was cut there"
    print(f"{config.output}: the model said {seconds:.2f} s more {ended}", flush=True)
    return said


def main(arguments: list[str]) -> None:
    """Parse ``CHECKPOINT IN.wav OUT.wav [--seconds 10] [--with_prompt true]`` and go on from the recording."""
    places = ("checkpoint", "audio", "output")
    continue_speech(parse_configuration(ContinueSpeechConfig, arguments, "continue-speech", places))
