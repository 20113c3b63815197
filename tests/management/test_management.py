"""The management API: what it answers, and how it fails."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
import uuid
from urllib.parse import unquote

import pytest
import requests
from servers import Server, cut_off, saying
from waiting import PATIENCE, until

from labkit import brokers, management
from labkit.brokers.remote import Remote
from labkit.errors import AccessRefusedError, ManagementError, QueueMissingError, VirtualHostError
from labkit.management import Management, answers
from labkit.management import http as rest


@pytest.fixture
def api(broker):
    with management.of(broker) as api:
        yield api


@pytest.fixture
def reader(broker):
    """A user of the broker that may look at its figures: (name, password)."""
    name, password = f"reader-{uuid.uuid4().hex[:8]}", "only%2Freads"
    users = f"{broker.management_url}/api/users/{name}"
    account = {"password": unquote(password), "tags": "monitoring"}
    requests.put(users, json=account, auth=broker.management_credentials, timeout=PATIENCE).raise_for_status()
    yield name, password
    requests.delete(users, auth=broker.management_credentials, timeout=PATIENCE).raise_for_status()


@pytest.fixture
def connect(broker):
    """Opens named connections, and closes them at the end."""
    with contextlib.ExitStack() as stack:

        def open_one(name):
            connection = brokers.connect(broker.parameters(name))
            stack.callback(lambda: connection.is_open and connection.close())
            return connection

        yield open_one


@pytest.fixture
def queue(connect):
    """A queue with everything in its name that has to be quoted in an address."""
    name = f"a b/c?d=ü%2F&{uuid.uuid4().hex[:8]}"
    channel = connect("owner of the queue").channel()
    channel.queue_declare(name, durable=True)
    yield name
    channel.queue_delete(name)


# A broker that answers.


def test_overview_names_the_versions(api):
    overview = api.overview()
    assert overview.rabbitmq_version.split(".")[0] in ("3", "4")
    assert overview.erlang_version and overview.node
    assert overview.statistics_age in (answers.FRESH_AGE, answers.DEFAULT_AGE)


def test_a_queue_is_found_whatever_its_name(api, queue):
    found = api.queue(queue)
    assert (found.name, found.type, found.durable, found.ready, found.consumers) == (
        queue, "classic", True, 0, 0,
    )  # fmt: skip
    assert [each.name for each in api.queues(prefix=queue[:6]) if each.name == queue] == [queue]
    assert api.queues(prefix="no queue begins like this") == []


def test_many_queues_come_in_pages(api, connect, monkeypatch):
    monkeypatch.setattr(management.management, "PAGE", 3)
    channel, prefix = connect("owner").channel(), f"paged-{uuid.uuid4().hex[:8]}-"
    names = [f"{prefix}{number}" for number in range(8)]
    for name in names:
        channel.queue_declare(name, exclusive=True)
    assert sorted(each.name for each in api.queues(prefix)) == names


def test_a_queue_that_is_not_there_is_named(api):
    with pytest.raises(QueueMissingError, match="no/such queue") as caught:
        api.queue("no/such queue")
    assert caught.value.queue == "no/such queue"


def test_a_channel_before_any_traffic_has_zeros_and_its_workers_name(api, connect, queue):
    channel = connect("worker Ä").channel()
    channel.basic_qos(prefetch_count=7)
    channel.basic_consume(queue, lambda *_: None, consumer_tag="tag")
    mine = lambda: [each for each in api.channels() if each.worker == "worker Ä" and each.tags]  # noqa: E731
    found = until(mine, "the channel and its consumer")[0]
    assert (found.delivered, found.automatic, found.acknowledged, found.redelivered) == (0, 0, 0, 0)
    assert (found.queues, found.tags, found.prefetch, found.consumer_count) == ((queue,), ("tag",), 7, 1)
    assert [(each.tag, each.prefetch, each.acknowledges) for each in api.consumers(queue)] == [
        ("tag", 7, True)
    ]


def test_a_channel_counts_deliveries_acknowledgements_and_what_is_unacknowledged(api, connect, queue):
    connection = connect("counted worker")
    channel, publisher = connection.channel(), connect("publisher").channel()
    channel.basic_consume(queue, lambda c, m, p, body: body == b"yes" and c.basic_ack(m.delivery_tag))
    for body in (b"yes", b"no", b"yes", b"no", b"yes"):
        publisher.basic_publish("", queue, body)

    def counted():
        connection.process_data_events(0.05)
        mine = [each for each in api.channels() if each.worker == "counted worker"]
        return mine and mine[0].acknowledged == 3 and mine[0].unacknowledged == 2 and mine[0]

    found = until(counted, "3 acknowledgements and 2 unacknowledged")
    assert (found.delivered, found.automatic, found.redelivered) == (5, 0, 0)


def test_automatic_acknowledgement_counts_as_delivered(api, connect, queue):
    connection = connect("automatic worker")
    connection.channel().basic_consume(queue, lambda *_: None, auto_ack=True)
    publisher = connect("publisher").channel()
    for _ in range(4):
        publisher.basic_publish("", queue, b"")

    def counted():
        connection.process_data_events(0.05)
        mine = [each for each in api.channels() if each.worker == "automatic worker"]
        return mine and mine[0].delivered == 4 and mine[0]

    found = until(counted, "4 deliveries")
    assert (found.automatic, found.acknowledged, found.unacknowledged) == (4, 0, 0)


@pytest.mark.parametrize("tag", ["None2", "", None])  # Celery's, RabbitMQ's own, pika's own
def test_a_connection_without_a_name_and_a_chosen_tag_goes_by_its_library_and_a_port(broker, api, queue, tag):
    parameters = broker.parameters("")
    parameters.client_properties = None
    with contextlib.closing(brokers.connect(parameters)) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "classic"})
        channel.basic_consume(queue, lambda *_: None, **({} if tag is None else {"consumer_tag": tag}))
        (found,) = until(lambda: [each for each in api.channels() if queue in each.queues], "the channel")
        assert re.fullmatch(r"Pika Python Client Library \d+", found.worker), found


def test_a_connection_without_a_name_goes_by_its_consumers_tag(broker, api, queue):
    import pika

    connection = pika.BlockingConnection(pika.URLParameters(broker.amqp_url))
    try:
        connection.channel().basic_consume(queue, lambda *_: None, consumer_tag="nameless-tag")
        until(lambda: [each for each in api.channels() if each.worker == "nameless-tag"], "the channel")
    finally:
        connection.close()


def test_a_worker_that_comes_while_the_lists_are_read_has_its_name_at_once(api, connect, queue, monkeypatch):
    list_one, comes = api._list, [lambda: connect("newcomer").channel().basic_consume(queue, lambda *_: None)]

    def lists_slowly(path, **params):
        rows = list_one(path, **params)
        if comes:
            comes.pop()()
            until(lambda: list_one("consumers/%2F"), "its consumer to be listed")
        return rows

    monkeypatch.setattr(api, "_list", lists_slowly)
    assert {each.worker for each in api.channels()} <= {"newcomer", "owner of the queue"}
    until(lambda: [each for each in api.channels() if each.worker == "newcomer"], "the newcomer")


def test_a_channel_is_listed_when_its_connection_is(api, queue, monkeypatch):
    """The broker may know the channel first, and then gives no details of the connection."""
    list_one = api._list

    def before_the_connection(path, **params):
        return [row | {"connection_details": []} for row in list_one(path, **params)]

    until(api.channels, "the owner's channel")
    monkeypatch.setattr(api, "_list", before_the_connection)
    assert api.channels() == []


def test_a_healthy_broker_has_no_alarms(api):
    assert api.alarms() == []


def test_a_copy_answers_after_the_original_was_closed(broker):
    first = management.of(broker)
    second = first.copy()
    first.close()
    with second:
        assert second.overview().rabbitmq_version


# A broker that refuses.


def test_a_wrong_password_is_refused_by_name_and_never_shown(broker):
    with Management(broker.management_url, broker.username, "sesame-open", broker.vhost) as api:
        with pytest.raises(AccessRefusedError, match=broker.username) as caught:
            api.overview()
        assert "sesame-open" not in str(caught.value) + repr(api)


def test_a_virtual_host_that_is_not_there_is_named(broker):
    with Management(broker.management_url, broker.username, broker.password, "no/host") as api:
        for ask in (api.queues, api.channels, api.connections, api.consumers):
            with pytest.raises(VirtualHostError, match="no/host"):
                ask()


def test_a_broker_without_a_management_address_says_which_variable_to_set(broker):
    with pytest.raises(ManagementError, match="LABKIT_MANAGEMENT_URL"):
        management.of(Remote("amqp://rabbit.example/", ""))


def test_the_management_api_may_have_a_user_of_its_own(broker, reader):
    """AMQP's user is one, that of LABKIT_MANAGEMENT_URL another."""
    name, password = reader
    page = broker.management_url.replace("://", f"://{name}:{password}@")
    remote = Remote("amqp://stranger:wrong@127.0.0.1/", page)
    with management.of(remote) as api, api.copy() as copied:
        assert api.username == name
        assert api.overview().rabbitmq_version
        assert copied.overview().rabbitmq_version
    with (
        management.of(Remote("amqp://stranger:wrong@127.0.0.1/", broker.management_url)) as api,
        pytest.raises(AccessRefusedError, match="stranger"),
    ):
        api.overview()


