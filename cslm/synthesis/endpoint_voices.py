"""A server that speaks the protocol of OpenAI's ``/v1/audio/speech``, by the library ``openai``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from cslm.audio.waveform import load_waveform
from cslm.corpora.languages import language_tag
from cslm.errors import MissingExtraError, UserError, first_line
from cslm.evaluation.chat_endpoint import api_key
from cslm.synthesis.failure import Failure
from cslm.synthesis.synthesizer_config import SpeechEndpointConfig

if TYPE_CHECKING:
    from cslm.evaluation.recognizers import Clip  # it needs torch, which takes a while

_WRONG_SETTINGS = (401, 403, 404)
_SCALE = np.float32(1 / 32768)
_LONGEST_REASON = 200  # characters of a server's own words


class EndpointVoices:
    """Sends each text as one request, several at a time; retries and waits are the library's.

    Whether a text sounds the same again is the server's: what was made is kept, and made once.
    """

    names_are_speakers = True

    def __init__(self, config: SpeechEndpointConfig) -> None:
        """Open the client; nothing is sent yet.

        Raises:
            UserError: the variable of the key is not set.
            MissingExtraError: openai is not installed.
        """
        try:
            import openai
        except ImportError:
            raise MissingExtraError("openai", "endpoint", f"the speech of {config.model}") from None
        self._library: Any = openai
        self._config = config
        self._voices_of = {language_tag(language): voices for language, voices in config.voices_of.items()}
        self._client: Any = openai.OpenAI(
            base_url=config.base_url,
            api_key=api_key(config.api_key_variable),
            timeout=config.timeout_sec,
            max_retries=config.max_retries,
        )

    def voices(self, language: str) -> list[str]:
        """The names that the configuration gives."""
        return list(self._voices_of.get(language_tag(language), self._config.voices))

    def facts(self, language: str, voice: str) -> dict[str, Any]:
        """Model, voice and parameters. Not the address.

        Raises:
            UserError: the configuration does not name the voice.
        """
        if voice not in self.voices(language):
            found = ", ".join(self.voices(language))
            raise UserError(f"synthesizer.endpoint.voices: has no voice {voice!r} for {language}; it has {found}")
        return {
            "synthesizer": "endpoint",
            "model": self._config.model,
            "voice": voice,
            "response_format": self._config.response_format,
            **self._parameters(language),
        }

    def speak(self, texts: Sequence[str], language: str, voice: str) -> Iterator[Clip | Failure]:
        """Ask for each text.

        Raises:
            UserError: the server refuses key, address or model, or so many requests in a row fail that it is down.
        """
        parameters = self._parameters(language)
        pool = ThreadPoolExecutor(self._config.num_parallel, thread_name_prefix="speech")
        try:
            futures = [pool.submit(self._ask, text, voice, parameters) for text in texts]
            in_a_row = 0
            for future in futures:
                found = future.result()
                yield found
                in_a_row = in_a_row + 1 if isinstance(found, Failure) else 0
                if in_a_row >= self._config.max_failures_in_a_row:
                    raise self._is_down(found, in_a_row)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _parameters(self, language: str) -> dict[str, Any]:
        of_language = self._config.language_parameter
        said = {of_language: language_tag(language)} if of_language is not None else {}
        return {**self._config.parameters, **said}

    def _is_down(self, last: Clip | Failure, count: int) -> UserError:
        reason = last.reason if isinstance(last, Failure) else ""
        return UserError(
            f"{self._config.base_url}: {count} requests in a row failed, the last by {reason}: see if it is up and "
            "run the same again, what was made is kept; or raise max_failures_in_a_row"
        )

    def _ask(self, text: str, voice: str, parameters: dict[str, Any]) -> Clip | Failure:
        """One request, with the library's retries; its recording, or why there is none."""
        library, config = self._library, self._config
        try:
            answer = self._client.audio.speech.create(
                model=config.model,
                voice=voice,
                input=text,
                response_format=config.response_format,
                extra_body=parameters,
            )
            return self._clip(answer.content)
        except library.APITimeoutError:
            return Failure(f"no speech: no answer within {config.timeout_sec:g} s")
        except library.APIConnectionError:
            return Failure("no speech: the connection could not be made or was closed")
        except library.APIStatusError as error:
            said = f"HTTP {error.status_code}: {first_line(error)[:_LONGEST_REASON]}"
            if error.status_code in _WRONG_SETTINGS:
                raise UserError(
                    f"{config.base_url}, model {config.model}: {said}: mend base_url, model or api_key_variable"
                ) from None
            return Failure(f"no speech: {said}")

    def _clip(self, content: bytes) -> Clip | Failure:
        """The recording in the body of an answer."""
        if self._config.response_format == "pcm":
            if not content or len(content) % 2:
                return Failure(f"no speech: {len(content)} bytes are no 16-bit numbers")
            return np.frombuffer(content, dtype="<i2").astype(np.float32) * _SCALE, self._config.pcm_rate_hz
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            file.write(content)
            file.flush()
            try:
                return load_waveform(file.name)
            except UserError as error:
                return Failure(f"no speech: the answer {str(error).removeprefix(f'{file.name}: ')}")
