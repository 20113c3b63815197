"""What a worker does at a moment, and when it is to crash by itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from labkit import checks


class State(str, Enum):
    """What a worker does at this moment."""

    CONNECTING = "connecting"
    IDLE = "idle"
    WORKING = "working"
    PAUSED = "paused"
    RECONNECTING = "reconnecting"
    CRASHED = "crashed"
    STOPPED = "stopped"

    __str__ = str.__str__


@dataclass(frozen=True)
class CrashPlan:
    """Crash by itself in the n-th task: in the "middle" of the work, or "after" it, before the acknowledgement."""

    task: int
    when: str = "middle"

    def __post_init__(self) -> None:
        checks.whole("crash_in", self.task, 1, 2**31 - 1)
        checks.one_of("crash_when", self.when, ("middle", "after"))
