"""What synthesizers can be told: a section each, of which one is given."""

from __future__ import annotations

from dataclasses import dataclass, field

from cslm.errors import UserError
from cslm.evaluation.chat_config import EndpointConfig
from cslm.ranges import Range, check_numbers


@dataclass
class EspeakConfig:
    """espeak-ng (extra ``tts``): robot voices in a hundred languages, no download, hundreds of times real time."""

    variants: list[str] = field(default_factory=list)
    """Its voices: variants of the synthesizer (m1, f4, adam), each in every language. Default: all that sound the same
    in every run."""
    accents: dict[str, str] = field(default_factory=dict)
    """Language to the voice file that reads it ({en: gmw/en-US}). Default: the file that names the language first."""
    rate_wpm: int = 175
    """Words per minute, 80 to 450."""
    pitch: int = 50
    """0 to 99; 50 is the voice's own."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        check_numbers(self, "synthesizer.espeak", rate_wpm=Range(80, 450), pitch=Range(0, 99))


@dataclass
class VitsConfig:
    """VITS of transformers: MMS (one model a language, 1,100 languages) or a model of many speakers."""

    model: str
    """A hub id or a folder; {language} stands for the language, {iso3} for its code of three letters:
    facebook/mms-tts-{iso3}."""
    models: dict[str, str] = field(default_factory=dict)
    """Language to hub id or folder, where model does not name it."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    device: str = "auto"
    """Where it runs: auto, cpu, cuda."""
    speaking_rate: float | None = None
    """Larger is faster (default: the model's own)."""
    noise_scale: float | None = None
    """Variation of the voice (default: the model's own)."""
    noise_scale_duration: float | None = None
    """Variation of how long sounds are (default: the model's own)."""
    seed: int = 0
    """Draws that variation, for each text on its own."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        least = Range(least=0)
        check_numbers(self, "synthesizer.vits", speaking_rate=Range(above=0), noise_scale=least)
        check_numbers(self, "synthesizer.vits", noise_scale_duration=least)


@dataclass
class SpeechT5Config:
    """SpeechT5 of transformers: any voice of which there is an x-vector."""

    model: str
    """A hub id or a folder; {language} stands for the language: it speaks the one that it was trained on."""
    vocoder: str
    """Hub id or folder of its HiFi-GAN."""
    voices: str
    """Folder of x-vectors (NAME.npy, 512 numbers): the names are the voices, each in every language."""
    models: dict[str, str] = field(default_factory=dict)
    """Language to hub id or folder, where model does not name it."""
    revision: str | None = None
    """Branch, tag or commit on the hub, of the model."""
    vocoder_revision: str | None = None
    """The same of the vocoder."""
    device: str = "auto"
    """Where it runs: auto, cpu, cuda."""
    seed: int = 0
    """Draws the dropout that is part of it, for each text on its own."""


@dataclass(kw_only=True)
class SpeechEndpointConfig(EndpointConfig):
    """A server that speaks the protocol of OpenAI's /v1/audio/speech: Kokoro, CosyVoice, Kyutai, vLLM and others."""

    model: str
    """Name of the model there."""
    voices: list[str]
    """Names of its voices, each taken for one speaker in every language."""
    voices_of: dict[str, list[str]] = field(default_factory=dict)
    """Language to the names of its voices, where it has others."""
    response_format: str = "wav"
    """What it is asked for: wav, or pcm (16-bit numbers without a header)."""
    pcm_rate_hz: int = 24000
    """Samples a second of pcm."""
    language_parameter: str | None = None
    """Parameter of the request that says the language of the text (BCP 47), where the server takes one."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        super().__post_init__()
        check_numbers(self, "synthesizer.endpoint", pcm_rate_hz=Range(least=1))
        if self.response_format not in ("wav", "pcm"):
            raise UserError(f"synthesizer.endpoint.response_format is {self.response_format!r}: choose wav or pcm")
        if not self.voices:
            raise UserError("synthesizer.endpoint.voices is empty: name at least one voice")


@dataclass
class SynthesizerConfig:
    """Which synthesizer: the section of one of them."""

    espeak: EspeakConfig | None = None
    """espeak-ng: robot voices, no download"""
    vits: VitsConfig | None = None
    """VITS and MMS of transformers"""
    speecht5: SpeechT5Config | None = None
    """SpeechT5 of transformers"""
    endpoint: SpeechEndpointConfig | None = None
    """a server that speaks OpenAI's protocol for speech"""
