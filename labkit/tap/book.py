"""What passes the tap, told to the ledger: which task a message is, which worker a connection, and what counts.

Pure but for the ledger: no socket, no thread. The rules of identity: a task is called by its message id, or else by
the header "id" or the correlation id, or else by a number of our own. A message is known again by its ids and its
body; of messages that are alike in all of that, the first in is the first out.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any

from labkit.errors import LabError
from labkit.ledger import Kind, Ledger
from labkit.ledger.seat import FOREIGN, OVER
from labkit.tap import conversation as said
from labkit.tasks.handlers import parse

VERDICTS = {"ack": Kind.ACKNOWLEDGED, "requeue": Kind.REQUEUED, "reject": Kind.REJECTED}


class Book:
    """Tells the ``ledger`` what the connections of a tap say.

    ``dead_letters(queue)`` tells whether a queue has a dead-letter exchange that no declaration through the tap
    showed (a policy may give it one). ``at_once`` is how many tasks each consumer does at a time, for who knows.
    ``queues`` are those that count; none named: all but those that go with their clients.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        at_once: int | None = None,
        queues: Iterable[str] = (),
        dead_letters: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.ledger, self.at_once = ledger, at_once
        self._only, self._ask = frozenset(queues), dead_letters
        self._private: set[str] = set()  # queues that go with their clients: replies, control, events
        self._dead_letters: dict[str, bool] = {}
        self._bound: defaultdict[str, set[str]] = defaultdict(set)  # exchange → queues
        self._waiting: defaultdict[bytes, deque[str]] = defaultdict(
            deque
        )  # print → ids of what was published
        self._back: defaultdict[bytes, deque[str]] = defaultdict(deque)  # print → ids of what was given back
        self._number = 0  # of the last task without an id
        self._known: set[str] = set()  # tasks whose message was looked at
        self._rows: dict[str, Client] = {}  # by worker, those who are connected

    def client(self, name: str, at_once: int | None = None) -> Client:
        """A new connection; ``name`` is what it would like to be called, ``at_once`` what it says of itself."""
        row, number = name, 1
        while row in self._rows:
            number += 1
            row = f"{name} {number}"
        found = self._rows[row] = Client(self, row, at_once)
        return found

    def forget(self, row: str) -> None:
        """That connection is over; its name is free again."""
        self._rows.pop(row, None)

    def follow(self, ledger: Ledger) -> None:
        """From now on this ledger is told: in the old one everybody leaves, in the new one everybody is there."""
        for client in self._rows.values():
            client.say_goodbye(Kind.STOPPED, "the run is over")
        self.ledger = ledger
        self._known.clear()
        for client in self._rows.values():
            client.say_hello_again()

    # --- which queues count ------------------------------------------------------------------

    def declared(self, event: said.Declared) -> None:
        """A queue was declared through the tap."""
        if event.private:
            self._private.add(event.queue)
        else:
            self._private.discard(event.queue)
        self._dead_letters[event.queue] = event.dead_letters

    def bound(self, event: said.Bound) -> None:
        """A queue was bound through the tap."""
        self._bound[event.exchange].add(event.queue)

    def counts(self, queue: str) -> bool:
        """Whether what is in the queue are tasks."""
        if self._only:
            return queue in self._only
        return bool(queue) and queue not in self._private and not queue.startswith("amq.")

    def leads_to_tasks(self, exchange: str, routing_key: str) -> bool:
        """Whether what is published there are tasks, as far as the tap knows."""
        if not exchange:
            return self.counts(routing_key)
        return any(self.counts(queue) for queue in self._bound[exchange])

    def goes_on(self, queue: str) -> bool:
        """Whether what is rejected in this queue is dead-lettered."""
        if not self._dead_letters.get(queue):
            self._dead_letters[queue] = self._ask(queue)
        return self._dead_letters[queue]

    # --- which task a message is -------------------------------------------------------------

    def published(self, message: said.Message) -> str:
        """The id of a task that is published."""
        task_id = message.id
        if task_id is None:
            task_id = self._make_id()
            self._waiting[message.print].append(task_id)
        self.know(task_id, message)
        return task_id

    def delivered(self, message: said.Message, redelivered: bool) -> str:
        """The id of a task that is delivered."""
        if message.id:
            self.know(message.id, message)
            return message.id
        places = (self._back, self._waiting) if redelivered else (self._waiting, self._back)
        for place in places:
            if ids := place.get(message.print):
                task_id = ids.popleft()
                if not ids:
                    del place[message.print]
                return task_id
        task_id = self._make_id()
        self.know(task_id, message)
        return task_id

    def returned(self, message: said.Message, unconfirmed: Iterable[str]) -> str | None:
        """The id of a task that no queue takes, if it was one: the oldest of those that are not confirmed yet."""
        if message.id:
            return message.id if message.id in self._known else None
        if not (ids := self._waiting.get(message.print)):
            return None
        task_id = next((one for one in unconfirmed if one in ids), ids[-1])
        ids.remove(task_id)
        if not ids:
            del self._waiting[message.print]
        return task_id

    def dead_lettered(self, message: said.Message, task_id: str) -> None:
        """The task will be delivered from another queue, as if it were new there."""
        if not message.id:
            self._waiting[message.print].append(task_id)

    def given_back(self, message: said.Message, task_id: str) -> None:
        """The task will be delivered again."""
        if not message.id:
            self._back[message.print].append(task_id)

    def _make_id(self) -> str:
        self._number += 1
        return f"message#{self._number}"

    def know(self, task_id: str, message: said.Message) -> None:
        """Tell the ledger what is known of the task, so that charts can show its cost."""
        if task_id in self._known:
            return
        self._known.add(task_id)
        if self.ledger.task(task_id) is None:
            try:
                self.ledger.add([parse(message.body, task_id, message.content_type)])
            except LabError:  # it is no task in a form that the lab knows: it has its name all the same
                return


