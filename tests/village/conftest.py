"""Small villages, made once: a tiny one, and a hamlet of five languages without the speech."""

from __future__ import annotations

from pathlib import Path

import pytest

from cslm.synthesis.prepare_corpus import prepare_corpus
from cslm.village import prepare_village
from tests.worlds.silent_voices import speak_nothing


@pytest.fixture(scope="session")
def five_languages(tmp_path_factory) -> Path:
    """The folder of a hamlet in five languages with core people and stories, seed 0, without audio."""
    pytest.importorskip("espeakng_loader", reason="the extra tts is not installed")
    output = tmp_path_factory.mktemp("five") / "corpus"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare_village, "speak_lines", speak_nothing)
        assert prepare_corpus("village", output, ["--size", "tiny_five"])
    return output


@pytest.fixture(scope="session")
def tiny_village(tmp_path_factory) -> Path:
    """The folder of a tiny village, seed 0."""
    pytest.importorskip("espeakng_loader", reason="the extra tts is not installed")
    output = tmp_path_factory.mktemp("village") / "corpus"
    assert prepare_corpus("village", output, ["--size", "tiny", "--num_workers", "1"])
    return output
