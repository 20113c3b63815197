"""Connections to the broker, and what pika's errors mean."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import ssl
import time
from typing import Any

import pika
import pika.exceptions
import pika.frame
import pika.spec
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from labkit import checks
from labkit.errors import (
    AccessRefusedError,
    BrokerDownError,
    BrokerError,
    FeatureRefusedError,
    LabError,
    PortTakenError,
    QueueMismatchError,
    QueueMissingError,
    ResourceAlarmError,
    UsageError,
    VirtualHostError,
)

AMQP_HELLO = b"AMQP\x00\x00\x09\x01"
HTTP_HELLO = b"HEAD / HTTP/1.0\r\n\r\n"
LOGIN_REFUSED = "ACCESS_REFUSED - Login was refused"
QUEUE_NAME = re.compile(r"queue '(.*)' in vhost '")
PROBE_TIMEOUT = 3.0  # seconds that a broker gets to say hello


def connect(parameters: pika.connection.Parameters) -> pika.BlockingConnection:
    """Opens a connection; says in the lab's own errors why it could not.

    Raises BrokerDownError (nothing there, no answer, or a TLS port), PortTakenError (another program
    answers there), AccessRefusedError (user or password), VirtualHostError, ResourceAlarmError.
    """
    quiet_pika()
    try:
        return pika.BlockingConnection(parameters)
    except (pika.exceptions.AMQPError, AMQPConnectorException, OSError, UnicodeError) as error:
        raise explain(error, parameters) from error


def quiet_pika() -> None:
    """Silences pika's log, which reports with long tracebacks what is raised as an error anyhow.

    A level that somebody has set for the logger ``pika`` is respected.
    """
    logger = logging.getLogger("pika")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)


def explain(error: BaseException, parameters: pika.connection.Parameters | None = None) -> LabError:
    """The lab's error for one of pika's: what happened and what to do. Raise it ``from error``.

    With ``parameters``, an error while connecting is looked into by asking the address once more
    (up to 3 s).
    """
    if isinstance(error, LabError):
        return error
    where = f"{parameters.host}:{parameters.port}" if parameters else "its address"
    root = _root(error)
    code, text = getattr(root, "reply_code", 0), getattr(root, "reply_text", "") or str(root)
    facts: dict[str, Any] = {"address": where if parameters else None}
    if code:
        facts |= {"reply_code": code, "reply_text": text, "queue": _queue_in(text)}
    if isinstance(root, pika.exceptions.ConnectionBlockedTimeout):
        return ResourceAlarmError(
            "The broker blocks publishing because its disk or its memory runs low.",
            do="Free some disk space (RabbitMQ resumes by itself), or see `python3 -m labkit doctor`.",
            **facts,
        )
    # pika takes a connection that is cut off at this moment for a refusal as well; RabbitMQ always says so.
    if (isinstance(root, pika.exceptions.ProbableAuthenticationError) and "(403)" in text) or (
        code == 403 and text.startswith(LOGIN_REFUSED)
    ):
        user = getattr(getattr(parameters, "credentials", None), "username", "")
        return AccessRefusedError(
            f"The broker at {where} refuses the user {user!r} with this password.",
            do="Check the user and the password in LABKIT_AMQP_URL"
            + (" (guest may log in from the broker's own machine only)." if user == "guest" else "."),
            setting="LABKIT_AMQP_URL",
            **facts | {"reply_code": 403},
        )
    if (isinstance(root, pika.exceptions.ProbableAccessDeniedError) and _names_vhost(text)) or (
        code == 530 and "vhost" in text
    ):
        vhost = getattr(parameters, "virtual_host", "")
        return VirtualHostError(
            f"The broker at {where} has no virtual host {vhost!r}, or this user may not enter it.",
            do="Check the path at the end of LABKIT_AMQP_URL (%2F stands for the default virtual host /).",
            setting="LABKIT_AMQP_URL",
            **facts | {"reply_code": 530},
        )
    if code == 404:
        return QueueMissingError(
            f"The broker says: {text}.", do="Declare it first, or check its name.", **facts
        )
    if code == 406 and "inequivalent arg" in text:
        return QueueMismatchError(
            f"The queue exists with other settings: {text}.",
            do="Declare it as it is, take another name, or delete it first.",
            **facts,
        )
    if code == 541 and "deprecated" in text:
        return FeatureRefusedError(
            f"This RabbitMQ refuses a deprecated feature: {text}.",
            do="Declare the queue durable or exclusive, or permit the feature in the broker's configuration.",
            **facts,
        )
    if code == 403:
        return AccessRefusedError(
            f"The broker refuses: {text}.",
            do="Ask whoever runs the broker for the permission (to configure, write or read).",
            **facts,
        )
    if code:
        return BrokerError(
            f"The broker closed the connection or the channel: {code} {text}.",
            do="Mend what it names; `python3 -m labkit broker logs` may say more.",
            **facts,
        )
    if isinstance(root, (pika.exceptions.ShortStringTooLong, pika.exceptions.UnsupportedAMQPFieldException)):
        return UsageError(
            f"AMQP cannot carry this: {str(root)[:80]}.",
            do="Names have at most 255 bytes; arguments and headers are texts, numbers, lists and dictionaries.",
        )
    return _unreachable(root, parameters, where)


def _queue_in(text: str) -> str | None:
    """The queue that the broker's words are about: AMQP has no other place for its name."""
    found = QUEUE_NAME.search(text)
    return found[1] if found else None


