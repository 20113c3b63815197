"""``comparison``: the same tasks with one strategy after another, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from labkit import checks
from labkit.charts.chart import (
    BLUE,
    GREEN,
    GREY,
    INK,
    NAME,
    ORANGE,
    VERMILLION,
    Chart,
    Look,
    bare,
    empty,
    write,
)
from labkit.charts.drawable import shown
from labkit.charts.lettering import SMALL, fit, height_of, width_of
from labkit.errors import UsageError
from labkit.ledger.seat import OVER, done_word
from labkit.words import called, listed, plural, seconds

TIME = Look("makespan", BLUE)
BUSY = Look("workers busy", GREEN, "//")
LOST = Look("lost", VERMILLION, "xx")
TWICE = Look("done twice", ORANGE, "\\\\")
ROW, TIGHT = 0.78, 0.62  # inches: two lines of letters and some air; with less of it
ROOMY = 6  # strategies that have room for the air
HEAD = 0.45  # inches above the rows for what the columns are
COLUMNS = (("workers busy", 1.6), ("lost", 0.6), ("done twice", 1.1))  # inches; makespan has the rest
GUTTER = 0.26  # inches between two columns
MOST = 6  # strategies that the sentence names one by one
NEAR = 1.05  # within this factor of the best possible is as good as it


def comparison(runs: Any, ideal: float | Sequence[float] | Mapping[str, float] | None = None) -> Chart:
    """A row a strategy: its makespan, how busy its workers were, what was lost and what was done twice.

    ``runs``: what ``compare()`` returned, a list of runs, or a dictionary of runs by name. ``ideal`` is the
    best possible makespan in seconds, for all of them, one each, or by name; a comparison brings its own (the
    greedy schedule's). Returns a Chart; UsageError for something else.
    """
    rows = _rows(runs, ideal)
    timed = [row for row in rows if row.makespan > 0]
    if not timed:
        return empty("There is nothing to compare yet", "No task was finished in any of these runs.")
    names = [fit(row.name, NAME) for row in rows]
    names = [lines[:2] if len(lines) <= 2 else [lines[0], lines[1] + " …"] for lines in names]
    room = max(width_of(line) for lines in names for line in lines) + 0.2
    row = ROW if len(rows) <= ROOMY else TIGHT
    head_height = HEAD + (0.3 if any(one.ideal for one in rows) else 0)
    chart = Chart(_title(timed), _sentence(rows), body=head_height + row * len(rows) + 0.1)
    rest = sum(width for _, width in COLUMNS) + GUTTER * len(COLUMNS)
    widths = [chart.body[2] - room - rest, *(width for _, width in COLUMNS)]
    heads = [TIME.label, *(head for head, _ in COLUMNS)]
    if any(one.doing != "busy" for one in rows):
        heads[1] = "held tasks" if {one.doing for one in rows} == {"holding tasks"} else "busy / held"
    if _word(rows) != "done":
        heads[3] = "twice"
    x, y, _, whole = chart.body
    for at, lines in enumerate(names):
        middle = y + whole - head_height - (at + 0.5) * row
        for number, line in enumerate(lines):
            up = ((len(lines) - 1) / 2 - number) * height_of(SMALL)
            chart.text_at(
                x + room - 0.15, middle + up, line, color=INK, horizontalalignment="right",
                verticalalignment="center_baseline",
            )  # fmt: skip
    left = room
    for at, (width, head) in enumerate(zip(widths, heads, strict=True)):
        chart.text_at(x + left, y + whole - 0.3, head, weight="bold", color=INK)
        axes = chart.panel(left, 0.1, width, row * len(rows))
        axes.set_ylim(len(rows), 0)
        bare(axes, left=at == 0)
        if at == 0:
            _makespans(chart, axes, rows, width, (x + left, y + whole - 0.62), row)
        elif at == 1:
            _busy(axes, rows)
        else:
            look = LOST if at == 2 else TWICE
            _numbers(axes, [row.lost if at == 2 else row.twice for row in rows], look, width)
        left += width + GUTTER
    return chart


@dataclass(frozen=True)
class _Row:
    name: str
    makespan: float  # seconds
    ideal: float | None  # seconds
    busy: tuple[float, ...]  # by worker: the share of the makespan that it worked
    published: int
    done: int
    lost: int
    twice: int
    handed_over: int
    word: str  # for what was done, as far as that is known
    doing: str  # what its workers did in their share of the time

    @property
    def ratio(self) -> float | None:
        return self.makespan / self.ideal if self.ideal and self.makespan else None


def _rows(runs: Any, ideal: Any) -> list[_Row]:
    results = getattr(runs, "results", None)  # a Comparison
    if results is not None:
        times = [one.makespan for one in results]
        ideals = [one.greedy or None for one in results] if ideal is None else None
        runs = [one.run for one in results]
    else:
        times, ideals = None, None
    panels = shown(runs)
    named = [panel.name or f"run {at}" for at, panel in enumerate(panels, 1)]
    if ideals is None:
        ideals = _ideals(ideal, named)
    rows = []
    for at, (panel, name) in enumerate(zip(panels, named, strict=True)):
        counts = panel.ledger.counts()
        makespan = panel.ledger.makespan() if times is None else times[at]
        seats, busy = panel.ledger.seats(), panel.ledger.busy()
        busy = {name: value for name, value in busy.items() if seats[name].mode != OVER}
        shares = tuple(min(value / makespan, 1.0) for value in busy.values()) if makespan else ()
        foreign = {seats[name].foreign for name in busy}
        doing = (
            "busy"
            if True not in foreign
            else "holding tasks"
            if len(foreign) == 1
            else "busy or holding tasks"
        )
        rows.append(
            _Row(
                name,
                makespan,
                ideals[at],
                shares,
                counts.published,
                counts.done,
                counts.lost,
                counts.done_twice,
                counts.handed_over,
                done_word(seats.values()),
                doing,
            )
        )
    return rows


def _ideals(ideal: Any, names: list[str]) -> list[float | None]:
    """The best possible time of each run, where there is one."""
    if isinstance(ideal, Mapping):
        ideal = [ideal.get(name) for name in names]
    elif not isinstance(ideal, Sequence) or isinstance(ideal, str):
        ideal = [ideal] * len(names)
    if len(ideal) != len(names):
        raise UsageError(
            f"There are {len(names)} runs and {len(ideal)} best possible times.",
            do="Give one for all, or one each.",
            field="ideal",
        )
    return [None if one is None else checks.number("ideal", one, unit="seconds") for one in ideal]


# In words.


def _complete(rows: Sequence[_Row]) -> list[_Row]:
    return [row for row in rows if row.done == row.published]


def _word(rows: Sequence[_Row]) -> str:
    """The word for what was done that is true of every row."""
    words = {row.word for row in rows if row.done}
    return "done or acknowledged" if len(words) > 1 else words.pop() if words else "done"


def _title(rows: Sequence[_Row]) -> str:
    complete = _complete(rows)
    if not complete:
        word = _word(rows)
        return (
            f"In none of these were all tasks {word}"
            if word != "done"
            else "None of these did all of their tasks"
        )
    best = min(complete, key=lambda row: row.makespan)
    others = [row for row in complete if row is not best]
    if len(rows) == 1:
        return f"{called(best.name)} took {seconds(best.makespan)}"
    if not others:
        if (word := _word(rows)) != "done":
            return f"Only in {called(best.name)} were all tasks {word}"
        return f"Only {called(best.name)} did all of its tasks"
    even = [row for row in others if row.makespan <= best.makespan * NEAR]
    if len(even) == len(others):
        return "All took about the same time"
    title = f"{called(best.name)} was fastest: {seconds(best.makespan)}"
    if best.ratio is not None:
        close = "about the best possible" if best.ratio <= NEAR else f"{best.ratio:.1f} × the best possible"
        title += f", {close}"
    return title


def _sentence(rows: Sequence[_Row]) -> str:
    parts, told = [], list(rows)
    if len(rows) > MOST:
        complete = sorted(_complete(rows) or rows, key=lambda row: row.makespan)
        told = [complete[0], complete[-1]]
    for row in told:
        if not row.makespan:
            known = "acknowledged" if row.handed_over or row.word != "done" else "finished"
            parts.append(f"{called(row.name)} {known} nothing")
            continue
        part = f"{called(row.name)} took {seconds(row.makespan)}"
        if row.ratio is not None:
            part += f" ({row.ratio:.1f} times the best possible)"
        parts.append(part + (f" with its workers {row.doing} {_share(row.busy)}" if row.busy else ""))
    said = f"{'; '.join(parts)}."
    if len(rows) > MOST:
        said = f"Fastest and slowest of {len(rows)}: {said}"
    for row in [row for row in rows if row.done + row.handed_over < row.published][:MOST]:
        did = f"{row.done:,} of {plural(row.published, 'task')}"
        said += f" {called(row.name)} {f'did {did}' if row.word == 'done' else f'had {did} {row.word}'}."
    word = _word(rows)
    twice = (f"{word.capitalize()} twice", [row.twice for row in rows])
    for what, values in (("Lost", [row.lost for row in rows]), twice):
        counted = [
            f"{value:,} with {called(row.name)}" for row, value in zip(rows, values, strict=True) if value
        ]
        said += f" {what}: {listed(counted)}." if counted else ""
    if handed := [f"{row.handed_over:,} with {called(row.name)}" for row in rows if row.handed_over]:
        said += f" Handed over, fate unknown: {listed(handed)}."
    if not any(row.lost or row.twice or row.handed_over for row in rows):
        known = "was" if word == "done" else "is known to be"
        said += f" Nothing {known} lost, and nothing {'' if word == 'done' else 'was '}{word} twice."
    return said


def _share(busy: Sequence[float]) -> str:
    low, high = f"{min(busy):.0%}", f"{max(busy):.0%}"
    return low if low == high else f"{low} to {high}"


# Drawing.


def _makespans(
    chart: Chart, axes: Axes, rows: Sequence[_Row], width: float, corner: tuple[float, float], height: float
) -> None:
    labels = [
        [seconds(row.makespan) if row.makespan else "not known" if row.handed_over else f"not {row.word}"]
        for row in rows
    ]
    for row, lines in zip(rows, labels, strict=True):
        if row.done < row.published:
            over = row.done + row.handed_over == row.published
            lines.append(
                f"{row.handed_over:,} handed over"
                if over
                else f"{row.done:,} of {row.published:,} {row.word}"
            )
        elif row.ratio is not None:
            lines.append(f"{row.ratio:.1f} × best")
    after = max(width_of(line, SMALL, bold=True) for lines in labels for line in lines) + 0.25
    most = max(max(row.makespan, row.ideal or 0) for row in rows)
    inch = most / max(width - after, 0.6)
    axes.set_xlim(0, width * inch)
    fastest = min((row.makespan for row in _complete(rows) if row.makespan), default=None)
    for at, (row, lines) in enumerate(zip(rows, labels, strict=True)):
        axes.barh(at + 0.5, row.makespan, height=0.62, **TIME.style())
        reach = max(row.makespan, row.ideal or 0) + 0.1 * inch
        for number, line in enumerate(lines):
            up = ((len(lines) - 1) / 2 - number) * 0.27 / height
            best = row.makespan == fastest and number == 0
            write(
                axes, reach, at + 0.5 - up, line, weight="bold" if best else "normal",
                color=INK if number == 0 else GREY,
            )  # fmt: skip
        if row.ideal:
            axes.plot([row.ideal] * 2, [at + 0.02, at + 0.98], color="white", linewidth=5, zorder=3)
            axes.plot(
                [row.ideal] * 2, [at, at + 1], color=INK, linestyle=(0, (3, 1.5)), linewidth=2, zorder=4
            )
    ideals = {row.ideal for row in rows if row.ideal}
    if ideals:
        text = f"┆ best possible {seconds(ideals.pop())}" if len(ideals) == 1 else "┆ best possible"
        chart.text_at(*corner, text, color=GREY)


def _busy(axes: Axes, rows: Sequence[_Row]) -> None:
    """A little bar for each worker: uneven ones are uneven work."""
    axes.set_xlim(0, 1)
    for at, row in enumerate(rows):
        if not row.busy:
            continue
        text = _share(row.busy)
        write(axes, 0, at + 0.26, text)
        each = 0.46 / len(row.busy)
        style = {**BUSY.style(), "linewidth": 0.8 if len(row.busy) <= 8 else 0}
        style["hatch"] = BUSY.hatch if len(row.busy) <= 4 else ""
        for number, share in enumerate(row.busy):
            y = at + 0.48 + number * each
            axes.barh(y, 1, height=each * 0.9, align="edge", facecolor="#ececec", linewidth=0)
            axes.barh(y, share, height=each * 0.9, align="edge", **style)


def _numbers(axes: Axes, values: Sequence[int], look: Look, width: float) -> None:
    axes.set_xlim(0, width)
    for at, value in enumerate(values):
        text = f"{value:,}"
        if value:
            wide = min(max(width_of(text, 16, bold=True) + 0.3, 0.5), width)
            axes.barh(at + 0.5, wide, height=0.62, **look.style())
            write(
                axes, wide / 2, at + 0.5, text, fontsize=16, weight="bold", horizontalalignment="center",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            )  # fmt: skip
        else:
            write(axes, 0.25, at + 0.5, "0", color=GREY, horizontalalignment="center")
