"""After any storm the ledger adds up, agrees with the broker, and keeps its promises; nothing is left behind.

More of them: ``python3 -m labkit test tests/storms --storms 1000``. One again: ``--storm-seed 123``.
"""

import threading
from collections import Counter, defaultdict

import pytest
from storm import DOT, Storm, left_over
from waiting import until

from labkit.lab import Lab
from labkit.ledger import Kind, Outcome

FEW = 8  # storms in an ordinary run
OUTAGE_EVERY = 4  # every fourth has the broker restarted or killed


def pytest_generate_tests(metafunc):
    one, many = metafunc.config.getoption("--storm-seed"), metafunc.config.getoption("--storms")
    seeds = [one] if one is not None else range(many or FEW)
    metafunc.parametrize("seed", seeds, ids=lambda seed: f"seed-{seed}")


@pytest.mark.timeout(600)
def test_after_the_storm_the_ledger_is_right(broker, seed, capsys):
    storm = Storm(seed, outages=seed % OUTAGE_EVERY == 0 and broker.can_restart)
    threads = set(threading.enumerate())
    lab = Lab("storm", broker=broker, seconds_per_dot=DOT, progress=False, say=lambda _: None)
    try:
        run, queue = storm.blow(lab)
        check(storm, lab, run, queue)
    except BaseException:
        with capsys.disabled():
            print(f"\n{storm}\nAgain: python3 -m labkit test tests/storms --storm-seed {seed}")
        raise
    finally:
        lab.close()
    until(lambda: not left_over(lab, threads), lambda: f"the end of {left_over(lab, threads)}", 20)


def check(storm, lab, run, queue):
    counts, outcomes, ledger = run.counts, run.ledger.outcomes(), run.ledger
    published = Counter(event.task_id for event in ledger.events({Kind.PUBLISHED}))
    finished = Counter(event.task_id for event in ledger.events({Kind.FINISHED}))
    assert counts.adds_up
    assert published.keys() == outcomes.keys()
    # Each time that a task's work was really done is in the ledger, and no other.
    assert finished == storm.executions
    assert set(ledger.done_twice()) == {task for task, times in storm.executions.items() if times > 1}
    # What was not done is lost, and named.
    assert counts.waiting == counts.in_flight == 0
    assert set(outcomes.values()) <= {Outcome.DONE, Outcome.LOST}
    assert set(ledger.lost()) == published.keys() - storm.executions.keys()
    # The broker agrees: if it still has something, then another copy of what is done.
    until(lambda: lab.depth(queue)[1] == 0, "the broker to see that the workers left")
    left = messages(lab, queue)
    assert left <= storm.executions.keys()
    # And it kept what it promises.
    if storm.loses_nothing:
        assert not ledger.lost()
        assert taken_with_them(ledger) <= left
    if storm.ack == "automatic" and not storm.outages and storm.confirms:
        assert set(ledger.done_twice()) <= {task for task, times in published.items() if times > 1}


def taken_with_them(ledger):
    """The ids of what workers had not acknowledged when they went, and what nobody was sent afterwards."""
    last, held, taken = {}, defaultdict(set), set()
    for event in ledger.events():
        task, worker = event.task_id, event.worker
        if event.kind in (Kind.DELIVERED, Kind.REDELIVERED):
            last[task] = worker
            held[worker].add(task)
            taken.discard(task)
        elif event.kind is Kind.ACKNOWLEDGED:
            held[worker].discard(task)
        elif event.kind in (Kind.DISCONNECTED, Kind.CRASHED, Kind.STOPPED):
            # Another one may have it before this one has noticed that it is cut off.
            taken |= {task for task in held.pop(worker, ()) if last[task] == worker}
    return taken


def messages(lab, queue):
    """The ids of what waits in the queue; it is put back as the channel closes."""
    with lab.channel("looks") as channel:
        fetched = iter(lambda: channel.basic_get(queue), (None, None, None))
        return {properties.message_id for _, properties, _ in fetched}
