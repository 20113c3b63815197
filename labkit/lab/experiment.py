"""One experiment at the bench: who takes part in it, when it is over, and what was lost."""

from __future__ import annotations

import contextlib
import time
from functools import partial

import pika
from tqdm.auto import tqdm

from labkit.clients.producer import Producer
from labkit.clients.worker import Worker
from labkit.errors import LabError, QueueMissingError, WaitTimeoutError
from labkit.lab.access import POLL, Access
from labkit.lab.elsewhere import Elsewhere, Figures
from labkit.lab.launch import Programs
from labkit.ledger import Kind, Ledger, Outcome
from labkit.loads import LoadSampler
from labkit.tap.relay import Relay
from labkit.words import plural

QUIET = 0.5  # seconds without any change after which nothing more will happen
LOOK = 0.2  # seconds between two looks at what others do
FIGURES_LIMIT = 15.0  # seconds the broker gets to count what others did; a quorum queue counts every 5 s
REQUEUE_LIMIT = 2.0  # seconds the broker gets to put back what a lost worker had
GRACE = 1.0  # seconds in which workers may finish their task when everything is cleared away


class Bar(tqdm):
    """A progress bar without a thread of its own that watches it."""

    monitor_interval = 0


class Experiment:
    """A fresh ledger, and nobody at work yet; ``lab`` is the bench, which has the connections to the broker."""

    def __init__(self, lab: Access) -> None:
        self._lab = lab
        self.ledger = Ledger()
        self.workers: list[Worker] = []  # the dead ones too
        self.producers: list[Producer] = []
        self.programs = Programs(lab)
        self.queues: list[str] = []  # in use
        self.sampler: LoadSampler | None = None
        self.elsewhere = Elsewhere(lab.management, self.ledger)
        self._figures: tuple[int, Figures | None] | None = None  # the last look at what others do
        self._figures_since = 0.0
        self._relays: dict[float, Relay] = {}  # by their delay in seconds

    # --- who takes part ----------------------------------------------------------------------

    def use(self, queue: str, *, fresh: bool = False) -> None:
        """Count this queue's messages, too; nothing was ever in a ``fresh`` one."""
        if queue not in self.queues:
            self.queues.append(queue)
            self.elsewhere.begin(queue, fresh=fresh)
        if self.sampler is not None:
            self.sampler.watch(queue)

    def parameters(self, name: str, distance: float) -> pika.ConnectionParameters:
        """Where a worker connects that is so many seconds away from the broker."""
        parameters = self._lab.parameters(name)
        if not distance:
            return parameters
        if distance not in self._relays:
            self._relays[distance] = Relay(parameters, distance)
        return self._relays[distance].parameters_to(parameters)

    def sample(self) -> None:
        """Ask the broker for its figures from now on; the workers' channels are still to come."""
        if self.sampler is None:
            lab = self._lab
            self.sampler = LoadSampler(lab.management, self.queues, self.ledger, depth=lab.depth)
            self.sampler.sample()  # what the queues had counted before, told apart from what comes now

    def sample_on(self) -> None:
        """Whoever is to be counted is there: look again and again, if that was asked for."""
        if self.sampler is not None and self.sampler.ident is None:
            self.sampler.start()

    def start(self, workers: list[Worker], queue: str, timeout: float) -> None:
        """Start them, one after the other, so that the first is first in the broker's round, too.

        Returns when the broker shows them all; WaitTimeoutError after ``timeout`` seconds, or a worker's error.
        """
        lab, deadline = self._lab, time.monotonic() + timeout
        wanted = lab.depth(queue)[1] + len(workers)
        self.workers.extend(workers)
        for worker in workers:
            worker.start()
            lab.wait_until(
                partial(_has_begun, worker),
                f"{worker.name} to consume from {queue}",
                deadline - time.monotonic(),
                self.state,
            )
            if worker.error:
                worker.stop()
                raise worker.error
        lab.wait_until(
            lambda: lab.depth(queue)[1] >= min(wanted, self._consuming(queue)),
            f"the broker to show {wanted} consumers on {queue}",
            deadline - time.monotonic(),
            self.state,
        )
        self.sample_on()

    def _consuming(self, queue: str) -> int:
        """How many of its workers consume from the queue; one that consumed before may have crashed meanwhile."""
        return sum(
            worker.queue == queue and worker.is_alive() and worker.consuming for worker in self.workers
        )

    # --- the end -----------------------------------------------------------------------------

    def wait_until_settled(self, timeout: float, doing: str) -> None:
        """Wait until nothing more can happen to any task; WaitTimeoutError after ``timeout`` seconds.

        That is when all are through, or when nobody does anything any more: neither those who take part, nor others
        who hold tasks that they have not acknowledged.
        """
        deadline, last, since = time.monotonic() + timeout, None, 0.0
        with Bar(total=1, desc=doing, disable=not self._lab.progress, leave=False, mininterval=0.1) as bar:
            while True:
                self._lab.check()
                for producer in self.producers:
                    producer.check()
                counts = self.ledger.counts()
                left = counts.waiting + counts.in_flight
                taken = self._figures[1].taken if self._figures and self._figures[1] else 0
                bar.total, bar.n = max(counts.published, 1), counts.published - max(0, left - taken)
                bar.set_postfix_str(f"{plural(taken, 'task')} elsewhere" if taken else "", refresh=False)
                bar.update(0)
                working = self._anyone_at_work(left)
                if not working and left == 0:
                    return
                ready = 0 if working else self._ready()
                state, now = (working, len(self.ledger), ready), time.monotonic()
                if working or state != last:
                    last, since = state, now
                elif now - since >= QUIET and self._others_are_through(counts.waiting - ready):
                    bar.total = None  # or else tqdm leaves the unfinished bar standing
                    return
                if now > deadline:
                    raise WaitTimeoutError(
                        f"After {timeout:g} s {plural(counts.waiting, 'task waits', 'tasks wait')}"
                        f" and {counts.in_flight} {'is' if counts.in_flight == 1 else 'are'} in flight.",
                        do=self.state(),
                    )
                time.sleep(POLL if self._figures is None else LOOK)

    def _anyone_at_work(self, left: int) -> bool:
        """Whether a producer or a worker still has something to do; ``left`` is how many tasks are not done.

        A paused worker is waited for as long as it may hold one of them. What it holds otherwise was done by another
        worker, after a lost connection.
        """
        if left > 0 and any(seat.foreign and seat.held for seat in self.ledger.seats().values()):
            return True  # a client behind a tap holds something
        return any(producer.is_alive() for producer in self.producers) or any(
            worker.is_alive()
            and (
                left > 0 and (worker.current is not None or worker.buffered > 0)
                if worker.paused
                else worker.state in ("connecting", "reconnecting", "working") or worker.buffered > 0
            )
            for worker in self.workers
        )

    def _ready(self) -> int:
        total = 0
        for queue in self.queues:
            with contextlib.suppress(LabError):
                ready, consumers = self._lab.depth(queue)
                total += ready
                if consumers > sum(worker.queue == queue for worker in self.workers):
                    self.elsewhere.notice(queue, {worker.name for worker in self.workers})
        return total

    def _others_are_through(self, missing: int) -> bool:
        """Whether nothing more will be heard of so many tasks that wait, and are in no queue.

        The broker's figures are late: they have to account for every one, or to stand still for as long as they can
        be old.
        """
        if missing <= 0:
            return True
        now, figures = time.monotonic(), self.elsewhere.look()
        if (missing, figures) != self._figures:
            self._figures, self._figures_since = (missing, figures), now
        if figures is None:
            return True
        return not figures.holding and (
            figures.taken >= missing or now - self._figures_since >= self._lab.statistics_age
        )

    def state(self) -> str:
        """What each worker does, in words."""
        states = ", ".join(
            f"{worker.name} {worker.state}{f' ({worker.error.what})' if worker.error else ''}"
            for worker in self.workers
        )
        return f"Workers: {states or 'none'}.{self.programs.state()}"

    def account_for_missing(self) -> None:
        """Say what became of the tasks that should wait in a queue and do not: see ``elsewhere``."""
        waiting = self.ledger.task_ids(Outcome.WAITING)
        if not waiting or not self.queues:
            return
        # The workers have left just now: the broker needs a moment to queue again what they had.
        deadline = time.monotonic() + REQUEUE_LIMIT
        while (short := len(waiting) - self._ready()) > 0 and time.monotonic() < deadline:
            time.sleep(POLL)
        if short <= 0:
            return
        deadline = time.monotonic() + FIGURES_LIMIT
        while not self._others_are_through(short) and time.monotonic() < deadline:
            time.sleep(LOOK)
        figures = self.elsewhere.look()
        samples = self.sampler.samples[-1:] if self.sampler is not None else []
        if any(load.worker not in self.ledger.workers for sample in samples for load in sample.loads):
            self.elsewhere.seen = True
        if figures is not None and figures.holding:
            return  # somebody still has them: they are queued again, or acknowledged, after this
        there = set().union(*(self._browse(queue) for queue in self.queues))
        missing = [task_id for task_id in waiting if task_id not in there]
        if None in there:  # a message without an id may be any of those that a worker made up a name for
            published = {event.task_id for event in self.ledger.events({Kind.PUBLISHED})}
            missing = [task_id for task_id in missing if task_id in published]
        kind = self.elsewhere.fate(len(missing), figures)
        for task_id in missing:
            self.ledger.record(kind, task_id)

    def _browse(self, queue: str) -> set[str | None]:
        """The ids of what waits in the queue: fetched, and put back as the channel closes."""
        found: set[str | None] = set()
        with contextlib.suppress(QueueMissingError), self._lab.channel("browse") as channel:
            while True:
                method, properties, _ = channel.basic_get(queue)
                if method is None or properties is None:
                    return found
                found.add(properties.message_id)
        return found

    def stop(self) -> None:
        """End everybody who takes part; who is in a long task after ``GRACE`` seconds crashes."""
        threads: list[Producer | Worker] = [*self.producers, *self.workers]
        for thread in threads:
            thread.stop(timeout=None)
        deadline = time.monotonic() + GRACE
        self.programs.close(GRACE)
        for thread in threads:
            thread.stop(max(deadline - time.monotonic(), 0.01))
        for worker in self.workers:
            if worker.is_alive():  # in a long task, for a queue that is about to go
                worker.crash()
                worker.join(GRACE)
        if self.sampler is not None:
            self.sampler.stop()
        for relay in self._relays.values():
            relay.close()

    def cancel(self) -> None:
        """Ask those who publish and who count to end, and wait for nobody."""
        for producer in self.producers:
            producer.stop(timeout=None)
        if (sampler := self.sampler) is not None:
            with contextlib.suppress(WaitTimeoutError):
                sampler.stop(timeout=0)


def _has_begun(worker: Worker) -> bool:
    return worker.subscribed.is_set() or worker.error is not None
