"""A worker: a thread with a connection of its own that consumes, and that can really fail."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Mapping

import pika
from pika.channel import Channel
from pika.spec import BasicProperties

from labkit import checks
from labkit.clients.consumer import (
    ACKNOWLEDGED,
    DELIVERED,
    REDELIVERED,
    REQUEUED,
    Consumer,
    Delivery,
)
from labkit.clients.dead_letters import DeadLetters
from labkit.clients.listener import Listener
from labkit.clients.stretch import Stretch
from labkit.clients.worker_state import CrashPlan, State
from labkit.errors import LabError, TaskError, UsageError
from labkit.ledger import Kind, Ledger
from labkit.tasks import TEXT, Task
from labkit.tasks.handlers import HANDLERS, Handler, parse, perform

ON_ERROR = ("reject", "requeue", "acknowledge", "dead-letter")
CRASH_GRACE = 0.04  # seconds that a crash waits for a handler that is just at work
STARTED, FINISHED = int(Kind.STARTED), int(Kind.FINISHED)  # an Enum's attributes are slow
JUST_DOTS = HANDLERS["dots"]  # it computes nothing
VERDICTS = {
    Kind.ACKNOWLEDGED: "acknowledged",
    Kind.REQUEUED: "requeued",
    Kind.REJECTED: "rejected",
    Kind.DEAD_LETTERED: "dead-lettered",
}


class Worker(Consumer):
    """Consumes from ``queue``, does the tasks one after the other, and tells the ``ledger``.

    ``parameters``      where to connect (its connection name becomes the worker's name)
    ``ack``             "manual": acknowledged when done; "automatic": ``auto_ack=True``, the broker forgets
                        a task as it sends it; "forgotten": never acknowledged, as in a common mistake
    ``ack_when``        "after" the work or "before" it
    ``prefetch``        how many unacknowledged tasks the broker may send it; None: no limit
    ``speed``           2.0 does the work in half the time; may be set while it runs
    ``seconds_per_dot`` seconds of work for a cost of 1 at speed 1
    ``handlers``        what to do for each kind of task
    ``own_thread``      whether handlers run in a thread of their own; else one that computes keeps the
                        connection waiting, heartbeats included, as in most programs
    ``on_error``        what becomes of a task that cannot be done: "reject", "requeue", "acknowledge", or
                        "dead-letter": published to ``dead_letter_queue`` and then acknowledged
    ``dead_letters``    whether the queue has a dead-letter exchange, so that a rejected task goes there
    ``priority``        consumer priority (``x-priority``)
    ``reconnect``       whether to come back after a lost connection
    ``crash_in``        crash by itself in its n-th task: in the "middle" of the work, or "after" the work and
    ``crash_when``      before the acknowledgement
    ``listener``        told what it does, in this thread

    UsageError for a setting that makes no sense.
    https://www.rabbitmq.com/docs/confirms, https://www.rabbitmq.com/docs/consumer-prefetch
    """

    def __init__(
        self,
        parameters: pika.connection.Parameters,
        queue: str,
        *,
        name: str,
        ledger: Ledger | None = None,
        ack: str = "manual",
        ack_when: str = "after",
        prefetch: int | None = None,
        speed: float = 1.0,
        seconds_per_dot: float = 0.1,
        handlers: Mapping[str, Handler] = HANDLERS,
        own_thread: bool = False,
        on_error: str = "reject",
        dead_letters: bool = False,
        dead_letter_queue: str | None = None,
        priority: int | None = None,
        reconnect: bool = True,
        crash_in: int | None = None,
        crash_when: str = "middle",
        listener: Listener | None = None,
    ) -> None:
        super().__init__(
            parameters,
            queue,
            name=name,
            ledger=ledger,
            ack=ack,
            prefetch=prefetch,
            priority=priority,
            reconnect=reconnect,
        )
        self.ack_when = checks.one_of("ack_when", ack_when, ("after", "before"))
        self.seconds_per_dot = checks.seconds("seconds_per_dot", seconds_per_dot)
        self.handlers: Mapping[str, Handler] = checks.mapping("handlers", handlers)
        self.on_error = checks.one_of("on_error", on_error, ON_ERROR)
        if on_error == "dead-letter":
            checks.text("dead_letter_queue", dead_letter_queue)
        if listener is not None and not isinstance(listener, Listener):
            raise UsageError(f"listener is {listener!r}.", do="Use a labkit.clients.listener.Listener.")
        self.dead_letter_queue, self.dead_letters, self.own_thread = (
            dead_letter_queue,
            dead_letters,
            own_thread,
        )
        self.current: str | None = None  # the id of the task it works on
        self._plan = CrashPlan(2**31 - 1 if crash_in is None else crash_in, crash_when)
        self._listener = listener
        self._plain = listener is None and handlers.get("dots") is JUST_DOTS
        last = [ACKNOWLEDGED] if ack == "manual" else []
        self._lives = [[kind, STARTED, FINISHED, *last] for kind in (DELIVERED, REDELIVERED)]
        self._begun = 0
        self._task: Delivery | None = None  # the one it works on
        self._stretch: Stretch | None = None  # the time that takes
        self._dead_letters: DeadLetters | None = None
        self._crashed = self._paused = self._left = self._computing = False
        self._moment = threading.Lock()  # a task is finished before a crash or a pause, or not at all
        self.speed = speed

    # --- what others may call ----------------------------------------------------------------

    @property
    def state(self) -> State:
        """What it does at this moment."""
        if self._crashed:
            return State.CRASHED
        if self._left:
            return State.STOPPED
        if not self._consuming and self.current is None:
            return State.RECONNECTING if self.connections else State.CONNECTING
        if self._paused:
            return State.PAUSED
        return State.IDLE if self.current is None else State.WORKING

    @property
    def speed(self) -> float:
        """How fast it works; 2.0 does a task in half the time."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        self._speed = checks.number("speed", speed, above=0)
        self._call(self._look)

    @property
    def paused(self) -> bool:
        """Whether it is held."""
        return self._paused

    @property
    def leaving(self) -> bool:
        """Whether it was told to stop, or crashed."""
        return self._stopping or self._crashed

    def stop(self, timeout: float | None = 10) -> None:
        """Let it finish its task and leave; what else was delivered to it stays unacknowledged.

        A paused worker goes on for that. Waits up to ``timeout`` seconds (None: returns at once).
        """
        self._stopping = True
        if self._paused:
            self.resume()
        super().stop(timeout)

    def crash(self) -> None:
        """Break its TCP connection in the middle of whatever it does; the broker is told nothing.

        A handler that computes cannot be stopped: what it still does after a moment's grace is not recorded.
        """
        deadline = time.monotonic() + CRASH_GRACE
        while not self._crash_now(anyhow=threading.current_thread() is self or time.monotonic() > deadline):
            time.sleep(CRASH_GRACE / 40)
        self.cut()
        self._call(self._end)

    def _crash_now(self, anyhow: bool) -> bool:
        """Be crashed, unless a handler is just at work; whether it is."""
        with self._moment:
            if self._computing and not anyhow:
                return False
            self._crashed = True
            self.ledger.record(Kind.CRASHED, worker=self._label)
            return True

    def pause(self) -> None:
        """Hold it where it is; it stays connected, answers heartbeats and is sent tasks as before.

        No task is started or finished from now on, but for one whose handler is just at work.
        """
        with self._moment:
            self._paused = True
            self.ledger.record(Kind.PAUSED, worker=self._label)
        self._call(self._look)

    def resume(self) -> None:
        """Let it go on."""
        with self._moment:
            self._paused = False
            self.ledger.record(Kind.RESUMED, worker=self._label)
        self._call(self._look)

    # --- the connection ----------------------------------------------------------------------

    def _opened(self, channel: Channel) -> None:
        if self._crashed:
            return
        if self.on_error == "dead-letter" and self.dead_letter_queue:
            self._dead_letters = DeadLetters(channel, self.dead_letter_queue, self._parked)
        super()._opened(channel)

    def _lost(self) -> None:
        self._consuming = False
        if self._task is None or self._crashed:
            self._end()  # or else when the task is done: a worker does not know that nobody waits for it

    def _disconnected(self, error: LabError) -> bool:
        super()._disconnected(error)
        if not self.leaving and self.reconnect and self._listener is not None:
            self._tell(self._listener.reconnecting, error)
        return True

    def _forget(self) -> None:
        super()._forget()
        self._task = self.current = self._stretch = None

    def _over(self) -> None:
        self._forget()
        with self._moment:
            if not self._crashed:
                self.ledger.record(Kind.STOPPED, worker=self._label)
            self._left = True

    def _look(self) -> None:
        """In the loop: it was paused, resumed, slowed or told to stop."""
        if self._stretch is not None:
            self._stretch.go_at(0.0 if self._paused else self._speed)
        else:
            self._go_on()

    # --- a task ------------------------------------------------------------------------------

    def _at_once(self, tag: int, task_id: str, properties: BasicProperties, body: bytes, again: bool) -> bool:
        """Do a text task that takes no time as it comes in, if nothing is in the way: a million go like this."""
        if self._task is not None or self._buffer or b"." in body or not self._is_text(properties, body):
            return False
        with self._moment:
            busy = self._paused or self._crashed or self._stopping or self._reason is not None
            if busy or self.ack_when == "before" or self._begun + 1 == self._plan.task:
                return False
            self._begun += 1
            if self.ack == "manual" and self._channel is not None:
                self._channel.basic_ack(tag)
            self.ledger.record_all(self._lives[again], task_id, self._label, tag)
        return True

    def _is_text(self, properties: BasicProperties, body: bytes) -> bool:
        """Whether a task is known from its dots alone, and nobody wants to see more of it."""
        return self._plain and properties.content_type == TEXT and body.isascii()

    def _go_on(self) -> None:
        """In the loop: begin the next task, unless something is in the way."""
        if self._task is not None:
            return
        if self._gone:
            self._end()
        elif self.leaving:
            self._goodbye()
        elif not self._paused and self._buffer and self._reason is None:
            self._begin(self._buffer.popleft())

    def _begin(self, delivery: Delivery) -> None:
        """Start a task."""
        tag, task_id, properties, body, again = delivery
        text = self._is_text(properties, body)
        with self._moment:
            if self._crashed or self._paused:
                self._buffer.appendleft(delivery)
                return
            self._begun += 1
            self._task, self.current = delivery, task_id
            self.ledger.record(STARTED, task_id, self._label, None, tag)
        if self.ack_when == "before" and self.ack == "manual":
            self._settle(ACKNOWLEDGED, delivery)
        try:
            task = None if text else parse(body, task_id, properties.content_type)
        except TaskError as error:
            self._failed(delivery, error)
            return
        if task is not None and self._listener is not None:
            self._tell(self._listener.received, task, again)
        seconds = (body.count(b".") if task is None else task.cost) * self.seconds_per_dot
        if self._doomed("middle"):
            seconds /= 2
        if seconds:
            self._stretch = self._work(seconds, self._speed, lambda: self._worked(delivery, task))
        else:
            self._worked(delivery, task)

    def _work(self, seconds: float, speed: float, done: Callable[[], None]) -> Stretch:
        assert self._loop is not None  # this is called in the loop
        return Stretch(self._loop, seconds, speed, done)

    def _doomed(self, when: str) -> bool:
        """Whether it is to crash in this task, at this point of it."""
        return self._begun == self._plan.task and self._plan.when == when

    def _worked(self, delivery: Delivery, task: Task | None) -> None:
        """In the loop: the time that the task costs is over; what there is to compute is computed now."""
        self._stretch = None
        if self._doomed("middle"):
            self.crash()
            return
        with self._moment:
            if self._crashed:
                return
            if self._paused:
                self._stretch = self._work(0.0, 0.0, lambda: self._worked(delivery, task))
                return
            self._computing = task is not None
            if task is None:
                self.ledger.record(FINISHED, delivery.task_id, self._label, None, delivery.tag)
        if task is None:
            self._finished(delivery)
            self._later()
        elif self.own_thread:
            loop = self._loop

            def compute() -> None:
                what = self._perform(delivery, task)
                if loop is not None:
                    loop.add_callback_threadsafe(what)

            threading.Thread(target=compute, name=f"{self._label} computes", daemon=True).start()
        else:
            self._perform(delivery, task)()

    def _perform(self, delivery: Delivery, task: Task) -> Callable[[], None]:
        """Have the handler do the task; returns what is to be done in the loop then."""
        try:
            result = perform(task, self.handlers)
        except BaseException as error:  # the handlers are the learner's, and may raise SystemExit
            return functools.partial(self._failed, delivery, error)
        with self._moment:
            self._computing = False
            if not self._crashed:
                self.ledger.record(FINISHED, delivery.task_id, self._label, None, delivery.tag)
        return functools.partial(self._performed, delivery, task, result)

    def _performed(self, delivery: Delivery, task: Task, result: object) -> None:
        """In the loop: the handler has returned, and the ledger knows."""
        if self._crashed:
            return
        if self._listener is not None:
            self._tell(self._listener.done, task, result)
        self._finished(delivery)
        self._later()

    def _finished(self, delivery: Delivery) -> None:
        """The work is done, and the ledger knows: acknowledge it."""
        if self._doomed("after"):
            self.crash()
            return
        if self.ack == "manual" and self.ack_when == "after":
            self._settle(ACKNOWLEDGED, delivery)
        self._task = self.current = None

    def _failed(self, delivery: Delivery, error: BaseException) -> None:
        """It cannot be done: say so to the broker."""
        with self._moment:
            self._computing = False
            if self._crashed:
                return
            self.ledger.record(Kind.FAILED, delivery.task_id, self._label, str(error), delivery.tag)
        silent = self.ack != "manual" or self.ack_when == "before" or self._gone
        kind = Kind.ACKNOWLEDGED if silent else self._verdict()
        if not silent and self._dead_letters is not None:
            self._dead_letters.publish(delivery, error)  # what became of it is told when that is confirmed
            self._task = self.current = None
            self._later()
            return
        if not silent:
            self._settle(kind, delivery)
        self._when_sent(lambda: self._told_failed(delivery, error, "" if silent else VERDICTS[kind]))

    def _told_failed(self, delivery: Delivery, error: BaseException, verdict: str) -> None:
        """In the loop: what was said to the broker is on its way; say so, and go on."""
        self._tell_failed(delivery, error, verdict)
        self._task = self.current = None
        self._later()

    def _verdict(self) -> Kind:
        """What becomes of a task that cannot be done."""
        if self.on_error == "acknowledge":
            return Kind.ACKNOWLEDGED
        if self.on_error == "requeue":
            return Kind.REQUEUED
        dead_letters = self.dead_letters or self.on_error == "dead-letter"
        return Kind.DEAD_LETTERED if dead_letters else Kind.REJECTED

    def _parked(self, delivery: Delivery, error: BaseException, good: bool) -> None:
        """The dead-letter queue has it; or it goes back, if there is none."""
        if not good:
            self._settle(REQUEUED, delivery)
        elif self._channel is not None and self._reason is None:
            self._channel.basic_ack(delivery.tag)
            self.ledger.record(Kind.DEAD_LETTERED, delivery.task_id, self._label, None, delivery.tag)
        self._tell_failed(delivery, error, VERDICTS[Kind.DEAD_LETTERED if good else Kind.REQUEUED])

    def _tell_failed(self, delivery: Delivery, error: BaseException, verdict: str) -> None:
        if self._listener is not None:
            self._tell(self._listener.failed, delivery.body, error, verdict)

    def _later(self) -> None:
        """Go on when the connection has been served."""
        self._soon(self._go_on)

    def _tell(self, method: Callable[..., None], *about: object) -> None:
        try:
            method(*about)
        except BaseException as error:  # the listener is the learner's
            self.error = LabError(f"{self._label}'s listener failed: {type(error).__name__}: {error}.")
            self.error.__cause__ = error
