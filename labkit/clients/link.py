"""A link to the broker: a thread that connects, is served by pika's event loop, and comes back when it is cut off.

Nothing in here blocks: what a link does is callbacks and timers of the connection's loop, so that heartbeats are
answered whatever goes on. The loop is a new one for each connection.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

import pika
from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.channel import Channel
from pika.exceptions import AMQPError

from labkit.brokers.connection import check_parameters, explain, quiet_pika
from labkit.errors import LabError

FIRST_DELAY, LAST_DELAY = 0.2, 2.0  # seconds between attempts to reconnect: doubling from one to the other
DRAIN = 0.001  # seconds between looks whether everything was sent
CLOSE_LIMIT = 1.0  # seconds that the broker gets to say goodbye before the connection is cut


class Link(threading.Thread):
    """One client's connection to the broker, over all of its lives; Worker and Producer say what is done on it.

    ``parameters``  where to connect
    ``reconnect``   whether to come back after a lost connection

    ``error`` is why it is not connected, or why it gave up; ``connections`` counts how often it was.
    https://www.rabbitmq.com/docs/connections
    """

    def __init__(self, parameters: pika.connection.Parameters, *, name: str, reconnect: bool) -> None:
        check_parameters(parameters)
        super().__init__(name=name, daemon=True)
        quiet_pika()
        self.reconnect = reconnect
        self.error: LabError | None = None
        self.connections = 0
        self._parameters = parameters
        self._stopping = False
        self._loop: IOLoop | None = None
        self._connection: pika.SelectConnection | None = None
        self._channel: Channel | None = None
        self._socket: socket.socket | None = None
        self._reason: BaseException | None = None  # why this connection is of no use any more
        self._gone = False  # it is closed
        self._wake = threading.Event()  # ends the pause between two connections

    # --- what others may call ----------------------------------------------------------------

    @property
    def leaving(self) -> bool:
        """Whether it was told to end."""
        return self._stopping

    def stop(self, timeout: float | None = 10) -> None:
        """Let it finish what it is at and leave; waits up to ``timeout`` seconds for that (None: returns at once)."""
        self._stopping = True
        self._call(self._look)
        if timeout is not None and self.is_alive() and self is not threading.current_thread():
            self.join(timeout)

    def cut(self) -> bool:
        """Break its TCP connection, as a dying process would (FIN); it notices, and comes back.

        Returns whether there was a connection to break.
        """
        if (broken := self._socket) is None:
            return False
        with contextlib.suppress(OSError):  # the other side was faster
            broken.shutdown(socket.SHUT_RDWR)
            return True
        return False

    # --- what a client says is done on it ----------------------------------------------------

    def _opened(self, channel: Channel) -> None:
        """The connection is there, and a channel on it."""
        raise NotImplementedError

    def _look(self) -> None:
        """In the loop: something was asked of it by another thread."""
        raise NotImplementedError

    def _lost(self) -> None:
        """In the loop: the connection is gone. The life ends with ``_end()``, at once or later."""
        self._end()

    def _disconnected(self, error: LabError) -> bool:
        """Between two lives: told why the last one ended; returns whether another one may mend it."""
        return True

    def _over(self) -> None:
        """The thread is about to end."""

    # --- the thread --------------------------------------------------------------------------

    def run(self) -> None:
        try:
            self._run()
        except Exception as error:  # a bug of ours, or of pika's: nobody would hear of it
            self.error = LabError(f"{self.name} failed: {type(error).__name__}: {error}.")
            self.error.__cause__ = error
        finally:
            self._over()

    def _run(self) -> None:
        delay = FIRST_DELAY
        while not self.leaving:
            before = self.connections
            reason = self._live()
            if reason is None:
                return
            if isinstance(reason, LabError):
                self.error = reason
            else:
                self.error = explain(reason, self._parameters)
                self.error.__cause__ = reason
            if not self._disconnected(self.error) or not self.reconnect:
                return
            delay = FIRST_DELAY if self.connections > before else delay
            if not self.leaving:
                self._wake.wait(delay)
                self._wake.clear()
            delay = min(delay * 2, LAST_DELAY)

    def _live(self) -> BaseException | None:
        """One connection from its beginning to its end; returns what ended it, None if we did."""
        self._reason, self._gone = None, False
        self._loop = loop = IOLoop()
        try:
            self._connection = pika.SelectConnection(
                self._parameters,
                on_open_callback=self._connected,
                on_open_error_callback=self._closed,
                on_close_callback=self._closed,
                custom_ioloop=loop,
            )
            loop.start()
        except (
            AMQPError,
            AMQPConnectorException,
            OSError,
            UnicodeError,
        ) as error:  # raised in a callback of ours
            self._reason = self._reason or error
        finally:
            self._connection = self._channel = None
            if (ours := self._socket) is not None:
                self._socket = None
                ours.close()
            loop.close()
        return self._reason

    def _connected(self, connection: pika.SelectConnection) -> None:
        self._socket = connection._transport._sock  # type: ignore[attr-defined]  # to be cut: there is no other way
        if self.leaving:
            self._goodbye()
        else:
            connection.channel(on_open_callback=self._channel_opened)

    def _channel_opened(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._channel_closed)
        self._opened(channel)

    def _ready(self) -> None:
        """The client is at work on this connection now."""
        self.connections += 1
        self.error = None

    def _channel_closed(self, _: Channel, reason: Exception) -> None:
        self._channel = None
        if self._reason is None and not self._closing:
            self._give_up(reason)

    def _closed(self, _: pika.SelectConnection, reason: BaseException) -> None:
        if self._reason is None and not self._closing:
            self._reason = reason
        self._channel, self._gone = None, True
        self._lost()

    def _give_up(self, reason: BaseException) -> None:
        """This connection is of no use any more, and why."""
        self._reason = reason
        self._goodbye()

    def _goodbye(self) -> None:
        """Close the connection; what is still on its way has to be read before the broker's goodbye."""
        connection, loop = self._connection, self._loop
        if (
            connection is not None
            and loop is not None
            and not (connection.is_closing or connection.is_closed)
        ):
            loop.call_later(CLOSE_LIMIT, self._cut_off)
            connection.close()

    def _cut_off(self) -> None:
        if not self.cut():
            self._end()

    @property
    def _closing(self) -> bool:
        """Whether it was we who closed the connection."""
        return self.leaving and self._reason is None

    def _end(self) -> None:
        """This connection's life is over."""
        if self._loop is not None:
            self._loop.stop()

    def _call(self, callback: Callable[[], None]) -> None:
        """Have the loop call this, from any thread; between two lives nothing is called."""
        self._wake.set()
        if (loop := self._loop) is not None:
            loop.add_callback_threadsafe(callback)

    def _soon(self, callback: Callable[[], None], seconds: float = 0.0) -> None:
        """Have the loop call this when it has served the connection, so many seconds from now."""
        if self._loop is not None:
            self._loop.call_later(seconds, callback)

    def _when_sent(self, then: Callable[[], None]) -> None:
        """In the loop: call this when nothing waits to be sent any more."""
        if self._gone or not self._unsent():
            then()
        else:
            self._soon(lambda: self._when_sent(then), DRAIN)

    def _unsent(self) -> int:
        """How many bytes wait to be sent."""
        if self._connection is None:
            return 0
        return self._connection._get_write_buffer_size()  # type: ignore[attr-defined, no-any-return]
