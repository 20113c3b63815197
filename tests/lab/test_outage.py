"""Producers and workers when the broker goes away, is refused to them, or stops reading."""

import contextlib

import pika
import pytest

from labkit import tasks
from labkit.clients.producer import Producer
from labkit.clients.worker import Worker
from labkit.errors import AccessRefusedError, ResourceAlarmError
from labkit.lab import Lab
from labkit.ledger import Kind, Outcome


@pytest.fixture
def lab(broker):
    if not broker.can_restart:
        pytest.skip("this broker is not ours to restart")
    with Lab("outage", broker=broker, seconds_per_dot=0.05, progress=False) as bench:
        yield bench


def test_confirmed_tasks_survive_a_broker_that_is_killed_and_everybody_comes_back(lab):
    queue = lab.queue("ride")
    workers = lab.workers(2, queue, prefetch=2)
    producer = lab.publish(queue, tasks.equal(60), wait=False, rate=40)
    lab.wait(lambda: producer.published > 15, "the first tasks")
    lab.kill_broker()
    lab.wait(lambda: all(worker.state in ("idle", "working") for worker in workers), "the workers to be back")
    run = lab.finish()
    assert run.counts.done == 60
    assert run.counts.lost == 0
    assert len(list(run.ledger.events([Kind.DISCONNECTED]))) == 2
    ((down, up),) = run.ledger.downtimes()
    during = [event for event in run.ledger.events([Kind.CONFIRMED]) if down + 0.5 < event.time < up - 0.5]
    assert not during


def test_a_blocked_publisher_is_told_why_instead_of_hanging(lab):
    queue = lab.queue("alarm")
    with low_memory(lab), pytest.raises(ResourceAlarmError, match="blocks"):
        name = "blocked"
        producer = Producer(
            lab.parameters(name, blocked_connection_timeout=1),
            queue,
            tasks.equal(3),
            ledger=lab.ledger,
            name=name,
        )
        producer.start()
        try:
            producer.wait(20)
        finally:
            producer.stop()
    lab.publish(queue, tasks.equal(1))  # the alarm is over
    assert lab.depth(queue)[0] >= 1


@contextlib.contextmanager
def low_memory(lab):
    """A memory alarm: the watermark is set so low that the broker is above it."""
    node = lab.broker
    if not hasattr(node, "ctl"):
        pytest.skip("this broker's alarms are not ours to set off")
    node.ctl("set_vm_memory_high_watermark", "absolute", "1")
    try:
        lab.wait(lambda: lab.management.alarms(), "the alarm", timeout=15)
        yield
    finally:
        node.ctl("set_vm_memory_high_watermark", "0.4")
        lab.wait(lambda: not lab.management.alarms(), "the end of the alarm", timeout=15)


def test_a_worker_that_is_refused_says_so_and_starts_nothing(lab):
    queue = lab.queue("refused")
    parameters = lab.parameters("intruder", credentials=pika.PlainCredentials("guest", "wrong"))
    worker = Worker(parameters, queue, name="intruder", ledger=lab.ledger, reconnect=False)
    worker.start()
    worker.join(15)
    assert isinstance(worker.error, AccessRefusedError)
    assert lab.depth(queue)[1] == 0
    assert Outcome.LOST not in lab.ledger.outcomes().values()