def _names_vhost(text: str) -> bool:
    """Whether it was the virtual host (or its name, too long for AMQP), and not just a connection cut off."""
    return "vhost" in text or "ShortStringTooLong" in text


def _start_hint() -> str:
    if os.environ.get("LABKIT_AMQP_URL"):
        return "Check the address in LABKIT_AMQP_URL, and that the broker runs there."
    return "Start it with `python3 -m labkit broker start`."


def _root(error: BaseException) -> BaseException:
    """The error that others are wrapped around (pika wraps connection errors up to three times)."""
    while True:
        inner = getattr(error, "args", None) or ()
        wrapped = next((arg for arg in inner if isinstance(arg, BaseException)), None)
        wrapped = wrapped or getattr(error, "exception", None)
        if not isinstance(wrapped, BaseException):
            return error
        error = wrapped


def _unreachable(root: BaseException, parameters: pika.connection.Parameters | None, where: str) -> LabError:
    facts: dict[str, Any] = {"address": where, "setting": "LABKIT_AMQP_URL"}
    if isinstance(root, (socket.gaierror, UnicodeError)):
        return BrokerDownError(
            f"There is no machine of this name: {parameters.host if parameters else where}.",
            do="Check the host in LABKIT_AMQP_URL, and the network.",
            **facts,
        )
    if parameters is None:
        return BrokerDownError("The connection to the broker is gone.", do=_start_hint())
    if isinstance(root, ssl.SSLError):
        return BrokerDownError(
            f"{where} does not speak TLS as it should ({root.reason or root}).",
            do="Use amqp:// instead of amqps://, or check the port and the broker's certificate.",
            **facts,
        )
    if parameters.ssl_options is None:
        answer = first_bytes(parameters)
        if answer is None:
            return BrokerDownError(f"No broker answers at {where}.", do=_start_hint(), address=where)
        if not answer:  # a web server may wait for more of what it takes for a request
            answer = first_bytes(parameters, hello=HTTP_HELLO) or b""
        if answer[:2] == b"\x15\x03":
            return BrokerDownError(
                f"{where} wants an encrypted connection (TLS).",
                do="Use amqps:// instead of amqp:// in LABKIT_AMQP_URL, or the port without TLS (5672).",
                **facts,
            )
        if answer and not answer.startswith((b"\x01", b"AMQP")):
            kind = "a web server" if answer.startswith((b"HTTP", b"<")) else "another program"
            return PortTakenError(
                f"At {where} answers {kind}, not RabbitMQ.",
                do="Check the port (AMQP is 5672, 15672 is the management page), or close that program.",
                **facts,
            )
        if not answer:
            return BrokerDownError(
                f"Something accepts connections at {where} but does not answer as a broker.",
                do="Wait if the broker is just starting; otherwise check the port.",
                **facts,
            )
    return BrokerDownError(
        f"The broker at {where} ended the connection while it was made.", do=_start_hint(), address=where
    )


