"""A broker that runs somewhere else and is somebody else's: it is used, never started or stopped."""

from __future__ import annotations

import os
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from labkit.brokers.broker import START_TIMEOUT, Broker, Say
from labkit.errors import BrokerDownError, NotOurBrokerError, UsageError

MANAGEMENT_PORT = 15672
READY_TIMEOUT = 10.0  # seconds that a remote broker gets to answer


class Remote(Broker):
    """The broker of ``LABKIT_AMQP_URL``."""

    kind = "remote"
    can_restart = False

    def __init__(self, amqp_url: str, management_url: str | None = None) -> None:
        """``management_url`` defaults to port 15672 of the same host; ``""`` says that there is none."""
        parts = _parsed(amqp_url, "LABKIT_AMQP_URL", ("amqp", "amqps"), "amqp://user:password@host:5672/%2F")
        self._amqp_url = amqp_url
        self._management: tuple[str, str] | None = None
        if management_url is None:
            scheme = "http" if parts.scheme == "amqp" else "https"
            host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
            management_url = f"{scheme}://{host}:{MANAGEMENT_PORT}"
        self._management_url = management_url or None
        if management_url:
            page = _parsed(management_url, "LABKIT_MANAGEMENT_URL", ("http", "https"), "http://host:15672")
            self._management_url = urlunsplit(
                (page.scheme, page.netloc.rpartition("@")[2], page.path, "", "")
            )
            if page.username:
                self._management = (unquote(page.username), unquote(page.password or ""))

    @classmethod
    def from_environment(cls) -> Remote:
        """The broker of ``LABKIT_AMQP_URL`` and ``LABKIT_MANAGEMENT_URL``; UsageError for a bad one."""
        url = os.environ.get("LABKIT_AMQP_URL", "").strip()
        if not url:
            raise UsageError(
                "LABKIT_BROKER is remote, but LABKIT_AMQP_URL does not say where the broker is.",
                do="Set it, for example to amqp://user:password@host:5672/%2F.",
            )
        management = os.environ.get("LABKIT_MANAGEMENT_URL")
        return cls(url, None if management is None else management.strip())

    @property
    def amqp_url(self) -> str:
        return self._amqp_url

    @property
    def management_url(self) -> str | None:
        return self._management_url

    @property
    def management_credentials(self) -> tuple[str, str]:
        return self._management or super().management_credentials

    def start(self, *, timeout: float = START_TIMEOUT, say: Say = print) -> None:
        """Only sees that it answers. Raises NotOurBrokerError when it does not, or the reason it refuses."""
        try:
            self.wait_ready(min(timeout, READY_TIMEOUT))
        except BrokerDownError as error:
            raise self._not_ours("start", because=f" ({error.what})") from error

    def stop(self, *, timeout: float = START_TIMEOUT, say: Say = print) -> None:
        raise self._not_ours("stop")

    def restart(self, *, timeout: float = START_TIMEOUT, say: Say = print) -> None:
        raise self._not_ours("restart")

    def kill(self, *, timeout: float = START_TIMEOUT, say: Say = print) -> None:
        raise self._not_ours("kill")

    def throw_away(self, *, timeout: float = START_TIMEOUT, say: Say = print) -> None:
        raise self._not_ours("throw away")

    def logs(self, lines: int = 100) -> str:
        raise self._not_ours("read the log of")

    def _not_ours(self, what: str, because: str = "") -> NotOurBrokerError:
        return NotOurBrokerError(
            f"The lab cannot {what} the broker at {self.address()}: it runs elsewhere{because}.",
            do="That is the job of whoever runs it; or unset LABKIT_AMQP_URL to use a broker of your own.",
        )


def _parsed(url: str, variable: str, schemes: tuple[str, ...], example: str) -> SplitResult:
    """The parts of ``url``; raises UsageError without repeating it, since a password may be in it."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise UsageError(
            f"{variable} is not an address that starts with {' or '.join(f'{each}://' for each in schemes)}.",
            do=f"Set it like this: {example}.",
        )
    return parts
