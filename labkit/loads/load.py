"""What was counted for one worker, and the meter that adds it up.

RabbitMQ counts by channel, and what it counted is gone with the channel; a worker that reconnects begins a
new one at zero. A queue's figures begin again at zero, too, after a restart of the broker.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

COUNTED = ("delivered", "acknowledged", "redelivered")  # what channels, queues and the ledger all count


@dataclass(frozen=True)
class Load:
    """What was counted for one worker; all in messages.

    ``automatic`` are those of the deliveries that need no acknowledgement. ``stale`` says that a channel
    of this worker was gone at the end: the figures are the last that were seen of it. ``late`` says that the
    broker had shown none of this worker's when they were taken: the zeros are no count.
    """

    worker: str
    delivered: int = 0
    acknowledged: int = 0
    redelivered: int = 0
    unacknowledged: int = 0
    automatic: int = 0
    stale: bool = False
    late: bool = False

    def __add__(self, other: Load) -> Load:
        return Load(
            self.worker,
            self.delivered + other.delivered,
            self.acknowledged + other.acknowledged,
            self.redelivered + other.redelivered,
            self.unacknowledged + other.unacknowledged,
            self.automatic + other.automatic,
            self.stale or other.stale,
            self.late or other.late,
        )

    def agrees(self, other: Load, figures: tuple[str, ...] = COUNTED) -> bool:
        """Whether these figures are the same in both."""
        return all(getattr(self, figure) == getattr(other, figure) for figure in figures)


class Meter:
    """Adds up the figures of a channel or a queue over all of its lives.

    ``zero`` is what was counted before the meter was there, and is not its own.
    """

    def __init__(self, zero: Load) -> None:
        self.present = True
        self._before = Load(zero.worker, -zero.delivered, -zero.acknowledged, -zero.redelivered)
        self._now = Load(zero.worker)

    def update(self, now: Load) -> None:
        """The figures as they are now; where they are lower than before, they began again."""
        if now.delivered < self._now.delivered:
            self._before += replace(self._now, unacknowledged=0)
        self._now = now

    @property
    def load(self) -> Load:
        """What was counted up to now."""
        load = self._before + self._now
        # What a channel that is gone had not acknowledged is the queue's again.
        return load if self.present else replace(load, unacknowledged=0, stale=True)


def total(loads: Iterable[Load]) -> Load:
    """All of them together."""
    return sum(loads, Load(""))