# Something else that answers, or nothing.


def asked(server, timeout=5.0):
    return Management(server.url, "guest", "guest", timeout=timeout)


@pytest.mark.parametrize("body", [b"<html>a router</html>", b"", b"[]", b'"text"', b"{}"])
def test_something_that_is_not_rabbitmq_is_said_to_be(body):
    with (
        Server(saying(200, body)) as server,
        asked(server) as api,
        pytest.raises(ManagementError, match="not RabbitMQ's management API"),
    ):
        api.overview()


def test_a_page_not_found_by_another_program_is_not_taken_for_a_missing_queue():
    with (
        Server(saying(404, b"<html>nothing here</html>")) as server,
        asked(server) as api,
        pytest.raises(ManagementError, match="not RabbitMQ's management API"),
    ):
        api.queue("tasks")


def test_a_get_that_fails_is_tried_again():
    def answer(handler, number):
        ready = b'[{"name": "n", "mem_alarm": true, "disk_free_alarm": true}]'
        saying(500, b"")(handler, number) if number < 3 else saying(200, ready)(handler, number)

    with Server(answer) as server, asked(server) as api:
        assert [(alarm.node, alarm.resource) for alarm in api.alarms()] == [("n", "memory"), ("n", "disk")]
        assert len(server.requests) == 3


