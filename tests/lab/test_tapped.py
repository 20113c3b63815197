"""A learner's own programs behind the bench's tap: in the ledger, in the broker's figures, and waited for."""

import sys
import threading
import time

import pika
import pytest

from labkit import charts, tasks
from labkit.lab import Lab
from labkit.ledger import Kind, Outcome
from labkit.loads import Load


@pytest.fixture
def lab(broker):
    with Lab("tapped", broker=broker, progress=False, say=lambda _: None) as lab:
        yield lab


class Program(threading.Thread):
    """The classic tutorial's worker, in bare pika."""

    def __init__(self, parameters, queue, *, seconds=0.1, auto_ack=False, prefetch=1, name=None):
        super().__init__(daemon=True)
        self._connection = pika.BlockingConnection(parameters)
        channel = self._connection.channel()
        channel.basic_qos(prefetch_count=prefetch)

        def work(channel, method, properties, body):
            time.sleep(seconds)  # the work
            if not auto_ack:
                channel.basic_ack(method.delivery_tag)

        channel.basic_consume(queue, work, auto_ack=auto_ack)
        self._channel = channel
        self.start()

    def run(self):
        try:
            self._channel.start_consuming()
        except pika.exceptions.AMQPError:
            return


def test_bare_pika_behind_the_tap_is_in_the_ledger_and_in_the_brokers_figures_by_one_name(lab):
    queue = lab.queue("bare")
    with lab.tap() as parameters:
        Program(parameters, queue)
        lab.workers(1, queue, names=["Ada"], prefetch=1)
        run = lab.run(tasks.equal(10), queue)
    assert run.counts.done == 10
    assert run.counts.adds_up
    (other,) = (name for name in run.workers if name != "Ada")
    assert len(run.ledger.acknowledged_by(other)) >= 3
    assert run.loads.reconcile(run.ledger).agrees, run.loads.reconcile(run.ledger).sentence
    assert isinstance(run.loads.final[other], Load)


@pytest.mark.parametrize("loads", [True, False])
def test_a_run_waits_for_a_long_task_of_a_program_behind_the_tap(lab, loads):
    queue = lab.queue("long")
    with lab.tap() as parameters:
        Program(parameters, queue, seconds=2.5)
        if loads:
            lab.workers(1, queue, names=["Ada"], prefetch=1)
        run = lab.run(tasks.equal(2), queue)
    assert run.counts.done == 2


def test_a_program_goes_on_from_one_run_to_the_next(lab):
    with lab.tap() as parameters:
        queue = lab.queue("first")
        Program(parameters, queue)
        first = lab.run(tasks.equal(3), queue)
        second = lab.run(tasks.equal(4), queue)
    assert (first.counts.done, second.counts.done) == (3, 4)
    assert first.workers == second.workers


def test_what_a_program_with_automatic_acks_was_sent_is_handed_over_and_neither_done_nor_lost(lab):
    queue = lab.queue("automatic")
    with lab.tap() as parameters:
        Program(parameters, queue, auto_ack=True, seconds=0)
        run = lab.run(tasks.equal(5), queue)
    assert run.counts.handed_over == 5
    assert run.counts.adds_up


def test_an_acknowledgement_that_gets_lost_at_the_tap_makes_an_exact_duplicate(lab):
    queue = lab.queue("duplicate")
    with lab.tap() as parameters:
        Program(parameters, queue)
        lab.publish(queue, tasks.equal(1))
        lab.wait(lambda: lab.ledger.counts().in_flight == 1, "the delivery")
        tap = lab.taps[0]
        assert tap.swallow_ack() == 1
        lab.wait(lambda: lab.depth(queue)[0] == 1, "the broker to have it back")
        Program(parameters, queue)
        run = lab.finish()
    kinds = [event.kind for event in run.ledger.events() if event.task_id]
    assert kinds.count(Kind.ACKNOWLEDGED) == 1
    assert kinds.count(Kind.REDELIVERED) == 1
    assert set(run.ledger.outcomes().values()) == {Outcome.DONE}


def test_a_closed_bench_closes_its_taps_and_leaves_no_thread(lab):
    before = {thread.name for thread in threading.enumerate()}
    lab.tap()
    assert "benchtap" in {thread.name for thread in threading.enumerate()}
    lab.close()
    assert {thread.name for thread in threading.enumerate()} <= before


def test_a_process_that_is_killed_in_a_task_leaves_it_to_the_other_one_and_both_are_in_the_ledger(lab):
    queue = lab.queue("killed")
    with lab.tap():
        ada, ben = lab.processes(2, queue, names=["Ada", "Ben"], prefetch=1, seconds_per_dot=0.2)
        lab.publish(queue, tasks.equal(6, cost=2))
        held = lab.ledger.seats
        lab.wait(lambda: "Ben" in held() and held()["Ben"].held, "Ben to have a task")
        ben.kill()
        run = lab.finish()
    assert ben.state == "killed"
    assert ada.state == "ended"
    assert run.counts.done == 6
    again = [event.task_id for event in run.ledger.events({Kind.REDELIVERED}) if event.worker == "Ada"]
    assert again
    assert set(again) <= set(run.ledger.acknowledged_by("Ada"))
    assert any(event.kind is Kind.CRASHED and event.worker == "Ben" for event in run.ledger.events())
    work = [span for span in run.ledger.spans() if span.worker == "Ada"]
    assert {span.how for span in work} == {"acknowledged"}


def test_what_the_lab_clears_away_is_nobodys_crash(lab):
    queue = lab.queue("cleared")
    program = (
        "import os, pika; c = pika.BlockingConnection(pika.URLParameters(os.environ['AMQP_URL'])).channel()\n"
        f"for m, _, b in c.consume({queue!r}): c.basic_ack(m.delivery_tag)"
    )
    with lab.tap():
        (ada,) = lab.program([sys.executable, "-c", program], names=["Ada"], consumers=queue)
        run = lab.run(tasks.equal(3), queue)
    assert ada.state in ("ended", "killed")
    (row,) = run.workers
    ends = [event.kind for event in run.ledger.events({Kind.CRASHED, Kind.STOPPED, Kind.DISCONNECTED})]
    assert ends == [Kind.STOPPED]
    assert "goodbye" not in charts.timeline(run).sentence
