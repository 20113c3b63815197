"""Other Python clients of RabbitMQ on the same work, where they are installed: tests/requirements.txt.

Every client, the lab's worker among them, drains a queue with one consumer in a process of its own, and
acknowledges every message. A client that has messages of its own form (dramatiq, celery) publishes them itself.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import pika

from labkit.bench import bare
from labkit.bench.rounds import Ratio, Took, alternate
from labkit.bench.throughput import fresh_name, queue_on
from labkit.brokers import Broker, connect
from labkit.errors import LabError
from labkit.tasks import Task, equal

SIZE = 64  # bytes of a message
LIMIT = 60  # seconds for one run
CLIENTS = ("pika", "kombu", "amqpstorm", "aio-pika", "dramatiq", "celery")
OWN_MESSAGES = ("dramatiq", "celery")
CREATED = ("", ".DQ", ".XQ")  # what dramatiq makes of a queue's name


class Counter:
    """Counts what is done; the time goes from the first to the last."""

    def __init__(self, count: int) -> None:
        self._left, self._began, self.seconds = count, 0.0, 0.0
        self.over = threading.Event()

    def one(self) -> bool:
        """One more is done; whether it was the last."""
        if not self._began:
            self._began = time.perf_counter()
        self._left -= 1
        if not self._left:
            self.seconds = time.perf_counter() - self._began
            self.over.set()
        return self._left <= 0


@dataclass(frozen=True)
class Job:
    """What a client is to do."""

    client: str
    url: str
    queue: str
    prefetch: int
    count: int


def labkit(job: Job, counter: Counter) -> None:
    from labkit.clients.worker import Worker
    from labkit.ledger import Kind, Ledger

    ledger, parameters = Ledger(), pika.URLParameters(job.url)
    worker = Worker(parameters, job.queue, name="labkit", ledger=ledger, prefetch=job.prefetch)
    worker.start()
    deadline = time.monotonic() + LIMIT
    while len(ledger) < 1 + 4 * job.count and time.monotonic() < deadline:
        time.sleep(0.002)
    assert ledger.counts().done == job.count
    times = [event.time for event in ledger.events({Kind.ACKNOWLEDGED})]
    counter.seconds = times[-1] - times[0]
    worker.stop()


def pika_(job: Job, counter: Counter) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(job.url))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=job.prefetch)

    def on_message(channel, method, properties, body) -> None:
        channel.basic_ack(method.delivery_tag)
        if counter.one():
            channel.stop_consuming()

    channel.basic_consume(job.queue, on_message)
    channel.start_consuming()
    connection.close()


def kombu(job: Job, counter: Counter) -> None:
    from kombu import Connection, Consumer, Queue

    def on_message(message) -> None:
        message.ack()
        counter.one()

    with Connection(job.url) as connection, connection.channel() as channel:
        channel.basic_qos(0, job.prefetch, False)
        queue = Queue(job.queue, channel=channel, no_declare=True)
        with Consumer(channel, [queue], on_message=on_message, accept=None):
            while not counter.over.is_set():
                connection.drain_events(timeout=LIMIT)


def amqpstorm(job: Job, counter: Counter) -> None:
    from amqpstorm import UriConnection

    def on_message(message) -> None:
        message.ack()
        if counter.one():
            message.channel.stop_consuming()

    with UriConnection(job.url) as connection, connection.channel() as channel:
        channel.basic.qos(job.prefetch)
        channel.basic.consume(on_message, job.queue)
        channel.start_consuming()


def aio_pika(job: Job, counter: Counter) -> None:
    import asyncio

    import aio_pika as client

    async def main() -> None:
        over = asyncio.Event()

        async def on_message(message) -> None:
            await message.ack()
            if counter.one():
                over.set()

        async with await client.connect(job.url) as connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=job.prefetch)
            queue = await channel.get_queue(job.queue)
            await queue.consume(on_message)
            await asyncio.wait_for(over.wait(), LIMIT)

    asyncio.run(main())


def dramatiq(job: Job, counter: Counter) -> None:
    os.environ["dramatiq_queue_prefetch"] = str(job.prefetch)  # noqa: SIM112 (its own name)
    import dramatiq as client
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

    broker = RabbitmqBroker(url=job.url, middleware=[])
    client.set_broker(broker)

    @client.actor(queue_name=job.queue)
    def work(text) -> None:
        counter.one()

    for _ in range(job.count):
        work.send("x" * SIZE)
    worker = client.Worker(broker, worker_threads=1)
    worker.start()
    counter.over.wait(LIMIT)
    broker.join(job.queue, timeout=LIMIT * 1000)
    worker.stop()
    broker.close()


def celery(job: Job, counter: Counter) -> None:
    from celery import Celery

    app = Celery("bench", broker=job.url)
    app.conf.update(
        task_default_queue=job.queue,
        task_ignore_result=True,
        task_acks_late=True,
        worker_prefetch_multiplier=job.prefetch,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
    )

    @app.task(name="work")
    def work(text) -> None:
        counter.one()

    for _ in range(job.count):
        work.delay("x" * SIZE)
    worker = app.Worker(
        pool="solo", concurrency=1, loglevel="CRITICAL", quiet=True,
        without_gossip=True, without_mingle=True, without_heartbeat=True,
    )  # fmt: skip
    # It ends only when a next message comes, and there is none: it goes with this process.
    threading.Thread(target=worker.start, daemon=True).start()
    counter.over.wait(LIMIT)


RUN: dict[str, Callable[[Job, Counter], None]] = {
    "labkit": labkit,
    "pika": pika_,
    "kombu": kombu,
    "amqpstorm": amqpstorm,
    "aio-pika": aio_pika,
    "dramatiq": dramatiq,
    "celery": celery,
}


def installed() -> dict[str, str | None]:
    """The version of each client, None where it is not installed."""
    return {name: _version(name) for name in CLIENTS}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def compare(
    broker: Broker,
    *,
    rounds: int,
    count: int = 1500,
    prefetches: tuple[int, ...] = (1, 100),
    names: tuple[str, ...] = CLIENTS,
    say: Callable[[str], object] = lambda _: None,
) -> tuple[list[Ratio], list[str]]:
    """The lab's worker against each client that is installed; above 1 the lab is ahead.

    Returns the ratios, and what the clients said that could not be measured.
    """
    found, failed = [], []
    have = installed()
    for prefetch in prefetches:
        for name in names:
            if have[name] is None:
                continue
            # amqpstorm polls for what comes in: with prefetch 1 it does a hundred a second.
            few = count // 10 if (name, prefetch) == ("amqpstorm", 1) else count
            job = Job(name, broker.amqp_url, "", prefetch, few)
            try:
                ratio = alternate(
                    f"{name}, prefetch {prefetch}",
                    partial(one, broker, replace(job, client="labkit")),
                    partial(one, broker, job),
                    rounds=rounds,
                    goal=0.95 if name == "pika" else 1.0,
                    other=f"{name} {have[name]}",
                )
            except LabError as error:
                failed.append(error.what)
                continue
            found.append(ratio)
            say(f"{ratio.name}: {ratio.ratio:.2f}")
    return found, failed


def one(broker: Broker, job: Job) -> Took:
    """Run one client once, in a process of its own."""
    if job.client in OWN_MESSAGES:
        job = replace(job, queue=fresh_name())
        try:
            return _child(job)
        finally:
            with connect(broker.parameters("bench")) as connection:
                for suffix in CREATED:
                    connection.channel().queue_delete(job.queue + suffix)
    with queue_on(broker) as (_, queue):
        bare.publish(broker.parameters("bench"), queue, _messages(job.count), persistent=True)
        return _child(replace(job, queue=queue))


def _messages(count: int) -> list[Task]:
    return [replace(task, body=b"x" * SIZE) for task in equal(count, 0)]


def _child(job: Job) -> Took:
    # The address has a password in it: it goes in by the standard input, where nobody else can see it.
    try:
        child = subprocess.run(
            [sys.executable, "-m", __name__],
            input=json.dumps(vars(job)),
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(
            f"{job.client} did not do its {job.count} messages in {LIMIT} s.", do="Leave it out."
        ) from error
    try:
        answer = json.loads(child.stdout.splitlines()[-1])
    except (IndexError, ValueError) as error:
        last = (child.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise LabError(
            f"{job.client} did not do its {job.count} messages: {last}",
            do="Install the versions of tests/requirements.txt, or leave it out.",
        ) from error
    return Took(job.count - 1, answer["seconds"], answer["cpu"])


def main() -> None:
    """One client's run: its job is read as JSON, and what it took is printed as JSON."""
    job = Job(**json.loads(sys.stdin.read()))
    counter = Counter(job.count)
    cpu = time.process_time()
    RUN[job.client](job, counter)
    print(json.dumps({"seconds": counter.seconds, "cpu": time.process_time() - cpu}), flush=True)
    os._exit(0)  # without waiting for threads that a client leaves behind


if __name__ == "__main__":
    main()
