"""What survives the death of a broker: messages of every kind, counted before and after.

Two shelves of queues are filled. On the first every message is confirmed by the broker before the next one
is sent; on the second a publisher goes on without confirms until the broker is gone. Then the broker goes
down and comes back, and ``count()`` fetches what is still there, one message after the other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from labkit.errors import FeatureRefusedError, LabError, QueueMissingError, WaitTimeoutError
from labkit.lab.lab import Lab
from labkit.results.fates import OUTCOMES, Cell, Fate, Matrix

__all__ = ["MESSAGES", "OUTCOMES", "QUEUES", "Fate", "Matrix", "Message", "Survival", "fetch"]

COUNT = 100  # messages of each kind
PAUSE = 0.005  # seconds between two rounds of the publisher that does not wait for confirms
SLOW_PAUSE = 0.2  # the same, once ``count`` are sent, while somebody else takes minutes to kill the broker
# Right after a boot AMQP answers before quorum queues have elected a leader; a busy machine needs longer.
COUNT_LIMIT = 60.0  # seconds
POLL = 0.1  # seconds between looks whether there is something to do
RETRY = 0.3  # seconds between two attempts to reach a queue

QUEUES: dict[str, dict[str, Any]] = {
    "non-durable classic": {"durable": False, "type": "classic"},
    "durable classic": {"durable": True, "type": "classic"},
    "quorum": {"durable": True, "type": "quorum"},
}
MESSAGES = {"transient": pika.DeliveryMode.Transient, "persistent": pika.DeliveryMode.Persistent}


class Survival:
    """Queues of every kind on the bench ``lab``, to be filled, and counted after the broker was away.

    ``refused`` names the queues that this RabbitMQ does not allow (non-durable ones, from 4.3). A quorum queue
    that is younger than about three seconds when its broker is killed can come back empty, whatever was
    confirmed: make this early in a lesson, or restart the broker gracefully before it is killed.
    """

    def __init__(self, lab: Lab, count: int = COUNT) -> None:
        self.lab, self.count_each = lab, count
        self.refused: dict[str, FeatureRefusedError] = {}
        self._confirmed: dict[Cell, int] = {}
        self._publisher: _Publisher | None = None
        for queue, settings in QUEUES.items():
            for message in MESSAGES:
                for shelf in ("confirmed", "unconfirmed"):
                    if queue not in self.refused:
                        try:
                            lab.queue(_short(shelf, queue, message), **settings)
                        except FeatureRefusedError as error:
                            self.refused[queue] = error
        lab.begin()

    @property
    def cells(self) -> list[Cell]:
        """The kinds that this RabbitMQ allows."""
        return [(queue, message) for queue in QUEUES if queue not in self.refused for message in MESSAGES]

    def fill(self) -> None:
        """Publish ``count`` messages to every queue of the first shelf, each confirmed before the next."""
        self._confirmed = dict.fromkeys(self.cells, 0)
        with self.lab.channel("fills the shelf") as channel:
            channel.confirm_delivery()
            for cell in self.cells:
                name = self._declared(channel, "confirmed", cell)
                for number in range(self.count_each):
                    channel.basic_publish("", name, b"message", _properties(number, cell))
                    self._confirmed[cell] += 1  # no exception: the broker has confirmed it

    def publish_unconfirmed(self, pause: float = 0, timeout: float = 60) -> None:
        """Start a publisher that goes round the second shelf without confirms.

        Returns ``pause`` seconds after it has sent ``count`` messages to every queue. Without a pause it
        goes on until its connection breaks. WaitTimeoutError after ``timeout`` seconds.
        """
        with self.lab.channel("declares") as channel:
            names = {cell: self._declared(channel, "unconfirmed", cell) for cell in self.cells}
        publisher = self._publisher = _Publisher(self.lab, names, self.count_each, for_ever=not pause)
        publisher.start()
        self.lab.wait(
            lambda: publisher.rounds >= self.count_each or not publisher.is_alive(),
            f"{self.count_each} messages in every queue, without confirms",
            timeout,
        )
        time.sleep(pause)

    def count(self, name: str) -> tuple[Matrix, Matrix]:
        """Fetch what is there now: the matrix of the confirmed messages, and that of the unconfirmed.

        Waits until the queues can be read; WaitTimeoutError after a minute. The queues are empty afterwards.
        """
        sent: dict[Cell, int] = {}
        if self._publisher is not None:
            self._publisher.stop()
            sent, self._publisher = self._publisher.sent, None
        confirmed = self._fates("confirmed", self._confirmed)
        self._confirmed = {}
        return Matrix(name, confirmed), Matrix(name, self._fates("unconfirmed", sent), confirmed=False)

    def _fates(self, shelf: str, sent: Mapping[Cell, int]) -> dict[Cell, Fate]:
        fates = {}
        for queue in QUEUES:
            for message in MESSAGES if sent else ():
                cell = (queue, message)
                if queue in self.refused:
                    fates[cell] = Fate(0, 0, refused=True)
                else:
                    fates[cell] = _fate(sent[cell], fetch(self.lab, self.lab.name(_short(shelf, *cell))))
        return fates

    def _declared(self, channel: BlockingChannel, shelf: str, cell: Cell) -> str:
        """The queue's full name; declared again, which does nothing while it is there."""
        settings = QUEUES[cell[0]]
        name = self.lab.name(_short(shelf, *cell))
        channel.queue_declare(name, durable=settings["durable"], arguments={"x-queue-type": settings["type"]})
        return name


