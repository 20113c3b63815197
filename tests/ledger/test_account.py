"""One account of what an event changes: whoever asks, and however he asks, the answers agree."""

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.ledger import Kind, Ledger, Outcome, saved
from labkit.live.moment import State
from labkit.loads import expected_loads
from labkit.results import tables

MODES = ["manual", "automatic", "forgotten", "foreign", "foreign 1", "foreign 2", "handed over"]
WORKERS = ["Ada", "Ben"]
TASKS = ["t-1", "t-2", "t-3"]
DONE = ("done", "again", "twice", "unheard", "acknowledged", "acknowledged again", "acknowledged twice")
FOREIGN_BARS = {"acknowledged", "rejected", "held", "back"}


def told(*events, mode="manual"):
    """A ledger of (kind, task, worker, delivery); the workers are connected in this mode."""
    ledger = Ledger()
    for worker in WORKERS:
        ledger.record(Kind.CONNECTED, None, worker, mode)
    for kind, task, worker, delivery in events:
        ledger.record(kind, task, worker, None, delivery)
    return ledger


def covered(intervals):
    """The length of what the intervals cover together."""
    total, reach = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reach))
        reach = max(reach, end)
    return total


def seen_live(ledger):
    state = State(ledger)
    state.read()
    return dict(zip(Outcome, state.counts(), strict=True)), state.done_twice


def counted(ledger):
    return dict(ledger.counts().by_outcome()), ledger.counts().done_twice


# ---------------------------------------------------------------- whatever happens


anything = st.one_of(
    st.tuples(
        st.just(Kind.CONNECTED), st.none(), st.sampled_from(WORKERS), st.just(0), st.sampled_from(MODES)
    ),
    st.tuples(
        st.sampled_from([kind for kind in Kind if kind != Kind.CONNECTED]),
        st.sampled_from([None, *TASKS]),
        st.sampled_from([None, *WORKERS]),
        st.integers(0, 3),
        st.none(),
    ),
)
# Most of what really happens is told of a delivery, by a worker.
of_deliveries = st.tuples(
    st.sampled_from(
        [
            Kind.DELIVERED, Kind.REDELIVERED, Kind.STARTED, Kind.FINISHED, Kind.FAILED, Kind.ACKNOWLEDGED,
            Kind.REQUEUED, Kind.REJECTED, Kind.DEAD_LETTERED,
        ]
    ),
    st.sampled_from(TASKS),
    st.sampled_from(WORKERS),
    st.integers(0, 3),
    st.none(),
)  # fmt: skip


@given(st.lists(st.one_of(of_deliveries, of_deliveries, anything), max_size=60), st.integers(1, 7))
@settings(deadline=None, max_examples=500)
def test_whatever_happens_ledger_live_view_tables_spans_and_loads_agree(events, at_a_time):
    ledger, state = Ledger(), None
    for number, (kind, task, worker, delivery, note) in enumerate(events):
        ledger.record(kind, task, worker, note, delivery)
        if number % at_a_time == 0:
            state = state or State(ledger)
            state.read()
    state = state or State(ledger)
    state.read()
    counts, seats = ledger.counts(), ledger.seats()

    assert counts.adds_up
    assert state.counts() == [number for _, number in counts.by_outcome()]
    assert (state.place, state.done_twice) == (ledger._account.place, counts.done_twice)
    for seat in state.seats:
        mine = seats[seat.name]
        assert (seat.word, seat.done, list(seat.held)) == (mine.word, mine.done, list(mine.held))

    until = ledger.columns()[0][-1] if events else 0
    deliveries, spans, busy = ledger.deliveries(), ledger.spans(), ledger.busy(until)
    held = {ledger.task_id(one.task) for one in deliveries if not one.end}
    assert held == set(ledger.task_ids(Outcome.IN_FLIGHT)), "in flight is what a worker holds"
    finished = Counter(ledger.task_id(one.task) for one in deliveries if one.work == Kind.FINISHED)
    heard = Counter(
        ledger.task_id(one.task) for one in deliveries if not one.work and one.end == Kind.ACKNOWLEDGED
    )
    done = finished + heard
    assert set(ledger.done_twice()) == {task for task, times in done.items() if times > 1}
    assert not set(done) & set(ledger.lost()), "what was done is not lost"
    assert set(ledger.task_ids(Outcome.DONE)) <= set(done)
    assert sum(done.values()) == sum(seat.done for seat in seats.values())
    begun = Counter(span.worker for span in spans if span.how == "finished")
    assert all(times <= seats[worker].done for worker, times in begun.items())
    for number, name in enumerate(ledger.workers):
        mine = [one for one in deliveries if one.worker == number]
        begun = [
            (one.begun, one.ended) for one in mine if "foreign" not in one.mode and one.begun is not None
        ]
        work = sum((until if ended is None else ended) - start for start, ended in begun)
        kept = [(one.delivered, one.ended) for one in mine if "foreign" in one.mode]
        kept = [(start, until if ended is None else ended) for start, ended in kept]
        assert busy[name] == pytest.approx(work + covered(kept)), (
            "work that is seen, and time with a task in hand"
        )
    for one in spans:
        assert one.delivered <= one.started <= one.ended
    for one, other in itertools.combinations([span for span in spans if span.lane is not None], 2):
        if one.worker == other.worker and {one.how, other.how} <= FOREIGN_BARS:
            apart = one.lane != other.lane or one.ended <= other.started or other.ended <= one.started
            assert apart, "bars do not overlap"

    rows = tables.who_had_what(ledger).rows
    for name, load in expected_loads(ledger).items():
        assert len(rows[name]) == load.delivered == seats[name].delivered
        fates = Counter(cell.fate for cell in rows[name])
        assert sum(fates[fate] for fate in DONE) == seats[name].done
        assert load.unacknowledged <= len(seats[name].held)
    assert saved.ledger(saved.lines(ledger)).outcomes() == ledger.outcomes()


