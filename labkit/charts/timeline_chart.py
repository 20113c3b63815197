"""``timeline``: who worked on what, and when – a row a worker, a bar a task.

A strong bar is work. Of a worker whose work is not seen, a pale one is a task that it held, and a thin mark one that
was handed over to it; several at a time lie in lanes within its row.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
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
from labkit.ledger.account import OVER
from labkit.words import plural, seconds

LOOKS = {
    "done": Look("done", BLUE),
    "acknowledged": Look("acknowledged", BLUE),
    "again": Look("redelivered", ORANGE, "//"),
    "crashed": Look("cut off", VERMILLION, "xx"),
    "failed": Look("failed", PURPLE, ".."),
    "rejected": Look("rejected", PURPLE, ".."),
    "running": Look("under way", SKY),
    "held": Look("held", "#dcebf5", "", BLUE),
    "held again": Look("held, redelivered", "#fcecc8", "//", "#b37b00"),
    "back": Look("went back to the queue", "#f4f4f4", "xx", "#8a8a8a"),
    "over": Look("handed over", INK, wide=0.07),
    "over again": Look("handed over, redelivered", "#b37b00", wide=0.07),
}
STRONG = {"done", "acknowledged", "crashed"}  # looks on which the number has to be white
FATES = {
    "finished": "done",
    "stopped": "crashed",
    "handed over": "over",
}  # ends that have another name as looks
AGAIN = {
    "finished": "again",
    "acknowledged": "again",
    "held": "held again",
    "handed over": "over again",
}
CROSSES = {
    False: "crash",
    True: "connection ended without a goodbye",
}  # by whether the worker's work is not seen
ROW, THIN = 0.62, 0.115  # inches: the height of a row when there is room, and at the least
ROWS = 6.4  # inches that all rows may take together
AXIS = 0.72  # inches below the rows for the axis
AWAY_ROOM = 0.34  # inches above the rows, to say how long the broker was away
LANE, LANES = 0.3, 5  # inches a lane has if there is room; what would lie in more of them is drawn as one
CROWD = 16  # workers beyond whom lanes make no row higher
GAP = 0.12  # of a row: above and below its bars
FOOT = 0.22  # of a row: below its bars, for what waits in its client
MARK = 0.05  # inches: how wide the mark of a task that was handed over is
LETTERS = 0.24  # inches: the height of a row with letters of 14 points
LABELS = 1500  # numbers on bars at the most: beyond, nobody reads them
SHORTEST = 0.001  # seconds on the axis
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
    over = any(
        seat.mode == OVER for each in told for seat in each.seats.values()
    )  # who took how long is not seen
    if over or slow.end < fast.end * 1.1 or not fast.spans:
        return f"{len(told)} runs on one time axis"
    title = f"{names[order[0]]} took {seconds(fast.end)}, {names[order[-1]]} {seconds(slow.end)}"
    if len(fit(title, WIDTH - 2 * PAD, LARGE, bold=True)) > 2:
        return f"{len(told)} runs on one time axis: {seconds(fast.end)} to {seconds(slow.end)}"
    return title


def _draw(told: Sequence[History], title: str, text: str, heads: Sequence[str]) -> Chart:
    crowd = sum(len(each.workers) for each in told) > CROWD
    heights = [[1.0] * max(len(each.workers), 1) if crowd else _heights(each) for each in told]
    rows = [sum(each) for each in heights]
    row = min(ROW, max(THIN, ROWS / sum(rows)))
    width = WIDTH - 2 * PAD
    wrapped = [fit(head, width, NORMAL, bold=True) for head in heads]
    above = [
        len(lines) * height_of(NORMAL) + (0.1 if lines else 0) + (AWAY_ROOM if each.downtimes else 0)
        for lines, each in zip(wrapped, told, strict=True)
    ]
    fates = {_fate(span) for each in told for span in each.spans if span.lane is not None}
    fates |= {"held" for each in told for span in each.spans if _waits(span)}
    entries = _entries(fates) if fates != {"done"} else []
    crashes = {each.unseen(who) for each in told for who, _ in each.crashes}
    crash = " / ".join(word for unseen, word in CROSSES.items() if unseen in crashes)
    keys = key_rows(entries, width - (width_of(crash) + 0.6 if crashes else 0)) if entries or crashes else []
    key_height = len(keys) * 0.34 + (0.1 if keys else 0)
    chart = Chart(title, text, body=sum(above) + sum(rows) * row + AXIS * len(told) + key_height)
    end = max(max(each.end for each in told), SHORTEST)
    names = [name for each in told for name in names_in(each.workers, NAME)]
    room = max(map(width_of, names), default=0) + 0.15
    x, bottom, _, y = chart.body
    for each, lines, top, count, tall in zip(told, wrapped, above, rows, heights, strict=True):
        chart.lines_at(x, bottom + y, lines, weight="bold")
        y -= top + count * row
        _Panel(chart, each, (room, y, width - room, count * row), end, tall).draw()
        y -= AXIS
    for at, line in enumerate(keys):
        chart.key(line, 0, key_height - 0.34 * (at + 1))
    if crashes:
        left = sum(look.key_width for look in keys[-1])
        y = key_height - 0.34 * len(keys) + 0.1
        axes = chart.panel(left - 0.03, y - 0.15, 0.3, 0.3)
        axes.set_axis_off()
        _cross(axes, 0, 0, 170, linewidths=1)
        chart.text_at(x + left + 0.35, bottom + y, crash, verticalalignment="center", color=INK)
    return chart


def _fate(span: Span) -> str:
    """Which look the bar has."""
    if span.how in AGAIN and span.redelivered:
        return AGAIN[span.how]
    return FATES.get(span.how, span.how)


def _waits(span: Span) -> bool:
    """Whether it waited in a foreign client, as far as that is known."""
    return span.lane is None or (
        span.how in ("acknowledged", "rejected", "back", "held") and span.delivered < span.started
    )


def _entries(fates: set[str]) -> list[Look]:
    """The key's entries; what looks alike is one."""
    found: dict[Look, list[str]] = {}
    for fate, look in LOOKS.items():
        if fate in fates:
            found.setdefault(replace(look, label=""), []).append(look.label)
    return [replace(look, label=" / ".join(labels)) for look, labels in found.items()]


