"""``loads``: what the broker counted for every worker, as bars."""

from __future__ import annotations

from typing import Any

from labkit.charts.chart import (
    BLUE,
    GREEN,
    GREY,
    INK,
    NAME,
    ORANGE,
    PAD,
    VERMILLION,
    WIDTH,
    Chart,
    Look,
    bare,
    empty,
    write,
)
from labkit.charts.drawable import Shown, by_name, run_names, shown
from labkit.charts.lettering import LARGE, NORMAL, fit, height_of, names_in, width_of
from labkit.ledger import Kind
from labkit.loads import Load
from labkit.words import called, listed, plural

LOOKS = {
    "delivered": Look("delivered", BLUE),
    "acknowledged": Look("acknowledged", GREEN, "//"),
    "redelivered": Look("redelivered", ORANGE, "\\\\"),
    "unacknowledged": Look("unacknowledged", VERMILLION, "xx"),
}
COUNTED = "messages, as the broker counted"
BAR, GAP = 0.3, 0.24  # inches: a bar, and the room between two workers
ROOMY = 8  # workers that get a bar for each figure; more of them share their room
COLUMN = 16  # workers one below the other, when there are many
AXIS = 0.6  # inches below the bars, to say what they count


def loads(runs: Any) -> Chart:
    """A bar for what the broker delivered to each worker, and for what it got back.

    ``runs``: one run, or several to be put side by side with one scale. The figures are the management
    API's; the sentence says whether the ledger agrees with them. Returns a Chart; UsageError for something
    that is no run.
    """
    panels = shown(runs)
    given = [panel for panel in panels if panel.loads.final]
    if not given:
        there = any(panel.ledger.workers for panel in panels)
        nobody = (
            "It was not asked while they were there." if there else "No worker was there when it was asked."
        )
        why = panels[0].loads.problem or nobody
        return empty("There are no loads to show", f"The broker gave no figures for any worker: {why}")
    return _one(panels[0]) if len(panels) == 1 else _several(panels)


def _rows(panel: Shown) -> list[Load]:
    return [panel.loads.final[name] for name in panel.ordered(panel.loads.final)]


def _present(panels: list[Shown]) -> list[str]:
    """Which figures have a bar: deliveries always, the others where there are any."""
    every = [load for panel in panels for load in _rows(panel)]
    return [what for what in LOOKS if what == "delivered" or any(getattr(load, what) for load in every)]


def _message(panel: Shown) -> str:
    rows = _rows(panel)
    if not rows:
        return "no figures"
    counts = [load.delivered for load in rows]
    again = any(load.redelivered for load in rows)
    noun = ("delivery", "deliveries") if again else ("task", None)
    workers = plural(len(rows), "worker")
    if not any(counts):
        return f"{workers}, nothing delivered"
    if len(rows) == 1:
        return f"1 worker, {plural(counts[0], *noun)}"
    if min(counts) == max(counts):
        return f"{workers}, {plural(counts[0], *noun)} each"
    busy = [load for load in rows if load.delivered]
    if len(busy) == 1:
        idle = [called(load.worker) for load in rows if not load.delivered]
        many = busy[0].delivered
        got = f"the only {noun[0]}" if many == 1 else f"all {plural(many, *noun)}"
        return f"{called(busy[0].worker)} got {got}, {idle[0] if len(idle) == 1 else 'the others'} none"
    if len(rows) <= 3:
        first, *rest = rows
        others = ", ".join(f"{called(load.worker)} {load.delivered:,}" for load in rest)
        return f"{called(first.worker)} got {plural(first.delivered, *noun)}, {others}"
    return f"{workers}, {min(counts):,} to {max(counts):,} {noun[1] or 'tasks'} each"


