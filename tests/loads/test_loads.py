"""What the broker counted for every worker, and how it is held against the ledger."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from urllib.parse import quote

import pytest
import requests
from waiting import PATIENCE, until

from labkit import brokers, management, tasks
from labkit.clients.producer import Producer
from labkit.clients.worker import Worker
from labkit.errors import SavedRunError
from labkit.ledger import Kind, Ledger
from labkit.loads import Load, Loads, LoadSampler, Sample
from labkit.loads.reconcile import expected_loads
from labkit.management import answers


class Bench:
    """A queue, workers on it, and a sampler."""

    def __init__(self, broker, queue, stack):
        self.broker, self.queue, self.stack = broker, queue, stack
        self.ledger = Ledger()
        self.management = stack.enter_context(management.of(broker))
        with brokers.connect(broker.parameters("bench")) as connection:
            connection.channel().queue_declare(queue, durable=True)

    def workers(self, *names, **settings):
        settings = {"seconds_per_dot": 0.01, **settings}
        started = []
        for name in names:
            worker = Worker(
                self.broker.parameters(name), self.queue, name=name, ledger=self.ledger, **settings
            )
            worker.start()
            self.stack.callback(worker.stop)
            started.append(worker)
        until(lambda: all(worker.state == "idle" for worker in started), "the workers to be there")
        return started

    def sampler(self, **more):
        sampler = LoadSampler(self.management, [self.queue], self.ledger, interval=0.1, **more)
        sampler.start()
        self.stack.callback(sampler.stop)
        return sampler

    def publish(self, workload):
        producer = Producer(self.broker.parameters("producer"), self.queue, workload, ledger=self.ledger)
        producer.start()
        producer.wait(PATIENCE)

    def shown(self, *names):
        """Waits until the broker's figures show these workers."""
        until(
            lambda: set(names) <= {each.worker for each in self.management.channels() if each.queues},
            f"the broker to show {', '.join(names)}",
        )

    def done(self, count):
        until(lambda: self.ledger.counts().done == count, f"{count} tasks to be done")


@pytest.fixture
def bench(broker, queue):
    with contextlib.ExitStack() as stack:
        yield Bench(broker, queue, stack)


# On the real broker.


def test_the_broker_counts_equal_loads_for_equal_workers(bench):
    bench.workers("w 1", "w 2", "w 3")
    sampler = bench.sampler()
    bench.publish(tasks.equal(30))
    bench.done(30)
    loads = sampler.final()
    assert [(load.worker, load.delivered, load.acknowledged) for load in loads.final.values()] == [
        ("w 1", 10, 10),
        ("w 2", 10, 10),
        ("w 3", 10, 10),
    ]
    assert loads.settled
    told = loads.reconcile(bench.ledger)
    assert told.agrees and told.rows == ()
    assert told.sentence == "Broker and ledger agree: 30 deliveries and 30 acknowledgements."


def test_final_returns_as_soon_as_the_figures_are_as_expected(bench):
    bench.workers("a")
    sampler = bench.sampler()
    bench.shown("a")
    bench.publish(tasks.equal(5))
    bench.done(5)
    began = time.monotonic()
    loads = sampler.final()
    took = time.monotonic() - began
    assert loads.final["a"].acknowledged == 5
    if bench.management.overview().statistics_age == answers.FRESH_AGE:
        assert took < 5  # 0.1-1.2 s on an idle machine


def test_a_worker_that_got_nothing_is_shown_with_zeros(bench):
    bench.workers("busy", "idle")
    sampler = bench.sampler()
    bench.shown("busy", "idle")
    bench.publish(tasks.equal(1))
    bench.done(1)
    final = sampler.final().final
    assert sorted(load.delivered for load in final.values()) == [0, 1]


def test_automatic_acknowledgement_counts_deliveries_and_no_acks(bench):
    bench.workers("a", ack="automatic")
    sampler = bench.sampler()
    bench.shown("a")
    bench.publish(tasks.equal(7))
    bench.done(7)
    loads = sampler.final()
    assert loads.final["a"] == Load("a", delivered=7, automatic=7)
    told = loads.reconcile(bench.ledger)
    assert told.agrees
    assert told.sentence == "Broker and ledger agree: 7 deliveries and all acknowledged automatically."


