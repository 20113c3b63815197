"""What a program is called that gives its connections no name: its script, found by the port that it connects from."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from labkit.notebook import in_notebook

INTERPRETERS = ("python", "node", "ruby", "java", "php", "perl", "deno", "bun")


def program_at(port: int, other: int) -> tuple[str, int | None]:
    """The program that has a connection from ``port`` to ``other`` on this machine, and its pid.

    ("", None) where that cannot be seen: another user's, another network namespace's, or Docker's. Takes some
    tens of milliseconds.
    """
    found: list[psutil.Process] = []
    try:
        for entry in psutil.net_connections(kind="tcp"):
            ends = entry.laddr and entry.raddr and (entry.laddr.port, entry.raddr.port)
            if ends == (port, other) and entry.pid:
                found.append(psutil.Process(entry.pid))
        found.sort(key=lambda process: process.create_time())  # children that were forked share the socket
        if not found:
            return "", None
        ours = found[0].pid == os.getpid() and in_notebook()
        return "this notebook" if ours else called(found[0].cmdline()), found[0].pid
    except (psutil.Error, OSError):
        return "", None


def called(command: list[str]) -> str:
    """A short name for a command line: "worker.py" of "python3 -u worker.py --fast"."""
    if not command:
        return ""
    program = Path(command[0]).name
    if program.lower().startswith(INTERPRETERS):
        arguments = iter(command[1:])
        for argument in arguments:
            if argument == "-m":
                return next(arguments, program)
            if argument == "-c":
                return program
            if not argument.startswith("-"):
                return Path(argument).name
    return program
