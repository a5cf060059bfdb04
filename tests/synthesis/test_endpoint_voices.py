"""A server for speech: what it is asked, and what becomes of each way to fail."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("openai", reason="the extra endpoint is not installed")

from cslm.errors import UserError
from cslm.synthesis.endpoint_voices import EndpointVoices
from cslm.synthesis.failure import Failure
from cslm.synthesis.synthesizer_config import SpeechEndpointConfig
from tests.worlds.speech_server import speech_server, tone


def opened(server, **options):
    given = {"model": "tts", "voices": ["anna", "bert"], "max_retries": 2} | options
    return EndpointVoices(SpeechEndpointConfig(base_url=server.base_url, **given))


def test_texts_are_asked_for_by_model_voice_and_language(monkeypatch):
    monkeypatch.setenv("SPEECH_KEY", "secret")
    with speech_server() as server:
        voices = opened(
            server, api_key_variable="SPEECH_KEY", parameters={"speed": 1.1}, language_parameter="lang", num_parallel=1
        )
        clips = list(voices.speak(["Tom ran.", "A dog."], "fr_FR", "bert"))
    wanted = {"model": "tts", "voice": "bert", "response_format": "wav", "speed": 1.1, "lang": "fr"}
    assert server.bodies == [{**wanted, "input": text} for text in ("Tom ran.", "A dog.")]
    assert server.keys == ["Bearer secret"] * 2
    assert [(len(waveform), rate_hz) for waveform, rate_hz in clips] == [(1600, 8000)] * 2
    assert np.any(clips[0][0] != clips[1][0])


def test_numbers_without_a_header_are_read_at_the_rate_that_is_said():
    with speech_server() as server:
        ((waveform, rate_hz),) = list(
            opened(server, response_format="pcm", pcm_rate_hz=8000).speak(["Tom."], "en", "anna")
        )
        ((other, _),) = list(opened(server).speak(["Tom."], "en", "anna"))
    assert rate_hz == 8000
    np.testing.assert_allclose(waveform, other, atol=1e-4)


def test_results_stand_at_their_texts_whichever_fails():
    def script(body, before):
        return {
            "busy": 429 if before < 2 else None,
            "bad": 400,
            "down": 500,
            "page": b"<html>no</html>",
            "nothing": b"",
        }.get(body["input"])

    texts = ["busy", "bad", "fine", "down", "page", "nothing"]
    with speech_server(script) as server:
        found = list(opened(server).speak(texts, "en", "anna"))
        again = list(opened(server).speak(["fine"], "en", "anna"))
    reasons = [one.reason if isinstance(one, Failure) else None for one in found]
    assert [reason and reason[:20] for reason in reasons] == [
        None,
        "no speech: HTTP 400:",
        None,
        "no speech: HTTP 500:",
        "no speech: the answe",
        "no speech: the answe",
    ]
    assert not any("/tmp" in str(reason) or "127.0.0.1" in str(reason) for reason in reasons)
    np.testing.assert_array_equal(found[2][0], again[0][0])
    assert sum(body["input"] == "down" for body in server.bodies) == 3


def test_half_a_number_is_a_failure():
    with speech_server(lambda body, before: b"123") as server:
        (found,) = list(opened(server, response_format="pcm").speak(["Tom."], "en", "anna"))
    assert found == Failure("no speech: 3 bytes are no 16-bit numbers")


@pytest.mark.parametrize(("status", "says"), [(401, "HTTP 401"), (404, "HTTP 404")])
def test_wrong_keys_and_models_stop_the_run(status, says):
    with speech_server(lambda body, before: status) as server, pytest.raises(UserError, match=says):
        list(opened(server).speak(["Tom."], "en", "anna"))


def test_a_server_that_is_down_stops_the_run():
    with speech_server(lambda body, before: 500) as server:
        voices = opened(server, max_retries=0, max_failures_in_a_row=3)
        with pytest.raises(UserError, match="3 requests in a row failed"):
            list(voices.speak([f"text {number}" for number in range(20)], "en", "anna"))
    assert len(server.bodies) < 20


def test_voices_of_languages_and_what_decides_them():
    with speech_server() as server:
        voices = opened(server, voices_of={"fr": ["claire"]})
        assert voices.voices("en") == ["anna", "bert"] and voices.voices("fr") == ["claire"]
        with pytest.raises(UserError, match="has no voice 'anna' for fr; it has claire"):
            voices.facts("fr", "anna")
        facts = voices.facts("en", "anna")
    assert "127.0.0.1" not in str(facts) and facts["model"] == "tts" and facts["voice"] == "anna"
    assert tone({"voice": "anna", "input": "Tom.", "response_format": "pcm"})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"response_format": "mp3"}, "choose wav or pcm"),
        ({"voices": []}, "voices is empty"),
        ({"timeout_sec": 0}, "timeout"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, says):
    with pytest.raises(UserError, match=says):
        SpeechEndpointConfig(**{"base_url": "http://localhost/v1", "model": "tts", "voices": ["a"]} | options)
