"""Where every task is at one moment, kept up to date from what a ledger records, a few events at a time.

The hot loop works on the ledger's columns of numbers: it has to keep up with thousands of tasks a second
and leave the processor to those who do them.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from labkit.ledger import Kind, Ledger

# Where a task is, in the order of ledger.Outcome.
WAITING, HELD, DONE, DEAD_LETTERED, UNROUTABLE, LOST = range(6)
# What a worker holds of a task: bits of a small number.
SETTLED, STARTED, FINISHED, FAILED = 1, 2, 4, 8  # SETTLED: the broker has forgotten it

_PUBLISHED, _CONFIRMED = int(Kind.PUBLISHED), int(Kind.CONFIRMED)
_DELIVERED, _REDELIVERED, _STARTED = int(Kind.DELIVERED), int(Kind.REDELIVERED), int(Kind.STARTED)
_FINISHED, _FAILED, _ACKNOWLEDGED = int(Kind.FINISHED), int(Kind.FAILED), int(Kind.ACKNOWLEDGED)
_CONNECTED, _LOST = int(Kind.CONNECTED), int(Kind.LOST)
_GIVEN_UP = {int(Kind.REQUEUED): WAITING, int(Kind.DEAD_LETTERED): DEAD_LETTERED, int(Kind.REJECTED): LOST}
_LEAVES = {
    int(Kind.CRASHED): "crashed",
    int(Kind.STOPPED): "stopped",
    int(Kind.DISCONNECTED): "reconnecting",
}


@dataclass(slots=True)
class Seat:
    """One worker, as far as the picture goes."""

    name: str
    state: str = "connecting"  # "connected" | "reconnecting" | "crashed" | "stopped"
    paused: bool = False
    automatic: bool = False  # the broker forgets a task as it sends it
    held: dict[int, int] = field(default_factory=dict)  # task -> bits, in the order of delivery
    current: int = -1  # the task that it works on
    since: float = 0.0  # when it started that, in seconds
    done: int = 0
    dots: float = 0.0  # the work that is done
    lost: list[int] = field(default_factory=list)  # tasks that were lost with it

    @property
    def word(self) -> str:
        """Its state in one word."""
        if self.state == "connected":
            return "paused" if self.paused else "working" if self.current >= 0 else "idle"
        return self.state


class State:
    """Follows a ledger: ``read()`` takes in what is new, up to a moment of the run if one is given."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.seen = 0  # events taken in
        self.place, self.again = bytearray(), bytearray()  # by task; again: it was delivered before
        self.seats: list[Seat] = []
        self.down = False  # the broker
        self.done_twice = 0
        self.dearest = 1.0  # cost of the dearest task so far, in dots
        self._costs: list[float | None] = []
        self._finishes = bytearray()
        self._first_waiting = 0

    def read(self, until: float | None = None) -> int:
        """Take in what is new (up to ``until`` seconds) and return how many events that were."""
        columns = self.ledger.columns(self.seen)
        if until is not None:
            count = bisect_right(columns[0], until)
            columns = tuple(column[:count] for column in columns)
        if not columns[0]:
            return 0
        tasks, workers = max(columns[2]) + 1, max(columns[3]) + 1
        if len(self.seats) < workers:
            self.seats.extend(Seat(name) for name in self.ledger.workers[len(self.seats) : workers])
        for number in range(len(self.place), tasks):
            task = self.ledger.task(self.ledger.task_id(number))
            cost = None if task is None else task.cost
            self._costs.append(cost)
            if cost and cost > self.dearest:
                self.dearest = cost
        for column in (self.place, self.again, self._finishes):
            column.extend(bytes(max(0, tasks - len(column))))
        self._take(columns)
        self.seen += len(columns[0])
        return len(columns[0])

    def _take(self, columns: tuple) -> None:
        """The hot loop."""
        seats, place, again, costs = self.seats, self.place, self.again, self._costs
        for number, (at, kind, t, w) in enumerate(zip(*columns, strict=True), self.seen):
            if t < 0:
                self._worker_or_broker(kind, w, number)
            elif w < 0:
                if kind == _PUBLISHED:
                    if place[t] != DONE and place[t] != HELD:  # noqa: PLR1714
                        place[t] = WAITING
                        if t < self._first_waiting:
                            self._first_waiting = t
                elif kind != _CONFIRMED:
                    self._message(kind, t)
            elif kind == _ACKNOWLEDGED:
                held = seats[w].held
                bits = held.get(t, 0)
                if bits & FINISHED:  # the usual way of things
                    del held[t]
                    place[t] = DONE
                elif t in held:
                    self._delivery(kind, t, seats[w])
            elif kind == _STARTED:
                seat = seats[w]
                seat.current, seat.since = t, at
                if t in seat.held:
                    seat.held[t] |= STARTED
            elif kind == _DELIVERED or kind == _REDELIVERED:  # noqa: PLR1714, SIM109
                seat = seats[w]
                seat.held[t] = SETTLED if seat.automatic else 0
                place[t] = HELD
                if kind == _REDELIVERED:
                    again[t] = 1
            elif t in seats[w].held:
                seat = seats[w]
                if kind == _FINISHED and seat.current == t and not self._finishes[t]:
                    seat.current = -1
                    seat.done += 1
                    seat.dots += costs[t] or 0
                    self._finishes[t] = 1
                    bits = seat.held[t] = seat.held[t] | FINISHED
                    if bits & SETTLED:
                        del seat.held[t]
                        place[t] = DONE
                else:
                    self._delivery(kind, t, seat)

    def _delivery(self, kind: int, t: int, seat: Seat) -> None:
        """What a worker says of a task that it holds."""
        held = seat.held
        if kind in (_FINISHED, _FAILED) and seat.current == t:
            seat.current = -1
        if kind == _FINISHED:
            held[t] |= FINISHED
            seat.done += 1
            seat.dots += self._costs[t] or 0
            if self._finishes[t] < 2:
                self._finishes[t] += 1
                self.done_twice += self._finishes[t] == 2
        elif kind == _FAILED:
            held[t] |= FAILED
        elif kind == _ACKNOWLEDGED:
            held[t] |= SETTLED
        else:
            del held[t]
            self._put(t, _GIVEN_UP[kind])
            return
        bits = held[t]
        if bits & SETTLED and bits & (FINISHED | FAILED):
            del held[t]
            self._put(t, DONE if bits & FINISHED else LOST)

    def _message(self, kind: int, t: int) -> None:
        """What the producer or the lab says of a task."""
        if kind == Kind.RETURNED:
            self.place[t] = UNROUTABLE
        elif kind in (_LOST, Kind.NACKED):
            self.place[t] = LOST

    def _worker_or_broker(self, kind: int, w: int, number: int) -> None:
        if w < 0:
            self.down = kind == Kind.BROKER_DOWN
            return
        seat = self.seats[w]
        if kind == _CONNECTED:
            seat.state, seat.automatic = "connected", self.ledger.note(number) == "automatic"
        elif kind in (Kind.PAUSED, Kind.RESUMED):
            seat.paused = kind == Kind.PAUSED
        elif kind in _LEAVES:
            seat.state, seat.current = _LEAVES[kind], -1
            for t, bits in seat.held.items():
                # What the broker has forgotten is lost; it queues everything else again.
                if bits & SETTLED:
                    seat.lost.append(t)
                self._put(t, LOST if bits & SETTLED else WAITING)
            seat.held.clear()

    def _put(self, t: int, place: int) -> None:
        self.place[t] = place
        if place == WAITING:
            self.again[t] = 1
            self._first_waiting = min(t, self._first_waiting)

    # --- what the picture asks ---------------------------------------------------------------

    def counts(self) -> list[int]:
        """How many tasks are WAITING, HELD, DONE, DEAD_LETTERED, UNROUTABLE, LOST."""
        return [self.place.count(place) for place in range(6)]

    def first(self, place: int, limit: int) -> list[int]:
        """The first tasks in this place, in the order they were published."""
        found, position = [], self._first_waiting if place == WAITING else 0
        while len(found) < limit and (position := self.place.find(place, position)) >= 0:
            found.append(position)
            position += 1
        if place == WAITING:
            self._first_waiting = found[0] if found else len(self.place)
        return found

    def cost(self, t: int) -> float | None:
        """What the task costs, in dots; None if that is not known here."""
        return self._costs[t]

    def label(self, t: int) -> str:
        """A short name for the task."""
        task_id = self.ledger.task_id(t)
        task = self.ledger.task(task_id)
        return task.label if task else task_id[-6:]
