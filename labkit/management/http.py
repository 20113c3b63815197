"""How an HTTP API that answers in JSON is asked, and what is said when it fails.

An answer is whole and comes within a time limit, or there is an error in words: nothing answers, another
program answers, the user is refused. A GET that may succeed a moment later is tried again; nothing else is.
"""

from __future__ import annotations

import ipaddress
import json
import time
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from labkit.errors import AccessRefusedError, ManagementError

TIMEOUT = 5.0  # seconds for one whole answer
ATTEMPTS = 3  # of a GET
PAUSE = 0.15  # seconds before the third attempt, twice that; the second comes at once
FAILED = range(500, 600)  # the statuses of an answer that may be better a moment later


class NotFoundError(Exception):
    """Status 404: what exactly is missing, the caller knows."""


class Again(Retry):
    """What is tried again: a GET that is refused, cut off, or failed at; not one that took too long."""

    def increment(self, *args: Any, **more: Any) -> Again:
        error = more.get("error")
        if isinstance(error, HTTPTimeoutError) and not isinstance(error, NewConnectionError):
            raise error
        return super().increment(*args, **more)


class Api:
    """The management API at ``url``, for one user; one thread uses it. ``timeout`` in seconds an answer."""

    def __init__(self, url: str, username: str, password: str, timeout: float = TIMEOUT) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        self.username = username
        self._password = password
        self._session = requests.Session()
        self._session.auth = (username, password)
        self._session.headers["Accept"] = "application/json"
        # A classroom's HTTP proxy must not be asked for an address on this very machine.
        self._session.trust_env = not _is_loopback(self.url)
        again = Again(
            ATTEMPTS - 1,
            allowed_methods={"GET"},
            status_forcelist=FAILED,
            backoff_factor=PAUSE,
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=again))

    def close(self) -> None:
        """Closes the HTTP connections; harmless when repeated."""
        self._session.close()

    def get(self, path: str, **params: str) -> Any:
        """What the API answers to a GET. Raises NotFoundError for status 404, ManagementError if it fails."""
        try:
            with self._session.get(
                f"{self.url}/api/{path}", params=params, timeout=self.timeout, stream=True
            ) as answer:
                body = _whole(answer, time.monotonic() + self.timeout)
        except (requests.Timeout, HTTPTimeoutError) as error:
            raise ManagementError(
                f"The management API at {self.url} gave no answer within {self.timeout:g} seconds.",
                do="The machine may be very busy, or a firewall drops the packets; try again.",
                url=self.url,
            ) from error
        except (requests.ConnectionError, HTTPError) as error:
            raise self._unreachable(error) from error
        except requests.RequestException as error:
            raise ManagementError(
                f"{self.url} is no address of a management API: {error}.",
                do="Check LABKIT_MANAGEMENT_URL.",
                url=self.url,
            ) from error
        return self._content(answer.status_code, body)

    def _content(self, status: int, body: bytes) -> Any:
        try:
            content = json.loads(body) if body else None
        except ValueError as error:
            if status < 400 or status == 404:
                raise self.not_rabbitmq() from error
            content = None
        reason = str(content.get("reason") or "") if isinstance(content, dict) else ""
        if status == 401:
            raise AccessRefusedError(
                f"The management API refuses user {self.username} ({reason or 'no reason given'}).",
                do="Check user and password; the user also needs the tag management or monitoring.",
                address=self.url,
                reply_code=status,
                reply_text=reason,
            )
        if status == 404 and isinstance(content, dict):
            raise NotFoundError(reason)
        if status == 404 or (status == 200 and content is None):
            raise self.not_rabbitmq()
        if status == 400 and "disabled" in reason.lower():
            raise self.no_figures()
        if status >= 500:
            raise ManagementError(
                f"The management API at {self.url} failed with status {status}. {reason}".rstrip(),
                do="Just after a start that passes by itself; otherwise look at the broker's log.",
                url=self.url,
                status=status,
                reason=reason,
            )
        if status >= 400:
            raise ManagementError(
                f"The management API at {self.url} refused with status {status}. {reason}".rstrip(),
                do="The broker's log may say why.",
                url=self.url,
                status=status,
                reason=reason,
            )
        return content

    def _unreachable(self, error: Exception) -> ManagementError:
        cause = error.args[0] if error.args else error
        if isinstance(getattr(cause, "reason", cause), NewConnectionError):
            return ManagementError(
                f"Nothing answers at {self.url}: the broker is down, or its management plugin is off.",
                do="Switch the plugin on with: rabbitmq-plugins enable rabbitmq_management",
                url=self.url,
            )
        return ManagementError(
            f"The connection to the management API at {self.url} was cut off.",
            do="Check that this is the management address (usually port 15672, not 5672), and try again.",
            url=self.url,
        )

    def not_rabbitmq(self) -> ManagementError:
        """The error for an answer that RabbitMQ would not give."""
        return ManagementError(
            f"What answers at {self.url} is not RabbitMQ's management API.",
            do="Check the address: another program may listen there.",
            url=self.url,
        )

    def no_figures(self) -> ManagementError:
        """The error for a broker whose answers have no figures in them."""
        return ManagementError(
            f"The broker at {self.url} was told to collect no figures for the management API.",
            do="Permit the deprecated feature management_metrics_collection; drop management.disable_stats.",
            url=self.url,
        )


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


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
