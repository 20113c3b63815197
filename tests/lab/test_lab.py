"""The bench: what workers and producers do to tasks, on the real broker."""

import json
import threading
import time

import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ConnectionClosedByBroker

from labkit import tasks
from labkit.clients.listener import Listener
from labkit.clients.worker import Worker
from labkit.errors import CancelledError, QueueMissingError, UsageError, WaitTimeoutError
from labkit.lab import Lab
from labkit.ledger import Kind, Outcome
from labkit.loads import LoadSampler
from labkit.results.run import Run
from labkit.tasks.handlers import HANDLERS

TRIES = 4  # what takes so long at most is tried so often: a busy machine delays one, but not each of them


@pytest.fixture
def lab(broker):
    with Lab("test", broker=broker, seconds_per_dot=0.03, progress=False) as bench:
        yield bench


def started(lab, worker):
    """Wait until the worker is in its first task."""
    lab.wait(lambda: worker.state == "working", f"{worker.name} to work")


# --- dispatch ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ack", ["manual", "automatic"])
def test_workers_that_are_there_first_get_the_tasks_in_turn(lab, ack):
    queue = lab.queue("turns")
    workers = lab.workers(3, queue, ack=ack)
    workload = tasks.equal(12)
    run = lab.run(workload, queue)
    assert run.counts.done == 12
    for number, worker in enumerate(workers):
        assert run.ledger.delivered_to(worker.name) == [task.id for task in workload[number::3]]
    assert {name: load.delivered for name, load in run.loads.final.items()} == {w.name: 4 for w in workers}
    assert run.loads.reconcile(run.ledger).agrees


def test_with_prefetch_1_the_faster_worker_does_more(lab):
    queue = lab.queue("fast-and-slow")
    fast, slow = lab.workers(2, queue, prefetch=1, speed=[6, 1])
    run = lab.run(tasks.equal(14, 2), queue)
    assert len(run.ledger.finished_by(fast.name)) > 2 * len(run.ledger.finished_by(slow.name))


def test_workers_returns_when_the_broker_shows_them(lab):
    queue = lab.queue("consumers")
    lab.workers(4, queue)
    assert lab.depth(queue) == (0, 4)


def test_a_paused_worker_that_is_told_to_stop_finishes_its_task_first(lab):
    queue = lab.queue("paused")
    (worker,) = lab.workers(1, queue)
    lab.publish(queue, tasks.equal(2, cost=10))
    started(lab, worker)
    worker.pause()
    lab.wait(lambda: worker.state == "paused", "the pause")
    worker.stop(timeout=10)
    assert not worker.is_alive()
    assert len(lab.ledger.acknowledged_by(worker.name)) == 1
    run = lab.finish()
    assert (run.counts.done, run.counts.waiting) == (1, 1)


def test_a_paused_worker_without_a_task_keeps_no_run_from_ending(lab):
    queue = lab.queue("paused")
    lab.workers(1, queue)[0].pause()
    lab.workers(1, queue, priority=1)  # who is served first
    run = lab.run(tasks.equal(4), queue, timeout=20)
    assert run.counts.done == 4


def test_workers_that_come_while_another_one_crashes_wait_for_nobody_else(lab, monkeypatch):
    queue = lab.queue("come-and-go")
    (first,) = lab.workers(1, queue)
    start = Worker.start
    monkeypatch.setattr(Worker, "start", lambda worker: (first.crash(), start(worker)))
    lab.workers(1, queue, names=["second"], timeout=10)
    lab.wait(lambda: lab.depth(queue) == (0, 1), "the first to be gone")


# --- failing -------------------------------------------------------------------------------------


def test_a_crash_with_auto_ack_loses_exactly_what_the_worker_had(lab):
    queue = lab.queue("lost")
    lab.workers(1, queue, ack="automatic", crash_in=2)
    lab.workers(1, queue, ack="automatic")
    workload = tasks.equal(12, 10)
    lab.publish(queue, workload)
    run = lab.finish()
    assert run.ledger.lost() == [task.id for task in workload[2::2]]
    assert lab.depth(queue) == (0, 0)
    assert run.counts.adds_up


