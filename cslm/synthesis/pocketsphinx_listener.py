"""PocketSphinx as a listener: the ear that scores have, for English."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Sequence
from typing import Any

from cslm.errors import UserError
from cslm.evaluation.pocketsphinx_ear import PocketSphinxRecognizer
from cslm.evaluation.recognizers import Clip
from cslm.files.json_lines import read_json_lines
from cslm.synthesis.failure import Failure
from cslm.synthesis.listener_config import PocketSphinxListenerConfig


class PocketSphinxListener:
    """Hears the words of the sentences that it was told of."""

    def __init__(self, config: PocketSphinxListenerConfig) -> None:
        """Make its language model.

        Raises:
            MissingExtraError: PocketSphinx is not installed.
            UserError: no such file, or no English sentence in it.
        """
        lines = [line for name in config.sentences for _, line in read_json_lines(name)]
        self._sentences = [str(line["text"]) for line in lines if line.get("language") == "en" and "text" in line]
        if not self._sentences:
            raise UserError(
                f"listener.pocketsphinx.sentences: {', '.join(config.sentences)} hold no text with language en"
            )
        workers = config.num_workers or len(os.sched_getaffinity(0))
        self._ear = PocketSphinxRecognizer(self._sentences, workers)

    def facts(self, language: str) -> dict[str, Any]:
        """The version, and the sentences of the language model.

        Raises:
            UserError: the language is not English.
        """
        if not self._ear.hears(language):
            raise UserError(f"listener.pocketsphinx hears English alone, not {language}: take listener.asr")
        content = hashlib.sha256("\n".join(self._sentences).encode()).hexdigest()
        return {"listener": "pocketsphinx", "version": importlib.metadata.version("pocketsphinx"), "sentences": content}

    def hear(self, clips: Sequence[Clip], language: str) -> list[str | Failure]:
        """The words of each clip, in lower case.

        Raises:
            UserError: the language is not English.
        """
        self.facts(language)
        return list(self._ear.transcribe(clips, [language] * len(clips)))
