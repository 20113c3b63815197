"""What a tap costs: a bare pika loop directly, by way of a relay that looks at nothing, and by way of a tap.

Each stands in a process of its own, and there are two of each kind: two of a kind should agree, and what they do not
is what this machine cannot tell. All of them take their turns in an order that is shuffled for each round.
"""

from __future__ import annotations

import contextlib
import copy
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from statistics import median
from typing import Any

import pika
import psutil

from labkit.bench import bare
from labkit.bench.rounds import Figure, Ratio, Took
from labkit.bench.throughput import queue_on, wait_until
from labkit.brokers import Broker
from labkit.errors import BrokerDownError
from labkit.ledger import Ledger
from labkit.tap import Relay, Tap
from labkit.tasks import equal

Say = Callable[[str], object]
SIZE = 64  # bytes of a message
OF_DIRECT, OF_RELAY = 0.75, 0.9  # of the rate
DECODING = 25.0  # microseconds of processor time a message
LATENCY = 0.2  # milliseconds
KINDS = ("direct", "relay", "relay again", "tap", "tap again")
COUNTS = {1: 600, 100: 4000}  # messages a round, by prefetch count
TRIPS = 400  # round trips for the latency
CONNECTIONS = 10_000
GROWN = 8.0  # megabytes that a process may grow by without a leak: the allocator's
SEED = 11


class Standing:
    """A relay or a tap in a process of its own, to the broker of ``parameters``."""

    def __init__(self, kind: str, broker: Broker) -> None:
        # The address has a password in it: it goes in by the standard input, where nobody else can see it.
        self._child = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._say(json.dumps({"kind": kind, "url": broker.amqp_url}))
        self._direct = broker.parameters("bench", heartbeat=600)
        self.port: int = self._hear()["port"]

    @property
    def parameters(self) -> pika.ConnectionParameters:
        """By way of it."""
        found = copy.copy(self._direct)
        found.host, found.port, found.ssl_options = "127.0.0.1", self.port, None
        return found

    def state(self) -> dict[str, float]:
        """Its processor time in seconds, its memory in megabytes, its threads, files, connections."""
        self._say("state")
        return self._hear()

    def _say(self, line: str) -> None:
        assert self._child.stdin
        self._child.stdin.write(f"{line}\n")
        self._child.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._child.stdout
        line = self._child.stdout.readline()
        if not line:
            raise BrokerDownError("The process with the tap has ended.", do="What did it print?")
        return json.loads(line)

    def __enter__(self) -> Standing:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.communicate()  # its input ends, and so does it


def tap(
    broker: Broker,
    *,
    rounds: int,
    scale: float = 1.0,
    connections: int = CONNECTIONS,
    say: Say = lambda _: None,
) -> list[Ratio | Figure]:
    """Rates, processor time, latency, and whether connections that come and go leave something behind."""
    found: list[Ratio | Figure] = []
    with contextlib.ExitStack() as stack:
        standing = {kind: stack.enter_context(Standing(kind.split()[0], broker)) for kind in KINDS[1:]}
        for prefetch, count in COUNTS.items():
            each = _rounds(broker, standing, prefetch, max(50, int(count * scale)), max(rounds, 1))
            compared, decoding = _compared(each, prefetch)
            found += [*compared, decoding]
            say(f"{compared[0].name}: {compared[0].ratio:.2f}")
        found += _latency(broker, standing, max(50, int(TRIPS * scale)))
        found += _comings_and_goings(standing["tap"], connections)
    return found


def _rounds(
    broker: Broker, standing: dict[str, Standing], prefetch: int, count: int, rounds: int
) -> dict[str, list[Took]]:
    each: dict[str, list[Took]] = {kind: [] for kind in KINDS}
    order = Random(SEED + prefetch)
    for _ in range(rounds):
        for kind in order.sample(KINDS, len(KINDS)):
            each[kind].append(_drain(broker, standing.get(kind), prefetch, count))
    return each


def _drain(broker: Broker, way: Standing | None, prefetch: int, count: int) -> Took:
    """One consumer empties a queue; ``cpu`` is what stands between it and the broker took."""
    parameters = way.parameters if way else broker.parameters("bench", heartbeat=600)
    with queue_on(broker) as (_, queue):
        messages = [replace(task, body=b"x" * SIZE) for task in equal(count, 0)]
        bare.publish(broker.parameters("bench"), queue, messages)
        before = way.state()["cpu"] if way else 0.0
        loop, began = bare.Loop(parameters, queue, ack="manual", prefetch=prefetch), time.perf_counter()
        loop.start()
        wait_until(lambda: loop.done >= count, "all messages to be done")
        seconds = time.perf_counter() - began
        loop.stop()
        return Took(count, seconds, way.state()["cpu"] - before if way else 0.0)


