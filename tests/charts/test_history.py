"""A history tells what became of tasks that nobody watched, and never says too much of them."""

import foreigners
import pytest

from labkit.charts import backlog_chart, comparison, timeline
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


# ---------------------------------------------------------------- workers whose work is not seen


def in_words(ledger):
    found = history(shown(ledger)[0])
    return found.message(), found.sentence()


def test_a_killed_client_is_gone_and_what_it_held_was_redelivered():
    title, text = in_words(foreigners.killed())
    assert title == "worker.py 2 was gone without a goodbye: 1 task redelivered"
    assert text == (
        "In 6.0 s, worker.py acknowledged 3 tasks and held tasks 100% of the time and worker.py 2 acknowledged "
        "1 task and held tasks 50% of the time. The connection of worker.py 2 ended without a goodbye at 3.0 s. "
        "Redelivered was task #4; whether it was done before cannot be seen. No task is known to be lost."
    )


def test_how_many_at_once_is_said_as_far_as_the_answers_show_it():
    assert (
        "celery held up to 5 at a time and worked on at least 2 at once; exactly how many cannot be seen."
        in (in_words(foreigners.several())[1])
    )
    in_turn = foreigners.ledger(
        (0, "a", "on", "foreign"), (0, "a", "to", 1), (0, "a", "to", 2), (1, "a", "ack", 1)
    )
    assert "a held up to 2 at a time; how many at once cannot be seen." in in_words(in_turn)[1]
    assert "at once" not in in_words(foreigners.two_at_once())[1], "it was said"


def test_what_is_handed_over_is_neither_done_nor_lost_nor_safe():
    title, text = in_words(foreigners.handed_over())
    assert title == "auto.py was gone without a goodbye: 1 task redelivered, 14 handed over, fate unknown"
    assert "the broker handed 14 tasks to auto.py, acknowledged automatically" in text
    for word in ("lost", "done", "busy", "idle", "did"):
        assert word not in f"{title} {text}".split()


def test_a_swallowed_acknowledgement_is_no_proof_that_the_work_was_done_twice():
    title, text = in_words(foreigners.swallowed())
    assert title == "a.py lost its connection: 1 task redelivered"
    assert "The connection of a.py ended at 2.0 s (cut at the tap)." in text
    assert text.endswith("Redelivered was task #2; whether it was done before cannot be seen.")


def test_two_acknowledgements_of_a_task_are_told_as_that():
    ledger = foreigners.ledger(
        (0, "a", "on", "foreign 1"), (0, "a", "to", 1), (1, "a", "ack", 1), (1, "a", "again", 1), (2, "a", "ack", 1)
    )  # fmt: skip
    assert in_words(ledger)[1].endswith("1 task was acknowledged twice.")


def test_a_connection_that_ends_is_not_why_a_rejected_task_is_lost():
    ledger = foreigners.ledger(
        (0, "a", "on", "foreign 1"), (0, "a", "to", 1), (1, "a", "reject", 1), (2, "a", "crash"), published=1
    )  # fmt: skip
    title, text = in_words(ledger)
    assert title == "1 of 1 task lost, and a was gone without a goodbye"
    assert "Lost is task #1." in text and text.endswith("1 delivery was rejected.")


def test_a_forgotten_acknowledgement_is_not_work():
    title, text = in_words(foreigners.forgetful())
    assert title.startswith("1 worker, no task acknowledged in")
    assert "003.py acknowledged 0 tasks and held tasks 100% of the time." in text


def test_the_labs_own_clean_up_is_nobodys_crash():
    title, text = in_words(foreigners.cleared_away())
    assert title == "1 worker, 1 task acknowledged in 2.0 s"
    assert not history(shown(foreigners.cleared_away())[0]).crashes
    assert "goodbye" not in text and "crash" not in text


def test_work_that_is_seen_and_work_that_is_not_are_told_apart():
    title, text = in_words(foreigners.two_at_once())
    assert title == "2 workers, 4 tasks done or acknowledged in 3.0 s"
    assert "Ada did 1 task and was busy 100% of the time; node acknowledged 3 tasks and held tasks" in text


def test_a_comparison_says_acknowledged_of_work_that_is_not_seen():
    chart = comparison({"a": foreigners.killed(), "b": foreigners.swallowed()})
    assert "with its workers holding tasks 50% to 100%" in chart.sentence
    assert chart.sentence.endswith("Nothing is known to be lost, and nothing was acknowledged twice.")
    written = {text.get_text() for text in chart.texts}
    assert {"held tasks", "twice"} <= written and "workers busy" not in written
    assert "done" not in f"{chart.title} {chart.sentence}"


@pytest.mark.parametrize(
    ("run", "words"),
    [(foreigners.killed, "was gone without a goodbye"), (foreigners.swallowed, "lost its connection")],
)
def test_a_backlog_says_no_crash_of_a_client_that_is_not_seen(run, words):
    marks = backlog_chart.UNSEEN.values()
    assert words in marks and "crashed" not in marks


def test_looks_are_in_the_key_only_where_they_occur():
    def keys(run):
        return {text.get_text() for text in timeline(run()).texts}

    assert {
        "acknowledged",
        "redelivered",
        "went back to the queue",
        "connection ended without a goodbye",
    } <= keys(foreigners.killed)
    assert "held" in keys(foreigners.several) and "held, redelivered" in keys(foreigners.several)
    assert {"handed over", "handed over, redelivered"} <= keys(foreigners.handed_over)
    assert "done / acknowledged" in keys(foreigners.two_at_once)
    assert not {"handed over", "held", "crash"} & keys(foreigners.killed)
