"""What became of every task.

Producers and workers only append events; what they mean is worked out when somebody asks. At every
moment ``published = waiting + in flight + done + dead-lettered + unroutable + lost``.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum
from pathlib import Path
from typing import TextIO

from labkit.errors import SavedRunError
from labkit.tasks import Task

# Events are folded into the compact store once so many have gathered.
FOLD_EVERY = 1024
FORMAT = 1
LONGEST_LINE = 100_000_000  # characters; the figures of a long run with many workers stand in one line


class Kind(IntEnum):
    """What happened: to a task, to a worker, or to the broker."""

    PUBLISHED = 0
    CONFIRMED = 1  # by the broker, to the publisher
    NACKED = 2  # by the broker: it refused the message
    RETURNED = 3  # no queue for it (mandatory)
    DELIVERED = 4
    REDELIVERED = 5  # delivered with the redelivered flag
    STARTED = 6
    FINISHED = 7
    FAILED = 8  # the handler raised
    ACKNOWLEDGED = 9
    REQUEUED = 10  # nack or reject with requeue=True
    REJECTED = 11  # without requeue, and the queue has no dead-letter exchange
    DEAD_LETTERED = 12  # without requeue, to the queue's dead-letter exchange
    LOST = 13  # neither the broker nor a worker has it any more
    CONNECTED = 14  # a worker; its note is the acknowledgement mode
    DISCONNECTED = 15
    CRASHED = 16
    STOPPED = 17
    PAUSED = 18
    RESUMED = 19
    BROKER_DOWN = 20
    BROKER_UP = 21


class Outcome(Enum):
    """Where a task is now. Every known task has exactly one."""

    WAITING = "waiting"
    IN_FLIGHT = "in flight"
    DONE = "done"
    DEAD_LETTERED = "dead-lettered"
    UNROUTABLE = "unroutable"
    LOST = "lost"


_OUTCOMES = list(Outcome)
_WAITING, _IN_FLIGHT, _DONE, _DEAD_LETTERED, _UNROUTABLE, _LOST = range(6)
_GIVEN_UP = {int(Kind.REQUEUED): _WAITING, int(Kind.DEAD_LETTERED): _DEAD_LETTERED, int(Kind.REJECTED): _LOST}
# Plain numbers for the hot loop: an Enum's attributes are slow.
_DELIVERED, _REDELIVERED, _STARTED = int(Kind.DELIVERED), int(Kind.REDELIVERED), int(Kind.STARTED)
_FINISHED_KIND, _ACKNOWLEDGED, _CONNECTED = int(Kind.FINISHED), int(Kind.ACKNOWLEDGED), int(Kind.CONNECTED)
_CONFIRMED = int(Kind.CONFIRMED)
# What a worker holds of a task: bits of a small number.
_SETTLED, _FINISHED, _FAILED = 1, 2, 4  # the broker has forgotten it; the work is done; the work failed


@dataclass(frozen=True)
class Event:
    """One thing that happened; ``time`` in seconds since the ledger began."""

    time: float
    kind: Kind
    task_id: str | None = None
    worker: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Counts:
    """How many tasks there are of each outcome; ``done_twice`` are among ``done`` or on their way there."""

    published: int
    waiting: int  # from here in the order of Outcome
    in_flight: int
    done: int
    dead_lettered: int
    unroutable: int
    lost: int
    done_twice: int = 0

    @property
    def adds_up(self) -> bool:
        """The law of conservation: no task is missing and none is counted twice."""
        return self.published == (
            self.waiting + self.in_flight + self.done + self.dead_lettered + self.unroutable + self.lost
        )


@dataclass
class Span:
    """One attempt at a task, in seconds since the ledger began; ``how`` it ended."""

    task_id: str
    worker: str
    delivered: float
    started: float
    ended: float
    how: str  # "finished" | "failed" | "crashed" | "stopped" | "running"
    redelivered: bool = False


@dataclass(frozen=True)
class TaskRow:
    """A task's line in the table: who had it and what became of it."""

    task_id: str
    label: str
    cost: float
    outcome: Outcome
    deliveries: int
    workers: tuple[str, ...]
    finished_times: int


