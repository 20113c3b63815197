"""RabbitMQ's management HTTP API, answered as small frozen dataclasses.

It knows the API's traps, so that nobody else has to: names that must be quoted, listings that come in pages,
channels that vanish while they are being listed, and a broker that was told to collect no figures. How the
API is asked over HTTP is in ``labkit.management.http``, what it answers in ``labkit.management.answers``.

The reference: https://www.rabbitmq.com/docs/http-api-reference
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import quote

from labkit.errors import ManagementError, QueueMissingError, VirtualHostError
from labkit.management.answers import Alarm, Channel, Connection, Consumer, Overview, Queue, number, text
from labkit.management.http import TIMEOUT, Api, NotFoundError

PAGE = 500  # queues in one answer


class HasManagement(Protocol):
    """What is asked of a broker: where its API is, who asks there, and about which virtual host."""

    @property
    def management_url(self) -> str | None: ...

    @property
    def management_credentials(self) -> tuple[str, str]: ...

    @property
    def vhost(self) -> str: ...


def of(broker: HasManagement) -> Management:
    """The management API of ``broker``. Raises ManagementError if the broker has none."""
    if not broker.management_url:
        raise ManagementError(
            "The address of this broker's management API is not known.",
            do="Set LABKIT_MANAGEMENT_URL, for example to http://broker.example:15672.",
        )
    return Management(broker.management_url, *broker.management_credentials, broker.vhost)


class Management(Api):
    """The management API at ``url``, for one user and one virtual host. One thread uses it: see ``copy``."""

    def __init__(
        self, url: str, username: str, password: str, vhost: str = "/", timeout: float = TIMEOUT
    ) -> None:
        """``timeout`` is in seconds, for each whole answer."""
        super().__init__(url, username, password, timeout)
        self.vhost = vhost
        self.alias: Callable[[Sequence[str]], str | None] = lambda _: None  # who has these consumer tags

    def __repr__(self) -> str:
        return f"<Management {self.url} as {self.username}>"

    def __enter__(self) -> Management:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def copy(self) -> Management:
        """The same API with a session of its own, for another thread."""
        other = Management(self.url, self.username, self._password, self.vhost, self.timeout)
        other.alias = self.alias
        return other

    def overview(self) -> Overview:
        """Versions, names, and how old the figures may be."""
        answer = self.get("overview")
        if not isinstance(answer, dict) or "rabbitmq_version" not in answer:
            raise self.not_rabbitmq()
        if answer.get("disable_stats"):
            raise self.no_figures()
        return Overview.read(answer)

    def queues(self, prefix: str = "") -> list[Queue]:
        """The queues of the virtual host whose names begin with ``prefix``."""
        columns = "name,type,durable,arguments,messages_ready,messages_unacknowledged,consumers,message_stats"
        rows = self._pages(f"queues/{self._vhost}", name=prefix, use_regex="false", columns=columns)
        return [Queue.read(row) for row in rows if row.get("name", "").startswith(prefix)]

    def queue(self, name: str) -> Queue:
        """The queue called ``name``. Raises QueueMissingError if there is none."""
        try:
            return Queue.read(self.get(f"queues/{self._vhost}/{_quoted(name)}"))
        except NotFoundError as error:
            raise _missing(name) from error

    def connections(self) -> list[Connection]:
        """The open connections to the virtual host."""
        columns = "name,user_provided_name,user,state,client_properties"
        rows = self._list(f"vhosts/{self._vhost}/connections", columns=columns)
        return [Connection.read(row) for row in rows if "name" in row]

    def consumers(self, queue: str | None = None) -> list[Consumer]:
        """The consumers on ``queue``, or on every queue of the virtual host."""
        found = [Consumer.read(row) for row in self._list(f"consumers/{self._vhost}")]
        return [consumer for consumer in found if queue is None or consumer.queue == queue]

    def channels(self) -> list[Channel]:
        """The open channels of the virtual host, each with its worker's name and its queues.

        The name is the one that ``alias`` knows, or that the client gave its connection, or its consumer's tag if it
        chose one. Else it is called by its library, with a port to tell it apart by; behind Docker that port is
        another one than the client's own.
        """
        # Consumers before the counts, which are then the youngest; names last, so that none is missing.
        consumers: dict[str, list[Consumer]] = {}
        for consumer in self.consumers():
            consumers.setdefault(consumer.channel, []).append(consumer)
        columns = "name,connection_details,message_stats,messages_unacknowledged,prefetch_count"
        rows = self._list(f"vhosts/{self._vhost}/channels", columns=columns)
        connections = {connection.name: connection for connection in self.connections()}
        found = [
            Channel.read(row, connections, consumers.get(row["name"], [])) for row in rows if "name" in row
        ]
        # The broker may list a channel before its connection, without details; nobody's name is known then.
        found = [channel for channel in found if channel.connection]
        aliases = [self.alias(channel.tags) for channel in found]
        return [
            replace(channel, worker=alias) if alias else channel
            for channel, alias in zip(found, aliases, strict=True)
        ]

    def alarms(self) -> list[Alarm]:
        """The resource alarms in force, which block every publisher; an empty list is good news."""
        return [
            Alarm(node=text(row, "name"), resource=resource)
            for row in self._list("nodes", columns="name,mem_alarm,disk_free_alarm")
            for key, resource in (("mem_alarm", "memory"), ("disk_free_alarm", "disk"))
            if row.get(key) is True
        ]

    # Listings.

    @property
    def _vhost(self) -> str:
        return _quoted(self.vhost)

    def _list(self, path: str, **params: str) -> list[dict[str, Any]]:
        try:
            answer = self.get(path, **params)
        except NotFoundError as error:
            raise self._no_vhost() from error
        if not isinstance(answer, list):
            raise self.not_rabbitmq()
        return [row for row in answer if isinstance(row, dict)]

    def _pages(self, path: str, **params: str) -> Iterator[dict[str, Any]]:
        page, pages = 1, 1
        while page <= pages:
            try:
                answer = self.get(path, page=str(page), page_size=str(PAGE), pagination="true", **params)
            except NotFoundError as error:
                if page > 1:  # queues were deleted meanwhile, and there are fewer pages now
                    return
                raise self._no_vhost() from error
            if not isinstance(answer, dict) or "items" not in answer:
                raise self.not_rabbitmq()
            yield from answer["items"]
            page, pages = page + 1, number(answer, "page_count")

    def _no_vhost(self) -> VirtualHostError:
        return VirtualHostError(
            f'The broker has no virtual host "{self.vhost}", or {self.username} may not see it.',
            do="Check the part of the AMQP address after the last slash.",
            address=self.url,
        )


def _missing(queue: str) -> QueueMissingError:
    return QueueMissingError(
        f'There is no queue "{queue}".',
        do="Run the cell that declares it, or check the name.",
        queue=queue,
        reply_code=404,
    )


def _quoted(name: str) -> str:
    return quote(name, safe="")
