"""Things that go wrong while a comparison runs: at a moment set before, or when somebody presses a button."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass

from labkit import checks
from labkit.clients.worker import Worker
from labkit.errors import LabError, UsageError
from labkit.lab import Lab
from labkit.ledger import Ledger

POLL = 0.02  # seconds between two looks at the clock
LONGEST = 3600.0  # seconds after which a happening may be due


def _speed(factor: float) -> Callable[[Worker], None]:
    def change(worker: Worker) -> None:
        worker.speed *= factor

    return change


TO_A_WORKER: dict[str, Callable[[Worker], object]] = {
    "crash": Worker.crash,
    "pause": Worker.pause,
    "resume": Worker.resume,
    "slow down": _speed(0.5),
    "speed up": _speed(2.0),
}
TO_THE_BROKER: dict[str, Callable[[Lab], object]] = {
    "restart broker": Lab.restart_broker,
    "kill broker": Lab.kill_broker,
}


@dataclass(frozen=True)
class Happening:
    """``what`` happens (to which ``worker``), how many seconds ``after`` the first task was published.

    ``which`` is the number of the run in which it happens, from 1; None: in every one.
    """

    what: str
    worker: str | None = None
    after: float = 1.0
    which: int | None = None

    def problem(self) -> str:
        """Why this cannot be, in a sentence; empty if it can."""
        if self.what not in TO_A_WORKER and self.what not in TO_THE_BROKER:
            return f"What happens is one of {', '.join([*TO_A_WORKER, *TO_THE_BROKER])}."
        if self.what in TO_A_WORKER and not self.worker:
            return f"Say to which worker: {self.what}."
        if not checks.is_number(self.after) or not 0 <= self.after <= LONGEST:
            return f"Use 0 to {LONGEST:g} seconds."
        return ""

    def code(self) -> str:
        """The call of ``happen`` that does the same."""
        who = f', "{self.worker}"' if self.worker else ""
        which = f", which={self.which}" if self.which else ""
        return f'happen(lab, "{self.what}"{who}, after={self.after:g}{which})'


def act(lab: Lab, what: str, worker: str | None = None) -> None:
    """Do it now. UsageError for something unknown, or a worker that is not there (any more)."""
    if problem := Happening(what, worker).problem():
        raise UsageError(problem)
    if what in TO_THE_BROKER:
        TO_THE_BROKER[what](lab)
        return
    there = {one.name: one for one in lab.active if one.is_alive() and one.state != "crashed"}
    if worker not in there:
        raise UsageError(f"{worker} is not at work.", do=f"At work: {', '.join(there) or 'nobody'}.")
    TO_A_WORKER[what](there[worker])


class happen:
    """In this block, let something happen so many seconds after the first task of a run was published::

        with happen(lab, "crash", "worker-1", after=1.5):
            lab.compare(strategies, workload)

    ``what`` is "crash", "pause", "resume", "slow down" or "speed up" (a ``worker``, by its name), "restart
    broker" or "kill broker". ``which`` is the number of the run, from 1; in every run if it is omitted.
    UsageError for something else.
    """

    def __init__(
        self, lab: Lab, what: str, worker: str | None = None, *, after: float = 1.0, which: int | None = None
    ) -> None:
        self.happening = Happening(what, worker, after, which)
        if problem := self.happening.problem():
            raise UsageError(problem)
        self.problem: LabError | None = None  # why it did not happen
        self._lab = lab
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"happening: {what}", daemon=True)

    def __enter__(self) -> happen:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()  # a broker that is being restarted is waited for

    def _watch(self) -> None:
        number, began, due = 0, 0.0, False
        ledger: Ledger | None = None  # of the run, once something was published
        while not self._over.wait(POLL):
            if self._lab.ledger is not ledger and self._lab.ledger.counts().published:
                ledger = self._lab.ledger
                began, number = ledger.now(), number + 1
                due = self.happening.which in (None, number)
            if due and ledger is self._lab.ledger and ledger.now() - began >= self.happening.after:
                due = False
                try:
                    act(self._lab, self.happening.what, self.happening.worker)
                except LabError as error:
                    self.problem = error


@contextlib.contextmanager
def all_of(lab: Lab, happenings: tuple[Happening, ...]):
    """A block in which all of them happen."""
    with contextlib.ExitStack() as stack:
        for one in happenings:
            stack.enter_context(happen(lab, one.what, one.worker, after=one.after, which=one.which))
        yield
