from __future__ import annotations

import pytest

from cslm.cli import dispatch
from cslm.codecs.families import load_codec
from cslm.errors import UserError
from cslm.units.store import UnitStore
from cslm.units.take_codebooks import TakeCodebooksConfig, take_codebooks
from cslm.units.tokenize_corpus import TokenizeCorpusConfig, tokenize_corpus
from cslm.units.verify import VerifyConfig, verify
from tests.worlds.mimi_models import save_mimi, write_card


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_mimi(tmp_path_factory.mktemp("mimi") / "model")


@pytest.fixture
def four(folder, corpus, tmp_path):
    """A store of four codebooks, and its card."""
    path = write_card(folder, tmp_path / "card", 4)
    tokenize_corpus(TokenizeCorpusConfig([str(corpus)], str(path), str(tmp_path / "four"), num_workers=1))
    return tmp_path / "four", path


def test_the_first_is_what_its_own_card_would_have_made(four, corpus, tmp_path):
    store, path = four
    dispatch(["take-codebooks", str(store), "--tokenizer", str(path), "--output", str(tmp_path / "one")])
    one = tmp_path / "one"
    assert load_codec(one / "card.yaml").codebook_sizes == (64,)
    verify(VerifyConfig(str(one / "units"), str(one / "card.yaml"), [str(corpus)]))
    first, every = UnitStore.open(one / "units").row(3), UnitStore.open(store).row(3)
    assert first.units.num_frames_total == len(every.units)
    assert first.units.durations is not None
    assert (first.text, first.words) == (every.text, every.words)


def test_two_of_four_keep_their_frames(four, tmp_path):
    store, path = four
    made = take_codebooks(TakeCodebooksConfig(str(store), str(path), str(tmp_path / "two"), 2))
    assert made.row(0).units.ids.tolist() == UnitStore.open(store).row(0).units.ids[:, :2].tolist()
    assert made.row(0).units.durations is None


def test_what_cannot_be_taken(four, card, tmp_path):
    store, path = four
    with pytest.raises(UserError, match="has 4 codebooks: 4 cannot be taken"):
        take_codebooks(TakeCodebooksConfig(str(store), str(path), str(tmp_path / "x"), 4))
    with pytest.raises(UserError, match="another speech tokenizer"):
        take_codebooks(TakeCodebooksConfig(str(store), str(card), str(tmp_path / "x"), 1))
    assert not (tmp_path / "x").exists()


def test_a_run_that_was_stopped_leaves_no_card_without_units(four, tmp_path, monkeypatch):
    store, path = four

    def stop(*given, **facts):
        raise KeyboardInterrupt

    monkeypatch.setattr("cslm.units.take_codebooks.write_store", stop)
    with pytest.raises(KeyboardInterrupt):
        take_codebooks(TakeCodebooksConfig(str(store), str(path), str(tmp_path / "x"), 1))
    assert not (tmp_path / "x").exists()
    monkeypatch.undo()


def test_a_folder_that_holds_something_is_not_written_over(four, tmp_path):
    store, path = four
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "notes").write_text("mine")
    with pytest.raises(UserError, match="x is not empty: remove it or name another folder"):
        take_codebooks(TakeCodebooksConfig(str(store), str(path), str(tmp_path / "x"), 1))
