"""The ``openai`` package as it is: models, chat, audio, Realtime. What it gets is what the model says offline."""

from __future__ import annotations

import base64
import io
import json
import wave
from http.client import HTTPConnection, IncompleteRead
from typing import Any

import numpy as np
import openai
import pytest

from cslm.generation.conversation import Conversation
from cslm.generation.decoding import DecodingConfig
from tests.worlds.served import LIMITS, asked, base64_of, pcm, serving, wav
from tests.worlds.tiny_checkpoint import tone

SHORT = DecodingConfig(max_new_tokens=LIMITS["max_new_tokens"])
QUESTION = (tone(0.6, 24000), 24000)


@pytest.fixture
def client(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://{address}/v1", api_key="none", max_retries=0, timeout=600)


def of_wav(data: bytes) -> np.ndarray:
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def offline(speaking: Any, language: str = "zh") -> Any:
    samples = np.frombuffer(wav(), "<i2", offset=44).astype(np.float32) / 32768
    return speaking.respond((samples, 16000), language, "en", SHORT)


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "cslm"
    with pytest.raises(openai.NotFoundError, match="one model here"):
        client.models.retrieve("gpt-4o")


def test_chat_with_sound_is_what_respond_says(client: openai.OpenAI, speaking: Any) -> None:
    body = asked(modalities=["text", "audio"], audio={"voice": "zh", "format": "wav"})
    said = client.chat.completions.create(**body, extra_body={"cslm": {"question_language": "en"}})
    reply = offline(speaking)
    message = said.choices[0].message
    assert message.audio.transcript == reply.answer and reply.answer.startswith("Anna works")
    assert said.choices[0].finish_reason == ("stop" if reply.is_whole else "length")
    heard = of_wav(base64.b64decode(message.audio.data))
    assert len(heard) == pytest.approx(len(reply.waveform) * 24000 / 22050, abs=1) and len(heard) > 2400
    assert said.usage.completion_tokens > 10 and said.usage.prompt_tokens > 10


def test_chat_as_a_stream_joins_to_the_whole(client: openai.OpenAI, speaking: Any) -> None:
    body = asked(modalities=["text", "audio"], audio={"voice": "zh", "format": "pcm16"})
    extra = {"extra_body": {"cslm": {"question_language": "en"}}}
    whole = client.chat.completions.create(**body, **extra).choices[0].message.audio
    transcript, sound, reasons = "", b"", []
    for chunk in client.chat.completions.create(**body, **extra, stream=True):
        audio = getattr(chunk.choices[0].delta, "audio", None)
        audio = audio if isinstance(audio, dict) or audio is None else audio.model_dump()
        transcript += (audio or {}).get("transcript") or ""
        sound += base64.b64decode((audio or {}).get("data") or "")
        reasons += [chunk.choices[0].finish_reason] if chunk.choices[0].finish_reason else []
    assert transcript == whole.transcript == offline(speaking).answer and len(reasons) == 1
    assert len(sound) == len(base64.b64decode(whole.data)) > 4800
    difference = np.frombuffer(sound, "<i2").astype(int) - np.frombuffer(base64.b64decode(whole.data), "<i2")
    assert np.abs(difference).max() <= 20


def test_chat_in_text_alone(client: openai.OpenAI, speaking: Any) -> None:
    extra = {"extra_body": {"cslm": {"question_language": "en", "answer_language": "zh"}}}
    said = client.chat.completions.create(**asked(), **extra).choices[0].message
    assert said.content == offline(speaking).answer and said.audio is None
    pieces = client.chat.completions.create(**asked(stream=True), **extra)
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == said.content


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("with_sound", [False, True])
def test_a_chat_goes_on_from_the_answers_that_were_given(
    client: openai.OpenAI, speaking: Any, with_sound: bool, is_streamed: bool
) -> None:
    """The third question is asked behind two answers, as in a conversation of this process."""
    own = {"extra_body": {"cslm": {"question_language": "en", "answer_language": "zh"}}}
    sound = {"modalities": ["text", "audio"], "audio": {"voice": "zh", "format": "pcm16"}} if with_sound else {}
    conversation, messages, read = Conversation(speaking), [], []
    for seconds in (0.6, 0.8, 0.5):
        data = wav(tone(seconds, 16000))
        messages += asked(wav_file=data)["messages"]
        text, name, num_read = _answered(client, is_streamed, messages=messages, **sound, **own)
        messages.append({"role": "assistant", **({"audio": {"id": name}} if with_sound else {"content": text})})
        samples = np.frombuffer(data, "<i2", offset=44).astype(np.float32) / 32768
        events = list(
            conversation.stream(
                (samples, 16000), is_heard=False, answer_language="zh", question_language="en", decoding=SHORT
            )
        )
        assert text == events[-1].reply.answer
        read.append(num_read)
    assert read[0] < read[1] < read[2]


def _answered(client: openai.OpenAI, is_streamed: bool, **given: Any) -> tuple[str, str | None, int]:
    """Text, name of the sound, and how many ids were read."""
    body = {"model": "tiny", **given}
    if not is_streamed:
        said = client.chat.completions.create(**body)
        message = said.choices[0].message
        if message.audio is None:
            return message.content, None, said.usage.prompt_tokens
        return message.audio.transcript, message.audio.id, said.usage.prompt_tokens
    text, name, num_read = "", None, 0
    for chunk in client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True}):
        for choice in chunk.choices:
            audio = (choice.delta.model_dump().get("audio")) or {}
            text += (choice.delta.content or "") + (audio.get("transcript") or "")
            name = audio.get("id") or name
        num_read = chunk.usage.prompt_tokens if chunk.usage else num_read
    return text, name, num_read


