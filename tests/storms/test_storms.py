"""After any storm the ledger adds up, agrees with the broker, and keeps its promises; nothing is left behind.

More of them: ``python3 -m labkit test tests/storms --storms 1000``. One again: ``--storm-seed 123``.
"""

import threading
import time

import pytest
from storm import Storm, left_over

from labkit.lab import Lab
from labkit.ledger import Outcome

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
    lab = Lab("storm", broker=broker, seconds_per_dot=0.01, progress=False, say=lambda _: None)
    try:
        run, queue = storm.blow(lab)
        check(storm, lab, run, queue)
    except BaseException:
        with capsys.disabled():
            print(f"\n{storm}\nAgain: python3 -m labkit test tests/storms --storm-seed {seed}")
        raise
    finally:
        lab.close()
    deadline = time.monotonic() + 20
    while left := left_over(lab, threads):
        assert time.monotonic() < deadline, f"left behind by {storm}: {left}"


def check(storm, lab, run, queue):
    counts, outcomes = run.counts, run.ledger.outcomes()
    assert counts.adds_up
    published = {event.task_id for event in run.ledger.events() if event.kind.name == "PUBLISHED"}
    assert published == set(outcomes)
    # What was really done is done; what was not done is lost, and named.
    lost = {task for task, outcome in outcomes.items() if outcome is Outcome.LOST}
    assert lost == published - storm.effects
    assert counts.waiting == counts.in_flight == 0
    lab.wait(lambda: lab.depth(queue)[0] == 0, "the broker to agree that nothing waits", timeout=10)
    if storm.loses_nothing:
        assert not lost
    if storm.ack == "automatic" and not storm.outages and storm.confirms:
        assert not set(run.ledger.done_twice()) - republished(run)


def republished(run):
    """Tasks that were published once more because the connection broke before their confirm."""
    seen, again = set(), set()
    for event in run.ledger.events():
        if event.kind.name == "PUBLISHED":
            (again if event.task_id in seen else seen).add(event.task_id)
    return again
