"""RabbitMQ's management HTTP API, answered as small frozen dataclasses.

The only module that speaks HTTP. It knows the API's traps, so that nobody else has to: figures that are
absent before any traffic (or ``[]`` where an object belongs), names that must be quoted, channels that
vanish while they are being listed, and a broker that was told to collect no figures.

The reference: https://www.rabbitmq.com/docs/http-api-reference
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from labkit.errors import AccessRefusedError, ManagementError, QueueMissingError, VirtualHostError

TIMEOUT = 5.0  # seconds for one whole answer
ATTEMPTS = 3  # of a GET; nothing else is ever repeated
PAUSE = 0.15  # seconds before the second attempt; twice that before the third
PAGE = 500  # queues in one answer
FRESH_AGE = 1.6  # seconds: the age of figures with the lab's own configuration
DEFAULT_AGE = 6.5  # seconds: with RabbitMQ's defaults, 5 s to collect and then some


@dataclass(frozen=True)
class Overview:
    """What this RabbitMQ is, and how old its figures may be (``statistics_age``, seconds)."""

    rabbitmq_version: str
    erlang_version: str
    cluster_name: str
    node: str
    statistics_age: float


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


@dataclass(frozen=True)
class Connection:
    """A connection; ``name`` is RabbitMQ's own ("address -> address"), the other is what the client said."""

    name: str
    user_provided_name: str
    user: str
    state: str


@dataclass(frozen=True)
class Consumer:
    """A consumer: which tag takes from which queue, on which channel."""

    tag: str
    queue: str
    channel: str
    acknowledges: bool
    prefetch: int
    active: bool


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


@dataclass(frozen=True)
class Alarm:
    """A node that blocks its publishers because ``resource`` ("memory" or "disk") runs low."""

    node: str
    resource: str


def of(broker, timeout: float = TIMEOUT) -> Management:
    """The management API of ``broker``; ``timeout`` is in seconds.

    Raises ManagementError if the broker has none.
    """
    if not broker.management_url:
        raise ManagementError(
            "The address of this broker's management API is not known.",
            do="Set LABKIT_MANAGEMENT_URL, for example to http://broker.example:15672.",
        )
    return Management(broker.management_url, broker.username, broker.password, broker.vhost, timeout=timeout)


