"""The queue that `send` and `worker` name: taken as it is, and declared only where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from pika.adapters.blocking_connection import BlockingConnection
from pika.exceptions import ChannelClosedByBroker

from labkit import management
from labkit.brokers import Broker
from labkit.errors import LabError
from labkit.management.http import NotFoundError
from labkit.setup.machine import say

DEFAULT_TYPE = "quorum"  # what RabbitMQ's tutorial two declares
LOOK_UP_LIMIT = 2.0  # seconds for an answer of the management API
NOT_FOUND, PRECONDITION_FAILED = 404, 406


def take(connection: BlockingConnection, name: str, queue_type: str | None) -> bool:
    """See that the queue ``name`` is there, however it was declared; return whether it had to be declared.

    Then it is durable and of ``queue_type`` (None: a quorum queue). pika's errors pass through.
    https://www.rabbitmq.com/docs/queues#declaration
    """
    try:
        _passive(connection, name)
        return False
    except ChannelClosedByBroker as error:
        if error.reply_code != NOT_FOUND:
            raise
    try:
        arguments = {"x-queue-type": queue_type or DEFAULT_TYPE}
        connection.channel().queue_declare(name, durable=True, arguments=arguments)
        return True
    except ChannelClosedByBroker as error:
        if error.reply_code != PRECONDITION_FAILED:
            raise
    _passive(connection, name)  # another program declared it at this very moment, and otherwise
    return False


def _passive(connection: BlockingConnection, name: str) -> None:
    connection.channel().queue_declare(name, passive=True)  # a refusal closes the channel


@dataclass(frozen=True)
class Known:
    """What the management API tells of a queue that AMQP does not."""

    type: str
    dead_letter_exchange: str | None  # None: it has none
    exchange_exists: bool = False
    routing_key: str | None = None  # with which a message is dead-lettered; None: with its own


def look_up(broker: Broker, name: str) -> Known | None:
    """Ask the management API about a queue; None when it does not answer, or is another broker's."""
    try:
        with management.of(broker) as api:
            api.timeout = LOOK_UP_LIMIT
            if api.overview().cluster_name != (broker.greeting() or {}).get("cluster_name"):
                return None
            return _known(api, name)
    except (LabError, NotFoundError):
        return None


def _known(api: management.Management, name: str) -> Known:
    vhost = quote(api.vhost, safe="")
    row = api.get(f"queues/{vhost}/{quote(name, safe='')}")
    arguments, policy = row.get("arguments") or {}, row.get("effective_policy_definition") or {}
    kind = row.get("type") or arguments.get("x-queue-type") or "classic"
    exchange = arguments.get("x-dead-letter-exchange", policy.get("dead-letter-exchange"))
    if exchange is None:
        return Known(kind, None)
    exists = True
    if exchange:  # the default exchange, with the empty name, is always there
        try:
            api.get(f"exchanges/{vhost}/{quote(exchange, safe='')}")
        except NotFoundError:
            exists = False
    key = arguments.get("x-dead-letter-routing-key", policy.get("dead-letter-routing-key"))
    return Known(kind, exchange, exists, key)


def say_type(broker: Broker, name: str, wanted: str) -> None:
    """Tell if a queue that was there before is not of the type that was asked for; it is taken all the same."""
    known = look_up(broker, name)
    if known is None:
        say(
            f" [!] {name} was there before; its type is not known, because the management API does not answer"
        )
    elif known.type != wanted:
        say(f" [!] {name} was there before and is a {known.type} queue, not {wanted}; it is taken as it is")
