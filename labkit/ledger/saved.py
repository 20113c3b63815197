"""Ledgers as text, a line each for a task or an event, and the files that such lines are kept in."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from labkit.errors import SavedRunError
from labkit.ledger.events import Kind
from labkit.ledger.ledger import Ledger
from labkit.tasks import Task

FORMAT = 2  # 1 had no delivery numbers
LONGEST_LINE = 100_000_000  # characters; the figures of a long run with many workers stand in one line


def lines(ledger: Ledger) -> Iterator[str]:
    """The ledger as JSON Lines: a header, the tasks, the events, and how many there are."""
    yield json.dumps({"ledger": FORMAT, "started_at": ledger.started_at})
    for task_id in ledger.task_ids():
        task = ledger.task(task_id)
        known = {"cost": task.cost, "kind": task.kind, "delay": task.delay} if task else {}
        yield json.dumps({"task": task_id, **known})
    count = 0
    for event in ledger.events():
        row = [round(event.time, 6), event.kind.name, event.task_id, event.worker, event.note, event.delivery]
        yield json.dumps(row)
        count += 1
    yield json.dumps({"events": count})


def ledger(lines: Iterable[str], name: str = "the saved run") -> Ledger:
    """The ledger that ``lines()`` wrote; SavedRunError if it is something else or damaged."""
    number, started_at, whole, written = 0, None, False, FORMAT
    tasks: dict[str, Task | None] = {}

    def events() -> Iterator[tuple[Any, ...]]:
        nonlocal number, started_at, whole, written
        count = 0
        for number, line in enumerate(lines, 1):  # noqa: B007 (told in the error)
            _expect(len(line) <= LONGEST_LINE, "it is too long")
            entry = json.loads(line)
            if isinstance(entry, list):
                at, kind, task_id, worker, note, delivery = entry if written > 1 else (*entry, 0)
                _expect(task_id is None or task_id in tasks, f"task {task_id!r} is not listed")
                _expect(isinstance(worker, str | None) and isinstance(note, str | None), "no names")
                count += 1
                yield _finite(at), Kind[kind], task_id, worker, note, delivery
            elif "ledger" in entry:
                written = entry["ledger"]
                _expect(written in range(1, FORMAT + 1), f"format {written} is not known")
                started_at = _finite(entry["started_at"])
            elif "events" in entry:
                whole = entry["events"] == count
            elif "task" in entry:
                tasks[entry["task"]] = _task(entry)

    try:
        found = Ledger.of_the_past(events())
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise SavedRunError(
            f"{name} is damaged at line {number}: {error}.", do="Save the run again, or use another file."
        ) from error
    if started_at is None:
        raise SavedRunError(f"{name} is not a saved run.", do="Name a file that was saved by the lab.")
    if not whole:
        raise SavedRunError(f"{name} ends too early: events are missing.", do="Save the run again.")
    found.started_at = started_at
    found.add(task for task in tasks.values() if task is not None)
    return found


def _task(entry: dict[str, Any]) -> Task | None:
    _expect(isinstance(entry["task"], str), "a task without an id")
    if "cost" not in entry:
        return None
    _expect(isinstance(entry["kind"], str), "a task without a kind")
    cost, delay = _finite(entry["cost"]), _finite(entry.get("delay", 0.0))
    return Task(entry["task"], b"", cost=cost, kind=entry["kind"], delay=delay)


def _finite(value: Any) -> float:
    found = float(value)
    _expect(math.isfinite(found), f"{value!r} is no time and no cost")
    return found


def _expect(good: bool, otherwise: str) -> None:
    if not good:
        raise ValueError(otherwise)


def opened(path: str | Path) -> TextIO:
    """A saved run, open for reading; OSError for what is no file (a device, for instance, has no end)."""
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no file")
    return path.open(encoding="utf-8")


def lines_of(file: TextIO) -> Iterator[str]:
    """The lines of a file, cut where one is too long to be from a saved run."""
    return iter(lambda: file.readline(LONGEST_LINE + 1), "")


def write(path: str | Path, *parts: Iterable[str]) -> Path:
    """Write lines to a file and return its path; what was there is replaced only by a whole new one.

    Raises SavedRunError where it cannot be written.
    """
    try:
        path = Path(path)
        draft = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with draft.open("w", encoding="utf-8") as file:
                for part in parts:
                    file.writelines(f"{line}\n" for line in part)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except (OSError, TypeError, ValueError) as error:
        raise SavedRunError(
            f"{path} cannot be written: {error}.", do="Name a file in a directory that is there and is yours."
        ) from error
    return path
