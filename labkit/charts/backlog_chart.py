"""``backlog``: what waited in the queue and what was unacknowledged, over time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from labkit.charts.chart import (
    ALARM,
    AWAY,
    BLUE,
    GREY,
    ORANGE,
    PAD,
    VERMILLION,
    WIDTH,
    Chart,
    Look,
    empty,
    write,
)
from labkit.charts.drawable import Shown, by_name, shown
from labkit.charts.lettering import NORMAL, SMALL, fit, height_of, width_of
from labkit.ledger import Kind
from labkit.words import called, listed, plural, seconds

READY = Look("ready", BLUE)
HELD = Look("unacknowledged", ORANGE, "//")
HEIGHT = 2.7  # inches of a panel
HEADROOM = 1.16  # what the axis reaches beyond the highest value, so that its number stands above it
MARKS = 0.34  # inches above a panel for each line of what happened to whom
AXIS = 0.72  # inches below a panel for the axis
LEAVING = 0.25  # seconds that a worker must leave before the end, for that to be part of the story
# What happened to a worker, and what is known of one whose work is not seen.
SEEN = {Kind.CRASHED: "crashed", Kind.STOPPED: "left", Kind.DISCONNECTED: "lost its connection"}
UNSEEN = {
    Kind.CRASHED: "was gone without a goodbye",
    Kind.STOPPED: "had its connection closed",
    Kind.DISCONNECTED: "lost its connection",
}
APART = 0.27  # inches between two labels


def backlog(runs: Any) -> Chart:
    """How many messages were ready, and how many were delivered and not yet acknowledged.

    ``runs``: one run, or several to be put below each other with the same axes. The figures are samples of
    what the broker counted, each with a dot. Returns a Chart; UsageError for something that is no run.
    """
    given = shown(runs)
    panels = [_panel(run) for run in given]
    if not any(panel.told for panel in panels):
        problem = next((run.loads.problem for run in given if run.loads.problem), "")
        why = problem or "The run was over before the broker had been asked a second time."
        return empty("There is no backlog to show", f"There are too few figures for a curve: {why}")
    if len(panels) == 1:
        return _draw(panels, panels[0].message(), panels[0].sentence(), [""])
    heads = by_name(given, [panel.message() for panel in panels])
    text = " ".join(by_name(given, [panel.sentence() for panel in panels]))
    return _draw(panels, f"The backlog of {len(panels)} runs, on the same axes", text, heads)


@dataclass
class _Panel:
    """What is to be seen of one run; times in seconds since its first task."""

    times: list[float]
    ready: list[int]
    held: list[int]
    marks: list[tuple[float, str]]
    downtimes: list[tuple[float, float]]

    @property
    def told(self) -> bool:
        return len(self.times) > 1

    def message(self) -> str:
        """What the title says: the most that was ready, and what became of the unacknowledged."""
        if not self.told:
            return "too few figures"
        ready, held = max(self.ready), max(self.held)
        if not ready and not held:
            return "Nothing ever waited"
        if held and self.held[-1] >= 0.9 * held and held >= ready:
            return f"Unacknowledged grew to {held:,} and stayed there"
        if held and not self.held[-1] and self.ready[-1] >= 0.9 * held:
            return f"{plural(held, 'message')} went unacknowledged, then all were ready again"
        if not ready:
            return f"Up to {held:,} unacknowledged, none ready"
        if not held:
            return f"Up to {ready:,} ready, none unacknowledged"
        return f"Up to {ready:,} ready and {held:,} unacknowledged"

    def sentence(self) -> str:
        """What is seen, in words."""
        if not self.told:
            return "There are too few figures for a curve."
        if not any(self.ready + self.held):
            said = "Whenever the broker was asked, nothing was ready and nothing unacknowledged."
        else:
            said = f"Ready: {self._course(self.ready)}. Unacknowledged: {self._course(self.held)}."
        happened = [f"{what} at {seconds(at)}" for at, what in self.marks]
        if happened:
            most = 6
            rest = [f"{len(happened) - most} more such things happened"] if len(happened) > most else []
            said += f" In the meantime {listed(happened[:most] + rest)}."
        for start, end in self.downtimes:
            said += f" The broker was away from {seconds(start)} to {seconds(end)}."
        return said

    def _course(self, values: list[int]) -> str:
        most = max(values)
        if not most:
            return "none"
        return f"at most {most:,} (at {seconds(self.times[values.index(most)])}), {values[-1]:,} at the end"


def _panel(run: Shown) -> _Panel:
    ledger, samples = run.ledger, sorted(run.loads.samples, key=lambda sample: sample.time)
    zero = run.zero(samples[0].time if samples else 0.0)
    points = [(sample.time - zero, sample.ready, sample.unacknowledged) for sample in samples]
    earlier = [point for point in points if point[0] < 0]  # the last of them holds until the next
    points = [(0.0, *point[1:]) for point in earlier[-1:]] + points[len(earlier) :]
    end = points[-1][0] if points else 0.0
    seats = ledger.seats()
    marks = [
        (
            event.time - zero,
            f"{called(event.worker)} {(UNSEEN if seats[event.worker].unseen else SEEN)[event.kind]}",
        )
        for event in ledger.events(SEEN)
        if event.worker and event.time - zero < end - LEAVING
    ]
    downtimes = [(start - zero, stop - zero) for start, stop in ledger.downtimes()]
    # While the broker is away, connections break: one picture of it is enough.
    marks = [
        (at, what)
        for at, what in marks
        if "connection" not in what or not any(start - 1 < at < stop + 1 for start, stop in downtimes)
    ]
    times, ready, held = (list(values) for values in zip(*points, strict=True)) if points else ([], [], [])
    return _Panel(times, ready, held, marks, downtimes)


def _draw(panels: list[_Panel], title: str, text: str, heads: list[str]) -> Chart:
    width = WIDTH - 2 * PAD
    wrapped = [fit(head, width, NORMAL, bold=True) for head in heads]
    end = max((panel.times[-1] for panel in panels if panel.told), default=1.0) or 1.0
    most = max((value for panel in panels for value in panel.ready + panel.held), default=0) or 1
    left = width_of(f"{most:,}") + 0.3
    names = [f"{most:,} {look.label}" for look in (READY, HELD)]
    right = max(map(width_of, names)) + 0.25
    across = width - left - right
    placed = [_placed(panel, left, across, end) for panel in panels]
    tops = [
        len(lines) * height_of(NORMAL) + (0.1 if lines else 0) + MARKS * rows + 0.05
        for lines, (rows, _) in zip(wrapped, placed, strict=True)
    ]
    chart = Chart(title, text, body=sum(tops) + (HEIGHT + AXIS) * len(panels))
    y = chart.body[3]
    for panel, lines, top, (_, marks) in zip(panels, wrapped, tops, placed, strict=True):
        chart.lines_at(chart.body[0], chart.body[1] + y, lines, weight="bold")
        y -= top + HEIGHT
        axes = chart.panel(left, y, across, HEIGHT)
        axes.set_xlim(0, end)
        axes.set_ylim(0, most * HEADROOM)
        axes.tick_params(axis="x", pad=8)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.grid(axis="y", color="#e4e4e4")
        axes.set_xlabel("seconds since the first task was published", fontsize=SMALL, color=GREY, loc="left")
        for start, stop in panel.downtimes:
            axes.axvspan(start, stop, **AWAY)
        if panel.told:
            _curves(axes, panel, end / across, most * HEADROOM / HEIGHT)
        else:
            write(axes, end / 2, most / 2, "too few figures", color=GREY, horizontalalignment="center")
        for at, words, x, row in marks:
            axes.axvline(at, color=VERMILLION, linestyle=":", linewidth=2, clip_on=False)
            chart.text_at(
                chart.body[0] + x, chart.body[1] + y + HEIGHT + 0.08 + MARKS * row, words,
                color=ALARM, weight="bold",
            )  # fmt: skip
        y -= AXIS
    return chart


def _placed(
    panel: _Panel, left: float, across: float, end: float
) -> tuple[int, list[tuple[float, str, float, int]]]:
    """Where what happened is written above the panel: how many lines it takes, and (time, words, x, line)."""
    marks = list(panel.marks)
    for start, stop in panel.downtimes:
        marks.append((start, f"broker away {seconds(stop - start)}"))
    taken: list[float] = []  # by line: how far it is written already
    found = []
    for at, words in sorted(marks):
        wide = width_of(words, SMALL, True)
        x = min(max(left + at / end * across - wide / 2, 0.0), WIDTH - 2 * PAD - wide)
        row = next((number for number, reach in enumerate(taken) if reach + 0.15 <= x), len(taken))
        if row >= 4:  # a storm: the sentence has to do
            continue
        if row == len(taken):
            taken.append(0.0)
        taken[row] = x + wide
        found.append((at, words, x, row))
    return len(taken), found


def _curves(axes: Axes, panel: _Panel, inch: float, up: float) -> None:
    """The two curves with their fill, and at their end what they are; ``inch`` and ``up`` are units an inch."""
    ends, peaks = [], []
    for look, values, line in ((READY, panel.ready, "-"), (HELD, panel.held, (0, (4, 1.5)))):
        if not any(values) and look is READY and any(panel.held):
            ends.append((values[-1], look))
            continue
        style: dict[str, Any] = {
            "facecolor": look.colour,
            "edgecolor": look.colour,
            "hatch": look.hatch,
            "linewidth": 0,
        }
        times, numbers = _broken(panel, values)
        axes.fill_between(times, numbers, step="post", alpha=0.22, zorder=1, **style)
        axes.step(
            times, numbers, where="post", color=look.colour, linewidth=3, linestyle=line, zorder=2, clip_on=False
        )  # fmt: skip
        axes.plot(panel.times, values, "o", color=look.colour, markersize=6, zorder=2, clip_on=False)
        ends.append((values[-1], look))
        most, at = max(values), values.index(max(values))
        # At the end of the curve it says so anyway.
        if most and (values[-1] != most or panel.times[-1] - panel.times[at] > 0.8 * inch):
            peaks.append((panel.times[at], most))
    for number, (x, y) in enumerate(peaks):
        for earlier_x, earlier_y in peaks[:number]:
            wide = width_of(f"{earlier_y:,}", SMALL, bold=True) + 0.12
            if abs(y - earlier_y) < APART * up and abs(x - earlier_x) < wide * inch:
                x = earlier_x + wide * inch
        write(
            axes, x, y + 0.08 * up, f"{y:,}", weight="bold", verticalalignment="bottom", zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
        )  # fmt: skip
    # The names at the ends, one above the other where the curves end close together.
    ends.sort(key=lambda end: end[0])
    low = [max(value, 0.1 * up) for value, _ in ends]
    low[1] = max(low[1], low[0] + APART * up)
    end = panel.times[-1] + 0.15 * inch
    for height, (value, look) in zip(low, ends, strict=True):
        write(axes, end, height, f"{value:,} {look.label}", weight="bold", color=_dark(look))


def _broken(panel: _Panel, values: list[int]) -> tuple[list[float], list[float]]:
    """The curve with a gap wherever the broker was away: nobody knows what a queue is then."""
    points: list[tuple[float, float]] = []
    for number, (at, value) in enumerate(zip(panel.times, values, strict=True)):
        points.append((at, value))
        following = panel.times[number + 1] if number + 1 < len(values) else at
        gaps = [start for start, _ in panel.downtimes if at < start < following]
        points += [(gap, content) for gap in gaps[:1] for content in (value, math.nan)]
    return [at for at, _ in points], [value for _, value in points]


def _dark(look: Look) -> str:
    """The look's colour, dark enough for letters on white."""
    return {BLUE: "#005b8f", ORANGE: "#8a5f00"}[look.colour]
