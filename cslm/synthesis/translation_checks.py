"""Whether a translation may be one: of a length that fits its text, and in its language, as far as that is told."""

from __future__ import annotations

from cslm.corpora.languages import is_unspaced
from cslm.generation.scripts import script_share
from cslm.synthesis.other_language import OtherLanguage

_UNSPACED_LETTER = 3
"""Letters of a spaced language that say what one of a language without spaces says, about."""
_LEAST_SCRIPT = 0.5


def why_no_translation(
    text: str,
    translation: str,
    source: str,
    target: str,
    length_ratio: tuple[float, float],
    other: OtherLanguage | None = None,
) -> str | None:
    """Why a translation cannot be right, in a few words; None where nothing speaks against it.

    Args:
        length_ratio: least and most of the letters of the translation over those of the text, where a letter of a
            language without spaces counts as three.
        other: tells texts of another language; None looks at the script alone.
    """
    if not translation.strip():
        return "its translation is empty"
    if translation.strip() == text.strip():
        return "its translation is the text itself"
    ratio = _length(translation, target) / max(1, _length(text, source))
    if not length_ratio[0] <= ratio <= length_ratio[1]:
        return f"its translation has {ratio:.2f} times its letters: {translation[:60]!r}"
    share = script_share(translation, target)
    if share < _LEAST_SCRIPT:
        return f"{share:.0%} of the letters of its translation are in the script of {target}: {translation[:60]!r}"
    told = None if other is None else other.find(translation, target)
    return None if told is None else f"its translation is told to be {told}: {translation[:60]!r}"


def _length(text: str, language: str) -> int:
    """Letters and digits, as a spaced language would have them."""
    return sum(letter.isalnum() for letter in text) * (_UNSPACED_LETTER if is_unspaced(language) else 1)
