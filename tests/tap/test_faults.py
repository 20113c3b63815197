"""Faults at the tap, each proven to have struck: by what the client saw, and by what the broker did then."""

import contextlib
import threading
import time

import pika
import psutil
import pytest
from pika.exceptions import AMQPConnectionError, AMQPError, ConnectionClosedByBroker, StreamLostError
from waiting import until

from labkit.errors import UsageError
from labkit.ledger import Kind, Ledger, Outcome
from labkit.tap import Tap

SLACK = 5.0  # seconds that a busy machine may add to what is timed


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def tap(broker, ledger):
    with Tap(broker.parameters("tap"), ledger) as opened:
        yield opened


@pytest.fixture
def tasks_queue(channel, queue):
    """A durable queue that the tap did not see being declared."""
    channel.queue_declare(queue, durable=True)
    return queue


@pytest.fixture
def connect(tap):
    """Bare pika through the tap, by a name."""
    opened = []

    def connected(name):
        parameters = pika.URLParameters(str(tap.parameters))
        parameters.client_properties = {"connection_name": name}
        opened.append(pika.BlockingConnection(parameters))
        return opened[-1]

    yield connected
    for connection in opened:
        with contextlib.suppress(AMQPError):
            connection.close()


def consumer(connection, queue):
    """A channel of the connection on which deliveries are collected."""
    channel, deliveries = connection.channel(), []
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(queue, lambda _, method, properties, body: deliveries.append((method, body)))
    return channel, deliveries


def receive(connection, deliveries, count=1):
    def there():
        connection.process_data_events(0.02)
        return len(deliveries) >= count

    until(there, f"{count} deliveries")


def round_trip(channel, queue):
    began = time.monotonic()
    channel.queue_declare(queue, passive=True)
    return time.monotonic() - began


def test_a_cut_is_a_reset_and_the_task_goes_to_the_other(tap, ledger, connect, tasks_queue, channel):
    channel.basic_publish("", tasks_queue, b"one")
    first, second = connect("worker-1"), connect("worker-2")
    receive(first, consumer(first, tasks_queue)[1])
    assert tap.cut("worker-1") == 1
    with pytest.raises(StreamLostError, match=r"(?i)reset|104|10054"):
        first.process_data_events(SLACK)
    channel_2, deliveries = consumer(second, tasks_queue)
    receive(second, deliveries)
    assert deliveries[0][0].redelivered
    channel_2.basic_ack(deliveries[0][0].delivery_tag)
    until(lambda: ledger.counts().done == 1, "the acknowledgement")
    kinds = [(event.kind, event.worker) for event in ledger.events() if event.kind is not Kind.PUBLISHED]
    assert kinds == [
        (Kind.CONNECTED, "worker-1"),
        (Kind.DELIVERED, "worker-1"),
        (Kind.DISCONNECTED, "worker-1"),
        (Kind.CONNECTED, "worker-2"),
        (Kind.REDELIVERED, "worker-2"),
        (Kind.ACKNOWLEDGED, "worker-2"),
    ]
    assert [(one.fault, one.name, one.connections) for one in tap.struck] == [("cut", "worker-1", 1)]


def test_a_disconnect_is_an_end_of_file_to_both(tap, broker, connect, tasks_queue):
    connection = connect("worker-1")
    consumer(connection, tasks_queue)
    assert tap.disconnect("worker-1") == 1
    with pytest.raises(AMQPConnectionError) as caught:
        connection.process_data_events(SLACK)
    assert "EOF" in str(caught.value) and not isinstance(caught.value, ConnectionClosedByBroker)
    assert not tap.connections
    with pika.BlockingConnection(broker.parameters("test")) as direct:  # the broker has let go of it, too
        until(
            lambda: direct.channel().queue_declare(tasks_queue, passive=True).method.consumer_count == 0,
            "the broker to notice",
        )


def test_what_is_silent_loses_nothing_and_goes_on_when_it_is_released(tap, connect, tasks_queue):
    connection = connect("worker-1")
    channel = connection.channel()
    tap.silence("worker-1")
    channel.basic_publish("", tasks_queue, b"held")
    threading.Timer(0.5, tap.release).start()
    began = time.monotonic()
    channel.queue_declare(tasks_queue, passive=True)
    assert 0.4 < time.monotonic() - began < 0.5 + SLACK
    assert until(lambda: channel.basic_get(tasks_queue, auto_ack=True)[2], "the message") == b"held"


def test_a_delay_is_a_longer_round_trip_until_it_is_taken_back(tap, connect, tasks_queue):
    channel = connect("worker-1").channel()
    assert tap.delay(0.2, "worker-1") == 1
    assert 0.4 <= round_trip(channel, tasks_queue) < 0.4 + SLACK
    tap.delay(0)
    round_trip(channel, tasks_queue)  # what is still under way
    assert min(round_trip(channel, tasks_queue) for _ in range(5)) < 0.4


def test_200_kb_at_200_kb_a_second_take_a_second(tap, connect, tasks_queue):
    channel = connect("sender").channel()
    channel.confirm_delivery()
    tap.limit(200_000, "sender")
    began = time.monotonic()
    channel.basic_publish("", tasks_queue, b"x" * 200_000)
    assert 0.9 < time.monotonic() - began < 1.2 + SLACK
    tap.limit(None)
    began = time.monotonic()
    channel.basic_publish("", tasks_queue, b"x" * 200_000)
    assert time.monotonic() - began < 0.9