def _heights(told: History) -> list[float]:
    """How many rows' height each worker's row has."""
    waiting, found = _waiting_at(told), []
    for name, lanes in _lanes(told).items():
        tall = min(lanes, LANES) * LANE / ROW + 2 * GAP + (FOOT if name in waiting else 0)
        found.append(tall if lanes > 1 else 1.0)
    return found or [1.0]


def _waiting_at(told: History) -> set[str]:
    """The workers with whom something waited that they had been sent, as far as that is known."""
    return {span.worker for span in told.spans if _waits(span)}


def _lanes(told: History) -> dict[str, int]:
    """By worker: how many lanes its bars take."""
    found = dict.fromkeys(told.workers, 1)
    for span in told.spans:
        if span.lane:
            found[span.worker] = max(found[span.worker], span.lane + 1)
    return found


def _cross(axes: Any, x: float, y: float, size: float, **style: Any) -> None:
    axes.scatter([x], [y], marker="X", s=size, color=VERMILLION, edgecolors="white", **style)


class _Panel:
    """The rows of one run, on axes of their own; ``where`` in inches within the chart's body."""

    def __init__(
        self,
        chart: Chart,
        told: History,
        where: tuple[float, float, float, float],
        end: float,
        heights: Sequence[float],
    ) -> None:
        self.chart, self.told, self.where = chart, told, where
        _, _, width, height = where
        self.reach = end * 1.02  # seconds on the axis
        self.inch = self.reach / width  # seconds an inch
        self.row = height / sum(heights)  # inches
        edges = [0.0, *itertools.accumulate(heights)]
        self.place = {name: (edges[at] + edges[at + 1]) / 2 for at, name in enumerate(told.workers)}
        self.slots: dict[tuple[str, int], int] = {}  # the lanes of all workers, by number
        self.edges: list[tuple[float, float]] = []  # of each: where its bars begin and end
        self.feet: dict[str, tuple[float, float]] = {}  # by worker: where what waits is drawn
        self.beyond: set[str] = set()  # workers with more lanes than are drawn
        waiting = _waiting_at(told)
        gap = GAP if self.row > 0.3 else 0.08
        for (name, lanes), (top, bottom) in zip(
            _lanes(told).items(), itertools.pairwise(edges), strict=False
        ):
            if lanes > LANES:
                self.beyond.add(name)
                lanes = LANES
            low, high = top + gap, bottom - gap
            if name in waiting:
                self.feet[name] = high - FOOT * 0.8, high
                high -= FOOT
            each = (high - low) / lanes
            between = 0.03 if lanes > 1 else 0
            for lane in range(lanes):
                self.slots[name, lane] = len(self.edges)
                self.edges.append((low + lane * each + between, low + (lane + 1) * each - between))
        self.axes = chart.panel(*where)
        self.axes.set_xlim(0, self.reach)
        self.axes.set_ylim(edges[-1], 0)
        self.axes.set_yticks([])

    def draw(self) -> None:
        last = -LETTERS  # inches from the top
        for name, middle in zip(names_in(self.told.workers, NAME), self.place.values(), strict=True):
            if middle * self.row - last >= LETTERS - 1e-6:
                last = middle * self.row
                write(self.axes, -0.1 * self.inch, middle, name, horizontalalignment="right")
        lives = [
            [(max(start, 0), self.place[who]), (stop, self.place[who])]
            for who, start, stop in self.told.lives
        ]
        self.axes.add_collection(LineCollection(lives, colors=PALE, linewidths=1.5, zorder=0.5))
        for start, stop in self.told.downtimes:
            self._downtime(start, stop)
        groups: dict[str, list[Span]] = {}
        more: list[Span] = []  # in lanes that are not drawn
        for span in self.told.spans:
            if span.lane is not None:
                crowded = span.worker in self.beyond and span.lane >= LANES - 1
                (more if crowded else groups.setdefault(_fate(span), [])).append(span)
        for fate, spans in groups.items():
            self._marks(fate, spans) if fate.startswith("over") else self._bars(fate, spans)
        self._waiting()
        self._more(more)
        self._numbers(
            [span for fate, spans in groups.items() if not fate.startswith("over") for span in spans]
        )
        for who, at in self.told.crashes:
            if who in self.place:
                size = min(420.0, (self.row * 72 * 0.62) ** 2 + 110)
                _cross(self.axes, at, self.place[who], size, linewidths=1.2, zorder=5, clip_on=False)
                if self.row >= LETTERS and not self.told.unseen(who):
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
        slot = np.array([self.slots[span.worker, span.lane or 0] for span in spans])
        if len(spans) > MANY:
            start, stop, slot = _merged(start, stop, slot, FINEST * self.inch)
        low, high = np.array(self.edges)[slot.astype(int)].T
        style = LOOKS[fate].style()
        wide = np.median(stop - start) / self.inch
        if fate in ("done", "acknowledged") and wide < 0.06:
            style["linewidth"] = 0.0 if wide < 0.02 else 0.3
        self._boxes(start, stop, low, high, **style)

    def _boxes(self, start: Any, stop: Any, low: Any, high: Any, **style: Any) -> None:
        corners = np.stack([start, low, start, high, stop, high, stop, low], axis=1).reshape(-1, 4, 2)
        style = {"zorder": 2, **style}
        self.axes.add_collection(PolyCollection(list(corners), **style), autolim=False)

    def _marks(self, fate: str, spans: Sequence[Span]) -> None:
        """A thin mark for each task that was handed over; those close together are counted."""
        for name in dict.fromkeys(span.worker for span in spans):
            mine = [span for span in spans if span.worker == name]
            low, high = self.edges[self.slots[name, 0]]
            middle, room = (low + high) / 2, (high - low) * self.row
            if fate == "over again":  # told apart without colour, too
                low = middle
            groups: list[list[Span]] = []
            for span in mine:
                near = groups and span.started - groups[-1][-1].started < 2 * MARK * self.inch
                groups[-1].append(span) if near else groups.append([span])
            start = np.array([group[0].started for group in groups]) - MARK / 2 * self.inch
            stop = np.array([group[-1].started for group in groups]) + MARK / 2 * self.inch
            ends = np.full(len(groups), low), np.full(len(groups), high)
            style = LOOKS[fate].style() | {"linewidth": 0, "clip_on": False}
            self._boxes(start, stop, *ends, **style)
            if room < LETTERS or len(groups) > LABELS:
                continue
            ahead = sorted(span.started for span in self.told.spans if span.worker == name)
            for group in groups:
                at = group[-1].started
                text = self.told.label(group[0].task_id) if len(group) == 1 else plural(len(group), "task")
                following = ahead[bisect_right(ahead, at) :][:1]
                room = (min([*following, self.reach]) - at) / self.inch - 3 * MARK
                if width_of(text) <= room:
                    write(
                        self.axes, at + 1.5 * MARK * self.inch, middle, text, zorder=4,
                        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
                    )  # fmt: skip

    def _waiting(self) -> None:
        """Below the bars: when a client that does so many at a time held more than these."""
        spans = sorted(
            (
                span.delivered,
                span.ended if span.lane is None else span.started,
                list(self.feet).index(span.worker),
            )
            for span in self.told.spans
            if _waits(span)
        )
        if spans:
            start, stop, where = (np.array(column) for column in zip(*spans, strict=True))
            start, stop, where = _merged(start, stop, where, FINEST * self.inch)
            low, high = np.array(list(self.feet.values()))[where.astype(int)].T
            self._boxes(start, stop, low, high, **LOOKS["held"].style())

    def _more(self, spans: Sequence[Span]) -> None:
        """In the last lane that there is room for: all that would lie in this one and below, and how many."""
        for name in dict.fromkeys(span.worker for span in spans):
            mine = [span for span in spans if span.worker == name]
            low, high = self.edges[self.slots[name, LANES - 1]]
            start, stop, _ = _merged(
                np.array([span.started for span in mine]),
                np.array([span.ended for span in mine]),
                np.zeros(len(mine)),
                FINEST * self.inch,
            )
            ends = np.full(len(start), low), np.full(len(start), high)
            self._boxes(start, stop, *ends, **LOOKS["held"].style())
            for left, right in zip(start, stop, strict=True):
                inside = sorted(
                    (at, step)
                    for span in mine
                    if left <= span.started <= right
                    for at, step in ((span.started, 1), (span.ended, -1))
                )
                text = f"up to {max(itertools.accumulate(step for _, step in inside)):,} more"
                if width_of(text) <= (right - left) / self.inch and (high - low) * self.row >= 0.2:
                    write(
                        self.axes,
                        (left + right) / 2,
                        (low + high) / 2,
                        text,
                        horizontalalignment="center",
                        zorder=4,
                    )

    def _numbers(self, spans: Sequence[Span]) -> None:
        fitting = []
        for span in spans:
            wide = (span.ended - span.started) / self.inch
            low, high = self.edges[self.slots[span.worker, span.lane or 0]]
            if wide >= 0.15 and (high - low) * self.row >= 0.2:
                label = self.told.label(span.task_id)
                if span.how == "back" and span.redelivered:
                    label = f"↻ {label}"
                cross = 0.5 if span.how in ("crashed", "back") else 0.05  # the cross takes room, too
                if width_of(label) + cross <= wide:
                    fitting.append((span, label, (low + high) / 2))
        for span, label, y in fitting if len(fitting) <= LABELS else []:
            fate, middle = _fate(span), (span.started + span.ended) / 2
            box = None
            if LOOKS[fate].hatch:  # letters on a hatch need a quiet ground
                box = {"facecolor": LOOKS[fate].colour, "edgecolor": "none", "pad": 1}
            write(
                self.axes, middle, y, label, horizontalalignment="center",
                zorder=4, bbox=box, color="white" if fate in STRONG else INK,
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
                write(self.axes, x, self.place[who], text, color=ALARM, weight="bold", zorder=4)
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
