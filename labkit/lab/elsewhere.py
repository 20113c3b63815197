"""What became of tasks that the ledger has waiting and no queue holds, where others may have had them.

A client that the lab does not watch can consume from a queue of the lab; the ledger hears nothing of that. The
broker counts it. What may be said of a missing task follows from those counts, and nothing is claimed that they
do not show:

- **lost** if the broker gave none of the queue's messages to anybody but the watched workers: then it cannot have
  been done. The same where automatic deliveries were counted that no watched worker read, if one with automatic
  acknowledgements left and no stranger was seen: they were on their way to that one. Without figures, only if
  something that was watched can have lost it (see ``can_have_lost``) and no stranger was seen.
- **dead-lettered** instead of lost if the queue has a dead-letter exchange: the broker moved it there by itself.
- **done elsewhere** if others acknowledged as many as are missing (or more, where nothing can be lost), and were
  sent none with automatic acknowledgements.
- **handed over** otherwise. Whoever mixes both, or crashes beside a stranger, leaves tasks whose fates cannot be told
  apart: the weaker claim holds for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from labkit.errors import LabError, QueueMissingError
from labkit.ledger import Kind, Ledger
from labkit.management import Management


@dataclass(frozen=True)
class Figures:
    """What the broker counted for clients that nobody watches, in messages."""

    holding: int  # unacknowledged with them
    acknowledged: int
    automatic: int  # sent without waiting for an acknowledgement
    dead_letters: bool  # whether a queue has a dead-letter exchange

    @property
    def taken(self) -> int:
        """How many messages left the queues through them."""
        return self.acknowledged + self.automatic


class Elsewhere:
    """Looks at what others do with the queues of an experiment."""

    def __init__(self, management: Management, ledger: Ledger) -> None:
        self.seen = False  # whether there was ever a client that nobody watches
        self._management, self._ledger = management, ledger
        self._zero: dict[str, tuple[int, int]] = {}  # what the queues had counted before

    def begin(self, queue: str, *, fresh: bool) -> None:
        """Count for this queue from now on; a ``fresh`` one has counted nothing yet."""
        if fresh:
            self._zero[queue] = (0, 0)
        elif queue not in self._zero:
            try:
                found = self._management.queue(queue)
            except LabError:
                self._zero[queue] = (0, 0)
            else:
                self._zero[queue] = (found.acknowledged, found.automatic)

    def look(self) -> Figures | None:
        """What others have and had; None where the broker does not tell, or has begun to count anew."""
        seats = self._ledger.seats()
        held = acknowledged = automatic = 0
        dead_letters = False
        try:
            channels = [
                channel
                for channel in self._management.channels()
                if channel.worker not in seats and not self._zero.keys().isdisjoint(channel.queues)
            ]
            self.seen = self.seen or bool(channels)
            for name, zero in self._zero.items():
                queue = self._management.queue(name)
                if queue.acknowledged < zero[0] or queue.automatic < zero[1]:
                    return None
                held += queue.unacknowledged
                acknowledged += queue.acknowledged - zero[0]
                automatic += queue.automatic - zero[1]
                dead_letters = dead_letters or "x-dead-letter-exchange" in queue.arguments
        except LabError:
            return None
        # The channels' figures are younger than the queues'; who only fetches is in the queues' alone.
        mine = sum(seat.unacknowledged for seat in seats.values())
        holding = max(sum(channel.unacknowledged for channel in channels), held - mine)
        acknowledged -= sum(seat.acknowledged for seat in seats.values())
        automatic -= sum(seat.automatic for seat in seats.values())
        return Figures(holding, max(0, acknowledged), max(0, automatic), dead_letters)

    def fate(self, missing: int, found: Figures | None) -> Kind:
        """What is to be said of so many missing tasks: see the rule above."""
        if found is None:
            return Kind.LOST if self.can_have_lost() and not self.seen else Kind.HANDED_OVER
        unread = self._dropped() and not self.seen
        if not found.acknowledged and (not found.automatic or unread):
            return Kind.DEAD_LETTERED if found.dead_letters and not unread else Kind.LOST
        # Where some may be lost, more acknowledgements than that were for messages of others, at least in part.
        enough = found.acknowledged == missing or (found.acknowledged > missing and not self.can_have_lost())
        return Kind.DONE_ELSEWHERE if enough and not found.automatic else Kind.HANDED_OVER

    def can_have_lost(self) -> bool:
        """Whether something that was watched can have lost a task without a word.

        - The broker was away: a transient message does not survive that, nor one that was not confirmed.
        - A publish was never confirmed: it may never have arrived.
        - A worker with automatic acknowledgements broke off, with messages on their way to it. (One that stops
          reads those first, and the ledger knows of them.)
        - A queue was deleted.
        """
        down = any(self._ledger.events({Kind.BROKER_DOWN}))
        published = {event.task_id for event in self._ledger.events({Kind.PUBLISHED})}
        confirmed = {event.task_id for event in self._ledger.events({Kind.CONFIRMED})}
        return down or not published <= confirmed or self._dropped() or self._gone()

    def _dropped(self) -> bool:
        return any(seat.dropped for seat in self._ledger.seats().values())

    def _gone(self) -> bool:
        """Whether one of the queues is there no more, and its messages with it."""
        try:
            for name in self._zero:
                self._management.queue(name)
        except QueueMissingError:
            return True
        except LabError:
            return False
        return False
