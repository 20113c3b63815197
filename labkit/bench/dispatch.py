"""The makespan with prefetch 1 against the best schedule on paper."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from labkit.bench.rounds import Figure
from labkit.brokers import Broker
from labkit.compare import Strategy
from labkit.lab import Lab
from labkit.tasks.workloads import SECONDS, WORKLOADS

Say = Callable[[str], object]
DOT = 0.1  # seconds, as in the lessons
COUNT = 12  # tasks
LIMIT = 1.03  # times the greedy schedule


def dispatch(
    broker: Broker, *, rounds: int, seconds_per_dot: float = DOT, say: Say = lambda _: None
) -> list[Figure]:
    """The makespan with prefetch 1 as a multiple of the greedy schedule's, for every ready-made workload."""
    found = []
    with Lab("bench", broker=broker, progress=False, say=lambda _: None) as lab:
        for name, recipe in WORKLOADS.items():
            # Times shrink with the dots, so that a quick run is the same picture.
            times = {
                one: recipe.example[one] * seconds_per_dot / DOT for one in SECONDS if one in recipe.example
            }
            workload = recipe(count=COUNT, **times)
            results = [
                lab.compare(
                    [Strategy(prefetch=1)], workload, 2, seconds_per_dot=seconds_per_dot, loads=False
                )[0]
                for _ in range(max(rounds, 1))
            ]
            ratio = median(one.makespan / one.greedy for one in results)
            found.append(Figure(f"prefetch 1, {name}", ratio, "× greedy", LIMIT))
            say(f"{name}: {found[-1].value:.3f}")
    return found
