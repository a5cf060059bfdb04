"""A chat model as a translator: what it is asked, what is made of its answers, and that it is asked once."""

from __future__ import annotations

import json
import re

import pytest

pytest.importorskip("openai", reason="the extra endpoint is not installed")

from cslm.errors import UserError
from cslm.evaluation.chat_config import EndpointConfig
from cslm.synthesis.failure import Failure
from cslm.synthesis.translator_config import ChatTranslatorConfig, TranslatorConfig
from cslm.synthesis.translators import open_translator
from tests.worlds.chat_server import Say, Status, chat_server

WORDS = {"Tom ran home.": "Tom courut chez lui.", "A dog.": "Un  chien.\n", "Is {it} true?": "Est-ce {vrai} ?"}


def translated(body, before):
    text = body["messages"][0]["content"].strip().splitlines()[-1]
    return Say(json.dumps({"translation": WORDS[text]}))


def opened(server, **options):
    endpoint = EndpointConfig(server.base_url, max_retries=0)
    return open_translator(TranslatorConfig(chat=ChatTranslatorConfig(model="chat", endpoint=endpoint, **options)))


def test_each_sentence_is_asked_for_by_the_names_of_the_languages_and_only_once(cache):
    with chat_server(translated) as server:
        found = opened(server).translate(list(WORDS), "en", "fr")
        again = opened(server).translate(list(WORDS)[::-1], "en", "fr")
    assert found == ["Tom courut chez lui.", "Un chien.", "Est-ce {vrai} ?"] == again[::-1]
    assert len(server.bodies) == 3
    asked = next(text for text in server.asked if "Tom" in text)
    assert re.search(r"from English into French", asked) and '{"translation": "the sentence in French"}' in asked


def test_what_is_no_translation_is_a_failure_of_its_text_alone(cache):
    def script(body, before):
        text = body["messages"][0]["content"].strip().splitlines()[-1]
        if text == "A dog.":
            return Say("Here is the translation: Un chien.")
        if text == "Is {it} true?":
            return Status(400)
        return Say('{"translation": " "}') if text == "Nothing." else translated(body, before)

    with chat_server(script) as server:
        found = opened(server, max_asks=2).translate([*WORDS, "Nothing."], "en", "fr")
    assert found[0] == "Tom courut chez lui."
    assert [one.reason[:28] for one in found[1:]] == [
        "no translation: unwanted: as",
        "no translation: refused: HTT",
        "its translation is empty",
    ]
    assert all(isinstance(one, Failure) for one in found[1:])


def test_a_prompt_of_ones_own(cache, tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text('{source}>{target} as {{"translation": ...}}:\n{text}')
    with chat_server(translated) as server:
        translator = opened(server, prompt=str(prompt))
        assert translator.translate(["A dog."], "en", "fr") == ["Un chien."]
        facts = translator.facts("en", "fr")
    assert server.asked == ['English>French as {"translation": ...}:\nA dog.']
    assert facts["prompt"] == prompt.read_text() and "127.0.0.1" not in str(facts)


@pytest.mark.parametrize(
    ("text", "says"),
    [("translate", "its slots are none"), ("{text} into {tongue}", "its slots are text, tongue"), ("{text", "brace")],
)
def test_prompts_that_cannot_be_filled_in_are_refused(tmp_path, text, says):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text(text)
    with chat_server(translated) as server, pytest.raises(UserError, match=says):
        opened(server, prompt=str(prompt))
    with chat_server(translated) as server, pytest.raises(UserError, match="no such prompt"):
        opened(server, prompt=str(tmp_path / "none.txt"))