def _sentence(panel: Shown) -> str:
    rows = _rows(panel)
    if not rows:
        return f"The broker gave no figures. {panel.loads.problem}".rstrip()
    counts = [load.delivered for load in rows]
    names = [called(load.worker) for load in rows]
    if not any(counts):
        said = (
            f"The broker delivered nothing to {listed(names) if len(names) <= 4 else f'{len(names)} workers'}"
        )
    elif len(rows) > 1 and min(counts) == max(counts):
        whom = f"each of {listed(names)}" if len(names) <= 4 else f"each of {len(names)} workers"
        said = f"The broker delivered {counts[0]:,} to {whom}"
    elif len(rows) <= 6:
        said = "The broker delivered " + listed(
            [f"{load.delivered:,} to {called(load.worker)}" for load in rows]
        )
    else:
        least, most = min(rows, key=lambda one: one.delivered), max(rows, key=lambda one: one.delivered)
        said = (
            f"The broker delivered {sum(counts):,} to {len(rows)} workers, from {least.delivered:,} "
            f"to {called(least.worker)} up to {most.delivered:,} to {called(most.worker)}"
        )
    if held := [load for load in rows if load.unacknowledged]:
        whose = listed([f"{called(load.worker)} holds {load.unacknowledged:,}" for load in held[:4]])
        said += f"; {whose} unacknowledged"
    if gone := [called(load.worker) for load in rows if load.stale]:
        said += f"; {listed(gone[:4]) if len(gone) <= 4 else len(gone)} left before the end"
    said += "."
    if any(True for _ in panel.ledger.events({Kind.DELIVERED, Kind.REDELIVERED})):
        said += f" {panel.loads.reconcile(panel.ledger).sentence}"
    return said


def _one(panel: Shown) -> Chart:
    if len(_rows(panel)) > ROOMY:
        return _many(panel, _message(panel))
    height = _height(panel)
    chart = Chart(_message(panel), _sentence(panel), body=height + AXIS)
    _panel(chart, panel, (0, AXIS, chart.body[2], height), _Scale([panel], chart.body[2]))
    return chart


def _several(panels: list[Shown]) -> Chart:
    names = run_names(panels)
    text = " ".join(by_name(panels, map(_sentence, panels)))
    messages = by_name(panels, map(_message, panels))
    title, heads = "; ".join(messages), names
    if len(fit(title, WIDTH - 2 * PAD, LARGE, bold=True)) > 2:
        title, heads = f"The loads of {len(panels)} runs, on one scale", messages
    side_by_side = len(panels) in (2, 4) and all(len(_rows(panel)) <= ROOMY for panel in panels)
    columns = 2 if side_by_side else 1
    gutter = 0.4
    width = (WIDTH - 2 * PAD - gutter * (columns - 1)) / columns
    wrapped = [fit(head, width, NORMAL, bold=True) for head in heads]
    lines = [range(at, min(at + columns, len(panels))) for at in range(0, len(panels), columns)]
    tops = [max(len(wrapped[at]) for at in line) * height_of(NORMAL) + 0.1 for line in lines]
    heights = [max(_height(panels[at]) for at in line) for line in lines]
    chart = Chart(title, text, body=sum(tops) + sum(heights) + AXIS * len(lines))
    scale = _Scale(panels, width)
    y = chart.body[3]
    for line, top, height in zip(lines, tops, heights, strict=True):
        y -= top + height + AXIS
        for place, at in enumerate(line):
            left, own = place * (width + gutter), _height(panels[at])
            _panel(chart, panels[at], (left, y + AXIS + height - own, width, own), scale)
            above = chart.body[1] + y + AXIS + height + top
            chart.lines_at(chart.body[0] + left, above, wrapped[at], weight="bold")
    return chart


def _height(panel: Shown) -> float:
    return max(len(_rows(panel)), 1) * (len(_present([panel])) * BAR + GAP)


def _most(panels: list[Shown]) -> int:
    return max((load.delivered for panel in panels for load in _rows(panel)), default=0)


