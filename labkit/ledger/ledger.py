"""What became of every task.

Producers and workers only append events; what they mean (account.py) is worked out when somebody asks. At every
moment ``published`` is the sum of all outcomes.
"""

from __future__ import annotations

import copy
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Literal

from labkit import checks
from labkit.ledger import attempts
from labkit.ledger.account import Account, Columns
from labkit.ledger.events import Counts, Event, Kind, Outcome, Span
from labkit.ledger.seat import Delivery, Seat
from labkit.tasks import Task

# Events are folded into the compact store once so many have gathered.
FOLD_EVERY = 1024
Row = tuple[float, int, str | None, str | None, str | None, int]  # an event as it is recorded
_WIDER: dict[str, Literal["h", "i", "I", "Q"]] = {"b": "h", "h": "i", "H": "I", "I": "Q"}  # arrays' numbers
_OUTCOMES = list(Outcome)
_CONNECTED, _CRASHED = int(Kind.CONNECTED), int(Kind.CRASHED)


class _Numbers(dict[str | None, int]):
    """Numbers names in the order in which they appear; none is -1."""

    def __init__(self) -> None:
        super().__init__({None: -1})

    def __missing__(self, name: str) -> int:
        self[name] = number = len(self) - 1
        return number

    @property
    def names(self) -> list[str]:
        """In the order of their numbers."""
        return [name for name in self if name is not None]


class _TaskNumbers(_Numbers):
    """The same for tasks, together with what is known of them: one dictionary holds each, not two."""

    def __init__(self) -> None:
        super().__init__()
        self.unseen: dict[str, Task] = {}  # made known, and nothing was recorded of them yet
        self.seen: list[Task | str] = []  # by number; of a foreign one there is only its id

    def __missing__(self, name: str) -> int:
        self.seen.append(self.unseen.pop(name, name))
        return super().__missing__(name)


def _fitting(column: array[int], values: list[int]) -> array[int]:
    """The values as the column has them, or in wider numbers if they do not fit."""
    code = column.typecode
    while True:
        try:
            return array(code, values)
        except OverflowError:
            code = _WIDER[code]


def _joined(column: array[int], more: array[int]) -> array[int]:
    """The column with more at its end."""
    if column.typecode != more.typecode:
        column = array(more.typecode, column)
    column.extend(more)
    return column