class Management:
    """The management API at ``url``, for one user and one virtual host. One thread uses it: see ``copy``."""

    def __init__(
        self, url: str, username: str, password: str, vhost: str = "/", timeout: float = TIMEOUT
    ) -> None:
        """``timeout`` is in seconds, for each whole answer."""
        self.url = url.rstrip("/")
        self.vhost = vhost
        self.timeout = timeout
        self._user = username
        self._session = requests.Session()
        self._session.auth = (username, password)
        self._session.headers["Accept"] = "application/json"
        # A classroom's HTTP proxy must not be asked for an address on this very machine.
        self._session.trust_env = not _is_loopback(self.url)

    def __repr__(self) -> str:
        return f"<Management {self.url} as {self._user}>"

    def __enter__(self) -> Management:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the HTTP connections; harmless when repeated."""
        self._session.close()

    def copy(self) -> Management:
        """The same API with a session of its own, for another thread."""
        assert isinstance(self._session.auth, tuple)
        return Management(self.url, self._user, self._session.auth[1], self.vhost, self.timeout)

    # What is asked for.

    def overview(self) -> Overview:
        """Versions, names, and how old the figures may be."""
        answer = self._get("overview")
        if not isinstance(answer, dict) or "rabbitmq_version" not in answer:
            raise self._not_rabbitmq()
        if answer.get("disable_stats"):
            raise self._no_figures()
        spans = (answer.get("sample_retention_policies") or {}).get("basic") or [600]
        return Overview(
            rabbitmq_version=answer["rabbitmq_version"],
            erlang_version=answer.get("erlang_version", ""),
            cluster_name=answer.get("cluster_name", ""),
            node=answer.get("node", ""),
            # The API does not tell the collection interval, but only a configuration like the lab's
            # keeps samples for a minute and no longer.
            statistics_age=FRESH_AGE if max(spans) <= 60 else DEFAULT_AGE,
        )

    def queues(self, prefix: str = "") -> list[Queue]:
        """The queues of the virtual host whose names begin with ``prefix``."""
        columns = "name,type,durable,arguments,messages_ready,messages_unacknowledged,consumers,message_stats"
        rows = self._pages(f"queues/{self._vhost}", name=prefix, use_regex="false", columns=columns)
        return [_queue(row) for row in rows if row.get("name", "").startswith(prefix)]

    def queue(self, name: str) -> Queue:
        """The queue called ``name``. Raises QueueMissingError if there is none."""
        try:
            return _queue(self._get(f"queues/{self._vhost}/{_quoted(name)}"))
        except _NotFoundError as error:
            raise _missing(name) from error

    def connections(self) -> list[Connection]:
        """The open connections to the virtual host."""
        rows = self._list(f"vhosts/{self._vhost}/connections", columns="name,user_provided_name,user,state")
        return [
            Connection(
                name=row["name"],
                user_provided_name=_text(row.get("user_provided_name")),
                user=_text(row.get("user")),
                state=_text(row.get("state")),
            )
            for row in rows
            if "name" in row
        ]

    def consumers(self, queue: str | None = None) -> list[Consumer]:
        """The consumers on ``queue``, or on every queue of the virtual host."""
        found = [
            Consumer(
                tag=_text(row.get("consumer_tag")),
                queue=_text(_object(row.get("queue")).get("name")),
                channel=_text(_object(row.get("channel_details")).get("name")),
                acknowledges=bool(row.get("ack_required", True)),
                prefetch=_number(row.get("prefetch_count")),
                active=bool(row.get("active", True)),
            )
            for row in self._list(f"consumers/{self._vhost}")
        ]
        return [consumer for consumer in found if queue is None or consumer.queue == queue]

    def channels(self) -> list[Channel]:
        """The open channels of the virtual host, each with its worker's name and its queues.

        The name is the one that the client gave its connection, or the consumer's tag where it gave none.
        Never a port: behind Docker the broker sees another one than the client.
        """
        # Consumers and names before the counts: the counts are then the youngest of the three.
        names = {connection.name: connection.user_provided_name for connection in self.connections()}
        consumers: dict[str, list[Consumer]] = {}
        for consumer in self.consumers():
            consumers.setdefault(consumer.channel, []).append(consumer)
        columns = "name,connection_details,message_stats,messages_unacknowledged,prefetch_count"
        rows = self._list(f"vhosts/{self._vhost}/channels", columns=columns)
        return [_channel(row, names, consumers) for row in rows if "name" in row]

    def alarms(self) -> list[Alarm]:
        """The resource alarms in force, which block every publisher; an empty list is good news."""
        found = []
        for row in self._list("nodes", columns="name,mem_alarm,disk_free_alarm"):
            for key, resource in (("mem_alarm", "memory"), ("disk_free_alarm", "disk")):
                if row.get(key) is True:
                    found.append(Alarm(node=_text(row.get("name")), resource=resource))
        return found

    def delete_queue(self, name: str) -> None:
        """Deletes a queue with everything in it. Raises QueueMissingError if there is none."""
        try:
            self._send("DELETE", f"queues/{self._vhost}/{_quoted(name)}")
        except _NotFoundError as error:
            raise _missing(name) from error

    def close_connection(self, name: str, reason: str = "closed from the lab") -> None:
        """Makes the broker close a connection (by RabbitMQ's name for it); one that is gone is no error."""
        try:
            self._send("DELETE", f"connections/{_quoted(name)}", headers={"X-Reason": reason})
        except _NotFoundError:
            return

    # How it is asked.

    @property
    def _vhost(self) -> str:
        return _quoted(self.vhost)

    def _list(self, path: str, **params: str) -> list[dict[str, Any]]:
        try:
            answer = self._get(path, **params)
        except _NotFoundError as error:
            raise VirtualHostError(
                f'The broker has no virtual host "{self.vhost}", or {self._user} may not see it.',
                do="Check the part of the AMQP address after the last slash.",
            ) from error
        if not isinstance(answer, list):
            raise self._not_rabbitmq()
        return [row for row in answer if isinstance(row, dict)]

    def _pages(self, path: str, **params: str) -> Iterator[dict[str, Any]]:
        page, pages = 1, 1
        while page <= pages:
            try:
                answer = self._get(path, page=str(page), page_size=str(PAGE), pagination="true", **params)
            except _NotFoundError as error:
                if page > 1:  # queues were deleted meanwhile, and there are fewer pages now
                    return
                raise VirtualHostError(
                    f'The broker has no virtual host "{self.vhost}", or {self._user} may not see it.',
                    do="Check the part of the AMQP address after the last slash.",
                ) from error
            if not isinstance(answer, dict) or "items" not in answer:
                raise self._not_rabbitmq()
            yield from answer["items"]
            page, pages = page + 1, _number(answer.get("page_count"))

    def _get(self, path: str, **params: str) -> Any:
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            try:
                return self._once("GET", path, params=params)
            except _PassingError as error:
                if last:
                    raise error.as_told from error.__cause__
            time.sleep(PAUSE * (attempt + 1))
        raise AssertionError("not reached")

    def _send(self, method: str, path: str, **more: Any) -> Any:
        try:
            return self._once(method, path, **more)
        except _PassingError as error:
            raise error.as_told from error.__cause__

    def _once(self, method: str, path: str, **more: Any) -> Any:
        try:
            with self._session.request(
                method, f"{self.url}/api/{path}", timeout=self.timeout, stream=True, **more
            ) as answer:
                body = _whole(answer, time.monotonic() + self.timeout)
        except (requests.Timeout, ReadTimeoutError) as error:
            raise ManagementError(
                f"The management API at {self.url} gave no answer within {self.timeout:g} seconds.",
                do="The machine may be very busy, or a firewall drops the packets; try again.",
            ) from error
        except (requests.ConnectionError, HTTPError) as error:
            raise _PassingError(self._unreachable(error)) from error
        except requests.RequestException as error:
            raise ManagementError(
                f"{self.url} is no address of a management API: {error}.", do="Check LABKIT_MANAGEMENT_URL."
            ) from error
        return self._read(answer.status_code, body)

    def _read(self, status: int, body: bytes) -> Any:
        try:
            content = json.loads(body) if body else None
        except ValueError as error:
            content, not_json = None, error
        else:
            not_json = None
        reason = _text(content.get("reason")) if isinstance(content, dict) else ""
        if status == 401:
            raise AccessRefusedError(
                f"The management API refuses user {self._user} ({reason or 'no reason given'}).",
                do="Check user and password; the user also needs the tag management or monitoring.",
            )
        if status == 404:
            if not_json or not isinstance(content, dict):
                raise self._not_rabbitmq() from not_json
            raise _NotFoundError(reason)
        if status == 400 and "disabled" in reason.lower():
            raise self._no_figures()
        if status >= 500:
            said = f" {reason}" if reason else ""
            raise _PassingError(
                ManagementError(
                    f"The management API at {self.url} failed with status {status}.{said}",
                    do="Just after a start that passes by itself; otherwise look at the broker's log.",
                )
            )
        if status >= 400:
            raise ManagementError(
                f"The management API at {self.url} refused with status {status}. {reason}".rstrip(),
                do="The broker's log may say why.",
            )
        if not_json or (content is None and status == 200):
            raise self._not_rabbitmq() from not_json
        return content

    def _unreachable(self, error: Exception) -> ManagementError:
        if "Connection refused" in str(error) or "NewConnectionError" in str(error):
            return ManagementError(
                f"Nothing answers at {self.url}: the broker is down, or its management plugin is off.",
                do="Switch the plugin on with: rabbitmq-plugins enable rabbitmq_management",
            )
        return ManagementError(
            f"The connection to the management API at {self.url} was cut off.",
            do="Check that this is the management address (usually port 15672, not 5672), and try again.",
        )

    def _not_rabbitmq(self) -> ManagementError:
        return ManagementError(
            f"What answers at {self.url} is not RabbitMQ's management API.",
            do="Check the address: another program may listen there.",
        )

    def _no_figures(self) -> ManagementError:
        return ManagementError(
            f"The broker at {self.url} was told to collect no figures for the management API.",
            do="Permit the deprecated feature management_metrics_collection; drop management.disable_stats.",
        )


class _NotFoundError(Exception):
    """Status 404: what exactly is missing, the caller knows."""


class _PassingError(Exception):
    """A failure that may be gone at the next attempt; ``as_told`` is raised when it is not."""

    def __init__(self, as_told: ManagementError) -> None:
        super().__init__(str(as_told))
        self.as_told = as_told


def _whole(answer: requests.Response, deadline: float) -> bytes:
    """The body, unless it takes too long: requests' own limit is for each read, and a server may drip."""
    parts = []
    while part := answer.raw.read1(1 << 16, decode_content=True):
        parts.append(part)
        if time.monotonic() > deadline:
            raise requests.Timeout("the answer dripped")
    if left := answer.raw.length_remaining:
        raise requests.ConnectionError(f"{left} bytes are missing")
    return b"".join(parts)


def _missing(queue: str) -> QueueMissingError:
    return QueueMissingError(
        f'There is no queue "{queue}".', do="Run the cell that declares it, or check the name."
    )


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _object(value: Any) -> dict[str, Any]:
    """``value`` if it is an object: RabbitMQ answers ``[]`` or nothing where there is no content yet."""
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _queue(row: dict[str, Any]) -> Queue:
    stats = _object(row.get("message_stats"))
    return Queue(
        name=_text(row.get("name")),
        type=_text(row.get("type")) or "classic",
        durable=bool(row.get("durable")),
        arguments=_object(row.get("arguments")),
        ready=_number(row.get("messages_ready")),
        unacknowledged=_number(row.get("messages_unacknowledged")),
        consumers=_number(row.get("consumers")),
        delivered=_number(stats.get("deliver")) + _number(stats.get("deliver_no_ack")),
        acknowledged=_number(stats.get("ack")),
        redelivered=_number(stats.get("redeliver")),
    )


def _channel(row: dict[str, Any], names: dict[str, str], consumers: dict[str, list[Consumer]]) -> Channel:
    stats = _object(row.get("message_stats"))
    connection = _text(_object(row.get("connection_details")).get("name"))
    mine = consumers.get(row["name"], [])
    return Channel(
        name=row["name"],
        connection=connection,
        worker=names.get(connection) or (mine[0].tag if mine else connection),
        queues=tuple(sorted({consumer.queue for consumer in mine})),
        tags=tuple(consumer.tag for consumer in mine),
        delivered=_number(stats.get("deliver")) + _number(stats.get("deliver_no_ack")),
        automatic=_number(stats.get("deliver_no_ack")),
        acknowledged=_number(stats.get("ack")),
        redelivered=_number(stats.get("redeliver")),
        unacknowledged=_number(row.get("messages_unacknowledged")),
        # basic_qos sets the consumer's own limit; the channel's figure is only the default for the next.
        prefetch=mine[0].prefetch if mine else _number(row.get("prefetch_count")),
    )
