"""Queues that a kernel left behind when it was killed: whose they are is in their names."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Callable

import psutil

from labkit.errors import LabError
from labkit.management import Management


def clear(management: Management, prefix: str, delete: Callable[[str], object]) -> None:
    """Delete the queues that begin with ``prefix``, and those of processes of this machine that are gone.

    A queue of the lab is named ``lab.LESSON.OWNER.NAME``; those of other machines are left alone. ``delete``
    is called with a name. It should ask over AMQP: a quorum queue whose log was lost in a crash takes five
    seconds to go, and the management API gives up before that.
    """
    for queue in management.queues("lab."):
        parts = queue.name.split(".", 3)
        if queue.name.startswith(prefix) or (len(parts) == 4 and not _alive(parts[2])):
            with contextlib.suppress(LabError):
                delete(queue.name)


def owner() -> str:
    """This process in a queue's name: the machine, the process, and when it began."""
    return f"{_machine()}-{os.getpid()}-{int(psutil.Process().create_time()) % 100_000}"


def _machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:4]


def _alive(owner: str) -> bool:
    """Whether the process of ``owner()`` may still be there; those of other machines are left alone."""
    machine, _, rest = owner.partition("-")
    pid, _, began = rest.partition("-")
    if machine != _machine() or not pid.isdigit():
        return True
    try:
        return str(int(psutil.Process(int(pid)).create_time()) % 100_000) == began
    except psutil.Error:
        return False
