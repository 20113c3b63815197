"""What clients do that nobody watches: the lab waits for them, and calls nothing lost or done that it cannot know."""

import threading
import time
from types import SimpleNamespace

import pika
import pytest

from labkit import tasks
from labkit.lab import Lab
from labkit.lab.elsewhere import Elsewhere, Figures
from labkit.ledger import Kind, Ledger, Outcome

TIMEOUT = 60


@pytest.fixture
def lab(broker):
    with Lab(
        "elsewhere", broker=broker, seconds_per_dot=0.03, progress=False, say=lambda text: None
    ) as bench:
        yield bench


class Stranger(threading.Thread):
    """Bare pika, as in a learner's own program: consumes, and tells nobody. It dies in its n-th task if asked to."""

    def __init__(self, lab, queue, *, seconds=0.0, auto_ack=False, dies_in=None, prefetch=1, name="stranger"):
        super().__init__(daemon=True)
        self.did = []
        self._lab, self._queue, self._seconds, self._auto_ack = lab, queue, seconds, auto_ack
        self._dies_in, self._prefetch, self._name = dies_in, prefetch, name
        self.consuming, self._ended = threading.Event(), threading.Event()

    def run(self):
        connection = pika.BlockingConnection(self._lab.parameters(self._name))
        channel = connection.channel()
        if not self._auto_ack:
            channel.basic_qos(prefetch_count=self._prefetch)
        for method, properties, _ in channel.consume(
            self._queue, auto_ack=self._auto_ack, inactivity_timeout=0.05
        ):
            self.consuming.set()
            if self._ended.is_set():
                break
            if method is None:
                continue
            if self._dies_in is not None and len(self.did) + 1 == self._dies_in:
                connection._impl._transport._sock.close()
                return
            connection.sleep(self._seconds)
            self.did.append(properties.message_id)
            if not self._auto_ack:
                channel.basic_ack(method.delivery_tag)
        connection.close()

    def __enter__(self):
        self.start()
        self._lab.wait(self.consuming.is_set, "the stranger to consume")
        return self

    def __exit__(self, *_):
        self._ended.set()
        self.join(20)


def settings_of(how):
    return {"loads": how == "with the broker's loads"}


@pytest.fixture(params=["with the broker's loads", "without loads", "without any worker"])
def bench(request, lab):
    """A queue of the bench, and a worker there that has another queue to itself, or none."""
    queue = lab.queue("shared")
    if request.param != "without any worker":
        lab.workers(1, lab.queue("its-own"), **settings_of(request.param))
    return lab, queue


@pytest.mark.parametrize("type_", ["classic", "quorum"])
def test_finish_waits_for_a_stranger_in_a_long_task_and_calls_what_it_did_done_elsewhere(bench, type_):
    lab, queue = bench
    if type_ == "quorum":
        queue = lab.queue("shared-quorum", type="quorum")
    with Stranger(lab, queue, seconds=1.2) as stranger:
        lab.publish(queue, tasks.equal(3))
        run = lab.finish(timeout=TIMEOUT)
        assert len(stranger.did) == 3, "the run ended before the stranger was through"
    counts = run.counts
    assert (counts.done_elsewhere, counts.lost, counts.done, counts.handed_over) == (3, 0, 0, 0)
    assert counts.adds_up
    assert "3 done elsewhere" in repr(run)


def test_what_a_stranger_got_with_automatic_acks_was_handed_over(bench):
    lab, queue = bench
    with Stranger(lab, queue, auto_ack=True) as stranger:
        lab.publish(queue, tasks.equal(4))
        run = lab.finish(timeout=TIMEOUT)
        lab.wait(lambda: len(stranger.did) == 4, "the stranger to have them")
    counts = run.counts
    assert (counts.handed_over, counts.lost, counts.done_elsewhere, counts.waiting) == (4, 0, 0, 0)


def test_a_stranger_with_automatic_acks_that_dies_leaves_what_it_had_handed_over(lab):
    queue = lab.queue("shared")
    with Stranger(lab, queue, auto_ack=True, dies_in=2) as stranger:
        lab.publish(queue, tasks.equal(4))
        stranger.join(TIMEOUT)
        assert len(stranger.did) == 1, "it died in its second task"
        run = lab.finish(timeout=TIMEOUT)
    counts = run.counts
    assert counts.handed_over + counts.waiting == 4
    assert counts.handed_over >= 2
    assert (counts.lost, counts.done_elsewhere) == (0, 0)


def test_a_stranger_that_dies_with_unacknowledged_tasks_has_lost_nothing(lab):
    queue = lab.queue("shared")
    with Stranger(lab, queue, dies_in=2) as stranger:
        lab.publish(queue, tasks.equal(4))
        stranger.join(TIMEOUT)
        run = lab.finish(timeout=TIMEOUT)
    assert (run.counts.done_elsewhere, run.counts.waiting, run.counts.lost) == (1, 3, 0)


def test_automatic_and_manual_strangers_together_leave_fates_that_cannot_be_told_apart(lab):
    queue = lab.queue("shared")
    with Stranger(lab, queue, name="manual"), Stranger(lab, queue, auto_ack=True, name="automatic"):
        lab.publish(queue, tasks.equal(6))
        run = lab.finish(timeout=TIMEOUT)
    assert (run.counts.handed_over, run.counts.done_elsewhere, run.counts.lost) == (6, 0, 0)


