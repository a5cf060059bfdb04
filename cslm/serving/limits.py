"""How much a client may send, hold and keep waiting."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from cslm.errors import UserError


@dataclass
class LimitsConfig:
    """The same on every route."""

    num_replies: int = 8
    """replies that are written together"""
    num_waiting: int = 16
    """requests that may wait for a place; further ones are refused at once"""
    max_connections: int = 64
    """open connections, of both kinds together"""
    max_body_bytes: int = 16 * 1024 * 1024
    """of a request over HTTP"""
    max_message_bytes: int = 2 * 1024 * 1024
    """of one message on a WebSocket"""
    max_audio_sec: float = 60.0
    """of a question, a recording, or what one request holds of them"""
    min_rate_hz: int = 8000
    """a WAV file of a lower sample rate is refused"""
    max_rate_hz: int = 48000
    """a WAV file of a higher sample rate is refused"""
    max_text_chars: int = 4096
    """of a text that is to be spoken"""
    max_new_tokens: int = 2048
    """ids of one reply"""
    receive_timeout_sec: float = 30.0
    """a request must be there after so long"""
    send_timeout_sec: float = 20.0
    """a client that takes in nothing for so long is dropped"""
    reply_timeout_sec: float = 300.0
    """a reply is stopped after so long"""
    session_timeout_sec: float = 3600.0
    """a WebSocket is closed after so long"""
    max_turns: int = 32
    """turns of a conversation that the model is told of; the oldest are left out"""
    num_kept_answers: int = 256
    """answers of chats that clients may go on from, each for ``session_timeout_sec``; the oldest are forgotten"""
    max_errors: int = 100
    """a WebSocket is closed after so many refused events with none between them that was not"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        may_be_zero = {"num_waiting", "max_turns", "num_kept_answers"}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value < 0 or (value == 0 and field.name not in may_be_zero):
                raise UserError(f"limits.{field.name} is {value}: it must be above 0")
        if self.min_rate_hz > self.max_rate_hz:
            raise UserError(f"limits: min_rate_hz {self.min_rate_hz} is above max_rate_hz {self.max_rate_hz}")