# ---------------------------------------------------------------- what was told in two ways


@pytest.mark.parametrize("mode", ["manual", "forgotten"])
def test_a_finished_task_that_nobody_has_any_more_is_done_in_the_ledger_and_in_the_live_view(mode):
    ledger = told(
        (Kind.PUBLISHED, "t-1", None, 0),
        (Kind.DELIVERED, "t-1", "Ada", 1),
        (Kind.STARTED, "t-1", "Ada", 1),
        (Kind.FINISHED, "t-1", "Ada", 1),
        (Kind.STOPPED, None, "Ada", 0),
        (Kind.LOST, "t-1", None, 0),
        mode=mode,
    )
    assert ledger.outcome("t-1") is Outcome.DONE
    assert seen_live(ledger) == counted(ledger)


def test_a_finished_task_that_was_rejected_afterwards_is_done_everywhere():
    ledger = told(
        (Kind.DELIVERED, "t-1", "Ada", 1),
        (Kind.FINISHED, "t-1", "Ada", 1),
        (Kind.DISCONNECTED, None, "Ada", 0),
        (Kind.REDELIVERED, "t-1", "Ben", 1),
        (Kind.FAILED, "t-1", "Ben", 1),
        (Kind.REJECTED, "t-1", "Ben", 1),
    )
    assert ledger.outcome("t-1") is Outcome.DONE
    assert seen_live(ledger) == counted(ledger)


@pytest.mark.parametrize("numbers", [(1, 2), (0, 0)], ids=["numbered", "unknown"])
def test_a_message_that_a_worker_was_sent_twice_is_done_twice(numbers):
    """The same task was published twice, after a publish that was not confirmed, and one worker holds both."""
    first, second = numbers
    ledger = told(
        (Kind.PUBLISHED, "t-1", None, 0),
        (Kind.PUBLISHED, "t-1", None, 0),
        (Kind.DELIVERED, "t-1", "Ada", first),
        (Kind.DELIVERED, "t-1", "Ada", second),
        (Kind.STARTED, "t-1", "Ada", first),
        (Kind.FINISHED, "t-1", "Ada", first),
        (Kind.ACKNOWLEDGED, "t-1", "Ada", first),
    )
    assert ledger.outcome("t-1") is Outcome.IN_FLIGHT, "the second copy is still to be done"
    for kind in (Kind.STARTED, Kind.FINISHED, Kind.ACKNOWLEDGED):
        ledger.record(kind, "t-1", "Ada", None, second)
    assert ledger.outcome("t-1") is Outcome.DONE
    assert ledger.done_twice() == ["t-1"]
    assert seen_live(ledger) == counted(ledger)
    assert [span.how for span in ledger.spans()] == ["finished", "finished"]
    assert [cell.fate for cell in tables.who_had_what(ledger).rows["Ada"]] == ["done", "twice"]


def test_one_copy_lost_while_another_worker_has_the_other_is_in_flight():
    ledger = told((Kind.DELIVERED, "t-1", "Ada", 1), (Kind.DELIVERED, "t-1", "Ben", 1), mode="automatic")
    ledger.record(Kind.CRASHED, None, "Ada")
    assert ledger.outcome("t-1") is Outcome.IN_FLIGHT
    ledger.record(Kind.CRASHED, None, "Ben")
    assert ledger.outcome("t-1") is Outcome.LOST