def test_forgotten_acknowledgements_show_as_unacknowledged(bench):
    bench.workers("forgetful", ack="forgotten")
    sampler = bench.sampler()
    bench.shown("forgetful")
    bench.publish(tasks.equal(6))
    until(lambda: len(bench.ledger.finished_by("forgetful")) == 6, "the work")
    loads = sampler.final()
    assert loads.final["forgetful"] == Load("forgetful", delivered=6, unacknowledged=6)
    assert loads.samples[-1].unacknowledged == 6


def test_a_crashed_worker_keeps_what_the_broker_counted_and_is_marked_stale(bench):
    first, second = bench.workers("crashes", "survives", seconds_per_dot=0.1)
    sampler = bench.sampler()
    bench.shown("crashes", "survives")
    bench.publish(tasks.equal(10))
    until(lambda: len(bench.ledger.acknowledged_by("crashes")) >= 2, "two acknowledgements")
    first.pause()
    done = len(bench.ledger.acknowledged_by("crashes"))
    # What a channel did in its last second the broker may never count: it crashes when all is counted.
    until(
        lambda: any(
            (load.worker, load.delivered, load.acknowledged) == ("crashes", 5, done)
            for sample in sampler.samples
            for load in sample.loads
        ),
        "the broker to have counted 5 deliveries and the acknowledgements",
    )
    first.crash()
    bench.done(10)
    loads = sampler.final()
    # 5 were sent to each; the rest of the first one's came back and went to the other.
    back = 5 - done
    assert loads.final["crashes"] == Load("crashes", 5, done, stale=True)
    assert loads.final["survives"] == Load("survives", 5 + back, 5 + back, redelivered=back)
    told = loads.reconcile(bench.ledger)
    assert told.agrees, told.sentence
    assert f"{back} redeliveries" in told.sentence


def test_a_worker_that_reconnects_is_counted_over_all_its_connections(bench):
    bench.workers("phoenix")
    sampler = bench.sampler()
    bench.publish(tasks.equal(4))
    bench.done(4)
    until(
        lambda: any(load.acknowledged == 4 for sample in sampler.samples for load in sample.loads),
        "4 acknowledgements",
    )
    (connection,) = (c for c in bench.management.connections() if c.user_provided_name == "phoenix")
    address = f"{bench.broker.management_url}/api/connections/{quote(connection.name, safe='')}"
    requests.delete(address, auth=bench.broker.management_credentials, timeout=PATIENCE).raise_for_status()
    until(lambda: any(bench.ledger.events({Kind.DISCONNECTED})), "the connection to break")
    bench.publish(tasks.equal(3))
    bench.done(7)
    loads = sampler.final()
    assert loads.final["phoenix"].acknowledged == 7
    assert loads.reconcile(bench.ledger).agrees


def test_a_worker_in_a_terminal_appears_by_its_connections_name(bench, tmp_path):
    program = tmp_path / "terminal_worker.py"
    program.write_text(
        "import os, pika\n"
        "parameters = pika.URLParameters(os.environ['ADDRESS'])\n"
        "parameters.client_properties = {'connection_name': 'terminal'}\n"
        "channel = pika.BlockingConnection(parameters).channel()\n"
        "channel.basic_qos(prefetch_count=1)\n"
        "channel.basic_consume(os.environ['QUEUE'], lambda c, m, p, b: c.basic_ack(m.delivery_tag))\n"
        "channel.start_consuming()\n"
    )
    bench.workers("ours", prefetch=1)
    sampler = bench.sampler()
    environment = {**os.environ, "ADDRESS": bench.broker.amqp_url, "QUEUE": bench.queue}
    process = subprocess.Popen([sys.executable, str(program)], env=environment)
    try:
        bench.shown("ours", "terminal")
        bench.publish(tasks.equal(10))
        until(
            lambda: any(sum(load.acknowledged for load in sample.loads) == 10 for sample in sampler.samples),
            "10 acknowledgements",
        )
        loads = sampler.final()
    finally:
        process.kill()
        process.wait(PATIENCE)
    assert loads.final["terminal"].acknowledged > 0
    told = loads.reconcile(bench.ledger)
    assert told.agrees
    assert f"workers of other programs: terminal {loads.final['terminal'].delivered}." in told.sentence


