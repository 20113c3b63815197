"""What a bar means for a client whose work is not seen: work where that is known, else held, or handed over."""

import pytest

from labkit.ledger import Kind, Ledger

VERDICTS = {
    "ack": Kind.ACKNOWLEDGED, "requeue": Kind.REQUEUED, "reject": Kind.REJECTED, "dead": Kind.DEAD_LETTERED,
    "crash": Kind.CRASHED, "stop": Kind.STOPPED, "cut": Kind.DISCONNECTED,
}  # fmt: skip


def told(mode, *said):
    """A ledger of one foreign worker; each (time, what, number of task and delivery)."""
    events = [(0.0, Kind.CONNECTED, None, "Ada", mode)]
    events += [(0.5, Kind.PUBLISHED, f"t-{n}", None, None) for n in sorted({n for _, _, n in said if n})]
    for at, what, number in said:
        kind = VERDICTS.get(what) or (Kind.REDELIVERED if what == "again" else Kind.DELIVERED)
        task = f"t-{number}" if number else None
        events.append((at, kind, task, "Ada", None, number or 0))
    return Ledger.of_the_past(events)


def spans(ledger):
    return [(span.task_id[2:], span.started, span.ended, span.how, span.lane) for span in ledger.spans()]


def test_one_at_a_time_works_from_its_delivery_or_its_answer_before():
    ledger = told(
        "foreign 1", (1, "to", 1), (1, "to", 2), (3, "ack", 1), (4, "ack", 2), (6, "to", 3), (7, "ack", 3)
    )
    assert spans(ledger) == [
        ("1", 1, 3, "acknowledged", 0), ("2", 3, 4, "acknowledged", 0), ("3", 6, 7, "acknowledged", 0),
    ]  # fmt: skip
    assert [span.delivered for span in ledger.spans()] == [1, 1, 6]
    assert ledger.busy()["Ada"] == 4
    assert ledger.makespan() == 6.5


def test_an_answer_out_of_turn_was_worked_on_and_not_the_older_one():
    ledger = told("foreign 1", (1, "to", 1), (1, "to", 2), (3, "ack", 2), (4, "ack", 1))
    assert spans(ledger) == [("2", 1, 3, "acknowledged", 0), ("1", 3, 4, "acknowledged", 0)]


def test_so_many_at_a_time_have_a_lane_each_and_the_next_takes_the_first_that_is_free():
    ledger = told(
        "foreign 2", (1, "to", 1), (1, "to", 2), (1, "to", 3), (1, "to", 4),
        (2, "ack", 2), (3, "ack", 1), (5, "ack", 3),
    )  # fmt: skip
    found = {number: rest for number, *rest in spans(ledger)}
    assert found["1"] == [1, 3, "acknowledged", 0] and found["2"] == [1, 2, "acknowledged", 1]
    assert found["3"] == [2, 5, "acknowledged", 1]
    assert (found["4"][0], found["4"][2:]) == (3, ["held", 0])


def test_what_waits_in_the_client_has_no_lane():
    ledger = told("foreign 1", (1, "to", 1), (1, "to", 2), (2, "crash", None))
    assert spans(ledger) == [("1", 1, 2, "back", 0), ("2", 1, 2, "back", None)]


def test_an_unknown_number_at_a_time_is_only_held_in_as_many_lanes_as_it_takes():
    ledger = told(
        "foreign", (1, "to", 1), (1.1, "to", 2), (2, "ack", 1), (2.5, "to", 3), (3, "ack", 2), (4, "ack", 3)
    )
    assert spans(ledger) == [("1", 1, 2, "held", 0), ("2", 1.1, 3, "held", 1), ("3", 2.5, 4, "held", 0)]
    seat = ledger.seats()["Ada"]
    assert (seat.most, seat.at_least, seat.busy) == (2, 1, 3)


def test_the_order_of_the_answers_proves_how_many_were_under_way_at_least():
    ledger = told(
        "foreign", *((1, "to", n) for n in (1, 2, 3, 4)), (2, "ack", 3), (3, "ack", 1), (4, "ack", 2)
    )
    assert ledger.seats()["Ada"].at_least == 3


def test_who_never_holds_more_than_one_does_one_at_a_time():
    ledger = told("foreign", (1, "to", 1), (2, "ack", 1), (2, "to", 2), (4, "ack", 2))
    assert spans(ledger) == [("1", 1, 2, "acknowledged", 0), ("2", 2, 4, "acknowledged", 0)]


def test_what_is_handed_over_takes_no_time_and_nobody_is_busy_with_it():
    ledger = told("handed over", (1, "to", 1), (2, "again", 2), (3, "crash", None))
    assert spans(ledger) == [("1", 1, 1, "handed over", 0), ("2", 2, 2, "handed over", 0)]
    assert [span.redelivered for span in ledger.spans()] == [False, True]
    assert ledger.busy() == {"Ada": 0.0} and ledger.makespan() == 0
    assert ledger.counts().handed_over == 2 and ledger.counts().lost == 0


@pytest.mark.parametrize("end", ["crash", "stop", "cut"])
def test_whatever_ends_a_connection_what_it_held_went_back(end):
    ledger = told("foreign 1", (1, "to", 1), (3, end, None))
    assert spans(ledger) == [("1", 1, 3, "back", 0)]
    assert ledger.busy()["Ada"] == 2
    assert ledger.seats()["Ada"].word == {"crash": "gone", "stop": "closed", "cut": "disconnected"}[end]


@pytest.mark.parametrize(
    ("verdict", "how"), [("reject", "rejected"), ("dead", "rejected"), ("requeue", "back")]
)
def test_a_task_that_was_not_acknowledged_is_told_apart(verdict, how):
    ledger = told("foreign 1", (1, "to", 1), (1, "to", 2), (3, verdict, 1), (4, "ack", 2))
    assert spans(ledger) == [("1", 1, 3, how, 0), ("2", 3, 4, "acknowledged", 0)]


def test_its_state_says_no_more_than_what_passes():
    assert told("foreign 1", (1, "to", 1)).seats()["Ada"].word == "holding"
    assert told("foreign 1", (1, "to", 1)).seats()["Ada"].current is not None
    assert told("foreign", (1, "to", 1)).seats()["Ada"].current is None, "nobody knows that it works on it"
    assert told("foreign", (1, "to", 1), (2, "ack", 1)).seats()["Ada"].word == "connected"
    assert told("handed over", (1, "to", 1)).seats()["Ada"].word == "connected"


@pytest.mark.parametrize("note", ["foreign 0", "foreign x", "foreign -3", "foreign 999999999"])
def test_a_note_that_makes_no_sense_is_no_end_of_a_run(note):
    assert spans(told(note, (1, "to", 1), (2, "ack", 1))) == [("1", 1, 2, "acknowledged", 0)]
