"""What asks and reads replies needs no units: a model of text alone has a processor too."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from cslm.errors import UserError
from cslm.generation.processor import CSLMProcessor
from cslm.sequences.chains import CHAINS
from cslm.sequences.vocabulary import extend_tokenizer
from tests.worlds.four_part_chain import MARKED
from tests.worlds.small_village import CODEBOOK_SIZE, small_tokenizer


def test_a_model_without_units_is_asked_and_read_as_text(tmp_path: Path) -> None:
    processor = CSLMProcessor(small_tokenizer(tmp_path / "text"), name="a text model")
    prompt = processor(text="Who is Anna?", task="text_dialogue")["input_ids"]
    assert prompt.shape[0] == 1 and prompt.shape[1] > 3
    reply = processor.decode(processor.form.encoder.encode("Anna works."))
    assert reply.answer == "Anna works." and len(reply.segments) == 1
    with pytest.raises(UserError, match="a text model has no units in its vocabulary"):
        _ = processor.vocabulary


def test_a_prompt_that_nobody_can_ask_for_is_refused(tmp_path: Path) -> None:
    processor = CSLMProcessor(small_tokenizer(tmp_path / "text"))
    for task, message in [
        ("sing", "no task 'sing': choose one of asr"),
        ("interleaved", "no request .*choose one of asr, tts, dialogue, translation, instruction, text_dialogue"),
        ("asr", "a prompt for asr needs speech"),
        ("tts", "a prompt for tts needs a text"),
    ]:
        with pytest.raises(UserError, match=message):
            processor.prompt(task, "en")


def test_a_reply_in_a_chain_of_ones_own_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHAINS, "four_parts", MARKED)
    """One part was left out by the model."""
    tokenizer = small_tokenizer(tmp_path / "tokenizer")
    extend_tokenizer(tokenizer, [CODEBOOK_SIZE], ["[translation]", "[thought]"])
    processor = CSLMProcessor(tokenizer)
    v, encode = processor.vocabulary, processor.form.encoder.encode
    ids = [v.question, *encode(": 谁？; "), v.further["[translation]"], *encode(": Who?; ")]
    ids += [v.answer, *encode(": Anna.")]
    reply = processor.decode(ids, "four_parts")
    assert reply.texts == {"question_text": "谁？", "question_text_en": "Who?"} and reply.answer == "Anna."


def test_a_prompt_in_another_tag_of_a_language_is_that_of_the_language(tmp_path: Path) -> None:
    processor = CSLMProcessor(small_tokenizer(tmp_path / "text"))
    asked = [processor.prompt("text_dialogue", it, text="谁？", answer_language=it) for it in ("zh", "zh_CN", "cmn")]
    assert asked[0].tolist() == asked[1].tolist() == asked[2].tolist()
    with pytest.raises(UserError, match="'english' is"):
        processor.prompt("text_dialogue", "en", text="Who?", answer_language="english")


def test_a_voice_is_found_by_any_tag_of_its_language(tmp_path: Path) -> None:
    processor = CSLMProcessor(small_tokenizer(tmp_path / "text"))
    processor.decoder = SimpleNamespace(voices=("en", "zh_CN"))  # type: ignore[assignment]
    found = {said: processor.voice(said) for said in ("zh", "cmn", "zho", "zh-Hant", "EN", "en-GB")}
    assert found == {"zh": "zh_CN", "cmn": "zh_CN", "zho": "zh_CN", "zh-Hant": "zh_CN", "EN": "en", "en-GB": "en"}
    with pytest.raises(UserError, match="no voice for the language 'wuu', only en, zh_CN"):
        processor.voice("wuu")
