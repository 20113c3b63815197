"""Exercises of lesson 01: round-robin."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import pika

from labkit import brokers
from labkit.exercises.exercise import Exercise, Wrong, attempt, own_queue

RECEIVE_TIMEOUT = 5.0  # seconds that messages may take to arrive; they take some milliseconds

# ---------------------------------------------------------------- deal

_DEALS = ((6, 2), (7, 3), (3, 3), (1, 1), (2, 4), (0, 2))  # messages, workers


def _check_deal(deal: Callable) -> str:
    for messages, workers in _DEALS:
        queue = [f"task {number}" for number in range(1, messages + 1)]
        case = f"With {messages} messages and {workers} workers,"
        hands = attempt(deal, list(queue), workers)
        if isinstance(hands, Mapping):
            hands = list(hands.values())
        if hands is None:
            raise Wrong("deal(…) returned nothing. Did you forget return, or print instead?")
        if not isinstance(hands, Sequence) or not all(isinstance(hand, list | tuple) for hand in hands):
            raise Wrong(f"{case} deal(…) should return a list of lists, one a worker; it gave {hands!r}.")
        if len(hands) != workers:
            raise Wrong(f"{case} there should be {workers} lists, one a worker; there are {len(hands)}.")
        dealt = [message for hand in hands for message in hand]
        if sorted(dealt) != sorted(queue):
            raise Wrong(f"{case} {len(dealt)} were dealt: some are missing or dealt twice.")
        for number, hand in enumerate(hands, start=1):
            if list(hand) != queue[number - 1 :: workers]:
                raise Wrong(f"{case} worker {number} got {list(hand)!r}. Deal one card at a time, in turn.")
    return "That is what the broker does, and it looked at nothing but whose turn it was."


deal = Exercise(
    "Deal like the broker",
    _check_deal,
    hints=[
        "Think of a card dealer: message 1 to worker 1, message 2 to worker 2 … and round again.",
        "message number i (counting from 0) goes to worker number i % workers.",
        "A slice with a step takes every n-th item: messages[0::3], messages[1::3], messages[2::3].",
    ],
    solution="""def deal(messages, workers):
    return [messages[worker::workers] for worker in range(workers)]""",
    why="A loop that appends message i to hand i % workers does the same. Neither asks how long tasks take.",
)

# ---------------------------------------------------------------- joined

_JOINED = (12, 12, 6)


def _check_joined(joined: Sequence[int]) -> str:
    counts = list(joined.values()) if isinstance(joined, Mapping) else list(joined)
    if len(counts) != 3 or any(not isinstance(n, int) or isinstance(n, bool) for n in counts):
        raise Wrong(f"Three whole numbers are wanted, for Ada, Ben and Cleo; this is {joined!r}.")
    if sum(counts) != 30:
        raise Wrong(f"Together they should do all 30 tasks; yours add up to {sum(counts)}.")
    if counts == [10, 10, 10]:
        raise Wrong(
            "The broker takes nothing back: what it gave to Ada and Ben before Cleo came stays theirs."
        )
    if counts == [6, 6, 18]:
        raise Wrong(
            "Cleo's turn comes as often as anybody's: the broker does not make up for what she missed."
        )
    if tuple(counts) != _JOINED:
        raise Wrong("Take it in two parts: who gets the first 12, and who gets the 18 after that?")
    return "6 and 6 while there were two of them, then 6 for each of the three."


joined = Exercise(
    "Cleo comes late",
    _check_joined,
    hints=[
        "Split it where Cleo subscribes: 12 tasks before, 18 after.",
        "Before: two consumers share 12. After: three consumers share 18. Add up for each.",
    ],
    solution="joined = [6 + 6, 6 + 6, 6]  # Ada, Ben, Cleo",
    why="Round-robin looks forward only. It neither takes tasks back nor lets a newcomer catch up.",
)

# ---------------------------------------------------------------- share


def _check_share(share: Callable) -> str:
    connection = brokers.connect(brokers.find().parameters("exercise share"))
    try:
        channel = connection.channel()
        channel.start_consuming = _no_start_consuming  # type: ignore[method-assign]
        queue = own_queue(channel)
        messages = [f"task {number}".encode() for number in range(1, 13)]
        got: dict[str, list[bytes]] = {"first": [], "second": []}

        def receiver(name: str) -> Callable:
            return lambda ch, method, properties, body: got[name].append(body)

        attempt(share, channel, queue, messages, receiver("first"), receiver("second"))
        deadline = time.monotonic() + RECEIVE_TIMEOUT
        while len(got["first"]) + len(got["second"]) < len(messages) and time.monotonic() < deadline:
            connection.process_data_events(time_limit=0.05)
        connection.process_data_events(time_limit=0.05)  # does anything come twice?
    finally:
        with suppress(pika.exceptions.AMQPError):  # the learner's function may have closed it
            connection.close()
    return _judge_share(got["first"], got["second"], messages)


def _no_start_consuming() -> None:
    raise Wrong("Leave start_consuming() out: it never returns. The check does the receiving.")


def _judge_share(first: list[bytes], second: list[bytes], messages: list[bytes]) -> str:
    counts = f"The broker gave {len(first)} to the first and {len(second)} to the second."
    if not first and not second:
        raise Wrong(f"{counts} Has anybody subscribed, and was anything published to the queue?")
    if len(first) + len(second) != len(messages):
        raise Wrong(f"{counts} Publish each of the {len(messages)} messages once.")
    if not first or not second:
        raise Wrong(f"{counts} One of them came too late, or never subscribed.")
    if [*first[:1], *second[:1]] == messages[1::-1]:
        raise Wrong(f"{counts} It went well, but the second was served first: who subscribed first?")
    if first != messages[0::2] or second != messages[1::2]:
        raise Wrong(f"{counts} Each should get every other message, in turn.")
    return f"{counts} Both were there before the first message was."


share = Exercise(
    "Fair from the start",
    _check_share,
    hints=[
        "The surprise of this lesson was about the order of two things. Which must come first?",
        "channel.basic_consume(queue=queue, on_message_callback=first, auto_ack=True) subscribes the first.",
        "Subscribe both, and only then publish in a loop: "
        'channel.basic_publish(exchange="", routing_key=queue, body=message).',
    ],
    solution="""def share(channel, queue, messages, first, second):
    channel.basic_consume(queue=queue, on_message_callback=first, auto_ack=True)
    channel.basic_consume(queue=queue, on_message_callback=second, auto_ack=True)
    for message in messages:
        channel.basic_publish(exchange="", routing_key=queue, body=message)""",
    why="Publish first, and the whole backlog is pushed to the first consumer the moment it subscribes.",
)
