"""Exercises of lesson 12: throughput."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import pika

from labkit import brokers
from labkit.exercises.exercise import Exercise, NotAttempted, Wrong, attempt, own_queue

RECEIVE_TIMEOUT = 10.0  # seconds that messages may take to arrive; they take some milliseconds

# ---------------------------------------------------------------- on_message

_MESSAGES, _BATCH = 30, 10
_END = b"the end"


def _check_on_message(on_message: Callable) -> str:
    connection = brokers.connect(brokers.find().parameters("exercise on_message"))
    acks: list[tuple] = []
    received, back, ended = [], [], []
    try:
        channel = connection.channel()
        queue = own_queue(channel)
        for number in range(_MESSAGES):
            channel.basic_publish("", queue, f"task {number}".encode())
        really = channel.basic_ack

        def ack(delivery_tag: int = 0, multiple: bool = False) -> None:
            acks.append((delivery_tag, multiple))
            really(delivery_tag, multiple)

        channel.basic_ack = ack  # type: ignore[method-assign]

        def deliver(channel, method, properties, body) -> None:
            if body == _END:
                ended.append(body)
            elif method.redelivered:
                back.append(body)
            else:
                received.append(body)
                attempt(on_message, channel, method, properties, body)

        def wait_for(messages: list, count: int) -> None:
            deadline = time.monotonic() + RECEIVE_TIMEOUT
            while len(messages) < count and channel.is_open:
                if time.monotonic() > deadline:
                    said = f"{len(received)} of {_MESSAGES} messages came, and then nothing for"
                    raise Wrong(f"{said} {RECEIVE_TIMEOUT:g} s. Did your function end the subscription?")
                connection.process_data_events(0.05)

        channel.basic_consume(queue, deliver)
        wait_for(received, _MESSAGES)
        # What is not acknowledged goes back to its place in the queue: it comes again before the last message.
        # (A count after channel.close() may be too early: pika cancels first, and the broker then does not wait.)
        channel.basic_recover(requeue=True)
        channel.basic_publish("", queue, _END)
        wait_for(ended, 1)
    except pika.exceptions.AMQPError as error:
        raise Wrong(f"The broker did not like it: {error}.") from error
    finally:
        with suppress(pika.exceptions.AMQPError):
            connection.close()
    said = f"{len(acks)} acknowledgements for {_MESSAGES} messages, and {len(back)} messages came back."
    if not acks:
        raise Wrong(f"{said} Nothing was acknowledged with channel.basic_ack.")
    if back:
        raise Wrong(f"{said} One acknowledgement has to speak for all ten. Which argument says so?")
    if len(acks) > _MESSAGES // _BATCH:
        raise Wrong(f"{said} That is more than one for every ten. When is it due?")
    return f"{said} Delivery tags count up from 1 on each channel, so every tenth one is due."


on_message = Exercise(
    "One acknowledgement for ten",
    _check_on_message,
    hints=[
        "method.delivery_tag is 1 for the first delivery on a channel, 2 for the second, and so on.",
        "Do nothing unless the delivery tag can be divided by 10; then acknowledge all up to it.",
        "channel.basic_ack(method.delivery_tag, multiple=True) acknowledges this delivery and all before it.",
    ],
    solution="""def on_message(channel, method, properties, body):
    if method.delivery_tag % 10 == 0:
        channel.basic_ack(method.delivery_tag, multiple=True)""",
    why="The price: after a crash up to ten finished tasks are done again. The prefetch must be at least 10, or the "
    "worker waits for ever for the tenth.",
)

# ---------------------------------------------------------------- round_trip

_TRAVEL, _WORK = 2.0, 0.5  # milliseconds
_WANTED = 1600  # a second
_RATE = round(1000 / (_TRAVEL + _WORK))
_PREFETCH = 4  # 4 in 2.5 ms are 1600 a second


def _check_round_trip(answer: object) -> str:
    if not isinstance(answer, Mapping) or set(answer) != {"with_1", "prefetch"}:
        raise Wrong('Two numbers are wanted: {"with_1": …, "prefetch": …}.')
    for name, value in answer.items():
        if value is None or value is ...:
            raise NotAttempted
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise Wrong(f"{name} should be a number; this is {value!r}.")
    if answer["with_1"] == 1000 / _TRAVEL:
        raise Wrong("with_1: and when is the work done? The worker begins when the message is there.")
    if answer["with_1"] == 1000 / _WORK:
        raise Wrong("with_1: that is a worker that never waits. With prefetch 1 it waits for every message.")
    if abs(answer["with_1"] - _RATE) > 1:
        raise Wrong("with_1: how long is it from one message to the next? How many of these make a second?")
    if answer["prefetch"] < _PREFETCH:
        raise Wrong(f"prefetch: that would be at most {answer['prefetch'] * _RATE:.0f} a second.")
    if answer["prefetch"] > _PREFETCH:
        raise Wrong("prefetch: enough it is, but a smaller one is enough too.")
    return (
        f"{_RATE} a second with 1; with {_PREFETCH} at hand, {_PREFETCH} in every 2.5 ms: {_WANTED} a second."
    )


round_trip = Exercise(
    "How many at hand",
    _check_round_trip,
    hints=[
        "With prefetch 1 each message costs a whole round: its way (2 ms, the acknowledgement there and the message "
        "back), then the work (0.5 ms).",
        "1000 ms divided by 2.5 ms. With prefetch p, p messages are done in each such round.",
        "with_1 is 400. How many times 400 is 1600?",
    ],
    solution='round_trip = {"with_1": 400, "prefetch": 4}',
    why="From prefetch 5 on the worker never waits, and does 2000 a second: more at hand brings nothing.",
)

# ---------------------------------------------------------------- settings

_RIGHT = {"clicks": "a", "orders": "b", "films": "c"}
_WHY = {
    ("clicks", "b"): "clicks: safe, but some may be lost, and this costs you most of the throughput.",
    ("clicks", "c"): "clicks: this is the slowest of all for tiny messages.",
    ("orders", "a"): "orders: the first crash of a worker, or of the broker, loses some.",
    ("orders", "c"): "orders: safe, but tiny tasks wait for the wire with prefetch 1.",
    ("films", "a"): "films: a worker that crashes takes all that it was sent along.",
    ("films", "b"): "films: one worker may sit on a hundred of them while the others have nothing to do.",
}


def _check_settings(answer: object) -> str:
    if not isinstance(answer, Mapping) or set(answer) != set(_RIGHT):
        raise Wrong('Three letters are wanted: {"clicks": …, "orders": …, "films": …}.')
    if any(value is None or value is ... for value in answer.values()):
        raise NotAttempted
    for name, right in _RIGHT.items():
        letter = str(answer[name]).strip().lower()
        if letter not in "abc" or len(letter) != 1:
            raise Wrong(f"{name}: one of the letters a, b and c, not {answer[name]!r}.")
        if letter != right:
            raise Wrong(_WHY[name, letter])
    return "First what may be lost, then how long a task takes; only then the throughput."


settings = Exercise(
    "Settings for three programs",
    _check_settings,
    hints=[
        "Ask first: may anything be lost? Only one of the three says yes.",
        "Of the two others: which has tasks so long that nobody should hold more than one?",
        "clicks may lose: a. Long and uneven, as in lesson 05: c.",
    ],
    solution='settings = {"clicks": "a", "orders": "b", "films": "c"}',
    why="The quickest settings are those that promise nothing.",
)