def test_a_crashed_workers_unacknowledged_tasks_go_to_the_others(lab):
    queue = lab.queue("kept")
    (first,) = lab.workers(1, queue, crash_in=2)
    lab.workers(1, queue)
    workload = tasks.equal(12, 10)
    lab.publish(queue, workload)
    run = lab.finish()
    assert run.counts.done == 12
    assert run.counts.lost == 0
    again = [event.task_id for event in run.ledger.events([Kind.REDELIVERED])]
    assert sorted(again) == sorted(task.id for task in workload[2::2])
    assert [span.how for span in run.ledger.spans() if span.worker == first.name] == ["finished", "crashed"]


def test_what_a_crashed_worker_was_sent_is_counted_however_late_the_first_look_is(lab, monkeypatch):
    look = LoadSampler.run
    late = threading.Event()  # never set: the pause is the subject
    monkeypatch.setattr(LoadSampler, "run", lambda sampler: (late.wait(2.5), look(sampler)))
    queue = lab.queue("late")
    lab.workers(1, queue, names=["Ada"])
    lab.workers(1, queue, names=["Ben"], crash_in=2)
    run = lab.run(tasks.equal(10, 10), queue)
    assert run.loads.final["Ben"].delivered == 5
    assert run.loads.final["Ben"].acknowledged == 1
    assert run.loads.reconcile(run.ledger).agrees


def test_a_crash_breaks_the_connection_within_a_twentieth_of_a_second(lab):
    queue = lab.queue("quick")
    workers = lab.workers(TRIES, queue)
    lab.publish(queue, tasks.equal(2 * TRIES, 400))
    took = []
    for worker in workers:
        started(lab, worker)
        before = time.perf_counter()
        worker.crash()
        worker.join(5)
        took.append(time.perf_counter() - before)
        assert worker.state == "crashed"
    assert min(took) < 0.05
    assert max(took) < 2  # and not after its task, which takes 12
    lab.wait(lambda: lab.depth(queue) == (2 * TRIES, 0), "the broker to put all tasks back")


def test_a_crash_after_the_work_and_before_the_acknowledgement_does_the_task_twice(lab):
    queue = lab.queue("twice")
    lab.workers(1, queue, crash_in=1, crash_when="after")
    lab.workers(1, queue)
    workload = tasks.equal(2, 10)
    run = lab.run(workload, queue)
    assert run.counts.done == 2
    assert run.ledger.done_twice() == [workload[0].id]


def test_a_worker_stops_after_its_task_and_leaves_the_rest_to_others(lab):
    queue = lab.queue("stop")
    workers = lab.workers(TRIES, queue)
    lab.publish(queue, tasks.equal(20 * TRIES, 50), confirms=False)
    for worker in workers:
        lab.wait(lambda worker=worker: worker.buffered == 19, "everything delivered to it")
        worker.stop(timeout=None)
    for worker in workers:
        worker.join(10)
    ends = {event.worker: event.time for event in lab.ledger.events([Kind.STOPPED])}
    done = {event.worker: event.time for event in lab.ledger.events([Kind.FINISHED])}
    assert len(list(lab.ledger.events([Kind.FINISHED]))) == TRIES
    assert min(ends[worker.name] - done[worker.name] for worker in workers) < 0.1
    assert lab.ledger.counts().waiting == 19 * TRIES
    lab.wait(lambda: lab.depth(queue) == (19 * TRIES, 0), "the other tasks in the queue again")


def test_an_idle_worker_stops_at_once(lab):
    took = []
    for worker in lab.workers(TRIES, lab.queue("idle")):
        before = time.perf_counter()
        worker.stop()
        took.append(time.perf_counter() - before)
        assert not worker.is_alive()
    assert min(took) < 0.2


def test_a_forgotten_acknowledgement_brings_everything_back(lab):
    queue = lab.queue("forgotten")
    lab.workers(1, queue, ack="forgotten")
    lab.publish(queue, tasks.equal(5))
    lab.wait(lambda: len(lab.ledger.finished_by("worker-1")) == 5, "the work to be done")
    assert lab.ledger.counts().in_flight == 5
    run = lab.finish()
    assert run.loads.final["worker-1"].unacknowledged == 5
    assert run.counts.waiting == 5
    assert lab.depth(queue) == (5, 0)


