"""The command line as a person uses it: programs in a terminal, their lines, and Ctrl-C."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from waiting import PATIENCE

from labkit.setup import bootstrap

ROOT = Path(__file__).resolve().parent.parent
BARE_PYTHON = bootstrap.base_python()  # the Python that .venv was made from


def labkit(*arguments, python=sys.executable, cwd=ROOT, timeout=PATIENCE, **environment):
    """Run ``python -m labkit`` to its end; ``environment`` is added, a variable set to None is taken away."""
    return subprocess.run(
        [python, "-m", "labkit", *arguments],
        cwd=cwd,
        env=variables(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def variables(changes):
    together = os.environ | {"PYTHONUNBUFFERED": "1"} | changes
    return {name: str(value) for name, value in together.items() if value is not None}


def listen():
    """What ``nohup`` and ``&`` have the tests ignore, their programs do not: they are ended as from a terminal."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Program:
    """A program that runs on: its lines are read as they come; it is killed at the end of the block."""

    def __init__(self, *command, cwd=ROOT, stdin=subprocess.DEVNULL, **environment):
        self.process = subprocess.Popen(
            list(map(str, command)),
            cwd=cwd,
            env=variables(environment),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=listen if os.name == "posix" else None,
        )
        self.lines = []
        self._coming = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self._coming.put(line.rstrip("\n"))
        self._coming.put(None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def output(self):
        return "\n".join(self.lines)

    def wait_for(self, pattern, timeout=PATIENCE):
        """Return the match of ``pattern`` in the next line that has it."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self._coming.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {pattern!r} within {timeout} s in:\n{self.output}") from None
            if line is None:
                self._coming.put(None)
                raise AssertionError(f"ended without {pattern!r}:\n{self.output}")
            self.lines.append(line)
            match = re.search(pattern, line)
            if match:
                return match

    def interrupt(self, number=signal.SIGINT):
        """Press Ctrl-C: the whole foreground group gets the signal, as from a terminal."""
        os.killpg(self.process.pid, number)

    def end(self, timeout=PATIENCE):
        """Wait until it has ended; return its exit status."""
        status = self.process.wait(timeout)
        while (line := self._coming.get(timeout=timeout)) is not None:
            self.lines.append(line)
        self._coming.put(None)
        return status
