"""One direction of a tapped connection: bytes go on as they come, unless a fault holds, delays or limits them.

Nothing is ever dropped or reordered: what is held goes on when the fault is over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

MOST_HELD = 64 * 1024 * 1024  # bytes that a silence holds before no more is read
BURST = 0.05  # seconds of bandwidth that may go at once
SOON = 0.001  # seconds


class Flow:
    """Sends to ``transport``; may be silenced, delayed (seconds) and limited (bytes a second) while it flows."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        room: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """``room`` is told when it holds too much (False), and when there is room again."""
        self._loop, self._transport, self._room = loop, transport, room
        self._full = False
        self._then: Callable[[], None] | None = None  # to be called when nothing is held
        self._queue: deque[tuple[float, bytes]] = deque()  # when it may go on, and what
        self._held = 0  # bytes in the queue
        self._timer: asyncio.TimerHandle | None = None
        self._delay = 0.0
        self._rate: float | None = None
        self._tokens, self._since = 0.0, 0.0  # bytes that may go at once, as of then
        self._silent = False

    @property
    def held(self) -> int:
        """Bytes that have come in and were not sent on."""
        return self._held

    def send(self, data: bytes) -> None:
        """Send this on, now or when it may go."""
        if not (self._queue or self._delay or self._rate or self._silent):
            self._transport.write(data)
            return
        self._queue.append((self._loop.time() + self._delay, data))
        self._held += len(data)
        if self._held > MOST_HELD and not self._full:
            self._full = True
            self._room(False)
        self._pump()

    def when_empty(self, then: Callable[[], None]) -> None:
        """Call this when all that has come in was sent on; at once if it is so."""
        if self._queue or self._silent:
            self._then = then
        else:
            then()

    def set_silent(self, silent: bool) -> None:
        """Hold everything from now on, or let it go."""
        self._silent = silent
        self._pump()

    def set_delay(self, seconds: float) -> None:
        """From now on everything takes so long."""
        self._delay = seconds

    def set_rate(self, rate: float | None) -> None:
        """So many bytes a second from now on; None is no limit."""
        self._rate, self._tokens, self._since = rate, 0.0, self._loop.time()
        self._pump()

    def close(self) -> None:
        """Send nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._queue.clear()
        self._held, self._then = 0, None

    def _pump(self) -> None:
        """Send on what may go, and come back for the rest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue and not self._silent:
            due, data = self._queue[0]
            wait = due - self._loop.time()
            if wait <= 0 and self._rate:
                data, wait = self._allowed(data)
            if wait > 0:
                self._timer = self._loop.call_later(max(wait, SOON), self._pump)
                return
            self._take(data)
        if self._full and self._held < MOST_HELD // 2:
            self._full = False
            self._room(True)
        if not self._queue and not self._silent and (then := self._then) is not None:
            self._then = None
            then()

    def _take(self, data: bytes) -> None:
        due, first = self._queue.popleft()
        if len(data) < len(first):
            self._queue.appendleft((due, first[len(data) :]))
        self._held -= len(data)
        self._transport.write(data)

    def _allowed(self, data: bytes) -> tuple[bytes, float]:
        """As much of it as the bandwidth allows now, or how long (seconds) until there is some."""
        rate, now = self._rate or 1.0, self._loop.time()
        self._tokens = min(self._tokens + (now - self._since) * rate, max(rate * BURST, 1.0))
        self._since = now
        if self._tokens < 1:
            return data, (min(len(data), max(rate * BURST / 2, 1.0)) - self._tokens) / rate
        part = data[: int(self._tokens)]
        self._tokens -= len(part)
        return part, 0.0
