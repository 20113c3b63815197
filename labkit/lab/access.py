"""A lesson's access to the broker: connections and channels, the names of its queues, how full these are."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import pika
from pika.exceptions import AMQPError

from labkit import brokers, checks, management
from labkit.brokers.connection import connect, explain
from labkit.errors import (
    AccessRefusedError,
    BrokerDownError,
    BrokerError,
    CancelledError,
    UsageError,
    VirtualHostError,
    WaitTimeoutError,
)
from labkit.lab import leftovers

POLL = 0.02  # seconds between two looks
DELETE_LIMIT, DELETE_PAUSE = 15.0, 0.3  # seconds in which a queue must go, and between two attempts
HOPELESS = (AccessRefusedError, BrokerDownError, VirtualHostError)  # waiting mends none of these


class Access:
    """The broker of one lesson, running; what others need of a bench to take part in an experiment."""

    def __init__(
        self, lesson: str, broker: brokers.Broker, *, progress: bool, say: Callable[[str], object]
    ) -> None:
        self.lesson, self.broker, self.progress = lesson, broker, progress
        self._say = say
        broker.start(say=say)
        self.management = management.of(broker)
        self._overview = self.management.overview()
        self._prefix = f"lab.{lesson}.{leftovers.owner()}."
        self._cancelled = threading.Event()

    @property
    def amqp_url(self) -> str:
        """For ``pika.URLParameters``; it has the password in it, so do not print it."""
        return self.broker.amqp_url

    @property
    def version(self) -> tuple[int, ...]:
        """RabbitMQ's version, for example (4, 0, 5)."""
        return tuple(
            int(part) for part in self._overview.rabbitmq_version.split("-")[0].split(".") if part.isdigit()
        )

    @property
    def statistics_age(self) -> float:
        """How old this broker's figures may be, in seconds."""
        return self._overview.statistics_age

    def parameters(self, name: str, **more: object) -> pika.ConnectionParameters:
        """Connection parameters for pika; ``name`` is shown on the management page."""
        return self.broker.parameters(name, **more)

    @contextlib.contextmanager
    def channel(self, name: str = "bench") -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
        """A channel on a connection of its own, closed at the end; pika's errors as the lab's."""
        parameters = self.parameters(f"lab {self.lesson} {name}")
        connection = connect(parameters)
        try:
            yield connection.channel()
        except AMQPError as error:
            raise explain(error, parameters) from error
        finally:
            with contextlib.suppress(AMQPError):
                connection.close()

    def name(self, short: str) -> str:
        """The full name of a queue: nobody else on this broker has it."""
        queue_name(short)
        return short if short.startswith(self._prefix) else self._prefix + short

    def depth(self, queue: str) -> tuple[int, int]:
        """(ready messages, consumers) of a queue, asked of the queue itself. QueueMissingError if it is gone."""
        queue_name(queue)
        with self.channel() as channel:
            found = channel.queue_declare(queue, passive=True).method
            return found.message_count, found.consumer_count

    def delete(self, queue: str) -> None:
        """Delete the queue. After a crash of the broker a quorum queue may refuse it until it has a leader."""
        deadline = time.monotonic() + DELETE_LIMIT
        while True:
            try:
                with self.channel("clears away") as channel:
                    channel.queue_delete(queue)
                return
            except BrokerError as error:
                if isinstance(error, HOPELESS) or time.monotonic() > deadline:
                    raise
            time.sleep(DELETE_PAUSE)

    def check(self) -> None:
        """CancelledError if another thread has called ``cancel``."""
        if self._cancelled.is_set():
            raise CancelledError("This experiment was ended before it was done.")

    def wait_until(
        self, condition: Callable[[], object], what: str, timeout: float, state: Callable[[], str]
    ) -> None:
        """Wait until the condition holds; WaitTimeoutError, with the ``state`` then, after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise WaitTimeoutError(f"Waited {timeout:g} s for this: {what}.", do=state())
            time.sleep(POLL)


def queue_name(value: object) -> str:
    """``value`` if it can be the name of a queue; UsageError otherwise."""
    name = checks.text("The name of the queue", value)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"The name of the queue is {name!r}.", do="Use characters that UTF-8 can write."
        ) from error
    return name