def test_workers_on_other_queues_are_not_counted(bench, new_queue):
    other = new_queue("other")
    with brokers.connect(bench.broker.parameters("somebody else")) as connection:
        channel = connection.channel()
        channel.queue_declare(other, durable=True)
        channel.basic_consume(other, lambda *_: None)
        bench.workers("ours")
        bench.shown("ours", "somebody else")
        sampler = bench.sampler()
        assert [load.worker for load in sampler.sample().loads] == ["ours"]
        sampler.watch(other)
        assert [load.worker for load in sampler.sample().loads] == ["ours", "somebody else"]


def test_depth_gives_the_ready_count_at_once(bench):
    sampler = LoadSampler(bench.management, [bench.queue], bench.ledger, depth=lambda queue: (42, 0))
    assert sampler.sample().ready == 42
    sampler.stop()


def test_a_run_goes_on_when_the_broker_gives_no_figures():
    with management.Management("http://127.0.0.1:9", "guest", "guest", timeout=0.5) as nowhere:
        sampler = LoadSampler(nowhere, ["q"], Ledger(), interval=0.05)
        sampler.start()
        loads = sampler.final()
        sampler.stop()
    assert loads.final == {} and "management plugin is off" in loads.problem
    told = loads.reconcile(Ledger())
    assert not told.agrees and loads.problem in told.sentence


class Scripted:
    """A management API that answers with what a test wrote down."""

    def __init__(self):
        self.listed, self.totals = [], {}

    def copy(self):
        return self

    def close(self):
        pass

    def overview(self):
        return answers.Overview("4.0.0", "27", "scripted", "here", answers.FRESH_AGE)

    def channels(self):
        return self.listed

    def queue(self, name):
        return answers.Queue(name, "classic", True, {}, 0, 0, 0, *self.totals.get(name, (0, 0, 0)))

    def shows(self, worker, delivered, acknowledged, unacknowledged, name="channel"):
        self.listed = [
            answers.Channel(
                name, "c", worker, ("q",), ("t",), delivered, 0, acknowledged, 0, unacknowledged, 0
            )
        ]


def test_what_a_worker_had_not_acknowledged_is_not_its_own_after_it_left():
    broker = Scripted()
    sampler = LoadSampler(broker, ["q"], Ledger())
    broker.shows("a", 5, 2, 3)
    assert sampler.sample().loads == (Load("a", 5, 2, unacknowledged=3),)
    broker.listed = []
    gone = sampler.sample()
    assert gone.loads == (Load("a", 5, 2, stale=True),)
    assert gone.unacknowledged == 0


def test_a_channels_counter_that_begins_again_is_added_up():
    broker = Scripted()
    sampler = LoadSampler(broker, ["q"], Ledger())
    broker.shows("a", 5, 5, 0)
    sampler.sample()
    broker.shows("a", 2, 1, 1)  # after a restart: the same address by chance, and everything from zero
    assert sampler.sample().loads == (Load("a", 7, 6, unacknowledged=1),)


def test_what_was_counted_before_the_sampler_began_is_not_the_runs():
    broker = Scripted()
    broker.totals["q"] = (100, 90, 10)
    sampler = LoadSampler(broker, ["q"], Ledger())
    broker.shows("a", 0, 0, 0)
    sampler.sample()
    broker.totals["q"] = (103, 93, 10)
    broker.shows("a", 3, 3, 0)
    sampler.sample()
    assert sampler.final(timeout=0).total == Load("", 3, 3)


def test_every_worker_of_the_ledger_has_a_load_though_its_figures_come_late():
    """On a very busy machine the broker has not shown every channel when the time is up."""
    broker, ledger = Scripted(), recorded(*worked("Ada"), *worked("Ben"), *worked("Cleo", count=0))
    sampler = LoadSampler(broker, ["q"], ledger)
    broker.listed = []
    loads = sampler.final(timeout=0)
    assert loads.final == {name: Load(name, late=True) for name in ("Ada", "Ben", "Cleo")}
    assert not loads.settled
    told = loads.reconcile(ledger)
    assert not told.agrees
    assert "3 fewer deliveries for Ada (the broker never showed it)" in told.sentence
    assert "Cleo" not in told.sentence, "nothing was sent to it"
    assert Loads.from_dict(json.loads(json.dumps(loads.to_dict()))) == loads


