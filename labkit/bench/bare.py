"""What the lab is held against in bare pika: the loop of every tutorial, and an event-driven one."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence

import pika
from pika.exceptions import AMQPError

from labkit.tasks import Task


class Loop(threading.Thread):
    """Subscribes, does what the dots say, acknowledges; counts in ``done``."""

    def __init__(
        self, parameters: pika.ConnectionParameters, queue: str, *, ack: str, prefetch: int | None
    ) -> None:
        super().__init__(daemon=True)
        self.done = 0
        self.subscribed = threading.Event()
        self._parameters, self._queue, self._ack, self._prefetch = parameters, queue, ack, prefetch

    def run(self) -> None:
        self._connection = pika.BlockingConnection(self._parameters)
        self._channel = channel = self._connection.channel()
        if self._prefetch is not None:
            channel.basic_qos(prefetch_count=self._prefetch)
        automatic = self._ack == "automatic"
        channel.basic_consume(
            self._queue, self._count if automatic else self._acknowledge, auto_ack=automatic
        )
        self.subscribed.set()
        with contextlib.suppress(AMQPError):
            channel.start_consuming()
            self._connection.close()

    def _acknowledge(self, channel, method, properties, body) -> None:
        if dots := body.count(b"."):
            time.sleep(dots)
        channel.basic_ack(method.delivery_tag)
        self.done += 1

    def _count(self, channel, method, properties, body) -> None:
        if dots := body.count(b"."):
            time.sleep(dots)
        self.done += 1

    def stop(self, timeout: float | None = 10) -> None:
        """Leave; waits up to ``timeout`` seconds for that (None: returns at once)."""
        with contextlib.suppress(AMQPError):
            self._connection.add_callback_threadsafe(self._channel.stop_consuming)
        if timeout is not None:
            self.join(timeout)


class Events(Loop):
    """The same on pika's event-driven connection, as fast as pika goes."""

    def run(self) -> None:
        self._events = pika.SelectConnection(
            self._parameters,
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._opened),
            on_close_callback=lambda connection, _: connection.ioloop.stop(),
        )
        self._events.ioloop.start()

    def _opened(self, channel) -> None:
        if self._prefetch is not None:
            channel.basic_qos(prefetch_count=self._prefetch)
        automatic = self._ack == "automatic"
        channel.basic_consume(
            self._queue,
            self._count if automatic else self._acknowledge,
            auto_ack=automatic,
            callback=lambda _: self.subscribed.set(),
        )

    def stop(self, timeout: float | None = 10) -> None:
        """Leave; waits up to ``timeout`` seconds for that (None: returns at once)."""
        self._events.ioloop.add_callback_threadsafe(self._events.close)
        if timeout is not None:
            self.join(timeout)


def publish(
    parameters: pika.ConnectionParameters,
    queue: str,
    tasks: Sequence[Task],
    *,
    confirms: bool = False,
    persistent: bool = False,
) -> None:
    """Publishes the tasks in order, on a connection of its own."""
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    if confirms:
        channel.confirm_delivery()
    for task in tasks:
        properties = pika.BasicProperties(
            message_id=task.id, content_type=task.content_type, delivery_mode=2 if persistent else 1
        )
        channel.basic_publish("", queue, task.body, properties)
    connection.close()