def test_a_swallowed_acknowledgement_makes_an_exact_duplicate(tap, ledger, connect, tasks_queue):
    sender = connect("sender").channel()
    sender.confirm_delivery()
    for number in (1, 2):
        sender.basic_publish("", tasks_queue, b"task", pika.BasicProperties(message_id=f"task {number}"))
    first = connect("worker-1")
    channel, deliveries = consumer(first, tasks_queue)
    receive(first, deliveries)
    channel.basic_ack(deliveries[0][0].delivery_tag)
    receive(first, deliveries, 2)
    assert tap.swallow_ack("worker-1") == 1
    assert ledger.counts().done == 1
    channel.basic_ack(deliveries[1][0].delivery_tag)
    with pytest.raises(AMQPConnectionError):
        first.process_data_events(SLACK)
    assert ledger.counts().done == 1  # the swallowed one is none
    assert ledger.outcome("task 2") is Outcome.WAITING
    second = connect("worker-2")
    channel, deliveries = consumer(second, tasks_queue)
    receive(second, deliveries)
    method, body = deliveries[0]
    assert method.redelivered and body == b"task"
    channel.basic_ack(method.delivery_tag)
    until(lambda: ledger.counts().done == 2, "the second one's acknowledgement")
    assert sender.queue_declare(tasks_queue, passive=True).method.message_count == 0
    assert ledger.counts().published == 2
    again = [(event.task_id, event.worker) for event in ledger.events({Kind.REDELIVERED})]
    assert again == [("task 2", "worker-2")]


def test_what_was_sent_before_a_swallowed_acknowledgement_arrives(tap, connect, tasks_queue, channel):
    """In one write, so that the tap gets both in one read: the publish goes on, the acknowledgement does not."""
    channel.basic_publish("", tasks_queue, b"one")
    worker = connect("worker-1")
    mine, deliveries = consumer(worker, tasks_queue)
    receive(worker, deliveries)
    tap.swallow_ack()
    tap.silence()
    mine.basic_publish("", tasks_queue, b"two")
    mine.basic_ack(1)
    tap.release()
    with pytest.raises(AMQPConnectionError):
        worker.process_data_events(SLACK)
    until(
        lambda: channel.queue_declare(tasks_queue, passive=True).method.message_count == 2,
        "the publish, and the task that came back",
    )


def test_without_a_name_all_are_struck_and_a_wrong_one_is_refused(tap, connect):
    connect("worker-1"), connect("worker-2")
    assert tap.delay(0.01) == 2
    with pytest.raises(UsageError, match="'worker-3'") as caught:
        tap.cut("worker-3")
    assert "worker-1, worker-2" in caught.value.do
    assert tap.cut() == 2
    assert tap.cut() == 0


def test_faults_by_schedule(tap, connect, tasks_queue):
    connections = {name: connect(name) for name in ("worker-1", "worker-2")}
    tap.schedule(
        [
            (0.05, "delay", "worker-2", 0.15),
            (0.1, "cut", "worker-1"),
            (0.15, "cut", "worker-1"),  # it is gone by then: noted
            (0.2, "disconnect", "nobody"),
        ]
    )
    with pytest.raises(AMQPConnectionError):
        connections["worker-1"].process_data_events(SLACK)
    until(lambda: len(tap.struck) == 4, "the schedule")
    assert [(one.fault, one.name, one.connections) for one in tap.struck] == [
        ("delay", "worker-2", 1),
        ("cut", "worker-1", 1),
        ("cut", "worker-1", 0),
        ("disconnect", "nobody", 0),
    ]
    assert [one.time for one in tap.struck] == sorted(one.time for one in tap.struck)
    assert round_trip(connections["worker-2"].channel(), tasks_queue) > 0.3


@pytest.mark.parametrize(
    "step",
    [
        (1, "explode", None),
        (1, "cut"),
        (-1, "cut", None),
        (1, "cut", 5),
        (1, "cut", None, 2),
        (1, "delay", None),
        (1, "delay", None, "long"),
        (1, "limit", None, 0),
        ("soon", "cut", None),
        "cut",
    ],
)
def test_what_is_no_step_is_refused_before_anything_happens(tap, step):
    with pytest.raises(UsageError):
        tap.schedule([(0, "cut", None), step])
    assert not tap.struck


def test_a_tap_that_is_closed_tells_what_it_saw_and_its_clients_did_not_crash(broker, ledger, tasks_queue):
    with Tap(broker.parameters("tap"), ledger) as tap:
        parameters = pika.URLParameters(str(tap.parameters))
        parameters.client_properties = {"connection_name": "worker"}
        connection = pika.BlockingConnection(parameters)
        consumer(connection, tasks_queue)
    with pytest.raises(AMQPConnectionError):
        connection.process_data_events(SLACK)
    assert (tap.connections, tap.undecoded) == ([], 0)
    assert [event.kind for event in ledger.events()] == [Kind.CONNECTED, Kind.STOPPED]


def test_connections_that_come_and_go_leave_nothing_behind(tap, connect):
    """Five hundred of them; the benchmark's section "tap" has ten thousand."""
    me = psutil.Process()
    count = me.num_handles if hasattr(me, "num_handles") else me.num_fds

    def open_and_close(times):
        for _ in range(times):
            connect("passing").close()

    open_and_close(50)
    until(lambda: not tap.connections, "the last one to be gone")
    before, threads = count(), threading.active_count()
    open_and_close(500)
    until(lambda: not tap.connections, "the last one to be gone")
    assert count() <= before + 2
    assert threading.active_count() <= threads
    assert not tap._pids and not tap._book._rows
