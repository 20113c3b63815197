"""What RabbitMQ's management API answers: queues, connections, channels and consumers as small dataclasses.

Any field of an answer may be missing, or hold ``[]`` where an object belongs, until there was some traffic:
it is then 0, or empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FRESH_AGE = 1.6  # seconds: the age of figures with the lab's own configuration
DEFAULT_AGE = 6.5  # seconds: with RabbitMQ's defaults, 5 s to collect and then some

# Consumer tags that nobody chose: Celery's, pika's, RabbitMQ's own.
MADE_UP = re.compile(r"None\d+|ctag\d+\..*|amq\.ctag-.*")

Row = Mapping[str, Any]  # one object of an answer


@dataclass(frozen=True)
class Overview:
    """What this RabbitMQ is, and how old its figures may be (``statistics_age``, seconds)."""

    rabbitmq_version: str
    erlang_version: str
    cluster_name: str
    node: str
    statistics_age: float

    @classmethod
    def read(cls, row: Row) -> Overview:
        """The answer about the broker."""
        spans = at(row, "sample_retention_policies", "basic") or [600]
        return cls(
            rabbitmq_version=row["rabbitmq_version"],
            erlang_version=text(row, "erlang_version"),
            cluster_name=text(row, "cluster_name"),
            node=text(row, "node"),
            # The API does not tell the collection interval, but only a configuration like the lab's
            # keeps samples for a minute and no longer.
            statistics_age=FRESH_AGE if max(spans) <= 60 else DEFAULT_AGE,
        )


@dataclass(frozen=True)
class Queue:
    """A queue; ``ready`` and ``unacknowledged`` are 0 until the queue has reported for the first time.

    ``delivered``, ``acknowledged`` and ``redelivered`` count since the queue was declared, and unlike a
    channel's they outlive the consumers.
    """

    name: str
    type: str
    durable: bool
    arguments: dict[str, Any]
    ready: int
    unacknowledged: int
    consumers: int
    delivered: int
    acknowledged: int
    redelivered: int
    automatic: int = 0  # sent, or fetched, without waiting for an acknowledgement

    @classmethod
    def read(cls, row: Row) -> Queue:
        """One row of a listing of queues."""
        arguments = row.get("arguments")
        return cls(
            name=text(row, "name"),
            type=text(row, "type") or "classic",
            durable=bool(row.get("durable")),
            arguments=arguments if isinstance(arguments, dict) else {},
            ready=number(row, "messages_ready"),
            consumers=number(row, "consumers"),
            automatic=sum(number(row, "message_stats", what) for what in ("deliver_no_ack", "get_no_ack")),
            **_counted(row),
        )


@dataclass(frozen=True)
class Connection:
    """A connection; ``name`` is RabbitMQ's own ("address -> address"), the other is what the client said."""

    name: str
    user_provided_name: str
    user: str
    state: str
    product: str  # the client's library

    @property
    def label(self) -> str:
        """What to call a client that gave itself no name: its library and its port, as far as they are known."""
        port = self.name.partition(" -> ")[0].rpartition(":")[2]
        return f"{self.product} {port}" if self.product and port.isdigit() else self.name

    @classmethod
    def read(cls, row: Row) -> Connection:
        """One row of a listing of connections."""
        return cls(
            name=row["name"],
            user_provided_name=text(row, "user_provided_name"),
            user=text(row, "user"),
            state=text(row, "state"),
            product=text(row, "client_properties", "product"),
        )


@dataclass(frozen=True)
class Consumer:
    """A consumer: which tag takes from which queue, on which channel."""

    tag: str
    queue: str
    channel: str
    acknowledges: bool
    prefetch: int
    active: bool

    @classmethod
    def read(cls, row: Row) -> Consumer:
        """One row of a listing of consumers."""
        return cls(
            tag=text(row, "consumer_tag"),
            queue=text(row, "queue", "name"),
            channel=text(row, "channel_details", "name"),
            acknowledges=bool(row.get("ack_required", True)),
            prefetch=number(row, "prefetch_count"),
            active=bool(row.get("active", True)),
        )


@dataclass(frozen=True)
class Channel:
    """A channel and what was counted on it. ``worker`` is the client's name for the connection.

    ``delivered`` counts every delivery; ``automatic`` those among them that need no acknowledgement.
    """

    name: str
    connection: str
    worker: str
    queues: tuple[str, ...]
    tags: tuple[str, ...]
    delivered: int
    automatic: int
    acknowledged: int
    redelivered: int
    unacknowledged: int
    prefetch: int

    @property
    def consumer_count(self) -> int:
        """How many consumers are on this channel."""
        return len(self.tags)

    @classmethod
    def read(cls, row: Row, connections: Mapping[str, Connection], consumers: Sequence[Consumer]) -> Channel:
        """One row of a listing of channels, with the ``connections`` by name and the channel's own consumers."""
        connection = text(row, "connection_details", "name")
        client = connections.get(connection)
        chosen = [one.tag for one in consumers if not MADE_UP.fullmatch(one.tag)]
        return cls(
            name=row["name"],
            connection=connection,
            worker=(client.user_provided_name if client else "")
            or next(iter(chosen), client.label if client else connection),
            queues=tuple(sorted({consumer.queue for consumer in consumers})),
            tags=tuple(consumer.tag for consumer in consumers),
            automatic=number(row, "message_stats", "deliver_no_ack"),
            # basic_qos sets the consumer's own limit; the channel's figure is only the default for the next.
            prefetch=consumers[0].prefetch if consumers else number(row, "prefetch_count"),
            **_counted(row),
        )


@dataclass(frozen=True)
class Alarm:
    """A node that blocks its publishers because ``resource`` ("memory" or "disk") runs low."""

    node: str
    resource: str


def at(row: Any, *path: str) -> Any:
    """The value at the end of the path; None where RabbitMQ has no content yet, or ``[]`` for an object."""
    for name in path:
        row = row.get(name) if isinstance(row, dict) else None
    return row


def number(row: Any, *path: str) -> int:
    """The whole number at the end of the path, or 0."""
    value = at(row, *path)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def text(row: Any, *path: str) -> str:
    """The text at the end of the path, or an empty one."""
    value = at(row, *path)
    return value if isinstance(value, str) else ""


def _counted(row: Row) -> dict[str, int]:
    """What channels and queues both count."""
    automatic = number(row, "message_stats", "deliver_no_ack")
    return {
        "delivered": number(row, "message_stats", "deliver") + automatic,
        "acknowledged": number(row, "message_stats", "ack"),
        "redelivered": number(row, "message_stats", "redeliver"),
        "unacknowledged": number(row, "messages_unacknowledged"),
    }
