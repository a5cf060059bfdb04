"""Language tags (BCP 47): many ways to write one, and the one that this project uses."""

from __future__ import annotations

import functools

from cslm.errors import UserError

UNSPACED = frozenset({"zh", "yue", "wuu", "nan", "hak", "ja", "th", "lo", "km", "my"})
"""Languages that are written without spaces between words, by the first part of their tag."""

_AS_THEY_ARE = frozenset(
    ("ar", "cs", "de", "el", "en", "es", "fr", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ru", "sv", "tr", "zh")
)
"""What most corpora say, known without opening the registry."""


@functools.lru_cache(maxsize=4096)
def language_tag(said: str) -> str:
    """The tag in its one form: ``zh_CN``, ``cmn`` and ``zho`` are ``zh``, ``en-us`` is ``en``, ``pt-pt`` is ``pt-PT``.

    Deprecated tags, codes of three letters and the main language of a group get the tag that stands for them, and a
    script or region goes where the language implies it. Languages of their own, as ``wuu`` and ``nan``, stay.

    Raises:
        UserError: it is no tag, or of no language that the registry knows.
    """
    if said in _AS_THEY_ARE:
        return said
    import langcodes  # here: its tables take a while

    try:
        tag = langcodes.Language.get(langcodes.standardize_tag(said.strip(), macro=True))
    except ValueError:
        raise UserError(f"{said!r} is no language tag: BCP 47 is wanted, as en, zh or pt-BR") from None
    if not tag.is_valid() or not tag.language:
        raise UserError(f"{said!r} is a tag of no known language: BCP 47 is wanted, as en, zh or pt-BR")
    implied = tag.maximize()
    for script, territory in ((None, None), (None, tag.territory), (tag.script, None)):
        shorter = langcodes.Language.make(tag.language, script=script, territory=territory)
        if shorter.maximize() == implied:
            return str(shorter)
    return str(tag)


def is_unspaced(tag: str) -> bool:
    """Whether a language is written without spaces between words."""
    return language_tag(tag).split("-")[0] in UNSPACED
