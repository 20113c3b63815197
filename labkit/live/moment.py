"""Where every task is at one moment, kept up to date from what a ledger records, a few events at a time."""

from __future__ import annotations

from bisect import bisect_right

from labkit.ledger import Account, Ledger


class State(Account):
    """Follows a ledger: ``read()`` takes in what is new, up to a moment of the run if one is given."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.dearest = 1.0  # cost of the dearest task so far, in dots
        self._task_costs: list[float | None] = []
        super().__init__(costs=self._task_costs)

    def read(self, until: float | None = None) -> int:
        """Take in what is new (up to ``until`` seconds) and return how many events that were."""
        columns = self.ledger.columns(self.seen)
        if until is not None:
            count = bisect_right(columns[0], until)
            times, kinds, tasks, workers, deliveries = columns
            columns = times[:count], kinds[:count], tasks[:count], workers[:count], deliveries[:count]
        if not columns[0]:
            return 0
        known = max(len(self.place), max(columns[2]) + 1)
        for number in range(len(self.place), known):
            task = self.ledger.task(self.ledger.task_id(number))
            cost = None if task is None else task.cost
            self._task_costs.append(cost)
            if cost and cost > self.dearest:
                self.dearest = cost
        seated = max(len(self.seats), max(columns[3]) + 1)
        self.take(columns, self.ledger.notes, known, self.ledger.workers[:seated])
        return len(columns[0])

    # --- what the picture asks ---------------------------------------------------------------

    def first(self, place: int, limit: int) -> list[int]:
        """The first tasks in this place, in the order they were published."""
        found: list[int] = []
        position = -1
        while len(found) < limit and (position := self.place.find(place, position + 1)) >= 0:
            found.append(position)
        return found

    def cost(self, t: int) -> float | None:
        """What the task costs, in dots; None if that is not known here."""
        return self._task_costs[t]

    def label(self, t: int) -> str:
        """A short name for the task."""
        return self.ledger.label(self.ledger.task_id(t))
