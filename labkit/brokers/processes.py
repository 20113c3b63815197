"""Processes that outlive the one that started them, and how they are known again."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil

CREATE_TIME_SLACK = 2.0  # seconds by which a process's start may be reported differently after a clock change
_children: list[subprocess.Popen] = []  # one that has ended stays a zombie until it is asked for


def spawn(
    command: list[str],
    *,
    environment: dict[str, str],
    directory: Path,
    output: IO[bytes] | int = subprocess.DEVNULL,
) -> subprocess.Popen:
    """Starts a process that outlives this one and gets none of its signals (closed terminal, Ctrl-C)."""
    if os.name == "nt":
        apart: dict = {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    else:
        apart = {"start_new_session": True}
    child = subprocess.Popen(
        command,
        env=environment,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        **apart,
    )
    _children.append(child)
    return child


def wait_listening(child: subprocess.Popen, port: int, *, timeout: float) -> bool:
    """Whether ``child`` itself listens on ``port`` within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while child.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(psutil.Error):
            if any(
                entry.laddr.port == port and entry.status == psutil.CONN_LISTEN
                for entry in psutil.Process(child.pid).net_connections(kind="inet")
            ):
                return True
        time.sleep(0.01)
    if child.poll() is None:
        child.kill()
    return False


def identity(pid: int) -> dict:
    """What tells a process from a later one that was given its number; fit for JSON."""
    try:
        return {"pid": pid, "created": psutil.Process(pid).create_time()}
    except psutil.Error:
        return {"pid": pid, "created": 0.0}


def alive(known: object) -> psutil.Process | None:
    """The process that ``identity()`` described; None if it ended, whoever has its number now."""
    _children[:] = [child for child in _children if child.poll() is None]
    try:
        process = psutil.Process(int(known["pid"]))
        same = abs(process.create_time() - float(known["created"])) < CREATE_TIME_SLACK
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, KeyError, TypeError, ValueError):
        return None


def kill(process: psutil.Process) -> None:
    """SIGKILL for a process and the helpers it started (on Windows a child may be what does the work)."""
    with contextlib.suppress(psutil.Error):
        family = [process, *process.children(recursive=True)]
        for member in family:
            with contextlib.suppress(psutil.Error):
                member.kill()


def with_environment(names: tuple[str, ...], variable: str, value: str) -> Iterator[psutil.Process]:
    """The live processes whose name begins with one of ``names`` and that were given ``variable=value``."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.name().startswith(names) and process.environ().get(variable) == value:
                yield process
