"""Where RabbitMQ runs: a private node, ``compose.yaml``, or any other broker by URL.

``find()`` chooses; the result is started with ``start()``. Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.brokers.broker import START_TIMEOUT, Broker, Say, Status
from labkit.brokers.find import KINDS, find

if TYPE_CHECKING:
    import pika

__all__ = ["KINDS", "START_TIMEOUT", "Broker", "Say", "Status", "connect", "find"]


def connect(parameters: pika.connection.Parameters) -> pika.BlockingConnection:
    """``pika.BlockingConnection`` with the lab's errors; see ``labkit.brokers.connection.connect``."""
    from labkit.brokers.connection import connect as open_connection

    return open_connection(parameters)
