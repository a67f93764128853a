"""One row of text about an array, and user text made harmless."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygraph.picture.values import LABEL, clean, number, numbers, row

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (2.0, "2"),
        (1e-5, "1e−05"),
        (-0.0, "0"),
        (12345.678, "1.235e+04"),
        ([[3.14159]], "3.142"),
        (7, "7"),
        (-7, "−7"),
        (True, "True"),
        ([1, -2, 3], "[1, −2, 3]"),
        ([True, False], "[True, False]"),
        ([2.1967, 1.74, 2.25], "[2.20, 1.74, 2.25]"),
        ([-0.001, 1.0], "[0.00, 1.00]"),
        ([1.23e-5, -4e-7], "[1.2e−05, −4.0e−07]"),
        ([1000.0, 1.0], "[1.0e+03, 1.0e+00]"),
        ([999.0, 1.0], "[999.00, 1.00]"),
        ([0.0, 0.0], "[0.00, 0.00]"),
        (np.arange(12.0), "5.50 ± 3.45"),
        (np.arange(12), "5.50 ± 3.45"),
        (np.full((3, 3), 1e300), "1.0e+300 ± 0.0e+00"),
        (np.array([1 + 2j, 0]), "[1.00+2.00j, 0.00+0.00j]"),
        (np.full(9, 3 + 4j), "|z| 5.00 ± 0.00"),
        (np.zeros((0, 3)), "empty"),
        (np.float16([1.5, 2.5]), "[1.50, 2.50]"),
    ],
)
def test_row(data, text):
    assert row(data) == (text, True)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (NAN, "NaN"),
        (-INF, "−inf"),
        ([1.0, NAN, NAN, INF], "NaN×2 inf×1"),
        ([[-INF, 0.0], [INF, NAN]], "NaN×1 inf×1 −inf×1"),
    ],
)
def test_entries_that_are_not_finite_take_the_row(data, text):
    assert row(data) == (text, False)


def test_modes():
    square = np.array([[1.0, -2.0], [3.0, 4.0]])
    assert row(square, "stats").text == "−2.00 … 4.00"
    assert row(square, "shape").text == "float64 (2, 2)"
    assert row(square, "full").text == "[1.00, −2.00]\n[3.00, 4.00]"
    assert row(square, "none").text == ""
    assert row(np.ones((7, 7)), "full").text == "1.00 ± 0.00"
    assert row([1.0, 2.5], precision=0).text == "[1, 2]"
    assert row([1.0, 2.5], precision=4).text == "[1.0000, 2.5000]"


@given(st.lists(st.floats(-1e300, 1e300), min_size=1), st.integers(0, 6))
def test_numbers_of_a_row_share_a_format_and_never_show_minus_zero(values, precision):
    texts = numbers(values, precision)
    assert len({"e" in text for text in texts}) == 1
    assert not any(text.startswith("−") and not text.strip("−0.") for text in texts)
    assert not any("-" in text for text in texts)
    tolerance = 10.0**-precision + max(map(abs, values)) * 10.0 ** -max(precision - 1, 0)
    for value, text in zip(values, texts, strict=True):
        assert abs(float(text.replace("−", "-")) - value) <= tolerance


def test_huge_integers_are_described():
    assert number(10**100) == "integer of 333 bits"


def test_clean():
    assert clean("a\tb") == "a b"
    assert clean("a\nb") == "a\nb"
    assert clean("\x00a\x1b\x7f\x85\u202eb\u2066\ufffe") == "ab"
    assert clean("\ud800x") == "?x"
    assert clean("x" * 99) == "x" * (LABEL - 1) + "…"


@given(st.text(st.characters(exclude_categories=[])), st.integers(1, 50))
def test_cleaning_twice_changes_nothing(text, limit):
    once = clean(text, limit)
    assert len(once) <= limit
    assert clean(once, limit) == once
    once.encode("utf-8")
