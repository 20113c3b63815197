"""Why there is no connection: each reason has an error of its own, and it is quick to come."""

import logging
import socket
import time
from urllib.parse import urlsplit

import pika
import pika.exceptions
import pytest
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from servers import server
from waiting import until

from labkit import brokers, management
from labkit.brokers.connection import explain, quiet_pika
from labkit.brokers.remote import Remote
from labkit.errors import (
    AccessRefusedError,
    BrokerDownError,
    NotOurBrokerError,
    PortTakenError,
    QueueMismatchError,
    QueueMissingError,
    VirtualHostError,
)

HANDSHAKE = 6.0  # seconds for pika; RabbitMQ's web server gives up after 5
QUICK = 20.0  # seconds; a silent server takes that and two questions of 3 s each


def refused(url, error):
    """What ``connect`` raises for ``url``; it is quick, complete, and discreet."""
    began = time.monotonic()
    with pytest.raises(error) as caught:
        brokers.connect(Remote(url).parameters("test", stack_timeout=HANDSHAKE))
    assert time.monotonic() - began < QUICK
    assert caught.value.do
    assert isinstance(caught.value.__cause__, (pika.exceptions.AMQPError, AMQPConnectorException, OSError))
    assert "geheim" not in str(caught.value)
    return caught.value


def url_of(broker, *, user="guest:guest", vhost="%2F"):
    return f"amqp://{user}@{broker.address()}/{vhost}"


@pytest.fixture
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_nobody_there(closed_port):
    assert "No broker answers" in refused(f"amqp://127.0.0.1:{closed_port}/", BrokerDownError).what


def test_no_such_machine():
    assert "no machine of this name" in refused("amqp://rabbit.invalid/", BrokerDownError).what


def test_a_web_server_there():
    page = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
    with server(page) as port:
        assert "a web server" in refused(f"amqp://127.0.0.1:{port}/", PortTakenError).what


def test_the_management_page_taken_for_amqp(broker):
    page = urlsplit(broker.management_url)
    refused(f"amqp://guest:guest@{page.hostname}:{page.port}/", PortTakenError)


def test_another_program_there():
    with server(b"220 mail.example ESMTP\r\n") as port:
        assert "another program" in refused(f"amqp://127.0.0.1:{port}/", PortTakenError).what


def test_a_port_that_wants_tls():
    with server(b"\x15\x03\x03\x00\x02\x02\x46") as port:  # a fatal alert: protocol version
        assert "TLS" in refused(f"amqp://127.0.0.1:{port}/", BrokerDownError).what


def test_a_port_without_tls(broker):
    assert "TLS" in refused(f"amqps://guest:guest@{broker.address()}/", BrokerDownError).what


def test_somebody_silent_there():
    with server(None) as port:
        assert "does not answer" in refused(f"amqp://127.0.0.1:{port}/", BrokerDownError).what


def test_a_wrong_password(broker):
    error = refused(url_of(broker, user="guest:geheim"), AccessRefusedError)
    assert "'guest'" in error.what
    assert (error.reply_code, error.address, error.setting) == (403, broker.address(), "LABKIT_AMQP_URL")


def test_an_unknown_user(broker):
    assert "'nobody'" in refused(url_of(broker, user="nobody:geheim"), AccessRefusedError).what


def test_an_unknown_virtual_host(broker):
    error = refused(url_of(broker, vhost="nowhere"), VirtualHostError)
    assert "'nowhere'" in error.what
    assert error.reply_code == 530


def test_waiting_does_not_mend_a_wrong_password(broker):
    began = time.monotonic()
    with pytest.raises(AccessRefusedError):
        Remote(url_of(broker, user="guest:geheim")).wait_ready(60)
    assert time.monotonic() - began < QUICK


def test_what_the_broker_refuses_on_a_channel_is_explained(channel, connection, queue):
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as missing:
        channel.queue_declare(queue, passive=True)
    error = explain(missing.value)
    assert isinstance(error, QueueMissingError)
    assert (error.queue, error.reply_code, error.reply_text) == (queue, 404, missing.value.reply_text)
    again = connection.channel()
    again.queue_declare(queue, durable=True)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as mismatch:
        again.queue_declare(queue, durable=False)
    error = explain(mismatch.value)
    assert isinstance(error, QueueMismatchError)
    assert (error.queue, error.reply_code) == (queue, 406)


def test_a_connection_is_named_and_leaves_the_heartbeat_to_the_broker(broker):
    parameters = broker.parameters("a name")
    assert parameters.heartbeat is None  # pika takes the broker's, then
    with brokers.connect(parameters), management.of(broker) as api:
        until(lambda: "a name" in [each.user_provided_name for each in api.connections()], "its name")


def test_pikas_log_is_silent_unless_somebody_asked_for_it(closed_port, caplog, monkeypatch):
    logger = logging.getLogger("pika")
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    refused(f"amqp://127.0.0.1:{closed_port}/", BrokerDownError)
    assert not [record for record in caplog.records if record.name.startswith("pika")]
    logger.setLevel(logging.INFO)
    quiet_pika()
    assert logger.level == logging.INFO


def test_a_remote_broker_is_used_but_not_started_or_stopped(broker, closed_port):
    remote = Remote(broker.amqp_url)
    remote.start()
    assert remote.running()
    assert remote.status().rabbitmq_version == broker.status().rabbitmq_version
    for change in (remote.stop, remote.restart, remote.kill, remote.logs):
        with pytest.raises(NotOurBrokerError, match="it runs elsewhere"):
            change()
    assert broker.running()
    away = Remote(f"amqp://127.0.0.1:{closed_port}/")
    assert not away.running()
    with pytest.raises(NotOurBrokerError, match="cannot start"):
        away.start(timeout=0.2)


def test_an_address_is_shown_without_credentials(broker):
    remote = Remote("amqp://me:geheim@rabbit.invalid/")
    assert "geheim" not in f"{remote!r} {remote} {remote.address()} {remote.status()}"
