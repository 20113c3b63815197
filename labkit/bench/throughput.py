"""Workers with the full ledger against a bare pika loop; the producer against bare ``basic_publish``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import pika
from pika.adapters.blocking_connection import BlockingChannel

from labkit.bench import bare
from labkit.bench.rounds import Ratio, Took, alternate, clock
from labkit.bench.source import Source
from labkit.brokers import Broker, connect
from labkit.clients.producer import Producer
from labkit.clients.worker import Worker
from labkit.errors import WaitTimeoutError
from labkit.lab import leftovers
from labkit.ledger import Ledger
from labkit.tasks import Task, equal

GOAL = 0.95  # of bare ``basic_publish``
OF_EVENTS = 0.9  # of what pika's event-driven connection does with no lab around it
WINDOW, OF_ONE_BY_ONE = 100, 4.0  # messages on their way to a confirm; so many times as fast as with one
LOOK = 0.002  # seconds between looks whether all is done
RUN_LIMIT = 120.0  # seconds for one run
SLOWEST = 0.001  # seconds a message that a long run may take
WORKERS = (1, 2, 4, 16)
MODES: tuple[
    tuple[str, str, int | None, float], ...
] = (  # name, ack, prefetch, the goal against the bare loop
    ("prefetch 1", "manual", 1, 1.0),
    ("prefetch 10", "manual", 10, 1.2),
    ("prefetch 100", "manual", 100, 1.2),
    ("automatic", "automatic", None, 1.0),
)
BARE, EVENTS = "bare pika loop", "bare pika events"


def fresh_name() -> str:
    """A queue's name that nobody has; should this process be killed, the next lab clears the queue away."""
    return f"lab.bench.{leftovers.owner()}.{uuid4().hex[:8]}"


@contextmanager
def queue_on(broker: Broker) -> Iterator[tuple[BlockingChannel, str]]:
    """A fresh durable classic queue and a channel, both gone afterwards."""
    connection = connect(broker.parameters("bench", heartbeat=600))  # nobody answers heartbeats during a run
    channel, name = connection.channel(), fresh_name()
    channel.queue_declare(name, durable=True, arguments={"x-queue-type": "classic"})
    try:
        yield channel, name
    finally:
        # The channel may have been a transaction's; another one deletes at once.
        connection.channel().queue_delete(name)
        connection.close()


def wait_until(condition: Callable[[], bool], what: str, timeout: float = RUN_LIMIT) -> None:
    """Wait for the condition, looking often; WaitTimeoutError after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise WaitTimeoutError(f"Waited {timeout:g} s for this: {what}.", do="Is the broker overloaded?")
        time.sleep(LOOK)


class Ours:
    """The lab's workers with the full ledger."""

    def __init__(self, broker: Broker, queue: str, workers: int, ack: str, prefetch: int | None) -> None:
        self._ledger = Ledger()
        names = [f"bench-{number}" for number in range(1, workers + 1)]
        self._workers = [
            Worker(broker.parameters(n), queue, name=n, ledger=self._ledger, ack=ack, prefetch=prefetch)
            for n in names
        ]
        self._events = 3 if ack == "automatic" else 4  # delivered, started, finished, acknowledged

    def start(self) -> None:
        _start(self._workers)

    def finish(self, tasks: Sequence[Task], count: int) -> None:
        """Wait until so many tasks are done; what the ledger makes of it is part of what it costs."""
        wanted = len(self._workers) + count * self._events
        wait_until(
            lambda: len(self._ledger) >= wanted,
            "the lab's workers to do all tasks",
            RUN_LIMIT + count * SLOWEST,
        )
        counts = self._ledger.counts()
        if counts.done != count:
            raise WaitTimeoutError(
                f"{counts.done} of {count} tasks were done.", do="Run the benchmark again."
            )

    def stop(self) -> None:
        _stop(self._workers)


class Bare:
    """The same number of threads with a bare pika loop each."""

    loop: type[bare.Loop] = bare.Loop

    def __init__(self, broker: Broker, queue: str, workers: int, ack: str, prefetch: int | None) -> None:
        self._loops = [
            self.loop(broker.parameters(f"bare-{number}"), queue, ack=ack, prefetch=prefetch)
            for number in range(workers)
        ]

    def start(self) -> None:
        _start(self._loops)

    def finish(self, tasks: Sequence[Task], count: int) -> None:
        limit = RUN_LIMIT + count * SLOWEST
        wait_until(
            lambda: sum(loop.done for loop in self._loops) >= count, "the bare loops to do all tasks", limit
        )

    def stop(self) -> None:
        _stop(self._loops)


class Events(Bare):
    """The same number of threads with a bare event-driven connection each."""

    loop = bare.Events