class _Scale:
    """How panels share their ``width``: room for names, inches a message, room for the figures."""

    def __init__(self, panels: list[Shown], width: float) -> None:
        self.limit = min(NAME, width * 0.4)
        names = [names_in([_label(load) for load in _rows(panel)], self.limit) for panel in panels]
        self.room = max((width_of(name) for each in names for name in each), default=0) + 0.15
        labels = [f"{_most(panels):,} {LOOKS[what].label}" for what in _present(panels)]
        bars = max(width - self.room - max(map(width_of, labels)) - 0.15, 0.4)
        self.most = max(_most(panels), 1)
        self.inch = self.most / bars  # messages an inch


def _panel(chart: Chart, panel: Shown, where: tuple[float, float, float, float], scale: _Scale) -> None:
    left, bottom, width, height = where
    rows, present = _rows(panel), _present([panel])
    names = names_in([_label(load) for load in rows], scale.limit)
    axes = _axes(chart, left + scale.room, bottom, width - scale.room, height, scale.inch)
    step = len(present) * BAR + GAP
    for at, load in enumerate(rows):
        write(axes, -0.1 * scale.inch, (at + 0.5) * step, names[at], horizontalalignment="right")
        for number, what in enumerate(present):
            value = getattr(load, what)
            y = at * step + GAP / 2 + number * BAR
            if value:
                axes.barh(y, value, height=BAR * 0.92, align="edge", **LOOKS[what].style())
            label = f"{value:,} {LOOKS[what].label}"
            write(axes, value + 0.08 * scale.inch, y + BAR / 2, label, color=INK if value else GREY)
    if not rows:
        write(axes, 0.1 * scale.inch, height / 2, "no figures", color=GREY)
    x, y, _, _ = chart.body
    x += left + min(scale.room, width - width_of(COUNTED))
    chart.text_at(x, y + bottom - 0.28, COUNTED, color=GREY)


def _many(panel: Shown, title: str) -> Chart:
    """More workers than have room for a bar each for every figure: one bar each, in columns."""
    rows = _rows(panel)
    columns = -(-len(rows) // COLUMN)
    per = -(-len(rows) // columns)
    row, gutter, foot = 0.31, 0.16, AXIS
    both = any(load.unacknowledged or 0 < load.acknowledged != load.delivered for load in rows)
    chart = Chart(title, _sentence(panel), body=per * row + foot)
    width = (chart.body[2] - gutter * (columns - 1)) / columns
    values = [f"{load.delivered:,}" + (f" / {load.acknowledged:,}" if both else "") for load in rows]
    after = max(map(width_of, values)) + 0.15
    limit = min(NAME, width - after - 0.4)
    names = names_in([_label(load) for load in rows], limit)
    room = max(map(width_of, names)) + 0.12
    inch = max(_most([panel]), 1) / (width - room - after)
    for column in range(columns):
        part = range(column * per, min((column + 1) * per, len(rows)))
        axes = _axes(chart, column * (width + gutter) + room, foot, width - room, per * row, inch)
        for place, at in enumerate(part):
            load, middle = rows[at], (place + 0.5) * row
            write(axes, -0.08 * inch, middle, names[at], horizontalalignment="right")
            if load.delivered:
                axes.barh(middle, load.delivered, height=row * 0.8, **LOOKS["delivered"].style())
            if both and load.acknowledged:
                axes.barh(middle, load.acknowledged, height=row * 0.45, **LOOKS["acknowledged"].style())
            write(axes, load.delivered + 0.06 * inch, middle, values[at])
    if both:
        chart.key([LOOKS["delivered"], Look("/ acknowledged", GREEN, "//")], 0, 0.25)
    else:
        chart.text_at(*chart.body[:2], COUNTED, color=GREY)
    return chart


def _axes(chart: Chart, left: float, bottom: float, width: float, height: float, inch: float) -> Any:
    """Axes whose rows go down in inches, with ``inch`` messages an inch across."""
    axes = chart.panel(left, bottom, width, height)
    axes.set_xlim(0, width * inch)
    axes.set_ylim(height, 0)
    bare(axes)
    return axes


def _label(load: Load) -> str:
    return f"{load.worker} (left)" if load.stale else load.worker
