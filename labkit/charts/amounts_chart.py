"""``amounts``: a few measured numbers side by side, each measurement a dot under the end of its bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from labkit import checks
from labkit.charts.chart import BLUE, GREEN, INK, NAME, ORANGE, PURPLE, SKY, Chart, Look, bare
from labkit.charts.lettering import SMALL, shorten, width_of
from labkit.words import listed

ROW, BAR = 0.62, 0.44  # inches: a row, and the bar in it
NUMBER, DOTS = -0.1, 0.11  # inches below the middle of a row: the number at the bar's end, and the dots
_STYLES = [(BLUE, ""), (ORANGE, "//"), (GREEN, "xx"), (PURPLE, ".."), (SKY, "\\\\")]


def amounts(measured: Mapping[str, float | Sequence[float]], unit: str, title: str = "") -> Chart:
    """A bar for each name, as long as the median of what was ``measured``, in this ``unit``.

    With several measurements each is a dot on the lower half of the bar, so that the spread is seen. Returns a
    Chart; UsageError for nothing, or for a number below 0.
    """
    rows = {
        str(name): [
            float(checks.number(f"An amount of {name}", value))
            for value in (values if isinstance(values, Sequence) else [values])
        ]
        for name, values in checks.mapping("measured", measured).items()
    }
    if not rows or not all(rows.values()):
        raise checks.refused("measured", measured, 'Give numbers, for example {"one": [3]}.')
    said = {name: _said(values) for name, values in rows.items()}
    parts = [f"{name} {_range(values)}" for name, values in rows.items()]
    many = max(map(len, rows.values()))
    times = f" Bars show the median of {many} measurements, dots each of them." if many > 1 else ""
    text = f"In {unit}: {listed(parts)}.{times}"
    chart = Chart(title or _title(rows, unit), text, body=ROW * len(rows) + 0.1)
    room = min(max(map(width_of, rows)), NAME) + 0.25
    width = chart.body[2] - room
    axes = chart.panel(room, 0.05, width, ROW * len(rows))
    most = max(max(values) for values in rows.values()) or 1.0
    inch = most / max(width - max(map(width_of, said.values())) - 0.45, 1.0)  # units an inch
    axes.set_xlim(0, width * inch)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    bare(axes)
    for row, (name, values) in enumerate(rows.items()):
        look = Look(name, *_STYLES[row % len(_STYLES)])
        axes.barh(row, median(values), height=BAR / ROW, **look.style())
        if len(values) > 1:
            axes.plot(
                values,
                [row + DOTS / ROW] * len(values),
                "o",
                color="white",
                markeredgecolor=INK,
                markersize=8,
                clip_on=False,
            )
        axes.text(
            median(values) + 0.12 * inch, row + (NUMBER / ROW if len(values) > 1 else 0), said[name],
            fontsize=SMALL, color=INK, verticalalignment="center", weight="bold", parse_math=False,
        )  # fmt: skip
        y = chart.body[1] + 0.05 + ROW * (len(rows) - row - 0.5)
        chart.text_at(
            chart.body[0] + room - 0.15, y, shorten(name, NAME), color=INK, horizontalalignment="right",
            verticalalignment="center",
        )  # fmt: skip
    return chart


def _title(rows: Mapping[str, Sequence[float]], unit: str) -> str:
    most, least = (pick(rows, key=lambda name: median(rows[name])) for pick in (max, min))
    low = median(rows[least])
    if most == least or not low:
        return f"{most}: {_said(rows[most])} {unit}"
    times = median(rows[most]) / low
    return f"{most}: {times:.{0 if times >= 10 else 1}f} times as much as {least}"


def _said(values: Sequence[float]) -> str:
    return _number(median(values))


def _range(values: Sequence[float]) -> str:
    low, high = _number(min(values)), _number(max(values))
    return low if low == high else f"{low} to {high}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"
