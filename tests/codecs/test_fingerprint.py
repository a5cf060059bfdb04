from __future__ import annotations

import warnings

import numpy as np
import pytest

from cslm.codecs.fingerprint import UNKNOWN, check_fingerprint, fingerprint
from cslm.errors import UserError

TENSORS = {"b": np.arange(6.0).reshape(2, 3), "a": np.arange(3)}
PARAMETERS = {"rate": 25.0, "sizes": (4, 5), "inner": {"x": 1, "y": None}}


def test_it_is_pinned():
    """A change here makes every card and checkpoint of the world foreign."""
    expected = "sha256:5b2b930062c159f4cf86554a0211d34cdff9e59e43d5dff0a9f332f1186d7127"
    assert fingerprint(TENSORS, PARAMETERS) == expected


def test_order_layout_and_way_of_writing_do_not_matter():
    same = {"a": np.arange(6)[::2] // 2, "b": np.asfortranarray(TENSORS["b"])}
    parameters = {"inner": {"y": None, "x": 1}, "sizes": [4, 5], "rate": 25}
    assert fingerprint(same, parameters) == fingerprint(TENSORS, PARAMETERS)
    swapped = {"a": TENSORS["a"].astype(">i8"), "b": TENSORS["b"]}
    assert fingerprint(swapped, PARAMETERS) == fingerprint(TENSORS, PARAMETERS)


@pytest.mark.parametrize(
    ("tensors", "parameters"),
    [
        ({**TENSORS, "a": np.array([0, 1, 3])}, PARAMETERS),
        ({**TENSORS, "a": np.arange(3, dtype=np.int32)}, PARAMETERS),
        ({**TENSORS, "b": np.arange(6.0).reshape(3, 2)}, PARAMETERS),
        ({"b": TENSORS["b"], "c": TENSORS["a"]}, PARAMETERS),
        (TENSORS, {**PARAMETERS, "rate": 50}),
        (TENSORS, {**PARAMETERS, "more": 1}),
    ],
)
def test_whatever_decides_units_changes_it(tensors, parameters):
    assert fingerprint(tensors, parameters) != fingerprint(TENSORS, PARAMETERS)


def test_different_is_an_error_that_names_both_sides():
    with pytest.raises(UserError, match=r"the checkpoint y.*sha256:2.*the store x.*sha256:1"):
        check_fingerprint("sha256:1", "sha256:2", "the store x", "the checkpoint y")


def test_equal_is_silent():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_fingerprint("sha256:1", "sha256:1", "x", "y")
    assert not said


@pytest.mark.parametrize(("expected", "found", "named"), [(UNKNOWN, "sha256:1", "x"), ("sha256:1", UNKNOWN, "y")])
def test_unknown_warns_and_names_the_unknown_side(expected, found, named):
    with pytest.warns(UserWarning, match=f"^{named} does not say"):
        check_fingerprint(expected, found, "x", "y")
