"""The table of a run says who had which task and what became of it."""

import foreigners
import pytest

from labkit import tasks
from labkit.ledger import Kind, Ledger
from labkit.results import tables
from labkit.results.run import Run


@pytest.fixture
def ledger():
    """Ada and Ben had two tasks of four each; Ben crashed in his first."""
    made = Ledger()
    workload = tasks.equal(4)
    made.add(workload)
    made.ids = [task.id for task in workload]
    for task_id in made.ids:
        made.record(Kind.PUBLISHED, task_id)
    return made


def connect(ledger, note):
    for name in ("Ada", "Ben"):
        ledger.record(Kind.CONNECTED, worker=name, note=note)


def deliver(ledger, *numbers, to, again=False):
    for number in numbers:
        ledger.record(Kind.REDELIVERED if again else Kind.DELIVERED, ledger.ids[number - 1], to)


def do(ledger, *numbers, by, acknowledge=True):
    for number in numbers:
        ledger.record(Kind.STARTED, ledger.ids[number - 1], by)
        ledger.record(Kind.FINISHED, ledger.ids[number - 1], by)
        if acknowledge:
            ledger.record(Kind.ACKNOWLEDGED, ledger.ids[number - 1], by)


def rows(ledger):
    return {
        name: [(cell.label, cell.fate) for cell in cells]
        for name, cells in tables.who_had_what(ledger).rows.items()
    }


def test_a_task_that_went_down_with_its_worker_is_marked_lost(ledger):
    connect(ledger, "automatic")
    deliver(ledger, 1, 3, to="Ada")
    deliver(ledger, 2, 4, to="Ben")
    ledger.record(Kind.CRASHED, worker="Ben")
    do(ledger, 1, 3, by="Ada")
    assert rows(ledger) == {
        "Ada": [("1", "done"), ("3", "done")],
        "Ben": [("2", "lost"), ("4", "lost")],
    }
    assert tables.who_had_what(ledger).text == "4 tasks: 2 done, 2 lost. Lost: 2, 4."


def test_a_task_that_went_back_and_was_done_by_another_shows_in_both_rows(ledger):
    connect(ledger, "manual")
    deliver(ledger, 1, to="Ada")
    deliver(ledger, 2, 4, to="Ben")
    do(ledger, 2, by="Ben", acknowledge=False)
    ledger.record(Kind.CRASHED, worker="Ben")
    deliver(ledger, 2, 4, to="Ada", again=True)
    do(ledger, 1, 2, 4, by="Ada")
    assert rows(ledger) == {
        "Ada": [("1", "done"), ("2", "twice"), ("4", "again")],
        "Ben": [("2", "unheard"), ("4", "back")],
        "nobody": [("3", "open")],
    }
    text = tables.who_had_what(ledger).text
    assert text == "4 tasks: 3 done, 1 waiting. Done more than once: 2."


def test_a_task_acknowledged_before_the_work_is_lost_in_a_crash_and_the_others_go_back(ledger):
    connect(ledger, "manual")
    deliver(ledger, 1, 2, 3, to="Ben")
    for number, finishes in ((1, True), (2, False)):
        ledger.record(Kind.STARTED, ledger.ids[number - 1], "Ben")
        ledger.record(Kind.ACKNOWLEDGED, ledger.ids[number - 1], "Ben")
        if finishes:
            ledger.record(Kind.FINISHED, ledger.ids[number - 1], "Ben")
    ledger.record(Kind.CRASHED, worker="Ben")
    assert rows(ledger)["Ben"] == [("1", "done"), ("2", "lost"), ("3", "back")]


def test_what_a_forgetful_worker_did_went_back_when_it_left(ledger):
    connect(ledger, "forgotten")
    deliver(ledger, 1, 2, to="Ben")
    do(ledger, 1, by="Ben", acknowledge=False)
    ledger.record(Kind.STOPPED, worker="Ben")
    assert rows(ledger)["Ben"] == [("1", "unheard"), ("2", "back")]


def test_a_task_under_way_is_not_done_yet(ledger):
    connect(ledger, "manual")
    deliver(ledger, 1, to="Ada")
    assert rows(ledger)["Ada"] == [("1", "open")]


def test_it_reads_in_a_terminal_and_in_a_notebook(ledger):
    connect(ledger, "automatic")
    deliver(ledger, 1, 2, 3, 4, to="<Ada>")
    do(ledger, 1, 2, 3, 4, by="<Ada>")
    table = tables.who_had_what(ledger)
    assert "1✔ 2✔ 3✔ 4✔" in repr(table)
    assert "&lt;Ada&gt;" in table._repr_html_()
    assert "<Ada>" not in table._repr_html_()


def test_of_work_that_is_not_seen_the_table_says_what_was_answered():
    def fates(ledger):
        return {
            name: [(cell.label, cell.fate) for cell in cells]
            for name, cells in tables.who_had_what(ledger).rows.items()
        }

    assert fates(foreigners.killed()) == {
        "worker.py": [("#1", "acknowledged"), ("#3", "acknowledged"), ("#4", "acknowledged again")],
        "worker.py 2": [("#2", "acknowledged"), ("#4", "back")],
    }
    assert fates(foreigners.forgetful()) == {"003.py": [("#1", "held")], "nobody": [("#2", "open")]}
    assert {fate for _, fate in fates(foreigners.handed_over())["auto.py"]} == {"over"}
    said = foreigners.ledger(
        (0, "a", "on", "foreign"), *((0, "a", "to", n) for n in (1, 2, 3)), (1, "a", "ack", 1), (1, "a", "reject", 2),
        (1, "a", "dead", 3), (2, "a", "again", 1), (3, "a", "ack", 1),
    )  # fmt: skip
    assert fates(said) == {
        "a": [("#1", "acknowledged"), ("#2", "rejected"), ("#3", "rejected"), ("#1", "acknowledged twice")]
    }
    assert tables.who_had_what(said).text == (
        "3 tasks: 1 acknowledged, 1 dead-lettered, 1 lost. Lost: #2. Acknowledged more than once: #1."
    )


def test_a_run_says_acknowledged_of_work_that_is_not_seen_and_no_time_where_there_is_none():
    assert repr(Run("a", foreigners.killed())) == "<Run 'a': 4 of 4 tasks acknowledged; 2 workers, 6.0 s>"
    assert (
        repr(Run("a", foreigners.handed_over())) == "<Run 'a': 0 of 14 tasks done, 14 handed over; 1 worker>"
    )
