from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cslm.sequences.sequence import SequenceBuilder
from tests.worlds.small_village import some_units

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["text", "units", "marker", "template"]),
        st.sampled_from(["user", "assistant", "document"]),
        st.booleans(),
        st.integers(0, 4),
    ),
    max_size=8,
)


@given(STEPS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_ids_and_mask_grow_together_and_spans_cover_them(form, steps):
    builder = SequenceBuilder(form.encoder, form.vocabulary, "test")
    expected: list[bool] = []
    for kind, role, trained, size in steps:
        before = len(builder.finish())
        builder.turn(role, "en", trained)
        if kind == "text":
            builder.add_text("Anna " * size)
        elif kind == "units":
            builder.add_units(some_units(size))
            assert len(builder.finish()) == before + size + 2
        elif kind == "marker":
            builder.add_marker("[answer]")
        else:
            builder.add_template(list(range(size)), num_trained=size // 2)
        added = len(builder.finish()) - before
        expected += [index < size // 2 for index in range(added)] if kind == "template" else [trained] * added
    sequence = builder.finish()
    assert sequence.ids.dtype == np.int32 and sequence.trained.dtype == np.bool_
    assert len(sequence) == len(sequence.ids) == len(sequence.trained)
    assert sequence.trained.tolist() == expected
    assert all(before.stop == after.start for before, after in pairwise(sequence.spans))
    assert sum(span.stop - span.start for span in sequence.spans) == len(sequence)
    for span in sequence.spans:
        assert (sequence.trained[span.start : span.stop] == span.trained).all()


def test_a_window_is_a_sequence_of_its_own(form):
    builder = SequenceBuilder(form.encoder, form.vocabulary, "test")
    builder.turn("document", "en", trained=True)
    builder.add_text("In this village")
    builder.add_units(some_units(5))
    whole = builder.finish()
    window = whole.window(2, 6)
    assert window.ids.tolist() == whole.ids[2:6].tolist()
    assert [(span.start, span.stop, span.modality) for span in window.spans] == [
        (0, 1, "text"),
        (1, 2, "marker"),
        (2, 4, "speech"),
    ]
