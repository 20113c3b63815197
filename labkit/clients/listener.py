"""Who is told what a worker does."""

from __future__ import annotations

from labkit.errors import LabError
from labkit.tasks import Task


class Listener:
    """Does nothing; a listener of your own says what it wants to hear. Called in the worker's thread.

    What a listener raises is noted as the worker's ``error``; the worker goes on.
    """

    def received(self, task: Task, redelivered: bool) -> None:
        """A task is begun; ``redelivered`` says that it was sent to somebody before."""

    def done(self, task: Task, result: object) -> None:
        """It is done, and not yet acknowledged; ``result`` is what its handler returned."""

    def failed(self, message: bytes, error: BaseException, verdict: str) -> None:
        """It cannot be done; ``verdict`` is what the broker is told of it.

        "rejected", "requeued", "acknowledged", "dead-lettered", or "" where nothing is said (automatic acks).
        """

    def reconnecting(self, error: LabError) -> None:
        """The connection is gone; the worker tries again."""
