"""What an event changes: the one place that says so, delivery by delivery.

An account takes in events, oldest first, and knows then where every task is and what every worker holds. The
ledger keeps one of all that happened; the live view feeds one of its own up to the moment that it shows. Counts,
outcomes, spans, busy times, tables and the loads to be expected are read from it.

What a worker holds are *deliveries*: the same task can be there twice, when its message was published twice.
A delivery number names one among those that the worker holds (the channel's delivery tag; it begins again with
every connection). 0 is unknown: the worker's oldest delivery of that task is meant.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from labkit.ledger.events import Kind, Outcome
from labkit.ledger.seat import AUTOMATIC, FOREIGN, OVER, Delivery, Seat, at_once

# Times, kinds, and the numbers of tasks, workers and deliveries. (An array has no [] before Python 3.12.)
Columns: TypeAlias = "tuple[array[float], array[int], array[int], array[int], array[int]]"

# Where a task is, in the order of Outcome. Plain numbers here: this is read and written for every event, and an
# Enum's attributes are slow.
WAITING, IN_FLIGHT, DONE, DEAD_LETTERED, UNROUTABLE, LOST, HANDED_OVER, DONE_ELSEWHERE = range(len(Outcome))
_PUBLISHED, _CONFIRMED, _STARTED = int(Kind.PUBLISHED), int(Kind.CONFIRMED), int(Kind.STARTED)
_DELIVERED, _REDELIVERED = int(Kind.DELIVERED), int(Kind.REDELIVERED)
_FINISHED, _FAILED, _ACKNOWLEDGED = int(Kind.FINISHED), int(Kind.FAILED), int(Kind.ACKNOWLEDGED)

# What is said of a task that no worker holds, and where it is then.
_OF_MESSAGES = {
    int(Kind.PUBLISHED): WAITING,  # possibly once more, after a lost connection
    int(Kind.RETURNED): UNROUTABLE,
    int(Kind.NACKED): LOST,
    int(Kind.LOST): LOST,
    int(Kind.HANDED_OVER): HANDED_OVER,
    int(Kind.DONE_ELSEWHERE): DONE_ELSEWHERE,
    int(Kind.DEAD_LETTERED): DEAD_LETTERED,  # by the broker itself: expired, or too long in the queue
}
# How a worker gives a delivery back, and where the task is then.
_GIVEN_UP = {
    int(Kind.REQUEUED): WAITING,
    int(Kind.DEAD_LETTERED): DEAD_LETTERED,
    int(Kind.REJECTED): LOST,
}
# How a worker leaves, and its state then.
LEAVES = {
    int(Kind.CRASHED): "crashed",
    int(Kind.STOPPED): "stopped",
    int(Kind.DISCONNECTED): "reconnecting",
}


class Account:
    """Where every task is and what every worker holds, from the events taken in so far."""

    def __init__(self, *, remember: bool = False, costs: Sequence[float | None] | None = None) -> None:
        """``remember`` keeps every delivery, also those that are over; ``costs`` of the tasks are in dots."""
        self.seen = 0  # events taken in
        self.place = bytearray()  # by task: WAITING, IN_FLIGHT, …
        self.again = bytearray()  # by task: whether it was delivered before
        self.finishes = bytearray()  # by task
        self.seats: list[Seat] = []
        self.down = False  # the broker
        self.deliveries: list[Delivery] = []  # those remembered, oldest first
        self._remember, self._costs = remember, costs
        self._several: set[int] = set()  # tasks that were held more than once at a time
        self._spare = -(2**40)  # a key that no delivery has yet

    def take(self, columns: Columns, notes: Mapping[int, str], tasks: int, workers: Sequence[str]) -> None:
        """Take in the events in these columns, the next ones after those seen. This is the hot loop.

        ``notes`` are by the event's number, ``tasks`` is how many are known, ``workers`` their names.
        """
        for column in (self.place, self.again, self.finishes):
            column.extend(bytes(max(0, tasks - len(column))))
        self.seats.extend(Seat(name) for name in workers[len(self.seats) :])
        seats, place, finishes, costs = self.seats, self.place, self.finishes, self._costs
        several, remember = self._several, self.deliveries.append if self._remember else None
        for number, (at, kind, t, w, d) in enumerate(zip(*columns, strict=True), self.seen):
            if w < 0 or t < 0:
                if t < 0:
                    self._worker_or_broker(kind, w, at, notes.get(number))
                elif kind != _CONFIRMED and (kind != _PUBLISHED or place[t] > DONE):
                    self._message(kind, t)
                continue
            seat = seats[w]
            key = d or -1 - t
            if kind == _DELIVERED or kind == _REDELIVERED:  # noqa: SIM109 (faster)
                if key in seat.held:
                    key = self._another(seat, d, at)
                new = seat.held[key] = Delivery(t, w, at, kind == _REDELIVERED, seat.settles, seat.mode)
                seat.delivered += 1
                if place[t] == IN_FLIGHT:
                    several.add(t)
                place[t] = IN_FLIGHT
                if remember is not None:
                    remember(new)
                if new.again:
                    self.again[t] = 1
                    seat.redelivered += 1
                if seat.settles:
                    seat.automatic += 1
                    if seat.mode == OVER:
                        self._close(seat, key, int(Kind.HANDED_OVER), HANDED_OVER)
                elif seat.foreign:
                    seat.takes(at)
                continue
            one = seat.held.get(key)
            if one is None or (several and not d and t in several):
                if d or (found := _oldest(seat, t, kind)) is None:
                    continue  # it does not hold that any more
                key, one = found
            elif one.task != t:
                continue
            if seat.foreign:
                self._answer(seat, key, one, kind, at)
            elif kind == _STARTED:
                if one.begun is None:
                    one.begun, seat.current = at, one
            elif kind == _FINISHED:
                if one.work:
                    continue
                one.work = kind
                one.ended = at
                if one.begun is not None:
                    seat.busy += at - one.begun
                if seat.current is one:
                    seat.current = None
                if finishes[t] < 255:
                    finishes[t] += 1
                seat.done += 1
                if costs is not None:
                    seat.dots += costs[t] or 0.0
                if one.settled:
                    self._close(seat, key, kind, DONE)
            elif kind == _ACKNOWLEDGED:
                seat.acknowledged += 1
                if one.work == _FINISHED and not several:  # the usual way of things
                    del seat.held[key]
                    one.end, place[t] = kind, DONE
                elif one.work:
                    self._close(seat, key, kind, DONE if one.work == _FINISHED else LOST)
                else:
                    one.settled = True  # before the work
            elif kind == _FAILED:
                if not one.work:
                    one.work = kind
                    self._end(seat, one, at)
                    if one.settled:
                        self._close(seat, key, kind, LOST)
            elif kind in _GIVEN_UP:
                self._end(seat, one, at)
                self._close(seat, key, kind, _GIVEN_UP[kind])
        self.seen += len(columns[0])

    def _answer(self, seat: Seat, key: int, one: Delivery, kind: int, at: float) -> None:
        """What a foreign client says of a delivery; its work, whatever is told of it, is not seen."""
        if kind == _ACKNOWLEDGED:
            place = DONE
            self.finishes[one.task] = min(255, self.finishes[one.task] + 1)
            seat.acknowledged += 1
            seat.done += 1
            seat.last = at
        elif kind in _GIVEN_UP:
            place = _GIVEN_UP[kind]
        else:
            return
        if kind == Kind.REQUEUED:  # perhaps without a word, as its channel was closed
            one.ended = at
        else:
            seat.answers(one, at)
        self._close(seat, key, kind, place)
        seat.takes(at)

    def _another(self, seat: Seat, d: int, at: float) -> int:
        """A key for a delivery whose own is taken."""
        if d:  # the numbers began again, and nobody said so: what had this one went back
            if seat.foreign:
                seat.held[d].ended = at
            self._close(seat, d, int(Kind.DISCONNECTED), WAITING)
            return d
        self._spare -= 1  # the task's second delivery of unknown number
        return self._spare

    def _end(self, seat: Seat, one: Delivery, at: float) -> None:
        """The work at a delivery is over, one way or the other."""
        if one.ended is None:
            one.ended = at
            seat.busy += at - one.begun if one.begun is not None else 0.0
        if seat.current is one:
            seat.current = None

    def _close(self, seat: Seat, key: int, kind: int, place: int) -> None:
        """The worker holds the delivery no longer, and the task is there now."""
        one = seat.held.pop(key)
        one.end = kind
        if seat.current is one:
            seat.current = None
        if one.lane is not None:
            seat.lanes[one.lane] = None
        self._put(one.task, place)

    def _put(self, t: int, place: int) -> None:
        """Say where the task is, as far as nothing better is known of it."""
        if t in self._several:
            if any(one.task == t for seat in self.seats for one in seat.held.values()):
                place = IN_FLIGHT
            else:
                self._several.discard(t)
        if place == WAITING:
            self.again[t] = 1
        elif place >= LOST and self.finishes[t]:
            place = DONE  # nobody has it any more, and somebody did it: only the acknowledgement is missing
        self.place[t] = place

    def _message(self, kind: int, t: int) -> None:
        """What the producer or the lab says of a task; where it is with a worker, or done, that stands."""
        if self.place[t] not in (IN_FLIGHT, DONE) and (place := _OF_MESSAGES.get(kind)) is not None:
            self.place[t] = DONE if place >= LOST and self.finishes[t] else place

    def _worker_or_broker(self, kind: int, w: int, at: float, note: str | None) -> None:
        if w < 0:
            if kind in (Kind.BROKER_DOWN, Kind.BROKER_UP):
                self.down = kind == Kind.BROKER_DOWN
            return
        seat = self.seats[w]
        if kind == Kind.CONNECTED:
            self._leave(seat, int(Kind.DISCONNECTED), at)  # what it still holds was another connection's
            seat.state, seat.mode = "connected", note or ""
            seat.settles = seat.mode in (AUTOMATIC, OVER)
            seat.foreign = seat.mode.startswith(FOREIGN)
            seat.lanes = [None] * (at_once(seat.mode) or 0)
        elif kind in (Kind.PAUSED, Kind.RESUMED):
            seat.paused = kind == Kind.PAUSED
        elif kind in LEAVES:
            self._leave(seat, kind, at)
            seat.state = LEAVES[kind]

    def _leave(self, seat: Seat, kind: int, at: float) -> None:
        """What the broker has forgotten is lost; it queues everything else again."""
        held, seat.held = seat.held, {}
        if seat.mode == AUTOMATIC and kind != Kind.STOPPED:
            seat.dropped = True
        for one in held.values():
            one.end = kind
            if seat.foreign:
                one.ended = at
            else:
                self._end(seat, one, at)
            self._put(one.task, LOST if one.settled else WAITING)
            if self.place[one.task] == LOST:
                seat.lost.append(one.task)
        if seat.foreign:
            seat.lanes = [None] * len(seat.lanes)
            seat.takes(at)

    # --- what it adds up to ------------------------------------------------------------------

    def counts(self) -> list[int]:
        """How many tasks there are of each outcome, in the order of Outcome."""
        return [self.place.count(place) for place in range(len(Outcome))]

    @property
    def done_twice(self) -> int:
        """How many tasks were finished more than once."""
        return len(self.finishes) - self.finishes.count(0) - self.finishes.count(1)


def _oldest(seat: Seat, t: int, kind: int) -> tuple[int, Delivery] | None:
    """The worker's oldest delivery of the task, with its key; for the work, the oldest that is still to be done."""
    for key, one in seat.held.items():
        if one.task == t and not (one.work and kind in (_STARTED, _FINISHED, _FAILED)):
            return key, one
    return None
