"""The relay between a client and the broker."""

import socket
import ssl
import threading

import pika
import pytest
import trustme

from labkit.brokers.connection import first_bytes
from labkit.tap.relay import Relay

GREETING = b"\x01 stands for a broker's first frame"


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def tls_port(authority):
    """A port of localhost where something with a certificate for localhost greets over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:  # closed: the test is over
                return
            try:
                with context.wrap_socket(plain, server_side=True) as greeted:
                    greeted.recv(8)
                    greeted.sendall(GREETING)
            except ssl.SSLError:  # the client refused the certificate
                plain.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def test_by_way_of_the_relay_tls_expects_the_brokers_own_name(authority, tls_port):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    parameters = pika.ConnectionParameters("localhost", tls_port, ssl_options=pika.SSLOptions(context))
    with Relay(parameters, 0.0) as relay:
        assert first_bytes(relay.parameters_to(parameters), timeout=2) == GREETING
        assert parameters.ssl_options.server_hostname is None
