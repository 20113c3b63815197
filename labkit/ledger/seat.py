"""A worker's seat: what it holds, what it did, and how much of that is seen."""

from __future__ import annotations

from collections.abc import Iterable

from labkit.ledger.events import Kind

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
            return "finished" if self.work == Kind.FINISHED else "failed"
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


def done_word(seats: Iterable[Seat]) -> str:
    """What is known of the tasks whose outcome is DONE: "done", "acknowledged", or "done or acknowledged"."""
    told = [seat for seat in seats if seat.mode != OVER]
    words = {seat.foreign for seat in told if seat.done} or {seat.foreign for seat in told}
    return "done" if True not in words else "acknowledged" if len(words) == 1 else "done or acknowledged"