# ---------------------------------------------------------------- deliveries and their numbers


def test_a_number_names_the_delivery_and_not_the_oldest_one():
    ledger = told(
        (Kind.DELIVERED, "t-1", "Ada", 1),
        (Kind.DELIVERED, "t-1", "Ada", 2),
        (Kind.STARTED, "t-1", "Ada", 2),
        (Kind.FINISHED, "t-1", "Ada", 2),
    )
    first, second = ledger.deliveries()
    assert (first.work, second.work) == (0, Kind.FINISHED)


def test_numbers_begin_again_with_a_connection():
    ledger = told((Kind.DELIVERED, "t-1", "Ada", 1))
    ledger.record(Kind.CONNECTED, None, "Ada", "manual")
    assert ledger.outcome("t-1") is Outcome.WAITING
    ledger.record(Kind.DELIVERED, "t-2", "Ada", delivery=1)
    ledger.record(Kind.FINISHED, "t-2", "Ada", delivery=1)
    ledger.record(Kind.ACKNOWLEDGED, "t-2", "Ada", delivery=1)
    assert ledger.outcomes() == {"t-1": Outcome.WAITING, "t-2": Outcome.DONE}


def test_a_worker_that_acknowledges_before_the_work_is_not_done_before_it_has_finished():
    ledger = told(
        (Kind.DELIVERED, "t-1", "Ada", 1),
        (Kind.STARTED, "t-1", "Ada", 1),
        (Kind.ACKNOWLEDGED, "t-1", "Ada", 1),
    )
    assert ledger.outcome("t-1") is Outcome.IN_FLIGHT
    ledger.record(Kind.CRASHED, None, "Ada")
    assert ledger.outcome("t-1") is Outcome.LOST


def test_there_may_be_more_workers_and_deliveries_than_fit_into_small_numbers():
    ledger = Ledger()
    numbers = [1, 65_535, 65_536, 2**32, 2**63]
    workers = [f"worker-{number}" for number in range(300)]
    for worker in workers:
        ledger.record(Kind.CONNECTED, None, worker, "manual")
    ledger.counts()
    for number in numbers:
        ledger.record(Kind.DELIVERED, f"t-{number}", workers[-1], None, number)
        ledger.counts()
    assert [event.delivery for event in ledger.events({Kind.DELIVERED})] == numbers
    assert ledger.workers == workers
    for number in numbers:
        ledger.record(Kind.FINISHED, f"t-{number}", workers[-1], None, number)
        ledger.record(Kind.ACKNOWLEDGED, f"t-{number}", workers[-1], None, number)
    assert ledger.counts().done == len(numbers)


# ---------------------------------------------------------------- clients that the lab cannot see into


def test_what_a_foreign_client_acknowledges_is_done():
    ledger = told((Kind.DELIVERED, "t-1", "Ada", 1), (Kind.ACKNOWLEDGED, "t-1", "Ada", 1), mode="foreign")
    assert ledger.outcome("t-1") is Outcome.DONE
    assert expected_loads(ledger)["Ada"].acknowledged == 1
    assert [cell.fate for cell in tables.who_had_what(ledger).rows["Ada"]] == ["acknowledged"]


@pytest.mark.parametrize("end", [Kind.CRASHED, Kind.STOPPED, Kind.DISCONNECTED])
def test_what_was_handed_over_is_neither_lost_nor_done_whatever_becomes_of_the_client(end):
    ledger = told((Kind.PUBLISHED, "t-1", None, 0), (Kind.DELIVERED, "t-1", "Ada", 1), mode="handed over")
    assert ledger.outcome("t-1") is Outcome.HANDED_OVER
    ledger.record(end, None, "Ada")
    assert ledger.outcome("t-1") is Outcome.HANDED_OVER
    assert expected_loads(ledger)["Ada"].automatic == 1
    table = tables.who_had_what(ledger)
    assert [cell.fate for cell in table.rows["Ada"]] == ["over"]
    assert table.text == "1 task: 0 done, 1 handed over. Handed over: 1."
    assert seen_live(ledger) == counted(ledger)


# ---------------------------------------------------------------- names


def test_a_task_has_one_short_name_everywhere():
    ledger = Ledger()
    assert ledger.label("worker-1#3") == "#3"
    assert ledger.label("5c1f7a-12") == "12"
    assert ledger.label("celery-task-of-somebody") == "celery"


def test_an_outcome_is_asked_for_by_an_id():
    with pytest.raises(KeyError):
        Ledger().outcome("nobody-1")
    with pytest.raises(ValueError, match="The task's id is {}"):
        Ledger().outcome({})
