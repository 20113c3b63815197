"""A task: one piece of work as it is sent, text or JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import count as _count_from
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
        """A short name for charts: its number within the workload, or the beginning of a foreign id.

        A message without an id is called after its delivery: "#3" is the third of the worker that had it.
        """
        worker, sign, delivery = self.id.rpartition("#")
        if worker and delivery.isdecimal():
            return sign + delivery
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
