"""A stretch of work: so many seconds on a loop's timer, which can be held and slowed meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pika.adapters.select_connection import IOLoop


class Stretch:
    """``seconds`` of work at speed 1, begun at once; ``done`` is called in the loop when they are over."""

    def __init__(self, loop: IOLoop, seconds: float, speed: float, done: Callable[[], None]) -> None:
        self._loop, self._left, self._done = loop, seconds, done
        self._speed = 0.0
        self._since = time.perf_counter()
        self._timer: Any = None
        self.go_at(speed)

    def go_at(self, speed: float) -> None:
        """Go on at this speed from now on; 0 holds it."""
        now = time.perf_counter()
        self._left -= (now - self._since) * self._speed
        self._since, self._speed = now, speed
        self.cancel()
        if speed:
            self._timer = self._loop.call_later(max(0.0, self._left / speed), self._done)

    def cancel(self) -> None:
        """Forget it; ``done`` is not called any more."""
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
            self._timer = None
