"""Answer one spoken question: ``python recipes/respond.py CHECKPOINT QUESTION.wav --output ANSWER.wav``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from cslm.audio.waveform import save_waveform
from cslm.codecs.units import Units
from cslm.configuration import parse_configuration
from cslm.errors import UserError
from cslm.files.atomic_file import write_atomically
from cslm.files.can_be_made import check_can_be_made
from cslm.generation.decoding import DecodingConfig
from cslm.generation.events import Reply, join_events
from cslm.generation.modeling import CSLMForCausalLM
from cslm.generation.prompt_model import WrittenReply
from cslm.generation.time_line import time_line
from cslm.model.local_folder import local_folder
from cslm.model.speech_prompt.prompt_checkpoint import holds_prompt

_MOST, _OR_CONTEXT = "decoding.max_new_tokens", "or the end of the model's context"


@dataclass
class RespondConfig:
    """One question to one checkpoint."""

    checkpoint: str
    """folder of a fine-tuned checkpoint"""
    question: str
    """the spoken question: an audio file"""
    output: str | None = None
    """the spoken answer: a wav file to write; left out where the model answers in text alone"""
    instruction: str | None = None
    """what is asked of the recording, for a model of train-prompt; {audio} in it is where the recording stands, else it
    comes last"""
    answer_language: str | None = None
    """language of the answer (en, zh, ...); null answers in the question's language"""
    question_language: str | None = None
    """language of the question; null recognises it (a model of train-prompt wants it where its gate is given)"""
    json: str | None = None
    """a JSON file to write: transcript, answer, languages, and the chunks with their units"""
    time_line: str | None = None
    """a JSON file to write: when each part was known while it was streamed; no two runs have the same times"""
    tokenizer_card: str | None = None
    """card of the speech tokenizer, path or name; null takes the checkpoint's own"""
    decoder: str | None = None
    """folder of a speech decoder; null takes the checkpoint's own"""
    device: str = "auto"
    """where the model runs: cpu, cuda, cuda:1; auto is the first accelerator, else the CPU"""
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    """length, and whether tokens are drawn"""
    seed: int = 0
    """for drawing, and for the noise of the decoder"""


def respond(config: RespondConfig) -> Reply | WrittenReply:
    """Open the checkpoint and answer the question.

    Raises:
        UserError: an output that cannot be made, a checkpoint or a recording that cannot be used, no speech decoder, or
            an answer without speech.
    """
    for key in ("output", "json", "time_line"):
        check_can_be_made(key, getattr(config, key))
    if holds_prompt(local_folder(config.checkpoint, weights=False)):
        return answer_by_prompt(config)
    if config.instruction is not None:
        raise UserError("instruction is given, and only a checkpoint of train-prompt reads it: leave it out")
    return answer_question(open_speaking_model(config), config)


def answer_by_prompt(config: RespondConfig) -> WrittenReply:
    """Answer with a model that hears by a connector, in text; write the JSON file if it is asked for.

    Raises:
        UserError: keys that it does not read, frozen parts that are others, or a recording that cannot be used.
    """
    for key in ("output", "answer_language", "time_line", "tokenizer_card", "decoder"):
        if getattr(config, key) is not None:
            raise UserError(
                f"{key} is given, and {config.checkpoint} answers in text and does not read it: leave it out"
            )
    model = CSLMForCausalLM.from_pretrained(config.checkpoint, device=config.device)
    generator = torch.Generator().manual_seed(config.seed)
    reply: WrittenReply = model.respond(
        config.question, config.instruction, config.decoding, generator, config.question_language
    )
    print(f"answer: {reply.answer}")
    if not reply.is_whole:
        print(f"the answer was cut by {_MOST} {config.decoding.max_new_tokens}, {_OR_CONTEXT}", flush=True)
    if config.json is not None:
        content = json.dumps({"answer": reply.answer, "is_whole": reply.is_whole}, ensure_ascii=False, indent=2) + "\n"
        write_atomically(Path(config.json), content.encode("utf-8"))
    return reply


