"""Translation models: each family is told the languages in its own way; what has no translation says why."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import GenerationMixin

from cslm.errors import UserError
from cslm.synthesis.failure import Failure
from cslm.synthesis.seq2seq_translator import Seq2SeqTranslator
from cslm.synthesis.translator_config import Seq2SeqTranslatorConfig, TranslatorConfig
from cslm.synthesis.translators import TRANSLATORS, open_translator
from tests.worlds import translation_models

TEXTS = ["The dog saw a cat.", "Tom ran home."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("translators")


@pytest.fixture
def asked(monkeypatch):
    """What the model's ``generate`` is given."""
    calls: list[dict[str, Any]] = []
    generate = GenerationMixin.generate

    def spy(self, *args, **kwargs):
        calls.append(kwargs)
        return generate(self, *args, **kwargs)

    monkeypatch.setattr(GenerationMixin, "generate", spy)
    return calls


def opened(model, **options):
    return Seq2SeqTranslator(
        Seq2SeqTranslatorConfig(str(model), num_beams=1, max_new_tokens=8, device="cpu", **options)
    )


def tokens_of(translator, ids):
    (model,) = translator._opened.values()
    return model._tokenizer.convert_ids_to_tokens(ids)


@pytest.mark.parametrize(
    ("family", "target", "first", "last", "begins"),
    [
        ("m2m", "fr", "__en__", "</s>", "__fr__"),
        ("m2m", "zh-CN", "__en__", "</s>", "__zh__"),
        ("nllb", "fr", "eng_Latn", "</s>", "fra_Latn"),
        ("nllb", "zh", "eng_Latn", "</s>", "zho_Hans"),
    ],
)
def test_families_that_begin_a_translation_with_its_language(folder, asked, family, target, first, last, begins):
    model = folder / family
    if not model.is_dir():
        getattr(translation_models, family)(model)
    translator = opened(model)
    translator.translate(TEXTS[:1], "en", target)
    tokens = tokens_of(translator, asked[0]["input_ids"][0].tolist())
    assert (tokens[0], tokens[-1]) == (first, last)
    assert tokens_of(translator, [asked[0]["forced_bos_token_id"]]) == [begins]


def test_madlad_and_marian_say_the_target_before_the_text(folder, asked):
    translator = opened(translation_models.madlad(folder / "madlad"))
    translator.translate(TEXTS[:1], "en", "fr")
    assert tokens_of(translator, asked[0]["input_ids"][0].tolist())[:3] == ["<2fr>", "▁T", "he"]
    translator = opened(translation_models.marian(folder / "opus-mt-en-mul", (">>fra<<", ">>deu<<"), target="mul"))
    translator.translate(TEXTS[:1], "en", "de")
    assert tokens_of(translator, asked[1]["input_ids"][0].tolist())[0] == ">>deu<<"
    assert "forced_bos_token_id" not in asked[1]


def test_the_name_of_a_marian_model_is_made_of_the_languages(folder, asked):
    translation_models.marian(folder / "opus-mt-en-fr")
    translator = opened(folder / "opus-mt-{source}-{target}")
    translator.translate(TEXTS, "en", "fr")
    assert [len(call["input_ids"]) for call in asked] == [2]
    with pytest.raises(UserError, match="no folder .*opus-mt-en-de"):
        translator.facts("en", "de")


def test_a_marian_model_of_other_languages_is_refused(folder):
    model = translation_models.marian(folder / "opus-mt-de-fr", source="deu", target="fra")
    assert opened(model).facts("de", "fr")["target"] == "fr"
    with pytest.raises(UserError, match="source_lang deu, not en"):
        opened(model).translate(TEXTS, "en", "fr")


def test_a_language_that_the_model_does_not_know_is_refused(folder):
    model = translation_models.nllb(folder / "small-nllb")
    with pytest.raises(UserError, match="does not know tlh"):
        opened(model).facts("en", "tlh")
    model = translation_models.madlad(folder / "small-madlad")
    with pytest.raises(UserError, match=r"does not know ja; it knows de, fr, zh"):
        opened(model).facts("en", "ja")


def test_what_is_no_translation_model_is_refused(folder, tmp_path):
    with pytest.raises(UserError, match="no folder"):
        opened(tmp_path / "nothing").facts("en", "fr")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"translator.seq2seq.model"):
        opened(tmp_path / "empty").facts("en", "fr")


def test_translations_that_do_not_end_or_texts_that_are_too_long_are_failures(folder):
    translator = opened(translation_models.marian(folder / "long-en-fr"))
    long = " ".join(["The dog saw a cat."] * 30)
    found = translator.translate([TEXTS[0], long], "en", "fr")
    assert found[1] == Failure(reason=found[1].reason) and "too long for the translator" in found[1].reason
    assert "takes 64" in found[1].reason
    assert isinstance(found[0], Failure) and "does not end within 8 tokens" in found[0].reason


def test_a_text_has_the_same_translation_in_any_order_and_in_a_new_process(folder):
    model = translation_models.marian(folder / "ends-en-fr", ends=True)
    config = Seq2SeqTranslatorConfig(str(model), num_beams=2, max_new_tokens=60, device="cpu", batch_size=1)
    texts = [*TEXTS, "A story.", "Tom saw a dog at home."]
    there = Seq2SeqTranslator(config).translate(texts, "en", "fr")
    back = Seq2SeqTranslator(config).translate(texts[::-1], "en", "fr")
    assert there == back[::-1]
    assert any(isinstance(text, str) and text for text in there)


def test_weights_and_settings_are_in_the_facts_and_names_are_not(folder, tmp_path):
    model = translation_models.marian(folder / "facts-en-fr")
    same = translation_models.marian(tmp_path / "elsewhere")
    facts = opened(model).facts("en", "fr")
    assert facts == opened(same).facts("en", "fr")
    assert str(folder) not in str(facts)
    assert facts != opened(model, batch_size=2).facts("en", "fr")
    other = translation_models.marian(tmp_path / "other", seed=1)
    assert facts["model"] != opened(other).facts("en", "fr")["model"]


def test_one_section_is_chosen():
    assert set(TRANSLATORS) == set(TranslatorConfig.__dataclass_fields__)
    with pytest.raises(UserError, match="translator: none is given; give the settings of one of table, seq2seq"):
        open_translator(TranslatorConfig())
    with pytest.raises(UserError, match="num_beams"):
        Seq2SeqTranslatorConfig("x", num_beams=0)
    with pytest.raises(UserError, match="dtype"):
        Seq2SeqTranslatorConfig("x", dtype="int8")
