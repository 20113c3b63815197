"""``labkit send`` and ``labkit worker`` beside the two programs of RabbitMQ's tutorial two, whoever comes first.

The programs are written anew from https://www.rabbitmq.com/tutorials/tutorial-two-python: today's declares a quorum
queue, the one before declared a classic one by saying nothing.
"""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pika
import pytest
import requests
from terminal import Program, labkit

from labkit import brokers
from labkit.commands import queues

CONNECT = """import sys, time, pika
url, queue, kind, *words = sys.argv[1:]
connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
channel.queue_declare(queue=queue, durable=True, arguments={'x-queue-type': 'quorum'} if kind == 'quorum' else None)
"""
NEW_TASK = f"""{CONNECT}
message = ' '.join(words) or 'Hello World!'
channel.basic_publish(exchange='', routing_key=queue, body=message,
    properties=pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent))
print(f' [x] Sent {{message}}')
connection.close()
"""
WORKER = f"""{CONNECT}
print(' [*] Waiting for messages. To exit press CTRL+C')
def callback(ch, method, properties, body):
    print(f' [x] Received {{body.decode()}}')
    time.sleep(body.count(b'.') / 100)
    print(' [x] Done')
    ch.basic_ack(delivery_tag=method.delivery_tag)
channel.basic_qos(prefetch_count=1)
channel.basic_consume(queue=queue, on_message_callback=callback)
channel.start_consuming()
"""


@pytest.fixture(params=["quorum", "classic"])
def kind(request):
    return request.param


@pytest.fixture
def options(queue, kind):
    """What ``send`` and ``worker`` are told; a quorum queue, as in today's tutorial, needs no word."""
    return ["--queue", queue, *([] if kind == "quorum" else ["--queue-type", kind])]


@pytest.fixture
def tutorial(broker, queue, kind):
    def start(program, *words):
        return Program(sys.executable, "-c", program, broker.amqp_url, queue, kind, *words)

    return start


def lab_worker(options):
    program = Program(sys.executable, "-m", "labkit", "worker", *options, "--seconds-per-dot", "0.01")
    program.wait_for("waits for messages")
    return program


def send(options, *messages):
    answer = labkit("send", *options, *messages)
    assert answer.returncode == 0, answer.stderr


def test_the_tutorials_new_task_then_the_labs_worker(tutorial, options):
    with tutorial(NEW_TASK, "First", "task.") as new_task:
        assert new_task.end() == 0, new_task.output
    with lab_worker(options) as worker:
        worker.wait_for(r"Done 'First task\.'")


def test_the_labs_worker_then_the_tutorials_new_task(tutorial, options):
    with lab_worker(options) as worker, tutorial(NEW_TASK, "First", "task.") as new_task:
        assert new_task.end() == 0, new_task.output
        worker.wait_for(r"Done 'First task\.'")


def test_the_labs_send_then_the_tutorials_worker(tutorial, options):
    send(options, "First task.")
    with tutorial(WORKER) as worker:
        worker.wait_for(r"Received First task\.")
        worker.wait_for("Done")


def test_the_tutorials_worker_then_the_labs_send(tutorial, options):
    with tutorial(WORKER) as worker:
        worker.wait_for("Waiting for messages")
        send(options, "First task.")
        worker.wait_for(r"Received First task\.")
        worker.wait_for("Done")


def test_a_queue_that_is_there_is_taken_as_it_is_and_its_type_is_said(channel, queue, kind):
    other = {"quorum": "classic", "classic": "quorum"}[kind]
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": kind, "x-max-length": 3})
    answer = labkit("send", "--queue", queue, "--queue-type", other, "hello")
    assert answer.returncode == 0, answer.stderr
    assert (
        f"{queue} was there before and is a {kind} queue, not {other}; it is taken as it is" in answer.stdout
    )


def test_what_the_lab_declares_is_durable_and_of_the_type_that_was_asked_for(
    broker, channel, queue, options, kind
):
    send(options, "hello")
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})  # or 406


def test_programs_that_declare_it_at_the_same_moment_all_get_it(broker, new_queue):
    """Each finds no queue and declares one, of two types: all but one are refused, and take what is there then."""

    def take(queue, queue_type, barrier):
        with brokers.connect(broker.parameters("test")) as connection:
            barrier.wait()
            return queues.take(connection, queue, queue_type)

    for _ in range(10):
        queue, barrier = new_queue(), threading.Barrier(4)
        with ThreadPoolExecutor(4) as pool:
            each = [pool.submit(take, queue, kind, barrier) for kind in ("classic", "quorum") * 2]
            assert sum(future.result() for future in each) >= 1


def test_who_may_only_write_sends_to_a_queue_that_is_there(broker, channel, queue, kind):
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})
    api, admin = f"{broker.management_url}/api", broker.management_credentials
    put = {"timeout": 10, "auth": admin}
    requests.put(f"{api}/users/{queue}", json={"password": "secret", "tags": ""}, **put).raise_for_status()
    try:
        may = {"configure": "^$", "write": ".*", "read": "^$"}
        requests.put(f"{api}/permissions/%2F/{queue}", json=may, **put).raise_for_status()
        url = f"amqp://{queue}:secret@{broker.address()}/%2F"
        answer = labkit("send", "--queue", queue, "--url", url, "hello")
        assert answer.returncode == 0, answer.stderr
        answer = labkit("send", "--queue", f"{queue}-other", "--url", url, "hello")
        assert answer.returncode == 1 and "Traceback" not in answer.stderr
    finally:
        requests.delete(f"{api}/users/{queue}", **put)
    assert channel.basic_get(queue, auto_ack=True)[2] == b"hello"


def test_any_broker_by_its_url(broker, channel, queue):
    nowhere = {"LABKIT_AMQP_URL": "amqp://guest:guest@127.0.0.1:9", "LABKIT_BROKER": None}
    answer = labkit("send", "--queue", queue, "--url", broker.amqp_url, "hello", **nowhere)
    assert answer.returncode == 0, answer.stderr
    assert channel.basic_get(queue, auto_ack=True)[2] == b"hello"
    command = [sys.executable, "-m", "labkit", "worker", "--queue", queue, "--url", broker.amqp_url]
    with Program(*command, **nowhere) as program:
        program.wait_for("waits for messages")
        channel.basic_publish("", queue, b"again", pika.BasicProperties(content_type="text/plain"))
        program.wait_for("Done 'again'")


def test_a_url_that_is_none_is_refused_without_repeating_it():
    answer = labkit("send", "--url", "http://guest:secret@localhost", "hello")
    assert answer.returncode == 2
    assert "amqp://" in answer.stderr and "secret" not in answer.stderr
