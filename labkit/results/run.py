"""A finished experiment: what the ledger recorded and what the broker counted, in one file if saved."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit.errors import SavedRunError
from labkit.ledger import Ledger, saved
from labkit.ledger.events import Counts, Outcome
from labkit.ledger.seat import done_word
from labkit.loads import Loads
from labkit.words import plural


@dataclass
class Run:
    """One experiment. ``about`` says where and how it was run (versions, date, settings)."""

    name: str
    ledger: Ledger
    loads: Loads = field(default_factory=Loads)
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def workers(self) -> list[str]:
        """The workers' names, in the order of their first appearance."""
        return self.ledger.workers

    @property
    def makespan(self) -> float:
        """Seconds from the first publish to the last finish, or foreign worker's acknowledgement."""
        return self.ledger.makespan()

    @property
    def counts(self) -> Counts:
        """How many tasks there are of each outcome."""
        return self.ledger.counts()

    def save(self, path: str | Path) -> Path:
        """Write the run to a file of JSON Lines and return its path; SavedRunError if that fails."""
        try:
            about = json.dumps({"run": self.name, "about": self.about, "loads": self.loads.to_dict()})
        except (TypeError, ValueError) as error:
            raise SavedRunError(
                f"This run cannot be saved: {error}.", do="Keep texts and numbers in run.about."
            ) from error
        return saved.write(path, [about], saved.lines(self.ledger))

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """Read what ``save`` wrote. SavedRunError if it is something else or damaged."""
        try:
            with saved.opened(path) as file:
                lines = saved.lines_of(file)
                about = json.loads(next(lines, "null"))
                if not isinstance(about, dict) or "run" not in about:
                    raise SavedRunError(
                        f"{path} is not a saved run.", do="Name a file that Run.save() wrote."
                    )
                ledger = saved.ledger(lines, str(path))
            return cls(str(about["run"]), ledger, Loads.from_dict(about["loads"]), dict(about["about"]))
        except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            raise SavedRunError(
                f"{path} cannot be read as a run: {error}.", do="Name a file that Run.save() wrote."
            ) from error

    def __repr__(self) -> str:
        counts = self.counts
        done = done_word(self.ledger.seats().values())
        parts = [f"{counts.done} of {plural(counts.published, 'task')} {done}"]
        others = [
            (outcome.value, number) for outcome, number in counts.by_outcome() if outcome is not Outcome.DONE
        ]
        parts += [
            f"{number} {what}" for what, number in (*others, (f"{done} twice", counts.done_twice)) if number
        ]
        workers = plural(len(self.workers), "worker")
        time = f", {makespan:.1f} s" if (makespan := self.makespan) or not counts.handed_over else ""
        return f"<Run {self.name!r}: {', '.join(parts)}; {workers}{time}>"
