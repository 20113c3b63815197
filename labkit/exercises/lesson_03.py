"""Exercises of lesson 03: workers that lose, forget or repeat tasks, to be repaired.

Each check lets the learner's worker consume from a queue on the broker, breaks its connection in the middle,
lets it consume once more on a new connection, and looks at what was done and at what is left in the queue.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker

from labkit.brokers.connection import connect
from labkit.exercises.exercise import Exercise, NotAttempted, Wrong, attempt
from labkit.lab import Lab

NTH = 3  # the task in which the connection breaks
LIFE_LIMIT = 10.0  # seconds that a worker may take for a handful of messages; it takes some milliseconds
GRACE = 0.2  # seconds in which something may still come that should not
LOOP = 50  # more deliveries than there are messages: it goes round and round

PING = b"ping"  # the body of a message that asks for no work

Message = tuple[str, bytes]  # message id, body


class _Crash(BaseException):
    """Breaks off the learner's callback, as the end of its process would."""


@dataclass
class _Stage:
    """What happened while the learner's worker was tried; messages by id."""

    messages: Sequence[Message]
    crash_at: str  # "work" or "ack"
    done: Counter = field(default_factory=Counter)  # how often the work was finished
    calls: int = 0  # of the learner's callback, in this life
    crashed: bool = False
    left: int = 0  # messages in the queue at the end
    _now: str = ""  # the id of the delivery that is worked on
    _begun: int = 0
    _acks: int = 0

    def bodies(self, ids: Sequence[str]) -> str:
        names = dict(self.messages)
        return ", ".join(names[each].decode() for each in ids)

    @property
    def missing(self) -> list[str]:
        return [each for each, body in self.messages if body != PING and not self.done[each]]


def _try(
    worker: Callable, messages: Sequence[Message], crash_at: str = "work", more: Sequence = ()
) -> _Stage:
    """Two lives of the learner's worker on the same queue: the first ends in a crash, the second does not."""
    stage = _Stage(messages, crash_at)
    with Lab("03-check", progress=False, say=lambda *_: None) as lab:
        queue = lab.queue("repair")
        _publish(lab, queue, messages)
        for life in (1, 2):
            _live(lab, stage, worker, queue, more, doomed=life == 1)
        lab.wait(lambda: lab.depth(queue)[1] == 0, "the worker to have left the queue")
        stage.left = lab.depth(queue)[0]
    return stage


def _publish(lab: Lab, queue: str, messages: Sequence[Message]) -> None:
    with lab.channel() as channel:
        for message_id, body in messages:
            channel.basic_publish("", queue, body, pika.BasicProperties(message_id=message_id))
    lab.wait(lambda: lab.depth(queue)[0] == len(messages), "the messages to be in the queue")


def _live(lab: Lab, stage: _Stage, worker: Callable, queue: str, more: Sequence, *, doomed: bool) -> None:
    """One life of the worker: until it crashes, or has seen every message that was there."""
    with _connected(lab, stage, doomed) as (connection, channel):
        lab.wait(lambda: lab.depth(queue)[1] == 0, "the worker's earlier life to be over")
        there = lab.depth(queue)[0]
        stage.calls = 0

        def work(body: bytes = b"", *_: object) -> None:
            stage._begun += 1
            if doomed and stage.crash_at == "work" and stage._begun == NTH:
                _crash(stage, connection)
            stage.done[stage._now] += 1

        attempt(worker, channel, queue, work, *more)
        if not channel.consumer_tags:
            raise Wrong("Nobody consumes from the queue: keep the line with channel.basic_consume.")
        attempt(lambda: _consume(stage, connection, channel, there), timeout=LIFE_LIMIT + 2)


