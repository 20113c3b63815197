"""Processes that outlive the one that started them, and how they are known again."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil

CREATE_TIME_SLACK = 2.0  # seconds by which a process's start may be reported differently after a clock change
_children: list[subprocess.Popen[bytes]] = []  # one that has ended stays a zombie until it is asked for


def spawn(
    command: list[str],
    *,
    environment: dict[str, str],
    directory: Path,
    output: IO[bytes] | int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Starts a process that outlives this one and gets none of its signals (closed terminal, Ctrl-C)."""
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
    child = subprocess.Popen(
        command,
        env=environment,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        creationflags=flags,
        start_new_session=sys.platform != "win32",
    )
    _children.append(child)
    return child


def listens(process: psutil.Process, port: int) -> bool:
    """Whether it is this process that listens on ``port``."""
    try:
        return any(
            entry.status == psutil.CONN_LISTEN and entry.laddr.port == port
            for entry in process.net_connections(kind="inet")
        )
    except psutil.Error:
        return False


def wait_listening(child: subprocess.Popen[bytes], port: int, *, timeout: float) -> bool:
    """Whether ``child`` itself listens on ``port`` within ``timeout`` seconds; it is ended if not."""
    deadline = time.monotonic() + timeout
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(child.pid)
        while child.poll() is None and time.monotonic() < deadline:
            if listens(process, port):
                return True
            time.sleep(0.01)
    if child.poll() is None:
        child.kill()
    return False


def identity(pid: int) -> dict[str, float]:
    """What tells a process from a later one that was given its number; fit for JSON."""
    try:
        return {"pid": pid, "created": psutil.Process(pid).create_time()}
    except psutil.Error:
        return {"pid": pid, "created": 0.0}


def alive(known: object) -> psutil.Process | None:
    """The process that ``identity()`` described; None if it ended, whoever has its number now."""
    _children[:] = [child for child in _children if child.poll() is None]
    pid, created = (known.get("pid"), known.get("created")) if isinstance(known, dict) else (None, None)
    if type(pid) is not int or not isinstance(created, float | int):
        return None  # a damaged state, in which True would do for 1
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - created) < CREATE_TIME_SLACK
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, ValueError, OverflowError):
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
