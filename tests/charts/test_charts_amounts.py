"""Measured numbers side by side: the spread is told, and nothing else than numbers is drawn."""

import pytest

from labkit import charts
from labkit.errors import UsageError


def test_each_name_is_told_with_its_spread():
    chart = charts.amounts(
        {"auto": [9000, 10_000, 12_000], "one by one": [900, 1000, 1100]}, "messages a second"
    )
    assert "auto 9,000 to 12,000" in chart.sentence
    assert "one by one 900 to 1,100" in chart.sentence
    assert "median of 3" in chart.sentence
    assert chart.title == "auto: 10 times as much as one by one"


def test_a_single_number_needs_no_spread():
    chart = charts.amounts({"auto": 30.25, "limited": 0.5}, "MB", title="Memory")
    assert chart.sentence == "In MB: auto 30.2 and limited 0.5."
    assert chart.title == "Memory"
    assert chart.png().startswith(b"\x89PNG")


def test_names_that_do_not_fit_are_shortened_and_zero_is_drawn():
    chart = charts.amounts({"a name " * 20: 0, "$other$": [0, 0]}, "tasks")
    assert chart.png().startswith(b"\x89PNG")


def test_the_number_stands_at_the_end_of_its_bar_and_the_dots_below_it():
    chart = charts.amounts({"even": [10, 10, 10], "spread": [2, 3, 40]}, "s")
    (axes,) = chart.axes
    numbers = {text.get_text(): text.get_position() for text in axes.texts}
    for bar, (said, median) in zip(axes.patches, [("10", 10), ("3", 3)], strict=True):
        x, y = numbers[said]
        assert bar.get_width() == median
        assert median < x < median + 3  # units: right after the bar, not after the outermost dot
        dots = next(line for line in axes.lines if abs(line.get_ydata()[0] - y) < 0.5)
        assert min(dots.get_ydata()) > y  # rows go down: the dots are lower


@pytest.mark.parametrize(
    "wrong",
    [{}, [3], {"a": []}, {"a": [1, -1]}, {"a": "much"}, {"a": ["much"]}, {"a": float("nan")}, {"a": True}],
)
def test_what_is_no_amount_is_refused(wrong):
    with pytest.raises(UsageError):
        charts.amounts(wrong, "tasks")
