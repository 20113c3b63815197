"""Where RabbitMQ runs: a private node, ``compose.yaml``, or any other broker by URL.

``find()`` chooses; the result is started with ``start()``.
"""

from labkit.brokers.broker import START_TIMEOUT, Broker, Say, Status
from labkit.brokers.connection import connect
from labkit.brokers.find import KINDS, find

__all__ = ["KINDS", "START_TIMEOUT", "Broker", "Say", "Status", "connect", "find"]
