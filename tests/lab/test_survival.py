"""What survives a broker's death, and what rides through it: one graceful restart and one kill for all tests."""

import threading
from types import SimpleNamespace

import pytest

from labkit import tasks
from labkit.brokers.remote import Remote
from labkit.errors import QueueMissingError
from labkit.lab import Lab
from labkit.lab.survival import MESSAGES, QUEUES, Survival, fetch
from labkit.ledger import Kind
from labkit.results.fates import Fate


@pytest.fixture(scope="module")
def restarted(broker):
    """A bench on a broker that is somebody else's, who restarts it while tasks are on their way."""
    theirs = Remote(broker.amqp_url, broker.management_url)
    said = []
    with Lab("test-restart", broker=theirs, seconds_per_dot=0.03, progress=False, say=said.append) as lab:
        survival = Survival(lab, count=20)
        survival.fill()
        queue = lab.queue("ride")
        lab.workers(3, queue, prefetch=1)
        producer = lab.publish(queue, tasks.equal(5000, 4), rate=20, wait=False)
        lab.wait(lambda: lab.ledger.counts().done >= 6, "the first tasks")
        somebody = threading.Timer(0.5, broker.restart, kwargs={"say": said.append})
        somebody.start()
        away = lab.restart_broker(timeout=180)
        somebody.join()
        before = producer.published
        lab.wait(lambda: producer.published >= before + 6, "the producer to come back", 60)
        producer.stop()
        run = lab.finish(timeout=60)
        confirmed, unconfirmed = survival.count("restart")
        yield SimpleNamespace(
            lab=lab,
            run=run,
            away=away,
            matrix=confirmed,
            unconfirmed=unconfirmed,
            said=said,
            survival=survival,
        )


@pytest.fixture(scope="module")
def killed(broker, restarted):
    """The same queues, some seconds old by now, under a SIGKILL."""
    with Lab("test-kill", broker=broker, progress=False, say=lambda text: None) as lab:
        survival = restarted.survival
        survival.fill()
        survival.publish_unconfirmed()
        away = lab.kill_broker(timeout=180)
        confirmed, unconfirmed = survival.count("kill")
        yield SimpleNamespace(matrix=confirmed, unconfirmed=unconfirmed, away=away)


def expected(survival):
    wanted = {(queue, message): "queue lost" for queue in QUEUES for message in MESSAGES}
    wanted |= {(queue, message): "refused" for queue in survival.refused for message in MESSAGES}
    wanted |= {("quorum", message): "kept" for message in MESSAGES}
    return wanted | {
        ("durable classic", "transient"): "messages lost",
        ("durable classic", "persistent"): "kept",
    }


def test_a_restart_keeps_persistent_messages_in_durable_queues_and_everything_in_quorum_queues(restarted):
    assert restarted.matrix.outcomes == expected(restarted.survival)
    assert len(restarted.unconfirmed) == 0  # nothing was published that way


def test_a_kill_keeps_the_same_once_it_is_confirmed(killed, restarted):
    assert killed.matrix.outcomes == expected(restarted.survival)
    assert killed.matrix["durable classic", "persistent"].redelivered == 20


def test_what_was_not_confirmed_is_between_nothing_and_everything(killed):
    for cell, fate in killed.unconfirmed.items():
        assert fate.refused or fate.sent >= 20, cell
        assert 0 <= (fate.kept or 0) <= fate.sent, cell


def test_the_watch_notes_when_the_broker_was_away(restarted, killed):
    [(down, up)] = restarted.run.ledger.downtimes()
    assert up - down == pytest.approx(restarted.away, abs=0.5)
    assert killed.away > 0.5
    assert any("somebody else's" in line for line in restarted.said)


def test_every_worker_comes_back_once_the_broker_has(restarted):
    [(down, up)] = restarted.run.ledger.downtimes()
    connected = [e.time for e in restarted.run.ledger.events({Kind.CONNECTED})]
    assert len([time for time in connected if time > down]) == 3


def test_producer_and_workers_ride_through_and_nothing_is_lost(restarted):
    counts = restarted.run.counts
    assert counts.done == counts.published
    assert counts.lost == counts.waiting == counts.in_flight == 0
    assert restarted.lab.depth(restarted.lab.name("ride"))[0] == 0


def test_whatever_was_done_twice_was_delivered_again_or_published_again(restarted):
    ledger = restarted.run.ledger
    again = {event.task_id for event in ledger.events({Kind.REDELIVERED})}
    published = [event.task_id for event in ledger.events({Kind.PUBLISHED})]
    again |= {task_id for task_id in published if published.count(task_id) > 1}
    assert set(ledger.done_twice()) <= again


def test_a_producer_that_was_cut_off_keeps_its_pace(restarted):
    ledger = restarted.run.ledger
    [(_, up)] = ledger.downtimes()
    times = [event.time for event in ledger.events({Kind.PUBLISHED}) if event.time > up]
    assert times[5] - times[0] > 4 / 20  # six tasks at 20 a second


def test_a_queue_that_is_not_there_has_kept_nothing(restarted):
    assert fetch(restarted.lab, restarted.lab.name("nowhere")) is None
    with pytest.raises(QueueMissingError):
        restarted.lab.depth(restarted.lab.name("nowhere"))


def test_a_new_experiment_begins_with_an_empty_ledger_and_leaves_the_queues(restarted):
    lab = restarted.lab
    queue = lab.queue("begin")
    lab.publish(queue, tasks.equal(3))
    lab.begin()
    assert lab.ledger.counts().published == 0
    assert lab.depth(queue)[0] == 3


def test_a_lesson_that_was_left_with_its_broker_killed_begins_again(broker):
    quiet = {"broker": broker, "progress": False, "say": lambda text: None}
    left = Lab("test-left", **quiet)
    queue = left.queue("left", type="quorum")
    left.workers(2, queue)
    left.publish(queue, tasks.equal(500, 50), rate=100, wait=False)
    broker.kill(say=lambda text: None)
    with Lab("test-left", **quiet) as lab:  # starts the broker
        assert not any(worker.is_alive() for worker in left.active)
        lab.wait(lambda: not lab.management.queues(lab.name("left")), "the queue of before to go", 60)
        queue = lab.queue("left")
        lab.workers(1, queue)
        assert lab.run(tasks.equal(3), queue).counts.done == 3


@pytest.mark.parametrize(
    ("fate", "outcome"),
    [
        (Fate(100, 100), "kept"),
        (Fate(100, 0), "messages lost"),
        (Fate(100, 37), "some lost"),
        (Fate(100, None), "queue lost"),
        (Fate(0, 0, refused=True), "refused"),
    ],
)
def test_a_fate_in_words(fate, outcome):
    assert fate.outcome == outcome
