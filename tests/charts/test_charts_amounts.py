"""Measured numbers side by side: the spread is told, and nothing else than numbers is drawn."""

import pytest

from labkit import charts
from labkit.errors import UsageError


def test_each_name_is_told_with_its_spread():
    chart = charts.amounts(
        {"auto": [9000, 10_000, 12_000], "one by one": [900, 1000, 1100]}, "messages a second"
    )
    assert "auto 9,000 to 12,000" in chart.text
    assert "one by one 900 to 1,100" in chart.text
    assert "median of 3" in chart.text
    assert chart.title == "auto: 10 times as much as one by one"


def test_a_single_number_needs_no_spread():
    chart = charts.amounts({"auto": 30.25, "limited": 0.5}, "MB", title="Memory")
    assert chart.text == "In MB: auto 30.2 and limited 0.5."
    assert chart.title == "Memory"
    assert chart.png().startswith(b"\x89PNG")


def test_names_that_do_not_fit_are_shortened_and_zero_is_drawn():
    chart = charts.amounts({"a name " * 20: 0, "$other$": [0, 0]}, "tasks")
    assert chart.png().startswith(b"\x89PNG")


@pytest.mark.parametrize("wrong", [{}, {"a": []}, {"a": [1, -1]}])
def test_what_is_no_amount_is_refused(wrong):
    with pytest.raises(UsageError):
        charts.amounts(wrong, "tasks")
