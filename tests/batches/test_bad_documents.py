"""Documents that cannot be learnt are named by file and line when a source is opened, before any step."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from cslm.batches.document_index import IndexFolder
from cslm.batches.sources import SourceConfig, open_sources
from cslm.batches.told_before import told_before_training
from cslm.errors import UserError
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.templates import apply_template
from cslm.sequences.vocabulary import extend_tokenizer
from tests.worlds.real_templates import BACKENDS, QWEN_3, TEMPLATES, real_tokenizer
from tests.worlds.small_village import CODEBOOK_SIZE, byte_level_tokenizer
from tests.worlds.small_world import write_lines
from tokenizers import AddedToken

ASKED, ANSWERED = {"role": "user", "content": "Who is Anna?"}, {"role": "assistant", "content": "A baker."}
GOOD = {"language": "en", "messages": [ASKED, ANSWERED]}


def opened(path: Path, form, task: str = "instruction", **keys):
    return open_sources({"a": SourceConfig(task, 1, documents=str(path), **keys)}, form)["a"]


def talk(*messages, **fields):
    return {"language": "en", "messages": list(messages), **fields}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (
            talk({"role": "user", "content": None}, ANSWERED),
            "a message of the role 'user' whose content is null or missing, and no text",
        ),
        (
            talk({"role": "user", "content": [{"type": "text"}]}, ANSWERED),
            ".*user' whose content is a list, and no text",
        ),
        (talk({"role": "bot", "content": "Hi."}, ANSWERED), "a message of the role 'bot', which is none of system,"),
        (talk(ASKED), "no message of the assistant"),
        (talk("Hi."), "a message without role and content"),
        (talk(ASKED, {**ANSWERED, "tool_calls": [{"name": "f"}]}), "a message with tool_calls, which is not written"),
        (talk(ASKED, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}), "a message with tool_calls"),
        (talk(ASKED, {**ANSWERED, "weight": 0}), "a message with weight, which is not written"),
        (talk(ASKED, ANSWERED, tools=[{"name": "f"}]), "tools are named, which are not written"),
        ({"language": "en"}, "messages is missing"),
        ({"language": "english", "messages": [ASKED, ANSWERED]}, "'english' is"),
        (talk({"role": "user", "content": "Half \ud83d"}, ANSWERED), r"half of a Unicode character \(\\ud83d\)"),
    ],
)
def test_a_bad_conversation_stopped_the_run_after_step_50_and_no_line_was_named(tmp_path, form, document, said):
    lines = [json.dumps(GOOD)] * 1501 + [json.dumps(document)] + [json.dumps(GOOD)] * 1499
    (tmp_path / "talks.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=rf"talks\.jsonl, line 1502: {said}"):
        opened(tmp_path / "talks.jsonl", form)


@pytest.mark.parametrize("field", ["text", "id", "unread"])
@pytest.mark.parametrize("half", [b'"\\ud83d"', b'"a \\uDE00 b"', b'"\xed\xa0\xbd"'])
def test_half_an_emoji_was_a_traceback(tmp_path, form, field, half):
    good = b'{"language": "en", "text": "A whole \\ud83d\\ude00."}\n'
    bad = good[:-2] + b', "' + field.encode() + b'": ' + half + b"}\n"
    (tmp_path / "texts.jsonl").write_bytes(good + bad)
    with pytest.raises(UserError, match=r"line 2: half of a Unicode character"):
        opened(tmp_path / "texts.jsonl", form, "text")


def test_the_first_of_many_bad_lines_are_named_and_all_are_counted(tmp_path, form):
    write_lines(tmp_path / "t.jsonl", [GOOD, *[talk(ASKED)] * 7, GOOD])
    with pytest.raises(UserError, match=r"line 2: .*; .*line 6: .* assistant; and 2 more: mend or remove them$"):
        opened(tmp_path / "t.jsonl", form)


def test_roles_that_the_template_refuses_are_named_with_a_line(tmp_path):
    form = SequenceFormat(real_tokenizer("byte-level", "llama-2"))
    twice = talk(ASKED, ASKED, ANSWERED)
    path = Path(write_lines(tmp_path / "talks.jsonl", [GOOD, twice, GOOD, twice]))
    said = r"talks\.jsonl, line 2 \(and 1 more\): the chat template .* refuses .* user, user, assistant"
    for kept_in in (None, IndexFolder(tmp_path / "kept", 0), IndexFolder(tmp_path / "kept", 0)):
        with pytest.raises(UserError, match=said):
            open_sources({"a": SourceConfig("instruction", 1, documents=str(path))}, form, kept_in=kept_in)


@pytest.mark.parametrize("role", ["tool", "developer"])
def test_tools_and_developers_speak_where_the_template_lets_them(tmp_path, role):
    path = write_lines(
        tmp_path / "t.jsonl",
        [talk(ASKED, {"role": role, "content": "Look: 12.", "name": "f", "tool_call_id": "1"}, ANSWERED)],
    )
    form = SequenceFormat(real_tokenizer("byte-level", "chatml"))
    sequence = opened(path, form).sequence(0, 0)
    assert f"<|im_start|>{role}\nLook: 12.<|im_end|>" in form.render(sequence)
    learnt = form.chat._tokenizer.decode(sequence.ids[sequence.trained])
    assert learnt == "A baker.<|im_end|>"
    with pytest.raises(UserError, match=rf"t\.jsonl, line 1 .*: the chat template .* writes <\|{role}\|>"):
        opened(path, SequenceFormat(real_tokenizer("byte-level", "zephyr")))


def test_conversations_as_sharegpt_has_them_are_read(tmp_path, form):
    talks = [{"from": "human", "value": "Who is Anna?"}, {"from": "gpt", "value": "A baker."}]
    path = write_lines(tmp_path / "s.jsonl", [{"id": "1", "language": "en", "conversations": talks}])
    other = write_lines(tmp_path / "m.jsonl", [{"id": "1", **GOOD}])
    assert opened(path, form).sequence(0, 0).ids.tolist() == opened(other, form).sequence(0, 0).ids.tolist()
    said = {"id": "1", "language": "en", "system": "Be brief.", "conversations": talks}
    path = write_lines(tmp_path / "s.jsonl", [said])
    assert "Be brief." in form.render(opened(path, form).sequence(0, 0))


def test_compressed_documents_are_read(tmp_path, form, monkeypatch):
    monkeypatch.setenv("CSLM_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "texts"
    folder.mkdir()
    texts = [{"language": "en", "text": f"Text {number}."} for number in range(20)]
    write_lines(tmp_path / "all.jsonl", texts)
    write_lines(folder / "b.jsonl", texts[10:])
    (folder / "a.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(it) + "\n" for it in texts[:10]).encode()))
    found, plain = opened(folder, form, "text"), opened(tmp_path / "all.jsonl", form, "text")
    assert [found.sequence(it, 0).ids.tolist() for it in range(20)] == [
        plain.sequence(it, 0).ids.tolist() for it in range(20)
    ]
    assert opened(folder / "a.jsonl.gz", form, "text").num_documents == 10
    (folder / "b.jsonl.gz").write_bytes(b"")
    with pytest.raises(UserError, match=r"b\.jsonl\.gz beside the same name without \.gz: keep one"):
        opened(folder, form, "text")
    (folder / "b.jsonl").unlink()
    (folder / "b.jsonl.gz").write_bytes((folder / "a.jsonl.gz").read_bytes()[:-20])
    with pytest.raises(UserError, match=r"b\.jsonl\.gz: cannot be unpacked"):
        opened(folder, form, "text")


def test_a_bad_line_of_a_compressed_file_has_its_name(tmp_path, form, monkeypatch):
    monkeypatch.setenv("CSLM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(b'{"language": "en", "text": "One."}\n{"language": "en"}\n'))
    with pytest.raises(UserError, match=r"t\.jsonl\.gz, line 2: the field text is missing"):
        opened(tmp_path / "t.jsonl.gz", form, "text")


def test_other_tags_of_a_language_are_one_language(tmp_path, form):
    texts = [{"language": said, "text": "安娜。"} for said in ("zh_CN", "cmn", "zho", "zh")]
    path = write_lines(tmp_path / "t.jsonl", texts)
    assert opened(path, form, "text").languages == ["zh"]
    assert opened(path, form, "text", languages=["zh_CN"]).num_documents == 4
    with pytest.raises(UserError, match="languages of the source a: 'chinese' is"):
        opened(path, form, "text", languages=["chinese"])
    with pytest.raises(UserError, match=r"wants language fr, which .* does not have; it has zh"):
        opened(path, form, "text", languages=["zh", "fr"])


@pytest.fixture
def thinking(tmp_path):
    """A base with a token for thoughts, and answers that hold some."""
    tokenizer = byte_level_tokenizer(["<|im_start|>", "<|im_end|>"], None, "<|im_end|>", TEMPLATES["chatml"])
    tokenizer.add_tokens(["<think>", "</think>"])
    extend_tokenizer(tokenizer, [CODEBOOK_SIZE])
    thought = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nA <b> baker <12>."}
    path = write_lines(tmp_path / "t.jsonl", [GOOD, talk(ASKED, thought), talk(ASKED, thought)])
    return SequenceFormat(tokenizer), path


def test_thoughts_became_plain_pieces_without_a_word(thinking):
    form, path = thinking
    source = SourceConfig("instruction", 1, documents=path)
    lines = list(told_before_training(open_sources({"a": source}, form), {"a": source}, 1000))
    assert lines == [
        f"2 documents of the source a spell {token}, which is learnt as plain pieces; list it in "
        "sources.a.control_tokens to learn the token"
        for token in ("</think>", "<think>")
    ]


def test_tokens_that_a_source_lists_are_learnt_and_no_others(thinking):
    form, path = thinking
    tokenizer = form.chat._tokenizer
    think, end = (tokenizer.convert_tokens_to_ids(token) for token in ("<think>", "</think>"))
    source = opened(path, form, control_tokens=["<think>", "</think>"])
    sequence = source.sequence(1, 0)
    learnt = sequence.ids[sequence.trained].tolist()
    assert learnt[0] == think and learnt.count(end) == 1 and not source.spelt_tokens
    assert tokenizer.decode(learnt) == "<think>\nHm.\n</think>\n\nA <b> baker <12>.<|im_end|>"
    assert not {form.vocabulary.unit_id(12)} & set(learnt)
    plain = opened(path, form).sequence(1, 0)
    assert think not in plain.ids and tokenizer.decode(plain.ids) == tokenizer.decode(sequence.ids)


THOUGHTS = [
    "<think>\nHm.\n</think>\n\nA baker.",
    "<think>\n\n</think>\n\nA baker.",
    "<think>Hm, 12.\n\nYes.</think>A <think> baker.\n",
    "A baker.",
    " <think> </think> ",
]


@pytest.mark.parametrize("kind", BACKENDS)
@pytest.mark.parametrize("template", ["chatml", "gemma", "qwen-3"])
def test_thoughts_stood_twice_where_the_template_writes_them_itself(tmp_path, kind, template):
    tokenizer = real_tokenizer(kind, "chatml")
    tokenizer.chat_template = QWEN_3 if template == "qwen-3" else TEMPLATES[template]
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in ("<think>", "</think>")])
    form = SequenceFormat(tokenizer)
    talks = [talk(ASKED, {"role": "assistant", "content": thought}) for thought in THOUGHTS]
    talks += [talk(*one["messages"], *other["messages"]) for one in talks for other in talks]
    source = opened(write_lines(tmp_path / "t.jsonl", talks), form, control_tokens=["<think>", "</think>"])
    for place, one in enumerate(talks):
        sequence = source.sequence(place, 0)
        rendered = apply_template(tokenizer, one["messages"])
        wanted = tokenizer.encode(rendered, add_special_tokens=False)
        assert sequence.ids.tolist() == wanted, rendered
        prompt = tokenizer.encode(apply_template(tokenizer, one["messages"][:1], True), add_special_tokens=False)
        assert not sequence.trained[: len(prompt)].any()
        if "<think>" in one["messages"][1]["content"]:
            assert sequence.trained[len(prompt)]


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("<12>", "a unit or a marker of speech"),
        ("[answer]", "a unit or a marker of speech"),
        ("<|im_end|>", "begins or ends turns"),
        ("<thought>", "the tokenizer has no control token '<thought>'"),
    ],
)
def test_tokens_that_no_text_may_write_are_refused(thinking, token, said):
    form, path = thinking
    with pytest.raises(UserError, match=f"control_tokens of the source a: .*{said.split(' no ')[0][:20]}"):
        opened(path, form, control_tokens=[token])


def test_a_source_whose_documents_are_all_too_long_was_told_at_the_end(tmp_path, form):
    long = talk(ASKED, {"role": "assistant", "content": "A baker. " * 100})
    texts = [{"language": "en", "text": "Anna. " * 400}]  # is cut, not left out
    configs = {
        "long": SourceConfig("instruction", 0.9, documents=write_lines(tmp_path / "l.jsonl", [long, GOOD, long])),
        "text": SourceConfig("text", 0.1, documents=write_lines(tmp_path / "t.jsonl", texts)),
    }
    sources = open_sources(configs, form)
    with pytest.raises(UserError, match=r"67% of the documents of the source long .* max_length 100 .*_share 0\.5"):
        list(told_before_training(sources, configs, 100))
    configs["long"].max_too_long_share = 0.8
    (line,) = told_before_training(sources, configs, 100)
    assert line.startswith("67% of the documents of the source long are longer than max_length 100 tokens and will be")
    assert not list(told_before_training(sources, configs, 10_000))