def _compared(each: dict[str, list[Took]], prefetch: int) -> tuple[list[Ratio], Figure]:
    pairs = [
        ("tap", "direct", OF_DIRECT),
        ("tap", "relay", OF_RELAY),
        ("relay", "direct", 0.0),
        ("tap again", "tap", 0.0),  # the controls: how far apart two of a kind are
        ("relay again", "relay", 0.0),
    ]
    decoding = [tap.cpu - relay.cpu for tap, relay in zip(each["tap"], each["relay"], strict=True)]
    again = [tap.cpu - relay.cpu for tap, relay in zip(each["tap again"], each["relay again"], strict=True)]
    count = each["tap"][0].count
    figure = Figure(
        f"decoding and recording, prefetch {prefetch}",
        median(decoding + again) / count * 1e6,
        "µs of processor time a message",
        DECODING,
    )
    return [_ratio(each, one, other, prefetch, goal) for one, other, goal in pairs], figure


def _ratio(each: dict[str, list[Took]], one: str, other: str, prefetch: int, goal: float) -> Ratio:
    mine, theirs = each[one], each[other]
    ratios = [b.seconds / a.seconds for a, b in zip(mine, theirs, strict=True)]
    cpu, other_cpu = (median(took.cpu / took.count for took in kind) * 1e6 for kind in (mine, theirs))
    return Ratio(
        name=f"{one}, prefetch {prefetch}, against {other}",
        other=other,
        rate=median(took.count / took.seconds for took in mine),
        other_rate=median(took.count / took.seconds for took in theirs),
        ratio=median(ratios),
        low=min(ratios),
        high=max(ratios),
        cpu=cpu,
        other_cpu=other_cpu,
        cpu_ratio=other_cpu / cpu if cpu else 0.0,
        rounds=len(mine),
        goal=goal,
    )


def _latency(broker: Broker, standing: dict[str, Standing], trips: int) -> list[Figure]:
    """How much longer a question and its answer take, one question directly and one by way of the tap in turn."""
    with queue_on(broker) as (direct, queue), _channel(standing["tap"].parameters) as tapped:
        took: dict[Any, list[float]] = {direct: [], tapped: []}
        for number in range(trips):
            for channel in (direct, tapped) if number % 2 else (tapped, direct):
                began = time.perf_counter()
                channel.queue_declare(queue, passive=True)
                took[channel].append(time.perf_counter() - began)
    added = (median(took[tapped]) - median(took[direct])) * 1000
    return [Figure("a question and its answer take longer by", added, "ms", LATENCY)]


@contextlib.contextmanager
def _channel(parameters: pika.ConnectionParameters) -> Iterator[Any]:
    connection = pika.BlockingConnection(parameters)
    try:
        yield connection.channel()
    finally:
        connection.close()


def _comings_and_goings(standing: Standing, connections: int) -> list[Figure]:
    """Open and close connections; the first tenth of them warms up."""
    warm = connections // 10
    for number in range(connections):
        if number == warm:
            before = _settled(standing)
        pika.BlockingConnection(standing.parameters).close()
    after = _settled(standing)
    what = f"after {connections - warm:,} connections more"
    return [
        Figure(f"{what}: memory", after["memory"] - before["memory"], "MB", GROWN),
        Figure(f"{what}: threads", after["threads"] - before["threads"], "", 0),
        Figure(f"{what}: open files", after["files"] - before["files"], "", 0),
    ]


def _settled(standing: Standing) -> dict[str, float]:
    wait_until(lambda: not standing.state()["connections"], "the last connection to be gone", 10)
    return standing.state()


# --- the process of its own --------------------------------------------------------------------


def main(lines: Sequence[str] | Any = sys.stdin) -> None:
    """A relay or a tap: what it shall be is read as JSON, and for every further line its state is printed."""
    wanted = json.loads(next(iter(lines)))
    parameters: Any = pika.URLParameters(wanted["url"])
    me: Any = psutil.Process()
    with Tap(parameters, Ledger()) if wanted["kind"] == "tap" else Relay(parameters) as way:
        print(json.dumps({"port": way.port}), flush=True)
        for _ in lines:
            state = {
                "cpu": time.process_time() - time.thread_time(),  # without the thread that answers here
                "memory": me.memory_info().rss / 1e6,
                "threads": threading.active_count(),
                "files": me.num_fds() if hasattr(me, "num_fds") else me.num_handles(),
                "connections": way.ask(lambda: len(way.wires)),
            }
            print(json.dumps(state), flush=True)


if __name__ == "__main__":
    main()
