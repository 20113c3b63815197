"""The bench: queues, producers and workers are set up here, run, looked at, and cleared away."""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pika

from labkit import brokers, checks
from labkit.clients.producer import Producer
from labkit.clients.program import Program
from labkit.clients.worker import Worker
from labkit.compare import Comparison, Strategy, compare
from labkit.errors import BrokerError, LabError, UsageError
from labkit.lab import leftovers
from labkit.lab.access import Access, queue_name
from labkit.lab.experiment import Experiment
from labkit.lab.launch import STARTED
from labkit.lab.outage import Outage
from labkit.lab.tapped import BenchTap
from labkit.ledger import Ledger
from labkit.loads import Loads, Sample
from labkit.results.run import Run
from labkit.tasks import Task

CONSUMERS_LIMIT = 15.0  # seconds until the broker must show new workers
PATIENCE = 600.0  # seconds that somebody else has for restarting a remote broker


_open: dict[str, Lab] = {}  # by lesson: a second Lab of the same name in one kernel replaces the first


class Lab(Access):
    """A bench for one lesson: ``Lab("01")`` finds the broker, starts it, and clears what was left there.

    ``seconds_per_dot`` is how long a task's dot takes; ``progress`` shows bars; ``say`` is told what takes long.
    Use it as a context manager, or ``close()`` it; leaving Python closes it too.
    """

    def __init__(
        self,
        lesson: str,
        *,
        broker: brokers.Broker | None = None,
        seconds_per_dot: float = 0.1,
        progress: bool = True,
        say: Callable[[str], object] = print,
    ) -> None:
        if (
            not isinstance(lesson, str)
            or not lesson
            or not lesson.replace("-", "").replace("_", "").isalnum()
        ):
            raise UsageError(
                f"The lesson is named {lesson!r}.", do="Use letters and digits, for example Lab('01')."
            )
        checks.text("The name of the lesson", lesson)
        checks.seconds("seconds_per_dot", seconds_per_dot)
        checks.function("say", say)
        if broker is not None and not isinstance(broker, brokers.Broker):
            raise UsageError(f"broker is {broker!r}.", do="Leave it away: the lab finds it.")
        if previous := _open.pop(lesson, None):
            previous.close()
        super().__init__(lesson, broker or brokers.find(), progress=progress, say=say)
        self.seconds_per_dot = seconds_per_dot
        self._declared: set[str] = set()
        self._dead_lettering: set[str] = set()  # queues that were declared with a dead-letter exchange
        self.taps: list[BenchTap] = []
        self.management.alias = self._tapped
        self._experiment = Experiment(self)
        _open[lesson] = self
        leftovers.clear(self.management, self._prefix, self.delete)

    def begin(self) -> None:
        """Start a new experiment: a fresh ledger, no workers, no queues in use. Queues keep what is in them."""
        try:
            self._stop()
        finally:
            self._renew()

    def _stop(self) -> None:
        """End the present experiment; what the lab clears away is nobody's crash, so the taps hear of the end first."""
        for tap in self.taps:
            tap.follow(Ledger())
        self._experiment.stop()

    def _renew(self) -> None:
        """The next experiment; who comes through a tap goes on in it."""
        self._experiment = Experiment(self)
        for tap in self.taps:
            tap.follow(self._experiment.ledger)

    @contextlib.contextmanager
    def _ended_if_interrupted(self) -> Iterator[None]:
        """Who interrupts a run does not want its tasks in the next one."""
        try:
            yield
        except KeyboardInterrupt:
            queues = self._declared.intersection(self._experiment.queues)
            self.begin()
            with contextlib.suppress(LabError), self.channel("clears away") as channel:
                for queue in queues:
                    channel.queue_purge(queue)
            raise

    @property
    def ledger(self) -> Ledger:
        """Of the present experiment."""
        return self._experiment.ledger

    @property
    def active(self) -> list[Worker]:
        """All workers of the present experiment, the dead ones too."""
        return self._experiment.workers

    @property
    def samples(self) -> list[Sample]:
        """What the broker counted so far in this experiment, oldest first."""
        sampler = self._experiment.sampler
        return sampler.samples if sampler is not None else []

    # --- setting up --------------------------------------------------------------------------

    def queue(
        self,
        name: str,
        *,
        durable: bool = True,
        type: str = "classic",
        arguments: dict[str, Any] | None = None,
    ) -> str:
        """Declare a fresh, empty queue and return its full name.

        A queue of this name is deleted first; if this experiment already uses it, the experiment starts over.
        FeatureRefusedError where RabbitMQ refuses queues that are not durable.
        https://www.rabbitmq.com/docs/queues
        """
        checks.one_of("The queue's type", type, ("classic", "quorum"))
        if arguments is not None:
            checks.mapping("arguments", arguments)
        self.check()
        full = queue_name(self.name(name))
        if full in self._experiment.queues:
            self.begin()
        # Said also of classic: a virtual host can have another default.
        arguments = {"x-queue-type": type, **(arguments or {})}
        self.delete(full)
        with self.channel() as channel:
            channel.queue_declare(full, durable=durable, arguments=arguments)
        self._declared.add(full)
        if arguments and "x-dead-letter-exchange" in arguments:
            self._dead_lettering.add(full)
        self._experiment.use(full, fresh=True)
        return full

    def workers(
        self,
        count: int,
        queue: str,
        *,
        names: Sequence[str] | None = None,
        speed: float | Sequence[float] = 1.0,
        priority: int | Sequence[int] | None = None,
        distance: float = 0.0,
        loads: bool = True,
        timeout: float = CONSUMERS_LIMIT,
        **settings: Any,
    ) -> list[Worker]:
        """Start workers on a queue; returns them when the *broker* shows that many more consumers.

        They subscribe one after the other, so the first gets the first task. ``speed`` and ``priority`` are one
        for all or one each. With a ``distance`` in seconds, all that goes between them and the broker takes
        so long each way. ``loads=False`` does without the broker's figures for this run, which saves about a
        second at its end and leaves the machine to the workers. ``settings`` are those of ``Worker``.
        WaitTimeoutError after ``timeout`` seconds; a worker's own error (QueueMissingError,
        AccessRefusedError, …) if it cannot consume.
        """
        checks.whole("The number of workers", count, 1, checks.MOST_WORKERS)
        queue_name(queue)
        checks.seconds("timeout", timeout)
        checks.seconds("distance", distance)
        first = len(self.active) + 1
        if names is None:
            names = [f"worker-{number}" for number in range(first, first + count)]
        elif isinstance(names, str) or not isinstance(names, Sequence):
            raise UsageError(f"names is {names!r}.", do="Give a list of names, one for each worker.")
        speeds = speed if isinstance(speed, Sequence) else [speed] * count
        priorities = priority if isinstance(priority, Sequence) else [priority] * count
        if {len(speeds), len(names), len(priorities)} != {count}:
            raise UsageError(
                f"{len(speeds)} speeds, {len(names)} names and {len(priorities)} priorities for {count} workers.",
                do="Give one each.",
            )
        if len(set(map(str, names))) < count:
            raise UsageError(
                f"Two workers have the same name: {list(names)}.", do="Give each a name of its own."
            )
        self.check()
        self._experiment.use(queue)
        if loads:
            self._experiment.sample()
        settings = {"seconds_per_dot": self.seconds_per_dot, "ledger": self.ledger, **settings}
        started = [
            Worker(
                self._experiment.parameters(name, distance),
                queue,
                name=name,
                speed=pace,
                priority=first_served,
                **settings,
            )
            for name, pace, first_served in zip(names, speeds, priorities, strict=True)
        ]
        self._experiment.start(started, queue, timeout)
        return started

    def processes(
        self,
        n: int,
        queue: str,
        *,
        names: Sequence[str] | None = None,
        loads: bool = True,
        timeout: float = STARTED,
        parameters: pika.ConnectionParameters | None = None,
        **settings: Any,
    ) -> list[Program]:
        """Start n workers in processes of their own; returns them when the *broker* shows that many more consumers.

        They are to be killed, stopped and frozen, and share nothing with this Python. Behind ``lab.tap()`` the ledger
        hears of them; without one, what they do is "done elsewhere". Which of them the broker serves first is open.
        ``loads`` is as in ``workers``. ``settings``: ``prefetch``, ``ack`` ("manual" or "automatic"),
        ``seconds_per_dot``, ``speed`` and ``on_error`` ("reject", "requeue", "acknowledge" or "dead-letter").
        ``parameters`` say where they connect instead of to the tap that was opened last, or else the broker.
        They end with the experiment: with the next ``run``, ``finish``, ``begin`` or ``close``.
        WaitTimeoutError after ``timeout`` seconds, or ProgramError if one ends before; none is left then.
        """
        self.check()
        self.depth(queue)  # QueueMissingError now; a worker process would declare it
        self._experiment.use(queue)
        if loads:
            self._experiment.sample()
        settings = {"seconds_per_dot": self.seconds_per_dot, **settings}
        started = self._experiment.programs.workers(
            n,
            queue,
            names=names,
            taken=self._names(),
            timeout=timeout,
            parameters=parameters or self._way,
            **settings,
        )
        self._experiment.sample_on()
        if settings.get("on_error") == "dead-letter" and queue in self._declared:
            self._declared.add(f"{queue}.dead-letters")
        return started

    def program(
        self,
        command: str | Path | Sequence[object],
        n: int = 1,
        *,
        arguments: Sequence[object] = (),
        names: Sequence[str] | None = None,
        consumers: str | None = None,
        timeout: float = STARTED,
        parameters: pika.ConnectionParameters | None = None,
    ) -> list[Program]:
        """Start any program n times: a file (a ``.py`` one with this Python), or a list as in ``["node", "w.js"]``.

        It finds the broker's address in its environment: AMQP_URL, or AMQP_HOST and AMQP_PORT (also as RABBITMQ_…,
        CLOUDAMQP_URL and CELERY_BROKER_URL). One that has ``localhost:5672`` written into it reaches the lab's
        broker only if that is there; ``lab`` says where it is. ``parameters`` lead it elsewhere than to the tap
        that was opened last, or else the broker.
        With ``consumers``, the name of a queue, it returns when the broker shows n more consumers on that, and the
        broker's figures for them are taken; otherwise after a second. They end with the experiment, like ``processes``.
        UsageError for a command that is not there; WaitTimeoutError after ``timeout`` seconds; ProgramError
        if one ends before there are consumers, or at once with another exit status than 0; none is left then.
        """
        self.check()
        started = self._experiment.programs.start(
            command,
            n,
            arguments=arguments,
            names=names,
            taken=self._names(),
            consumers=consumers,
            timeout=timeout,
            parameters=parameters or self._way,
        )
        if consumers is not None:
            self._experiment.use(consumers)
            self._experiment.sample()
            self._experiment.sample_on()
        return started

    @property
    def _way(self) -> pika.ConnectionParameters | None:
        """By way of which tap programs connect; None: of none."""
        return self.taps[-1].parameters if self.taps else None

    def _names(self) -> set[str]:
        """The workers' names, by which the broker's figures know them: a program cannot have the same."""
        return {worker.name for worker in self.active}

    @property
    def programs(self) -> dict[str, Program]:
        """The processes and programs of the present experiment by name, the dead ones too."""
        return self._experiment.programs.by_name

    def publish(
        self,
        queue: str,
        workload: Iterable[Task],
        *,
        wait: bool = True,
        timeout: float = 60,
        **settings: Any,
    ) -> Producer:
        """Publish the workload to the queue; returns when all of it is published, or at once with ``wait=False``.

        ``settings`` are those of ``Producer``. WaitTimeoutError after ``timeout`` seconds.
        """
        queue_name(queue)
        checks.seconds("timeout", timeout)
        self.check()
        self._experiment.use(queue)
        number = len(self._experiment.producers) + 1
        name = "producer" if number == 1 else f"producer-{number}"
        producer = Producer(self.parameters(name), queue, workload, ledger=self.ledger, name=name, **settings)
        self._experiment.producers.append(producer)
        producer.start()
        if wait:
            with self._ended_if_interrupted():
                producer.wait(timeout)
                self.check()
        return producer

    def tap(self, *, port: int = 0, at_once: int | None = None) -> BenchTap:
        """An address for any AMQP 0-9-1 client, whose tasks are then in the ledger and on the charts.

        Use it as a context manager, ``with lab.tap() as parameters:``; these are for ``pika.BlockingConnection``, and
        ``str(parameters)`` is an address for any other program. ``port`` is where it listens (0: any that is free);
        ``at_once`` is how many tasks such a client does at a time, for who knows. Its faults strike a client by name:
        ``cut``, ``disconnect``, ``silence`` and ``release``, ``delay``, ``limit``, ``swallow_ack``.
        PortTakenError where the port is not free.
        """
        tap = BenchTap(
            self.parameters("tap"),
            self.ledger,
            port=port,
            at_once=at_once,
            dead_letters=self._dead_lettering.__contains__,
        )
        tap.over = self.taps.remove
        self.taps.append(tap)
        return tap

    def _tapped(self, tags: Iterable[str]) -> str | None:
        """The name of the client behind a tap that has these consumer tags: the broker sees only the tap."""
        return next((name for tap in self.taps if (name := tap.worker(tags))), None)

    # --- running -----------------------------------------------------------------------------

    def run(
        self,
        workload: Iterable[Task],
        queue: str,
        *,
        name: str = "",
        timeout: float = 60,
        **settings: Any,
    ) -> Run:
        """Publish the workload, wait until it is done, and return the run: ``publish`` and ``finish`` in one.

        Interrupted, it ends the experiment: the next one starts with empty queues.
        """
        with self._ended_if_interrupted():
            self.publish(queue, workload, wait=False, **settings)
            return self._finish(name, timeout)

    def compare(
        self,
        strategies: Iterable[Strategy],
        workload: Iterable[Task],
        workers: int | Sequence[float] = 2,
        **settings: Any,
    ) -> Comparison:
        """Run every strategy on the same tasks, in turn; see ``labkit.compare.compare`` for the ``settings``."""
        return compare(self, strategies, workload, workers, **settings)

    def wait(self, condition: Callable[[], object], what: str, timeout: float = 30) -> None:
        """Wait until the condition holds; WaitTimeoutError with ``what`` was waited for after ``timeout`` seconds."""
        checks.function("The condition", condition)
        self.wait_until(condition, what, timeout, self._experiment.state)

    def finish(self, *, name: str = "", timeout: float = 60) -> Run:
        """Wait until nothing more can happen to any task, stop the workers, and return the run.

        That is when every task is done, or when the workers that are left have nothing to do. The broker's
        figures are taken before the workers leave. A task that neither the broker nor a worker has is lost, or was
        handed over to clients that nobody watched, or done there; ``labkit.lab.elsewhere`` has the rule.
        WaitTimeoutError after ``timeout`` seconds; the workers then go on. Interrupted, it ends the experiment.
        """
        with self._ended_if_interrupted():
            return self._finish(name, timeout)

    def _finish(self, name: str, timeout: float) -> Run:
        checks.seconds("timeout", timeout)
        experiment = self._experiment
        experiment.wait_until_settled(timeout, name or "tasks")
        run = Run(name or self.lesson, self.ledger, Loads(), self._about())
        if experiment.sampler is not None:
            run.loads = experiment.sampler.final()
            self.check()
        self._stop()
        experiment.account_for_missing()
        self._renew()
        return run

    def _about(self) -> dict[str, Any]:
        return {
            "lesson": self.lesson,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "broker": self.broker.kind,
            "rabbitmq": self._overview.rabbitmq_version,
            "erlang": self._overview.erlang_version,
            "seconds_per_dot": self.seconds_per_dot,
            "queues": [queue.removeprefix(self._prefix) for queue in self._experiment.queues],
            "workers": [
                {"name": one.name, "ack": one.ack, "prefetch": one.prefetch, "speed": one.speed}
                for one in self.active
            ],
        }

    # --- the broker's life -------------------------------------------------------------------

    def restart_broker(self, timeout: float | None = None) -> float:
        """Restart the broker gracefully and return the seconds it was away.

        A remote broker is somebody else's to restart: this waits for them. ``timeout`` is in seconds (default:
        90, and 600 for somebody else); WaitTimeoutError or BrokerStartError then.
        """
        return self._down_and_up(self.broker.restart, timeout, "restart it now")

    def kill_broker(self, timeout: float | None = None) -> float:
        """End the broker with SIGKILL, start it again, and return the seconds it was away.

        For a remote broker and ``timeout`` see ``restart_broker``.
        """

        def kill_and_start(*, timeout: float, say: Callable[[str], object]) -> None:
            self.broker.kill(say=say)
            self.broker.start(timeout=timeout, say=say)

        return self._down_and_up(kill_and_start, timeout, "kill it now (SIGKILL) and start it again")

    def _down_and_up(self, act: Callable[..., object], timeout: float | None, what: str) -> float:
        if timeout is not None:
            checks.seconds("timeout", timeout)
        outage = Outage(self.parameters(f"lab {self.lesson} watch"), self.ledger)
        outage.start()
        try:
            if self.broker.can_restart:
                act(timeout=timeout or brokers.START_TIMEOUT, say=self._say)
            else:
                self._say(f"This broker is somebody else's: ask whoever runs it to {what}. Waiting …")
                self.broker.wait_for_restart(timeout or PATIENCE)
        finally:
            outage.stop()
        return outage.away

    # --- clearing away -----------------------------------------------------------------------

    def cancel(self) -> None:
        """End what another thread does with this bench: it gets CancelledError, now or with its next step.

        The thread that gets it closes the bench; this one may go on at once.
        """
        self._cancelled.set()
        self._experiment.cancel()

    def close(self) -> None:
        """Stop every worker and producer and delete the queues of this lesson. Harmless when repeated."""
        if _open.get(self.lesson) is self:
            del _open[self.lesson]
        for tap in list(self.taps):
            tap.close()
        self.begin()
        self._cancelled.clear()
        with contextlib.suppress(BrokerError):
            while self._declared:
                self.delete(self._declared.pop())
        self.management.close()

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"Lesson {self.lesson} on RabbitMQ {self._overview.rabbitmq_version} at {self.broker.address()}"
            f" ({self.broker.kind}); management page {self.broker.management_url}"
        )


@atexit.register
def _close_all() -> None:
    for lab in list(_open.values()):
        with contextlib.suppress(Exception):
            lab.close()
