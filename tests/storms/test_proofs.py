"""A storm fails when a fault that it injects does not strike; and what it takes for a proof is one."""

import proofs
import pytest
import storm as weather
from storm import DOT, Storm

from labkit.clients.producer import Producer
from labkit.clients.worker import Worker
from labkit.lab import Lab
from labkit.ledger import Kind, Ledger

FAULTS = {
    "cut worker": (Worker, "cut"),
    "cut producer": (Producer, "cut"),
    "crash": (Worker, "crash"),
    "pause": (Worker, "pause"),
    "leave": (Worker, "stop"),
}
SEED = 2  # of a storm that has everything that a fault needs: tasks that wait, and a producer at work


def nothing(*_, **__):
    """What a fault does that does not strike."""


@pytest.fixture
def lab(broker):
    with Lab("proofs", broker=broker, seconds_per_dot=DOT, progress=False, say=nothing) as bench:
        yield bench


@pytest.fixture
def begun(lab, monkeypatch):
    """A storm in its first second, and its queue: two workers, and a producer with many tasks to go."""
    monkeypatch.setattr(weather, "RATES", (100,))
    monkeypatch.setattr(weather, "AMOUNT", (200, 200))
    storm, queue = Storm(SEED), lab.queue("storm")
    for step in ("join", "join", "publish"):
        storm.step(step, lab, queue)
    lab.wait(lambda: len(storm.done) >= 4, "tasks to be done")
    return storm, queue


@pytest.mark.parametrize("step", FAULTS)
def test_a_fault_that_strikes_is_proven(lab, begun, step):
    storm, queue = begun
    storm.step(step, lab, queue)
    assert [fault.step for fault in storm.faults] == [step]
    storm.prove(lab, queue)


@pytest.mark.parametrize("step", FAULTS)
def test_a_fault_that_does_not_strike_fails_the_storm(lab, begun, step, monkeypatch):
    storm, queue = begun
    with monkeypatch.context() as patch:
        patch.setattr(*FAULTS[step], nothing)
        storm.step(step, lab, queue)
    monkeypatch.setattr(weather, "PROVEN", 1)
    with pytest.raises(AssertionError, match=f"a proof that this has struck: {step}"):
        storm.prove(lab, queue)


def test_a_crash_that_is_only_told_to_the_ledger_fails_the_storm(lab, begun, monkeypatch):
    storm, queue = begun
    with monkeypatch.context() as patch:
        patch.setattr(Worker, "crash", lambda worker: lab.ledger.record(Kind.CRASHED, worker=worker.name))
        storm.step("crash", lab, queue)
    monkeypatch.setattr(weather, "PROVEN", 1)
    with pytest.raises(AssertionError, match="the broker to have just the consumers"):
        storm.prove(lab, queue)


def test_a_pause_that_is_only_told_to_the_ledger_fails_the_storm(lab, begun, monkeypatch):
    storm, queue = begun
    with monkeypatch.context() as patch:
        patch.setattr(Worker, "pause", lambda worker: lab.ledger.record(Kind.PAUSED, worker=worker.name))
        storm.step("pause", lab, queue)
    lab.wait(lambda: lab.ledger.counts().done == 200, "everything to be done, by a paused worker too")
    monkeypatch.setattr(weather, "PROVEN", 1)
    with pytest.raises(AssertionError, match="struck: pause"):
        storm.prove(lab, queue)


@pytest.mark.parametrize("step", ["cut worker", "cut producer"])
def test_a_whole_storm_fails_if_nothing_is_really_cut(lab, monkeypatch, step):
    monkeypatch.setattr(weather, "EVENTS", {"join": 1, "publish": 2, step: 3})
    monkeypatch.setattr(weather, "PROVEN", 2)
    monkeypatch.setattr(*FAULTS[step], nothing)
    with pytest.raises(AssertionError, match=f"struck: {step}"):
        Storm(SEED).blow(lab)


@pytest.mark.parametrize("step", weather.OUTAGES)
def test_an_outage_that_does_not_happen_fails_the_storm(lab, begun, step, monkeypatch):
    storm, queue = begun

    def only_told(*_, **__):
        lab.ledger.record(Kind.BROKER_DOWN)
        lab.ledger.record(Kind.BROKER_UP)

    monkeypatch.setattr(Lab, "restart_broker", only_told)
    monkeypatch.setattr(Lab, "kill_broker", only_told)
    if not lab.broker.can_restart:
        pytest.skip("this broker is somebody else's to restart")
    with pytest.raises(AssertionError, match=f"the broker went on through a {step}"):
        storm.step(step, lab, queue)


def test_an_outage_that_happens_is_proven(lab, begun):
    if not lab.broker.can_restart:
        pytest.skip("this broker is somebody else's to restart")
    storm, queue = begun
    storm.step("restart", lab, queue)
    storm.prove(lab, queue)


def test_a_client_that_is_cut_already_has_nothing_to_cut(lab, begun):
    storm, queue = begun
    storm.gone.add("worker-1")
    assert storm.step("cut worker", lab, queue) == "cut worker worker-2"
    assert storm.step("cut worker", lab, queue) == "nothing to cut in worker-2"
    assert storm.step("cut producer", lab, queue) == "cut producer"
    assert storm.step("cut producer", lab, queue) == "no producer to cut"
    assert len(storm.faults) == 2


def test_a_producer_that_is_done_is_not_cut(lab, begun):
    storm, queue = begun
    storm.producers[0].stop()
    assert storm.step("cut producer", lab, queue) == "no producer to cut"
    assert not storm.faults


# ---------------------------------------------------------------- what a pause promises


def held_still(*told):
    ledger = Ledger()
    for kind, task in told:
        ledger.record(kind, task, "ann")
    return proofs.paused_worker_held_still(ledger, "ann", 0)


PAUSE, GO_ON = (Kind.PAUSED, None), (Kind.RESUMED, None)


def test_what_was_under_way_as_the_pause_came_may_end():
    assert held_still((Kind.STARTED, "a"), PAUSE, (Kind.FINISHED, "a"), GO_ON, (Kind.STARTED, "b"))
    assert held_still(PAUSE, (Kind.STARTED, "a"), GO_ON, (Kind.FINISHED, "a"))


def test_a_worker_that_goes_on_to_another_task_was_not_held():
    assert not held_still((Kind.STARTED, "a"), PAUSE, (Kind.FINISHED, "a"), (Kind.STARTED, "b"), GO_ON)
    assert not held_still(PAUSE, (Kind.STARTED, "a"), PAUSE, (Kind.STARTED, "b"))


def test_there_is_no_pause_without_a_word_of_it():
    assert not held_still((Kind.STARTED, "a"), (Kind.FINISHED, "a"))
