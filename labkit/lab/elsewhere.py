"""What became of tasks that the ledger has waiting and no queue holds, where others may have had them.

A client that the lab does not watch can consume from a queue of the lab; the ledger hears nothing of that. The
broker counts it, but late, and the last second of a client that left perhaps never. So nothing is claimed of a
missing task that these counts do not show:

- **lost**: no such client was ever seen, the broker counted no message for one, and something that was watched can
  have lost the task (see ``can_have_lost``). Automatic deliveries that no worker read are then those on their way to
  a worker that broke off.
- **dead-lettered** instead, if the queue has a dead-letter exchange: the broker moved it there by itself.
- **done elsewhere**: others acknowledged as many as are missing (or more, where nothing can be lost), and were sent
  none with automatic acknowledgements.
- **handed over**: everything else. Where clients do both, or a worker crashes beside one, the fates of the single
  tasks cannot be told apart, and the weaker claim holds for all of them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from labkit.errors import LabError, QueueMissingError
from labkit.ledger import Kind, Ledger
from labkit.management import Management

# Arguments of a queue that may drop messages; a quorum queue has a delivery limit without being asked.
DROPPING = {"x-max-length", "x-max-length-bytes", "x-message-ttl", "x-expires", "x-delivery-limit"}


@dataclass(frozen=True)
class Figures:
    """What the broker counted for clients that nobody watches, in messages."""

    holding: int  # unacknowledged with them
    acknowledged: int
    automatic: int  # sent without waiting for an acknowledgement
    drops: bool = False  # whether a queue may drop messages
    dead_letters: bool = False  # whether a queue has a dead-letter exchange

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

    def notice(self, queue: str, workers: Collection[str]) -> None:
        """Look who else consumes: a worker that was cut off and is back may still be there twice, by its name."""
        tags = {consumer.tag for consumer in self._management.consumers(queue)}
        strangers = [tag for tag in tags.difference(workers) if self._management.alias((tag,)) is None]
        self.seen = self.seen or bool(strangers)

    def look(self) -> Figures | None:
        """What others have and had; None where the broker does not tell, or has begun to count anew."""
        seats = self._ledger.seats()
        held = acknowledged = automatic = 0
        drops = dead_letters = False
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
                drops = drops or queue.type == "quorum" or not DROPPING.isdisjoint(queue.arguments)
                dead_letters = dead_letters or "x-dead-letter-exchange" in queue.arguments
        except LabError:
            return None
        # The channels' figures are younger than the queues'; who only fetches is in the queues' alone.
        mine = sum(seat.unacknowledged for seat in seats.values())
        holding = max(sum(channel.unacknowledged for channel in channels), held - mine)
        acknowledged -= sum(seat.acknowledged for seat in seats.values())
        automatic -= sum(seat.automatic for seat in seats.values())
        return Figures(holding, max(0, acknowledged), max(0, automatic), drops, dead_letters)

    def fate(self, missing: int, found: Figures | None) -> Kind:
        """What is to be said of so many missing tasks: see the rule above."""
        taken = 0 if found is None else found.acknowledged + (0 if self._dropped() else found.automatic)
        if not self.seen and not taken:
            if found is not None and found.dead_letters and not found.automatic:
                return Kind.DEAD_LETTERED
            return Kind.LOST if self.can_have_lost(found) else Kind.HANDED_OVER
        if found is None or found.automatic:
            return Kind.HANDED_OVER
        # Where some may be lost, more acknowledgements than that were for messages of others, at least in part.
        many = found.acknowledged > missing and not self.can_have_lost(found)
        return Kind.DONE_ELSEWHERE if many or found.acknowledged == missing else Kind.HANDED_OVER

    def can_have_lost(self, found: Figures | None) -> bool:
        """Whether something that was watched can have lost a task without a word.

        - The queue drops messages: when it is too full, when they are too old, or when they came back too often.
        - The broker was away, or may have been: a connection broke. A transient message does not survive that, nor
          one that was not confirmed.
        - A publish was never confirmed: it may never have arrived.
        - A worker with automatic acknowledgements broke off, with messages on their way to it. (One that stops
          reads those first, and the ledger knows of them.)
        - A queue was deleted.
        """
        down = any(self._ledger.events({Kind.BROKER_DOWN, Kind.DISCONNECTED}))
        published = {event.task_id for event in self._ledger.events({Kind.PUBLISHED})}
        confirmed = {event.task_id for event in self._ledger.events({Kind.CONFIRMED})}
        drops = found is not None and found.drops
        return drops or down or not published <= confirmed or self._dropped() or self._gone()

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
