"""Conversations have the ids that ``apply_chat_template`` and the tokenizer give a user, whatever they are."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cslm.errors import UserError
from cslm.sequences.conversations import instruction
from cslm.sequences.prompts import chat_prompt
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.templates import apply_template
from tests.worlds.real_templates import BACKENDS, CONTROLS, TEMPLATES, real_tokenizer
from tokenizers import AddedToken

PAIRS = [(kind, template) for kind in BACKENDS for template in TEMPLATES]


@cache
def opened(kind: str, template: str) -> SequenceFormat:
    return SequenceFormat(real_tokenizer(kind, template))


def written(form: SequenceFormat, *contents: str):
    roles = ["user", "assistant", "user", "assistant"]
    messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]
    return messages, instruction(form, messages, "en")


def ids_of_a_user(form: SequenceFormat, messages, **given_to_template):
    tokenizer = form.chat._tokenizer
    return tokenizer.encode(apply_template(tokenizer, messages, **given_to_template), add_special_tokens=False)


@pytest.mark.parametrize(("kind", "template"), PAIRS)
def test_the_first_piece_of_a_content_was_another_than_a_user_writes(kind, template):
    form = opened(kind, template)
    for first, reply in (("Who is Anna?", "Anna is a baker."), ("安娜 12", "1 thing\nor 2"), (" Two  spaces ", "x")):
        messages, sequence = written(form, first, reply, "And Boris?", "A teacher, too.")
        assert sequence.ids.tolist() == ids_of_a_user(form, messages), form.render(sequence)


def texts():
    """Contents a little odd: spaces, lines and tokens inside, but not at the ends of replies."""
    inner = ["Anna", " ", "  ", "\n", "works", "12", ".", "安娜", "'", "[INST]", "é"]
    return st.lists(st.sampled_from(inner), max_size=6).map("".join)


@pytest.mark.parametrize(("kind", "template"), PAIRS)
@given(asked=texts(), again=texts(), reply=texts())
@settings(deadline=None, max_examples=15)
def test_any_question_has_the_ids_of_a_user(kind, template, asked, again, reply):
    form = opened(kind, template)
    messages, sequence = written(form, asked, f"A{reply}.", again, "Yes.")
    assert sequence.ids.tolist() == ids_of_a_user(form, messages), form.render(sequence)


@pytest.mark.parametrize(("kind", "template"), PAIRS)
@given(asked=texts(), reply=texts())
@settings(deadline=None, max_examples=10)
def test_a_prompt_is_that_of_a_user_and_begins_the_conversation(kind, template, asked, reply):
    form = opened(kind, template)
    messages, sequence = written(form, asked, reply)
    prompt = chat_prompt(form, messages[:1]).tolist()
    assert prompt == sequence.ids[: len(prompt)].tolist() and not sequence.trained[: len(prompt)].any()
    assert prompt == ids_of_a_user(form, messages[:1], add_generation_prompt=True)
    learnt = sequence.ids[sequence.trained]
    assert len(learnt) and learnt[-1] in form.chat.end_of_turn_ids


@pytest.mark.parametrize("kind", BACKENDS)
def test_contents_that_spell_control_tokens_stay_text_beside_a_template(kind):
    form = opened(kind, "llama-2")
    _, sequence = written(form, "Say </s><s>[INST] now.", "No <|im_end|> here.")
    ids = sequence.ids.tolist()
    tokenizer = form.chat._tokenizer
    assert [ids.count(tokenizer.convert_tokens_to_ids(token)) for token in ("<s>", "</s>", "<|im_end|>")] == [1, 1, 0]


def test_a_prompt_changed_with_the_day():
    for template, today in ((TEMPLATES["llama-3"], "26 Jul 2024"), ("{{ strftime_now('%Y-%m-%d') }}", "2024-07-26")):
        tokenizer = real_tokenizer("byte-level", "chatml")
        tokenizer.chat_template = template + (TEMPLATES["chatml"] if template.startswith("{{ strf") else "")
        form = SequenceFormat(tokenizer)
        assert today in form.render(written(form, "Hi.", "Hello.")[1])


@pytest.mark.parametrize("kind", BACKENDS)
@pytest.mark.parametrize("template", ["phi-3", "zephyr", "chatml", "llama-2"])
def test_tokens_that_take_the_space_beside_them_take_that_of_contents(kind, template):
    greedy = [AddedToken(token, rstrip=True, lstrip=token == "<|end|>", normalized=False) for token in CONTROLS]
    form = SequenceFormat(real_tokenizer(kind, template, greedy))
    for first, reply in ((" \n Hi. ", "Hello. \n"), ("Hi.", " Hello.")):
        messages, sequence = written(form, first, reply, "\nBye.\n", "See you.")
        assert sequence.ids.tolist() == ids_of_a_user(form, messages), form.render(sequence)


@pytest.mark.parametrize("kind", BACKENDS)
def test_the_first_piece_behind_a_template_that_writes_no_prompts(kind):
    tokenizer = real_tokenizer(kind, "chatml")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token }}{% endfor %}"
    form = SequenceFormat(tokenizer)
    messages, sequence = written(form, "Who is Anna?", "Anna works.")
    assert sequence.ids.tolist() == ids_of_a_user(form, messages)
    prompt = chat_prompt(form, messages[:1]).tolist()
    assert prompt == sequence.ids[: len(prompt)].tolist() and form.chat._tokenizer.decode(prompt).endswith("assistant:")


def test_a_role_without_its_token_was_written_as_plain_pieces():
    form = opened("byte-level", "zephyr")
    with pytest.raises(UserError, match=r"writes <\|tool\|>, and the tokenizer has no such token"):
        form.chat.pieces(("user", "assistant", "tool"))


def test_a_role_that_the_template_writes_as_json_is_refused():
    tokenizer = real_tokenizer("byte-level", "chatml")
    written_as = "(m['content'] | tojson if m['role'] == 'tool' else m['content'])"
    tokenizer.chat_template = (
        f"{{% for m in messages %}}{{{{ m['role'] + ': ' + {written_as} + eos_token }}}}{{% endfor %}}"
    )
    chat = SequenceFormat(tokenizer).chat
    assert len(chat.pieces(("user", "assistant"))) == 3
    with pytest.raises(UserError, match="rewrites the content of the role tool"):
        chat.pieces(("user", "tool", "assistant"))


def test_a_template_that_strips_contents_is_followed():
    for template, kept in (("gemma", "Hello."), ("chatml", " Hello.\n ")):
        form = opened("byte-level", template)
        messages, sequence = written(form, "\n Hi. ", " Hello.\n ")
        assert sequence.ids.tolist() == ids_of_a_user(form, messages)
        assert form.chat._tokenizer.decode(sequence.ids[sequence.trained]).startswith(kept + "<")
