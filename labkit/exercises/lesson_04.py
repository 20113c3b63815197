"""Exercises of lesson 04: durability."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from secrets import token_hex

import pika

from labkit.errors import LabError, QueueMissingError
from labkit.exercises.exercise import Exercise, Wrong, attempt
from labkit.lab import PATIENCE, Lab, survival

PUBLISH_TIMEOUT = 20.0  # seconds that a learner's function may take to publish a few messages
ARRIVE_TIMEOUT = 5.0  # seconds until what was published must be in the queue
WORK_TIMEOUT = 30.0  # seconds until a learner's worker must have begun, and after the restart have ended
SERVE_TIMEOUT = PATIENCE + 3 * WORK_TIMEOUT  # seconds in all, somebody else's restart included


def _bench() -> Lab:
    return Lab(f"exercise{token_hex(3)}", progress=False)


def _restart(lab: Lab) -> None:
    print("The check restarts the broker now, for real.")
    lab.restart_broker()


def _names(orders: Iterable[bytes]) -> str:
    return ", ".join(sorted(order.decode() for order in orders))


# ---------------------------------------------------------------- promised

_SITUATIONS = {
    "a": "Persistent on a durable queue is only on its way to the disk: no confirm, no promise.",
    "b": "",
    "c": "A confirm says that the broker has the message. It throws transient ones away when it starts.",
    "d": "",
    "e": "The confirm never came. The message may be there or not: the publisher has to send it again.",
    "f": "A persistent message is gone with its queue, and this queue is not durable.",
}
_PROMISED = {"b", "d"}


def _check_promised(promised: Iterable[str]) -> str:
    letters = {str(item).strip().lower() for item in promised}
    if not letters or not letters <= set(_SITUATIONS):
        raise Wrong(f'Answer with some of the letters a to f, like ["a", "f"]; this is {promised!r}.')
    if wrong := sorted(letters - _PROMISED):
        raise Wrong(f"Not ({wrong[0]}). {_SITUATIONS[wrong[0]]}")
    if letters != _PROMISED:
        raise Wrong("What you have is right, but there is one more. Which queues keep everything?")
    return "Durable, persistent and confirmed – or a quorum queue and confirmed."


promised = Exercise(
    "What is promised?",
    _check_promised,
    hints=[
        "Without a confirm nothing is promised. Which are left?",
        "Of those that are left: a non-durable queue is gone, and a classic queue brings back only what is persistent.",
        "A quorum queue keeps every message, whatever its delivery mode.",
    ],
    solution='promised = ["b", "d"]',
    why="A promise needs three things: a queue that comes back, a message that is on disk, and a confirm.",
)

# ---------------------------------------------------------------- keep

_ORDERS = [f"order {number}".encode() for number in range(1, 21)]


def _check_keep(keep: Callable) -> str:
    with _bench() as lab:
        queue = lab.queue("orders")
        with lab.channel("clears") as channel:
            channel.queue_delete(queue)  # the answer declares it
        with lab.channel("your function") as channel:
            asked = _listen(channel)
            attempt(keep, channel, queue, list(_ORDERS), timeout=PUBLISH_TIMEOUT)
        _judge_before(lab, queue)
        _restart(lab)
        found = survival.fetch(lab, queue)
    if found is None:
        raise Wrong(
            "The broker is back, and the queue is gone with all that was in it. What makes a queue durable?"
        )
    kept = {message.body for message in found}
    said = f"The queue came back with {len(kept & set(_ORDERS))} of {len(_ORDERS)} orders."
    if not kept:
        raise Wrong(f"{said} The queue is durable; what of the messages?")
    if missing := set(_ORDERS) - kept:
        raise Wrong(f"{said} Missing: {_names(missing)}. Were all sent in the same way?")
    if not asked:
        return f"{said} One thing more: confirm_delivery() would tell your producer that they are safe."
    return f"{said} And your producer knew that before it returned."


def _listen(channel) -> list[bool]:
    """A list that is filled once confirms are switched on."""
    asked: list[bool] = []
    confirm = channel.confirm_delivery

    def confirm_delivery() -> None:
        confirm()
        asked.append(True)

    channel.confirm_delivery = confirm_delivery
    return asked


def _judge_before(lab: Lab, queue: str) -> None:
    """Refuse what went wrong before any restart, and spare the broker one."""
    deadline = time.monotonic() + ARRIVE_TIMEOUT
    while True:
        try:
            ready, _ = lab.depth(queue)
        except QueueMissingError:
            raise Wrong(
                "When your connection closes the queue is gone already, without any restart. Is it declared,"
                " and neither exclusive nor auto-delete?"
            ) from None
        except LabError as error:
            raise Wrong(f"The queue cannot be used by anybody else. {error.what}") from None
        if ready == len(_ORDERS):
            return
        if ready > len(_ORDERS) or time.monotonic() > deadline:
            raise Wrong(f"{ready} messages are in the queue; publish each of the {len(_ORDERS)} orders once.")
        time.sleep(0.1)


keep = Exercise(
    "Make it survive",
    _check_keep,
    hints=[
        "Two things must survive: the queue, and what is in it. Each has a setting of its own.",
        "queue_declare(queue, durable=True) for the queue; properties=pika.BasicProperties(delivery_mode=…) for"
        " each message.",
        "delivery_mode=pika.DeliveryMode.Persistent (that is 2). And channel.confirm_delivery() before the first"
        " basic_publish, to be told that the broker has it.",
    ],
    solution="""import pika

