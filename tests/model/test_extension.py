from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from cslm.errors import UserError
from cslm.model.extension import (
    INITIALISATIONS,
    end_documents_with,
    extend_model,
    num_embeddings,
    replace_text_rows,
)
from cslm.sequences.vocabulary import SpeechVocabulary
from tests.worlds.tiny_models import packed_row, tiny_model

VOCABULARY = SpeechVocabulary.after_text(60, (100,))  # 60 text ids in a model of 64 rows, 104 new ones: 192 rows
CENTROIDS = torch.randn(100, 6, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
@pytest.mark.parametrize("tied", [True, False])
def test_text_rows_keep_their_values(tied, initialisation):
    model = tiny_model("llama", tied)
    before = [model.get_input_embeddings().weight.clone(), model.get_output_embeddings().weight.clone()]
    extend_model(model, VOCABULARY, initialisation, centroids=[CENTROIDS])
    after = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    assert (after[0] is after[1]) == tied
    assert num_embeddings(model) == model.config.vocab_size == 192
    for old, new in zip(before, after, strict=True):
        assert new.shape == (192, 32)
        assert torch.equal(new[:60], old[:60])
        assert not torch.equal(new[60:64], old[60:64])  # padding of the backbone is drawn anew
        assert len(new[60:].unique(dim=0)) == 132


def test_text_logits_stay():
    model = tiny_model("qwen3", tied=True)
    ids = packed_row([10], vocab_size=60).input_ids
    with torch.no_grad():
        before = model(ids).logits[..., :60]
        after = extend_model(model, VOCABULARY)(ids).logits
    assert after.shape[-1] == 192
    torch.testing.assert_close(after[..., :60], before)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3_text"])
def test_an_untied_head_is_its_own_and_survives_saving(family, tmp_path):
    model = tiny_model(family, tied=True)
    ids = packed_row([10], vocab_size=60).input_ids
    with torch.no_grad():
        before = model(ids).logits[..., :60]
        logits = extend_model(model, VOCABULARY, untie_head=True)(ids).logits
    torch.testing.assert_close(logits[..., :60], before)
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert torch.equal(head[:60], embedding[:60])
    assert not torch.equal(head[60:], embedding[60:])
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path).eval()(ids).logits, logits)


def test_new_rows_have_the_mean_and_covariance_of_the_text_rows():
    model = tiny_model("qwen3", vocab_size=4096)
    vocabulary = SpeechVocabulary.after_text(4096, (4092,))
    text = model.get_input_embeddings().weight[:4096].detach()
    mixing = torch.randn(32, 32, generator=torch.Generator().manual_seed(1))
    text.copy_(text @ mixing + 3.0)
    weight = extend_model(model, vocabulary).get_input_embeddings().weight.detach()
    spread = text.std()
    assert (weight[4096:].mean(0) - weight[:4096].mean(0)).abs().max() < 0.1 * spread
    assert (weight[4096:].T.cov() - weight[:4096].T.cov()).abs().max() < 0.15 * spread**2


@pytest.mark.parametrize("tied", [True, False])
def test_units_near_in_the_codec_start_near(tied):
    model = tiny_model("qwen3", tied)
    tables = [CENTROIDS * 7 + 3, torch.arange(40.0)[:, None]]  # the second codebook is a line
    extend_model(model, SpeechVocabulary.after_text(60, (100, 40)), "codec_centroids", centroids=tables)
    for weight in (model.get_input_embeddings().weight.detach(), model.get_output_embeddings().weight.detach()):
        text, first, second, rest = weight[:60], weight[60:160], weight[160:200], weight[200:]
        for rows in (first, second):
            torch.testing.assert_close(rows.mean(0), text.mean(0), atol=1e-5, rtol=0)
            torch.testing.assert_close(rows.std(0), text.std(0), atol=1e-5, rtol=1e-3)
        pairs = torch.stack((torch.pdist(first), torch.pdist(CENTROIDS)))
        assert pairs.corrcoef()[0, 1] > 0.7
        steps = (second[1:] - second[:-1]).norm(dim=1)
        torch.testing.assert_close(steps, steps.mean().expand(39), atol=1e-4, rtol=1e-3)
        assert len(rest.unique(dim=0)) == len(rest)


