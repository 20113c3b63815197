"""What each setting costs: the same messages published or worked on in several ways, in turns.

Lesson 12 teaches from this. The lab's own producer and worker do the work; the rates are the ledger's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from labkit import tasks
from labkit.errors import UsageError
from labkit.lab import Lab
from labkit.ledger import Kind, Ledger
from labkit.tasks import Task

COUNT = 400  # messages a run
ROUNDS = 3
RUN_LIMIT = 60.0  # seconds for one run


@dataclass(frozen=True)
class Way:
    """How messages are published, kept and worked on.

    ``prefetch``    None: no limit
    ``ack``         "manual" or "automatic"
    ``queue_type``  "classic" or "quorum"
    ``size``        bytes of a message's body
    """

    prefetch: int | None = 100
    ack: str = "manual"
    persistent: bool = True
    confirms: bool = False
    queue_type: str = "classic"
    size: int = 64

    def workload(self, count: int) -> list[Task]:
        """So many tasks of this size, without any work in them."""
        body = b"x" * self.size
        return [replace(task, body=body) for task in tasks.equal(count, 0)]


@dataclass
class Rates:
    """Messages a second of each way, one number a round."""

    what: str
    by_way: dict[str, list[float]] = field(default_factory=dict)

    def median(self, name: str) -> float:
        """The middle one of this way's rounds, in messages a second."""
        return median(self.by_way[name])

    def times(self, fast: str, slow: str) -> float:
        """How many times as fast one is as the other: the middle one of the rounds' ratios."""
        return median(a / b for a, b in zip(self.by_way[fast], self.by_way[slow], strict=True))

    def __repr__(self) -> str:
        width = max(map(len, self.by_way))
        return "\n".join(f"{name:{width}}  {self.median(name):9,.0f} a second" for name in self.by_way)


def publishing(lab: Lab, ways: Mapping[str, Way], *, count: int = COUNT, rounds: int = ROUNDS) -> Rates:
    """Publish ``count`` messages in each way, ``rounds`` times in turns; UsageError for no ways."""
    return _measure("published", lab, ways, count, rounds, _publish)


def working(lab: Lab, ways: Mapping[str, Way], *, count: int = COUNT, rounds: int = ROUNDS) -> Rates:
    """Let one worker empty a queue of ``count`` messages in each way; otherwise as ``publishing``."""
    return _measure("done", lab, ways, count, rounds, _work)


def _measure(what: str, lab: Lab, ways: Mapping[str, Way], count: int, rounds: int, run) -> Rates:
    if not ways or count < 1 or rounds < 1:
        raise UsageError(
            "There is nothing to measure.", do='Give ways, for example {"one": Way(prefetch=1)}.'
        )
    rates = Rates(what, {name: [] for name in ways})
    for number in range(rounds):
        # Forth and back, so that what slowly changes on the machine is nobody's advantage.
        names = list(ways) if number % 2 == 0 else list(ways)[::-1]
        for name in names:
            rates.by_way[name].append(run(lab, ways[name], count))
    return rates


def _publish(lab: Lab, way: Way, count: int) -> float:
    queue = lab.queue("costs", type=way.queue_type)
    lab.publish(
        queue, way.workload(count), confirms=way.confirms, persistent=way.persistent, timeout=RUN_LIMIT
    )
    return _rate(lab.ledger, count, Kind.PUBLISHED, [Kind.PUBLISHED, Kind.CONFIRMED])


def _work(lab: Lab, way: Way, count: int) -> float:
    queue = lab.queue("costs", type=way.queue_type)
    lab.publish(queue, way.workload(count), confirms=False, persistent=way.persistent, timeout=RUN_LIMIT)
    lab.wait(lambda: lab.depth(queue)[0] == count, f"{count} messages to be ready", RUN_LIMIT)
    lab.workers(1, queue, prefetch=way.prefetch, ack=way.ack, loads=False)
    ledger = lab.finish(timeout=RUN_LIMIT).ledger
    # From the subscription on: a worker without a limit has everything before it starts with the first.
    return _rate(ledger, count, Kind.CONNECTED, [Kind.FINISHED, Kind.ACKNOWLEDGED])


def _rate(ledger: Ledger, count: int, first: Kind, last: Sequence[Kind]) -> float:
    """Messages a second from the first event of a kind to the last of others."""
    began = next(ledger.events([first])).time
    ended = max(event.time for event in ledger.events(last))
    return count / max(ended - began, 1e-9)
