"""A history tells what became of tasks that nobody watched, and never says too much of them."""

from labkit.charts import timeline
from labkit.charts.drawable import shown
from labkit.charts.history import history
from labkit.ledger import Kind, Ledger


def told(*kinds, crash=False):
    """What is told of a run in which a worker did the first task; each kind is what became of another one."""
    events = [(0.0, Kind.CONNECTED, None, "Ada", "manual")]
    for number in range(1, len(kinds) + 2):
        events.append((0.1, Kind.PUBLISHED, f"t-{number}", None, None))
    for at, kind in (
        (0.2, Kind.DELIVERED),
        (0.2, Kind.STARTED),
        (1.1, Kind.FINISHED),
        (1.1, Kind.ACKNOWLEDGED),
    ):
        events.append((at, kind, "t-1", "Ada", None))
    if crash:
        events.append((1.2, Kind.CRASHED, None, "Ada", None))
    events += [(2.0, kind, f"t-{number}", None, None) for number, kind in enumerate(kinds, 2)]
    found = history(shown(Ledger.of_the_past(events))[0])
    return found.message(), found.sentence()


def test_what_was_done_elsewhere_is_said():
    title, text = told(Kind.DONE_ELSEWHERE, Kind.DONE_ELSEWHERE)
    assert title == "1 worker, 1 task in 1.0 s; 2 done elsewhere"
    assert text.endswith("Done elsewhere are tasks 2 and 3.")


def test_after_a_crash_nothing_is_said_to_be_safe_that_was_handed_over():
    title, text = told(Kind.HANDED_OVER, crash=True)
    assert title == "Ada crashed, 1 handed over, fate unknown"
    assert text.endswith("Handed over is task 2; nobody knows what became of it.")
    assert "No task was lost" not in text


def test_after_a_crash_what_was_done_elsewhere_is_safe():
    title, text = told(Kind.DONE_ELSEWHERE, crash=True)
    assert title == "Ada crashed, 1 done elsewhere"
    assert "No task was lost. Done elsewhere is task 2." in text


def test_a_timeline_without_any_worker_of_the_lab_says_who_did_the_tasks():
    events = [(0.0, Kind.PUBLISHED, "t-1", None, None), (1.0, Kind.DONE_ELSEWHERE, "t-1", None, None)]
    assert timeline(Ledger.of_the_past(events)).title == "No worker of the lab took part"