class Client:
    """One connection in the ledger: a row of its own, once it consumes."""

    def __init__(self, book: Book, row: str, at_once: int | None) -> None:
        self.book, self.row, self._at_once = book, row, at_once
        self.delivered = self.acknowledged = self.redelivered = self.published = 0
        self.consumers: dict[tuple[int, str], said.Subscribed] = {}
        self._held: dict[tuple[int, int], tuple[int, str, said.Delivered]] = {}  # number, task id, delivery
        self._unconfirmed: dict[tuple[int, int], str] = {}  # by channel and number
        self._came_back: set[str] = set()
        self._number = 0
        self._mode = ""  # what its deliveries mean, the note of CONNECTED; "" for who does not consume

    @property
    def held(self) -> int:
        """How many deliveries it has not answered."""
        return len(self._held)

    @property
    def prefetch(self) -> int | None:
        """The prefetch count of its consumers; None for no limit, or no consumer."""
        return max((one.prefetch for one in self.consumers.values()), default=0) or None

    def enter(self, event: Any) -> None:
        """Take in an event of its conversation."""
        handler = _ENTRIES.get(type(event))
        if handler is not None:
            handler(self, event)

    def leave(self, kind: Kind, note: str | None = None) -> None:
        """The connection is over: STOPPED in due form, CRASHED without a word, DISCONNECTED by a fault of ours."""
        for _, task_id, delivery in self._held.values():
            self.book.given_back(delivery.message, task_id)
        self._held.clear()
        self.consumers.clear()
        self.say_goodbye(kind, note)
        self._mode = ""
        self.book.forget(self.row)

    def say_goodbye(self, kind: Kind, note: str | None = None) -> None:
        """Tell the ledger that it is over, if it knows it at all."""
        if self._mode:
            self._record(kind, note=note)

    def say_hello_again(self) -> None:
        """Tell a new ledger that it is there, and what it holds."""
        if self._mode:
            self._record(Kind.CONNECTED, note=self._mode)
            for number, task_id, delivery in self._held.values():
                self.book.know(task_id, delivery.message)
                self._record(_kind(delivery), task_id, number=number)

    def _record(
        self, kind: Kind, task_id: str | None = None, note: str | None = None, number: int = 0
    ) -> None:
        self.book.ledger.record(kind, task_id, self.row, note, number)

    def _connect(self, automatic: bool, prefetch: int) -> None:
        """It is a worker from now on; the note tells what its deliveries mean."""
        one = self.book.at_once or self._at_once or (1 if prefetch == 1 else None)
        self._mode = OVER if automatic else f"{FOREIGN} {one}" if one else FOREIGN
        self._record(Kind.CONNECTED, note=self._mode)

    # --- entries -----------------------------------------------------------------------------

    def _declared(self, event: said.Declared) -> None:
        self.book.declared(event)

    def _bound(self, event: said.Bound) -> None:
        self.book.bound(event)

    def _published(self, event: said.Published) -> None:
        if self.book.leads_to_tasks(event.exchange, event.routing_key):
            self.published += 1
            task_id = self.book.published(event.message)
            self.book.ledger.record(Kind.PUBLISHED, task_id)
            if event.number:
                self._unconfirmed[event.channel, event.number] = task_id

    def _confirmed(self, event: said.Confirmed) -> None:
        task_id = self._unconfirmed.pop((event.channel, event.number), None)
        if task_id in self._came_back:
            self._came_back.discard(task_id)
        elif task_id is not None:
            self.book.ledger.record(Kind.CONFIRMED if event.good else Kind.NACKED, task_id)

    def _returned(self, event: said.Returned) -> None:
        task_id = self.book.returned(event.message, self._unconfirmed.values())
        if task_id is not None:
            self.book.ledger.record(Kind.RETURNED, task_id)
            if task_id in self._unconfirmed.values():  # the broker confirms it all the same
                self._came_back.add(task_id)

    def _subscribed(self, event: said.Subscribed) -> None:
        if self.book.counts(event.queue):
            self.consumers[event.channel, event.tag] = event
            if not self._mode:
                self._connect(event.automatic, event.prefetch)

    def _unsubscribed(self, event: said.Unsubscribed) -> None:
        self.consumers.pop((event.channel, event.tag), None)

    def _delivered(self, event: said.Delivered) -> None:
        if not self.book.counts(event.queue):
            return
        if not self._mode:
            self._connect(event.automatic, 1)  # fetched one by one
        task_id = self.book.delivered(event.message, event.redelivered)
        self._number += 1
        self.delivered += 1
        self.redelivered += event.redelivered
        self._record(_kind(event), task_id, number=self._number)
        if not event.automatic:
            self._held[event.channel, event.delivery_tag] = self._number, task_id, event

    def _answered(self, event: said.Answered) -> None:
        known = self._held.pop((event.channel, event.delivery_tag), None)
        if known is None:
            return
        number, task_id, delivery = known
        kind = VERDICTS[event.verdict]
        self.acknowledged += kind is Kind.ACKNOWLEDGED
        if kind is Kind.REJECTED and self.book.goes_on(delivery.queue):
            kind = Kind.DEAD_LETTERED
            self.book.dead_lettered(delivery.message, task_id)
        if kind is Kind.REQUEUED:
            self.book.given_back(delivery.message, task_id)
        self._record(kind, task_id, number=number)

    def _given_back(self, event: said.GivenBack) -> None:
        self._answered(said.Answered(event.channel, event.delivery_tag, "requeue"))


def _kind(delivery: said.Delivered) -> Kind:
    return Kind.REDELIVERED if delivery.redelivered else Kind.DELIVERED


_ENTRIES: dict[type, Callable[[Client, Any], None]] = {
    said.Declared: Client._declared,
    said.Bound: Client._bound,
    said.Published: Client._published,
    said.Confirmed: Client._confirmed,
    said.Returned: Client._returned,
    said.Subscribed: Client._subscribed,
    said.Unsubscribed: Client._unsubscribed,
    said.Delivered: Client._delivered,
    said.Answered: Client._answered,
    said.GivenBack: Client._given_back,
}