@pytest.mark.parametrize("loads", [True, False])
def test_a_stranger_beside_a_worker_of_the_lab_each_has_its_own(lab, loads):
    queue = lab.queue("shared")
    lab.workers(1, queue, loads=loads)
    with Stranger(lab, queue) as stranger:
        run = lab.run(tasks.equal(6), queue, timeout=TIMEOUT)
    its = len(stranger.did)  # about half: it takes one at a time
    assert its
    assert (run.counts.done, run.counts.done_elsewhere, run.counts.lost) == (6 - its, its, 0)
    assert {
        task for task, outcome in run.ledger.outcomes().items() if outcome is Outcome.DONE_ELSEWHERE
    } == set(stranger.did)


def test_a_worker_that_crashes_with_automatic_acks_loses_what_it_had_and_the_stranger_nothing(lab):
    queue = lab.queue("shared")
    (worker,) = lab.workers(1, queue, ack="automatic", crash_in=2)
    with Stranger(lab, queue, auto_ack=True) as stranger:
        workload = tasks.equal(8, 3)
        run = lab.run(workload, queue, timeout=TIMEOUT)
        had = set(run.ledger.delivered_to(worker.name))
        assert set(run.ledger.lost()) == had - set(run.ledger.finished_by(worker.name))
    assert had, "the worker was sent some"
    assert run.counts.handed_over == 8 - len(had)
    assert not set(stranger.did) & set(run.ledger.lost())


def test_who_waits_too_long_for_a_stranger_is_told_so(lab):
    from labkit.errors import WaitTimeoutError

    queue = lab.queue("shared")
    with Stranger(lab, queue, seconds=6):
        lab.publish(queue, tasks.equal(1))
        began = time.monotonic()
        with pytest.raises(WaitTimeoutError, match="1 task waits and 0 are in flight"):
            lab.finish(timeout=3)
        assert time.monotonic() - began < 6


def test_what_nobody_took_and_the_broker_has_no_more_is_lost(lab):
    queue = lab.queue("short", arguments={"x-max-length": 2})
    lab.publish(queue, tasks.equal(5))
    run = lab.finish(timeout=TIMEOUT)
    assert (run.counts.lost, run.counts.waiting, run.counts.handed_over) == (3, 2, 0)


def test_what_the_broker_dead_lettered_by_itself_is_dead_lettered(lab):
    letters = lab.queue("letters")
    arguments = {"x-max-length": 2, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": letters}
    queue = lab.queue("short", arguments=arguments)
    lab.begin()
    lab.publish(queue, tasks.equal(5))
    run = lab.finish(timeout=TIMEOUT)
    assert (run.counts.dead_lettered, run.counts.waiting, run.counts.lost) == (3, 2, 0)


@pytest.mark.parametrize(
    ("figures", "seen", "dropped", "kind"),
    [
        (Figures(0, 0, 0), False, True, Kind.LOST),
        (Figures(0, 0, 3), False, True, Kind.LOST),  # they were on their way to the worker that crashed
        (Figures(0, 0, 3), True, True, Kind.HANDED_OVER),  # or to the stranger: nobody can tell
        (Figures(0, 0, 0), True, True, Kind.HANDED_OVER),  # its last second may never be counted
        (Figures(0, 0, 0), False, False, Kind.HANDED_OVER),  # nobody can have lost them
        (Figures(0, 0, 0, drops=True), False, False, Kind.LOST),
        (Figures(0, 0, 0, dead_letters=True), False, False, Kind.DEAD_LETTERED),
        (Figures(0, 0, 3), False, False, Kind.HANDED_OVER),
        (Figures(0, 3, 0), True, True, Kind.DONE_ELSEWHERE),  # every one was acknowledged
        (Figures(0, 3, 0), False, False, Kind.DONE_ELSEWHERE),
        (Figures(0, 9, 0), True, False, Kind.DONE_ELSEWHERE),
        (Figures(0, 9, 0), True, True, Kind.HANDED_OVER),  # they did messages of others, too
        (Figures(0, 2, 0), True, True, Kind.HANDED_OVER),
        (Figures(0, 2, 1), True, False, Kind.HANDED_OVER),
        (None, False, True, Kind.LOST),
        (None, True, True, Kind.HANDED_OVER),
        (None, False, False, Kind.HANDED_OVER),
    ],
)
def test_the_rule_for_three_missing_tasks(figures, seen, dropped, kind):
    ledger = Ledger()
    ledger.record(Kind.CONNECTED, None, "Ada", "automatic")
    if dropped:
        ledger.record(Kind.CRASHED, None, "Ada")
    elsewhere = Elsewhere(None, ledger)
    elsewhere.seen = seen
    assert elsewhere.fate(3, figures) is kind


@pytest.mark.parametrize("type", ["classic", "quorum"])
def test_a_worker_that_was_cut_off_and_is_back_is_no_stranger(lab, type):
    for attempt in range(6):  # the broker may show its old consumer beside the new one for a moment
        queue = lab.queue(f"back-{attempt}", type=type)
        (worker,) = lab.workers(1, queue, ack="automatic", loads=False)
        lab.publish(queue, tasks.equal(30, cost=1), wait=False, rate=100)
        lab.wait(lambda worker=worker: worker.state == "working", "it to work")
        worker.cut()
        worker.speed = 20
        run = lab.finish()
        assert not run.counts.handed_over, run
        assert run.counts.adds_up


@pytest.mark.parametrize(
    ("tags", "seen"), [(["Ada", "Ada"], False), (["Ada", "ctag1.x"], True), (["tapped"], False)]
)
def test_only_a_consumer_of_another_name_is_a_stranger(tags, seen):
    api = SimpleNamespace(
        consumers=lambda queue: [SimpleNamespace(tag=tag) for tag in tags],
        alias=lambda tags: "worker.py" if "tapped" in tags else None,
    )
    elsewhere = Elsewhere(api, Ledger())
    elsewhere.notice("queue", {"Ada"})
    assert elsewhere.seen is seen