def test_a_server_that_goes_on_failing_is_told_with_its_status():
    with Server(saying(500, b'{"error": "x", "reason": "it burns"}')) as server, asked(server) as api:
        with pytest.raises(ManagementError, match="500. it burns") as caught:
            api.overview()
        assert (caught.value.status, caught.value.reason, caught.value.url) == (500, "it burns", server.url)
        assert len(server.requests) == rest.ATTEMPTS


def test_a_refusal_is_not_asked_for_again():
    with Server(saying(400, b'{"error": "x", "reason": "no"}')) as server, asked(server) as api:
        with pytest.raises(ManagementError, match="400. no"):
            api.overview()
        assert len(server.requests) == 1


def test_an_answer_that_is_cut_off_is_said_to_be():
    with Server(cut_off) as server, asked(server) as api, pytest.raises(ManagementError, match="cut off"):
        api.overview()


@pytest.mark.parametrize("drips", [False, True], ids=["silent", "dripping"])
def test_a_slow_answer_is_given_up_after_the_time_limit(drips):
    over = threading.Event()

    def slowly(handler, _):
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        while not over.wait(0.1 if drips else 20):
            if drips:
                handler.wfile.write(b" ")
                handler.wfile.flush()

    with Server(slowly) as server, asked(server, timeout=0.5) as api:
        began = time.monotonic()
        try:
            with pytest.raises(ManagementError, match="within 0.5 seconds"):
                api.overview()
        finally:
            over.set()
        assert time.monotonic() - began < 10
        assert len(server.requests) == 1


def test_a_closed_port_says_that_the_plugin_may_be_off():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: refused
        with (
            Management(f"http://127.0.0.1:{unused.getsockname()[1]}", "guest", "guest") as api,
            pytest.raises(ManagementError, match="plugin") as caught,
        ):
            api.overview()
    assert caught.value.__cause__ is not None


def test_an_amqp_port_is_told_from_a_management_port(broker):
    host, _, port = broker.address().rpartition(":")
    with (
        Management(f"http://{host}:{port}", "guest", "guest") as api,
        pytest.raises(ManagementError, match="15672"),
    ):
        api.overview()


def test_a_broker_that_collects_no_figures_says_so():
    disabled = b'{"error": "bad_request", "reason": "Stats in management UI are disabled on this node"}'
    with (
        Server(saying(400, disabled)) as server,
        asked(server) as api,
        pytest.raises(ManagementError, match="collect no figures"),
    ):
        api.channels()
    with (
        Server(saying(200, b'{"rabbitmq_version": "4.3.6", "disable_stats": true}')) as server,
        asked(server) as api,
        pytest.raises(ManagementError, match="collect no figures"),
    ):
        api.overview()


def test_figures_that_are_absent_or_empty_lists_are_zeros():
    # 3.10 answers [] for message_stats where 4.x leaves it out; both before any traffic.
    answers = {
        "connections": b'[{"name": "c"}]',
        "channels": b'[{"name": "c (1)", "message_stats": [], "connection_details": {"name": "c"}}, {"vhost": "/"}]',
        "consumers": b"[]",
    }

    def answer(handler, number):
        path = handler.path.split("?")[0].split("/")
        saying(200, next(body for key, body in answers.items() if key in path))(handler, number)

    with Server(answer) as server, asked(server) as api:
        (only,) = api.channels()
    assert (only.delivered, only.unacknowledged, only.queues) == (0, 0, ())


def test_an_address_that_is_none_is_refused_in_words():
    with (
        Management("localhost-15672", "guest", "guest") as api,
        pytest.raises(ManagementError, match="LABKIT_MANAGEMENT_URL"),
    ):
        api.overview()