def test_two_languages_of_one_answer_are_refused(client: openai.OpenAI) -> None:
    """The voice won, and what cslm asked for was passed over without a word."""
    body = asked(modalities=["text", "audio"], audio={"voice": "en", "format": "wav"})
    with pytest.raises(openai.BadRequestError, match="give one") as refused:
        client.chat.completions.create(**body, extra_body={"cslm": {"answer_language": "zh"}})
    assert refused.value.code == "conflicting_languages"


def test_a_recording_is_transcribed(client: openai.OpenAI, speaking: Any) -> None:
    file = ("question.wav", wav(), "audio/wav")
    said = client.audio.transcriptions.create(model="tiny", file=file, language="en")
    samples = np.frombuffer(wav(), "<i2", offset=44).astype(np.float32) / 32768
    units = speaking.processor.units((samples, 16000))
    assert said.text == speaking.tasks().transcribe([units], ["en"], SHORT)[0]
    plain = client.audio.transcriptions.create(model="tiny", file=file, response_format="text")
    assert isinstance(plain, str)


def test_a_text_is_spoken(client: openai.OpenAI, speaking: Any) -> None:
    whole = client.audio.speech.create(model="tiny", voice="en", input="Anna works here.", response_format="wav")
    units = speaking.tasks().synthesize(["Anna works here."], ["en"], SHORT)[0]
    samples = speaking.processor.speech_decoder().decode(units, "en")
    heard = of_wav(whole.content)
    assert len(heard) == pytest.approx(len(samples) * 24000 / 22050, abs=1) and len(heard) > 2400
    with client.audio.speech.with_streaming_response.create(
        model="tiny", voice="en", input="Anna works here.", response_format="pcm"
    ) as streamed:
        sound = b"".join(streamed.iter_bytes())
    assert len(sound) == 2 * len(heard)


def test_a_stream_counts_its_ids_where_that_is_asked_for(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**asked())
    chunks = list(client.chat.completions.create(**asked(stream=True), stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage and whole.usage.completion_tokens > 1
    assert all(chunk.usage is None and len(chunk.choices) == 1 for chunk in chunks[:-1])
    assert all(chunk.usage is None for chunk in client.chat.completions.create(**asked(stream=True)))
    with pytest.raises(openai.BadRequestError, match="set stream"):
        client.chat.completions.create(**asked(), stream_options={"include_usage": True})


def test_what_is_longer_than_it_may_be_was_cut_without_a_word(speaking: Any) -> None:
    with serving(speaking, max_new_tokens=2) as server:
        address = f"127.0.0.1:{server.port}"
        client = openai.OpenAI(base_url=f"http://{address}/v1", api_key="none", max_retries=0, timeout=600)
        with pytest.raises(openai.BadRequestError, match="not over after 2 ids: send a shorter recording") as refused:
            client.audio.transcriptions.create(model="tiny", file=("q.wav", wav(), "audio/wav"), language="en")
        assert refused.value.code == "reply_too_long"
        spoken = {"model": "tiny", "voice": "en", "input": "Anna works here."}
        with pytest.raises(openai.BadRequestError, match="send a shorter text"):
            client.audio.speech.create(**spoken, response_format="wav")
        connection = HTTPConnection(address, timeout=600)
        body = json.dumps({**spoken, "response_format": "pcm"})
        connection.request("POST", "/v1/audio/speech", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        with pytest.raises(IncompleteRead):  # what was said first was sent
            response.read()
        assert response.status == 200


def test_realtime_by_commit(client: openai.OpenAI, speaking: Any) -> None:
    with client.realtime.connect(model="tiny") as connection:
        assert connection.recv().type == "session.created"
        session = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        own = {"answer_language": "zh", "question_language": "en", "events": ["ids", "units", "borders", "latency"]}
        connection.session.update(session={**session, "cslm": own})
        assert connection.recv().session.audio.input.turn_detection is None
        data = pcm()
        for start in range(0, len(data), 4800):
            connection.input_audio_buffer.append(audio=base64_of(data[start : start + 4800]))
        connection.input_audio_buffer.commit()
        connection.response.create()
        events = []
        while not events or events[-1].type != "response.done":
            events.append(connection.recv())
    kinds = [event.type for event in events]
    assert "error" not in kinds
    samples = np.frombuffer(pcm(), "<i2").astype(np.float32) / 32768
    reply = speaking.respond((samples, 24000), "zh", "en", SHORT)
    written = next(event for event in events if event.type == "cslm.reply.ids")
    said = "".join(e.delta for e in events if e.type == "response.output_audio_transcript.delta")
    assert said == reply.answer and written.is_whole == reply.is_whole
    sound = b"".join(base64.b64decode(e.delta) for e in events if e.type == "response.output_audio.delta")
    assert len(sound) // 2 == pytest.approx(len(reply.waveform) * 24000 / 22050, abs=1) and len(sound) > 4800
    response = events[-1].response
    assert response.status == ("completed" if reply.is_whole else "incomplete")
    assert response.output[0].content[0].transcript == said
    expected = ["input_audio_buffer.committed", "conversation.item.added", "response.created"]
    expected += ["response.output_item.added", "response.content_part.added", "cslm.question.heard"]
    expected += ["response.output_audio.delta", "response.output_audio.done", "response.done"]
    places = [kinds.index(kind) for kind in expected]
    assert places == sorted(places)
