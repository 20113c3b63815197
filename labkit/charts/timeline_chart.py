"""``timeline``: who worked on what, and when – a row a worker, a bar a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection

from labkit.charts.chart import (
    ALARM,
    AWAY,
    BLUE,
    GREY,
    INK,
    NAME,
    ORANGE,
    PAD,
    PALE,
    PURPLE,
    SKY,
    VERMILLION,
    WIDTH,
    Chart,
    Look,
    empty,
    key_rows,
    write,
)
from labkit.charts.drawable import by_name, run_names, shown
from labkit.charts.history import History, history
from labkit.charts.lettering import LARGE, NORMAL, SMALL, fit, height_of, names_in, width_of
from labkit.ledger import Span
from labkit.words import seconds

LOOKS = {
    "done": Look("done", BLUE),
    "again": Look("redelivered", ORANGE, "//"),
    "crashed": Look("cut off", VERMILLION, "xx"),
    "failed": Look("failed", PURPLE, ".."),
    "running": Look("under way", SKY),
}
LIGHT = {"again", "failed", "running"}  # looks on which the number has to be dark
ROW, THIN = 0.62, 0.115  # inches: the height of a row when there is room, and at the least
ROWS = 6.4  # inches that all rows may take together
AXIS = 0.72  # inches below the rows for the axis
AWAY_ROOM = 0.34  # inches above the rows, to say how long the broker was away
LETTERS = 0.24  # inches: the height of a row with letters of 14 points
LABELS = 1500  # numbers on bars at the most: beyond, nobody reads them
MANY = 3000  # bars beyond which neighbours are drawn as one: they are thinner than a pixel
FINEST = 0.006  # inches: what two bars may be apart and still be drawn as one


def timeline(runs: Any) -> Chart:
    """A row a worker, a bar a task with its number, and what went wrong: crashes, the broker's absence.

    ``runs``: one run or ledger, or several to be put below each other with one time axis. Returns a Chart;
    UsageError for something that is no run.
    """
    given = shown(runs)
    told = [history(run) for run in given]
    if not any(each.workers for each in told):
        other = " ".join(sentence for each in told for sentence in each.others())
        return empty(
            "No worker of the lab took part" if other else "Nothing happened yet",
            other or "No worker was connected and no task was started in this run.",
        )
    messages, sentences = [each.message() for each in told], [each.sentence() for each in told]
    if len(told) == 1:
        return _draw(told, messages[0], sentences[0], [""])
    title, text = _compared(run_names(given), told), " ".join(by_name(given, sentences))
    return _draw(told, title, text, by_name(given, messages))


def _compared(names: Sequence[str], told: Sequence[History]) -> str:
    order = sorted(range(len(told)), key=lambda at: told[at].end)
    fast, slow = told[order[0]], told[order[-1]]
    if slow.end < fast.end * 1.1 or not fast.spans:
        return f"{len(told)} runs on one time axis"
    title = f"{names[order[0]]} took {seconds(fast.end)}, {names[order[-1]]} {seconds(slow.end)}"
    if len(fit(title, WIDTH - 2 * PAD, LARGE, bold=True)) > 2:
        return f"{len(told)} runs on one time axis: {seconds(fast.end)} to {seconds(slow.end)}"
    return title


def _draw(told: Sequence[History], title: str, text: str, heads: Sequence[str]) -> Chart:
    rows = [max(len(each.workers), 1) for each in told]
    row = min(ROW, max(THIN, ROWS / sum(rows)))
    width = WIDTH - 2 * PAD
    wrapped = [fit(head, width, NORMAL, bold=True) for head in heads]
    above = [
        len(lines) * height_of(NORMAL) + (0.1 if lines else 0) + (AWAY_ROOM if each.downtimes else 0)
        for lines, each in zip(wrapped, told, strict=True)
    ]
    fates = {_fate(span) for each in told for span in each.spans}
    entries = [look for fate, look in LOOKS.items() if fate in fates] if fates != {"done"} else []
    crashes = any(each.crashes for each in told)
    keys = key_rows(entries, width - (1.4 if crashes else 0)) if entries or crashes else []
    key_height = len(keys) * 0.34 + (0.1 if keys else 0)
    chart = Chart(title, text, body=sum(above) + sum(rows) * row + AXIS * len(told) + key_height)
    end = max(each.end for each in told) or 1.0
    names = [name for each in told for name in names_in(each.workers, NAME)]
    room = max(map(width_of, names), default=0) + 0.15
    x, bottom, _, y = chart.body
    for each, lines, top, count in zip(told, wrapped, above, rows, strict=True):
        chart.lines_at(x, bottom + y, lines, weight="bold")
        y -= top + count * row
        _Panel(chart, each, (room, y, width - room, count * row), end).draw()
        y -= AXIS
    for at, line in enumerate(keys):
        chart.key(line, 0, key_height - 0.34 * (at + 1))
    if crashes:
        left = sum(look.key_width for look in keys[-1])
        y = key_height - 0.34 * len(keys) + 0.1
        axes = chart.panel(left - 0.03, y - 0.15, 0.3, 0.3)
        axes.set_axis_off()
        _cross(axes, 0, 0, 170, linewidths=1)
        chart.text_at(x + left + 0.35, bottom + y, "crash", verticalalignment="center", color=INK)
    return chart


def _fate(span: Span) -> str:
    """Which look the bar has."""
    if span.how == "finished":
        return "again" if span.redelivered else "done"
    return "crashed" if span.how == "stopped" else span.how


def _cross(axes: Any, x: float, y: float, size: float, **style: Any) -> None:
    axes.scatter([x], [y], marker="X", s=size, color=VERMILLION, edgecolors="white", **style)


class _Panel:
    """The rows of one run, on axes of their own; ``where`` in inches within the chart's body."""

    def __init__(
        self, chart: Chart, told: History, where: tuple[float, float, float, float], end: float
    ) -> None:
        self.chart, self.told, self.where = chart, told, where
        _, _, width, height = where
        count = max(len(told.workers), 1)
        self.reach = end * 1.02  # seconds on the axis
        self.inch = self.reach / width  # seconds an inch
        self.row = height / count
        self.place = {name: at for at, name in enumerate(told.workers)}
        self.axes = chart.panel(*where)
        self.axes.set_xlim(0, self.reach)
        self.axes.set_ylim(count, 0)
        self.axes.set_yticks([])

    def draw(self) -> None:
        every = -(-LETTERS // self.row)  # rows from one name to the next
        for number, name in enumerate(names_in(self.told.workers, NAME)):
            if number % every == 0:
                write(self.axes, -0.1 * self.inch, number + 0.5, name, horizontalalignment="right")
        lives = [
            [(max(start, 0), self.place[who] + 0.5), (stop, self.place[who] + 0.5)]
            for who, start, stop in self.told.lives
        ]
        self.axes.add_collection(LineCollection(lives, colors=PALE, linewidths=1.5, zorder=0.5))
        for start, stop in self.told.downtimes:
            self._downtime(start, stop)
        groups: dict[str, list[Span]] = {}
        for span in self.told.spans:
            groups.setdefault(_fate(span), []).append(span)
        for fate, spans in groups.items():
            self._bars(fate, spans)
        if self.row >= 0.26:
            self._numbers()
        for who, at in self.told.crashes:
            if who in self.place:
                size = min(420.0, (self.row * 72 * 0.62) ** 2 + 110)
                _cross(self.axes, at, self.place[who] + 0.5, size, linewidths=1.2, zorder=5, clip_on=False)
                if self.row >= LETTERS:
                    self._lost(who, at)
        self.axes.set_xlabel(
            "seconds since the first task was published", fontsize=SMALL, color=GREY, loc="left"
        )

    def _downtime(self, start: float, stop: float) -> None:
        self.axes.axvspan(start, stop, zorder=0, **AWAY)
        left, bottom, width, height = self.where
        x, y, _, _ = self.chart.body
        text = f"broker away {seconds(stop - start)}"
        half = width_of(text, SMALL, True) / 2
        x += left + min(max((start + stop) / 2 / self.inch, half - left), width - half)
        self.chart.text_at(
            x, y + bottom + height + 0.08, text, weight="bold", color=GREY, horizontalalignment="center"
        )

    def _bars(self, fate: str, spans: Sequence[Span]) -> None:
        start = np.array([span.started for span in spans])
        stop = np.maximum([span.ended for span in spans], start + FINEST * self.inch)
        where = np.array([self.place[span.worker] for span in spans], dtype=float)
        if len(spans) > MANY:
            start, stop, where = _merged(start, stop, where, FINEST * self.inch)
        gap = 0.12 if self.row > 0.3 else 0.08
        low, high = where + gap, where + 1 - gap
        corners = np.stack([start, low, start, high, stop, high, stop, low], axis=1).reshape(-1, 4, 2)
        style = LOOKS[fate].style()
        wide = np.median(stop - start) / self.inch
        if fate == "done" and wide < 0.06:
            style["linewidth"] = 0.0 if wide < 0.02 else 0.3
        self.axes.add_collection(PolyCollection(list(corners), zorder=2, **style), autolim=False)

    def _numbers(self) -> None:
        fitting = []
        for span in self.told.spans:
            wide = (span.ended - span.started) / self.inch
            if wide >= 0.15:
                label = self.told.label(span.task_id)
                cross = 0.5 if span.how == "crashed" else 0.05  # the cross takes room, too
                if width_of(label) + cross <= wide:
                    fitting.append((span, label))
        for span, label in fitting if len(fitting) <= LABELS else []:
            fate, middle = _fate(span), (span.started + span.ended) / 2
            box = None
            if LOOKS[fate].hatch:  # letters on a hatch need a quiet ground
                box = {"facecolor": LOOKS[fate].colour, "edgecolor": "none", "pad": 1}
            write(
                self.axes, middle, self.place[span.worker] + 0.5, label, horizontalalignment="center",
                zorder=4, bbox=box, color=INK if fate in LIGHT else "white",
            )  # fmt: skip

    def _lost(self, who: str, at: float) -> None:
        """The numbers of the tasks that were lost with this worker, in the room that its crash left."""
        labels = [self.told.label(task_id) for task_id, had in self.told.lost.items() if had == who]
        if not labels:
            return
        after = [span.started for span in self.told.spans if span.worker == who and span.started > at]
        room = (min([*after, self.reach]) - at) / self.inch - 0.3
        for text in (
            f"lost: {', '.join(labels)}",
            f"lost: {', '.join(labels[:3])} … ({len(labels)})",
            f"{len(labels)} lost",
        ):
            if width_of(text, SMALL, True) <= room:
                x = at + 0.24 * self.inch
                write(self.axes, x, self.place[who] + 0.5, text, color=ALARM, weight="bold", zorder=4)
                return


def _merged(start: Any, stop: Any, where: Any, gap: float) -> tuple[Any, Any, Any]:
    """Bars of one row with less than ``gap`` seconds between them, made one."""
    order = np.lexsort((start, where))
    start, stop, where = start[order], stop[order], where[order]
    reach = np.maximum.accumulate(stop + where * 1e9) - where * 1e9  # rows do not reach into each other
    new = np.ones(len(start), dtype=bool)
    new[1:] = (where[1:] != where[:-1]) | (start[1:] > reach[:-1] + gap)
    first = np.flatnonzero(new)
    last = np.append(first[1:] - 1, len(start) - 1)
    return start[first], reach[last], where[first]
