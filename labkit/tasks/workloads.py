"""Ready-made workloads: plain lists of tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random
from secrets import token_hex

from labkit.errors import UsageError
from labkit.tasks.task import MAX_COUNT, Task, _number, _whole, dots


def workload(items: Iterable[Task | int]) -> list[Task]:
    """Tasks (or costs in dots) as one workload: with fresh ids that count from 1.

    >>> [task.label for task in workload([5, 1, 5, 1])]
    ['1', '2', '3', '4']
    """
    run = token_hex(3)  # fresh for each workload, so that no id ever repeats
    tasks = []
    for number, item in enumerate(items, start=1):
        task = item if isinstance(item, Task) else dots(item, f"task {number}")
        tasks.append(replace(task, id=f"{run}-{number}"))
    return tasks


def equal(count: int, cost: int = 1) -> list[Task]:
    """``count`` tasks of ``cost`` dots each."""
    return workload([_whole("cost", cost, least=0)] * _count(count))


def growing(count: int, first: int = 1, step: int = 1) -> list[Task]:
    """Each task costs ``step`` dots more than the one before it; the first costs ``first``."""
    first, step = _whole("first", first, least=0), _whole("step", step)
    if first + step * (_count(count) - 1) < 0:
        raise UsageError(f"step must not lead below 0 dots: {first} and {count - 1} times {step} does.")
    return workload(first + step * index for index in range(count))


def alternating(count: int, heavy: int = 5, light: int = 1) -> list[Task]:
    """The 1st, 3rd, 5th… task costs ``heavy`` dots, the others ``light``."""
    pair = _whole("heavy", heavy, least=0), _whole("light", light, least=0)
    return workload(pair[index % 2] for index in range(_count(count)))


def random(count: int, seed: int, low: int = 1, high: int = 10) -> list[Task]:
    """Costs drawn evenly from ``low`` to ``high`` dots; the same ``seed`` gives the same costs everywhere."""
    low, high = _whole("low", low, least=0), _whole("high", high, least=0)
    if low > high:
        raise UsageError(f"low must not be above high: {low} > {high}.")
    generator = Random(_whole("seed", seed))
    return workload(generator.randint(low, high) for _ in range(_count(count)))


def bursts(count: int, size: int, pause: float, cost: int = 1) -> list[Task]:
    """``count`` tasks in bursts of ``size``, with ``pause`` seconds between two bursts."""
    size, pause = _whole("size", size, least=1), _number("pause", pause)
    tasks = equal(count, cost)
    for index in range(size, len(tasks), size):
        tasks[index] = replace(tasks[index], delay=pause)
    return tasks


def steady(count: int, every: float, cost: int = 1) -> list[Task]:
    """``count`` tasks, one published ``every`` so many seconds."""
    every = _number("every", every)
    first, *others = equal(count, cost)
    return [first, *(replace(task, delay=every) for task in others)]


WORKLOADS: dict[str, Callable[..., list[Task]]] = {
    make.__name__: make for make in (equal, growing, alternating, random, bursts, steady)
}


def _count(value: object) -> int:
    return _whole("count", value, least=1, most=MAX_COUNT)
