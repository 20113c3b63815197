"""What became of every task.

Producers and workers only append events; what they mean is worked out when somebody asks. At every
moment ``published = waiting + in flight + done + dead-lettered + unroutable + lost``.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Iterable, Iterator

from labkit.ledger.events import Counts, Event, Kind, Outcome, Span
from labkit.tasks import Task

# Events are folded into the compact store once so many have gathered.
FOLD_EVERY = 1024
_OUTCOMES = list(Outcome)
_WAITING, _IN_FLIGHT, _DONE, _DEAD_LETTERED, _UNROUTABLE, _LOST = range(6)
_GIVEN_UP = {int(Kind.REQUEUED): _WAITING, int(Kind.DEAD_LETTERED): _DEAD_LETTERED, int(Kind.REJECTED): _LOST}
# Plain numbers for the hot loop: an Enum's attributes are slow.
_DELIVERED, _REDELIVERED, _STARTED = int(Kind.DELIVERED), int(Kind.REDELIVERED), int(Kind.STARTED)
_FINISHED_KIND, _ACKNOWLEDGED, _CONNECTED = int(Kind.FINISHED), int(Kind.ACKNOWLEDGED), int(Kind.CONNECTED)
_CONFIRMED = int(Kind.CONFIRMED)
# What a worker holds of a task: bits of a small number.
_SETTLED, _FINISHED, _FAILED = 1, 2, 4  # the broker has forgotten it; the work is done; the work failed


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

    @classmethod
    def of_the_past(cls, events: Iterable[tuple]) -> Ledger:
        """A ledger of events (time, kind, task id, worker, note) that are over; its clock stands at the last one."""
        ledger = cls()
        ledger._store(events)
        ledger._zero = time.perf_counter() - (ledger._times[-1] if ledger._times else 0.0)
        return ledger

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
        delivery: int = 0,
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
