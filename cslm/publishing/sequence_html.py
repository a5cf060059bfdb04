"""One dialogue as the sequence that the model reads and writes, in colours: text, units and markers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from cslm.codecs.units import unit_token
from cslm.sequences.vocabulary import ANSWER, END_OF_SPEECH, QUESTION, START_OF_SPEECH
from cslm.sequences.wordings import dialogue_request

KINDS = {
    "prompt": "request",
    "question": "transcript of the question (TQ)",
    "text": "answer, text (TA)",
    "units": "speech units (SA)",
    "marker": "markers",
}
"""Classes of the spans and what the legend calls them."""


def sequence_html(reply: Mapping[str, Any]) -> str:
    """The dialogue of a JSON file that ``respond --json`` wrote, with a legend."""
    request = dialogue_request(reply["question_language"], reply["answer_language"])
    spans = [("prompt", request.before), *_speech(reply["question_units"]), ("prompt", request.after)]
    written: list[tuple[str, str]] = []
    if reply["question"] is not None:
        written += [("marker", QUESTION), ("question", f": {reply['question']}; ")]
    written += [("marker", ANSWER), ("text", ": ")]
    for segment in reply["segments"]:
        written.append(("text", segment["text"]))
        if segment["units"]:
            written += _speech(segment["units"])
    legend = "".join(f'<li><span class="{kind}">{escape(name)}</span></li>' for kind, name in KINDS.items())
    return (
        f'<ul class="legend">{legend}</ul>'
        f'<p class="sequence"><b>user</b> {_join(spans)}</p><p class="sequence"><b>assistant</b> {_join(written)}</p>'
    )


def _speech(units: Sequence[Any]) -> list[tuple[str, str]]:
    """Markers and units as the vocabulary spells them; a frame of several codebooks is a list."""
    frames = [unit if isinstance(unit, list) else [unit] for unit in units]
    spelt = "".join(unit_token(unit, codebook) for frame in frames for codebook, unit in enumerate(frame))
    return [("marker", START_OF_SPEECH), ("units", spelt), ("marker", END_OF_SPEECH)]


def _join(spans: Sequence[tuple[str, str]]) -> str:
    # A line may break after any unit: the units of one stretch have no spaces.
    return "".join(f'<span class="{kind}">{escape(text).replace("&gt;", "&gt;<wbr>")}</span>' for kind, text in spans)
