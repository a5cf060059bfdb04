"""A server in this process, on a free port, with a tiny model that likes to speak."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cslm import CSLMForCausalLM
from cslm.serving.limits import LimitsConfig
from cslm.serving.running_server import LOCAL_NAMES, RunningServer, ServerOptions
from tests.worlds.tiny_checkpoint import make_checkpoint, tone

LIMITS = {"num_replies": 4, "num_waiting": 4, "max_audio_sec": 5.0, "max_new_tokens": 80, "receive_timeout_sec": 5.0}


def speaking_model(folder: Path) -> Any:
    """Untrained, but it writes "Anna works" and speaks, chunk by chunk; its units last some frames. Text alone ends.

    What comes next is made likelier by the last id alone, so that rows of a batch stay apart.
    """
    model = CSLMForCausalLM.from_pretrained(make_checkpoint(folder / "llama")).eval()
    torch.nn.init.constant_(model.processor.decoder.durations.linear.bias, 1.0)
    processor, vocabulary = model.processor, model.processor.vocabulary
    words = processor.tokenizer("Anna works", add_special_tokens=False).input_ids
    header = processor.question_prompt(processor.units((tone(0.6, 16000), 16000)), "en", "en")[-1]
    follows = dict(zip([int(header), *words], [*words, vocabulary.sosp], strict=True)) | {vocabulary.eosp: words[0]}
    ending = [token_id for token_id in range(vocabulary.size) if vocabulary.is_unit(token_id) and token_id % 4 == 1]
    likelier = torch.zeros(model.get_output_embeddings().weight.shape[0], dtype=torch.long)
    for token_id, following in [*follows.items(), *((unit, vocabulary.eosp) for unit in ending)]:
        likelier[token_id] = following

    def lead(_: object, __: object, given: dict[str, torch.Tensor], output: dict[str, torch.Tensor]) -> None:
        logits = output["logits"]
        before = given["input_ids"][:, -logits.shape[1] :]
        wanted = likelier[before]
        rows, places = (wanted > 0).nonzero(as_tuple=True)
        logits[rows, places, wanted[rows, places]] += 20.0
        rows, places = (before == words[-1]).nonzero(as_tuple=True)
        logits[rows, places, processor.end_ids[0]] += 10.0

    model.register_forward_hook(lead, with_kwargs=True)
    processor.name = "tiny"
    return model


@contextmanager
def serving(model: Any, **given: Any) -> Iterator[RunningServer]:
    """A server of a model while the block runs; ``given`` are limits, or options of the server."""
    limits = {**LIMITS, **{name: value for name, value in given.items() if hasattr(LimitsConfig, name)}}
    options = {name: value for name, value in given.items() if not hasattr(LimitsConfig, name)}
    options = {"port": 0, "hosts": LOCAL_NAMES, "limits": LimitsConfig(**limits), **options}
    with RunningServer(model, "tiny", ServerOptions(**options)).in_background() as server:
        yield server


def wav(samples: np.ndarray | None = None, rate_hz: int = 16000) -> bytes:
    """A WAV file of a tone of 0.6 s, or of samples in [-1, 1]."""
    samples = tone(0.6, rate_hz) if samples is None else samples
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return content.getvalue()


def pcm(samples: np.ndarray | None = None) -> bytes:
    """PCM16 at 24,000 Hz of a tone of 0.6 s, or of samples in [-1, 1]."""
    samples = tone(0.6, 24000) if samples is None else samples
    return (samples * 32767).astype("<i2").tobytes()


def base64_of(data: bytes) -> str:
    """As JSON takes it."""
    return base64.b64encode(data).decode("ascii")


def asked(wav_file: bytes | None = None, **fields: Any) -> dict[str, Any]:
    """The body of a chat completion that asks by a tone, or by a file."""
    part = {"type": "input_audio", "input_audio": {"data": base64_of(wav_file or wav()), "format": "wav"}}
    return {"model": "tiny", "messages": [{"role": "user", "content": [part]}], **fields}
