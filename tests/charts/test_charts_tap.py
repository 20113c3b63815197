"""Bare pika through a real tap, as it is drawn and told: work, held, handed over, killed, done again."""

import contextlib
import subprocess
import sys

import pika.exceptions
import pytest
from waiting import until

from labkit import charts
from labkit.charts.drawable import shown
from labkit.charts.history import history
from labkit.ledger import Ledger, Outcome
from labkit.tap import Tap

COST = 0.1  # seconds of a task
# A worker that never acknowledges, to be killed in its task.
STUCK = """
import sys, time, pika
channel = pika.BlockingConnection(pika.URLParameters(sys.argv[1])).channel()
channel.basic_qos(prefetch_count=1)
channel.basic_consume(sys.argv[2], lambda *_: time.sleep(600))
channel.start_consuming()
"""


@pytest.fixture
def tap(broker):
    with Tap(broker.parameters("test"), Ledger()) as tap:
        yield tap


@pytest.fixture
def client(tap):
    """A function that makes a channel of a new connection through the tap, by the connection's name."""
    opened = []

    def connect(name):
        parameters = pika.URLParameters(str(tap.parameters))
        parameters.client_properties = {"connection_name": name}
        opened.append(pika.BlockingConnection(parameters))
        return opened[-1].channel()

    yield connect
    for connection in opened:
        with contextlib.suppress(pika.exceptions.AMQPError):  # the tap may be closed already
            connection.close()


def publish(channel, queue, count):
    channel.queue_declare(queue)
    for number in range(count):
        channel.basic_publish("", queue, f"task {number}".encode())


def consume(channel, queue, count, **options):
    """Work on so many tasks, one after the other."""
    for done, (method, _, _) in enumerate(channel.consume(queue, inactivity_timeout=30, **options), 1):
        assert method is not None, "no message came"
        channel.connection.sleep(COST)
        if not options.get("auto_ack"):
            channel.basic_ack(method.delivery_tag)
        if done == count:
            return


def bars(ledger, worker):
    return [span for span in ledger.spans() if span.worker == worker]


def test_what_is_known_to_be_work_is_solid_the_rest_is_held_or_handed_over(tap, client, new_queue):
    one, five, over = queues = new_queue(), new_queue(), new_queue()
    sender, fair, greedy, automatic = map(client, ("sender", "fair", "greedy", "automatic"))
    for queue in queues:
        publish(sender, queue, 5)
    fair.basic_qos(prefetch_count=1)
    consume(fair, one, 5)
    greedy.basic_qos(prefetch_count=5)
    consume(greedy, five, 4)
    greedy.connection.process_data_events(0)  # the last acknowledgement is sent
    consume(automatic, over, 1, auto_ack=True)
    ledger = tap.ledger
    until(lambda: ledger.counts().done == 9 and ledger.counts().handed_over == 5, "the tap has told all")

    work = bars(ledger, "fair")
    assert [span.how for span in work] == ["acknowledged"] * 5
    assert all(span.ended - span.started >= COST * 0.9 for span in work)
    assert all(before.ended <= after.started for before, after in zip(work, work[1:], strict=False))
    held = bars(ledger, "greedy")
    assert [span.how for span in held] == ["held"] * 5 and sorted(span.lane for span in held) == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert [span.how for span in bars(ledger, "automatic")] == ["handed over"] * 5
    assert ledger.counts().adds_up and not tap.undecoded

    chart = charts.timeline(ledger)
    written = {text.get_text() for text in chart.texts}
    assert {"acknowledged", "held", "handed over"} <= written
    assert "greedy held up to 5 at a time; how many at once cannot be seen." in chart.sentence
    assert "the broker handed 5 tasks to automatic, acknowledged automatically" in chart.sentence
    for word in ("lost", "crash", "busy", "did"):
        assert word not in f"{chart.title} {chart.sentence}"


def test_a_killed_program_and_a_swallowed_acknowledgement_are_told_as_what_they_are(tap, client, queue):
    sender, ledger = client("sender"), tap.ledger
    publish(sender, queue, 1)
    program = subprocess.Popen([sys.executable, "-c", STUCK, str(tap.parameters), queue])
    try:
        until(lambda: ledger.counts().in_flight == 1, "the program has the task")
        (name,) = ledger.workers
        until(
            lambda: ledger.now() - bars(ledger, name)[0].delivered > COST, "it has had the task for a while"
        )
    finally:
        program.kill()
        program.wait()
    until(lambda: ledger.seats()[name].word == "gone", "its connection is gone")
    assert [span.how for span in bars(ledger, name)] == ["back"]

    unlucky = client("unlucky")
    unlucky.basic_qos(prefetch_count=1)
    tap.swallow_ack("unlucky")
    with pytest.raises(pika.exceptions.AMQPError):
        consume(unlucky, queue, 2)
    until(lambda: ledger.seats()["unlucky"].word == "disconnected", "the connection is cut")
    second = client("second")
    second.basic_qos(prefetch_count=1)
    consume(second, queue, 1)
    second.connection.process_data_events(0)
    until(lambda: ledger.counts().done == 1, "the task is acknowledged")
    tap.close()

    assert [(span.how, span.redelivered) for span in bars(ledger, "unlucky")] == [("back", True)]
    assert [(span.how, span.redelivered) for span in bars(ledger, "second")] == [("acknowledged", True)]
    assert list(ledger.outcomes().values()) == [Outcome.DONE] and not ledger.done_twice()
    told = history(shown(ledger)[0])
    assert [who for who, _ in told.crashes] == [name], (
        "neither a fault of ours nor our clearing away is a crash"
    )
    sentence = told.sentence()
    assert f"The connection of {name} ended without a goodbye at" in sentence
    assert "(cut at the tap)" in sentence
    assert "Redelivered was task #1; whether it was done before cannot be seen." in sentence
    assert "crash" not in sentence
    assert told.message() == f"{name} was gone without a goodbye: 2 tasks redelivered"
