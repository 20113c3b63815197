"""Two ways to do the same, measured in turns: the ratio of each round, and the median of these.

A machine is never quiet, and what disturbs it comes and goes. So the two are run close together, A B B A, and
only they are held against each other. Processor time is given beside time by the clock: it is what the process
itself used, and hardly depends on what else runs.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median


@dataclass
class Took:
    """What one run took, in seconds; ``cpu`` is processor time of this process, but for its main thread.

    The main thread only looks whether all is done, and more often the longer that takes.
    """

    count: int  # messages
    seconds: float = 0.0
    cpu: float = 0.0


@contextmanager
def clock(count: int) -> Iterator[Took]:
    """Measures the block, which does ``count`` messages."""
    gc.collect()  # what the run before left behind is not this run's
    took = Took(count)
    began, cpu = time.perf_counter(), _others()
    yield took
    took.seconds, took.cpu = time.perf_counter() - began, max(_others() - cpu, 1e-9)


def _others() -> float:
    """Seconds of processor time that the threads of this process took, without the one that asks."""
    return time.process_time() - time.thread_time()


@dataclass(frozen=True)
class Ratio:
    """How fast the lab is beside something else that does the same: above 1 it is faster."""

    name: str
    other: str  # what it is held against
    rate: float  # messages a second, the lab's, median
    other_rate: float
    ratio: float  # of the rates, by the clock: the median of the rounds'
    low: float  # the lowest and the highest of the rounds'
    high: float
    cpu: float  # microseconds of processor time a message, the lab's, median
    other_cpu: float
    cpu_ratio: float  # the other's processor time divided by the lab's
    rounds: int
    goal: float

    @property
    def met(self) -> bool:
        """Whether the goal is reached by the clock."""
        return self.ratio >= self.goal


@dataclass(frozen=True)
class Figure:
    """One measured number, and the most that it may be (None: it is only told)."""

    name: str
    value: float
    unit: str
    limit: float | None = None

    @property
    def met(self) -> bool:
        """Whether it is within its limit."""
        return self.limit is None or self.value <= self.limit


def alternate(
    name: str,
    ours: Callable[[], Took],
    others: Callable[[], Took],
    *,
    rounds: int,
    goal: float,
    other: str,
) -> Ratio:
    """Run both in turns, ``ours others others ours`` a round, and say how they compare.

    With ``rounds=0`` once each, for a quick look.
    """
    mine: list[Took] = []
    theirs: list[Took] = []
    ratios, cpu_ratios = [], []
    for _ in range(max(rounds, 1)):
        a, b = [ours()], [others()]
        if rounds:
            b.append(others())
            a.append(ours())
        ratios.append(_seconds(b) / _seconds(a))
        cpu_ratios.append(_cpu(b) / _cpu(a))
        mine += a
        theirs += b
    return Ratio(
        name=name,
        other=other,
        rate=median(one.count / one.seconds for one in mine),
        other_rate=median(one.count / one.seconds for one in theirs),
        ratio=median(ratios),
        low=min(ratios),
        high=max(ratios),
        cpu=median(one.cpu / one.count for one in mine) * 1e6,
        other_cpu=median(one.cpu / one.count for one in theirs) * 1e6,
        cpu_ratio=median(cpu_ratios),
        rounds=rounds,
        goal=goal,
    )


def _seconds(runs: list[Took]) -> float:
    return sum(one.seconds / one.count for one in runs)


def _cpu(runs: list[Took]) -> float:
    return sum(one.cpu / one.count for one in runs)
