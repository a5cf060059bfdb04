from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from cslm.codecs.units import Units, unit_string
from cslm.sequences.conversations import plain_text, tts
from cslm.sequences.sequence_view import num_learnt, num_noisy, sequence_lines
from tests.worlds.small_village import some_units

ESCAPES = re.compile(r"\x1b\[[\d;]*m")


@pytest.fixture
def spoken(form):
    return tts(form, Units(np.array([[3], [1], [2]])), "Anna", "en")


def fields(line):
    return line[:1], line[1:].split(maxsplit=5)


def test_every_span_is_a_line_that_marks_what_is_learnt(form, spoken):
    lines = sequence_lines(form, spoken)
    assert len(lines) == len(spoken.spans)
    said = "".join(fields(line)[1][-1] for line in lines)
    assert "Anna" in said and said.endswith("<sosp><3><1><2><eosp><|end|>")
    assert [line[0] == "*" for line in lines] == [span.trained for span in spoken.spans]
    (units,) = [line for line in lines if "speech" in line]
    mark, (place, role, language, modality, count, text) = fields(units)
    assert (mark, role, language, modality, count, text) == ("*", "assistant", "en", "speech", "3", "<3><1><2>")
    assert spoken.ids[int(place)] == form.vocabulary.unit_id(3)
    assert num_learnt(spoken) == 3 + 2 + 1 and num_noisy(spoken) == 0


def test_colours_are_one_a_modality_and_change_no_text(form, spoken):
    plain, coloured = sequence_lines(form, spoken), sequence_lines(form, spoken, colour=True)
    assert [ESCAPES.sub("", line) for line in coloured] == plain
    codes = {span.modality: ESCAPES.search(line)[0] for span, line in zip(spoken.spans, coloured, strict=True)}
    assert len(set(codes.values())) == 4
    for span, line in zip(spoken.spans, coloured, strict=True):
        assert ESCAPES.search(line)[0].startswith("\x1b[1;4;") is span.trained


def test_units_that_are_read_as_others_are_told(form, spoken):
    read = spoken.ids.copy()
    read[spoken.ids == form.vocabulary.unit_id(1)] = form.vocabulary.unit_id(7)
    noisy = dataclasses.replace(spoken, read=read)
    assert num_noisy(noisy) == 1
    (line,) = [line for line in sequence_lines(form, noisy) if "speech" in line]
    assert line.endswith("<3><1>(<7>)<2>")
    (line,) = [line for line in sequence_lines(form, noisy, colour=True) if "speech" in line]
    assert "\x1b[1;7;31m(<7>)\x1b[0m" in line


def test_the_middle_of_what_is_long_is_left_out_and_counted(form):
    units, text = some_units(100), "Anna works. " * 60
    long = tts(form, units, text, "en")
    lines, whole = sequence_lines(form, long), sequence_lines(form, long, full=True)
    assert any("... 80 more ..." in line for line in lines) and any("characters more" in line for line in lines)
    assert max(map(len, lines)) < 300
    assert any(line.endswith(unit_string(units.ids)) for line in whole) and any(text.strip() in line for line in whole)


def test_text_writes_nothing_to_the_terminal(form):
    lines = sequence_lines(form, plain_text(form, "Anna\n\x1b[31m<3> works", "en"))
    assert "".join(lines).isprintable() and "\\n\\x1b[31m<3> works" in "".join(lines)
