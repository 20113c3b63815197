"""The exercises of lesson 04. One real restart is shared by all the answers that live to see it."""

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pika
import pytest
from pika.exceptions import AMQPConnectionError, AMQPError, ConnectionClosedByBroker

from labkit import brokers
from labkit.exercises import Mark, lesson_04

BARRIER_TIMEOUT = 180  # seconds; a restart on a busy machine, and everybody's way to it

# ---------------------------------------------------------------- promised


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["a", "b", "d"], "on its way"),  # persistent is enough
        (["b", "c", "d"], "throws transient ones away"),  # a confirm is enough
        (["b", "d", "e"], "send it again"),
        (["b", "d", "f"], "not durable"),
        (["b"], "one more"),  # a quorum queue forgets transient messages
        (["d"], "one more"),
        (["a", "b", "c", "d", "e", "f"], "Not (a)"),
        (["x"], "letters"),
    ],
)
def test_a_wrong_list_of_promises_is_refused_with_the_reason(wrong, said):
    result = lesson_04.promised.check(wrong)
    assert result.mark is Mark.WRONG
    assert said in result.message


@pytest.mark.parametrize("right", [["d", "b"], {"b", "d"}, ("B", "D"), "bd"])
def test_the_promises_may_be_given_in_another_form(right):
    assert lesson_04.promised.check(right).mark is Mark.RIGHT


# ---------------------------------------------------------------- keep

PERSISTENT = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)


def publish(channel, queue, orders, properties=None):
    for order in orders:
        channel.basic_publish("", queue, order, properties)


def only_the_queue(channel, queue, orders):
    channel.queue_declare(queue, durable=True)
    publish(channel, queue, orders)


def half_of_it(channel, queue, orders):
    channel.queue_declare(queue, durable=True)
    publish(channel, queue, orders[:10], PERSISTENT)
    publish(channel, queue, orders[10:])


def confirmed_but_transient(channel, queue, orders):
    channel.queue_declare(queue, durable=True)
    channel.confirm_delivery()
    publish(channel, queue, orders)


def only_the_messages(channel, queue, orders):
    channel.queue_declare(queue, durable=False)
    publish(channel, queue, orders, PERSISTENT)


def in_a_quorum_queue(channel, queue, orders):
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
    publish(channel, queue, orders)


def as_it_was_given(channel, queue, orders):
    channel.queue_declare(queue)
    publish(channel, queue, orders)


def not_published(channel, queue, orders):
    channel.queue_declare(queue, durable=True)


def published_twice(channel, queue, orders):
    channel.queue_declare(queue, durable=True)
    publish(channel, queue, orders * 2, PERSISTENT)


def exclusively(channel, queue, orders):
    channel.queue_declare(queue, durable=True, exclusive=True)
    publish(channel, queue, orders, PERSISTENT)


def without_a_queue(channel, queue, orders):
    publish(channel, queue, orders, PERSISTENT)


# ---------------------------------------------------------------- serve


def serve_once(connect, queue, work, auto_ack=False):
    connection = connect()
    channel = connection.channel()
    channel.basic_qos(prefetch_count=1)
    for method, _, body in channel.consume(queue, auto_ack=auto_ack):
        if body != b"end":
            work(body)
        if not auto_ack:
            channel.basic_ack(method.delivery_tag)
        if body == b"end":
            connection.close()
            return


def until_it_ends(connect, queue, work, **more):
    while True:
        try:
            return serve_once(connect, queue, work, **more)
        except AMQPError:
            time.sleep(0.3)  # as a learner's worker does, before it connects again


def without_coming_back(connect, queue, work):
    serve_once(connect, queue, work)


def coming_back_once(connect, queue, work):
    try:
        serve_once(connect, queue, work)
    except AMQPError:
        serve_once(connect, queue, work)


def giving_up_quietly(connect, queue, work):
    with suppress(AMQPError):
        serve_once(connect, queue, work)


def with_automatic_acknowledgement(connect, queue, work):
    until_it_ends(connect, queue, work, auto_ack=True)


def never_acknowledging(connect, queue, work):
    while True:
        try:
            for _, _, body in connect().channel().consume(queue):
                if body == b"end":
                    return
                work(body)
        except AMQPError:
            time.sleep(0.3)  # as a learner's worker does, before it connects again


