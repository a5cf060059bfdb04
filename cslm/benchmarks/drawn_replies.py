"""Replies drawn from an untrained model: does the grammar hold, whatever the model would rather write?

The checkpoint gives sizes, vocabulary, chain and speech tokenizer; its weights are drawn anew. What a reply may be is
said here once more, and not asked of the grammar that wrote it: see :func:`what_breaks`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch

from cslm.generation.decoding import DecodingConfig, generate
from cslm.sequences.vocabulary import SpeechVocabulary


def drawn_replies(model: Any, num_replies: int, max_new_tokens: int, temperature: float, seed: int) -> dict[str, Any]:
    """Counts of replies, of what stands in them, and of breaks by their name (none: ``{}``)."""
    forget(model, seed)
    tasks, processor = model.tasks(), model.processor
    rules, vocabulary = tasks.rules("anything"), processor.vocabulary
    nameless = frozenset(processor.nameless_ids(model.get_output_embeddings().weight.shape[0]))
    languages = processor.languages
    prompts = [
        processor.prompt("dialogue", asked, units=_some_units(processor, number), answer_language=answered)
        for number, (asked, answered) in enumerate((one, other) for one in languages for other in languages)
    ]
    chosen = [prompts[number % len(prompts)] for number in range(num_replies)]
    decoding = DecodingConfig(max_new_tokens, temperature)
    drawing = torch.Generator().manual_seed(seed)
    written = [reply.ids for reply in generate(model, chosen, rules, decoding, drawing, description="draw replies")]
    breaks = Counter(filter(None, (what_breaks(ids, vocabulary, processor.end_ids, nameless) for ids in written)))
    for ids in written:
        processor.decode(ids)
    opened, closed = vocabulary.around_speech
    return {
        "num_replies": len(written),
        "temperature": temperature,
        "seed": seed,
        "num_ids": sum(map(len, written)),
        "num_ended": sum(ids[-1] in processor.end_ids for ids in written),
        "num_that_spoke": sum(opened in ids for ids in written),
        "num_stretches_of_speech": sum(ids.count(opened) for ids in written),
        "num_stretches_that_ended": sum(ids.count(closed) for ids in written),
        "num_units": sum(vocabulary.is_unit(token_id) for ids in written for token_id in ids),
        "breaks": dict(breaks),
    }


def forget(model: Any, seed: int) -> None:
    """Draw all weights anew: matrices with the deviation that the configuration starts from, the rest untouched."""
    drawing = torch.Generator().manual_seed(seed)
    deviation = float(getattr(model.config.get_text_config(decoder=True), "initializer_range", 0.02))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(deviation * torch.randn(parameter.shape, generator=drawing))


def what_breaks(
    ids: Sequence[int], vocabulary: SpeechVocabulary, end_ids: Collection[int], nameless: Collection[int] = ()
) -> str | None:
    """The first thing in a reply that may not be there, in words; None for a reply as it should be.

    Units stand between ``<sosp>`` and ``<eosp>`` alone, which stand nowhere else and hold whole frames, one or more;
    the codebooks of a frame come in their order; where repeats are merged, no frame follows itself; nothing follows the
    end; no id names nothing. A reply may be cut off anywhere.
    """
    opened, closed = vocabulary.around_speech
    sizes, offsets = vocabulary.codebook_sizes, vocabulary.codebook_offsets.tolist()
    inside, codebook, num_frames = False, 0, 0
    before = None
    for place, token_id in enumerate(ids):
        if token_id in nameless:
            return "an id that names nothing"
        if place and ids[place - 1] in end_ids:
            return "an id after the end"
        if not inside:
            if vocabulary.is_unit(token_id):
                return "a unit outside of speech"
            if token_id == closed:
                return "an end of speech without its beginning"
            inside, codebook, num_frames, before = token_id == opened, 0, 0, None
        elif token_id == closed:
            if codebook or not num_frames:
                return "an end of speech inside a frame" if codebook else "speech without a unit"
            inside = False
        elif not vocabulary.is_unit(token_id):
            return "something else than units in speech"
        else:
            if not offsets[codebook] <= token_id < offsets[codebook] + sizes[codebook]:
                return "a unit of another codebook"
            if vocabulary.merges_repeats and token_id == before:
                return "a unit that follows itself"
            before, codebook = token_id, (codebook + 1) % len(sizes)
            num_frames += codebook == 0
    return None


def _some_units(processor: Any, seed: int) -> Any:
    """A second of noise as units: what is asked does not matter."""
    noise = 0.1 * np.random.default_rng(seed).standard_normal(16000).astype(np.float32)
    return processor.units((noise, 16000))
