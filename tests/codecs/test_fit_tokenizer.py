from __future__ import annotations

import pytest
import yaml

from cslm.codecs.card import load_card
from cslm.codecs.families import load_codec
from cslm.codecs.fit_tokenizer import FitTokenizerConfig, fit_tokenizer, main
from cslm.errors import UserError
from tests.worlds.small_corpus import contents, fit_card, write_corpus


def test_same_seed_same_card(corpus, card, tmp_path):
    fit_card(corpus, tmp_path / "again" / "card.yaml")
    assert contents(tmp_path / "again") == contents(card.parent)
    fit_card(corpus, tmp_path / "other" / "card.yaml", seed=1)
    assert load_card(tmp_path / "other").fingerprint != load_card(card).fingerprint


def test_the_card_says_what_it_is(card):
    values = yaml.safe_load(card.read_text())
    assert (values["family"], values["codebook_sizes"], values["frame_rate_hz"]) == ("mel_kmeans", [16], 100.0)
    assert values["origin"]["fitted_on"]["units_used"] == 16
    assert load_codec(card).codebook_sizes == (16,)


def test_a_finished_card_is_left_alone(corpus, card, capsys):
    before = contents(card.parent)
    fit_card(corpus, card)
    assert contents(card.parent) == before
    assert "already fitted" in capsys.readouterr().err


def test_another_card_is_not_overwritten(corpus, card):
    with pytest.raises(UserError, match="exists and was fitted with another seed"):
        fit_card(corpus, card, seed=5)


def test_command_line(corpus, tmp_path):
    output = tmp_path / "card.yaml"
    main(
        [
            str(corpus),
            "--family",
            "mel_kmeans",
            "--codebook_size",
            "8",
            "--output",
            str(output),
            "--parameters.num_cepstra",
            "10",
        ]
    )
    assert load_card(output).codebook_sizes == (8,)
    assert load_card(output).parameters["num_cepstra"] == 10
    assert load_card(output).name == "mel_kmeans-8"


def test_a_sample_is_enough(corpus, tmp_path, capsys):
    config = FitTokenizerConfig([str(corpus)], str(tmp_path / "card.yaml"), codebook_size=4, sample_hours=2 / 3600)
    facts = fit_tokenizer(config).origin["fitted_on"]
    assert 200 <= facts["num_frames"] < 320  # 2 seconds, and what is left of the last utterance


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--family", "melody"], "unknown family of speech tokenizers 'melody'"),
        (["--codebook_size", "100000"], "too little audio"),
        (["--codebook_size", "1"], "at least 2"),
        (["--parameters.colour", "3"], "unknown parameter colour"),
        (["--flavour", "3"], "flavour"),
    ],
)
def test_what_a_user_gets_wrong(corpus, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        main([str(corpus), "--output", str(tmp_path / "card.yaml"), *options])
    assert list(tmp_path.iterdir()) == []


def test_unreadable_files_are_counted(tmp_path, capsys):
    manifest = write_corpus(tmp_path / "corpus")
    (tmp_path / "corpus" / "audio" / "004.wav").write_bytes(b"no audio")
    fit_card(manifest, tmp_path / "card.yaml")
    assert "1 files could not be used" in capsys.readouterr().out


def test_nothing_readable(tmp_path):
    manifest = write_corpus(tmp_path / "corpus", 2)
    for file in (tmp_path / "corpus" / "audio").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="no audio to fit on"):
        fit_card(manifest, tmp_path / "card.yaml")