def with_callbacks(connect, queue, work):
    def on_message(channel, method, properties, body):
        if body != b"end":
            work(body)
        channel.basic_ack(method.delivery_tag)
        if body == b"end":
            channel.stop_consuming()
            over.append(True)

    over = []
    while not over:
        try:
            with connect() as connection:
                channel = connection.channel()
                channel.basic_qos(prefetch_count=1)
                channel.basic_consume(queue, on_message)
                channel.start_consuming()
        except AMQPConnectionError:
            time.sleep(0.2)  # likewise


def returning_at_once(connect, queue, work):
    connect().close()


ANSWERS = [  # exercise, answer, whether it is right, what is said of it
    (lesson_04.keep, only_the_queue, False, "0 of 20"),
    (lesson_04.keep, half_of_it, False, "10 of 20"),
    (lesson_04.keep, confirmed_but_transient, False, "0 of 20"),
    (lesson_04.keep, only_the_messages, False, ""),  # gone, or refused by RabbitMQ 4.3
    (lesson_04.keep, as_it_was_given, False, ""),
    (lesson_04.keep, in_a_quorum_queue, True, "20 of 20"),
    (lesson_04.serve, without_coming_back, False, "raised"),
    (lesson_04.serve, coming_back_once, False, "raised"),
    (lesson_04.serve, giving_up_quietly, False, "returned when the broker went away"),
    (lesson_04.serve, never_acknowledging, False, "acknowledged?"),
    (lesson_04.serve, with_callbacks, True, "order 4 was done twice"),
]
names = [answer.__name__ for _, answer, _, _ in ANSWERS]


def refuses_transient_queues(broker):
    """Whether this RabbitMQ closes the connection instead of declaring a non-durable queue (4.3)."""
    connection = brokers.connect(broker.parameters("test"))
    name = f"test-transient-{uuid.uuid4().hex[:8]}"
    try:
        connection.channel().queue_declare(name, durable=False)
        connection.channel().queue_delete(name)
    except ConnectionClosedByBroker:
        return True
    connection.close()
    return False


@pytest.fixture(scope="module")
def results(broker):
    """What the checks say of all answers that need a restart: they wait for each other, and share it."""
    early = {only_the_messages, as_it_was_given} if refuses_transient_queues(broker) else set()
    together = threading.Barrier(
        len(ANSWERS) - len(early), action=lambda: broker.restart(say=lambda text: None)
    )
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(len(ANSWERS)) as pool:
        patch.setattr(lesson_04, "_restart", lambda lab: together.wait(BARRIER_TIMEOUT))
        checks = [pool.submit(exercise.check, answer) for exercise, answer, _, _ in ANSWERS]
        yield dict(zip(names, [check.result() for check in checks], strict=True))


@pytest.mark.parametrize(
    ("answer", "right", "said"), [(a.__name__, r, s) for _, a, r, s in ANSWERS], ids=names
)
def test_an_answer_is_judged_by_what_is_there_after_a_real_restart(results, answer, right, said):
    result = results[answer]
    assert result.mark is (Mark.RIGHT if right else Mark.WRONG), result.message
    assert said in result.message


@pytest.fixture
def no_restart(monkeypatch):
    def refuse(lab):
        raise AssertionError("this answer is to be refused before the broker is restarted")

    monkeypatch.setattr(lesson_04, "_restart", refuse)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (not_published, "0 messages"),
        (published_twice, "40 messages"),
        (exclusively, "without any restart"),
        (without_a_queue, "without any restart"),
    ],
)
def test_what_is_wrong_before_any_restart_is_refused_without_one(broker, no_restart, wrong, said):
    result = lesson_04.keep.check(wrong)
    assert result.mark is Mark.WRONG
    assert said in result.message


def test_a_worker_that_leaves_at_once_is_refused_without_a_restart(broker, no_restart):
    assert "before it got the end" in lesson_04.serve.check(returning_at_once).message


def test_a_worker_with_automatic_acknowledgements_is_refused_without_a_restart(broker, no_restart):
    assert "auto_ack" in lesson_04.serve.check(with_automatic_acknowledgement).message