def keep(channel, queue, orders):
    channel.queue_declare(queue, durable=True)
    channel.confirm_delivery()
    persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
    for order in orders:
        channel.basic_publish("", queue, order, properties=persistent)""",
    why='A quorum queue does it too: queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})'
    " keeps every message, persistent or not.",
)

# ---------------------------------------------------------------- serve

_FIRST, _LATER, END = _ORDERS[:6], _ORDERS[6:9], b"end"
_IN_HAND = 4  # the order that the worker has in hand when the broker goes away


class _Stage:
    """What a learner's worker is given, and what it did with it."""

    def __init__(self, lab: Lab) -> None:
        self.served: list[bytes] = []
        self._lab = lab
        self._over = False
        self._sockets: list[socket.socket] = []

    def connect(self):
        """A new connection; pika's own errors while the broker is away."""
        if self._over:
            time.sleep(WORK_TIMEOUT)  # a loop that catches everything must not keep the machine busy
            raise SystemExit
        connection = pika.BlockingConnection(self._lab.parameters("your worker"))
        self._sockets.append(connection._impl._transport._sock)
        return connection

    def work(self, order: bytes) -> None:
        """Note the order; the fourth takes until the broker is away."""
        if self._over:
            raise SystemExit
        self.served.append(order)
        if len(self.served) == _IN_HAND:
            while self._lab.broker.running() and not self._over:
                time.sleep(0.05)

    @contextlib.contextmanager
    def serving(self, serve: Callable, queue: str) -> Iterator[Future]:
        """The learner's function in a thread of its own, ended at the end whatever it does."""
        future: Future = Future()

        def run() -> None:
            try:
                future.set_result(attempt(serve, self.connect, queue, self.work, timeout=SERVE_TIMEOUT))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=run, name="learner's worker", daemon=True).start()
        try:
            yield future
        finally:
            self._over = True
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


def _publish(lab: Lab, queue: str, orders: Iterable[bytes]) -> None:
    persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
    with lab.channel("the check") as channel:
        channel.confirm_delivery()
        for order in orders:
            channel.basic_publish("", queue, order, persistent)


def _check_serve(serve: Callable) -> str:
    with _bench() as lab:
        queue = lab.queue("orders")
        _publish(lab, queue, _FIRST)
        stage = _Stage(lab)
        with stage.serving(serve, queue) as worker:
            if not _wait(lambda: len(stage.served) >= _IN_HAND or worker.done()):
                raise Wrong(f"After {WORK_TIMEOUT:g} s {len(stage.served)} orders of {_IN_HAND} were done.")
            if worker.done():
                worker.result()
                raise Wrong("serve(…) returned before it got the end. It should go on until then.")
            _refuse_automatic(lab, queue)
            _restart(lab)
            _publish(lab, queue, [*_LATER, END])
            ended = _wait(worker.done)
            if ended:
                worker.result()
        _judge_serve(set(_FIRST + _LATER) - set(stage.served), ended)
        left, _ = lab.depth(queue)
    if left:
        raise Wrong(f"All orders were done, but {left} are in the queue again: were they acknowledged?")
    twice = [order for order in _FIRST if stage.served.count(order) > 1]
    return "Every order was done, through a restart." + (
        f" {_names(twice)} was done twice: the broker never got its acknowledgement." if twice else ""
    )


def _wait(condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + WORK_TIMEOUT
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


def _refuse_automatic(lab: Lab, queue: str) -> None:
    """Refuse a consumer with automatic acknowledgements: what it loses, a worker that dies shows (lesson 02)."""
    deadline = time.monotonic() + ARRIVE_TIMEOUT
    while not (consumers := lab.management.consumers(queue)) and time.monotonic() < deadline:
        time.sleep(0.1)  # the listing lags; and a worker that uses basic_get is none
    if any(not consumer.acknowledges for consumer in consumers):
        raise Wrong(
            "Your consumer has auto_ack=True: the broker has handed out all orders and forgotten them. Were the"
            " worker to die as well, they would be lost."
        )


def _judge_serve(missing: set[bytes], ended: bool) -> None:
    if missing and ended:
        raise Wrong(f"serve(…) returned when the broker went away. Nobody did {_names(missing)}.")
    if missing:
        raise Wrong(f"The broker has been back for a while, and nobody did {_names(missing)}.")
    if not ended:
        raise Wrong("All orders were done, but serve(…) does not return when it gets the end.")


serve = Exercise(
    "A worker that comes back",
    _check_serve,
    hints=[
        "When the broker goes, whatever pika function is being called raises an exception; connect() does so too"
        " until the broker is back. All of these are kinds of pika.exceptions.AMQPError.",
        "Put all of it, connect() included, into a try within a while True: on AMQPError wait half a second and"
        " begin again.",
        "The acknowledgement after the work may be what fails. That order comes again: let it.",
    ],
    solution="""import time
import pika

def serve(connect, queue, work):
    while True:
        try:
            connection = connect()
            channel = connection.channel()
            channel.basic_qos(prefetch_count=1)
            for method, properties, body in channel.consume(queue):
                if body != b"end":
                    work(body)
                channel.basic_ack(method.delivery_tag)
                if body == b"end":
                    connection.close()
                    return
        except pika.exceptions.AMQPError:
            time.sleep(0.5)""",
    why="The loop around everything is what matters. What was unacknowledged when the connection broke is"
    " delivered again, so nothing is lost, and something may be done twice.",
)
