"""The rows of a timeline: a worker's bars in its row, several at a time in lanes, with their numbers and marks."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection

from labkit.charts.chart import ALARM, AWAY, GREY, INK, NAME, PALE, Chart, write
from labkit.charts.history import History
from labkit.charts.lettering import SMALL, names_in, width_of
from labkit.charts.timeline_looks import LOOKS, STRONG, cross, fate_of, waits
from labkit.ledger import Span
from labkit.words import plural, seconds

ROW = 0.62  # inches: the height of a row when there is room
LANE, LANES = 0.3, 5  # inches a lane has if there is room; what would lie in more of them is drawn as one
GAP = 0.12  # of a row: above and below its bars
FOOT = 0.22  # of a row: below its bars, for what waits in its client
MARK = 0.05  # inches: how wide the mark of a task that was handed over is
LETTERS = 0.24  # inches: the height of a row with letters of 14 points
LABELS = 1500  # numbers on bars at the most: beyond, nobody reads them
MANY = 3000  # bars beyond which neighbours are drawn as one: they are thinner than a pixel
FINEST = 0.006  # inches: what two bars may be apart and still be drawn as one


def heights(told: History) -> list[float]:
    """How many rows' height each worker's row has."""
    waiting, found = _waiters(told), []
    for name, lanes in _lanes(told).items():
        tall = min(lanes, LANES) * LANE / ROW + 2 * GAP + (FOOT if name in waiting else 0)
        found.append(tall if lanes > 1 else 1.0)
    return found or [1.0]


def _waiters(told: History) -> set[str]:
    """The workers with whom something waited that they had been sent, as far as that is known."""
    return {span.worker for span in told.spans if waits(span)}


def _lanes(told: History) -> dict[str, int]:
    """By worker: how many lanes its bars take."""
    found = dict.fromkeys(told.workers, 1)
    for span in told.spans:
        if span.lane:
            found[span.worker] = max(found[span.worker], span.lane + 1)
    return found


class Rows:
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
        waiting = _waiters(told)
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
                (more if crowded else groups.setdefault(fate_of(span), [])).append(span)
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
                cross(self.axes, at, self.place[who], size, linewidths=1.2, zorder=5, clip_on=False)
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
            if waits(span)
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
                taken = 0.5 if span.how in ("crashed", "back") else 0.05  # the cross takes room, too
                if width_of(label) + taken <= wide:
                    fitting.append((span, label, (low + high) / 2))
        for span, label, y in fitting if len(fitting) <= LABELS else []:
            fate, middle = fate_of(span), (span.started + span.ended) / 2
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
