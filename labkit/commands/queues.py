"""The queue that `send` and `worker` name: taken as it is, and declared only where there is none."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from pika.adapters.blocking_connection import BlockingConnection
from pika.exceptions import ChannelClosedByBroker

from labkit import management
from labkit.brokers import Broker
from labkit.errors import LabError
from labkit.management import Management
from labkit.management.http import NotFoundError
from labkit.setup.machine import say

DEFAULT_TYPE = "quorum"  # what RabbitMQ's tutorial two declares
LOOK_UP_LIMIT = 2.0  # seconds for an answer of the management API
T = TypeVar("T")
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


# What AMQP does not tell, but the management API does.


@dataclass(frozen=True)
class DeadLetters:
    """Where a queue's rejected messages go. https://www.rabbitmq.com/docs/dlx"""

    exchange: str | None  # "" is the default exchange; None: nowhere
    exists: bool = True  # whether there is an exchange of this name
    routing_key: str | None = None  # None: each message keeps its own


def queue_type(broker: Broker, name: str) -> str | None:
    """Return the type of the queue; None when the management API does not answer."""
    return _ask(broker, name, _type)


def dead_letters(broker: Broker, name: str) -> DeadLetters | None:
    """Return where rejected messages go; None when that cannot be known now."""
    return _ask(broker, name, _dead_letters)


def _ask(broker: Broker, name: str, question: Callable[[Management, dict[str, Any]], T]) -> T | None:
    """Ask the management API about a queue; None when it does not answer, or is another broker's."""
    try:
        with management.of(broker) as api:
            api.timeout = LOOK_UP_LIMIT
            if api.overview().cluster_name != (broker.greeting() or {}).get("cluster_name"):
                return None
            return question(api, api.get(f"queues/{_quoted(api.vhost)}/{_quoted(name)}"))
    except (LabError, NotFoundError):
        return None


def _type(_api: Management, row: dict[str, Any]) -> str:
    return row.get("type") or (row.get("arguments") or {}).get("x-queue-type", "classic")


def _dead_letters(api: Management, row: dict[str, Any]) -> DeadLetters | None:
    arguments, policy = row.get("arguments") or {}, row.get("effective_policy_definition") or {}
    exchange = arguments.get("x-dead-letter-exchange", policy.get("dead-letter-exchange"))
    if exchange is None:
        # A queue tells of a policy seconds late: one that might be its own leaves it open.
        policies = api.get(f"policies/{_quoted(api.vhost)}")
        return None if any(_may_dead_letter(each, row["name"]) for each in policies) else DeadLetters(None)
    key = arguments.get("x-dead-letter-routing-key", policy.get("dead-letter-routing-key"))
    return DeadLetters(exchange, _exists(api, exchange), key)


def _may_dead_letter(policy: dict[str, Any], queue: str) -> bool:
    try:
        return "dead-letter-exchange" in policy["definition"] and bool(re.search(policy["pattern"], queue))
    except re.error:  # RabbitMQ's patterns are Perl's
        return True


def _exists(api: Management, exchange: str) -> bool:
    if not exchange:  # the default exchange
        return True
    try:
        api.get(f"exchanges/{_quoted(api.vhost)}/{_quoted(exchange)}")
        return True
    except NotFoundError:
        return False


def _quoted(name: str) -> str:
    return quote(name, safe="")


def say_type(broker: Broker, name: str, wanted: str) -> None:
    """Tell if a queue that was there before is not of the type that was asked for; it is taken all the same."""
    there = queue_type(broker, name)
    if there is None:
        say(
            f" [!] {name} was there before; its type is not known, because the management API does not answer"
        )
    elif there != wanted:
        say(f" [!] {name} was there before and is a {there} queue, not {wanted}; it is taken as it is")
