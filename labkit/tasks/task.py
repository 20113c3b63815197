"""A task: one piece of work as it is sent, text or JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import count as _count_from
from secrets import token_hex
from typing import Any

from labkit import checks
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
    checks.whole("cost", cost, 0, MAX_COST)
    if not isinstance(text, str) or "." in text:
        raise checks.refused(
            "text", text, "Use words without a dot; say how many dots with cost=…: each is work."
        )
    return Task(fresh_id(), f"{text} {'.' * cost}".strip().encode(), float(cost))


def arithmetic(kind: str, start: int, end: int) -> Task:
    """A task that adds (``"sum"``) or multiplies (``"multiply"``) the whole numbers from start to end."""
    checks.one_of("kind", kind, ("sum", "multiply"))
    checks.whole("start", start)
    checks.whole("end", end)
    return Task(fresh_id(), _encode({"task": kind, "start": start, "end": end}), 0.0, kind, JSON)


def job(operation: str, payload: dict[str, Any], cost: float = JOB_COST, job_id: str | None = None) -> Task:
    """A job such as ``job("send-email", {"user_id": 42})``; ``cost`` in dots."""
    if not isinstance(operation, str) or not operation:
        raise checks.refused("operation", operation, "Use a name such as 'send-email'.")
    if not isinstance(payload, dict):
        raise checks.refused("payload", payload, "Use a dictionary.")
    checks.number("cost", cost, most=MAX_COST, unit="dots")
    if job_id is not None and (not isinstance(job_id, str) or not job_id):
        raise checks.refused("job_id", job_id, "Use a text that is not empty.")
    job_id = job_id or fresh_id()
    fields: dict[str, Any] = {"job_id": job_id, "operation": operation, "payload": payload}
    if cost != JOB_COST:
        fields["cost"] = cost
    return Task(job_id, _encode(fields), float(cost), operation, JSON)


def _encode(fields: dict[str, Any]) -> bytes:
    try:
        return json.dumps(fields, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"This cannot be written as JSON: {error}.") from error
