"""What is done with a message: the task in it is understood, and a handler does its work.

Whoever sent the message, and however wrong it is: what cannot be done raises a TaskError that names the field.
What the bodies look like is told in ``labkit.tasks``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from labkit import checks
from labkit.errors import TaskError
from labkit.tasks import JOB_COST, JSON, MAX_COST, TEXT, Task, fresh_id

MAX_FACTORS = 10_000  # numbers that "multiply" multiplies at most
MAX_PRODUCT_BITS = 1_000_000  # bits that its product may have: about 300,000 digits, a fraction of a second
T = TypeVar("T")


# ---------------------------------------------------------------- understanding a message


def parse(body: bytes, message_id: str | None = None, content_type: str | None = None) -> Task:
    """The task in a message, whoever sent it.

    A message without ``message_id`` takes its ``job_id``, or else an id of its own for each delivery: nobody
    can then tell a redelivery from another task. Without a ``content_type``, a body that begins with ``{``
    is JSON.

    Raises TaskError when the body is neither text nor a JSON task; whether the kind is known and
    its fields are right is found out by ``perform``. Raises UsageError for something that is no message at all.
    """
    if not isinstance(body, bytes):
        raise checks.refused("body", body, "Give the bytes of a message.")
    if content_type == TEXT and message_id and body.isascii():  # the lab's own: the fast way
        return Task(message_id, body, body.count(b"."))
    for what, given in (("message_id", message_id), ("content_type", content_type)):
        if given is not None and not isinstance(given, str):
            raise checks.refused(what, given, "Use a text, or None.")
    if content_type is not None:
        content_type = content_type.partition(";")[0].strip().lower()
    if content_type == JSON or (content_type != TEXT and body.lstrip()[:1] == b"{"):
        return _parse_json(body, message_id)
    _decode(body)
    return Task(message_id or fresh_id(), body, body.count(b"."))


def _parse_json(body: bytes, message_id: str | None) -> Task:
    fields = _load(body)
    job = _is_job(fields)
    kind = field(fields, "operation" if job else "task", str)
    cost = JOB_COST if job else 0.0
    if "cost" in fields:
        cost = field(fields, "cost", float)
        if not 0 <= cost <= MAX_COST:
            raise TaskError(f"The field 'cost' must be from 0 to {MAX_COST} dots, not {cost}.", field="cost")
    job_id = fields.get("job_id")
    known = message_id or (job_id if isinstance(job_id, str) else None)
    return Task(known or fresh_id(), body, cost, kind, JSON)


def _is_job(fields: dict) -> bool:
    return "operation" in fields and "task" not in fields


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


def field(fields: dict[str, Any], name: str, wanted: type[T], default: T | None = None) -> T:
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
    return value  # for a float it may be an int, as anywhere in Python


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
    result: dict[str, int] = {"image_id": field(payload, "image_id", int)}
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


def perform(task: Task, handlers: Mapping[str, Handler] = HANDLERS) -> object:
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
    if _is_job(fields):
        field(fields, "job_id", str)
        fields = field(fields, "payload", dict)
    return handler(task, fields)
