"""A worker: a thread with a connection of its own that consumes, and that can really fail."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

import pika
from pika.exceptions import AMQPError

from labkit import checks
from labkit.brokers.connection import connect, explain
from labkit.errors import LabError, TaskError
from labkit.ledger import Kind, Ledger
from labkit.tasks import TEXT, Task
from labkit.tasks.handlers import HANDLERS, parse, perform

ACKS = ("automatic", "manual", "forgotten")
ON_ERROR = ("reject", "requeue", "acknowledge", "dead-letter")
FIRST_DELAY, LAST_DELAY = 0.2, 2.0  # seconds between attempts to reconnect: doubling from one to the other
CLOSE_LIMIT = 1.0  # seconds the broker gets to say goodbye before the connection is cut
IDLE_LIMIT = 5.0  # seconds between looks at the clock while nothing arrives
# Plain numbers for what is recorded of every task: an Enum's attributes are slow.
DELIVERED, REDELIVERED, STARTED = int(Kind.DELIVERED), int(Kind.REDELIVERED), int(Kind.STARTED)
FINISHED, ACKNOWLEDGED = int(Kind.FINISHED), int(Kind.ACKNOWLEDGED)
JUST_DOTS = HANDLERS["dots"]  # it computes nothing


class Listener:
    """What a worker tells of its work; every method does nothing by default, in the worker's thread."""

    def received(self, task: Task, redelivered: bool) -> None:
        """A task is begun."""

    def done(self, task: Task, result: object) -> None:
        """A task is done."""

    def failed(self, message: bytes, error: Exception, verdict: str) -> None:
        """A message could not be done; ``verdict`` is what the broker was told, "" for nothing."""

    def reconnecting(self, error: LabError) -> None:
        """The connection is gone."""