def test_a_paused_worker_holds_its_task_and_goes_on_where_it_was(lab):
    queue = lab.queue("pause")
    (worker,) = lab.workers(1, queue)
    lab.publish(queue, tasks.equal(1, 60))  # 1.8 seconds
    started(lab, worker)
    (start,) = (event.time for event in lab.ledger.events([Kind.STARTED]))
    lab.wait(lambda: lab.ledger.now() - start > 1.4, "most of the work to be done")
    worker.pause()
    lab.wait(lambda: worker.state == "paused", "the pause")
    paused_at = lab.ledger.now()
    threading.Timer(0.5, worker.resume).start()
    run = lab.finish()
    (span,) = run.ledger.spans()
    assert span.ended - paused_at > 0.5
    assert 1.8 + 0.5 - 0.05 < span.ended - span.started < 1.4 + 0.5 + 1.8  # not from the beginning again


def test_speed_takes_effect_in_the_middle_of_a_task(lab):
    queue = lab.queue("speed")
    (worker,) = lab.workers(1, queue, speed=0.01)
    lab.publish(queue, tasks.equal(1, 10))
    started(lab, worker)
    worker.speed = 10
    run = lab.finish(timeout=10)
    assert run.makespan < 5


def test_acknowledging_before_the_work_loses_the_task_in_a_crash(lab):
    queue = lab.queue("early")
    (worker,) = lab.workers(1, queue, ack_when="before", prefetch=1)
    lab.publish(queue, tasks.equal(3, 100))
    started(lab, worker)
    worker.crash()
    run = lab.finish()
    assert (run.counts.lost, run.counts.waiting) == (1, 2)


# --- tasks that cannot be done -------------------------------------------------------------------


def failing(lab, on_error, **settings):
    queue = lab.queue("bad")
    lab.workers(1, queue, on_error=on_error, prefetch=1, **settings)
    bad = tasks.Task("bad-1", b'{"task": "divide"}', content_type="application/json", kind="divide")
    lab.publish(queue, [bad])
    return queue


def test_a_rejected_task_is_gone_and_its_error_is_kept(lab):
    failing(lab, "reject")
    run = lab.finish()
    assert run.ledger.outcome("bad-1") is Outcome.LOST
    (failed,) = run.ledger.events([Kind.FAILED])
    assert "divide" in failed.note


def test_a_requeued_task_comes_back_for_ever(lab):
    failing(lab, "requeue")
    lab.wait(lambda: len(list(lab.ledger.events([Kind.REDELIVERED]))) > 20, "twenty redeliveries")


def test_an_acknowledged_failure_is_taken_off_the_queue(lab):
    queue = failing(lab, "acknowledge")
    lab.finish()
    assert lab.depth(queue) == (0, 0)