def test_the_default_of_transformers_is_that_of_transformers():
    ours, theirs = tiny_model("qwen3", vocab_size=4096), tiny_model("qwen3", vocab_size=4096)
    vocabulary = SpeechVocabulary.after_text(4096, (4092,))
    extend_model(ours, vocabulary, "hugging_face")
    torch.manual_seed(0)
    theirs.resize_token_embeddings(8192, mean_resizing=True)
    new = [model.get_input_embeddings().weight[4096:].detach() for model in (ours, theirs)]
    text = theirs.get_input_embeddings().weight[:4096].detach()
    for rows in new:
        torch.testing.assert_close(rows.mean(0), text.mean(0), atol=1e-5, rtol=0)
        assert 2.9e-5 < (rows - rows.mean(0)).std() / text.std() < 3.4e-5


def test_the_seed_decides():
    rows = [extend_model(tiny_model(), VOCABULARY, seed=seed).get_input_embeddings().weight for seed in (0, 0, 1)]
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])


def test_mistakes_are_named():
    with pytest.raises(UserError, match="mean_and_covariance"):
        extend_model(tiny_model(), VOCABULARY, "zeros")
    with pytest.raises(UserError, match="64 rows"):
        extend_model(tiny_model(), SpeechVocabulary.after_text(70, (8,)))


TEXTLESS = SpeechVocabulary.without_text((100,))


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
@pytest.mark.parametrize("tied", [True, False])
def test_rows_of_units_take_the_place_of_text_and_nothing_else_changes(tied, initialisation):
    model = tiny_model("llama", tied)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    replace_text_rows(model, TEXTLESS, 60, initialisation, centroids=[CENTROIDS])
    after = dict(model.named_parameters())
    assert before.keys() == after.keys() and num_embeddings(model) == model.config.vocab_size == 128
    for name, old in before.items():
        if old.shape[0] == 64 and name.endswith(("embed_tokens.weight", "lm_head.weight")):
            assert after[name].shape == (128, 32) and len(after[name].unique(dim=0)) == 128
        else:
            assert torch.equal(old, after[name]), name
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied


def test_rows_of_units_are_the_same_for_a_seed_also_where_their_number_stays():
    vocabulary = SpeechVocabulary.without_text((60,))  # 64 rows, as the model has
    text = tiny_model("llama").get_input_embeddings().weight.detach().clone()
    one, again, other = (
        replace_text_rows(tiny_model("llama"), vocabulary, 60, seed=seed).get_input_embeddings().weight
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, again) and not torch.equal(one, other) and not torch.equal(one, text)
    placed = replace_text_rows(tiny_model("llama"), vocabulary, 60, "codec_centroids", centroids=[CENTROIDS[:60]])
    found = placed.get_input_embeddings().weight[:60]
    torch.testing.assert_close(found.mean(dim=0), text[:60].mean(dim=0), atol=1e-5, rtol=0)


def test_an_untied_head_of_units_is_its_own(tmp_path):
    model = replace_text_rows(tiny_model("llama", tied=True), TEXTLESS, 60, untie_head=True)
    assert not torch.equal(model.get_input_embeddings().weight, model.get_output_embeddings().weight)
    model.save_pretrained(tmp_path)
    ids = packed_row([10], vocab_size=100).input_ids
    with torch.no_grad():
        assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path).eval()(ids).logits, model(ids).logits)


def test_no_id_of_text_keeps_a_meaning():
    model = tiny_model("llama")  # ids 0, 1 and 2 are padding, beginning and end
    assert model.get_input_embeddings().padding_idx == 0 and model.generation_config.eos_token_id == 2
    end_documents_with(replace_text_rows(model, TEXTLESS, 60), 100)
    assert model.get_input_embeddings().padding_idx is None
    assert (model.config.pad_token_id, model.config.bos_token_id, model.config.eos_token_id) == (None, None, 100)
    assert (model.generation_config.eos_token_id, model.generation_config.bos_token_id) == (100, None)
    model(torch.tensor([[0, 5, 0]]), labels=torch.tensor([[0, 5, 0]])).loss.backward()
    assert model.get_input_embeddings().weight.grad[0].any()
