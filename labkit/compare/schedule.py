"""What would have been best for a workload: round-robin, greedy, and a bound that nothing can beat.

Pure arithmetic, no broker. ``round_robin`` deals strictly in turn, as the broker does without a prefetch
limit; ``greedy`` gives each task to the first free worker, as ``prefetch_count=1`` aims at; ``lower_bound``
is a time below which no schedule at all can finish. A real run can be held against them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from labkit import checks
from labkit.tasks import Task

Choice = Callable[[int, list[float]], int]  # (a task's place, when each worker will be free) -> which worker


@dataclass(frozen=True)
class Share:
    """What one worker gets."""

    tasks: tuple[int, ...]  # places in the workload, counted from 0
    busy: float  # seconds at work
    finish: float  # seconds after the start; 0 if it has nothing to do


@dataclass(frozen=True)
class Schedule:
    """Who does what, and when all is done."""

    shares: tuple[Share, ...]

    @property
    def makespan(self) -> float:
        """Seconds until the last task is finished."""
        return max(share.finish for share in self.shares)

    @property
    def jain(self) -> float:
        """Jain's index of the busy seconds: 1 when all are equally busy, 1/n when one does everything."""
        return jain([share.busy for share in self.shares])

    @property
    def max_over_mean(self) -> float:
        """How many times the mean the busiest worker is busy: 1 when all are equally busy."""
        return max_over_mean([share.busy for share in self.shares])


def jain(values: Sequence[float]) -> float:
    """Jain's fairness index of the values: from 1/n (one has everything) to 1 (all have the same)."""
    largest = max(_values(values))
    if largest == 0:
        return 1.0
    parts = [value / largest for value in values]  # so that tiny and huge values square safely
    return sum(parts) ** 2 / (len(parts) * sum(part * part for part in parts))


def max_over_mean(values: Sequence[float]) -> float:
    """The largest value divided by the mean of all: from 1 (all the same) to n (one has everything)."""
    total = math.fsum(_values(values))
    return max(values) * len(values) / total if total else 1.0


def _values(values: object) -> Sequence[float]:
    """At least one number, none of them below 0; UsageError otherwise."""
    if not isinstance(values, Sequence) or not values:
        raise checks.refused("values", values, "Give a list of numbers, for example [3, 1].")
    for value in values:
        checks.number("A value", value)
    return values


def round_robin(
    workload: Iterable[Task | float], workers: int | Sequence[float], *, seconds_per_dot: float = 1.0
) -> Schedule:
    """Deals the tasks strictly in turn, whoever is busy.

    ``workload``: tasks, or costs in dots, in the order of arrival; a task's ``delay`` counts.
    ``workers``: how many, or the speed of each. Raises UsageError for a value that makes no sense.
    """
    durations, releases, speeds = _understand(workload, workers, seconds_per_dot)
    return _play(durations, releases, speeds, lambda index, free: index % len(speeds))


def greedy(
    workload: Iterable[Task | float], workers: int | Sequence[float], *, seconds_per_dot: float = 1.0
) -> Schedule:
    """Gives each task, in the order of arrival, to the worker that is free first. Arguments as ``round_robin``."""
    durations, releases, speeds = _understand(workload, workers, seconds_per_dot)
    return _play(durations, releases, speeds, lambda index, free: free.index(min(free)))


def lower_bound(
    workload: Iterable[Task | float], workers: int | Sequence[float], *, seconds_per_dot: float = 1.0
) -> float:
    """Seconds that any schedule needs at least; the best one may need more. Arguments as ``round_robin``."""
    durations, releases, speeds = _understand(workload, workers, seconds_per_dot)
    if not durations:
        return 0.0
    speeds = sorted(speeds, reverse=True)
    largest = sorted(durations, reverse=True)
    together = math.fsum(speeds)
    bounds = [release + duration / speeds[0] for release, duration in zip(releases, durations, strict=True)]
    # What arrives from a moment on is at best shared by all workers without a gap.
    rest = list(accumulate(reversed(durations)))
    bounds += [release + work / together for release, work in zip(reversed(releases), rest, strict=True)]
    # The k largest tasks keep at most k workers busy, at best the fastest.
    bounds += [w / s for w, s in zip(accumulate(largest), accumulate(speeds), strict=False)]
    # Of j·n + 1 tasks, one worker does at least j + 1; at best the smallest of them, and the fastest worker.
    for each in range(1, (len(largest) - 1) // len(speeds) + 1):
        last = each * len(speeds) + 1
        bounds.append(math.fsum(largest[last - each - 1 : last]) / speeds[0])
    return max(bounds)


def _play(durations: list[float], releases: list[float], speeds: list[float], choose: Choice) -> Schedule:
    """Runs through the tasks; ``choose(index, free)`` names the worker, given when each will be free."""
    free = [0.0] * len(speeds)
    busy = [0.0] * len(speeds)
    given: list[list[int]] = [[] for _ in speeds]
    for index, (duration, release) in enumerate(zip(durations, releases, strict=True)):
        worker = choose(index, free)
        seconds = duration / speeds[worker]
        free[worker] = max(free[worker], release) + seconds
        busy[worker] += seconds
        given[worker].append(index)
    return Schedule(tuple(Share(tuple(g), b, f) for g, b, f in zip(given, busy, free, strict=True)))


def _understand(
    workload: Iterable[Task | float], workers: int | Sequence[float], seconds_per_dot: float
) -> tuple[list[float], list[float], list[float]]:
    """Durations at speed 1 and release times in seconds, and the speeds."""
    speeds = checks.workers(workers)
    checks.number("seconds_per_dot", seconds_per_dot, above=0, unit="seconds")
    if not isinstance(workload, Iterable):
        raise checks.refused("workload", workload, "Give a list of tasks, or of costs in dots.")
    items = list(workload)
    costs = [
        item.cost if isinstance(item, Task) else checks.number("A cost", item, unit="dots") for item in items
    ]
    releases = list(accumulate(item.delay if isinstance(item, Task) else 0.0 for item in items))
    return [cost * seconds_per_dot for cost in costs], releases, speeds
