"""The makespan with prefetch 1 against the best schedule on paper."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from labkit import tasks
from labkit.bench.rounds import Figure
from labkit.brokers import Broker
from labkit.compare.strategy import Strategy
from labkit.lab import Lab

Say = Callable[[str], object]
DOT = 0.1  # seconds, as in the lessons
LIMIT = 1.03  # times the greedy schedule


def dispatch(
    broker: Broker, *, rounds: int, seconds_per_dot: float = DOT, say: Say = lambda _: None
) -> list[Figure]:
    """The makespan with prefetch 1 as a multiple of the greedy schedule's, for the standard workloads."""
    workloads = {
        "equal": tasks.equal(12),
        "growing": tasks.growing(8),
        "alternating": tasks.alternating(12),
        "random": tasks.random(12, seed=1),
        "bursts": tasks.bursts(12, size=4, pause=5 * seconds_per_dot),
        "steady": tasks.steady(12, every=0.6 * seconds_per_dot),
    }
    found = []
    with Lab("bench", broker=broker, progress=False, say=lambda _: None) as lab:
        for name, workload in workloads.items():
            ratios = [
                lab.compare(
                    [Strategy(prefetch=1)], workload, 2, seconds_per_dot=seconds_per_dot, loads=False
                )[0].ratio
                for _ in range(max(rounds, 1))
            ]
            found.append(Figure(f"prefetch 1, {name}", median(ratios), "× greedy", LIMIT))
            say(f"{name}: {found[-1].value:.3f}")
    return found
