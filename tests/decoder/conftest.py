from __future__ import annotations

import pytest

from tests.worlds.tone_voices import make_corpus, open_data


@pytest.fixture(scope="session")
def tones(tmp_path_factory):
    """A folder with the corpus of :mod:`tests.worlds.tone_voices`."""
    folder = tmp_path_factory.mktemp("tones")
    make_corpus(folder)
    return folder


@pytest.fixture(scope="session")
def tone_data(tones, tmp_path_factory):
    return open_data(tones, tmp_path_factory.mktemp("mels"))