def test_a_rejected_task_goes_to_the_dead_letter_exchange(lab):
    dead = lab.queue("dead")
    queue = lab.queue("bad", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    lab.workers(1, queue, dead_letters=True)
    bad = tasks.Task("bad-2", b"\xff", content_type="text/plain")
    lab.publish(queue, [bad])
    run = lab.finish()
    assert run.ledger.outcome("bad-2") is Outcome.DEAD_LETTERED
    lab.wait(lambda: lab.depth(dead)[0] == 1, "the dead letter")


def test_learners_can_add_a_handler_and_it_really_computes(lab):
    results = []
    handlers = {**HANDLERS, "greet": lambda task, fields: results.append(f"hello {fields['name']}")}
    queue = lab.queue("handlers")

    class Results(Listener):
        def done(self, task, result):
            results.append(result)

    lab.workers(1, queue, handlers=handlers, listener=Results())
    with lab.channel() as channel:  # from any other producer: no message id, no content type
        channel.basic_publish("", queue, json.dumps({"task": "greet", "name": "Ada"}).encode())
        channel.basic_publish("", queue, json.dumps({"task": "sum", "start": 1, "end": 10**20}).encode())
    lab.wait(lambda: len(results) == 3, "both results")
    assert results[0] == "hello Ada"
    assert results[2] == (10**20 + 1) * 10**20 // 2


# --- producers -----------------------------------------------------------------------------------


def test_an_unroutable_message_is_returned_and_counted(lab):
    lab.publish(lab.name("nobody"), tasks.equal(2), mandatory=True)
    assert lab.ledger.counts().unroutable == 2
    assert lab.ledger.counts().adds_up


def test_bursts_and_rates_are_published_in_time(lab):
    queue = lab.queue("bursts")
    lab.publish(queue, tasks.bursts(4, size=2, pause=0.3))
    at = [event.time for event in lab.ledger.events([Kind.PUBLISHED])]
    assert at[2] - at[1] > 0.25
    assert at[1] - at[0] < at[2] - at[1]
    lab.publish(queue, tasks.equal(5), rate=20)
    at = [event.time for event in lab.ledger.events([Kind.PUBLISHED])][4:]
    assert 4 / 20 - 0.05 < at[-1] - at[0] < 2  # and not one a second


def test_messages_are_persistent_unless_told_otherwise(lab):
    queue = lab.queue("modes")
    lab.publish(queue, tasks.equal(1))
    lab.publish(queue, tasks.equal(1), persistent=False, confirms=False)
    with lab.channel() as channel:
        modes = [channel.basic_get(queue)[1].delivery_mode for _ in range(2)]
    assert modes == [2, 1]


# --- the bench itself ----------------------------------------------------------------------------


def test_a_task_that_a_stranger_fetched_is_not_called_lost(lab):
    queue = lab.queue("vanished")
    workload = tasks.equal(3)
    lab.publish(queue, workload)
    with lab.channel() as channel:
        channel.basic_get(queue, auto_ack=True)  # a stranger takes the first one away
    run = lab.finish()
    assert run.ledger.outcome(workload[0].id) is Outcome.HANDED_OVER
    assert (run.counts.lost, run.counts.waiting) == (0, 2)


def test_what_waits_in_the_queue_is_not_lost(lab):
    lab.publish(lab.queue("waits"), tasks.equal(3))
    assert lab.finish().counts.waiting == 3


def test_declaring_the_queue_again_starts_the_experiment_over(lab):
    queue = lab.queue("again")
    (worker,) = lab.workers(1, queue)
    lab.publish(queue, tasks.equal(2, 100))
    assert lab.queue("again") == queue
    assert not worker.is_alive()
    assert lab.depth(queue) == (0, 0)
    assert lab.ledger.counts().published == 0


def test_a_second_lab_of_the_same_lesson_clears_the_first_away(broker):
    first = Lab("twice", broker=broker, progress=False)
    queue = first.queue("left")
    (worker,) = first.workers(1, queue)
    with Lab("twice", broker=broker, progress=False) as second:
        assert not worker.is_alive()
        with pytest.raises(QueueMissingError):
            second.depth(queue)


def test_a_queue_that_cannot_be_deleted_at_once_is_deleted_a_moment_later(broker, monkeypatch):
    """As a quorum queue without a leader, after a crash of the broker."""
    lab = Lab("stubborn", broker=broker, progress=False)
    queue = lab.queue("stubborn")
    delete, refused = BlockingChannel.queue_delete, []

    def refuse_twice(channel, name, **settings):
        if len(refused) < 2:
            refused.append(name)
            raise ConnectionClosedByBroker(541, "INTERNAL_ERROR - not enough nodes online to reach a quorum")
        return delete(channel, name, **settings)

    monkeypatch.setattr(BlockingChannel, "queue_delete", refuse_twice)
    lab.close()
    assert refused == [queue, queue]
    with pytest.raises(QueueMissingError):
        lab.depth(queue)


def test_nothing_is_left_after_close(broker):
    before = set(threading.enumerate())
    lab = Lab("tidy", broker=broker, progress=False)
    queue = lab.queue("tidy")
    lab.workers(3, queue)
    lab.publish(queue, tasks.equal(50, 100), wait=False)
    lab.close()
    lab.close()
    assert set(threading.enumerate()) <= before
    with Lab("look", broker=broker, progress=False) as look:
        assert not look.management.queues("lab.tidy")
        look.wait(
            lambda: not any("worker" in str(c.user_provided_name) for c in look.management.connections()),
            "the workers' connections to be gone",
        )


def test_the_queues_of_a_dead_kernel_are_cleared_by_the_next_lab(lab, broker):
    with lab.channel() as channel:
        machine = lab.name("x").split(".")[2].split("-")[0]
        dead, elsewhere = f"lab.99.{machine}-999999-1.left", "lab.99.ffff-1-1.other"
        channel.queue_declare(dead, durable=True)
        channel.queue_declare(elsewhere, durable=True)
    with Lab("next", broker=broker, progress=False):
        names = [queue.name for queue in lab.management.queues("lab.99")]
    with lab.channel() as channel:
        channel.queue_delete(elsewhere)
    assert names == [elsewhere]


def test_a_run_saved_and_loaded_shows_the_same(lab, tmp_path):
    queue = lab.queue("saved")
    lab.workers(2, queue)
    run = lab.run(tasks.alternating(6), queue, name="saved run")
    again = Run.load(run.save(tmp_path / "run.jsonl"))
    assert again.counts == run.counts
    assert again.loads.final == run.loads.final
    assert again.about == run.about
    assert "6 of 6 tasks done" in repr(again)


def test_a_wait_that_takes_too_long_says_what_it_waited_for(lab):
    with pytest.raises(WaitTimeoutError, match="the moon to rise"):
        lab.wait(lambda: False, "the moon to rise", timeout=0.05)
    queue = lab.queue("slow")
    lab.workers(1, queue)
    lab.publish(queue, tasks.equal(1, 10_000))
    with pytest.raises(WaitTimeoutError, match="1 is in flight"):
        lab.finish(timeout=0.3)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"ack": "sometimes"}, "ack"),
        ({"ack_when": "never"}, "ack_when"),
        ({"prefetch": 0}, "prefetch"),
        ({"prefetch": 1.5}, "prefetch"),
        ({"prefetch": 70_000}, "prefetch"),
        ({"speed": 0}, "speed"),
        ({"speed": [1, 2]}, "speeds"),
        ({"speed": "fast"}, "speed"),
        ({"seconds_per_dot": -1}, "seconds_per_dot"),
        ({"on_error": "cry"}, "on_error"),
        ({"crash_when": "later"}, "crash_when"),
        ({"names": ["a", "b"]}, "names"),
    ],
)
def test_bad_settings_are_refused_by_name_and_start_nothing(lab, settings, name):
    queue = lab.queue("refused")
    with pytest.raises(UsageError, match=name):
        lab.workers(1, queue, **settings)
    assert lab.depth(queue)[1] == 0