@dataclass(frozen=True)
class Message:
    """A message that was fetched from a queue."""

    id: str | None
    body: bytes
    redelivered: bool


def fetch(lab: Lab, queue: str, timeout: float = COUNT_LIMIT) -> list[Message] | None:
    """Fetch everything from the queue, which is empty afterwards; None when there is no such queue.

    Tries again while the queue has no leader yet; WaitTimeoutError after ``timeout`` seconds.
    """
    found: list[Message] = []
    deadline = time.monotonic() + timeout
    while True:
        try:
            with lab.channel("counts") as channel:
                while True:
                    method, properties, body = channel.basic_get(queue, auto_ack=True)
                    if method is None or properties is None:
                        return found
                    found.append(Message(properties.message_id, body or b"", method.redelivered))
        except LabError as error:
            if isinstance(error, QueueMissingError) and _gone(lab, queue):
                return None
            if time.monotonic() > deadline:
                raise WaitTimeoutError(
                    f"The queue {queue} could not be read for {timeout:g} s.", do=error.what
                ) from error
        time.sleep(RETRY)


def _gone(lab: Lab, queue: str) -> bool:
    """Whether there is no such queue. AMQP's 404 can also mean that its process is not there yet."""
    try:
        lab.management.queue(queue)
    except QueueMissingError:
        return True
    except LabError:
        pass
    return False


def _fate(sent: int, found: list[Message] | None) -> Fate:
    if found is None:
        return Fate(sent, None)
    different = {message.id: message for message in found}.values()
    return Fate(sent, len(different), sum(message.redelivered for message in different))


def _short(shelf: str, queue: str, message: str) -> str:
    return f"{shelf} {queue} {message}".replace(" ", "-")


def _properties(number: int, cell: Cell) -> pika.BasicProperties:
    return pika.BasicProperties(message_id=str(number), delivery_mode=MESSAGES[cell[1]])


class _Publisher(threading.Thread):
    """Publishes a message to each queue, ``count`` rounds or until it cannot, without confirms."""

    def __init__(self, lab: Lab, names: Mapping[Cell, str], count: int, for_ever: bool) -> None:
        super().__init__(name="publisher without confirms", daemon=True)
        self.sent = dict.fromkeys(names, 0)
        self.rounds = 0
        self._names, self._limit = names, None if for_ever else count
        self._slow_from = None if lab.broker.can_restart else count
        self._parameters = lab.parameters(f"lab {lab.lesson} without confirms")
        self._ended = threading.Event()

    def stop(self, timeout: float = 10) -> None:
        self._ended.set()
        self.join(timeout)

    def run(self) -> None:
        with suppress(AMQPError, OSError):
            connection = pika.BlockingConnection(self._parameters)
            channel = connection.channel()
            while not self._ended.is_set():
                if self.rounds == self._limit:
                    connection.process_data_events(POLL)
                    continue
                for cell, name in self._names.items():
                    channel.basic_publish("", name, b"message", _properties(self.rounds, cell))
                    self.sent[cell] += 1
                self.rounds += 1
                slow = self._slow_from is not None and self.rounds > self._slow_from
                connection.process_data_events(SLOW_PAUSE if slow else PAUSE)
            connection.close()