class Worker(threading.Thread):
    """Consumes from ``queue``, does the tasks one after the other, and tells the ``ledger``.

    ``parameters``      where to connect (its connection name becomes the worker's name)
    ``ack``             "manual": acknowledged when done; "automatic": ``auto_ack=True``, the broker forgets
                        a task as it sends it; "forgotten": never acknowledged, as in a common mistake
    ``ack_when``        "after" the work or "before" it
    ``prefetch``        how many unacknowledged tasks the broker may send it; None: no limit
    ``speed``           2.0 does the work in half the time; may be set while it runs
    ``seconds_per_dot`` seconds of work for a cost of 1 at speed 1
    ``handlers``        what to do for each kind of task
    ``on_error``        what becomes of a task that cannot be done: "reject", "requeue" or "acknowledge"
    ``dead_letters``    whether the queue has a dead-letter exchange, so that a rejected task goes there
    ``priority``        consumer priority (``x-priority``)
    ``reconnect``       whether to come back after a lost connection
    ``crash_in``        crash by itself in its n-th task: in the "middle" of the work, or "after" the work and
    ``crash_when``      before the acknowledgement
    ``on_event``        called with (what, task) in this thread: "received", "done", "failed", "reconnecting"

    UsageError for a setting that makes no sense.
    https://www.rabbitmq.com/docs/confirms, https://www.rabbitmq.com/docs/consumer-prefetch
    """

    def __init__(
        self,
        parameters: pika.ConnectionParameters,
        queue: str,
        *,
        name: str,
        ledger: Ledger | None = None,
        ack: str = "manual",
        ack_when: str = "after",
        prefetch: int | None = None,
        speed: float = 1.0,
        seconds_per_dot: float = 0.1,
        handlers: Mapping[str, Callable] = HANDLERS,
        on_error: str = "reject",
        dead_letters: bool = False,
        priority: int | None = None,
        reconnect: bool = True,
        crash_in: int | None = None,
        crash_when: str = "middle",
        on_event: Callable[[str, object], None] | None = None,
        dead_letter_queue: str | None = None,
        listener: Listener | None = None,
    ) -> None:
        checks.one_of("ack", ack, ACKS)
        checks.one_of("ack_when", ack_when, ("after", "before"))
        checks.one_of("on_error", on_error, ON_ERROR)
        checks.one_of("crash_when", crash_when, ("middle", "after"))
        checks.prefetch(prefetch)
        checks.connection(parameters)
        checks.text("name", name)
        checks.text("queue", queue)
        checks.seconds("seconds_per_dot", seconds_per_dot)
        checks.mapping("handlers", handlers)
        if priority is not None:
            checks.whole("priority", priority, -(2**31), 2**31 - 1)
        if crash_in is not None:
            checks.whole("crash_in", crash_in, 1, 2**31 - 1)
        if on_event is not None:
            checks.function("on_event", on_event)
        super().__init__(name=name, daemon=True)
        self.speed = speed
        self.queue, self.ack, self.ack_when, self.prefetch = queue, ack, ack_when, prefetch
        self.seconds_per_dot, self.handlers, self.on_error = seconds_per_dot, handlers, on_error
        self.dead_letters, self.priority, self.reconnect = dead_letters, priority, reconnect
        self.ledger = ledger if ledger is not None else Ledger()
        self.state = "connecting"
        self.current: str | None = None  # the id of the task it works on
        self.error: LabError | None = None  # why it is not connected
        self.subscribed = threading.Event()  # set once the broker has confirmed its first subscription
        self._parameters, self._on_event = parameters, on_event
        self._dead_letter_queue, self._listener = dead_letter_queue, listener or Listener()
        self._quick = on_event is None and listener is None
        self._label = name  # Thread's own ``name`` is slow, and this is wanted four times a task
        self._crash_in, self._crash_when, self._begun = crash_in, crash_when, 0
        self._connection: pika.BlockingConnection | None = None
        self._channel = None
        self._socket: socket.socket | None = None
        self._attached = False  # between CONNECTED and DISCONNECTED in the ledger
        self._broken: Exception | None = None  # the connection is gone, and why
        self._buffer: deque = deque()  # delivered, and not yet started
        self._stopping = self._crashed = self._paused = False
        self._moment = threading.Lock()  # a task is finished before a crash or not at all
        self._wake = threading.Event()  # ends a wait while there is no connection

    # --- what others may call ----------------------------------------------------------------

    @property
    def speed(self) -> float:
        """How fast it works; 2.0 does a task in half the time."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        self._speed = checks.number("speed", speed, above=0)
        if self.is_alive():
            self._nudge()

    @property
    def buffered(self) -> int:
        """How many tasks were delivered to it that it has not started."""
        return len(self._buffer)

    @property
    def paused(self) -> bool:
        """Whether it is held."""
        return self._paused

    def stop(self, timeout: float | None = 10) -> None:
        """Let it finish its task and leave; what else was delivered to it stays unacknowledged.

        A paused worker goes on for that. Waits up to ``timeout`` seconds (None: returns at once).
        """
        self._stopping = True
        if self._paused:
            self.resume()
        self._nudge()
        if timeout is not None and self.is_alive() and self is not threading.current_thread():
            self.join(timeout)

    def crash(self) -> None:
        """Break its TCP connection in the middle of whatever it does; the broker is told nothing."""
        with self._moment:
            self._crashed = True
            self.ledger.record(Kind.CRASHED, worker=self.name)
        self.state = "crashed"
        self.cut()
        self._nudge()

    def cut(self) -> None:
        """Break its TCP connection, as a network would; it notices, and comes back."""
        with contextlib.suppress(OSError, AttributeError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def pause(self) -> None:
        """Hold it where it is; it stays connected, answers heartbeats and is sent tasks as before."""
        self._paused = True
        self.ledger.record(Kind.PAUSED, worker=self.name)
        self._nudge()

    def resume(self) -> None:
        """Let it go on."""
        self._paused = False
        self.ledger.record(Kind.RESUMED, worker=self.name)
        self._nudge()

    def _nudge(self) -> None:
        """Make the thread look at what was asked of it."""
        self._wake.set()
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(AMQPError):
                connection.add_callback_threadsafe(lambda: None)

    # --- the thread --------------------------------------------------------------------------

    def run(self) -> None:
        delay = FIRST_DELAY
        try:
            while not self.leaving:
                try:
                    self._connect()
                    delay = FIRST_DELAY
                    while not (self._stopping or self._crashed):
                        self._turn()
                except (AMQPError, OSError, LabError) as error:
                    self._disconnected(error)
                    if not self.reconnect or self.leaving:
                        break
                    self._wake.clear()
                    self._wake.wait(delay)
                    delay = min(delay * 2, LAST_DELAY)
        finally:
            self._leave()

    @property
    def leaving(self) -> bool:
        """Whether it was told to stop, or crashed."""
        return self._stopping or self._crashed

    def _connect(self) -> None:
        self.state = "connecting"
        self._broken = None
        self._buffer.clear()
        self._connection = connection = connect(self._parameters)
        self._socket = connection._impl._transport._sock  # to be cut in crash(): pika has no other way
        self._channel = channel = connection.channel()
        if self.prefetch is not None:
            channel.basic_qos(prefetch_count=self.prefetch)
        channel.add_on_cancel_callback(self._cancelled)
        self.ledger.record(Kind.CONNECTED, worker=self.name, note=self.ack)
        self._attached = True
        channel.basic_consume(
            self.queue,
            self._delivered,
            auto_ack=self.ack == "automatic",
            consumer_tag=self.name,
            arguments=None if self.priority is None else {"x-priority": self.priority},
        )
        self.error = None
        self.state = "idle"
        self.subscribed.set()

    def _delivered(self, channel, method, properties, body) -> None:
        """A message has come in: it is started when those before it are done."""
        task_id = properties.message_id
        if task_id is None:
            task_id = self._make_id(method, properties, body)
        self.ledger.record(REDELIVERED if method.redelivered else DELIVERED, task_id, self._label)
        self._buffer.append((method.delivery_tag, task_id, properties, body, method.redelivered))

    def _make_id(self, method, properties, body: bytes) -> str:
        """A name for a task whose producer gave it none: its job_id, or the delivery's."""
        with contextlib.suppress(TaskError):
            return parse(body, None, properties.content_type).id
        return f"{self.name}#{method.delivery_tag}"

    def _cancelled(self, method) -> None:
        """The broker ended the subscription, for example because the queue was deleted."""
        self._broken = LabError(f"The broker cancelled {self.name}'s subscription to {self.queue}.")

    def _turn(self) -> None:
        """One round of the thread's life: a task, or a wait for one."""
        if self._broken:
            raise self._broken
        if self._paused:
            self.state = "paused"
            self._connection.process_data_events(IDLE_LIMIT)
        elif self._buffer:
            self._do(*self._buffer.popleft())
        else:
            self.state = "idle"
            self._connection.process_data_events(None)

    def _do(self, tag: int, task_id: str, properties, body: bytes, redelivered: bool) -> None:
        content_type = properties.content_type
        record, name = self.ledger.record, self._label
        self.current, self.state = task_id, "working"
        record(STARTED, task_id, name)
        self._begun += 1
        doomed = self._begun == self._crash_in and self._crash_when
        if self.ack_when == "before" and self.ack == "manual":
            self._channel.basic_ack(tag)
            record(ACKNOWLEDGED, task_id, name)
        task = result = None
        try:
            if self._only_dots(content_type, body):
                cost = body.count(b".")
            else:
                task = parse(body, task_id, content_type)
                self._tell("received", task)
                self._told(self._listener.received, task, redelivered)
                cost = task.cost
            if cost:
                self._work(cost * self.seconds_per_dot * (0.5 if doomed == "middle" else 1))
            if doomed == "middle":
                self.crash()
            if task is not None and not self._crashed:
                result = perform(task, self.handlers)
        except Exception as error:  # the handlers are the learner's
            record(Kind.FAILED, task_id, name, str(error))
            self._tell("failed", error)
            self._told(self._listener.failed, body, error, self._give_up(tag, task_id, properties, body))
        else:
            with self._moment:
                if self._crashed:
                    return
                record(FINISHED, task_id, name)
            if task is not None:
                self._tell("done", (task, result))
                self._told(self._listener.done, task, result)
            if doomed:
                self.crash()
                return
            if self.ack == "manual" and self.ack_when == "after" and not self._broken:
                self._channel.basic_ack(tag)
                record(ACKNOWLEDGED, task_id, name)
        self.current = None

    def _only_dots(self, content_type: str | None, body: bytes) -> bool:
        """Whether there is nothing to do but to spend the time: the quick way for the lab's own tasks."""
        return (
            content_type == TEXT and self._quick and self.handlers.get("dots") is JUST_DOTS and body.isascii()
        )

    def _give_up(self, tag: int, task_id: str, properties, body: bytes) -> str:
        """What is said to the broker of a task that cannot be done."""
        if self.ack != "manual" or self.ack_when == "before" or self._broken:
            return ""
        if self.on_error in ("acknowledge", "dead-letter"):
            if self.on_error == "dead-letter":
                channel = self._connection.channel()
                channel.confirm_delivery()
                properties.delivery_mode = 2
                channel.basic_publish("", self._dead_letter_queue, body, properties, mandatory=True)
                channel.close()
            self._channel.basic_ack(tag)
            kind = Kind.ACKNOWLEDGED
        else:
            self._channel.basic_reject(tag, requeue=self.on_error == "requeue")
            kind = Kind.DEAD_LETTERED if self.dead_letters else Kind.REJECTED
            kind = Kind.REQUEUED if self.on_error == "requeue" else kind
        self.ledger.record(kind, task_id, self.name)
        return {
            "reject": "rejected",
            "requeue": "requeued",
            "acknowledge": "acknowledged",
            "dead-letter": "dead-lettered",
        }[self.on_error]

    def _work(self, seconds: float) -> None:
        """Spend the seconds (at speed 1), while the connection is served: heartbeats and deliveries."""
        before = time.perf_counter()
        while seconds > 0 and not self._crashed:
            speed, paused = self._speed, self._paused
            self.state = "paused" if paused else "working"
            self._serve(IDLE_LIMIT if paused else seconds / speed)
            now = time.perf_counter()
            if not paused:
                seconds -= (now - before) * speed
            before = now

    def _serve(self, seconds: float) -> None:
        """Wait up to so many seconds; a lost connection is noted, the work goes on."""
        if self._broken:
            self._wake.clear()
            self._wake.wait(seconds)
            return
        try:
            self._connection.process_data_events(seconds)
        except (AMQPError, OSError) as error:
            self._broken = error

    def _tell(self, what: str, about: object) -> None:
        if self._on_event is not None:
            self._on_event(what, about)

    def _told(self, method: Callable, *about: object) -> None:
        try:
            method(*about)
        except Exception as error:
            self.error = LabError(f"{method.__name__}: {error}")

    # --- leaving -----------------------------------------------------------------------------

    def _disconnected(self, error: Exception) -> None:
        self._close()
        if self._attached:
            self.ledger.record(Kind.DISCONNECTED, worker=self.name, note=type(error).__name__)
            self._attached = False
        self._buffer.clear()
        self.current = None
        self.error = error if isinstance(error, LabError) else explain(error, self._parameters)
        if not self.leaving and self.reconnect:
            self.state = "reconnecting"
            self._tell("reconnecting", self.error)
            self._told(self._listener.reconnecting, self.error)

    def _leave(self) -> None:
        self._close()
        self.current = None
        if not self._crashed:
            self.ledger.record(Kind.STOPPED, worker=self.name)
            self.state = "stopped"

    def _close(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None and connection.is_open:
            # Whatever is still on its way to this worker has to be read before the broker's goodbye.
            limit = threading.Timer(CLOSE_LIMIT, self.cut)
            limit.daemon = True
            limit.start()
            with contextlib.suppress(AMQPError, OSError):
                connection.close()
            limit.cancel()
        self._socket = None