def _start(threads: Sequence[Worker | bare.Loop]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        if not thread.subscribed.wait(30):
            raise WaitTimeoutError(f"{thread.name} has not subscribed within 30 s.", do="Is the broker up?")


def _stop(threads: Sequence[Worker | bare.Loop]) -> None:
    for thread in threads:
        thread.stop(None)
    for thread in threads:
        thread.join(10)


def drained(broker: Broker, kind: type, count: int, **settings: object) -> Took:
    """Everything is there at once, and the workers too: they begin at the same moment.

    The tasks are published in a transaction. Its commit shows them to the queue all at once.
    """
    with queue_on(broker) as (channel, queue):
        tasks = equal(count, 0)
        channel.tx_select()
        for task in tasks:
            properties = pika.BasicProperties(
                message_id=task.id, content_type=task.content_type, delivery_mode=1
            )
            channel.basic_publish("", queue, task.body, properties)
        side = kind(broker, queue, **settings)
        side.start()
        try:
            with clock(count) as took:
                channel.tx_commit()
                side.finish(tasks, count)
        finally:
            side.stop()
    return took


def steady(broker: Broker, kind: type, count: int, source: Source, **settings: object) -> Took:
    """Another process publishes, as fast as it can, while the workers work."""
    with queue_on(broker) as (_, queue):
        side = kind(broker, queue, **settings)
        side.start()
        try:
            with clock(count) as took:
                source.publish(queue, count)
                side.finish((), count)
            source.wait()
        finally:
            side.stop()
    return took


def workers(
    broker: Broker,
    *,
    rounds: int,
    scale: float = 1.0,
    counts: Sequence[int] = WORKERS,
    modes: Sequence[tuple[str, str, int | None, float]] = MODES,
    manners: Sequence[str] = ("drained", "steady"),
    say: Callable[[str], object] = lambda _: None,
) -> list[Ratio]:
    """Ratios for every number of workers, mode and manner; ``scale`` is for shorter or longer runs."""
    source = Source(broker.amqp_url)
    found = []
    try:
        for manner in manners:
            for number in counts:
                for name, ack, prefetch, goal in modes:
                    count = int(scale * (1500 if prefetch == 1 else 4000 if prefetch else 12000))
                    settings: dict[str, Any] = {"workers": number, "ack": ack, "prefetch": prefetch}

                    def once(kind: type, manner=manner, count=count, settings=settings) -> Took:
                        if manner == "drained":
                            return drained(broker, kind, count, **settings)
                        return steady(broker, kind, count, source, **settings)

                    others = [(Bare, BARE, goal)]
                    if manner == "drained":
                        others.append((Events, EVENTS, OF_EVENTS))
                    for kind, other, least in others:
                        ratio = alternate(
                            f"{manner}, {number} worker{'s'[: number > 1]}, {name}, {other}",
                            partial(once, Ours),
                            partial(once, kind),
                            rounds=rounds,
                            goal=least,
                            other=other,
                        )
                        found.append(ratio)
                        say(f"{ratio.name}: {ratio.ratio:.2f}")
    finally:
        source.close()
    return found


def producers(
    broker: Broker, *, rounds: int, scale: float = 1.0, say: Callable[[str], object] = lambda _: None
) -> list[Ratio]:
    """The producer with the full ledger against bare ``basic_publish``."""
    found = []
    for confirms in (False, True):
        for persistent in (False, True):
            count = int(scale * (1500 if confirms else 6000))
            settings = {"confirms": confirms, "persistent": persistent}
            ratio = alternate(
                f"{'with' if confirms else 'without'} confirms, {'persistent' if persistent else 'transient'}",
                partial(_produce, broker, count, **settings),
                partial(_publish, broker, count, **settings),
                rounds=rounds,
                goal=GOAL,
                other="bare basic_publish",
            )
            found.append(ratio)
            say(f"{ratio.name}: {ratio.ratio:.2f}")
    count = int(scale * 3000)
    ratio = alternate(
        f"a window of {WINDOW} against one by one, persistent",
        lambda: _produce(broker, count, confirms=WINDOW, persistent=True),
        lambda: _produce(broker, count, confirms=True, persistent=True),
        rounds=rounds,
        goal=OF_ONE_BY_ONE,
        other="one by one",
    )
    found.append(ratio)
    say(f"{ratio.name}: {ratio.ratio:.2f}")
    return found


def _produce(broker: Broker, count: int, **settings: Any) -> Took:
    with queue_on(broker) as (_, queue):
        tasks, ledger = equal(count, 0), Ledger()
        producer = Producer(broker.parameters("bench"), queue, tasks, ledger=ledger, **settings)
        with clock(count) as took:
            producer.start()
            producer.join(RUN_LIMIT)
            ledger.counts()
        producer.wait(1)
    return took


def _publish(broker: Broker, count: int, **settings: bool) -> Took:
    with queue_on(broker) as (_, queue):
        tasks = equal(count, 0)
        thread = threading.Thread(
            target=bare.publish, args=(broker.parameters("bare"), queue, tasks), kwargs=settings
        )
        with clock(count) as took:
            thread.start()
            thread.join(RUN_LIMIT)
    return took
