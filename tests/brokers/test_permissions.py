"""A user who may not do everything is told what is missing, at once."""

import contextlib
import time
import uuid

import pika.exceptions
import pytest
import requests

from labkit import brokers
from labkit.brokers.connection import explain
from labkit.brokers.remote import Remote
from labkit.errors import AccessRefusedError, VirtualHostError
from labkit.lab import Lab

LIMIT = 30.0  # seconds


@pytest.fixture
def user(broker):
    """A function that makes a user with these permissions (None: none at all), and gives the broker as theirs."""
    with contextlib.ExitStack() as stack:

        def ask(method, path, **content):
            url = f"{broker.management_url}/api/{path}"
            requests.request(
                method, url, json=content, auth=broker.management_credentials, timeout=LIMIT
            ).raise_for_status()

        def make(permissions):
            name = f"user-{uuid.uuid4().hex[:8]}"
            ask("PUT", f"users/{name}", password="secret", tags="management")
            stack.callback(ask, "DELETE", f"users/{name}")
            if permissions is not None:
                ask("PUT", f"permissions/%2F/{name}", **permissions)
            page = broker.management_url.replace("://", f"://{name}:secret@")
            return Remote(f"amqp://{name}:secret@{broker.address()}/%2F", page)

        yield make


NOTHING = {"configure": "^$", "write": "^$", "read": "^$"}
NOT_CONFIGURE = {"configure": "^$", "write": ".*", "read": ".*"}


def refusal(remote, act):
    """The lab's error for what ``act`` does on a channel of its own."""
    with (
        brokers.connect(remote.parameters("test")) as connection,
        pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught,
    ):
        act(connection.channel())
    return explain(caught.value, remote.parameters("test"))


def publish(channel, queue):
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"")


@pytest.mark.parametrize(
    ("right", "act"),
    [
        ("configure", lambda channel, queue: channel.queue_declare(queue, durable=False)),
        ("write", publish),
        ("read", lambda channel, queue: channel.basic_get(queue)),
    ],
    ids=["configure", "write", "read"],
)
def test_a_missing_permission_is_not_taken_for_a_missing_virtual_host(user, channel, queue, right, act):
    channel.queue_declare(queue, durable=True)
    remote = user({"configure": ".*", "write": ".*", "read": ".*"} | {right: "^$"})
    error = refusal(remote, lambda theirs: act(theirs, queue))
    assert type(error) is AccessRefusedError
    assert error.reply_code == 403
    assert error.reply_text in error.what
    assert error.queue == (queue if right != "write" else None)  # the default exchange is what refuses
    assert "permission" in error.do


def test_a_queue_called_login_does_not_make_it_a_wrong_password(user, channel, new_queue):
    queue = new_queue("login")
    channel.queue_declare(queue, durable=True)
    error = refusal(user(NOTHING), lambda theirs: theirs.basic_get(queue))
    assert error.queue == queue
    assert "password" not in error.what


def test_a_user_of_no_virtual_host_is_told_so(user):
    with pytest.raises(VirtualHostError):
        brokers.connect(user(None).parameters("test"))


def test_lab_queue_says_at_once_that_it_may_not_configure(user):
    with Lab("permissions", broker=user(NOT_CONFIGURE), progress=False) as lab:
        began = time.monotonic()
        with pytest.raises(AccessRefusedError) as caught:
            lab.queue("tasks")
        assert time.monotonic() - began < 5  # seconds; trying again went on for 15
        assert caught.value.queue == lab.name("tasks")
