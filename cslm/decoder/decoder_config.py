"""What a speech decoder is made of, and the file that says so."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cslm.errors import UserError


@dataclass
class DecoderConfig:
    """Sizes of the nets and of the spectrogram, and how to sample."""

    width: int = 256
    """channels over merged units"""
    num_blocks: int = 5
    """convolution blocks over merged units"""
    num_subframes: int = 4
    """vectors from the beginning of a merged unit to its end, between which spectrogram frames are read"""
    condition_width: int = 128
    """channels at the rate of the spectrogram"""
    num_condition_blocks: int = 2
    """convolution blocks at the rate of the spectrogram"""
    flow_width: int = 128
    """channels of the flow-matching net"""
    num_flow_blocks: int = 3
    """convolution blocks of the flow-matching net"""
    duration_width: int = 128
    """channels of the duration predictor"""
    duration_kernel_size: int = 3
    """merged units that a convolution of the duration predictor sees"""
    num_flow_steps: int = 4
    """Euler steps from noise to the log-mel; 0 leaves the mean"""
    temperature: float = 0.2
    """standard deviation of the noise that the flow starts from: 0 is clear and a little dull, 1 is lively and rough"""
    vocoder: str = "griffin_lim"
    """from log-mel to samples: griffin_lim learns nothing, harmonic is trained with the rest, and soon heard; hifigan
    is a model of transformers that others have trained"""
    vocoder_model: str | None = None
    """Hub id or folder of the model (hifigan); it must have been trained on such spectrograms"""
    vocoder_revision: str | None = None
    """revision of the Hub's model (hifigan)"""
    vocoder_log_base: float | None = 10.0
    """base of the logarithm in the spectrograms that the model was trained on (hifigan); null: natural"""
    vocoder_width: int = 192
    """channels of the vocoder's net (harmonic)"""
    num_vocoder_blocks: int = 3
    """convolution blocks of the vocoder's net (harmonic)"""
    num_vocoder_corrections: int = 2
    """times that the bands of what was made are measured and set right (harmonic): nearer the log-mel, heard later"""
    num_griffin_lim_iterations: int = 24
    """iterations of Griffin-Lim"""
    griffin_lim_momentum: float = 0.99
    """momentum of Griffin-Lim, 0 to 1"""
    sample_rate_hz: int = 22050
    """samples a second of the waveform"""
    n_fft: int = 1024
    """samples of a spectrogram window"""
    hop_length: int = 256
    """samples from one spectrogram frame to the next"""
    num_bands: int = 80
    """mel bands"""
    f_min: float = 0.0
    """lower edge of the lowest band, Hz"""
    f_max: float = 8000.0
    """upper edge of the highest band, Hz"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        least = {"num_flow_steps": 0, "num_condition_blocks": 0, "num_griffin_lim_iterations": 0, "temperature": 0}
        least |= {"num_vocoder_corrections": 0}
        least |= {"griffin_lim_momentum": 0, "f_min": 0}
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, int | float) and value < least.get(name, 1):
                raise UserError(f"decoder.{name} is {value}: it must be at least {least.get(name, 1)}")
        if self.vocoder_log_base == 1:
            raise UserError("decoder.vocoder_log_base is 1: give the base of a logarithm, or null for the natural one")
        if self.n_fft % self.hop_length or self.duration_kernel_size % 2 == 0:
            raise UserError("decoder: hop_length must divide n_fft, and duration_kernel_size must be odd")
        if not self.f_min < self.f_max <= self.sample_rate_hz / 2:
            raise UserError(
                f"decoder: f_min < f_max <= {self.sample_rate_hz / 2} Hz, not {self.f_min} and {self.f_max}"
            )


@dataclass
class DecoderCard:
    """``config.json`` of a saved decoder: its nets, and the units and voices that it was trained on."""

    decoder: DecoderConfig
    """sizes and sampling"""
    fingerprint: str
    """of the speech tokenizer whose units it understands"""
    codebook_sizes: tuple[int, ...]
    """units in each codebook"""
    frame_rate_hz: float
    """unit frames a second"""
    voices: tuple[str, ...]
    """names of the voices it can speak with: the languages, one fixed voice each"""
    vocoder: dict[str, Any] | None = None
    """shape of the vocoder's net, where others have trained it"""

    def to_json(self) -> str:
        """The text of ``config.json``."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if (name, value) != ("vocoder", None)}
        return json.dumps({"format": FORMAT, **values}, indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> DecoderCard:
        """Read ``config.json``.

        Raises:
            UserError: it is missing, is not JSON, or is not a decoder's.
        """
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{path}: there is no speech decoder; train one with recipes/train_decoder.py") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not JSON ({error}): copy the decoder again") from None
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise UserError(f"{path} is not the configuration of a speech decoder (no format {FORMAT!r})")
        try:
            return cls(
                decoder=DecoderConfig(**values["decoder"]),
                fingerprint=values["fingerprint"],
                codebook_sizes=tuple(values["codebook_sizes"]),
                frame_rate_hz=float(values["frame_rate_hz"]),
                voices=tuple(values["voices"]),
                vocoder=values.get("vocoder"),
            )
        except (KeyError, TypeError) as error:
            raise UserError(f"{path} does not fit this version ({error}): train the decoder again") from None


FORMAT = "cslm-speech-decoder-2"