class Ledger:
    """Append-only and safe to use from any thread."""

    def __init__(self) -> None:
        self.started_at = time.time()  # seconds since the epoch
        self._zero = time.perf_counter()
        self._tail: list[tuple] = []  # recorded and not yet folded; list.append is atomic
        self._lock = threading.RLock()
        # The compact store: 15 bytes an event.
        self._times, self._kinds = array("d"), array("B")
        self._task_numbers, self._worker_numbers = array("i"), array("h")
        self._notes: dict[int, str] = {}  # by the event's number
        # What the events add up to.
        self._numbers: dict[str | None, int] = {None: -1}  # a task's number by its id, in order of appearance
        self._names: list[str] = []  # the tasks' ids by their numbers
        self._workers: dict[str | None, int] = {None: -1}
        self._tasks: dict[str, Task] = {}
        self._outcome, self._finishes = bytearray(), bytearray()
        self._held: list[dict[int, int]] = []  # by worker: task number -> bits
        self._automatic: set[int] = set()  # workers whose deliveries the broker forgets at once
        self._gone: set[int] = set()  # crashed: whatever else they say does not count

    # --- writing -----------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds since the ledger began."""
        return time.perf_counter() - self._zero

    def add(self, tasks: Iterable[Task]) -> None:
        """Make the tasks known (their cost, their body), so that tables and charts can show them."""
        with self._lock:
            self._tasks.update((task.id, task) for task in tasks)

    def record(
        self,
        kind: Kind,
        task_id: str | None = None,
        worker: str | None = None,
        note: str | None = None,
        _clock=time.perf_counter,
    ) -> None:
        """Append one event, now. From any thread; takes well under a microsecond."""
        tail = self._tail
        tail.append((_clock(), kind, task_id, worker, note))
        if len(tail) >= FOLD_EVERY and self._lock.acquire(blocking=False):
            try:
                self._fold()
            finally:
                self._lock.release()

    def _fold(self) -> None:
        """Move the tail into the store. The caller has the lock."""
        count = len(self._tail)
        batch = self._tail[:count]
        del self._tail[:count]
        self._store(batch, self._zero)

    def _store(self, batch: Iterable[tuple], zero: float = 0.0) -> None:
        """Append the events to the store, and work out what they change. This is the hot loop."""
        numbers, workers, held, outcome = self._numbers, self._workers, self._held, self._outcome
        finishes, gone, automatic = self._finishes, self._gone, self._automatic
        add_time, add_kind = self._times.append, self._kinds.append
        add_task, add_worker = self._task_numbers.append, self._worker_numbers.append
        for at, kind, task_id, worker, note in batch:
            w = workers.get(worker)
            if w is None:
                w = workers[worker] = len(held)
                held.append({})
            if gone and w in gone and kind != _CONNECTED:
                continue
            t = numbers.get(task_id)
            if t is None:
                t = numbers[task_id] = len(outcome)
                self._names.append(task_id)
                outcome.append(_WAITING)
                finishes.append(0)
            if note is not None:
                self._notes[len(self._kinds)] = note
            add_time(at - zero)
            add_kind(kind)
            add_task(t)
            add_worker(w)
            # The usual life of a task first: this is run through for every event.
            if kind == _STARTED:
                continue
            if t < 0:
                if w >= 0:
                    self._apply_to_worker(kind, w, note)
            elif w < 0:
                if kind != _CONFIRMED:
                    self._apply_to_message(kind, t)
            elif kind == _DELIVERED or kind == _REDELIVERED:  # noqa: PLR1714, SIM109 (faster)
                held[w][t] = _SETTLED if w in automatic else 0
                outcome[t] = _IN_FLIGHT
            elif t in (mine := held[w]):
                bits = mine[t]
                if kind == _ACKNOWLEDGED and bits == _FINISHED:
                    del mine[t]
                    outcome[t] = _DONE
                elif kind == _FINISHED_KIND and bits <= _SETTLED:
                    if finishes[t] < 255:
                        finishes[t] += 1
                    if bits:  # the broker has forgotten it already
                        del mine[t]
                        outcome[t] = _DONE
                    else:
                        mine[t] = _FINISHED
                else:
                    self._apply_to_delivery(kind, t, mine)

    def _apply_to_message(self, kind: int, t: int) -> None:
        """What the producer or the lab says of a task."""
        if kind == Kind.PUBLISHED:  # possibly once more, after a lost connection
            if self._outcome[t] not in (_DONE, _IN_FLIGHT):
                self._outcome[t] = _WAITING
        elif kind == Kind.RETURNED:
            self._outcome[t] = _UNROUTABLE
        elif kind in (Kind.NACKED, Kind.LOST):
            # Nobody has it any more. If it was finished, only its acknowledgement went unrecorded.
            self._outcome[t] = _DONE if self._finishes[t] else _LOST

    def _apply_to_delivery(self, kind: int, t: int, held: dict[int, int]) -> None:
        """What a worker says of a task that it holds."""
        if kind == _FINISHED_KIND:
            held[t] |= _FINISHED
            if self._finishes[t] < 255:
                self._finishes[t] += 1
        elif kind == _ACKNOWLEDGED:
            held[t] |= _SETTLED
        elif kind == Kind.FAILED:
            held[t] |= _FAILED
        elif kind in _GIVEN_UP:
            del held[t]
            self._outcome[t] = _GIVEN_UP[kind]
            return
        if held[t] > _SETTLED and held[t] & _SETTLED:
            self._outcome[t] = _DONE if held.pop(t) & _FINISHED else _LOST

    def _apply_to_worker(self, kind: int, w: int, note: str | None) -> None:
        if kind == Kind.CONNECTED:
            self._gone.discard(w)
            (self._automatic.add if note == "automatic" else self._automatic.discard)(w)
        elif kind in (Kind.CRASHED, Kind.STOPPED, Kind.DISCONNECTED):
            for t, bits in self._held[w].items():
                # What the broker has forgotten is lost; it queues everything else again.
                self._outcome[t] = _LOST if bits & _SETTLED else _WAITING
            self._held[w].clear()
            if kind == Kind.CRASHED:
                self._gone.add(w)

    # --- reading -----------------------------------------------------------------------------

    def _read(self) -> threading.RLock:
        with self._lock:
            self._fold()
        return self._lock

    def _ids(self) -> list[str]:
        return self._names.copy()

    def counts(self) -> Counts:
        """How many tasks there are of each outcome, now."""
        with self._read():
            finishes = self._finishes
            return Counts(
                len(self._outcome),
                *(self._outcome.count(code) for code in range(len(_OUTCOMES))),
                done_twice=len(finishes) - finishes.count(0) - finishes.count(1),
            )

    def outcome(self, task_id: str) -> Outcome:
        """What became of the task; KeyError if the ledger never heard of it."""
        with self._read():
            return _OUTCOMES[self._outcome[self._numbers[task_id]]]

    def outcomes(self) -> dict[str, Outcome]:
        """What became of every task, in the order they were first seen."""
        with self._read():
            return dict(zip(self._ids(), (_OUTCOMES[code] for code in self._outcome), strict=True))

    def task_ids(self, outcome: Outcome | None = None) -> list[str]:
        """The ids of all tasks, or of those with this outcome."""
        with self._read():
            if outcome is None:
                return self._ids()
            wanted = _OUTCOMES.index(outcome)
            return [
                task_id for task_id, code in zip(self._ids(), self._outcome, strict=True) if code == wanted
            ]

    def task(self, task_id: str) -> Task | None:
        """The task itself, if this process made it."""
        return self._tasks.get(task_id)

    @property
    def workers(self) -> list[str]:
        """The workers' names in the order of their first appearance."""
        with self._read():
            return list(self._workers)[1:]

    def events(self, kinds: Iterable[Kind] | None = None, *, since: int = 0) -> Iterator[Event]:
        """The events so far, oldest first; only of these kinds; from event number ``since``."""
        with self._read():
            count, task_ids, workers = len(self._kinds), self._ids(), list(self._workers)[1:]
        wanted = None if kinds is None else set(kinds)
        for number in range(since, count):
            kind = self._kinds[number]
            if wanted is None or kind in wanted:
                t, w = self._task_numbers[number], self._worker_numbers[number]
                yield Event(
                    self._times[number],
                    Kind(kind),
                    task_ids[t] if t >= 0 else None,
                    workers[w] if w >= 0 else None,
                    self._notes.get(number),
                )

    def columns(self, since: int = 0) -> tuple[array, array, array, array]:
        """The events from number ``since`` as columns: times, kinds, numbers of the tasks and of the workers.

        Many times cheaper than ``events``, for whoever follows a run while it goes. -1 is no task, or no worker;
        what the numbers name is told by ``task_id``, ``workers`` and ``note``.
        """
        with self._read():
            store = self._times, self._kinds, self._task_numbers, self._worker_numbers
            return tuple(column[since:] for column in store)

    def task_id(self, number: int) -> str:
        """The id of the task with this number in ``columns``."""
        return self._names[number]

    def note(self, number: int) -> str | None:
        """The note of the event with this number."""
        return self._notes.get(number)

    def __len__(self) -> int:
        """How many events there are."""
        with self._read():
            return len(self._kinds)

    def spans(self) -> list[Span]:
        """Every attempt at a task, in the order they were started; one under way ends now."""
        with self._read():
            store = zip(self._times, self._kinds, self._task_numbers, self._worker_numbers, strict=True)
            events, task_ids, workers = list(store), self._ids(), list(self._workers)[1:]
        # Plain numbers and no Event objects: a run of 100,000 tasks is drawn from this.
        arrived: dict[tuple[int, int], tuple[float, bool]] = {}
        running: dict[int, Span] = {}  # by worker: it does one task at a time
        spans: list[Span] = []
        delivered, redelivered, started = int(Kind.DELIVERED), int(Kind.REDELIVERED), int(Kind.STARTED)
        ends = {int(Kind.FINISHED): "finished", int(Kind.FAILED): "failed", int(Kind.CRASHED): "crashed"}
        ends |= {int(Kind.STOPPED): "stopped", int(Kind.DISCONNECTED): "stopped"}
        for time_, kind, t, w in events:
            if kind == delivered or kind == redelivered:  # noqa: SIM109
                arrived[t, w] = (time_, kind == redelivered)
            elif kind == started:
                at, again = arrived.pop((t, w), (time_, False))
                span = running[w] = Span(task_ids[t], workers[w], at, time_, time_, "running", again)
                spans.append(span)
            elif kind in ends and w in running:
                span = running.pop(w)
                span.ended, span.how = time_, ends[kind]
        for span in running.values():
            span.ended = max(self.now(), span.started)
        return spans

    def _tasks_of(self, worker: str, kinds: set[Kind]) -> list[str]:
        return [event.task_id for event in self.events(kinds) if event.worker == worker]

    def delivered_to(self, worker: str) -> list[str]:
        """The ids of what was delivered to the worker, in order, redeliveries included."""
        return self._tasks_of(worker, {Kind.DELIVERED, Kind.REDELIVERED})

    def finished_by(self, worker: str) -> list[str]:
        """The ids of what the worker finished, in order."""
        return self._tasks_of(worker, {Kind.FINISHED})

    def acknowledged_by(self, worker: str) -> list[str]:
        """The ids of what the worker acknowledged, in order."""
        return self._tasks_of(worker, {Kind.ACKNOWLEDGED})

    def lost(self) -> list[str]:
        """The ids of the tasks that nobody has any more."""
        return self.task_ids(Outcome.LOST)

    def done_twice(self) -> list[str]:
        """The ids of the tasks that were finished more than once."""
        with self._read():
            return [task_id for task_id, times in zip(self._ids(), self._finishes, strict=True) if times > 1]

    def table(self) -> list[TaskRow]:
        """One row a task: who had it, how often it was done, what became of it."""
        who: dict[str, list[str]] = {}
        for event in self.events({Kind.DELIVERED, Kind.REDELIVERED}):
            who.setdefault(event.task_id, []).append(event.worker)
        rows = []
        for task_id, outcome in self.outcomes().items():
            task, workers = self.task(task_id), tuple(who.get(task_id, ()))
            rows.append(
                TaskRow(
                    task_id,
                    task.label if task else task_id,
                    task.cost if task else 0.0,
                    outcome,
                    len(workers),
                    workers,
                    self._finishes[self._numbers[task_id]],
                )
            )
        return rows

    def downtimes(self) -> list[tuple[float, float]]:
        """When the broker was away: from, to, in seconds since the ledger began."""
        found: list[tuple[float, float]] = []
        down: float | None = None
        for event in self.events({Kind.BROKER_DOWN, Kind.BROKER_UP}):
            if event.kind == Kind.BROKER_DOWN:
                down = event.time if down is None else down
            elif down is not None:
                found.append((down, event.time))
                down = None
        return found + ([(down, self.now())] if down is not None else [])

    def makespan(self) -> float:
        """Seconds from the first publish (or start) to the last finish; 0 before any finish."""
        first = last = None
        for event in self.events({Kind.PUBLISHED, Kind.STARTED, Kind.FINISHED}):
            if first is None:
                first = event.time
            if event.kind == Kind.FINISHED:
                last = event.time
        return last - first if last is not None else 0.0

    # --- files -------------------------------------------------------------------------------

    def lines(self) -> Iterator[str]:
        """The ledger as JSON Lines: a header, the tasks, the events, and how many there are."""
        yield json.dumps({"ledger": FORMAT, "started_at": self.started_at})
        for task_id in self.task_ids():
            task = self.task(task_id)
            known = {"cost": task.cost, "kind": task.kind, "delay": task.delay} if task else {}
            yield json.dumps({"task": task_id, **known})
        count = 0
        for event in self.events():
            yield json.dumps([round(event.time, 6), event.kind.name, event.task_id, event.worker, event.note])
            count += 1
        yield json.dumps({"events": count})

    def save(self, path: str | Path) -> Path:
        """Write the ledger to a file of JSON Lines and return its path; SavedRunError if that fails."""
        return write_lines(path, self.lines())

    @classmethod
    def load(cls, path: str | Path) -> Ledger:
        """Read what ``save`` wrote; SavedRunError if it is something else or damaged."""
        try:
            with open_regular(path) as file:
                return cls.from_lines(lines_of(file), str(path))
        except (OSError, TypeError, ValueError) as error:
            raise SavedRunError(
                f"{path} cannot be read: {error}.", do="Name a file that was saved by the lab."
            ) from error

    @classmethod
    def from_lines(cls, lines: Iterable[str], name: str = "the saved run") -> Ledger:
        """Read the lines of ``lines()``; lines of other kinds are passed over."""
        ledger, number, header, whole = cls(), 0, False, False
        known: set[str] = set()
        try:
            for number, line in enumerate(lines, 1):  # noqa: B007
                _expect(len(line) <= LONGEST_LINE, "it is too long")
                entry = json.loads(line)
                if isinstance(entry, list):
                    at, kind, task_id, worker, note = entry
                    if task_id is not None and task_id not in known:
                        raise ValueError(f"task {task_id!r} is not listed")
                    _expect(isinstance(worker, str | None) and isinstance(note, str | None), "no names")
                    ledger._store([(_finite(at), Kind[kind], task_id, worker, note)])
                elif "ledger" in entry:
                    if entry["ledger"] != FORMAT:
                        raise ValueError(f"format {entry['ledger']} is not known")
                    ledger.started_at, header = _finite(entry["started_at"]), True
                elif "events" in entry:
                    whole = entry["events"] == len(ledger)
                elif "task" in entry:
                    _expect(isinstance(entry["task"], str), "a task without an id")
                    known.add(entry["task"])
                    if "cost" in entry:
                        _expect(isinstance(entry["kind"], str), "a task without a kind")
                        cost, delay = _finite(entry["cost"]), _finite(entry.get("delay", 0.0))
                        ledger.add([Task(entry["task"], b"", cost=cost, kind=entry["kind"], delay=delay)])
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            raise SavedRunError(
                f"{name} is damaged at line {number}: {error}.", do="Save the run again, or use another file."
            ) from error
        if not header:
            raise SavedRunError(f"{name} is not a saved run.", do="Name a file that was saved by the lab.")
        if not whole:
            raise SavedRunError(f"{name} ends too early: events are missing.", do="Save the run again.")
        last = ledger._times[-1] if ledger._times else 0.0
        ledger._zero = time.perf_counter() - last  # its clock stands where the last event was
        return ledger


def _finite(value: object) -> float:
    found = float(value)
    _expect(math.isfinite(found), f"{value!r} is no time and no cost")
    return found


def _expect(good: bool, otherwise: str) -> None:
    if not good:
        raise ValueError(otherwise)


def open_regular(path: str | Path) -> TextIO:
    """Open a saved run for reading; OSError for what is no file (a device, for instance, has no end)."""
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no file")
    return path.open(encoding="utf-8")


def lines_of(file: TextIO) -> Iterator[str]:
    """The lines of a file, cut where one is too long to be from a saved run."""
    return iter(lambda: file.readline(LONGEST_LINE + 1), "")


def write_lines(path: str | Path, *parts: Iterable[str]) -> Path:
    """Write lines to a file and return its path; what was there is replaced only by a whole new one.

    Raises SavedRunError where it cannot be written.
    """
    try:
        path = Path(path)
        draft = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with draft.open("w", encoding="utf-8") as file:
                for lines in parts:
                    file.writelines(f"{line}\n" for line in lines)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except (OSError, TypeError, ValueError) as error:
        raise SavedRunError(
            f"{path} cannot be written: {error}.", do="Name a file in a directory that is there and is yours."
        ) from error
    return path
