"""``sweep``: both sides of a trade, one bar for each prefetch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from labkit.charts.chart import BLUE, GREY, INK, ORANGE, Chart, Look, bare
from labkit.charts.lettering import NORMAL, SMALL, fit, height_of, width_of
from labkit.errors import UsageError
from labkit.results.comparison import Comparison, Result
from labkit.words import listed, seconds

LONG = Look("long tasks", BLUE)
TINY = Look("tiny tasks", ORANGE, "//")
ROW, BAR = 0.46, 0.34  # inches: a row, and the bar in it
GUTTER = 0.45  # inches between the two panels
CLOSE = 1.03  # results within this factor of the best are as good as the best


def sweep(long: Comparison, tiny: Comparison) -> Chart:
    """Seconds for ``long``, uneven tasks beside the throughput of ``tiny`` ones, for the same prefetches.

    The dashed line is the greedy schedule's time, the best that can be hoped for. Returns a Chart; UsageError
    when the two were not made with the same prefetches.
    """
    names = [_name(result) for result in long]
    if not names or names != [_name(result) for result in tiny]:
        raise UsageError(
            "The two comparisons were not made with the same prefetches.",
            do="Give both the same list, for example [Strategy(prefetch=1), Strategy()].",
        )
    quick = _best(long, lambda one: one.makespan)
    many = _best(tiny, lambda one: -one.throughput)
    title = f"Long tasks are soonest done with {_said(quick)}, tiny ones with {_said(many)}"
    chart = Chart(title, _sentence(long, tiny), body=_heads(names)[1] + ROW * len(names) + 0.1)
    room, head = _heads(names)
    width = (chart.body[2] - room - GUTTER) / 2
    for row, name in enumerate(names):
        y = chart.body[1] + ROW * (len(names) - row - 0.5) + 0.1
        chart.text_at(
            chart.body[0] + room - 0.15, y, name, color=INK, horizontalalignment="right", verticalalignment="center"
        )  # fmt: skip
    best = long[0].greedy
    _panel(
        chart, room, width, head, "Long, uneven tasks: time for all", LONG,
        [one.makespan for one in long], [_time(one.makespan) for one in long], quick, names, best,
    )  # fmt: skip
    _panel(
        chart, room + width + GUTTER, width, head, "Tiny tasks: done each second", TINY,
        [one.throughput for one in tiny], [f"{one.throughput:,.0f}" for one in tiny], many, names,
    )  # fmt: skip
    return chart


def _name(result: Result) -> str:
    prefetch = result.settings["prefetch"]
    return "no limit" if prefetch is None else f"{prefetch}"


def _best(results: Comparison, worth: Callable[[Result], float]) -> list[str]:
    """The prefetches that did best: one, or several that did about as well."""
    top = min(map(worth, results))
    limit = top * CLOSE if top > 0 else top / CLOSE
    return [_name(one) for one in results if worth(one) <= limit]


def _said(names: Sequence[str]) -> str:
    numbers = [name for name in names if name != "no limit"]
    parts = [f"prefetch {listed(numbers, 'or')}"] if numbers else []
    return listed(parts + ["no limit"] * ("no limit" in names), "or")


def _sentence(long: Comparison, tiny: Comparison) -> str:
    took = listed([f"{_time(one.makespan)} with {_name(one)}" for one in long])
    rates = listed([f"{one.throughput:,.0f} with {_name(one)}" for one in tiny])
    best = f"; the best possible is {_time(long[0].greedy)}" if long[0].greedy else ""
    return f"By prefetch: the long, uneven tasks took {took}{best}. Tiny tasks done each second: {rates}."


def _time(value: float) -> str:
    return f"{value:.2f} s" if value < 10 else seconds(value)


def _heads(names: Sequence[str]) -> tuple[float, float]:
    """The room for the names on the left, and for the panels' headings above, in inches."""
    return max(map(width_of, [*names, "prefetch"])) + 0.25, 2 * height_of(NORMAL) + 0.35


def _panel(
    chart: Chart,
    left: float,
    width: float,
    head: float,
    heading: str,
    look: Look,
    values: Sequence[float],
    labels: Sequence[str],
    best: Sequence[str],
    names: Sequence[str],
    line: float = 0.0,
) -> None:
    x, y, _, _ = chart.body
    top = y + ROW * len(names) + 0.1
    for number, words in enumerate(reversed(fit(heading, width, NORMAL, bold=True))):
        chart.text_at(
            x + left, top + 0.33 + number * height_of(NORMAL), words, NORMAL, weight="bold", color=INK
        )
    if left < width:  # the first panel has the word for all rows
        chart.text_at(x, top + 0.06, "prefetch", color=GREY)
    axes = chart.panel(left, 0.1, width, ROW * len(names))
    texts = [f"{label} – best" if name in best else label for label, name in zip(labels, names, strict=True)]
    inch = max(max(values), line) / max(width - max(map(width_of, texts)) - 0.3, 0.5)  # units an inch
    axes.set_xlim(0, width * inch)
    axes.set_ylim(len(names) - 0.5, -0.5)
    bare(axes)
    for row, (value, text, name) in enumerate(zip(values, texts, names, strict=True)):
        axes.barh(row, value, height=BAR / ROW, **look.style())
        axes.text(
            value + 0.1 * inch, row, text, fontsize=SMALL, color=INK, verticalalignment="center",
            weight="bold" if name in best else "normal",
        )  # fmt: skip
    if line:
        axes.axvline(line, color=INK, linestyle="--", linewidth=1.6)
        chart.text_at(
            x + left + line / inch, top + 0.06, "best possible", color=GREY, horizontalalignment="center"
        )
