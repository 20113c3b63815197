"""What the broker counted in a whole run: at every moment that was sampled, and in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

from labkit.errors import SavedRunError
from labkit.ledger import Ledger
from labkit.loads.load import Load
from labkit.loads.reconcile import Reconciliation, expected_loads, reconcile


@dataclass(frozen=True)
class Sample:
    """One moment: ``time`` in seconds since the ledger began, the rest in messages."""

    time: float
    loads: tuple[Load, ...]
    ready: int
    unacknowledged: int


@dataclass
class Loads:
    """The broker's figures of a run.

    ``final`` has the last ones by worker, and every worker that the ledger knows to have consumed: one whose
    figures did not come is marked ``late``. ``samples`` are those on the way. ``total`` is the queues' own
    count, which outlives channels. ``settled`` says that the figures stood still (or were as expected)
    before the time limit. ``problem`` is why there are no figures, if there are none.
    """

    final: dict[str, Load] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    total: Load | None = None
    settled: bool = True
    problem: str = ""

    def reconcile(self, ledger: Ledger) -> Reconciliation:
        """Compares the broker's final figures with what the ledger recorded."""
        if self.problem and not self.final:
            return Reconciliation(False, f"The broker gave no figures to compare with: {self.problem}")
        return reconcile(self.final, expected_loads(ledger), self.total, self.settled)

    def to_dict(self) -> dict[str, Any]:
        """This as plain dictionaries and lists, for a file of JSON."""
        return {
            "final": [asdict(load) for load in self.final.values()],
            "total": asdict(self.total) if self.total else None,
            "settled": self.settled,
            "problem": self.problem,
            "samples": [
                [sample.time, sample.ready, sample.unacknowledged, [list(astuple(load)) for load in sample.loads]]
                for sample in self.samples
            ],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Loads:
        """The opposite of ``to_dict``. Raises SavedRunError if it is nothing of the kind."""
        try:
            finals = [_load(**load) for load in saved["final"]]
            return cls(
                final={load.worker: load for load in finals},
                samples=[
                    Sample(float(at), tuple(_load(*row) for row in rows), int(ready), int(unacknowledged))
                    for at, ready, unacknowledged, rows in saved["samples"]
                ],
                total=_load(**saved["total"]) if saved.get("total") else None,
                settled=bool(saved.get("settled", True)),
                problem=str(saved.get("problem", "")),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise SavedRunError(
                "The broker's figures in this saved run are damaged.", do="Save the run again."
            ) from error


def _load(worker: str, *figures: Any, **more: Any) -> Load:
    """A Load of a saved run; TypeError where something else than its figures stands there."""
    if not isinstance(worker, str) or not all(isinstance(each, int) for each in (*figures, *more.values())):
        raise TypeError("a load is a name and whole numbers")
    return Load(worker, *figures, **more)
