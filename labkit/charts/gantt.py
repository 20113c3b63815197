"""``timeline``: who worked on what, and when – a row a worker, a bar a task."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection

from labkit.charts.chart import (
    BLUE,
    GREY,
    INK,
    LARGE,
    NAME,
    NORMAL,
    ORANGE,
    PAD,
    PALE,
    PURPLE,
    SKY,
    SMALL,
    VERMILLION,
    WIDTH,
    Chart,
    Look,
    Shown,
    called,
    empty,
    fit,
    height_of,
    key_rows,
    listed,
    names_in,
    plural,
    run_names,
    seconds,
    shown,
    some,
    width_of,
)
from labkit.ledger import Kind, Outcome, Span
from labkit.loads import natural

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
LABELS = 1500  # numbers on bars at the most: beyond, nobody reads them
MANY = 3000  # bars beyond which neighbours are drawn as one: they are thinner than a pixel
FINEST = 0.006  # inches: what two bars may be apart and still be drawn as one


def timeline(runs: Any) -> Chart:
    """A row a worker, a bar a task with its number, and what went wrong: crashes, the broker's absence.

    ``runs``: one run or ledger, or several to be put below each other with one time axis. Returns a Chart;
    UsageError for something that is no run.
    """
    panels = [_panel(run) for run in shown(runs)]
    if not any(panel.rows for panel in panels):
        return empty("Nothing happened yet", "No worker was connected and no task was started in this run.")
    if len(panels) == 1:
        title, text, heads = panels[0].message(), panels[0].sentence(), [""]
    else:
        names = run_names([panel.run for panel in panels])
        heads = [f"{name}: {panel.message()}" for name, panel in zip(names, panels, strict=True)]
        text = " ".join(f"{name}: {panel.sentence()}" for name, panel in zip(names, panels, strict=True))
        title = _compared(names, panels)
    return _draw(panels, title, text, heads)


@dataclass
class _Panel:
    """What is to be seen of one run; times in seconds since its first task."""

    run: Shown
    rows: list[str]
    spans: list[Span]
    zero: float
    end: float
    downtimes: list[tuple[float, float]]
    leaves: list[tuple[float, str, Kind]]  # when, who, how
    lives: list[tuple[float, float, str]]  # connected: from, to, who
    lost: list[str]  # labels of lost tasks, in order
    lost_by: dict[str, list[str]] = field(default_factory=dict)  # the same by the worker that had them

    def label(self, task_id: str) -> str:
        task = self.run.ledger.task(task_id)
        return task.label if task is not None else _number(task_id)

    def busy(self) -> dict[str, float]:
        busy = dict.fromkeys(self.rows, 0.0)
        for span in self.spans:
            busy[span.worker] += span.ended - span.started
        return busy

    @property
    def crashed(self) -> list[str]:
        found: list[str] = []
        for _, who, how in self.leaves:
            if how is Kind.CRASHED and who not in found:
                found.append(who)
        return found

    def message(self) -> str:
        """What the title says: the most important thing that happened."""
        counts = self.run.ledger.counts()
        who = (
            f"{called(self.crashed[0])} crashed" if len(self.crashed) == 1 else f"{len(self.crashed)} crashes"
        )
        if counts.lost:
            what = f"{counts.lost:,} of {plural(counts.published, 'task')} lost"
            return f"{who}: {what}" if self.crashed else what
        if self.downtimes:
            away = sum(end - start for start, end in self.downtimes)
            return f"The broker was away for {seconds(away)}, and no task was lost"
        if self.crashed:
            again = sum(span.redelivered for span in self.spans)
            return f"{who}, nothing lost" + (f": {plural(again, 'task')} redelivered" if again else "")
        if not self.spans:
            return f"{plural(len(self.rows), 'worker')}, no task started"
        done = sum(span.how == "finished" for span in self.spans)
        tasks = plural(done, "task") if done else "no task finished"
        title = f"{plural(len(self.rows), 'worker')}, {tasks} in {seconds(self.end)}"
        idle = self._idle()
        return f"{title}; {idle}" if idle else title

    def _idle(self) -> str:
        """The worker that idled most, if that is what one sees."""
        busy = self.busy()
        if len(busy) < 2 or not self.end:
            return ""
        share = {name: value / self.end for name, value in busy.items()}
        least = min(share, key=lambda name: share[name])
        if max(share.values()) - share[least] < 0.25:
            return ""
        return f"{called(least)} idle {1 - share[least]:.0%} of the time"

    def sentence(self) -> str:
        """What is seen, in words."""
        if not self.rows:
            return "No worker was connected."
        busy, done = self.busy(), dict.fromkeys(self.rows, 0)
        for span in self.spans:
            done[span.worker] += span.how == "finished"
        shares = {name: value / max(self.end, 1e-9) for name, value in busy.items()}
        least, most = min(shares.values()), max(shares.values())
        time = f"{least:.0%} of the time" if most - least < 0.02 else f"{least:.0%} to {most:.0%} of the time"
        few = len(self.rows) <= 4
        if len(self.rows) > 1 and len(set(done.values())) == 1 and most - least < 0.02:
            whom = f"each of {listed([called(name) for name in self.rows]) if few else f'{len(self.rows)} workers'}"
            said = f"In {seconds(self.end)}, {whom} did {plural(done[self.rows[0]], 'task')} and was busy {time}."
        elif few:
            parts = [
                f"{called(name)} did {plural(done[name], 'task')} and was busy {shares[name]:.0%} of the time"
                for name in self.rows
            ]
            said = f"In {seconds(self.end)}, {listed(parts)}."
        else:
            fewest, greatest = min(done.values()), max(done.values())
            each = f"{fewest:,} each" if fewest == greatest else f"{fewest:,} to {greatest:,} each"
            said = (
                f"In {seconds(self.end)}, {len(self.rows)} workers did {plural(sum(done.values()), 'task')}, "
                f"{each}, and were busy {time}."
            )
        return " ".join([said, *self._trouble()])

    def _trouble(self) -> Iterable[str]:
        counts = self.run.ledger.counts()
        for start, end in self.downtimes:
            yield f"The broker was away from {seconds(start)} to {seconds(end)}."
        if self.crashed:
            times = {who: at for at, who, how in self.leaves if how is Kind.CRASHED}
            parts = [f"{called(who)} crashed at {seconds(times[who])}" for who in self.crashed[:4]]
            rest = len(self.crashed) - 4
            yield f"{listed(parts + ([f'{rest} more crashed'] if rest > 0 else []))}."
        if again := sorted(
            {self.label(span.task_id) for span in self.spans if span.redelivered}, key=natural
        ):
            verb = "was" if len(again) == 1 else "were"
            yield f"Redelivered {verb} {'task' if len(again) == 1 else 'tasks'} {some(again, 10)}."
        if self.lost:
            verb = "is" if len(self.lost) == 1 else "are"
            yield f"Lost {verb} {'task' if len(self.lost) == 1 else 'tasks'} {some(self.lost, 12)}."
        elif self.crashed or self.downtimes:
            yield "No task was lost."
        if counts.done_twice:
            yield f"{plural(counts.done_twice, 'task was', 'tasks were')} done twice."
        if failed := sum(span.how == "failed" for span in self.spans):
            yield f"{plural(failed, 'attempt')} failed."


def _panel(run: Shown) -> _Panel:
    ledger, spans = run.ledger, run.ledger.spans()
    began = {Kind.PUBLISHED, Kind.STARTED}
    first = next((event.time for event in ledger.events(began)), None)
    leaving = {Kind.CRASHED, Kind.STOPPED, Kind.DISCONNECTED}
    marks = list(ledger.events({Kind.CONNECTED} | leaving))
    zero = first if first is not None else (marks[0].time if marks else 0.0)
    ends = [span.ended for span in spans]
    crashes = [event.time for event in marks if event.kind is Kind.CRASHED]
    downtimes = [(start - zero, end - zero) for start, end in ledger.downtimes()]
    end = max([*ends, *crashes, *(stop + zero for _, stop in downtimes), zero]) - zero
    for span in spans:
        span.delivered, span.started, span.ended = (
            span.delivered - zero, span.started - zero, span.ended - zero,
        )  # fmt: skip
    lives, since = [], {}
    for event in marks:
        if event.worker is None:
            continue
        if event.kind is Kind.CONNECTED:
            since.setdefault(event.worker, event.time - zero)
        elif event.worker in since:
            lives.append((since.pop(event.worker), event.time - zero, event.worker))
    lives += [(start, end, who) for who, start in since.items()]
    names = {span.worker for span in spans} | {who for *_, who in lives}
    panel = _Panel(
        run,
        run.ordered(names),
        spans,
        zero,
        end,
        downtimes,
        [
            (event.time - zero, event.worker, event.kind)
            for event in marks
            if event.kind in leaving and event.worker
        ],
        lives,
        [],
    )
    lost = ledger.task_ids(Outcome.LOST)
    if lost:
        gone, had = set(lost), {}
        for event in ledger.events({Kind.DELIVERED, Kind.REDELIVERED}):
            if event.task_id in gone:
                had[event.task_id] = event.worker
        for task_id in lost:
            panel.lost.append(panel.label(task_id))
            if task_id in had:
                panel.lost_by.setdefault(had[task_id], []).append(panel.label(task_id))
    panel.lost.sort(key=natural)
    return panel


def _number(task_id: str) -> str:
    tail = task_id.rpartition("-")[2]
    return tail if tail.isdecimal() else task_id[:6]


def _compared(names: list[str], panels: list[_Panel]) -> str:
    order = sorted(range(len(panels)), key=lambda at: panels[at].end)
    fast, slow = order[0], order[-1]
    if panels[slow].end < panels[fast].end * 1.1 or not panels[fast].spans:
        return f"{len(panels)} runs on one time axis"
    title = f"{names[fast]} took {seconds(panels[fast].end)}, {names[slow]} {seconds(panels[slow].end)}"
    if len(fit(title, WIDTH - 2 * PAD, LARGE, bold=True)) > 2:
        return (
            f"{len(panels)} runs on one time axis: {seconds(panels[fast].end)} to {seconds(panels[slow].end)}"
        )
    return title


# Drawing.


def _draw(panels: list[_Panel], title: str, text: str, heads: list[str]) -> Chart:
    rows = sum(max(len(panel.rows), 1) for panel in panels)
    row = min(ROW, max(THIN, ROWS / rows))
    width = WIDTH - 2 * PAD
    wrapped = [fit(head, width, NORMAL, bold=True) for head in heads]
    above = [
        len(lines) * height_of(NORMAL) + (0.1 if lines else 0) + (0.34 if panel.downtimes else 0)
        for lines, panel in zip(wrapped, panels, strict=True)
    ]
    heights = [max(len(panel.rows), 1) * row for panel in panels]
    looks = [look for kind, look in LOOKS.items() if any(_group(s) == kind for p in panels for s in p.spans)]
    crashes = any(panel.crashed for panel in panels)
    entries = looks if looks != [LOOKS["done"]] else []
    keys = key_rows(entries, width - (1.4 if crashes else 0)) if entries or crashes else []
    key_height = len(keys) * 0.34 + (0.1 if keys else 0)
    chart = Chart(title, text, body=sum(above) + sum(heights) + AXIS * len(panels) + key_height)
    end = max(panel.end for panel in panels) or 1.0
    names = [name for panel in panels for name in names_in(panel.rows, NAME)]
    room = max(map(width_of, names), default=0) + 0.15
    y = chart.body[3]
    for panel, lines, top, height in zip(panels, wrapped, above, heights, strict=True):
        x0, y0, _, _ = chart.body
        for number, words in enumerate(lines):
            chart.text_at(
                x0, y0 + y - number * height_of(NORMAL), words, NORMAL,
                weight="bold", color=INK, verticalalignment="top",
            )  # fmt: skip
        y -= top + height
        _rows(chart, panel, (room, y, width - room, height), end, row)
        y -= AXIS
    for at, line in enumerate(keys):
        chart.key(line, 0, key_height - 0.34 * (at + 1))
    if crashes:
        x = chart.body[0] + sum(0.5 + width_of(look.label) + 0.35 for look in keys[-1])
        y = chart.body[1] + key_height - 0.34 * len(keys) + 0.1
        _cross(chart, x + 0.12, y)
        chart.text_at(x + 0.35, y, "crash", verticalalignment="center", color=INK)
    return chart


def _cross(chart: Chart, x: float, y: float) -> None:
    w, h = chart.get_figwidth(), chart.get_figheight()
    axes = chart.add_axes(((x - 0.15) / w, (y - 0.15) / h, 0.3 / w, 0.3 / h))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.scatter([0.5], [0.5], marker="X", s=170, color=VERMILLION, edgecolors="white", linewidths=1)


def _group(span: Span) -> str:
    if span.how in ("crashed", "stopped"):
        return "crashed"
    if span.how == "failed":
        return "failed"
    if span.how == "running":
        return "running"
    return "again" if span.redelivered else "done"


def _rows(
    chart: Chart, panel: _Panel, where: tuple[float, float, float, float], end: float, row: float
) -> None:
    left, bottom, width, height = where
    axes = chart.panel(left, bottom, width, height)
    count = max(len(panel.rows), 1)
    axes.set_xlim(0, end * 1.02)
    axes.set_ylim(count, 0)
    axes.set_yticks([])
    inch = end * 1.02 / width  # seconds an inch
    place = {name: at for at, name in enumerate(panel.rows)}
    every = -(-0.24 // row)  # rows from one name to the next: letters are 14 points high
    for at, name in enumerate(names_in(panel.rows, NAME)):
        if at % every == 0:
            _write(axes, -0.1 * inch, at + 0.5, name, horizontalalignment="right")
    lives = [
        [(max(start, 0), place[who] + 0.5), (stop, place[who] + 0.5)] for start, stop, who in panel.lives
    ]
    axes.add_collection(LineCollection(lives, colors=PALE, linewidths=1.5, zorder=0.5))
    for start, stop in panel.downtimes:
        _downtime(chart, axes, start, stop, inch, (left, bottom + height, width))
    groups: dict[str, list[Span]] = {}
    for span in panel.spans:
        groups.setdefault(_group(span), []).append(span)
    for kind, spans in groups.items():
        _bars(axes, kind, spans, place, inch, row)
    _numbers(axes, panel, place, inch, row)
    for at, who, how in panel.leaves:
        if how is Kind.CRASHED and who in place:
            size = min(420.0, (row * 72 * 0.62) ** 2 + 110)
            axes.scatter(
                [at], [place[who] + 0.5], marker="X", s=size, color=VERMILLION, edgecolors="white",
                linewidths=1.2, zorder=5, clip_on=False,
            )  # fmt: skip
            if who in panel.lost_by and row >= 0.24:
                _lost(axes, panel, who, at, place[who], inch, end)
    axes.set_xlabel("seconds since the first task was published", fontsize=SMALL, color=GREY, loc="left")


def _bars(axes: Any, kind: str, spans: list[Span], place: dict[str, int], inch: float, row: float) -> None:
    start = np.array([span.started for span in spans])
    stop = np.maximum([span.ended for span in spans], start + FINEST * inch)
    where = np.array([place[span.worker] for span in spans], dtype=float)
    if len(spans) > MANY:
        start, stop, where = _merged(start, stop, where, FINEST * inch)
    gap = 0.12 if row > 0.3 else 0.08
    low, high = where + gap, where + 1 - gap
    corners = np.stack(
        [np.stack([x, y], axis=1) for x, y in ((start, low), (start, high), (stop, high), (stop, low))],
        axis=1,
    )
    style = LOOKS[kind].style()
    if kind == "done" and np.median(stop - start) / inch < 0.06:
        style["linewidth"] = 0.0 if np.median(stop - start) / inch < 0.02 else 0.3
    axes.add_collection(PolyCollection(corners, zorder=2, **style), autolim=False)


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


def _numbers(axes: Any, panel: _Panel, place: dict[str, int], inch: float, row: float) -> None:
    if row < 0.26:
        return
    fitting = []
    for span in panel.spans:
        wide = (span.ended - span.started) / inch
        if wide < 0.15:
            continue
        label = panel.label(span.task_id)
        needed = width_of(label) + (0.5 if span.how == "crashed" else 0.05)  # the cross takes room, too
        if needed <= wide:
            fitting.append((span, label))
    for span, label in fitting[:LABELS] if len(fitting) <= LABELS else []:
        kind = _group(span)
        box = None
        if LOOKS[kind].hatch:  # letters on a hatch need a quiet ground
            box = {"facecolor": LOOKS[kind].colour, "edgecolor": "none", "pad": 1}
        middle = (span.started + span.ended) / 2
        _write(
            axes, middle, place[span.worker] + 0.5, label, horizontalalignment="center", zorder=4, bbox=box,
            color=INK if kind in LIGHT else "white",
        )  # fmt: skip


def _lost(axes: Any, panel: _Panel, who: str, at: float, row: int, inch: float, end: float) -> None:
    """The numbers of the tasks that were lost with this worker, in the room that its crash left."""
    after = [span.started for span in panel.spans if span.worker == who and span.started > at]
    room = (min([*after, end * 1.02]) - at) / inch - 0.3
    labels = panel.lost_by[who]
    choices = [
        f"lost: {', '.join(labels)}",
        f"lost: {', '.join(labels[:3])} … ({len(labels)})",
        f"{len(labels)} lost",
    ]
    for text in choices:
        if width_of(text, SMALL, True) <= room:
            _write(axes, at + 0.24 * inch, row + 0.5, text, color="#a84300", weight="bold", zorder=4)
            return


def _downtime(
    chart: Chart, axes: Any, start: float, stop: float, inch: float, where: tuple[float, float, float]
) -> None:
    axes.axvspan(start, stop, facecolor="#ececec", edgecolor="#b5b5b5", hatch="\\\\", linewidth=0, zorder=0)
    left, top, width = where
    text = f"broker away {seconds(stop - start)}"
    half = width_of(text, SMALL, True) / 2
    x = chart.body[0] + left + min(max((start + stop) / 2 / inch, half - left), width - half)
    chart.text_at(
        x, chart.body[1] + top + 0.08, text, weight="bold", color=GREY, horizontalalignment="center"
    )


def _write(axes: Any, x: float, y: float, text: str, **style: Any) -> None:
    style = {"verticalalignment": "center_baseline", "fontsize": SMALL, "color": INK, **style}
    axes.text(x, y, text, parse_math=False, **style)
