"""Which chat model is asked, and how: an endpoint that speaks OpenAI's protocol, or a local model of transformers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cslm.errors import UserError
from cslm.ranges import Range, check_numbers

DTYPES = ("auto", "float32", "bfloat16", "float16")
_OWN_PARAMETERS = ("model", "messages", "temperature", "max_tokens", "stream", "n")


@dataclass
class EndpointConfig:
    """An endpoint with ``/chat/completions`` below its address: OpenAI's, vLLM, llama.cpp, Ollama, a gateway."""

    base_url: str
    """its address, up to and with /v1: http://localhost:8000/v1"""
    api_key_variable: str | None = None
    """environment variable that holds the key; null sends none"""
    timeout_sec: float = 120.0
    """a request without an answer for so long has failed"""
    max_retries: int = 6
    """a request that failed by 429, 5xx, a timeout or the connection is sent again so often, after growing waits"""
    num_parallel: int = 8
    """requests under way at the same time"""
    max_failures_in_a_row: int = 20
    """after so many requests in a row that failed for good the work stops: the endpoint is down"""
    parameters: dict[str, Any] = field(default_factory=dict)
    """further parameters of the request, as the endpoint knows them: top_p, seed, response_format, ..."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range or a parameter that has a key of its own, by name.
        """
        if not self.base_url.startswith(("http://", "https://")):
            raise UserError(f"base_url is {self.base_url!r}: it must begin with http:// or https://")
        check_numbers(
            self,
            "",
            timeout_sec=Range(above=0),
            max_retries=Range(least=0),
            num_parallel=Range(least=1),
            max_failures_in_a_row=Range(least=1),
        )
        given = [name for name in _OWN_PARAMETERS if name in self.parameters]
        if given:
            raise UserError(
                f"parameters.{given[0]}: it is decided elsewhere: leave it out, or give the key of that name"
            )


@dataclass
class LocalChatConfig:
    """A causal language model of transformers on this machine, asked in its own chat template."""

    batch_size: int = 8
    """conversations answered together"""
    device: str = "cpu"
    """where it runs: cpu, cuda, cuda:1"""
    dtype: str = "auto"
    """type of its weights; auto takes the checkpoint's"""
    template: dict[str, Any] = field(default_factory=dict)
    """what else the chat template is told: enable_thinking: false"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        check_numbers(self, "", batch_size=Range(least=1))
        if self.dtype not in DTYPES:
            raise UserError(f"dtype is {self.dtype!r}: choose one of {', '.join(DTYPES)}")


@dataclass
class ChatConfig:
    """A chat model. One of ``endpoint`` and ``local`` says where it runs."""

    model: str
    """its name at the endpoint; or its folder or Hub id"""
    endpoint: EndpointConfig | None = None
    """an endpoint that speaks OpenAI's protocol"""
    local: LocalChatConfig | None = None
    """a model of transformers on this machine"""
    revision: str | None = None
    """of a model on the Hub; of an endpoint a word of your own for what its name does not tell (date, quantization)"""
    temperature: float | None = 0.0
    """0 takes the most likely token each time; null tells an endpoint nothing, as some models want it"""
    max_tokens: int | None = 1024
    """a reply is cut off after so many tokens; null tells an endpoint nothing"""
    max_asks: int = 3
    """a reply that is not what was asked for is asked for again, with the fault named: so many replies at most"""
    cache: str | None = None
    """folder where replies are kept by the hash of all that decides them but the address; null: beside the output"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, or not exactly one place where the model runs.
        """
        if (self.endpoint is None) == (self.local is None):
            raise UserError(f"the chat model {self.model} needs one of the sections `endpoint` and `local`: give one")
        check_numbers(self, "", temperature=Range(least=0), max_tokens=Range(least=1), max_asks=Range(least=1))
        if self.local is not None and self.max_tokens is None:
            raise UserError("max_tokens is null: a local model needs a number")
