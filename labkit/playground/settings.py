"""What can be chosen in the playground: one frozen object, checked as a whole, and written as code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from labkit import checks, tasks
from labkit.compare import Strategy, schedule
from labkit.errors import SavedRunError, UsageError
from labkit.playground.happening import Happening
from labkit.tasks import WORKLOADS, Task

MOST_WORKERS = 64
MOST_STRATEGIES = 4
MOST_TASKS = 100_000
LONGEST = 600.0  # seconds that a run may take on paper
SLOWEST_DOT = 60.0  # seconds


@dataclass(frozen=True)
class Settings:
    """A comparison to be run.

    ``workload`` is one of ``tasks.WORKLOADS`` and ``options`` are its own, those that
    are not named as in its example; ``speeds`` has one number a
    worker; ``happenings`` go wrong meanwhile. Nothing is refused before ``check()``: ``problems()`` says
    which setting is wrong and why.
    """

    workload: str = "alternating"
    options: Mapping[str, float] = field(default_factory=lambda: dict(WORKLOADS["alternating"].example))
    speeds: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    strategies: tuple[Strategy, ...] = (Strategy(), Strategy(prefetch=1))
    seconds_per_dot: float = 0.1
    happenings: tuple[Happening, ...] = ()

    def tasks(self) -> list[Task]:
        """The workload, with fresh ids. UsageError if its options make no sense."""
        return tasks.recipe(self.workload)(**self.options)

    def problems(self) -> dict[str, str]:
        """What is wrong, by the name of the setting (for a workload's option, by that of the option)."""
        found: dict[str, str] = {}
        if not 1 <= len(self.strategies) <= MOST_STRATEGIES:
            found["strategies"] = f"Choose one to {MOST_STRATEGIES} strategies."
        elif len(set(labels := [one.label for one in self.strategies])) < len(labels):
            found["strategies"] = "Two strategies are the same."
        if not 1 <= len(self.speeds) <= MOST_WORKERS:
            found["speeds"] = f"Use 1 to {MOST_WORKERS} workers."
        elif not all(checks.is_number(speed) and 0 < speed <= 1000 for speed in self.speeds):
            found["speeds"] = "A speed is a number above 0; 1 is normal."
        if not checks.is_number(self.seconds_per_dot) or not 0 <= self.seconds_per_dot <= SLOWEST_DOT:
            found["seconds_per_dot"] = f"Use 0 to {SLOWEST_DOT:g} seconds."
        for one in self.happenings:
            if problem := one.problem():
                found["happenings"] = problem
        found |= self._problems_of_the_workload()
        if not found and (seconds := max(self.estimate())) > LONGEST:
            found["count"] = f"A run would take {seconds:,.0f} s; at most {LONGEST:.0f} s are wise."
        return found

    def _problems_of_the_workload(self) -> dict[str, str]:
        try:
            make = tasks.recipe(self.workload)
            make.known(self.options)
        except UsageError as error:
            return {"workload": _said(error)}
        count = self.options.get("count", 1)
        if checks.is_number(count) and count > MOST_TASKS:
            return {"count": f"Use at most {MOST_TASKS:,} tasks."}
        found: dict[str, str] = {}
        for chosen in (*({name: value} for name, value in self.options.items()), self.options):
            try:  # each option by itself, so that every wrong one is named; then all of them together
                make(**{"count": 2, **chosen})
            except UsageError as error:
                found.setdefault(error.field if error.field in make.example else "workload", _said(error))
        return found

    def check(self) -> None:
        """UsageError for the first setting that makes no sense."""
        for name, problem in self.problems().items():
            raise UsageError(f"{name}: {problem}")

    def estimate(self) -> list[float]:
        """Seconds for each strategy, on paper, if every worker always has something to do."""
        workload = self.tasks()
        published = sum(task.delay for task in workload)
        paper = 0.0
        if self.seconds_per_dot:
            found = schedule.greedy(workload, list(self.speeds), seconds_per_dot=self.seconds_per_dot)
            paper = found.makespan
        return [max(paper, published)] * len(self.strategies)

    # --- as code, and as a file --------------------------------------------------------------

    def code(self, happened: tuple[Happening, ...] = ()) -> str:
        """A program that does the same; ``happened`` is what somebody did meanwhile."""
        speeds = list(self.speeds)
        workers = f"{len(speeds)}" if set(speeds) == {1.0} else f"[{', '.join(f'{one:g}' for one in speeds)}]"
        events = [*self.happenings, *happened]
        blocks = ["live.watch(lab)", *(one.code() for one in events)]
        together = f"with {', '.join(blocks)}:"
        if len(together) > 100:
            together = "with (\n" + "".join(f"    {block},\n" for block in blocks) + "):"
        lines = [
            "from labkit import charts, live, tasks",
            "from labkit.lab import Lab",
            *(["from labkit.playground import happen"] if events else []),
            "from labkit.compare import Strategy",
            "",
            f'lab = Lab("playground", seconds_per_dot={self.seconds_per_dot:g})',
            f"workload = {tasks.recipe(self.workload).code(self.options)}",
            f"strategies = [{', '.join(map(_code, self.strategies))}]",
            together,
            f"    results = lab.compare(strategies, workload, workers={workers}, timeout={LONGEST:g})",
            "print(results)",
            "charts.timeline(results.runs)",
        ]
        return "\n".join(lines) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """This as plain data, for a file of JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Settings:
        """The opposite of ``to_dict``. SavedRunError if it is nothing of the kind."""
        try:
            return cls(
                workload=str(saved["workload"]),
                options=dict(saved["options"]),
                speeds=tuple(float(speed) for speed in saved["speeds"]),
                strategies=tuple(Strategy(**one) for one in saved["strategies"]),
                seconds_per_dot=float(saved["seconds_per_dot"]),
                happenings=tuple(Happening(**one) for one in saved["happenings"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise SavedRunError(
                f"The saved settings are damaged: {error}.", do="Choose another folder, or save again."
            ) from error


def _said(error: UsageError) -> str:
    return f"{error.what} {error.do}".rstrip()


def _code(strategy: Strategy) -> str:
    """The strategy as it is typed: what is not the default."""
    chosen = [
        f"{one.name}={json.dumps(value) if isinstance(value := getattr(strategy, one.name), str) else repr(value)}"
        for one in fields(strategy)
        if getattr(strategy, one.name) != one.default
    ]
    return f"Strategy({', '.join(chosen)})"
