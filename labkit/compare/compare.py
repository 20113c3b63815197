"""The same tasks run with one strategy after another, and what came of each, in a table."""

from __future__ import annotations

import csv
import html
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from labkit import checks
from labkit.compare import schedule
from labkit.compare.strategy import Strategy
from labkit.errors import UsageError
from labkit.ledger import Kind
from labkit.results.run import Run
from labkit.tasks import Task

if TYPE_CHECKING:
    from labkit.lab import Lab

QUEUE = "compare"


@dataclass(frozen=True)
class Result:
    """What one strategy made of the workload. Times in seconds, from when there were tasks and a worker."""

    strategy: Strategy
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
    def name(self) -> str:
        """The strategy's name."""
        return self.strategy.label

    @property
    def ratio(self) -> float | None:
        """The makespan divided by the greedy schedule's; None for tasks without cost."""
        return self.makespan / self.greedy if self.greedy else None

    @property
    def bound_ratio(self) -> float | None:
        """The makespan divided by the lower bound; None for tasks without cost."""
        return self.makespan / self.bound if self.bound else None


# What the table shows: heading, name in the CSV file, how it is written.
_COLUMNS = (
    ("strategy", "strategy", lambda r: r.name),
    ("done", "done", lambda r: f"{r.done} of {r.published}"),
    ("makespan", "makespan_seconds", lambda r: f"{r.makespan:.2f} s"),
    ("× greedy", "ratio_to_greedy", lambda r: _ratio(r.ratio)),
    ("× bound", "ratio_to_lower_bound", lambda r: _ratio(r.bound_ratio)),
    ("waiting, median", "waiting_median_seconds", lambda r: _seconds(r.waiting_median)),
    ("waiting, 95 %", "waiting_95_percent_seconds", lambda r: _seconds(r.waiting_95)),
    ("spread (Jain)", "spread_jain", lambda r: f"{r.spread:.2f}"),
    ("redelivered", "redelivered", lambda r: f"{r.redelivered}"),
    ("done twice", "done_twice", lambda r: f"{r.done_twice}"),
    ("lost", "lost", lambda r: f"{r.lost}"),
    ("throughput", "throughput_tasks_per_second", lambda r: f"{_short(r.throughput)}/s"),
)


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
        whole = [one for one in self.results if one.done == one.published] or list(self.results)
        best = min(whole, key=lambda one: one.makespan)
        sentence = f"Fastest: {best.name}, {best.makespan:.2f} s"
        if best.ratio is not None:
            sentence += f" ({best.ratio:.2f} times the greedy schedule)"
        slowest = max(whole, key=lambda one: one.makespan)
        if slowest is not best:
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
        rows = [[heading for heading, _, _ in _COLUMNS]]
        rows += [[show(one) for _, _, show in _COLUMNS] for one in self.results]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = [
            "  ".join(
                [
                    row[0].ljust(widths[0]),
                    *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)),
                ]
            ).rstrip()
            for row in rows
        ]
        table.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([*table, self.text])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        cell = 'style="padding:.3em .6em; text-align:{}; white-space:{}"'
        left, right = cell.format("left", "nowrap"), cell.format("right", "nowrap")
        head = f'<th {left} scope="col">{_COLUMNS[0][0]}</th>' + "".join(
            f'<th {cell.format("right", "normal")} scope="col">{html.escape(heading)}</th>'
            for heading, _, _ in _COLUMNS[1:]
        )
        body = "".join(
            f'<tr><th {left} scope="row">{html.escape(one.name)}</th>'
            + "".join(f"<td {right}>{html.escape(show(one))}</td>" for _, _, show in _COLUMNS[1:])
            + "</tr>"
            for one in self.results
        )
        return (
            '<div style="overflow-x:auto; font-size:1.05em"><table style="font-size:1em">'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{html.escape(self.text)}</p></div>"
        )

    def to_csv(self, path: str | Path) -> Path:
        """Write the table to a file of comma-separated values, times in seconds, and return its path."""
        path = Path(path)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(
                [name for _, name, _ in _COLUMNS[:2]] + ["published"] + [n for _, n, _ in _COLUMNS[2:]]
            )
            for one in self.results:
                numbers = (
                    one.makespan, one.ratio, one.bound_ratio, one.waiting_median, one.waiting_95, one.spread,
                    one.redelivered, one.done_twice, one.lost, one.throughput,
                )  # fmt: skip
                writer.writerow(
                    [one.name, one.done, one.published]
                    + ["" if n is None else round(n, 6) if isinstance(n, float) else n for n in numbers]
                )
        return path

    def save(self, directory: str | Path) -> list[Path]:
        """Write the runs, the table and the chart into the directory; returns the files' paths."""
        from labkit import charts  # matplotlib, for those who want a picture

        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        files = [
            one.run.save(directory / f"{number}-{_file_name(one.name)}.jsonl")
            for number, one in enumerate(self.results, start=1)
        ]
        files.append(self.to_csv(directory / "comparison.csv"))
        picture = directory / "comparison.png"
        charts.comparison(self).savefig(picture)
        return [*files, picture]


