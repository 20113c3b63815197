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
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from labkit.ledger.events import Kind, Outcome

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
# What a consumer's deliveries are to the lab, by the note of CONNECTED. Every other mode is acknowledged by hand,
# and a task is done when it was finished *and* the broker has forgotten it.
AUTOMATIC = "automatic"  # the broker forgets a task as it sends it
FOREIGN = "foreign"  # its work is not seen: what it acknowledges is done; "foreign 2": two tasks at a time
OVER = "handed over"  # neither its work nor an acknowledgement is seen
# What is known of the state of such a worker, where its own workers' word would say too much.
_UNSEEN = {"crashed": "gone", "reconnecting": "disconnected", "stopped": "closed"}
MOST_LANES = 1000  # tasks at a time that a note may claim


def at_once(mode: str) -> int | None:
    """How many tasks at a time a foreign worker does, by the note of its CONNECTED; None if that is not known."""
    number = mode.removeprefix(FOREIGN).strip()
    return min(int(number), MOST_LANES) or None if number.isdecimal() else None


def done_word(seats: Iterable[Seat]) -> str:
    """What is known of the tasks whose outcome is DONE: "done", "acknowledged", or "done or acknowledged"."""
    told = [seat for seat in seats if seat.mode != OVER]
    words = {seat.foreign for seat in told if seat.done} or {seat.foreign for seat in told}
    return "done" if True not in words else "acknowledged" if len(words) == 1 else "done or acknowledged"


class Delivery:
    """One delivery of a task to a worker; times in seconds since the ledger began, None for what was not yet."""

    __slots__ = (
        "again",
        "begun",
        "delivered",
        "end",
        "ended",
        "lane",
        "mode",
        "settled",
        "task",
        "work",
        "worker",
    )

    def __init__(
        self, task: int, worker: int, delivered: float, again: bool, settled: bool, mode: str = ""
    ) -> None:
        self.task, self.worker = task, worker  # their numbers
        self.delivered = delivered
        self.again = again  # redelivered
        self.settled = settled  # the broker has forgotten it
        self.mode = mode  # of the worker's connection
        self.lane: int | None = None  # where a foreign worker that does so many at a time works on it
        self.begun: float | None = None
        self.ended: float | None = None
        self.work = 0  # Kind.FINISHED or Kind.FAILED, once the work is over
        self.end = 0  # what took it out of the worker's hands, a Kind; 0 while it is held

    @property
    def how(self) -> str:
        """How the work ended: "finished", "failed", "crashed", "stopped", or "running"."""
        if self.work:
            return "finished" if self.work == _FINISHED else "failed"
        return "crashed" if self.end == Kind.CRASHED else "stopped" if self.end else "running"


class Seat:
    """One worker: what it holds, what it did, and what the broker should have counted for it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = "connecting"  # "connected" | "reconnecting" | "crashed" | "stopped"
        self.mode = ""  # the note of its CONNECTED
        self.settles = False  # the broker forgets a task as it sends it
        self.foreign = False  # what it does is only known from what passes
        self.lanes: list[
            Delivery | None
        ] = []  # what a foreign one works on, if it is known how many at a time
        self.since: float | None = None  # when a foreign one began to hold anything
        self.most = 0  # how many deliveries a foreign one held at a time
        self.at_least = 0  # how many of them it worked on at a time, as its answers show
        self.last = 0.0  # when a foreign one acknowledged last
        self.paused = False
        self.held: dict[int, Delivery] = {}  # by their keys, in the order of delivery
        self.current: Delivery | None = None  # what it works on
        self.done = 0
        self.dots = 0.0  # the work that is done, where the costs are known
        self.busy = 0.0  # seconds of work that is over; of a foreign one: in which it held anything
        self.dropped = False  # broke off as a consumer with automatic acks: what was on its way to it is gone
        self.lost: list[int] = []  # tasks that were lost with it
        self.delivered = self.redelivered = self.automatic = self.acknowledged = 0

    @property
    def unseen(self) -> bool:
        """Whether its work is not seen: a foreign worker, or one that has its tasks handed over."""
        return self.foreign or self.mode == OVER

    @property
    def word(self) -> str:
        """Its state in one word; of one whose work is not seen it says no more than that."""
        if self.unseen:
            return "holding" if self.held else _UNSEEN.get(self.state, self.state)
        if self.state == "connected":
            return "paused" if self.paused else "working" if self.current is not None else "idle"
        return self.state

    @property
    def unacknowledged(self) -> int:
        """How many deliveries the broker waits to hear of."""
        return sum(not one.settled for one in self.held.values())

    def busy_until(self, now: float) -> float:
        """Seconds of work, with what is under way; of a foreign one: in which it held anything."""
        if self.foreign:
            return self.busy + (max(0.0, now - self.since) if self.since is not None else 0.0)
        under_way = (one.begun for one in self.held.values() if one.begun is not None and one.ended is None)
        return self.busy + sum(max(0.0, now - begun) for begun in under_way)

    @property
    def waits(self) -> int:
        """How many deliveries it holds beside the one that it works on."""
        return len(self.held) - (self.current is not None)

    # A foreign worker's work is told from its deliveries and answers: it takes its tasks in their order, and
    # begins one when it has answered another.

    def takes(self, at: float) -> None:
        """A foreign worker was sent something, or has answered: what it works on now."""
        if self.held:
            self.since = at if self.since is None else self.since
            self.most = max(self.most, len(self.held))
        elif self.since is not None:
            self.busy += at - self.since
            self.since = None
        for lane, taken in enumerate(self.lanes):
            if taken is None:
                one = next((one for one in self.held.values() if one.begun is None), None)
                if one is None:
                    break
                one.begun, one.lane, self.lanes[lane] = at, lane, one
        self.current = self.lanes[0] if len(self.lanes) == 1 else None

    def answers(self, one: Delivery, at: float) -> None:
        """A foreign worker answers this delivery, which it still holds."""
        one.ended = at
        if not self.lanes:
            place = next(place for place, held in enumerate(self.held.values(), 1) if held is one)
            self.at_least = max(self.at_least, place)
        elif one.begun is None:  # out of turn: so it was this one that it worked on, and not the youngest
            lane, other = max(
                ((n, taken) for n, taken in enumerate(self.lanes) if taken is not None),
                key=lambda pair: pair[1].begun or 0.0,
            )
            one.begun, one.lane = max(one.delivered, other.begun or 0.0), lane
            other.begun = other.lane = None
            self.lanes[lane] = one


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
