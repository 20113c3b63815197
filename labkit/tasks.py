"""What is sent: tasks, and ready-made workloads of them.

A task is a message with a meaning. There are three kinds of bodies:

- text: every dot in it is one unit of work (``b"task 3 ..."`` costs 3);
- ``{"task": "sum", "start": 1, "end": 100}``, or ``"multiply"``: really computed, and exact;
- ``{"job_id": "…", "operation": "send-email", "payload": {"user_id": 42}}``; the other operations are
  ``resize-image`` (``image_id``, and ``width`` and ``height`` in pixels) and ``generate-report`` (``month``).

JSON may carry a ``cost`` in dots as well. A workload is a plain list of tasks. How a message becomes a task
again, whoever sent it, and what is done for it, is in ``labkit.handlers``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count as _count_from
from random import Random
from secrets import token_hex

from labkit.errors import UsageError

TEXT = "text/plain"
JSON = "application/json"
JOB_COST = 1.0  # dots that an operation costs when its message does not say
MAX_COST = 86_400  # dots: a day's work at one second a dot
MAX_COUNT = 10_000_000  # tasks in a workload: about 3 GB


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work, exactly as it is sent."""

    id: str  # the AMQP message_id
    body: bytes
    cost: float = 0.0  # dots; seconds = cost * seconds_per_dot / the worker's speed
    kind: str = "dots"  # or "sum", "multiply", "resize-image", …: the name of its handler
    content_type: str = TEXT
    delay: float = 0.0  # seconds after the task before it at which this one is published

    @property
    def label(self) -> str:
        """A short name for charts: its number within the workload, or the beginning of a foreign id."""
        number = self.id.rpartition("-")[2]
        return number if number.isdecimal() and len(number) <= 6 else self.id[:6]


# ---------------------------------------------------------------- single tasks

_RUN = token_hex(3)
_numbers = _count_from(1)


def fresh_id() -> str:
    """An id that no other task of this process has."""
    return f"{_RUN}-{next(_numbers)}"


def dots(cost: int, text: str = "task") -> Task:
    """A text task: ``text`` followed by ``cost`` dots."""
    cost = _whole("cost", cost, least=0, most=MAX_COST)
    if not isinstance(text, str) or "." in text:
        raise UsageError(
            f"text must be words without a dot, not {text!r}.",
            do="Say how many dots with cost=…: each is work.",
        )
    return Task(fresh_id(), f"{text} {'.' * cost}".strip().encode(), float(cost))


def arithmetic(kind: str, start: int, end: int) -> Task:
    """A task that adds (``"sum"``) or multiplies (``"multiply"``) the whole numbers from start to end."""
    if kind not in ("sum", "multiply"):
        raise UsageError(f"kind must be 'sum' or 'multiply', not {kind!r}.")
    start, end = _whole("start", start), _whole("end", end)
    return Task(fresh_id(), _encode({"task": kind, "start": start, "end": end}), 0.0, kind, JSON)


def job(operation: str, payload: dict, cost: float = JOB_COST, job_id: str | None = None) -> Task:
    """A job such as ``job("send-email", {"user_id": 42})``; ``cost`` in dots."""
    if not isinstance(operation, str) or not operation:
        raise UsageError(f"operation must be a name such as 'send-email', not {operation!r}.")
    if not isinstance(payload, dict):
        raise UsageError(f"payload must be a dictionary, not {payload!r}.")
    cost = _number("cost", cost, most=MAX_COST)
    if job_id is not None and (not isinstance(job_id, str) or not job_id):
        raise UsageError(f"job_id must be a text, not {job_id!r}.")
    job_id = job_id or fresh_id()
    fields = {"job_id": job_id, "operation": operation, "payload": payload}
    if cost != JOB_COST:
        fields["cost"] = cost
    return Task(job_id, _encode(fields), float(cost), operation, JSON)


def _encode(fields: dict) -> bytes:
    try:
        return json.dumps(fields, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise UsageError(f"This cannot be written as JSON: {error}.") from error


# ---------------------------------------------------------------- workloads


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


def _whole(name: str, value: object, *, least: int | None = None, most: int | None = None) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"{name} must be a whole number, not {value!r}.")
    if (least is not None and value < least) or (most is not None and value > most):
        limits = f"at least {least}" if most is None else f"from {least} to {most}"
        raise UsageError(f"{name} must be {limits}, not {value}.")
    return value


def _number(name: str, value: object, *, most: float = math.inf) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
        raise UsageError(f"{name} must be a number of at least 0, not {value!r}.")
    if value == math.inf:
        raise UsageError(f"{name} must be finite.")
    return value
