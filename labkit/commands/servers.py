"""The lab's own JupyterLab servers: which of them run, and the end of those whose launcher was killed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from labkit.brokers import processes
from labkit.setup import bootstrap
from labkit.setup.machine import say

HOME = bootstrap.STATE / "jupyter"
RUNTIME = HOME / "runtime"
OPTION = (
    f"--ServerApp.root_dir={bootstrap.ROOT}"  # by this and its runtime directory a server is known for ours
)
LAUNCHER = "LABKIT_LAUNCHER"  # the environment variable in which a server has the process that started it
END_TIMEOUT = 15  # seconds that a server may take to end its kernels and itself
LOGS_KEPT = 5


@dataclass(frozen=True)
class Server:
    """A JupyterLab that this checkout started."""

    process: psutil.Process
    launcher: psutil.Process | None  # None: it was killed

    @property
    def ports(self) -> set[int]:
        """The ports on which it listens."""
        with contextlib.suppress(psutil.Error):
            entries = self.process.net_connections(kind="inet")
            return {entry.laddr.port for entry in entries if entry.status == psutil.CONN_LISTEN}
        return set()


def launcher() -> str:
    """What a server that this process starts is given as its ``LAUNCHER``."""
    return json.dumps(processes.identity(os.getpid()))


def running() -> Iterator[Server]:
    """The lab's own servers that run now."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ValueError):
            if OPTION in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                given = process.environ()
                if given.get("JUPYTER_RUNTIME_DIR") == str(RUNTIME):
                    yield Server(process, processes.alive(json.loads(given.get(LAUNCHER, "{}"))))


def end_orphans() -> None:
    """End each server whose launcher was killed, with its kernels: nobody else would."""
    for server in running():
        if server.launcher is None:
            say(f"Ending a JupyterLab of this lab whose start was killed (process {server.process.pid})…")
            with contextlib.suppress(psutil.NoSuchProcess):
                server.process.terminate()
                try:
                    server.process.wait(END_TIMEOUT)
                except psutil.TimeoutExpired:
                    processes.kill(server.process)


def log() -> Path:
    """What the server that this process started has said; each has a file of its own."""
    return HOME / f"server-{os.getpid()}.log"


def new_log() -> Path:
    """``log()``, for a server that is about to start; of those before it only the newest are kept."""
    logs = sorted(HOME.glob("server-*.log"), key=lambda path: path.stat().st_mtime)
    for old in logs[: 1 - LOGS_KEPT]:
        with contextlib.suppress(OSError):  # Windows: it is being written
            old.unlink()
    return log()
