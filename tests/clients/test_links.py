"""Producers and workers on pika's event-driven connection: they keep their promises to the broker, whatever happens."""

import sys
import threading
import time

import pika
import pytest

from labkit import tasks
from labkit.clients.listener import Listener
from labkit.clients.producer import Producer
from labkit.clients.worker import Worker
from labkit.errors import LabError, UsageError
from labkit.lab import Lab
from labkit.ledger import Kind, Outcome
from labkit.tasks.handlers import HANDLERS

HEARTBEAT = 1  # second


@pytest.fixture(scope="module")
def lab(broker):
    with Lab("links", broker=broker, progress=False, say=lambda _: None) as lab:
        yield lab


@pytest.fixture(autouse=True)
def fresh(lab):
    lab.begin()


def connections(lab, name):
    """What RabbitMQ calls the open connections of this client."""
    return [each.name for each in lab.management.connections() if each.user_provided_name == name]


def times(lab, worker, *kinds):
    return [event.time for event in lab.ledger.events(kinds) if event.worker == worker.name]


# --- faults really strike -------------------------------------------------------------------


def test_a_producer_that_is_cut_off_comes_back_on_another_connection_and_loses_nothing(lab):
    queue = lab.queue("cut")
    producer = lab.publish(queue, tasks.steady(40, every=0.02), wait=False)
    lab.wait(lambda: producer.published > 5, "the first tasks")
    before = producer.connections
    assert producer.cut()
    producer.wait(20)
    assert producer.connections > before
    assert lab.depth(queue)[0] >= 40


def test_there_is_nothing_to_cut_before_a_client_is_connected_and_after_it_has_left(lab):
    producer = Producer(lab.parameters("p"), lab.queue("uncut"), tasks.equal(1))
    assert not producer.cut()
    producer.start()
    producer.wait()
    producer.join(5)
    assert not producer.cut()


def test_a_worker_that_is_cut_off_in_a_task_finishes_it_and_it_is_done_again(lab):
    queue = lab.queue("again")
    (worker,) = lab.workers(1, queue, loads=False)
    lab.publish(queue, tasks.equal(1, cost=5))
    lab.wait(lambda: worker.state == "working", "it to work")
    assert worker.cut()
    lab.wait(lambda: lab.ledger.counts().done == 1, "the task to be done at last")
    assert len(times(lab, worker, Kind.FINISHED)) == 2
    assert worker.connections == 2


def test_a_crash_is_seen_by_the_broker_at_once(lab):
    queue = lab.queue("crash")
    (worker,) = lab.workers(1, queue, loads=False)
    lab.publish(queue, tasks.equal(3, cost=50))
    lab.wait(lambda: worker.state == "working", "it to work")
    worker.crash()
    assert worker.state == "crashed"
    worker.join(1)
    assert not worker.is_alive()
    lab.wait(lambda: lab.depth(queue) == (3, 0), "the broker to have all three back", timeout=3)


@pytest.mark.parametrize("own_thread", [False, True])
def test_what_a_handler_had_done_when_the_crash_came_is_in_the_ledger(lab, own_thread):
    queue = lab.queue(f"effects-{own_thread}")
    lab.publish(queue, tasks.equal(200, cost=0), confirms=100)
    effects: list[str] = []
    settings = {"own_thread": own_thread, "handlers": {"dots": lambda task, _: effects.append(task.id)}}
    while lab.depth(queue)[0]:
        before = len(effects)
        (worker,) = lab.workers(1, queue, loads=False, prefetch=3, **settings)
        lab.wait(lambda before=before: len(effects) > before + 10 or not lab.depth(queue)[0], "some work")
        worker.crash()
        worker.join(2)
    lab.wait(lambda: effects == [event.task_id for event in lab.ledger.events({Kind.FINISHED})], "the same")


# --- time is a timer ------------------------------------------------------------------------


def test_heartbeats_are_answered_while_a_task_takes_long(lab):
    queue = lab.queue("long")
    worker = Worker(lab.parameters("slow", heartbeat=HEARTBEAT), queue, name="slow", ledger=lab.ledger)
    worker.start()
    lab.publish(queue, tasks.equal(1, cost=50))
    lab.wait(lambda: lab.ledger.counts().done == 1, "five seconds of work", timeout=15)
    assert worker.connections == 1
    worker.stop()


@pytest.mark.parametrize("own_thread", [False, True])
def test_a_handler_that_computes_keeps_its_connection_waiting_unless_it_has_a_thread_of_its_own(
    lab, own_thread
):
    queue = lab.queue(f"computes-{own_thread}")
    there = threading.Event()

    def compute(task, fields):
        there.wait(2)

    worker = Worker(
        lab.parameters("computes"), queue, name="computes", ledger=lab.ledger, own_thread=own_thread,
        handlers={"dots": compute}, prefetch=2,
    )  # fmt: skip
    worker.start()
    lab.publish(queue, tasks.equal(1, cost=0))
    lab.wait(lambda: worker.current is not None, "it to compute")
    lab.publish(queue, tasks.equal(1, cost=0))
    try:
        if own_thread:
            lab.wait(lambda: worker.buffered == 1, "the next task to be read meanwhile", timeout=1.5)
        else:
            lab.wait(lambda: lab.depth(queue)[0] == 0, "the next task to be sent", timeout=1.5)
            assert worker.buffered == 0
    finally:
        there.set()
    lab.wait(lambda: lab.ledger.counts().done == 2, "both to be done")
    worker.stop()