def test_bad_lessons_queues_counts_and_rates_are_refused(lab, broker):
    with pytest.raises(UsageError, match="lesson"):
        Lab("../etc", broker=broker)
    with pytest.raises(UsageError, match="type"):
        lab.queue("x", type="stream")
    with pytest.raises(UsageError, match="number of workers"):
        lab.workers(0, lab.queue("y"))
    with pytest.raises(UsageError, match="rate"):
        lab.publish(lab.queue("z"), tasks.equal(1), rate=0)
    with pytest.raises(UsageError, match="workload"):
        lab.publish(lab.queue("z"), ["a task"])
    with pytest.raises(QueueMissingError):
        lab.workers(1, lab.name("never declared"))


@pytest.mark.parametrize("doing", ["publishing", "waiting for the tasks", "between two steps"])
def test_what_another_thread_does_with_the_bench_can_be_ended_at_once(lab, doing):
    queue = lab.queue("cancelled")
    (worker,) = lab.workers(1, queue, prefetch=1)
    ended = []

    def experiment():
        try:
            lab.publish(queue, tasks.equal(50), rate=2 if doing == "publishing" else None, timeout=60)
            if doing == "between two steps":
                lab.wait(lambda: False, "the end", timeout=60)
            lab.finish(timeout=60)
        except CancelledError as error:
            ended.append(error)
            lab.close()

    thread = threading.Thread(target=experiment)
    thread.start()
    lab.wait(lambda: lab.ledger.finished_by(worker.name), "a task to be done")
    lab.cancel()
    thread.join(15)
    assert ended
    assert not thread.is_alive()
    assert not worker.is_alive()
    again = lab.queue("again")  # a closed bench may be used again
    lab.workers(1, again)
    assert lab.run(tasks.equal(2), again, timeout=60).counts.done == 2


def test_who_waits_for_new_workers_does_not_wait_for_a_paused_one_that_was_cut_off(lab):
    queue = lab.queue("paused-and-cut")
    lab.publish(queue, tasks.equal(4, cost=3))
    (paused,) = lab.workers(1, queue, loads=False)
    lab.wait(lambda: paused.state == "working", "it to work")
    paused.pause()
    assert paused.cut()  # it comes back when it may end its task
    (other,) = lab.workers(1, queue, loads=False, timeout=5)
    assert other.consuming
    lab.wait(lambda: not paused.consuming, "it to notice")
    paused.resume()
    assert lab.finish().counts.done == 4