def open_speaking_model(config: RespondConfig) -> Any:
    """The checkpoint with its tokenizer and speech decoder.

    Raises:
        UserError: a checkpoint that cannot be used, no speech decoder, or an output that does not go with the answer.
    """
    model = CSLMForCausalLM.from_pretrained(
        config.checkpoint, tokenizer_card=config.tokenizer_card, decoder=config.decoder, device=config.device
    )
    processor = model.processor
    if not processor.chain.speaks and config.output is not None:
        raise UserError(
            f"output is {config.output}, and {config.checkpoint} answers in text alone (the order {processor.order}): "
            "leave it out, and give json to keep the answer"
        )
    if processor.chain.speaks:
        if config.output is None:
            raise UserError(f"{config.checkpoint} answers with speech: give output, the wav file to write")
        processor.speech_decoder()
    return model


def answer_question(model: Any, config: RespondConfig) -> Reply:
    """Answer the question, write the wav file and, if asked for, the JSON file; print transcript and answer.

    Raises:
        UserError: a recording that cannot be used, or an answer without speech from a model that speaks.
    """
    generator = torch.Generator().manual_seed(config.seed)
    languages = (config.answer_language, config.question_language)
    events = list(model.stream(config.question, *languages, config.decoding, generator))
    processor = model.processor
    rate = processor.decoder.sample_rate_hz if processor.decoder is not None else None
    reply = join_events(events, rate, processor.speaks)
    if reply.question is not None:
        print(f"question ({reply.question_language}): {reply.question}")
    for name, text in reply.texts.items():
        if name != "question_text":
            print(f"{name}: {text}")
    print(f"answer ({reply.answer_language}): {reply.answer}")
    if config.output is not None:
        _save_answer(reply, config.output, config)
    elif not reply.is_whole:
        print(f"the answer was cut by {_MOST} {config.decoding.max_new_tokens}, {_OR_CONTEXT}", flush=True)
    if config.json is not None:
        content = json.dumps(reply_record(reply, config.output), ensure_ascii=False, indent=2) + "\n"
        write_atomically(Path(config.json), content.encode("utf-8"))
    if config.time_line is not None:
        write_atomically(Path(config.time_line), (json.dumps(time_line(events)) + "\n").encode("utf-8"))
    return reply


def _save_answer(reply: Reply, output: str, config: RespondConfig) -> None:
    """Write the wav file.

    Raises:
        UserError: an answer without speech.
    """
    most = config.decoding.max_new_tokens
    if reply.waveform is None or len(reply.waveform) == 0 or reply.sample_rate_hz is None:
        what = f"{config.checkpoint} wrote no speech in its answer to {config.question}"
        if not reply.is_whole:
            raise UserError(
                f"{what}: it was cut by {_MOST} {most}, {_OR_CONTEXT}: raise max_new_tokens, or ask a shorter question"
            )
        raise UserError(f"{what}, and ended it: fine-tune it longer")
    if not reply.is_whole:
        print(f"the answer was cut by {_MOST} {most}, {_OR_CONTEXT}", flush=True)
    save_waveform(output, reply.waveform, reply.sample_rate_hz)


def reply_record(reply: Reply, wav: str | None) -> dict[str, Any]:
    """A reply as plain values; units as lists, one number a unit (of several codebooks one list a frame)."""
    return {
        "question": reply.question,
        "question_language": reply.question_language,
        "texts": reply.texts,
        "answer": reply.answer,
        "answer_language": reply.answer_language,
        "num_chunks": len(reply.segments),
        "question_units": _plain(reply.question_units),
        "segments": [{"text": text, "units": _plain(units)} for text, units in reply.segments],
        "wav": None if wav is None else Path(wav).name,
        "sample_rate_hz": reply.sample_rate_hz,
    }


def _plain(units: Units) -> list[Any]:
    plain: list[Any] = (units.ids[:, 0] if units.num_codebooks == 1 else units.ids).tolist()
    return plain


def main(arguments: list[str]) -> None:
    """Parse ``CHECKPOINT QUESTION.wav --output ANSWER.wav [--answer_language zh] [--json REPLY.json]`` and respond."""
    respond(parse_configuration(RespondConfig, arguments, "respond", ("checkpoint", "question")))
