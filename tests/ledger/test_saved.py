"""A saved run is the same when it is loaded, and a file that is something else is refused."""

import json

import pytest

from labkit import tasks
from labkit.errors import SavedRunError
from labkit.ledger import Kind, Ledger, saved
from labkit.results.run import Run


def test_a_saved_ledger_is_the_same_when_it_is_loaded(tmp_path):
    workload = tasks.alternating(4)
    ledger = Ledger()
    ledger.add(workload)
    ledger.record(Kind.CONNECTED, None, "w", "manual")
    for task in workload:
        ledger.record(Kind.PUBLISHED, task.id)
        ledger.record(Kind.DELIVERED, task.id, "w")
        ledger.record(Kind.STARTED, task.id, "w")
        ledger.record(Kind.FINISHED, task.id, "w", "fine")
    ledger.record(Kind.BROKER_DOWN)
    ledger.record(Kind.BROKER_UP)
    again = Run.load(Run("r", ledger).save(tmp_path / "run.jsonl")).ledger
    assert [(again.task(task.id).cost, again.task(task.id).label) for task in workload] == [
        (5, "1"), (1, "2"), (5, "3"), (1, "4"),
    ]  # fmt: skip
    assert again.outcomes() == ledger.outcomes()
    assert again.workers == ["w"]
    assert again.makespan() == pytest.approx(ledger.makespan(), abs=1e-4)
    assert again.downtimes() == [pytest.approx(ledger.downtimes()[0], abs=1e-4)]
    assert [event.note for event in again.events([Kind.FINISHED])] == ["fine"] * 4


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda lines: [], "not a saved run"),
        (lambda lines: lines[1:], "not a saved run"),
        (lambda lines: lines[:-2], "too early"),
        (lambda lines: [*lines[:-1], lines[-1][:5]], "damaged at line"),
        (lambda lines: [*lines[:2], '[1.0, "EXPLODED", null, "w", null]'], "damaged at line 3"),
        (lambda lines: [*lines[:2], '[1.0, "FINISHED", "nobody-9", "w", null]'], "damaged at line 3"),
        (lambda lines: [json.dumps({"ledger": 99, "started_at": 0})], "format 99"),
        (lambda lines: ["\u0000\u0001 not json"], "damaged at line 1"),
        (lambda lines: ["3"], "damaged at line 1"),
    ],
)
def test_a_damaged_ledger_is_refused_with_the_line(spoil, why):
    ledger = Ledger()
    ledger.record(Kind.PUBLISHED, "a-1")
    ledger.record(Kind.CONNECTED, None, "w", "manual")
    with pytest.raises(SavedRunError, match=why):
        saved.ledger(spoil(list(saved.lines(ledger))))


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with pytest.raises(SavedRunError, match="cannot be read"):
        Run.load(tmp_path / "nothing.jsonl")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(SavedRunError, match="cannot be read"):
        Run.load(tmp_path / "picture.png")


def test_a_run_that_was_saved_before_deliveries_had_numbers_is_still_read():
    lines = [
        '{"ledger": 1, "started_at": 1000.0}',
        '{"task": "a-1"}',
        '[0.1, "PUBLISHED", "a-1", null, null]',
        '[0.2, "CONNECTED", null, "w", "manual"]',
        '[0.3, "DELIVERED", "a-1", "w", null]',
        '[0.4, "STARTED", "a-1", "w", null]',
        '[0.9, "FINISHED", "a-1", "w", "fine"]',
        '[1.0, "ACKNOWLEDGED", "a-1", "w", null]',
        '{"events": 6}',
    ]
    ledger = saved.ledger(lines)
    assert ledger.counts().done == 1
    assert [span.ended - span.started for span in ledger.spans()] == [pytest.approx(0.5)]
    again = saved.ledger(saved.lines(ledger))
    assert (again.outcomes(), again.started_at) == (ledger.outcomes(), 1000.0)


def test_the_numbers_of_deliveries_are_saved():
    ledger = Ledger()
    ledger.record(Kind.DELIVERED, "a-1", "w", None, 7)
    assert [event.delivery for event in saved.ledger(saved.lines(ledger)).events()] == [7]
