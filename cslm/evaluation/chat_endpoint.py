"""A chat model behind an endpoint that speaks OpenAI's protocol, by the library ``openai``."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from cslm.corpora.text_documents import half_of_a_character
from cslm.errors import MissingExtraError, UserError, first_line
from cslm.evaluation.chat_config import ChatConfig
from cslm.evaluation.chat_contract import ChatFailure, ChatText, Messages

_LONGEST_REASON = 200  # characters of an endpoint's own words
_WRONG_SETTINGS = {401: "the key is not accepted", 403: "the key may not do this", 404: "no such model or address"}


class ChatEndpoint:
    """Sends each conversation as one request, several at a time; retries and waits are the library's."""

    def __init__(self, config: ChatConfig) -> None:
        """Look for the library and the key; nothing is sent yet.

        Raises:
            UserError: the variable of the key is not set.
            MissingExtraError: openai is not installed.
        """
        try:
            import openai
        except ImportError:
            raise MissingExtraError("openai", "endpoint", f"the chat model {config.model}") from None
        assert config.endpoint is not None
        self._library: Any = openai
        self._config, self._endpoint = config, config.endpoint
        self._key = api_key(self._endpoint.api_key_variable)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Model, revision and parameters. Not the address: a model that is served elsewhere goes on with its cache."""
        return {"model": self._config.model, "revision": self._config.revision, **self._parameters()}

    def complete(self, conversations: Sequence[Messages]) -> Iterator[tuple[int, ChatText | ChatFailure]]:
        """Yield replies as they come in. No request is sent before there is a place for its reply, so that a process
        which is killed loses ``num_parallel`` of them at most.

        Raises:
            UserError: the endpoint refuses key, address or model, or so many requests in a row fail that it is down.
        """
        client = self._library.OpenAI(
            base_url=self._endpoint.base_url,
            api_key=self._key,
            timeout=self._endpoint.timeout_sec,
            max_retries=self._endpoint.max_retries,
        )
        pool = ThreadPoolExecutor(self._endpoint.num_parallel, thread_name_prefix="chat")
        waiting = iter(enumerate(conversations))
        open_now: dict[Future[ChatText | ChatFailure], int] = {}

        def send(count: int) -> None:
            for index, messages in itertools.islice(waiting, count):
                open_now[pool.submit(self._ask, client, messages)] = index

        in_a_row = 0
        try:
            send(self._endpoint.num_parallel)
            while open_now:
                for future in wait(open_now, return_when=FIRST_COMPLETED).done:
                    found = future.result()
                    in_a_row = in_a_row + 1 if _is_fault(found) else 0
                    yield open_now.pop(future), found
                    self._check_is_up(in_a_row, found)
                    send(1)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            client.close()  # what is still under way ends too

    def _check_is_up(self, in_a_row: int, last: ChatText | ChatFailure) -> None:
        if in_a_row >= self._endpoint.max_failures_in_a_row and isinstance(last, ChatFailure):
            raise UserError(
                f"{self._endpoint.base_url}: {in_a_row} requests in a row failed, the last by {last.reason}: see "
                "whether it is up and run the same again, what was answered is kept; or raise max_failures_in_a_row"
            )

    def _parameters(self) -> dict[str, Any]:
        told = {"temperature": self._config.temperature, "max_tokens": self._config.max_tokens}
        return {**{name: value for name, value in told.items() if value is not None}, **self._endpoint.parameters}

    def _ask(self, client: Any, messages: Messages) -> ChatText | ChatFailure:
        """One request, with the library's retries; its answer, or why there is none."""
        body = {"model": self._config.model, "messages": [dict(message) for message in messages], **self._parameters()}
        library = self._library
        try:
            answer = client.chat.completions.with_raw_response.create(
                model=body.pop("model"), messages=body.pop("messages"), extra_body=body
            )
            return _taken_apart(answer.http_response.text)
        except library.APITimeoutError:
            return ChatFailure("timeout", f"no answer within {self._endpoint.timeout_sec:g} s")
        except library.APIConnectionError:
            return ChatFailure("connection", "the connection could not be made or was closed")
        except library.APIStatusError as error:
            return self._status_failure(error.status_code, error)

    def _status_failure(self, status: int, error: Exception) -> ChatFailure:
        said = first_line(error)[:_LONGEST_REASON]
        if status in _WRONG_SETTINGS:
            raise UserError(
                f"{self._endpoint.base_url}, model {self._config.model}: {_WRONG_SETTINGS[status]} (HTTP {status}: "
                f"{said}): mend base_url, model or api_key_variable"
            )
        kind = "rate_limit" if status == 429 else "server" if status >= 500 else "refused"
        return ChatFailure(kind, f"HTTP {status}: {said}")


def _is_fault(reply: ChatText | ChatFailure) -> bool:
    """Whether it may be the endpoint that is at fault."""
    return isinstance(reply, ChatFailure) and reply.kind != "filtered"


def api_key(variable: str | None) -> str:
    """The key of an endpoint, from the environment variable that holds it.

    Raises:
        UserError: there is no such variable.
    """
    if variable is None:
        return "none"  # the library wants one
    key = os.environ.get(variable)
    if not key:
        raise UserError(f"api_key_variable is {variable}: the environment has no such variable: export {variable}=...")
    return key


def _taken_apart(body: str) -> ChatText | ChatFailure:
    """The text in the body of an answer with status 200."""
    try:
        choice = json.loads(body)["choices"][0]
        text, finish = choice["message"].get("content"), choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return ChatFailure("malformed", "the endpoint's answer is no chat completion")
    if finish == "content_filter" or choice["message"].get("refusal"):
        return ChatFailure("filtered", "the endpoint's filter, or the model, refuses to answer")
    if not isinstance(text, str) or not text.strip():
        return ChatFailure("malformed", "the endpoint's answer holds no text")
    if half_of_a_character(text) is not None:
        return ChatFailure("malformed", "the endpoint's answer holds half of a Unicode character")
    return ChatText(text, finish != "length")