def test_what_one_late_worker_had_follows_from_the_queues_own_count():
    broker, ledger = Scripted(), recorded(*worked("Ada"), *worked("Ben"), *worked("Cleo", count=0))
    sampler = LoadSampler(broker, ["q"], ledger)
    broker.shows("Ada", 0, 0, 0)
    sampler.sample()
    broker.totals["q"] = (6, 6, 0)
    broker.shows("Ada", 3, 3, 0)
    loads = sampler.final(timeout=0)
    assert loads.final == {
        "Ada": Load("Ada", 3, 3),
        "Ben": Load("Ben", 3, 3, stale=True),
        "Cleo": Load("Cleo", late=True),
    }
    assert loads.reconcile(ledger).agrees


# Held against the ledger.


def recorded(*events):
    ledger = Ledger()
    for event in events:
        ledger.record(*event)
    return ledger


def worked(name, mode="manual", count=3, redelivered=0):
    yield (Kind.CONNECTED, None, name, mode)
    for number in range(count):
        yield (Kind.REDELIVERED if number < redelivered else Kind.DELIVERED, f"{name}-{number}", name)
        yield (Kind.FINISHED, f"{name}-{number}", name)
        if mode == "manual":
            yield (Kind.ACKNOWLEDGED, f"{name}-{number}", name)


def test_expected_loads_follow_from_the_ledger():
    ledger = recorded(
        *worked("a", count=3, redelivered=1),
        *worked("b", "automatic", count=2),
        *worked("c", "forgotten", count=4),
        *worked("d", "forgotten", count=4),
        (Kind.CRASHED, None, "d"),
    )
    assert expected_loads(ledger) == {
        "a": Load("a", 3, 3, 1),
        "b": Load("b", 2, automatic=2),
        "c": Load("c", 4, unacknowledged=4),
        "d": Load("d", 4),
    }


@pytest.mark.parametrize(
    ("load", "settled", "sentence"),
    [
        (
            Load("a", 2, 2),
            False,
            "1 fewer delivery for a (the broker's statistics lag behind); "
            "1 fewer acknowledgement for a (the broker's statistics lag behind)",
        ),
        (
            Load("a", 1, 1, stale=True),
            True,
            "2 fewer deliveries for a (its channel was gone before the broker's last count); "
            "2 fewer acknowledgements for a (its channel was gone before the broker's last count)",
        ),
        (
            Load("a", 3, 0, automatic=3),
            True,
            "3 fewer acknowledgements for a (deliveries with automatic acknowledgement count no acks)",
        ),
        (Load("a", 5, 3), True, "2 more deliveries for a (sent, but not read by the worker before it left)"),
    ],
    ids=["lag", "gone", "automatic", "unread"],
)
def test_a_difference_is_told_with_its_size_and_its_reason(load, settled, sentence):
    told = Loads({"a": load}, settled=settled).reconcile(recorded(*worked("a")))
    assert not told.agrees
    assert told.sentence == f"Compared with the ledger, the broker counted {sentence}."


def test_a_worker_that_the_broker_never_showed_is_named():
    told = Loads().reconcile(recorded(*worked("a")))
    assert "3 fewer deliveries for a (the broker never showed it)" in told.sentence


def test_differences_that_cancel_out_are_said_to():
    ledger = recorded(*worked("a"), *worked("b"))
    loads = Loads({"a": Load("a", 1, 1, stale=True), "b": Load("b", 2, 2, stale=True)}, total=Load("", 6, 6))
    assert loads.reconcile(ledger).sentence.endswith("Over all workers together the two agree.")


def test_nothing_delivered_is_an_agreement():
    assert Loads().reconcile(Ledger()).sentence == "Broker and ledger agree: nothing was delivered."


def test_loads_are_saved_and_loaded_as_plain_json():
    loads = Loads(
        final={"a": Load("a", 3, 2, 1, 1, 0, True)},
        samples=[Sample(0.5, (Load("a", 1), Load("b")), 4, 1)],
        total=Load("", 3, 2),
        settled=False,
        problem="x",
    )
    assert Loads.from_dict(json.loads(json.dumps(loads.to_dict()))) == loads


@pytest.mark.parametrize(
    "saved", [{}, {"final": [{"nonsense": 1}], "samples": []}, {"final": [], "samples": [1]}]
)
def test_damaged_figures_are_refused(saved):
    with pytest.raises(SavedRunError):
        Loads.from_dict(saved)