def compare(
    lab: Lab,
    strategies: Iterable[Strategy],
    workload: Iterable[Task],
    workers: int | Sequence[float] = 2,
    *,
    names: Sequence[str] | None = None,
    seconds_per_dot: float | None = None,
    distance: float = 0.0,
    repeat: int = 1,
    timeout: float = 60,
    loads: bool = True,
) -> Comparison:
    """Run every strategy on the same tasks, in turn, and return what came of each.

    ``workers`` is how many, or the speed of each; ``names`` are theirs. ``seconds_per_dot`` is the lab's if
    it is left away. With a ``distance`` in seconds, all that goes between workers and broker takes so long
    each way. All strategies are run ``repeat`` times, and the fastest run of each counts: what else goes on
    on a machine only ever slows a run down. ``timeout`` in seconds is for one run. ``loads=False`` does
    without the broker's figures, which saves about a second a run.

    UsageError for settings that make no sense; WaitTimeoutError when a run does not come to its end.
    """
    strategies, tasks = list(strategies), list(workload)
    if not strategies or not all(isinstance(one, Strategy) for one in strategies):
        raise UsageError(
            "There are no strategies to compare.",
            do="Give a list, for example [Strategy(), Strategy(prefetch=1)].",
        )
    if not tasks:
        raise UsageError("The workload has no tasks.", do="Give some, for example tasks.alternating(12).")
    if not isinstance(repeat, int) or repeat < 1:
        raise UsageError(f"repeat is {repeat!r}.", do="Use 1 or more.")
    if isinstance(workers, int):
        checks.whole("The number of workers", workers, 0, checks.MOST_WORKERS)  # 0 is refused below, as [] is
    speeds = [1.0] * workers if isinstance(workers, int) else [float(speed) for speed in workers]
    if not speeds:
        raise UsageError("There are no workers.", do="Say how many, or give a list of their speeds.")
    pace = lab.seconds_per_dot if seconds_per_dot is None else seconds_per_dot
    settings = {"names": names, "seconds_per_dot": pace, "distance": distance, "loads": loads}
    rounds = [
        [
            measure(_run(lab, one, tasks, speeds, timeout, settings), one, tasks, speeds, pace)
            for one in strategies
        ]
        for _ in range(repeat)
    ]
    return Comparison(tuple(max(results, key=_merit) for results in zip(*rounds, strict=True)))


def _merit(result: Result) -> tuple[int, float]:
    return result.done, -result.makespan


def _run(
    lab: Lab,
    strategy: Strategy,
    tasks: list[Task],
    speeds: list[float],
    timeout: float,
    settings: dict,
) -> Run:
    queue = lab.queue(QUEUE, type=strategy.queue_type)
    if strategy.publish_first:
        lab.publish(queue, tasks, confirms=strategy.confirms, timeout=timeout)
    lab.workers(
        len(speeds),
        queue,
        speed=speeds,
        ack=strategy.ack,
        prefetch=strategy.prefetch,
        priority=[*strategy.priorities, *[0] * len(speeds)][: len(speeds)] if strategy.priorities else None,
        **settings,
    )
    if not strategy.publish_first:
        lab.publish(queue, tasks, confirms=strategy.confirms, wait=False)
    run = lab.finish(name=strategy.label, timeout=timeout)
    run.about["strategy"] = asdict(strategy)
    return run


def measure(
    run: Run,
    strategy: Strategy,
    workload: Sequence[Task],
    workers: int | Sequence[float],
    seconds_per_dot: float,
) -> Result:
    """What the run's ledger says of the strategy; ``workers`` is how many, or the speed of each."""
    published: dict[str, float] = {}
    first = {Kind.PUBLISHED: math.inf, Kind.CONNECTED: math.inf}
    last, redelivered = 0.0, 0
    for event in run.ledger.events({*first, Kind.FINISHED, Kind.REDELIVERED}):
        if event.kind in first:
            first[event.kind] = min(first[event.kind], event.time)
            if event.kind == Kind.PUBLISHED:
                published.setdefault(event.task_id, event.time)
        elif event.kind == Kind.FINISHED:
            last = max(last, event.time)
        else:
            redelivered += 1
    begin = max((moment for moment in first.values() if moment < math.inf), default=0.0)
    started: dict[str, float] = {}
    for span in run.ledger.spans():
        started.setdefault(span.task_id, span.started)
    busy = run.ledger.busy()
    waited = sorted(
        max(0.0, at - max(published.get(task_id, begin), begin)) for task_id, at in started.items()
    )
    makespan, counts = max(0.0, last - begin), run.counts
    return Result(
        strategy=strategy,
        run=run,
        makespan=makespan,
        greedy=_on_paper(schedule.greedy, workload, workers, seconds_per_dot),
        bound=_on_paper(schedule.lower_bound, workload, workers, seconds_per_dot),
        waiting_median=median(waited) if waited else 0.0,
        waiting_95=waited[math.ceil(0.95 * len(waited)) - 1] if waited else 0.0,
        spread=schedule.jain(list(busy.values())) if busy else 1.0,
        throughput=counts.done / makespan if makespan else 0.0,
        published=counts.published,
        done=counts.done,
        redelivered=redelivered,
        done_twice=counts.done_twice,
        lost=counts.lost,
    )


def _on_paper(function, workload: Sequence[Task], workers, seconds_per_dot: float) -> float:
    if not seconds_per_dot:
        return 0.0
    found = function(workload, workers, seconds_per_dot=seconds_per_dot)
    return found if isinstance(found, float) else found.makespan


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 0.1 else f"{value:.2f} s"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}"


def _file_name(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-") or "run"
