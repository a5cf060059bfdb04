"""Talk to a checkpoint: ``python recipes/serve.py CHECKPOINT``, then open the address that is printed."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cslm.audio.voice_activity import voice_activity
from cslm.configuration import parse_configuration
from cslm.errors import UserError, first_line
from cslm.generation.modeling import CSLMForCausalLM
from cslm.model.local_folder import local_folder
from cslm.model.speech_prompt.prompt_checkpoint import holds_prompt
from cslm.serving.limits import LimitsConfig
from cslm.serving.running_server import LOCAL_NAMES, RunningServer, ServerOptions, is_loopback, worth_a_process

RANDOM = "random"
"""The token that stands for one which is drawn."""

_SHORTEST_TOKEN = 16
_OF_ALL = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # stands for all addresses: one of them


@dataclass
class ServeConfig:
    """One checkpoint, served."""

    checkpoint: str
    """folder of a fine-tuned checkpoint"""
    host: str = "127.0.0.1"
    """address to listen on; any other than this machine's own needs a token"""
    port: int = 8000
    """0 takes a free one"""
    token: str | None = None
    """what clients have to know; random draws one and prints it"""
    token_file: str | None = None
    """a file whose first line is the token"""
    name: str | None = None
    """what clients call the model; null takes the name of its folder"""
    allowed_hosts: list[str] = field(default_factory=list)
    """further names, without ports, that the server is called by, behind a proxy say"""
    allowed_origins: list[str] = field(default_factory=list)
    """origins of pages from elsewhere that may use it, as https://example.org"""
    tokenizer_card: str | None = None
    """card of the speech tokenizer, path or name; null takes the checkpoint's own"""
    decoder: str | None = None
    """folder of a speech decoder; null takes the checkpoint's own"""
    device: str = "auto"
    """where the model runs: cpu, cuda, cuda:1; auto is the first accelerator, else the CPU"""
    voice_activity: str = "energy"
    """what tells where a turn begins and ends without a button: energy (what is loud), or silero (extra silero: what is
    a voice)"""
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    """how much a client may send, hold and keep waiting"""


def serve(config: ServeConfig) -> None:
    """Open the checkpoint and serve it until Ctrl+C.

    Raises:
        UserError: a checkpoint that cannot be used, an address without a token, or one that cannot be listened on.
        MissingExtraError: the packages of the extra ``serve`` are missing.
    """
    options = server_options(config)
    model = open_served(config)
    options = dataclasses.replace(options, decoder_process=worth_a_process(model))
    server = RunningServer(model, model.processor.name, options)
    for line in addresses(options.host, server.port, options.token):
        print(line, flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # which is how it ends
        server.run()


def addresses(host: str, port: int, token: str | None) -> list[str]:
    """What is said of where it can be reached. All addresses of a machine are none that can be opened."""
    name = _OF_ALL.get(host, host)
    place = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    told = [
        f"open http://{place}/" + ("" if token is None else f"#token={token}"),
        f"clients: http://{place}/v1, ws://{place}/v1/realtime; Ctrl+C ends",
    ]
    if host in _OF_ALL:
        told.append(f"from another machine: the same, with this machine's name or address in the place of {name}")
    return told


def server_options(config: ServeConfig) -> ServerOptions:
    """Where to listen and whom to let in.

    Raises:
        UserError: a token that is missing, too short, or given twice, or a file of it that cannot be read; an unknown
            voice activity.
        MissingExtraError: what the voice activity needs is not installed.
    """
    token = _token(config)
    local = is_loopback(config.host)
    if token is None and not local:
        raise UserError(
            f"host is {config.host}, which others can reach, and there is no token: give --token random, or a "
            "token_file, and put a proxy with TLS before it"
        )
    own = [] if config.host in _OF_ALL else [config.host]
    hosts = [*LOCAL_NAMES, *own, *config.allowed_hosts] if local or config.allowed_hosts else None
    voice_activity(config.voice_activity, 16000)  # refused before the checkpoint is opened, whatever the rate
    origins, activity = config.allowed_origins, config.voice_activity
    return ServerOptions(config.host, config.port, token, hosts, origins, None, config.limits, activity)


def open_served(config: ServeConfig) -> Any:
    """The model of a checkpoint, named as clients call it.

    Raises:
        UserError: a checkpoint that cannot be used, does not bring its speech tokenizer, or is of another kind.
    """
    if holds_prompt(local_folder(config.checkpoint, weights=False)):
        raise UserError(f"{config.checkpoint} hears by a connector, and is not served yet: ask it by cslm respond")
    model = CSLMForCausalLM.from_pretrained(
        config.checkpoint, tokenizer_card=config.tokenizer_card, decoder=config.decoder, device=config.device
    )
    processor = model.processor
    if processor.form.is_textless:
        raise UserError(f"{config.checkpoint} has no text, and no question is asked of it: cslm continue-speech")
    processor.speech_tokenizer()
    if processor.chain.speaks:
        processor.speech_decoder()
    processor.name = config.name or Path(config.checkpoint).resolve().name
    return model


def _token(config: ServeConfig) -> str | None:
    if config.token is not None and config.token_file is not None:
        raise UserError("token and token_file are both given: leave one out")
    if config.token == RANDOM:
        return secrets.token_urlsafe(24)
    token = config.token
    if config.token_file is not None:
        try:
            token = Path(config.token_file).read_text(encoding="utf-8").split("\n")[0].strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"token_file: {config.token_file} cannot be read: {first_line(error)}") from None
    if token is not None and (len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise UserError(f"the token must be {_SHORTEST_TOKEN} printable characters or more: --token random draws one")
    return token


def main(arguments: list[str]) -> None:
    """Parse ``CHECKPOINT [--host 127.0.0.1] [--port 8000] [--token random]`` and serve."""
    serve(parse_configuration(ServeConfig, arguments, "serve", ("checkpoint",)))
