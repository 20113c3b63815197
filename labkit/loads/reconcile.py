"""The broker's figures held against the ledger: whether they agree, and if not, by how much and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from labkit.ledger import Ledger
from labkit.loads.load import COUNTED, Load, total
from labkit.words import listed, plural

MOST = 3  # differences that the sentence names
_NOUNS = {
    "delivered": ("delivery", "deliveries"),
    "acknowledged": ("acknowledgement", "acknowledgements"),
    "redelivered": ("redelivery", "redeliveries"),
}


@dataclass(frozen=True)
class Difference:
    """Where broker and ledger do not agree about a worker, and why that is."""

    worker: str
    what: str
    broker: int
    ledger: int
    why: str


@dataclass(frozen=True)
class Reconciliation:
    """Whether broker and ledger counted the same; ``sentence`` says it in words."""

    agrees: bool
    sentence: str
    rows: tuple[Difference, ...] = ()


def expected_loads(ledger: Ledger) -> dict[str, Load]:
    """What the broker should have counted for each worker, if it counted what the ledger recorded."""
    return {
        name: Load(
            name, seat.delivered, seat.acknowledged, seat.redelivered, seat.unacknowledged, seat.automatic
        )
        for name, seat in ledger.seats().items()
        if seat.mode or seat.delivered
    }


def reconcile(
    final: Mapping[str, Load], expected: Mapping[str, Load], queues: Load | None, settled: bool
) -> Reconciliation:
    """Compares the broker's ``final`` figures by worker with those that were ``expected``.

    ``queues`` is what the queues themselves counted, ``settled`` whether the figures had come to a stand.
    """
    rows = []
    for name, mine in expected.items():
        theirs = final.get(name)
        if theirs is None or theirs.late:
            if mine.delivered or mine.acknowledged:
                rows.append(Difference(name, "delivered", 0, mine.delivered, "the broker never showed it"))
            continue
        for what in COUNTED:
            counted, recorded = getattr(theirs, what), getattr(mine, what)
            if counted != recorded:
                why = _why(theirs, what, counted > recorded, settled)
                rows.append(Difference(name, what, counted, recorded, why))
    every = total(expected.values())
    if not rows:
        strangers = [load for name, load in final.items() if name not in expected and load.delivered]
        return Reconciliation(True, _agreement(every, strangers))
    sentence = _disagreement(rows)
    if queues is not None and queues.agrees(every):
        sentence += " Over all workers together the two agree."
    return Reconciliation(False, sentence, tuple(rows))


def _why(load: Load, what: str, more: bool, settled: bool) -> str:
    if more and what == "acknowledged":
        return "somebody else acknowledged under this name"
    if more:
        return "sent, but not read by the worker before it left"
    if what == "acknowledged" and load.automatic:
        return "deliveries with automatic acknowledgement count no acks"
    if load.stale:
        return "its channel was gone before the broker's last count"
    return "the broker did not count them" if settled else "the broker's statistics lag behind"


def _disagreement(rows: list[Difference]) -> str:
    parts = []
    for row in rows[:MOST]:
        word = "fewer" if row.broker < row.ledger else "more"
        nouns = (f"{word} {noun}" for noun in _NOUNS[row.what])
        parts.append(f"{plural(abs(row.broker - row.ledger), *nouns)} for {row.worker} ({row.why})")
    more = f"; and {len(rows) - MOST} more differences" if len(rows) > MOST else ""
    return f"Compared with the ledger, the broker counted {'; '.join(parts)}{more}."


def _agreement(every: Load, strangers: list[Load]) -> str:
    if not every.delivered and not strangers:
        return "Broker and ledger agree: nothing was delivered."
    parts = [plural(every.delivered, *_NOUNS["delivered"])]
    if every.delivered and every.automatic == every.delivered:
        parts.append("all acknowledged automatically")
    else:
        parts.append(plural(every.acknowledged, *_NOUNS["acknowledged"]))
        if every.automatic:
            parts.append(f"{every.automatic:,} acknowledged automatically")
    if every.redelivered:
        parts.append(plural(every.redelivered, *_NOUNS["redelivered"]))
    sentence = f"Broker and ledger agree: {listed(parts)}."
    if strangers:
        others = listed([f"{load.worker} {load.delivered:,}" for load in strangers])
        sentence += f" Beside them the broker counted workers of other programs: {others}."
    return sentence