def first_bytes(
    parameters: pika.connection.Parameters, *, hello: bytes = AMQP_HELLO, timeout: float = PROBE_TIMEOUT
) -> bytes | None:
    """What answers to a greeting: its first bytes, ``b""`` for silence, None where nobody listens."""
    deadline = time.monotonic() + timeout
    try:
        plain = socket.create_connection((parameters.host, parameters.port), timeout=timeout)
    except (OSError, UnicodeError):
        return None
    answer = b""
    try:
        with _encrypted(plain, parameters) as probe:
            probe.sendall(hello)
            # An AMQP frame says how long it is; of anything else the beginning tells what it is.
            while len(answer) < 8 or (
                answer[:1] == b"\x01" and len(answer) < int.from_bytes(answer[3:7], "big") + 8
            ):
                probe.settimeout(max(0.01, deadline - time.monotonic()))
                more = probe.recv(65536)
                if not more:
                    break
                answer += more
    except OSError:
        pass
    finally:
        plain.close()
    return answer


def _encrypted(plain: socket.socket, parameters: pika.connection.Parameters) -> socket.socket:
    options = parameters.ssl_options
    if options is None:
        return plain
    return options.context.wrap_socket(plain, server_hostname=options.server_hostname or parameters.host)


def greeting(
    parameters: pika.connection.Parameters, *, timeout: float = PROBE_TIMEOUT
) -> dict[str, Any] | None:
    """What the broker says of itself before any login (product, version, platform, cluster_name).

    None when nothing there speaks AMQP within ``timeout`` seconds.
    """
    answer = first_bytes(parameters, timeout=timeout)
    if not answer or not answer.startswith(b"\x01"):
        return None
    try:
        _, frame = pika.frame.decode_frame(answer)
    except pika.exceptions.AMQPError:
        return None
    method = getattr(frame, "method", None)
    if not isinstance(method, pika.spec.Connection.Start):
        return None
    return {
        key: value.decode(errors="replace") if isinstance(value, bytes) else value
        for key, value in (method.server_properties or {}).items()
    }


def check_publishing(connection: pika.BlockingConnection) -> None:
    """Publishes to no queue at all; raises ResourceAlarmError if the broker blocks publishers.

    The connection's ``blocked_connection_timeout`` is how long (seconds) it may be blocked until then.
    """
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        # A broker short of disk or memory takes the first message, and then reads no more: not even this close.
        channel.basic_publish("", f"labkit-nowhere-{os.getpid()}", b"")
        channel.close()
    except pika.exceptions.AMQPError as error:
        raise explain(error) from error


def wait_gone(parameters: pika.connection.Parameters, deadline: float) -> bool:
    """Holds a connection until the broker ends it; False when ``deadline`` (monotonic seconds) came first."""
    try:
        connection = connect(parameters)
    except BrokerDownError:
        return True  # it is away already
    try:
        while time.monotonic() < deadline:
            connection.process_data_events(time_limit=0.2)
    except pika.exceptions.AMQPError:
        return True
    with contextlib.suppress(pika.exceptions.AMQPError):
        connection.close()
    return False


def check_parameters(value: object) -> pika.connection.Parameters:
    """``value`` if pika can connect with it; UsageError otherwise."""
    if not isinstance(value, pika.connection.Parameters):
        raise checks.refused("parameters", value, "Use lab.parameters(name).")
    return value
