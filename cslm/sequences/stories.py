"""Spoken stories: sentences one after the other, each in a language drawn for it, and stories joined to one document.

Cross-lingual interleaving (arXiv 2512.01865): what is said goes on sentence by sentence, the language may change where
a sentence ends, and no sentence is said twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence as Seq

import numpy as np

from cslm.codecs.units import Units
from cslm.sequences.sequence import Sequence, SequenceBuilder
from cslm.sequences.sequence_format import SequenceFormat

Sentence = tuple[Units, str]
"""What is said, and the tag of its language."""


def spoken_document(form: SequenceFormat, sentences: Seq[Sentence], task: str = "story") -> Sequence:
    """Spoken sentences one after the other, all of it learnt, ended as documents of the tokenizer are.

    Every span has the language of its sentence.
    """

    def write(builder: SequenceBuilder) -> None:
        for units, language in sentences:
            builder.in_language(language)
            builder.add_units(units)

    return form.document(task, sentences[0][1], write)


def joined(documents: Seq[Sequence]) -> Sequence:
    """Documents one after the other as a single one, in which each sees those before it.

    What is learnt stays so; the first id of each but the first is then learnt from the end of the one before. None of
    them may have clips.
    """
    assert not any(document.clips for document in documents), "clips are not joined"
    starts = np.cumsum([0, *(len(document) for document in documents)]).tolist()
    spans = [
        span._replace(start=span.start + start, stop=span.stop + start)
        for document, start in zip(documents, starts, strict=False)
        for span in document.spans
    ]
    read = None
    if any(document.read is not None for document in documents):
        read = np.concatenate([it.ids if it.read is None else it.read for it in documents])
    return dataclasses.replace(
        documents[0],
        ids=np.concatenate([document.ids for document in documents]),
        trained=np.concatenate([document.trained for document in documents]),
        spans=tuple(spans),
        read=read,
    )


def draw_languages(
    available: Seq[Seq[int]], generator: np.random.Generator, switch_probability: float, shortest_run: int = 1
) -> list[int]:
    """The language of each sentence of a story (section 3 of the paper: drawn at random for each).

    The first is any of the first sentence's, equally likely. At the end of a sentence the language becomes another
    one, all equally likely, with ``switch_probability``, once ``shortest_run`` sentences were said in it. A sentence
    that is not there in the language of the run is said in another one.

    Args:
        available: the numbers of the languages that each sentence is there in, one at least.
    """
    languages: list[int] = []
    run = 0
    for choices in available:
        last = languages[-1] if languages else None
        others = [language for language in choices if language != last]
        switches = last is None or (run >= shortest_run and generator.random() < switch_probability)
        if others and (switches or last not in choices):
            languages.append(int(others[generator.integers(len(others))]))
        else:
            assert last is not None, "a sentence in no language"
            languages.append(last)
        run = run + 1 if languages[-1] == last else 1
    return languages
