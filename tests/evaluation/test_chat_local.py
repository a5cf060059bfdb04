"""A chat model of transformers on this machine, tiny and untrained: what it says is noise, but the same noise."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from cslm.errors import UserError
from cslm.evaluation.chat import Chat, open_chat, read_text
from cslm.evaluation.chat_config import ChatConfig, LocalChatConfig
from cslm.evaluation.chat_contract import ChatFailure, ChatText
from cslm.evaluation.judging import Judge, JudgeConfig
from cslm.sequences.text_tokenizer import SPECIAL_TOKENS, train_text_tokenizer
from tests.worlds.tiny_checkpoint import SENTENCES
from tests.worlds.tiny_models import tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as others publish one: weights, tokenizer, chat template."""
    place = tmp_path_factory.mktemp("local_chat") / "model"
    tokenizer = train_text_tokenizer(SENTENCES, 300, place.parent / "text")
    model = tiny_model("llama", tied=False, vocab_size=len(tokenizer))
    with torch.no_grad():
        model.lm_head.weight.mul_(20)  # so that replies differ
        model.lm_head.weight[: len(SPECIAL_TOKENS)] = 0  # and hold words
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def opened(folder: Path, kept: Path, batch_size: int = 8, **changed: Any) -> Chat:
    config = ChatConfig(str(folder), local=LocalChatConfig(batch_size), **{"max_tokens": 12, **changed})
    return open_chat(config, kept)


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "You judge."}, {"role": "user", "content": text}]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_reply_does_not_depend_on_what_else_is_asked(folder: Path, tmp_path: Path, temperature: float) -> None:
    asked = [user(text) for text in (*SENTENCES, "?")]
    together = dict(opened(folder, tmp_path, temperature=temperature).model.complete(asked))
    alone = opened(folder, tmp_path, 1, temperature=temperature).model
    assert together == {index: dict(alone.complete([messages]))[0] for index, messages in enumerate(asked)}
    assert len(set(together.values())) > 1 and all(isinstance(reply, ChatText) for reply in together.values())


def test_a_conversation_without_room_is_refused_and_the_others_answered(folder: Path, tmp_path: Path) -> None:
    found = dict(opened(folder, tmp_path).model.complete([user("Anna " * 2000), user("Anna")]))
    assert isinstance(found[0], ChatFailure) and found[0].kind == "refused" and "context of 1024" in found[0].reason
    assert isinstance(found[1], ChatText)


def test_what_was_said_is_kept_wherever_the_model_lies(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    first = opened(folder, tmp_path / "kept", max_asks=1)
    said = first.ask([user("Anna")], read_text)
    again = opened(moved, tmp_path / "kept", max_asks=1)
    assert (again.ask([user("Anna")], read_text), first.num_sent, again.num_sent) == (said, 1, 0)


def test_a_model_that_was_not_taught_to_chat_is_refused(folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare)
    tokenizer = AutoTokenizer.from_pretrained(bare)
    tokenizer.chat_template = None
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(bare)
    with pytest.raises(UserError, match="has no chat template"):
        opened(bare, tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the chat model .*nowhere cannot be opened"):
        opened(tmp_path / "nowhere", tmp_path)


def test_a_template_that_refuses_a_role_is_named(folder: Path, tmp_path: Path) -> None:
    strict = tmp_path / "strict"
    shutil.copytree(folder, strict)
    tokenizer = AutoTokenizer.from_pretrained(strict)
    tokenizer.chat_template = "{{ raise_exception('no system role') if messages[0]['role'] == 'system' }}x"
    (strict / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(strict)
    with pytest.raises(UserError, match="strict refuses a conversation of system, user .no system role.: use a prompt"):
        list(opened(strict, tmp_path).model.complete([user("Anna")]))
    with pytest.raises(UserError, match="dtype is 'float99': choose one of auto"):
        LocalChatConfig(dtype="float99")


def test_a_judge_that_writes_noise_gives_no_verdict_and_says_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = ChatConfig(str(folder), local=LocalChatConfig(), max_tokens=8, max_asks=2)
    lines = [{"id": str(n), "answer": f"Anna {n}", "answer_language": "en", "question": "?"} for n in range(3)]
    lines = [{**one, "question_language": "en"} for one in lines]
    found = Judge(JudgeConfig(chat), tmp_path).judge(lines)
    assert [one["judge"]["failed"] for one in found] == ["unwanted"] * 3
    assert all(one["judge"]["reason"].startswith("asked 2 times: ") for one in found)
    assert "judge: 3 of 3 answers have no verdict (unwanted 3)" in capsys.readouterr().out
    assert Judge(JudgeConfig(chat), tmp_path).judge(lines) == found