def test_nothing_is_started_or_finished_while_a_worker_is_paused(lab):
    queue = lab.queue("paused")
    (worker,) = lab.workers(1, queue, loads=False)
    lab.publish(queue, tasks.equal(400, cost=0), wait=False)
    lab.publish(queue, tasks.equal(30, cost=1), wait=False)
    for _ in range(5):
        count = len(times(lab, worker, Kind.FINISHED))
        lab.wait(lambda count=count: len(times(lab, worker, Kind.FINISHED)) > count, "another task")
        worker.pause()
        held = lab.ledger.now()
        lab.wait(lambda held=held: lab.ledger.now() > held + 0.25, "a while to pass")
        worker.resume()
    paused, resumed = times(lab, worker, Kind.PAUSED), times(lab, worker, Kind.RESUMED)
    assert len(paused) == len(resumed) == 5
    for moment in times(lab, worker, Kind.STARTED, Kind.FINISHED):
        assert not any(begin < moment < end for begin, end in zip(paused, resumed, strict=True))


def test_a_faster_worker_ends_the_task_it_is_at_sooner(lab):
    queue = lab.queue("faster")
    (worker,) = lab.workers(1, queue, loads=False)
    lab.publish(queue, tasks.equal(1, cost=100))
    lab.wait(lambda: worker.state == "working", "it to work")
    worker.speed = 100
    lab.wait(lambda: lab.ledger.counts().done == 1, "ten seconds of work in a tenth of one", timeout=3)


# --- whatever a handler or listener raises --------------------------------------------------


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), ValueError("no")], ids=lambda e: type(e).__name__
)
def test_a_worker_survives_whatever_its_handler_raises(lab, error):
    queue = lab.queue("raises")

    def fail(task, fields):
        if task.label == "1":
            raise error

    (worker,) = lab.workers(1, queue, handlers={"dots": fail}, loads=False)
    run = lab.run(tasks.equal(2), queue)
    assert [event.task_id for event in run.ledger.events({Kind.FAILED})] == run.ledger.lost()
    assert run.counts.done == 1
    assert worker.error is None


def test_a_listener_that_raises_is_told_of_and_the_worker_goes_on(lab):
    class Exits(Listener):
        def done(self, task, result):
            sys.exit("no more")

    queue = lab.queue("listener")
    (worker,) = lab.workers(1, queue, listener=Exits(), loads=False)
    run = lab.run(tasks.equal(3), queue)
    assert run.counts.done == 3
    assert isinstance(worker.error, LabError)
    assert "no more" in worker.error.what


def test_a_number_too_large_to_print_is_computed_like_any_other(lab):
    queue = lab.queue("huge")
    (worker,) = lab.workers(1, queue, listener=Listener(), loads=False)
    run = lab.run([tasks.arithmetic("multiply", 1, 2000), tasks.dots(1)], queue)
    assert run.counts.done == 2
    assert worker.error is None


def test_a_task_that_cannot_be_done_is_published_to_the_dead_letter_queue_and_then_acknowledged(lab):
    dead, queue = lab.queue("parked"), lab.queue("with-parking")
    told = []

    class Told(Listener):
        def failed(self, message, error, verdict):
            told.append((message, verdict))

    lab.workers(1, queue, on_error="dead-letter", dead_letter_queue=dead, listener=Told(), loads=False)
    lab.publish(queue, [tasks.Task("bad-1", b"\xff", content_type="text/plain"), *tasks.equal(2)])
    lab.wait(lambda: lab.ledger.outcome("bad-1") is Outcome.DEAD_LETTERED, "the bad one to be parked")
    run = lab.finish()
    assert told == [(b"\xff", "dead-lettered")]
    assert run.counts.done == 2
    assert lab.depth(dead)[0] == 1


def test_without_its_dead_letter_queue_a_bad_task_goes_back_and_is_not_lost(lab):
    queue = lab.queue("no-parking")
    (worker,) = lab.workers(
        1, queue, on_error="dead-letter", dead_letter_queue="nowhere", loads=False, prefetch=1
    )
    lab.publish(queue, [tasks.Task("bad-2", b"\xff", content_type="text/plain")])
    lab.wait(lambda: times(lab, worker, Kind.REQUEUED), "it to be given back")
    worker.stop()
    lab.wait(lambda: lab.depth(queue)[0] == 1, "the queue to have it")


# --- confirms in windows ----------------------------------------------------------------------


