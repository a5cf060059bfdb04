from __future__ import annotations

import json

import pytest

from cslm.audio.waveform import save_waveform
from cslm.cli import dispatch
from cslm.codecs import check_tokenizer as module
from cslm.codecs.card import save_card
from cslm.codecs.check_tokenizer import CheckTokenizerConfig, check_tokenizer
from cslm.codecs.families import load_codec
from cslm.codecs.ssl_kmeans import SslKMeans, SslKMeansParameters
from cslm.codecs.units import Units
from cslm.errors import UserError
from tests.worlds.small_corpus import glide
from tests.worlds.ssl_models import save_model


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Utterances of very different lengths, one of them unreadable and one too short."""
    folder = tmp_path_factory.mktemp("mixed")
    lines = []
    for index, duration_sec in enumerate((0.2, 3.0, 0.5, 1.1, 0.3, 2.2, 0.01)):
        save_waveform(folder / f"{index}.wav", glide(index, duration_sec), 16000)
        lines.append({"id": str(index), "audio": f"{index}.wav", "text": "a", "language": "en"})
    (folder / "bad.wav").write_bytes(b"no audio")
    lines.append({"id": "bad", "audio": "bad.wav", "text": "a", "language": "en"})
    (folder / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder / "m.jsonl"


def test_ssl_units_do_not_depend_on_company(mixed, tmp_path, capsys):
    model = save_model("hubert_base", tmp_path / "model")
    clips = [glide(seed, 1.0) for seed in range(3)]
    parameters = SslKMeansParameters(model=str(model), layer=3)
    codec, _ = SslKMeans.fit(clips, name="small", parameters=parameters, codebook_size=16, seed=0)
    save_card(codec.card(), tmp_path / "card.yaml", codec.tensors)
    dispatch(["check-tokenizer", str(tmp_path / "card.yaml"), str(mixed), "--batch_sec", "8"])
    told = capsys.readouterr().out
    assert "6 utterances, 2 could not be used" in told
    assert "batches of 8 s" in told
    changes = check_tokenizer(CheckTokenizerConfig(str(tmp_path / "card.yaml"), str(mixed), batch_sec=8))
    assert [change.num_changed for change in changes] == [0, 0, 0, 0]
    assert changes[2].padding_share > 0.2


def test_mel_units_do_not_depend_on_company(card, mixed):
    changes = check_tokenizer(CheckTokenizerConfig(str(card), str(mixed)))
    assert [change.num_changed for change in changes] == [0, 0, 0, 0]


def test_a_codec_that_leaks_is_found(card, mixed, monkeypatch):
    """One that gives the whole batch a unit more for each neighbour."""

    class Leaky:
        def __init__(self, inner):
            self.inner = inner

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def encode(self, waveforms, batches):
            lengths = [len(waveform) for waveform in waveforms]
            found = {}
            for group in batches.groups(lengths, 16000):
                for index in group:
                    ids = self.inner.encode([waveforms[index]])[0].ids
                    found[index] = Units((ids + len(group) - 1) % 16)
            return [found[i] for i in range(len(waveforms))]

    monkeypatch.setattr(module, "load_codec", lambda *given: Leaky(load_codec(*given)))
    changes = check_tokenizer(CheckTokenizerConfig(str(card), str(mixed), batch_sec=60))
    assert changes[0].share > 0.9
    assert changes[0].num_utterances_changed == 7


def test_nothing_to_encode(card, tmp_path):
    (tmp_path / "m.jsonl").write_text('{"id": "a", "audio": "none.wav", "text": "a", "language": "en"}')
    with pytest.raises(UserError, match="not one utterance can be encoded"):
        check_tokenizer(CheckTokenizerConfig(str(card), str(tmp_path / "m.jsonl")))
    with pytest.raises(UserError, match="device 'cuda:7'"):
        check_tokenizer(CheckTokenizerConfig(str(card), str(tmp_path / "m.jsonl"), device="cuda:7"))
