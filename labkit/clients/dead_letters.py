"""A queue of its own for what cannot be done: published there, and acknowledged when the broker has confirmed that."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pika
from pika.channel import Channel
from pika.spec import Basic

from labkit.clients.consumer import Delivery


class DeadLetters:
    """Publishes deliveries to ``queue`` on a consumer's ``channel``.

    ``settle(delivery, error, good)`` is told what came of each: ``good`` is False where the broker refused it, or
    where there is no such queue.
    https://www.rabbitmq.com/docs/confirms#publisher-confirms
    """

    def __init__(
        self, channel: Channel, queue: str, settle: Callable[[Delivery, BaseException, bool], None]
    ) -> None:
        self._channel, self._queue, self._settle = channel, queue, settle
        self._waiting: dict[int, tuple[Delivery, BaseException]] = {}  # for a confirm, by its number
        self._number = 0
        self._came_back = False  # the message whose confirm comes next
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed)

    def publish(self, delivery: Delivery, error: BaseException) -> None:
        """Publish it as it is, and persistent; ``error`` is why it cannot be done."""
        self._number += 1
        self._waiting[self._number] = delivery, error
        properties = copy.copy(delivery.properties)
        properties.delivery_mode = pika.DeliveryMode.Persistent.value
        self._channel.basic_publish("", self._queue, delivery.body, properties, mandatory=True)

    def _returned(self, *_: Any) -> None:
        self._came_back = True  # the broker returns a message before it confirms it

    def _confirmed(self, frame: Any) -> None:
        upto, good = frame.method.delivery_tag, isinstance(frame.method, Basic.Ack) and not self._came_back
        self._came_back = False
        for number in [n for n in self._waiting if n == upto or (frame.method.multiple and n < upto)]:
            self._settle(*self._waiting.pop(number), good)