@pytest.mark.parametrize("confirms", [False, True, 1, 7, 100])
def test_every_task_is_published_once_and_confirmed_as_asked(lab, confirms):
    queue = lab.queue(f"confirms-{confirms}")
    lab.publish(queue, tasks.equal(250, cost=0), confirms=confirms)
    assert lab.depth(queue)[0] == 250
    kinds = [event.kind for event in lab.ledger.events()]
    assert kinds.count(Kind.PUBLISHED) == 250
    assert kinds.count(Kind.CONFIRMED) == (250 if confirms else 0)


@pytest.mark.parametrize("window", [1, 10])
def test_never_more_than_the_window_waits_for_its_confirm(lab, window):
    lab.publish(lab.queue(f"window-{window}"), tasks.equal(200, cost=0), confirms=window)
    waiting = most = 0
    for event in lab.ledger.events({Kind.PUBLISHED, Kind.CONFIRMED}):
        waiting += 1 if event.kind is Kind.PUBLISHED else -1
        most = max(most, waiting)
    assert most == window


def test_of_a_window_only_what_no_queue_takes_is_returned(lab):
    lab.publish(lab.name("nobody"), tasks.equal(30), confirms=10, mandatory=True)
    assert lab.ledger.counts().unroutable == 30


def test_what_was_not_confirmed_when_the_connection_broke_is_published_again(lab):
    queue = lab.queue("windows-cut")
    producer = lab.publish(queue, tasks.steady(200, every=0.005), confirms=50, wait=False)
    for _ in range(3):
        before = producer.published
        lab.wait(lambda before=before: producer.published > before + 10, "some more", timeout=10)
        assert producer.cut()
    producer.wait(30)
    assert {event.task_id for event in lab.ledger.events({Kind.CONFIRMED})} == {
        t.id for t in producer.workload
    }
    assert lab.depth(queue)[0] >= 200


@pytest.mark.parametrize("confirms", [-1, 65536, "yes", 1.5])
def test_a_window_that_makes_no_sense_is_refused(lab, confirms):
    with pytest.raises(UsageError, match="confirms"):
        Producer(lab.parameters("p"), "q", [], confirms=confirms)


def test_a_ledger_that_is_none_is_refused(lab):
    with pytest.raises(UsageError, match="ledger"):
        Producer(lab.parameters("p"), "q", [], ledger="x")


# --- names and ends -----------------------------------------------------------------------------


def test_a_stopped_worker_ends_with_its_task_and_closes_its_connection(lab):
    queue = lab.queue("stopped")
    (worker,) = lab.workers(1, queue, names=["Ada"], loads=False)
    lab.publish(queue, tasks.equal(5, cost=3))
    lab.wait(lambda: worker.state == "working", "it to work")
    worker.stop()
    assert not worker.is_alive()
    last = times(lab, worker, Kind.FINISHED, Kind.ACKNOWLEDGED)[-1]
    assert times(lab, worker, Kind.STOPPED)[0] - last < 0.5
    lab.wait(lambda: not connections(lab, "Ada"), "its connection to be closed", timeout=10)


@pytest.mark.parametrize("ack", ["automatic", "manual"])
def test_a_worker_that_leaves_knows_of_everything_that_was_sent_to_it(lab, ack):
    for attempt in range(5):
        queue = lab.queue(f"leaves-{ack}-{attempt}")
        (worker,) = lab.workers(1, queue, ack=ack, loads=False)
        producer = lab.publish(queue, tasks.equal(3000, cost=1), confirms=False, wait=False)
        lab.wait(lambda worker=worker: worker.buffered > 200, "it to be sent a lot")
        worker.stop()
        producer.wait()
        gone = Kind.DELIVERED if ack == "automatic" else Kind.ACKNOWLEDGED
        kept = 3000 - len(times(lab, worker, gone))
        lab.wait(lambda queue=queue, kept=kept: lab.depth(queue)[0] == kept, f"{kept} to be left", timeout=5)
        lab.begin()


def test_an_idle_worker_leaves_at_once(lab):
    (worker,) = lab.workers(1, lab.queue("idle"), loads=False)
    began = time.monotonic()
    worker.stop()
    assert time.monotonic() - began < 1


def test_own_threads_of_handlers_are_gone_when_the_work_is(lab):
    queue = lab.queue("threads")
    lab.workers(2, queue, own_thread=True, handlers={**HANDLERS}, loads=False)
    lab.run([tasks.arithmetic("sum", 1, 10) for _ in range(20)], queue)
    lab.wait(lambda: not [t for t in threading.enumerate() if "computes" in t.name], "them to end", timeout=3)


def test_an_address_where_nobody_listens_is_no_end_of_a_worker(lab):
    worker = Worker(pika.ConnectionParameters("127.0.0.1", 9), "q", name="lonely")
    worker.start()
    lab.wait(lambda: worker.error is not None, "it to find out")
    assert worker.is_alive()
    worker.stop()
    assert not worker.is_alive()
