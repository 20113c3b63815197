"""The same tasks run with one strategy after another, and what is measured of each run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from labkit import checks
from labkit.compare import schedule
from labkit.compare.strategy import Strategy
from labkit.ledger import Kind
from labkit.results.comparison import Comparison, Result
from labkit.results.run import Run
from labkit.tasks import Task

QUEUE = "compare"


class Bench(Protocol):
    """What is needed of a lab."""

    seconds_per_dot: float

    def queue(self, name: str, *, type: str) -> str: ...

    def workers(self, count: int, queue: str, **settings: Any) -> object: ...

    def publish(self, queue: str, workload: Iterable[Task], **settings: Any) -> object: ...

    def finish(self, *, name: str, timeout: float) -> Run: ...


def compare(
    lab: Bench,
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
    it is omitted. With a ``distance`` in seconds, all that goes between workers and broker takes so long
    each way. All strategies are run ``repeat`` times, and the fastest run of each counts: what else goes on
    on a machine only ever slows a run down. ``timeout`` in seconds is for one run. ``loads=False`` does
    without the broker's figures, which saves about a second a run.

    UsageError for settings that make no sense; WaitTimeoutError when a run does not come to its end.
    """
    strategies = _several("strategies", strategies, Strategy, "[Strategy(), Strategy(prefetch=1)]")
    tasks = _several("workload", workload, Task, "tasks.alternating(12)")
    checks.whole("repeat", repeat, 1)
    speeds = checks.workers(workers)
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


def _several(what: str, value: Any, kind: type, example: str) -> list[Any]:
    """A list of at least one thing of this kind; UsageError otherwise."""
    found = list(value) if isinstance(value, Iterable) else []
    if not found or not all(isinstance(one, kind) for one in found):
        raise checks.refused(what, value, f"Give a list, for example {example}.")
    return found


def _merit(result: Result) -> tuple[int, float]:
    return result.done, -result.makespan


def _run(
    lab: Bench,
    strategy: Strategy,
    tasks: list[Task],
    speeds: list[float],
    timeout: float,
    settings: dict[str, Any],
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
            if event.kind == Kind.PUBLISHED and event.task_id:
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
    greedy = bound = 0.0
    if seconds_per_dot:
        greedy = schedule.greedy(workload, workers, seconds_per_dot=seconds_per_dot).makespan
        bound = schedule.lower_bound(workload, workers, seconds_per_dot=seconds_per_dot)
    return Result(
        name=strategy.label,
        settings=asdict(strategy),
        run=run,
        makespan=makespan,
        greedy=greedy,
        bound=bound,
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


def save(comparison: Comparison, directory: str | Path) -> list[Path]:
    """Write the runs, the table (CSV) and the chart into the directory; returns the files' paths."""
    from labkit import charts  # matplotlib, for those who want a picture

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    files = [
        one.run.save(directory / f"{number}-{_file_name(one.name)}.jsonl")
        for number, one in enumerate(comparison, start=1)
    ]
    files.append(comparison.to_csv(directory / "comparison.csv"))
    picture = directory / "comparison.png"
    charts.comparison(comparison).savefig(picture)
    return [*files, picture]


def _file_name(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-") or "run"