class Ledger:
    """Append-only and safe to use from any thread."""

    def __init__(self) -> None:
        self.started_at = time.time()  # seconds since the epoch
        self._zero = time.perf_counter()
        self._tail: list[Row] = []  # recorded and not yet folded; list.append and extend are atomic
        self._lock = threading.RLock()
        # The compact store: 16 bytes an event, while there are not too many workers and deliveries.
        self._columns: Columns = (array("d"), array("B"), array("i"), array("b"), array("H"))
        self._notes: dict[int, str] = {}  # by the event's number
        self._task_numbers, self._worker_numbers = _TaskNumbers(), _Numbers()
        self._account = Account()
        self._gone: set[str | None] = set()  # crashed: whatever else they say does not count

    @classmethod
    def of_the_past(cls, events: Iterable[tuple[Any, ...]]) -> Ledger:
        """A ledger of events that are over; its clock stands at the last one.

        They are (time, kind, task id, worker, note), and the delivery's number if it is known.
        """
        ledger = cls()
        rows = ((*event, 0)[:6] for event in events)
        while batch := list(islice(rows, FOLD_EVERY)):
            ledger._store(batch, 0.0)
        times = ledger._columns[0]
        ledger._zero = time.perf_counter() - (times[-1] if times else 0.0)
        return ledger

    # --- writing -----------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds since the ledger began."""
        return time.perf_counter() - self._zero

    def add(self, tasks: Iterable[Task]) -> None:
        """Make the tasks known (their cost, their body), so that tables and charts can show them."""
        with self._lock:
            numbers = self._task_numbers
            for task in tasks:
                if (number := numbers.get(task.id)) is None:
                    numbers.unseen[task.id] = task
                else:
                    numbers.seen[number] = task

    def record(
        self,
        kind: int,
        task_id: str | None = None,
        worker: str | None = None,
        note: str | None = None,
        delivery: int = 0,
        _clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Append one event, now. From any thread; takes well under a microsecond.

        ``kind`` is a Kind. ``delivery`` names one delivery among those that the worker holds: for a consumer the
        delivery tag, which begins again with every CONNECTED. 0 is its oldest delivery of this task.
        """
        tail = self._tail
        tail.append((_clock(), kind, task_id, worker, note, delivery))
        if len(tail) >= FOLD_EVERY:
            self._fold_if_free()

    def record_all(self, kinds: Iterable[int], task_id: str, worker: str, delivery: int) -> None:
        """Append several events of one moment, in this order: those of a task that takes no time."""
        now, tail = time.perf_counter(), self._tail
        tail.extend([(now, kind, task_id, worker, None, delivery) for kind in kinds])
        if len(tail) >= FOLD_EVERY:
            self._fold_if_free()

    def _fold_if_free(self) -> None:
        """Nobody who records waits for somebody who reads."""
        if self._lock.acquire(blocking=False):
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

    def _store(self, batch: list[Row], zero: float) -> None:
        """Append the events to the store, and let the account work out what they change."""
        kinds = bytes([row[1] for row in batch])
        if self._gone or _CRASHED in kinds:
            batch = list(self._heard(batch))
            kinds = bytes([row[1] for row in batch])
        task_numbers, worker_numbers = self._task_numbers, self._worker_numbers
        new: Columns = (
            array("d", [row[0] - zero for row in batch]),
            array("B", kinds),
            array("i", [task_numbers[row[2]] for row in batch]),
            _fitting(self._columns[3], [worker_numbers[row[3]] for row in batch]),
            _fitting(self._columns[4], [row[5] for row in batch]),
        )
        self._notes.update(
            {n: row[4] for n, row in enumerate(batch, self._account.seen) if row[4] is not None}
        )
        times, numbers, tasks, workers, deliveries = self._columns
        times.extend(new[0])
        numbers.extend(new[1])
        tasks.extend(new[2])
        self._columns = times, numbers, tasks, _joined(workers, new[3]), _joined(deliveries, new[4])
        if not task_numbers.unseen:
            task_numbers.unseen = {}  # an emptied dictionary keeps its size
        self._account.take(new, self._notes, len(task_numbers.seen), worker_numbers.names)

    def _heard(self, batch: list[Row]) -> Iterator[Row]:
        """The events without those that a worker went on to tell after its crash, up to its next connection."""
        for row in batch:
            kind, worker = row[1], row[3]
            if worker in self._gone:
                if kind != _CONNECTED:
                    continue
                self._gone.discard(worker)
            elif kind == _CRASHED and worker is not None:
                self._gone.add(worker)
            yield row

    # --- reading -----------------------------------------------------------------------------

    def counts(self) -> Counts:
        """How many tasks there are of each outcome, now."""
        with self._lock:
            self._fold()
            account = self._account
            found = {outcome.field: number for outcome, number in zip(Outcome, account.counts(), strict=True)}
            return Counts(published=len(account.place), done_twice=account.done_twice, **found)

    def outcome(self, task_id: str) -> Outcome:
        """What became of the task; KeyError if the ledger never heard of it."""
        checks.text("The task's id", task_id)
        with self._lock:
            self._fold()
            if task_id not in self._task_numbers:
                raise KeyError(task_id)
            return _OUTCOMES[self._account.place[self._task_numbers[task_id]]]

    def outcomes(self) -> dict[str, Outcome]:
        """What became of every task, in the order they were first seen."""
        with self._lock:
            self._fold()
            places = (_OUTCOMES[place] for place in self._account.place)
            return dict(zip(self._task_numbers.names, places, strict=True))

    def task_ids(self, outcome: Outcome | None = None) -> list[str]:
        """The ids of all tasks, or of those with this outcome."""
        with self._lock:
            self._fold()
            names = self._task_numbers.names
            if outcome is None:
                return names
            wanted = _OUTCOMES.index(outcome)
            return [name for name, place in zip(names, self._account.place, strict=True) if place == wanted]

    def task(self, task_id: str) -> Task | None:
        """The task itself, if this process made it."""
        with self._lock:
            numbers = self._task_numbers
            number = numbers.get(task_id)
            found = numbers.unseen.get(task_id) if number is None else numbers.seen[number]
            return found if isinstance(found, Task) else None

    def label(self, task_id: str) -> str:
        """A short name for a task in tables and pictures, of a foreign one, too."""
        return (self.task(task_id) or Task(task_id, b"")).label

    @property
    def workers(self) -> list[str]:
        """The workers' names in the order of their first appearance."""
        with self._lock:
            self._fold()
            return self._worker_numbers.names

    def seats(self) -> dict[str, Seat]:
        """What each worker holds, did and was sent, by its name: as of now, and for reading only."""
        with self._lock:
            self._fold()
            seats = {seat.name: copy.copy(seat) for seat in self._account.seats}
            for seat in seats.values():
                seat.held, seat.lanes = seat.held.copy(), seat.lanes.copy()
            return seats

    def deliveries(self) -> list[Delivery]:
        """Every delivery so far, oldest first, with what became of it; its numbers as in ``columns``."""
        account = Account(remember=True)
        with self._lock:
            self._fold()
            account.take(self._columns, self._notes, len(self._task_numbers.seen), self._worker_numbers.names)
        return account.deliveries

    def events(self, kinds: Iterable[int] | None = None, *, since: int = 0) -> Iterator[Event]:
        """The events so far, oldest first; only of these kinds; from event number ``since``."""
        with self._lock:
            self._fold()
            count = len(self._columns[0])
            task_ids, names = self._task_numbers.names, self._worker_numbers.names
        wanted = None if kinds is None else {int(kind) for kind in kinds}
        times, numbers, tasks, workers, deliveries = self._columns
        for number in range(since, count):
            kind = numbers[number]
            if wanted is None or kind in wanted:
                t, w = tasks[number], workers[number]
                yield Event(
                    times[number],
                    Kind(kind),
                    task_ids[t] if t >= 0 else None,
                    names[w] if w >= 0 else None,
                    self._notes.get(number),
                    deliveries[number],
                )

    def columns(self, since: int = 0) -> Columns:
        """The events from number ``since`` as columns: times, kinds, and numbers of tasks, workers, deliveries.

        Many times cheaper than ``events``, for whoever follows a run while it goes. -1 is no task, or no worker;
        what the numbers name is told by ``task_id``, ``workers`` and ``note``.
        """
        with self._lock:
            self._fold()
            times, kinds, tasks, workers, deliveries = self._columns
            return times[since:], kinds[since:], tasks[since:], workers[since:], deliveries[since:]

    def task_id(self, number: int) -> str:
        """The id of the task with this number in ``columns``."""
        found = self._task_numbers.seen[number]
        return found.id if isinstance(found, Task) else found

    @property
    def notes(self) -> Mapping[int, str]:
        """The notes by the numbers of their events."""
        return self._notes

    def __len__(self) -> int:
        """How many events there are."""
        with self._lock:
            self._fold()
            return len(self._columns[0])

    def spans(self) -> list[Span]:
        """Every attempt at a task, in the order they were started; one under way ends now."""
        deliveries, now = self.deliveries(), self.now()
        return attempts.spans(deliveries, self.task_ids(), self.workers, now)

    def busy(self, until: float | None = None) -> dict[str, float]:
        """By worker: the seconds that it worked; a task under way counts up to ``until``, or now.

        Of a foreign worker: the seconds in which it held anything.
        """
        now = self.now() if until is None else until
        return {name: seat.busy_until(now) for name, seat in self.seats().items()}

    def _tasks_of(self, worker: str, kinds: set[Kind]) -> list[str]:
        events = self.events(kinds)
        return [event.task_id for event in events if event.worker == worker and event.task_id is not None]

    def delivered_to(self, worker: str) -> list[str]:
        """The ids of what was delivered to the worker, in order, redeliveries included."""
        return self._tasks_of(worker, {Kind.DELIVERED, Kind.REDELIVERED})

    def finished_by(self, worker: str) -> list[str]:
        """The ids of what the worker finished, in order; of a foreign one nobody sees that."""
        return self._tasks_of(worker, {Kind.FINISHED})

    def acknowledged_by(self, worker: str) -> list[str]:
        """The ids of what the worker acknowledged, in order."""
        return self._tasks_of(worker, {Kind.ACKNOWLEDGED})

    def lost(self) -> list[str]:
        """The ids of the tasks that nobody has any more."""
        return self.task_ids(Outcome.LOST)

    def done_twice(self) -> list[str]:
        """The ids of the tasks that were finished more than once."""
        with self._lock:
            self._fold()
            each = zip(self._task_numbers.names, self._account.finishes, strict=True)
            return [task_id for task_id, times in each if times > 1]

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
        """Seconds from the first publish (or start) to the last finish; 0 before any finish.

        A foreign worker's acknowledgement counts as a finish.
        """
        first = last = None
        for event in self.events({Kind.PUBLISHED, Kind.STARTED, Kind.FINISHED}):
            if first is None:
                first = event.time
            if event.kind == Kind.FINISHED:
                last = event.time
        if answers := [seat.last for seat in self.seats().values() if seat.last]:
            last = max(last or 0.0, *answers)
        return max(0.0, last - first) if last is not None and first is not None else 0.0
