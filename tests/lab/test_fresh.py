"""What is asked of the bench is what the broker has: on any virtual host, with few rights, after an interruption."""

import _thread
import threading
import time
import uuid
from pathlib import Path

import pytest
import requests

from labkit import tasks
from labkit.brokers.remote import Remote
from labkit.errors import AccessRefusedError, UsageError, VirtualHostError
from labkit.lab import Lab, survival

TIMEOUT = 60


def administer(broker, method, path, **body):
    """Ask the management API to do something, as its administrator."""
    answer = requests.request(
        method, f"{broker.management_url}/api/{path}", json=body or None, auth=("guest", "guest"), timeout=30
    )
    answer.raise_for_status()
    return answer


@pytest.fixture
def quorum_by_default(broker):
    """A broker whose virtual host has quorum as its default type of queue; gone afterwards."""
    name = f"vhost-{uuid.uuid4().hex[:8]}"
    administer(broker, "PUT", f"vhosts/{name}", default_queue_type="quorum")
    administer(broker, "PUT", f"permissions/{name}/guest", configure=".*", write=".*", read=".*")
    if administer(broker, "GET", f"vhosts/{name}").json().get("default_queue_type") != "quorum":
        administer(broker, "DELETE", f"vhosts/{name}")
        pytest.skip("this RabbitMQ knows no default type")
    yield Remote(f"amqp://guest:guest@{broker.address()}/{name}", broker.management_url)
    administer(broker, "DELETE", f"vhosts/{name}")


def test_classic_is_classic_where_quorum_is_the_default(quorum_by_default):
    with Lab("types", broker=quorum_by_default, progress=False) as lab:
        with lab.channel() as channel:
            bare = lab.name("bare")
            channel.queue_declare(bare, durable=True)
            assert lab.management.queue(bare).type == "quorum", "the virtual host has no such default"
            channel.queue_delete(bare)
        queue, quorum = lab.queue("plain"), lab.queue("quorum", type="quorum")
        assert lab.management.queue(queue).type == "classic"
        assert lab.management.queue(quorum).type == "quorum"
        shelves = survival.Survival(lab, count=1)
        shelves.fill()
        for queue in lab.management.queues("lab."):
            wanted = "quorum" if queue.name.endswith("quorum") or "-quorum-" in queue.name else "classic"
            assert queue.type == wanted, queue.name


@pytest.fixture
def reader(broker):
    """A user who may read and write, and declare nothing."""
    name = f"reader-{uuid.uuid4().hex[:8]}"
    administer(broker, "PUT", f"users/{name}", password="secret", tags="management")
    administer(broker, "PUT", f"permissions/%2F/{name}", configure="^$", write=".*", read=".*")
    yield Remote(f"amqp://{name}:secret@{broker.address()}/", broker.management_url)
    administer(broker, "DELETE", f"users/{name}")


def test_who_may_not_declare_is_told_at_once(reader):
    with Lab("reader", broker=reader, progress=False) as lab:
        began = time.monotonic()
        with pytest.raises((AccessRefusedError, VirtualHostError)):
            lab.queue("anything")
        assert time.monotonic() - began < 10, "it went on trying"


# ---------------------------------------------------------------- interrupted


@pytest.fixture
def lab(broker):
    with Lab("fresh", broker=broker, seconds_per_dot=0.03, progress=False, say=lambda text: None) as bench:
        yield bench


def interrupt_when(lab, condition):
    """As the notebook's stop button does, once the condition holds."""

    def wait():
        lab.wait(condition, "the moment to interrupt")
        _thread.interrupt_main()

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.parametrize("doing", ["run", "finish", "publish"])
@pytest.mark.parametrize("again", ["the same queue", "another queue", "the queue declared again"])
def test_interrupting_a_run_and_going_on_starts_clean(lab, doing, again):
    queue = lab.queue("first")
    (worker,) = lab.workers(1, queue, prefetch=1)
    ledger = lab.ledger
    interrupt_when(lab, lambda: ledger.counts().done >= 2)
    with pytest.raises(KeyboardInterrupt):
        if doing == "run":
            lab.run(tasks.equal(60), queue, timeout=TIMEOUT)
        elif doing == "finish":
            lab.publish(queue, tasks.equal(60))
            lab.finish(timeout=TIMEOUT)
        else:
            lab.publish(queue, tasks.equal(60), rate=10, timeout=TIMEOUT)
    assert not worker.is_alive()
    if again != "the same queue":
        queue = lab.queue("second" if again == "another queue" else "first")
    lab.workers(1, queue)
    run = lab.run(tasks.equal(4), queue, timeout=TIMEOUT)
    assert (run.counts.published, run.counts.done) == (4, 4)


# ---------------------------------------------------------------- refused at the door


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"distance": {}}, "distance"),
        ({"distance": -1}, "distance"),
        ({"names": range(10**9)}, "names"),
        ({"names": Path("/")}, "names"),
        ({"names": "Ada"}, "names"),
        ({"speed": range(10**9)}, "speeds"),
        ({"priority": range(10**9)}, "priorities"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_by_its_name_and_at_once(lab, settings, what):
    queue = lab.queue("refused")
    with pytest.raises(UsageError, match=what):
        lab.workers(2, queue, **settings)
    assert lab.active == []


def test_a_queue_has_a_name_that_can_be_sent(lab):
    for ask in (lab.depth, lab.queue, lambda name: lab.workers(1, name), lambda name: lab.publish(name, [])):
        for name in ("\udc80", "", None, {}):
            with pytest.raises(UsageError, match="name of the queue"):
                ask(name)
    queue = lab.queue("fine")  # and the bench goes on
    lab.workers(1, queue)
    assert lab.run(tasks.equal(2), queue, timeout=TIMEOUT).counts.done == 2


def test_a_queue_that_is_there_and_cannot_be_read_is_not_called_gone(lab, monkeypatch):
    """AMQP says 404 of a queue whose process is not there yet, too: only the listing tells."""
    from labkit.errors import QueueMissingError, WaitTimeoutError

    queue = lab.queue("booting")

    def refuse(name="bench"):
        raise QueueMissingError("The broker says: NOT_FOUND - anything.")

    monkeypatch.setattr(lab, "channel", refuse)
    with pytest.raises(WaitTimeoutError, match="could not be read"):
        survival.fetch(lab, queue, timeout=0.5)
    assert survival.fetch(lab, queue + "-never-declared", timeout=0.5) is None
