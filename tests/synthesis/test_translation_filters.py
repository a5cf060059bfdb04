"""Filters of translations, by what is wrong with them."""

from __future__ import annotations

import pytest

from cslm.errors import UserError
from cslm.synthesis.translation_filters import TranslationFilters, fault_of, num_letters

SENTENCE = "The little dog ran home because it was very tired."
FRENCH = "Le petit chien courut à la maison car il était très fatigué."


def fault(translation, text=SENTENCE, target="fr", **options):
    return fault_of(translation, text, "en", target, TranslationFilters(**options))


@pytest.mark.parametrize(
    ("translation", "target", "says"),
    [
        (FRENCH, "fr", None),
        ("小狗跑回家了，因为它很累。", "zh", None),
        ("いぬは とても つかれたので うちへ はしった。", "ja", None),
        ("Το μικρό σκυλί έτρεξε στο σπίτι γιατί ήταν κουρασμένο.", "el", None),
        ("...", "fr", "no letters"),
        (SENTENCE, "fr", "the text itself"),
        ("the LITTLE dog ran home because it was very tired", "fr", "the text itself"),
        ("Le petit chien. " * 12, "fr", "has 144 letters, the text 40"),
        ("Oui.", "fr", "has 3 letters, the text 40"),
        ("Маленькая собака побежала домой, потому что устала.", "fr", "another script than that of fr"),
        (FRENCH, "zh", "another script than that of zh"),
    ],
)
def test_translations(translation, target, says):
    found = fault(translation, target=target)
    assert (found is None) == (says is None)
    assert says is None or says in found


def test_names_may_stay_and_short_sentences_may_vary():
    assert fault("Tom!", "Tom!") is None
    assert fault("Bonjour à tous.", "Hi.") is None


def test_wide_letters_count_twice():
    assert num_letters("Tom, 狗。") == 5


def test_filters_can_be_left_out():
    assert fault("Oui.", most_times_longer=None) is None
    assert fault("Маленькая собака побежала домой.", most_in_other_scripts=None) is None


def test_a_translation_in_the_texts_own_language_is_found():
    pytest.importorskip("py3langid", reason="the extra langid is not installed")
    other = "A small dog went back to its house since it had no strength."
    assert fault(other) is None
    assert fault(other, identify=True) == "its translation into fr seems to be en"
    assert fault(FRENCH, identify=True) is None
    assert fault("Yes, it is.", "Yes, indeed.", identify=True) is None


@pytest.mark.parametrize("options", [{"most_times_longer": 0.5}, {"most_in_other_scripts": 2}, {"spare_letters": -1}])
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(UserError, match=next(iter(options))):
        TranslationFilters(**options)
