from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from cslm.errors import UserError
from cslm.sequences.text_encoder import TextEncoder
from cslm.sequences.text_tokenizer import save_text_tokenizer, train_text_tokenizer
from cslm.sequences.vocabulary import extend_tokenizer
from tests.worlds.small_village import (
    CHINESE_NAMES,
    CHINESE_VALUES,
    ENGLISH_NAMES,
    ENGLISH_VALUES,
    byte_level_tokenizer,
    sentences,
    small_tokenizer,
)

CONTROLS = [
    "<12>",
    "<1:3>",
    "<sosp>",
    "<eosp>",
    "[question]",
    "[answer]",
    "<|end|>",
    "<|user|>",
    "<pad>",
    "<unk>",
    "<0x41>",
]


def tricky_texts():
    """Text full of what spells control tokens, whole, broken and in wide forms."""
    wide = ["＜12＞", "<|user", "|>", "<<sosp>>", " ", "a", "。", "<", ">"]
    return st.lists(st.sampled_from([*CONTROLS, *wide]), max_size=8).map("".join)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Of a small tokenizer and of a byte-level one, both extended with units."""
    found = {}
    byte_level = byte_level_tokenizer(["<|end|>", "<|user|>", "<pad>"], None, "<|end|>", None)
    byte_level.add_tokens(["<think>"])
    for name, tokenizer in {"small": small_tokenizer(tmp_path_factory.mktemp("a") / "t"), "bytes": byte_level}.items():
        extend_tokenizer(tokenizer, [32])
        found[name] = TextEncoder(tokenizer)
    return found


@pytest.mark.parametrize("name", ["small", "bytes"])
@given(text=tricky_texts() | st.text(max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_text_never_becomes_a_control_token_and_reads_the_same(encoders, name, text):
    encoder = encoders[name]
    ids = encoder.encode(text)
    assert encoder.control_ids.isdisjoint(ids)
    text = unicodedata.normalize("NFC", text).replace("▁", " ") if name == "small" else text
    decoded = encoder.decode(ids)
    assert decoded == text or (name == "small" and decoded == text.removeprefix(" "))


def test_added_words_of_a_base_model_are_control_tokens_too(encoders):
    encoder = encoders["bytes"]
    assert encoder.control_ids.isdisjoint(encoder.encode("<think> Anna"))
    assert encoder.decode(encoder.encode("<think> Anna")) == "<think> Anna"


def test_sentences_come_back_in_both_languages(encoders):
    for encoder in encoders.values():
        for text in sentences():
            assert encoder.decode(encoder.encode(text)) == text
            assert encoder.decode_continuation(encoder.encode(" " + text)) == " " + text


def test_words_of_the_world_are_whole_pieces(encoders):
    encoder = encoders["small"]
    for word in (*ENGLISH_NAMES, *ENGLISH_VALUES, "village", "everybody", *CHINESE_NAMES):
        assert len(encoder.encode(word)) == 1, word
    for word in CHINESE_VALUES:
        assert len(encoder.encode(word)) <= 2, word
    assert encoder.encode("Anna") == encoder.encode(" Anna")  # one piece, wherever it stands


def test_chinese_pieces_stay_within_punctuation_and_short(encoders):
    tokenizer = encoders["small"]._tokenizer
    for piece in tokenizer.get_vocab():
        if any("\u4e00" <= character <= "\u9fff" for character in piece):
            assert len(piece) <= 4
            assert piece.isalnum()


def test_bytes_and_special_tokens_count(tmp_path):
    tokenizer = train_text_tokenizer(sentences(), 400, tmp_path / "tokenizer")
    assert len(tokenizer) <= 400
    assert tokenizer.convert_tokens_to_ids("<0xFF>") < 400
    with pytest.raises(UserError, match=r"vocab_size 260 leaves no room.* give 365 or more"):
        train_text_tokenizer(sentences(), 260, tmp_path / "smaller")
    assert not (tmp_path / "smaller").exists()


def test_bad_input_leaves_nothing_behind(tmp_path):
    with pytest.raises(UserError, match="no text"):
        train_text_tokenizer(["", "\n"], 500, tmp_path / "empty")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UserError, match="not empty"):
        train_text_tokenizer(sentences(), 500, tmp_path / "full")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


def test_the_same_texts_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        train_text_tokenizer(sentences(), 500, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_it_opens_without_this_package(tmp_path):
    tokenizer = small_tokenizer(tmp_path / "tokenizer")
    extend_tokenizer(tokenizer, [32])
    save_text_tokenizer(tokenizer, tmp_path / "extended")
    text = "In this village Anna works, 安娜的职业是老师。"
    program = (
        "import sys, json; from transformers import AutoTokenizer; t = AutoTokenizer.from_pretrained(sys.argv[1]);"
        "chat = t.apply_chat_template([dict(role='user', content='Hi')], tokenize=False, add_generation_prompt=True);"
        "print(json.dumps([t.encode(sys.argv[2]), len(t), chat, t.eos_token, 'cslm' in sys.modules]))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "extended"), text]
    output = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=dict(os.environ))
    ids, size, chat, eos, cslm_loaded = json.loads(output.stdout)
    assert ids == TextEncoder(tokenizer).encode(text)
    assert size == len(tokenizer)
    assert chat == "<|user|>Hi<|assistant|>"
    assert eos == "<|end|>" and not cslm_loaded


def test_a_folder_of_the_other_stack_opens(root, tmp_path):
    folder = root / "tests" / "golden" / "text_tokenizer"
    if os.environ.get("CSLM_UPDATE_GOLDEN"):
        shutil.rmtree(folder, ignore_errors=True)
        tokenizer = train_text_tokenizer(sentences(), 420, folder)
        ids = TextEncoder(tokenizer).encode("Anna works, 安娜。")
        (folder / "expected.json").write_text(json.dumps(ids) + "\n")
    encoder = TextEncoder(AutoTokenizer.from_pretrained(folder))
    ids = encoder.encode("Anna works, 安娜。")
    assert ids == json.loads((folder / "expected.json").read_text())
    assert encoder.decode(ids) == "Anna works, 安娜。"


def test_what_is_always_a_piece_is_one_id_though_no_text_holds_it(tmp_path):
    """An ellipsis that only training writes took three ids, one a full stop."""
    texts = ["Wait. Stop. Go on. " * 20, "だめ。いい。" * 20]
    train_text_tokenizer(texts, 400, tmp_path / "without")
    made = train_text_tokenizer(texts, 400, tmp_path / "with", ["..."])
    for told, count in ((AutoTokenizer.from_pretrained(tmp_path / "without"), 3), (made, 1)):
        for text in ("Wait...", "いい..."):
            ids = told(text)["input_ids"]
            assert sum("." in token for token in told.convert_ids_to_tokens(ids)) == count
            assert told.decode(ids) == text
    again = AutoTokenizer.from_pretrained(tmp_path / "with")
    assert again("Go on...")["input_ids"] == made("Go on...")["input_ids"]
    assert again.decode(again("Wait....")["input_ids"]) == "Wait...."
    assert len(again) == len(set(again.get_vocab().values())) <= 400


@pytest.mark.parametrize("always", [["a b"], [""]])
def test_a_piece_with_a_space_is_refused(tmp_path, always):
    with pytest.raises(UserError, match="a piece has no space in it"):
        train_text_tokenizer(["Wait."], 400, tmp_path / "tokenizer", always)
