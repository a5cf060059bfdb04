from __future__ import annotations

import pytest

from cslm.sequences.known_texts import open_known_texts
from cslm.sequences.wordings import worded_request
from tests.worlds.small_village import sentences, small_format

TEXTS = [*sentences(), "", "two\nlines", "<12> and [answer]", "<|end|>", "naïve 今天", "<0x41>", "ぐ"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return small_format(tmp_path_factory.mktemp("tokenizer") / "small").encoder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CSLM_CACHE", str(tmp_path))
    return tmp_path


def test_known_texts_have_the_ids_that_they_would_get(encoder):
    known = open_known_texts("corpus", iter(TEXTS), encoder)
    assert [known.find(text) for text in TEXTS] == [tuple(encoder.encode(text)) for text in TEXTS]
    assert known.find("a text of nobody") is None
    knowing = encoder.knowing(known)
    assert all(knowing.encode(text) == encoder.encode(text) for text in [*TEXTS, "a text of nobody"])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_after_a_request_too(encoder, language):
    knowing = encoder.knowing(open_known_texts("corpus", [" " + text for text in TEXTS], encoder))
    for wording in range(10):
        before = worded_request("tts", wording, language).before
        for text in TEXTS:
            assert knowing.encode(text, before) == encoder.encode(text, before) == encoder.encode(before + text)


def test_they_are_tokenized_once_and_again_for_another_corpus_or_tokenizer(encoder, cache, monkeypatch):
    open_known_texts("corpus", iter(TEXTS), encoder)

    def nobody_reads():
        raise AssertionError
        yield

    assert open_known_texts("corpus", nobody_reads(), encoder).find(TEXTS[0]) == tuple(encoder.encode(TEXTS[0]))
    assert open_known_texts("another corpus", ["one"], encoder).find(TEXTS[0]) is None
    monkeypatch.setitem(vars(encoder), "identity", "another tokenizer")
    assert open_known_texts("corpus", ["two"], encoder).find("two") is not None
    assert len(list((cache / "texts").glob("*/ids.npy"))) == 3
