"""The words of the ledger: what can happen, and what that adds up to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum


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
    CONNECTED = 14  # a worker; its note is the acknowledgement mode (see seat)
    DISCONNECTED = 15
    CRASHED = 16
    STOPPED = 17
    PAUSED = 18
    RESUMED = 19
    BROKER_DOWN = 20
    BROKER_UP = 21
    HANDED_OVER = (
        22  # possibly sent to a client that the lab cannot see into, with automatic acks: fate unknown
    )
    DONE_ELSEWHERE = 23  # acknowledged by a client that nobody watched


class Outcome(Enum):
    """Where a task is now. Every known task has exactly one."""

    WAITING = "waiting"
    IN_FLIGHT = "in flight"
    DONE = "done"
    DEAD_LETTERED = "dead-lettered"
    UNROUTABLE = "unroutable"
    LOST = "lost"
    HANDED_OVER = "handed over"
    DONE_ELSEWHERE = "done elsewhere"

    @property
    def field(self) -> str:
        """Its name among the fields of Counts."""
        return self.name.lower()


@dataclass(frozen=True)
class Event:
    """One thing that happened; ``time`` in seconds since the ledger began."""

    time: float
    kind: Kind
    task_id: str | None = None
    worker: str | None = None
    note: str | None = None
    delivery: int = 0  # which one among those that the worker holds; 0: unknown


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
    handed_over: int = 0
    done_elsewhere: int = 0
    done_twice: int = 0

    @property
    def adds_up(self) -> bool:
        """The law of conservation: no task is missing and none is counted twice."""
        return self.published == sum(number for _, number in self.by_outcome())

    def by_outcome(self) -> list[tuple[Outcome, int]]:
        """Every outcome with how many tasks have it."""
        return [(outcome, getattr(self, outcome.field)) for outcome in Outcome]


@dataclass
class Span:
    """One attempt at a task, in seconds since the ledger began; ``how`` it ended.

    Of a foreign worker: an answered delivery is "acknowledged" or "rejected", and ``started`` is when its work
    began; one without an answer is "held", or went "back" to the queue. Where it is not known how many it works on
    at a time, all that is known of what it answered is that it was "held" from ``started`` = ``delivered`` on. A
    delivery that needs no answer is "handed over", in no time. ``lane`` tells deliveries at one time apart; None is
    one that still waits for another to be answered.
    """

    task_id: str
    worker: str
    delivered: float
    started: float
    ended: float
    how: str  # "finished" | "failed" | "crashed" | "stopped" | "running", or see above
    redelivered: bool = False
    lane: int | None = 0
