"""What a comparison of strategies leaves: a result for each, and all of them as a table."""

from __future__ import annotations

import csv
import html
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from labkit.results.run import Run

WIDTH = 100  # characters that a table in a terminal has at most: what does not fit comes in another below it
NAME = 18  # characters of a strategy's name in a line


@dataclass(frozen=True)
class Result:
    """What one strategy made of the workload. Times in seconds, from when there were tasks and a worker."""

    name: str  # the strategy's
    settings: Mapping[str, Any]  # the strategy's, as ``Strategy(**settings)`` takes them
    run: Run
    makespan: float  # until the last task was finished
    greedy: float  # what the schedule "each task to the first free worker" takes, on paper
    bound: float  # what no schedule at all can beat
    waiting_median: float  # from published to started, for half of the tasks at most
    waiting_95: float  # and for 95 % of them
    spread: float  # Jain's index of the workers' busy seconds: 1 is even, 1/n is one worker alone
    throughput: float  # tasks done a second
    published: int
    done: int
    redelivered: int
    done_twice: int
    lost: int

    @property
    def ratio(self) -> float | None:
        """The makespan divided by the greedy schedule's; None for tasks without cost."""
        return self.makespan / self.greedy if self.greedy else None

    @property
    def bound_ratio(self) -> float | None:
        """The makespan divided by the lower bound; None for tasks without cost."""
        return self.makespan / self.bound if self.bound else None


@dataclass(frozen=True)
class _Figure:
    """A figure of the table."""

    heading: str
    column: str  # its name in the file of comma-separated values
    value: Callable[[Result], float | None]
    shown: Callable[[Result], str]
    means: str = ""


_FIGURES = (
    _Figure("done", "done", lambda r: r.done, lambda r: f"{r.done:,} of {r.published:,}"),
    _Figure(
        "makespan", "makespan_seconds", lambda r: r.makespan, lambda r: f"{r.makespan:.2f} s",
        "from the first task to the end of the last",
    ),
    _Figure(
        "× greedy", "ratio_to_greedy", lambda r: r.ratio, lambda r: _ratio(r.ratio),
        "times the makespan of each task to the first free worker, on paper",
    ),
    _Figure(
        "× bound", "ratio_to_lower_bound", lambda r: r.bound_ratio, lambda r: _ratio(r.bound_ratio),
        "times the makespan that no schedule can beat",
    ),
    _Figure(
        "waiting, median", "waiting_median_seconds", lambda r: r.waiting_median, lambda r: _seconds(r.waiting_median),
        "from published to started",
    ),
    _Figure(
        "waiting, 95 %", "waiting_95_percent_seconds", lambda r: r.waiting_95, lambda r: _seconds(r.waiting_95),
        "95 of 100 tasks waited no longer",
    ),
    _Figure(
        "spread (Jain)", "spread_jain", lambda r: r.spread, lambda r: f"{r.spread:.2f}",
        "1: all workers were equally busy",
    ),
    _Figure("redelivered", "redelivered", lambda r: r.redelivered, lambda r: f"{r.redelivered:,}"),
    _Figure("done twice", "done_twice", lambda r: r.done_twice, lambda r: f"{r.done_twice:,}"),
    _Figure("lost", "lost", lambda r: r.lost, lambda r: f"{r.lost:,}"),
    _Figure(
        "throughput", "throughput_tasks_per_second", lambda r: r.throughput, lambda r: f"{_short(r.throughput)}/s",
        "tasks done each second",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """The results in the order of the strategies: a table in a notebook, text in a terminal."""

    results: tuple[Result, ...]

    @property
    def runs(self) -> list[Run]:
        """The runs, for the charts."""
        return [result.run for result in self.results]

    @property
    def text(self) -> str:
        """In one sentence: which was fastest, and how far the others are behind."""
        if not self.results:
            return "Nothing was compared."
        whole = [one for one in self.results if one.done == one.published] or list(self.results)
        best = min(whole, key=lambda one: one.makespan)
        sentence = f"Fastest: {best.name}, {best.makespan:.2f} s"
        if best.ratio is not None:
            sentence += f" ({best.ratio:.2f} times the greedy schedule)"
        slowest = max(whole, key=lambda one: one.makespan)
        if slowest is not best and best.makespan:
            sentence += f"; slowest: {slowest.name}, {slowest.makespan / best.makespan:.2f} times that"
        incomplete = [one.name for one in self.results if one.done < one.published]
        return sentence + (f". Not all done: {'; '.join(incomplete)}." if incomplete else ".")

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, which: int | str) -> Result:
        """A result by its place, or by its strategy's name."""
        if isinstance(which, int):
            return self.results[which]
        for result in self.results:
            if result.name == which:
                return result
        raise KeyError(f"{which!r}; there are {', '.join(repr(one.name) for one in self.results)}")

    def __str__(self) -> str:
        tables: list[str] = []
        columns: list[list[str]] = []
        for result in self.results:
            column = ["\n".join(textwrap.wrap(result.name, NAME)), *(one.shown(result) for one in _FIGURES)]
            if columns and _wide(_table([*columns, column])) > WIDTH:
                tables.append(_table(columns))
                columns = []
            columns.append(column)
        return "\n\n".join([*tables, *([_table(columns)] if columns else []), self.text])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th style="{_CELL}; vertical-align:bottom" scope="col">{html.escape(one.name)}</th>'
            for one in self.results
        )
        body = "".join(
            f'<tr><th style="{_CELL}; text-align:left" scope="row">{figure.heading}'
            + (f'<div style="font-weight:normal; opacity:.75">{figure.means}</div>' if figure.means else "")
            + "</th>"
            + "".join(
                f'<td style="{_CELL}; white-space:nowrap">{html.escape(figure.shown(one))}</td>'
                for one in self.results
            )
            + "</tr>"
            for figure in _FIGURES
        )
        return (
            '<div style="overflow-x:auto; font-size:1.05em"><table style="font-size:1em">'
            f'<thead><tr><th style="{_CELL}; text-align:left" scope="col">strategy</th>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table><p>{html.escape(self.text)}</p></div>"
        )

    def to_csv(self, path: str | Path) -> Path:
        """Write the table to a file of comma-separated values, times in seconds, and return its path."""
        path = Path(path)
        done, *others = _FIGURES
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["strategy", done.column, "published", *(figure.column for figure in others)])
            for one in self.results:
                values = [figure.value(one) for figure in others]
                writer.writerow(
                    [one.name, one.done, one.published]
                    + ["" if value is None else round(value, 6) for value in values]
                )
        return path


_CELL = "padding:.2em .6em; text-align:right"


def _table(columns: list[list[str]]) -> str:
    """A table in a terminal: a row a figure, a column a strategy."""
    headings = ["strategy", *(figure.heading for figure in _FIGURES)]
    head, *rows = zip(headings, *columns, strict=True)
    align = ("left", *["right"] * len(columns))
    return tabulate(rows, head, "simple", colalign=align, disable_numparse=True)


def _wide(table: str) -> int:
    return max(map(len, table.splitlines()))


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 0.1 else f"{value:.2f} s"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}"
