"""What a chart is given: a run or a ledger, or several of them, made alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from labkit.errors import UsageError
from labkit.ledger import Kind, Ledger
from labkit.loads import Loads
from labkit.words import called, natural


@dataclass
class Shown:
    """One run in a chart, whatever it was given as."""

    name: str
    ledger: Ledger
    loads: Loads = field(default_factory=Loads)
    about: dict[str, Any] = field(default_factory=dict)

    def ordered(self, names: Iterable[str]) -> list[str]:
        """The workers in the order in which they were set up, the others by their names."""
        set_up = [str(one.get("name")) for one in self.about.get("workers", []) if isinstance(one, dict)]
        order = {name: at for at, name in enumerate(set_up)}
        return sorted(names, key=lambda name: (order.get(name, len(order)), natural(name)))

    def zero(self, otherwise: float) -> float:
        """Where the time of a chart begins: when the first task was published, or else started.

        In seconds since the ledger began; ``otherwise`` if there was no task.
        """
        first = self.ledger.events({Kind.PUBLISHED, Kind.STARTED})
        return next((event.time for event in first), otherwise)


def shown(runs: Any) -> list[Shown]:
    """One run or ledger, or several of them, as a list. Raises UsageError for anything else."""
    if isinstance(runs, dict):
        return [_shown(run, str(name)) for name, run in runs.items()]
    if not isinstance(runs, list | tuple):
        runs = [runs]
    if not runs:
        raise UsageError("There is no run to draw.", do="Give the chart a run, or a list of runs.")
    return [_shown(run, "") for run in runs]


def _shown(run: Any, name: str) -> Shown:
    if isinstance(run, Ledger):
        return Shown(name, run)
    if isinstance(run, Loads):
        return Shown(name, Ledger(), run)
    if isinstance(getattr(run, "ledger", None), Ledger):
        return Shown(
            name or str(getattr(run, "name", "")),
            run.ledger,
            getattr(run, "loads", None) or Loads(),
            getattr(run, "about", None) or {},
        )
    raise UsageError(
        f"A chart cannot be drawn of {type(run).__name__}.",
        do="Give it what lab.finish() or lab.run() returned.",
    )


def run_names(runs: Sequence[Shown]) -> list[str]:
    """What the runs are called in a title or a sentence; one without a name gets a number."""
    return [called(run.name, 40) or f"run {at}" for at, run in enumerate(runs, 1)]


def by_name(runs: Sequence[Shown], said: Iterable[str]) -> list[str]:
    """What is said of each run, with the run's name before it."""
    return [f"{name}: {words}" for name, words in zip(run_names(runs), said, strict=True)]