def _consume(stage: _Stage, connection, channel, there: int) -> None:
    """Let pika call the learner's callback for what is there, and for what should not come after that."""
    deadline, quiet_since = time.monotonic() + LIFE_LIMIT, None
    try:
        while time.monotonic() < deadline:
            connection.process_data_events(time_limit=0.05)
            if not channel.is_open:
                channel.basic_qos()  # says why
            if stage.calls > there + LOOP:
                raise Wrong(
                    "A message that is put back comes again at once: your worker goes round and round."
                )
            if stage.calls >= there:
                quiet_since = quiet_since or time.monotonic()
                if time.monotonic() - quiet_since > GRACE:
                    return
        raise Wrong(f"After {LIFE_LIMIT:g} s your worker had been sent {stage.calls} of {there} messages.")
    except _Crash:
        return
    except (Wrong, NotAttempted):
        raise
    except ChannelClosedByBroker as error:
        said = f"The broker closed the channel: {error.reply_code} {error.reply_text}."
        raise Wrong(f"{said} What was acknowledged twice, or needs no acknowledgement?") from error
    except AMQPError as error:
        if not stage.crashed:
            raise Wrong(f"pika raised {type(error).__name__}: {error}") from error
    except Exception as error:
        raise Wrong(f"Your worker raised {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _connected(lab: Lab, stage: _Stage, doomed: bool) -> Iterator[tuple]:
    """A connection for one life; its channel counts what is delivered, and crashes where it should."""
    connection = connect(lab.parameters("exercise 03"))
    channel = connection.channel()
    subscribe, acknowledge = channel.basic_consume, channel.basic_ack

    def basic_consume(queue, on_message_callback, *args, **settings):
        def counted(ch, method, properties, body):
            stage._now = properties.message_id
            stage.calls += 1
            if stage.calls > len(stage.messages) + LOOP:
                raise Wrong(
                    "A message that is put back comes again at once: your worker goes round and round."
                )
            on_message_callback(ch, method, properties, body)
            ch.queue_declare(
                queue, passive=True
            )  # the broker answers in order: it has seen the acknowledgement

        return subscribe(queue, counted, *args, **settings)

    def basic_ack(*args, **settings):
        stage._acks += 1
        if doomed and stage.crash_at == "ack" and stage._acks == NTH:
            _crash(stage, connection)
        acknowledge(*args, **settings)

    def start_consuming():
        raise Wrong("Leave start_consuming() out: it never returns. The check does the receiving.")

    for method in (basic_consume, basic_ack, start_consuming):
        setattr(channel, method.__name__, method)
    try:
        yield connection, channel
    finally:
        with contextlib.suppress(AMQPError, OSError, ValueError):
            connection.close()


def _crash(stage: _Stage, connection) -> None:
    stage.crashed = True
    with contextlib.suppress(OSError):
        connection._impl._transport._sock.shutdown(socket.SHUT_RDWR)
    raise _Crash


def _judge_left(stage: _Stage) -> None:
    if stage.left:
        raise Wrong(
            f"Everything was done, but when your worker left, {stage.left} of {len(stage.messages)} messages came "
            "back: they had never been acknowledged."
        )


# ---------------------------------------------------------------- keep

_TASKS = [(f"job-{number}", b"task %d" % number) for number in range(1, 7)]


def _check_keep(keep: Callable) -> str:
    stage = _try(keep, _TASKS)
    if missing := stage.missing:
        if len(missing) == 1:
            raise Wrong(
                f"Your worker crashed in its third task, and {stage.bodies(missing)} was never done: the broker had "
                "been told too early that it was."
            )
        raise Wrong(
            f"Your worker crashed in its third task, and {len(missing)} tasks were never done: "
            f"{stage.bodies(missing)}."
        )
    _judge_left(stage)
    return "It crashed in its third task, and came back: all six tasks were done, and the queue is empty."


keep = Exercise(
    "Lose nothing",
    _check_keep,
    hints=[
        "Who decides that a task is done: the broker as it sends it, or your function when it has done it?",
        "Leave auto_ack=True out. From then on your function has to say when it is done.",
        "channel.basic_ack(method.delivery_tag) belongs after work(body), not before it.",
    ],
    solution="""def keep(channel, queue, work):
    def on_message(channel, method, properties, body):
        work(body)
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume(queue, on_message_callback=on_message)""",
    why="Until the acknowledgement the broker keeps the message, and gives it to somebody else if you vanish.",
)

# ---------------------------------------------------------------- settle

_MIXED = [
    ("job-1", b"task 1"),
    ("ping-1", PING),
    ("job-2", b"task 2"),
    ("ping-2", PING),
    ("job-3", b"task 3"),
    ("job-4", b"task 4"),
    ("ping-3", PING),
]


def _check_settle(settle: Callable) -> str:
    stage = _try(settle, _MIXED)
    if missing := stage.missing:
        raise Wrong(
            f"Your worker crashed in its third task, and {stage.bodies(missing)} was never done. It forgets nothing "
            "now, but it loses tasks."
        )
    if any(stage.done[message_id] for message_id, body in _MIXED if body == PING):
        raise Wrong("A ping is no work: do not call work(…) for it.")
    _judge_left(stage)
    return "The pings are settled too: nothing came back when the worker left."


settle = Exercise(
    "Forget nothing",
    _check_settle,
    hints=[
        "Follow a ping through the function, line by line. What is the broker told about it?",
        "Every way out of the function needs an answer to the broker, the early return as well.",
        "Acknowledge the ping before you return. (And not the others: those only when their work is done.)",
    ],
    solution="""def settle(channel, queue, work):
    def on_message(channel, method, properties, body):
        if body != b"ping":
            work(body)
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume(queue, on_message_callback=on_message)""",
    why="One way through the function and one acknowledgement at its end: there is nothing left to forget.",
)

# ---------------------------------------------------------------- once

_MAIL = [(f"mail-{number}", b"Your order is on its way.") for number in range(1, 7)]  # all read the same


def _check_once(once: Callable) -> str:
    for crash_at, when in (
        ("ack", "after sending its third mail and before the acknowledgement"),
        ("work", "in the middle of its third mail, which was not sent"),
    ):
        sent: set[str] = set()
        stage = _try(once, _MAIL, crash_at, more=(sent,))
        if missing := stage.missing:
            many = (
                f"{len(missing)} mails were never sent"
                if len(missing) > 1
                else f"{missing[0]} was never sent"
            )
            raise Wrong(
                f"Your worker crashed {when}, and in the end {many}. All mails read the same, and each is for "
                "somebody else; and a redelivered one may not have been sent before."
            )
        if twice := [message_id for message_id, times in stage.done.items() if times > 1]:
            hint = (
                ""
                if sent
                else " Nothing was written into sent, and what a function keeps for itself is gone after a crash."
            )
            raise Wrong(f"Your worker crashed {when}, and {', '.join(twice)} was sent twice.{hint}")
        _judge_left(stage)
    return "Six mails, two crashes at the worst moments, and nobody got a mail twice or none."


once = Exercise(
    "Once is enough",
    _check_once,
    hints=[
        "The broker cannot know that a mail was sent. Something that outlives the worker has to: that is sent.",
        "What names a task is properties.message_id: a body may be the same for two of them.",
        "Is its id in sent? Then only acknowledge. Otherwise send, put the id into sent, acknowledge: in this order.",
    ],
    solution="""def once(channel, queue, send, sent):
    def on_message(channel, method, properties, body):
        if properties.message_id not in sent:
            send(body)
            sent.add(properties.message_id)
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume(queue, on_message_callback=on_message)""",
    why="A gap is left between send and sent.add. Where that matters, write the effect and the id in one transaction.",
)
