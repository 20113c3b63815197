"""A RabbitMQ, wherever it runs: one interface for a private node, ``compose.yaml`` and any other broker."""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import pika
import pika.exceptions

from labkit.brokers import connection
from labkit.errors import BrokerDownError, UsageError, WaitTimeoutError

START_TIMEOUT = 90.0  # seconds; a boot takes 5-8 on two free cores
BLOCKED_TIMEOUT = 15.0  # seconds that a publisher waits for a blocked broker before it says so
BLOCKED_AT_START = 1.0  # the same while it is only asked whether the broker is ready
SOCKET_TIMEOUT = 5.0  # seconds for the TCP connection
HANDSHAKE_TIMEOUT = 10.0  # seconds for TCP, TLS and AMQP together
STEADY = 0.5  # seconds that a connection must last before the broker counts as back (it may be still going)
Say = Callable[[str], object]


@dataclass(frozen=True)
class Status:
    """What a broker is at this moment."""

    kind: str
    running: bool
    amqp: str  # "127.0.0.1:5672"
    management: str | None  # "http://127.0.0.1:15672"
    rabbitmq_version: str | None = None
    erlang_version: str | None = None
    uptime: float | None = None  # seconds; None when it is down, or not known from here


class Broker(ABC):
    """A RabbitMQ, wherever it runs. ``find()`` makes one."""

    kind: str
    can_restart: bool = True

    @property
    @abstractmethod
    def amqp_url(self) -> str:
        """Address with credentials, for any AMQP client; what may be printed is ``address()``."""

    @property
    @abstractmethod
    def management_url(self) -> str | None:
        """Address of the management page and API, without credentials; None where there is none."""

    @abstractmethod
    def start(self, *, timeout: float = START_TIMEOUT, say: Say = print) -> None:
        """Starts the broker unless it runs already; returns when it answers."""

    @abstractmethod
    def stop(self, *, timeout: float = START_TIMEOUT, say: Say = print) -> None:
        """Stops it gracefully; does nothing when it is stopped already."""

    @abstractmethod
    def restart(self, *, timeout: float = START_TIMEOUT, say: Say = print) -> None:
        """Stops it gracefully and starts it again; returns when it answers."""

    @abstractmethod
    def kill(self, *, timeout: float = START_TIMEOUT, say: Say = print) -> None:
        """Ends it with SIGKILL, as a crash would; ``start()`` brings it back with what it had saved."""

    @abstractmethod
    def throw_away(self, *, timeout: float = START_TIMEOUT, say: Say = print) -> None:
        """Ends it, and deletes everything that is in it."""

    @abstractmethod
    def logs(self, lines: int = 100) -> str:
        """The last ``lines`` lines of its log."""

    @property
    def username(self) -> str:
        return unquote(urlsplit(self.amqp_url).username or "guest")

    @property
    def password(self) -> str:
        return unquote(urlsplit(self.amqp_url).password or "guest")

    @property
    def vhost(self) -> str:
        return unquote(urlsplit(self.amqp_url).path[1:]) or "/"

    @property
    def management_credentials(self) -> tuple[str, str]:
        """User and password for the management API: those of AMQP unless its address has others."""
        return self.username, self.password

    def in_use(self) -> bool:
        """Whether this checkout uses it now: it runs, is starting, or was killed to be started again."""
        return self.running()

    def address(self) -> str:
        """Host and port, fit for printing."""
        host, port = self._endpoint()
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def parameters(self, name: str, **more: object) -> pika.ConnectionParameters:
        """How pika reaches this broker; ``name`` is shown as the connection's name on the management page.

        ``more`` overrides any of pika's parameters, e.g. ``heartbeat=5`` (seconds; else the broker's 60).
        A publisher that the broker blocks for more than 15 s gets an error rather than to wait for ever.
        """
        try:
            found = pika.URLParameters(self.amqp_url)
        except (ValueError, TypeError, ArithmeticError) as error:
            raise UsageError(  # pika's own words may have the password in them
                "The address in LABKIT_AMQP_URL has something in it that pika does not understand.",
                do="Set it like this, with user and password or without: amqp://user:password@host:5672/%2F.",
            ) from error
        settings: dict[str, Any] = {
            "host": found.host,
            "port": found.port,
            "virtual_host": self.vhost,
            "credentials": found.credentials,
            "ssl_options": found.ssl_options,
            "heartbeat": found.heartbeat,  # None, unless the address has one: the broker's
            "client_properties": {"connection_name": name},
            "connection_attempts": 1,
            "socket_timeout": SOCKET_TIMEOUT,
            "stack_timeout": HANDSHAKE_TIMEOUT,
            "blocked_connection_timeout": BLOCKED_TIMEOUT,
        }
        return pika.ConnectionParameters(**settings | more)

    def running(self) -> bool:
        """Whether it answers at this moment with an AMQP greeting."""
        return self.greeting() is not None

    def greeting(self) -> dict[str, Any] | None:
        """What it says of itself before any login; None when it is down."""
        return connection.greeting(self.parameters("labkit"))

    def wait_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Returns as soon as it accepts connections and messages; BrokerDownError after ``timeout`` seconds.

        Raises at once what waiting does not mend: a refused user or virtual host, another program there,
        ResourceAlarmError when the broker blocks publishers because its disk or memory runs low.
        """
        parameters = self.parameters("labkit", blocked_connection_timeout=BLOCKED_AT_START)
        deadline = time.monotonic() + timeout
        while True:
            try:
                opened = connection.connect(parameters)
                connection.check_publishing(opened)
                with contextlib.suppress(pika.exceptions.AMQPError):
                    opened.close()
                return
            except BrokerDownError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def wait_for_restart(self, timeout: float) -> None:
        """Returns when the broker was away and is back: somebody else restarts it.

        Raises WaitTimeoutError after ``timeout`` seconds.
        """
        parameters = self.parameters("labkit waits for a restart")
        deadline = time.monotonic() + timeout
        gone = connection.wait_gone(parameters, deadline)
        while not gone or not self.running() or connection.wait_gone(parameters, time.monotonic() + STEADY):
            if time.monotonic() > deadline:
                what = "went away and did not come back" if gone else "was not restarted"
                raise WaitTimeoutError(
                    f"The broker at {self.address()} {what} within {timeout:.0f} s.",
                    do="Restart it (or have it restarted), and run this again.",
                    limit=timeout,
                )
            time.sleep(0.1)

    def status(self) -> Status:
        """Whether it runs, what it is and since when."""
        said = self.greeting()
        platform = str((said or {}).get("platform", ""))
        return Status(
            kind=self.kind,
            running=said is not None,
            amqp=self.address(),
            management=self.management_url,
            rabbitmq_version=str(said["version"]) if said and "version" in said else None,
            erlang_version=platform.removeprefix("Erlang/OTP ") or None,
            uptime=self.uptime() if said is not None else None,
        )

    def uptime(self) -> float | None:
        """Seconds since it was started; None when that is not known from here."""
        return None

    def _endpoint(self) -> tuple[str, int]:
        parts = urlsplit(self.amqp_url)
        return parts.hostname or "localhost", parts.port or (5671 if parts.scheme == "amqps" else 5672)

    def __repr__(self) -> str:
        return f"<{self.kind} broker at {self.address()}, {'running' if self.running() else 'down'}>"
