"""What is sent: tasks, ready-made workloads, and the handlers that do the work.

A task is a message with a meaning. Three bodies are understood, whoever sent them:

- text: every dot in it is one unit of work (``b"task 3 ..."`` costs 3);
- ``{"task": "sum", "start": 1, "end": 100}``, or ``"multiply"``: really computed, and exact;
- ``{"job_id": "…", "operation": "send-email", "payload": {"user_id": 42}}``; the other operations are
  ``resize-image`` (``image_id``, and ``width`` and ``height`` in pixels) and ``generate-report`` (``month``).

JSON may carry a ``cost`` in dots as well. A workload is a plain list of tasks.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count as _count_from
from random import Random
from secrets import token_hex

from labkit.errors import TaskError, UsageError

TEXT = "text/plain"
JSON = "application/json"
JOB_COST = 1.0  # dots that an operation costs when its message does not say
MAX_COST = 86_400  # dots: a day's work at one second a dot
MAX_COUNT = 10_000_000  # tasks in a workload: about 3 GB
MAX_FACTORS = 10_000  # numbers that "multiply" multiplies at most
MAX_PRODUCT_BITS = 1_000_000  # bits that its product may have: about 300,000 digits, a fraction of a second


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


def _fresh_id() -> str:
    return f"{_RUN}-{next(_numbers)}"


def dots(cost: int, text: str = "task") -> Task:
    """A text task: ``text`` followed by ``cost`` dots."""
    cost = _whole("cost", cost, least=0, most=MAX_COST)
    if not isinstance(text, str) or "." in text:
        raise UsageError(
            f"text must be words without a dot, not {text!r}.",
            do="Say how many dots with cost=…: each is work.",
        )
    return Task(_fresh_id(), f"{text} {'.' * cost}".strip().encode(), float(cost))


def arithmetic(kind: str, start: int, end: int) -> Task:
    """A task that adds (``"sum"``) or multiplies (``"multiply"``) the whole numbers from start to end."""
    if kind not in ("sum", "multiply"):
        raise UsageError(f"kind must be 'sum' or 'multiply', not {kind!r}.")
    start, end = _whole("start", start), _whole("end", end)
    return Task(_fresh_id(), _encode({"task": kind, "start": start, "end": end}), 0.0, kind, JSON)


def job(operation: str, payload: dict, cost: float = JOB_COST, job_id: str | None = None) -> Task:
    """A job such as ``job("send-email", {"user_id": 42})``; ``cost`` in dots."""
    if not isinstance(operation, str) or not operation:
        raise UsageError(f"operation must be a name such as 'send-email', not {operation!r}.")
    if not isinstance(payload, dict):
        raise UsageError(f"payload must be a dictionary, not {payload!r}.")
    cost = _number("cost", cost, most=MAX_COST)
    if job_id is not None and (not isinstance(job_id, str) or not job_id):
        raise UsageError(f"job_id must be a text, not {job_id!r}.")
    job_id = job_id or _fresh_id()
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
    "equal": equal,
    "growing": growing,
    "alternating": alternating,
    "random": random,
    "bursts": bursts,
    "steady": steady,
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


# ---------------------------------------------------------------- understanding a message


def parse(body: bytes, message_id: str | None = None, content_type: str | None = None) -> Task:
    """The task in a message, whoever sent it.

    A message without ``message_id`` takes its ``job_id``, or else an id of its own for each delivery: nobody
    can then tell a redelivery from another task. Without a ``content_type``, a body that begins with ``{``
    is JSON.

    Raises TaskError when the body is neither text nor a JSON task; whether the kind is known and
    its fields are right is found out by ``perform``.
    """
    if content_type == TEXT and message_id and body.isascii():  # the lab's own: the fast way
        return Task(message_id, body, body.count(b"."))
    if content_type is not None:
        content_type = content_type.partition(";")[0].strip().lower()
    if content_type == JSON or (content_type != TEXT and body.lstrip()[:1] == b"{"):
        return _parse_json(body, message_id)
    _decode(body)
    return Task(message_id or _fresh_id(), body, body.count(b"."))


def _parse_json(body: bytes, message_id: str | None) -> Task:
    fields = _load(body)
    name = "operation" if "operation" in fields and "task" not in fields else "task"
    kind = field(fields, name, str)
    cost = JOB_COST if name == "operation" else 0.0
    if "cost" in fields:
        cost = field(fields, "cost", float)
        if not 0 <= cost <= MAX_COST:
            raise TaskError(f"The field 'cost' must be from 0 to {MAX_COST} dots, not {cost}.", field="cost")
    job_id = fields.get("job_id")
    known = message_id or (job_id if isinstance(job_id, str) else None)
    return Task(known or _fresh_id(), body, cost, kind, JSON)


def _decode(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise TaskError(
            f"The body is not UTF-8 text: {error}.", field="body", do="Send text.encode(), or JSON."
        ) from error


def _load(body: bytes) -> dict:
    text = _decode(body)
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: bad JSON, or a number of thousands of digits
        raise TaskError(f"The body is not JSON: {error}.", field="body", do="Send json.dumps(…).") from error
    if not isinstance(fields, dict):
        raise TaskError(f"The body is JSON, but no object with fields: {_short(fields)}.", field="body")
    return fields


_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    dict: "an object",
    list: "a list",
    bool: "true or false",
}


def field(fields: dict, name: str, wanted: type, default: object = None) -> object:
    """``fields[name]``, if it is of the type ``wanted``; ``default`` if it is missing and a default is given.

    Raises TaskError naming the field when it is missing or of another type (``True`` is no number).
    """
    if name not in fields:
        if default is not None:
            return default
        raise TaskError(f"The field {name!r} is missing.", field=name)
    value = fields[name]
    right = isinstance(value, int | float) if wanted is float else isinstance(value, wanted)
    if isinstance(value, bool) and wanted is not bool:
        right = False
    if not right:
        raise TaskError(f"The field {name!r} must be {_NAMES[wanted]}, not {_short(value)}.", field=name)
    return value


def _short(value: object, limit: int = 60) -> str:  # limit in characters
    try:
        text = json.dumps(value, ensure_ascii=False)
    except ValueError:  # a number of thousands of digits
        return "a huge number"
    return text if len(text) <= limit else f"{text[:limit]}…"


# ---------------------------------------------------------------- doing the work

Handler = Callable[[Task, dict], object]


def _dots(task: Task, fields: dict) -> None:
    """Nothing to compute: its work is the time that the worker spends on it."""


def _range(fields: dict) -> tuple[int, int]:
    start, end = field(fields, "start", int), field(fields, "end", int)
    if start > end:
        raise TaskError(
            f"The field 'start' must not be above 'end': {_short(start)} > {_short(end)}.", field="start"
        )
    return start, end


def _sum(task: Task, fields: dict) -> int:
    start, end = _range(fields)
    return (start + end) * (end - start + 1) // 2


def _multiply(task: Task, fields: dict) -> int:
    start, end = _range(fields)
    if start <= 0 <= end:
        return 0
    factors = end - start + 1
    bits = factors * max(abs(start), abs(end)).bit_length()
    if factors > MAX_FACTORS or bits > MAX_PRODUCT_BITS:
        raise TaskError(
            f"From 'start' to 'end' is a range too large to compute: a product of {_short(factors)} numbers.",
            field="end",
            do=f"Multiply at most {MAX_FACTORS:,} numbers in one task.",
        )
    return math.prod(range(start, end + 1))


def _resize_image(task: Task, payload: dict) -> dict:
    result = {"image_id": field(payload, "image_id", int)}
    for name, default in (("width", 640), ("height", 480)):  # pixels
        result[name] = field(payload, name, int, default)
        if result[name] < 1:
            raise TaskError(f"The field {name!r} must be at least 1 pixel, not {result[name]}.", field=name)
    return result


def _send_email(task: Task, payload: dict) -> dict:
    user = field(payload, "user_id", int)
    return {"user_id": user, "subject": field(payload, "subject", str, f"Hello, user {user}")}


def _generate_report(task: Task, payload: dict) -> dict:
    month = field(payload, "month", str)
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month, re.ASCII):
        raise TaskError(f"The field 'month' must look like 2025-10, not {_short(month)}.", field="month")
    return {"month": month, "file": f"report-{month}.pdf"}


HANDLERS: dict[str, Handler] = {
    "dots": _dots,
    "sum": _sum,
    "multiply": _multiply,
    "resize-image": _resize_image,
    "send-email": _send_email,
    "generate-report": _generate_report,
}
"""What is done for each kind of task: ``handler(task, fields) -> result``. Add your own.

``fields`` are those of the JSON body (for an operation, those of its ``payload``), and empty for a text.
"""


def perform(task: Task, handlers: dict[str, Handler] = HANDLERS) -> object:
    """Do what the task asks, all but spending its time, and return the result.

    Raises TaskError naming the field that is wrong; a handler's own errors pass through.
    """
    handler = handlers.get(task.kind)
    if handler is None:
        known = ", ".join(sorted(handlers))
        raise TaskError(
            f"Nothing here knows how to do a task of the kind {_short(task.kind)}.",
            field="operation" if b'"operation"' in task.body else "task",
            do=f"Known kinds: {known}.",
        )
    if task.content_type == TEXT:
        return handler(task, {})
    fields = _load(task.body)
    if "operation" in fields and "task" not in fields:
        field(fields, "job_id", str)
        fields = field(fields, "payload", dict)
    return handler(task, fields)
