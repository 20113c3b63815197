"""Exercises of lesson 05: fair dispatch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pika

from labkit import brokers, tasks
from labkit.compare import Strategy
from labkit.exercises.exercise import Exercise, Wrong, attempt, own_queue
from labkit.lab import Lab

RECEIVE_TIMEOUT = 5.0  # seconds that messages may take to arrive; they take some milliseconds
QUIET = 0.3  # seconds without a delivery after which no more is expected

# ---------------------------------------------------------------- subscribe

_MESSAGES = 6


def _check_subscribe(subscribe: Callable) -> str:
    connection = brokers.connect(brokers.find().parameters("exercise subscribe"))
    held: list[int] = []  # by the first, which is busy with its first task all the time
    done: list[int] = []  # by the second, which is quick

    def busy(channel, method, properties, body) -> None:
        held.append(method.delivery_tag)

    def quick(channel, method, properties, body) -> None:
        done.append(method.delivery_tag)
        channel.basic_ack(method.delivery_tag)

    try:
        queue = own_queue(connection.channel())
        for number in range(1, _MESSAGES + 1):
            connection.channel().basic_publish("", queue, f"task {number}".encode())
        for callback in (busy, quick):
            channel = connection.channel()
            channel.start_consuming = _no_start_consuming  # type: ignore[method-assign]
            attempt(subscribe, channel, queue, callback)
        _receive(connection, lambda: len(held) + len(done), _MESSAGES)
    except pika.exceptions.AMQPError as error:
        raise Wrong(f"The broker did not like it: {error}.") from error
    finally:
        with suppress(pika.exceptions.AMQPError):
            connection.close()
    counts = f"The first, busy all the time, was sent {len(held)} of {_MESSAGES} tasks; the second did {len(done)}."
    if not held and not done:
        raise Wrong(f"{counts} Did anybody subscribe to the queue?")
    if len(held) == _MESSAGES:
        raise Wrong(
            f"{counts} Nothing held the broker back. Which line should, does it stand in time,"
            " and what does the broker count?"
        )
    if len(held) > 1:
        raise Wrong(f"{counts} It should not have had more than one at a time.")
    if len(done) < _MESSAGES - 1:
        raise Wrong(f"{counts} Somebody must do the others.")
    return f"{counts} Whoever is busy is passed over."


def _receive(connection, count: Callable[[], int], wanted: int) -> None:
    """Let deliveries come in until there are as many as wanted, or none for a while."""
    deadline = time.monotonic() + RECEIVE_TIMEOUT
    seen, since = count(), time.monotonic()
    while count() < wanted and time.monotonic() < deadline:
        connection.process_data_events(time_limit=0.05)
        if count() != seen:
            seen, since = count(), time.monotonic()
        elif seen and time.monotonic() - since > QUIET:
            break
    connection.process_data_events(time_limit=0.05)


def _no_start_consuming() -> None:
    raise Wrong("Leave start_consuming() out: it never returns. The check does the receiving.")


subscribe = Exercise(
    "One task at a time",
    _check_subscribe,
    hints=[
        "Two lines: one sets the limit, one subscribes. Their order matters.",
        "The broker counts deliveries that are not acknowledged: with auto_ack=True there is nothing to count.",
        "channel.basic_qos(prefetch_count=1) comes first, then channel.basic_consume(…).",
    ],
    solution="""def subscribe(channel, queue, callback):
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(queue=queue, on_message_callback=callback)""",
    why="The limit is for consumers that subscribe after it on this channel, and for manual acknowledgements.",
)

# ---------------------------------------------------------------- prefetch

# Two workers, and a broker that is 10 ms away each way. Prefetch 2 sends at most 2 tasks a worker in 20 ms
# and then some: below 200 a second. Prefetch 10 leaves one worker alone with the heavy tasks at the end:
# 1.48 times the best at least. From 4 to 8 there is room enough for a busy machine.
AWAY = 0.01  # seconds each way
TINY = 150  # tasks
TINY_SECONDS = 0.002
TINY_GOAL = 200  # tasks a second, of both workers together
LONG_DOT = 0.02  # seconds
LONG_GOAL = 4 / 3  # times the best possible
TRIES = 3


def _check_prefetch(prefetch: int) -> str:
    if not isinstance(prefetch, int) or isinstance(prefetch, bool) or not 0 <= prefetch <= 65535:
        raise Wrong(f"A prefetch is a whole number from 1 to 65535, or 0 for no limit; this is {prefetch!r}.")
    throughput, ratio = 0.0, float("inf")
    for _ in range(TRIES):  # what another program disturbs looks worse than it is, never better
        measured = _measure(prefetch)
        throughput, ratio = max(throughput, measured[0]), min(ratio, measured[1])
        fast, fair = throughput >= TINY_GOAL, ratio <= LONG_GOAL
        if fast and fair:
            break
    said = (
        f"Measured with prefetch {prefetch or 'without a limit'}: {throughput:.0f} tiny tasks a second"
        f" ({'enough' if fast else f'{TINY_GOAL} are wanted'}), and the uneven ones in {ratio:.2f} times the best"
        f" possible ({'good enough' if fair else f'{LONG_GOAL:.2f} is the limit'})."
    )
    if not fast and not fair:
        raise Wrong(f"{said} Is something else at work on this machine? Then check once more.")
    if not fast:
        raise Wrong(f"{said} The workers wait for the next task to come over the wire.")
    if not fair:
        raise Wrong(f"{said} One worker sits on tasks that the other could do.")
    return said


def _measure(prefetch: int) -> tuple[float, float]:
    """The throughput of tiny tasks, and the makespan of uneven ones as a multiple of the best possible."""
    one = Strategy(prefetch=prefetch or None, confirms=False)
    with Lab("05-exercise", progress=False, say=lambda text: None) as lab:
        settings: dict[str, Any] = {"workers": 2, "distance": AWAY, "loads": False}
        waiting = Strategy(prefetch=prefetch or None, confirms=False, publish_first=True)
        tiny = lab.compare([waiting], tasks.equal(TINY), seconds_per_dot=TINY_SECONDS, **settings)
        long = lab.compare([one], tasks.alternating(24, heavy=8), seconds_per_dot=LONG_DOT, **settings)
    return tiny[0].throughput, long[0].ratio or float("inf")


prefetch = Exercise(
    "One number for both",
    _check_prefetch,
    hints=[
        "Too small, and a worker that is done waits for its next task to travel. Too large, and one of them hoards.",
        "With prefetch 1 a worker does one tiny task in 2 + 20 ms. How many of these make 100 a second?",
        "Two workers, p tasks each in every 22 ms: 2 × p / 0.022 must be above 200. Take a little more than that.",
    ],
    solution="prefetch = 6",
    why="From about 4 to 8 will do. The rule: the tasks that a worker can do while one message travels there and"
    " back, plus one, and no more than that.",
)

# ---------------------------------------------------------------- idle

_WHERE = {
    "a": "The queue had none ready: look at what each was sent. A ready task would have gone to Cleo at once.",
    "c": "When Cleo came, most of the tasks were still to be done.",
    "d": "All twelve were done in the end; none was lost.",
}
_CURES = {
    "a": "Another worker would find the same that Cleo found: an empty queue.",
    "c": "With auto_ack=True there is no limit at all: Ada would have had all twelve, and Ben none.",
    "d": "Cleo did nothing at all. However fast that is done, it does not help.",
}


def _check_idle(idle: Mapping[str, str] | Sequence[str]) -> str:
    answers = list(idle.values()) if isinstance(idle, Mapping) else list(idle)
    if len(answers) != 3 or not all(isinstance(one, str) for one in answers):
        raise Wrong(f"Three texts are wanted: a name and two letters; this is {idle!r}.")
    who, where, cure = (one.strip().lower() for one in answers)
    if who != "cleo":
        raise Wrong(
            f"Who is idle from beginning to end? Not {answers[0]}: look for the row without a single bar."
        )
    if where in _WHERE:
        raise Wrong(_WHERE[where])
    if cure in _CURES:
        raise Wrong(_CURES[cure])
    if where != "b" or cure not in ("b", "e"):
        raise Wrong("The second and third answers are letters from the lists.")
    if cure == "b":
        return "Ada would have held one task, and the others would have waited in the queue, for anybody."
    return (
        "With all three there, round-robin deals four to each. Ada's heavy one still delays her other three."
    )


idle = Exercise(
    "Why is this worker idle?",
    _check_idle,
    hints=[
        "Count Ada's bars, then Ben's. Each could hold ten at a time, and there were twelve.",
        "A delivered task stays with its consumer, unacknowledged, until that consumer is done or gone.",
        "What would have kept Ada from having ten tasks while she did the first?",
    ],
    solution='idle = {"who": "Cleo", "where": "b", "cure": "b"}',
    why='"e" is right as well: had all three been there first, each would have been dealt four. It does not help'
    " a worker that comes later, though: for that it takes the prefetch.",
)
