"""A consumer: a client that subscribes to a queue, is sent messages, and tells the broker what became of them."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import Any, NamedTuple

import pika
from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from labkit import checks
from labkit.clients.link import Link
from labkit.errors import LabError, TaskError, UsageError
from labkit.ledger import Kind, Ledger
from labkit.tasks.handlers import parse

ACKS = ("automatic", "manual", "forgotten")
# Plain numbers for what is recorded of every task: an Enum's attributes are slow.
DELIVERED, REDELIVERED = int(Kind.DELIVERED), int(Kind.REDELIVERED)
ACKNOWLEDGED, REQUEUED = int(Kind.ACKNOWLEDGED), int(Kind.REQUEUED)


class Delivery(NamedTuple):
    """A message as it was sent to a consumer."""

    tag: int
    task_id: str
    properties: BasicProperties
    body: bytes
    redelivered: bool


class Consumer(Link):
    """Subscribes to ``queue``; what is delivered waits in its buffer, and the ``ledger`` is told of it.

    ``parameters``  where to connect (its connection name becomes the consumer's name)
    ``ack``         "manual"; "automatic": ``auto_ack=True``, the broker forgets a message as it sends it;
                    "forgotten": never acknowledged
    ``prefetch``    how many unacknowledged messages the broker may send it; None: no limit
    ``priority``    consumer priority (``x-priority``)
    ``reconnect``   whether to come back after a lost connection

    https://www.rabbitmq.com/docs/consumers
    """

    def __init__(
        self,
        parameters: pika.connection.Parameters,
        queue: str,
        *,
        name: str,
        ledger: Ledger | None,
        ack: str,
        prefetch: int | None,
        priority: int | None,
        reconnect: bool,
    ) -> None:
        checks.text("name", name)
        super().__init__(parameters, name=name, reconnect=reconnect)
        self.queue = checks.text("queue", queue)
        self.ack = checks.one_of("ack", ack, ACKS)
        self.prefetch = checks.prefetch(prefetch)
        self.priority = None if priority is None else checks.whole("priority", priority, -(2**31), 2**31 - 1)
        if ledger is not None and not isinstance(ledger, Ledger):
            raise UsageError(f"ledger is {ledger!r}.", do="Use a labkit.ledger.Ledger, or leave it out.")
        self.ledger = ledger if ledger is not None else Ledger()
        self.subscribed = threading.Event()  # set once the broker has confirmed its first subscription
        self._label = name  # Thread's own ``name`` is slow, and this is wanted four times a task
        self._buffer: deque[Delivery] = deque()  # delivered, and not yet started
        self._attached = self._consuming = False  # the ledger knows of this connection; it is subscribed

    @property
    def buffered(self) -> int:
        """How many tasks were delivered to it that it has not started."""
        return len(self._buffer)

    @property
    def consuming(self) -> bool:
        """Whether it is subscribed now; who is in a task may have lost its connection and not be back yet."""
        return self._consuming

    def _go_on(self) -> None:
        """In the loop: something has come in."""
        raise NotImplementedError

    def _at_once(self, tag: int, task_id: str, properties: BasicProperties, body: bytes, again: bool) -> bool:
        """In the loop: do what has come in without a stop in the buffer; whether that was possible."""
        return False

    # --- the subscription --------------------------------------------------------------------

    def _opened(self, channel: Channel) -> None:
        channel.add_on_cancel_callback(self._cancelled)
        if self.prefetch is not None:
            channel.basic_qos(prefetch_count=self.prefetch)
        self.ledger.record(Kind.CONNECTED, worker=self._label, note=self.ack)
        self._attached = True
        channel.basic_consume(
            self.queue,
            self._delivered,
            auto_ack=self.ack == "automatic",
            consumer_tag=self._label,
            arguments=None if self.priority is None else {"x-priority": self.priority},
            callback=self._consumes,
        )

    def _consumes(self, _: Any) -> None:
        self._consuming = True
        self._ready()
        self.subscribed.set()

    def _cancelled(self, _: Any) -> None:
        """The broker ended the subscription, for example because the queue was deleted."""
        self._give_up(LabError(f"The broker cancelled {self._label}'s subscription to {self.queue}."))

    def _disconnected(self, error: LabError) -> bool:
        if self._attached:
            note = type(error.__cause__ or error).__name__
            self.ledger.record(Kind.DISCONNECTED, worker=self._label, note=note)
        self._forget()
        return True

    def _forget(self) -> None:
        """What it held is the queue's again."""
        self._attached = self._consuming = False
        self._buffer.clear()

    def _goodbye(self) -> None:
        """Close the connection, and hear all that the broker has sent until it knows: it counts as delivered.

        pika forgets a consumer as it cancels it, and would drop what still comes in.
        """
        super()._goodbye()
        if (channel := self._channel) is not None and not channel.is_closed:
            channel._consumers[self._label] = self._delivered  # type: ignore[attr-defined]
            channel._cancelled.discard(self._label)  # type: ignore[attr-defined]

    # --- messages ----------------------------------------------------------------------------

    def _delivered(self, _: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        """A message has come in: it is started when those before it are done."""
        tag: int = method.delivery_tag  # type: ignore[assignment]
        task_id, again = properties.message_id, method.redelivered
        if task_id is None:
            task_id = self._make_id(tag, properties, body)
        if not self._at_once(tag, task_id, properties, body, again):
            self.ledger.record(REDELIVERED if again else DELIVERED, task_id, self._label, None, tag)
            self._buffer.append(Delivery(tag, task_id, properties, body, again))
            self._go_on()

    def _make_id(self, tag: int, properties: BasicProperties, body: bytes) -> str:
        """A name for a task whose producer gave it none: its job_id, or the delivery's."""
        with contextlib.suppress(TaskError):
            return parse(body, None, properties.content_type).id
        return f"{self._label}#{tag}"

    def _settle(self, kind: int, delivery: Delivery) -> None:
        """Tell the broker what becomes of a delivery, and the ledger that it was told."""
        channel = self._channel
        if channel is None or self._reason is not None:
            return  # the connection is gone, or going
        if kind == ACKNOWLEDGED:
            channel.basic_ack(delivery.tag)
        else:
            channel.basic_reject(delivery.tag, requeue=kind == REQUEUED)
        self.ledger.record(kind, delivery.task_id, self._label, None, delivery.tag)
