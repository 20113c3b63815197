"""A program in a process of its own, which can be killed, stopped and frozen: a learner's worker, in any language."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import pika
import psutil

from labkit import checks
from labkit.brokers import processes
from labkit.clients import guard
from labkit.errors import ProgramError, UsageError, WaitTimeoutError

KEPT = 16_384  # bytes that are kept of what a program printed last
CHUNK = 65_536  # bytes
SIGNAL_LIMIT = 10.0  # seconds until a signal that nobody can refuse must have struck
POLL = 0.01  # seconds between two looks
FLAGS = 0
if (
    sys.platform == "win32"
):  # a console that nobody sees: CTRL_BREAK goes through it, from the guard to the program
    FLAGS = subprocess.CREATE_NO_WINDOW
# What programs read their broker's address from: RabbitMQ's and CloudAMQP's examples, Bunny, and Celery, which
# prefers this to what its configuration says.
URLS = ("AMQP_URL", "RABBITMQ_URL", "CLOUDAMQP_URL", "CELERY_BROKER_URL")
HOSTS, PORTS = ("AMQP_HOST", "RABBITMQ_HOST"), ("AMQP_PORT", "RABBITMQ_PORT")


class Program:
    """A running command; ``state`` is "running", "frozen", "killed" or "ended".

    It ends with this Python, however that ends: a second process, ``labkit.clients.guard``, sees to it.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the ``command`` in this folder, with just this ``environment``.

        ProgramError if the system cannot start it. ``name`` is what the lab calls it.
        """
        self.name, self.command = name, list(command)
        self.pid = 0
        self._output, self._lock = b"", threading.Lock()
        self._exit_code: int | None = None
        self._identity: dict[str, float] = {}
        self._guard = subprocess.Popen(
            # Isolated and without site-packages: it starts in no time, whatever the environment says to Python.
            [sys.executable, "-I", "-S", guard.__file__, *self.command],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=sys.platform != "win32",  # a Ctrl-C, or Jupyter's interrupt, is not for it
            creationflags=FLAGS,
        )
        assert self._guard.stdin and self._guard.stdout and self._guard.stderr
        self._commands, self._words = self._guard.stdin, self._guard.stdout
        self._printed = self._guard.stderr
        try:
            said, _, number = self._words.readline().decode().partition(" ")
        except BaseException:  # Ctrl-C, whose traceback would keep it alive
            self._commands.close()
            raise
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()
        if said != "started":
            self._guard.wait()
            self._settle()
            why = os.strerror(int(number)) if said == "failed" else "its guard ended"
            raise ProgramError(
                f"{self.command[0]} cannot be started: {why}.",
                do="Check that it is a program that this machine can run.",
                name=name,
                output=self.output,
            )
        self.pid = int(number)
        self._identity = processes.identity(self.pid)

    # --- what it does ------------------------------------------------------------------------

    @property
    def exit_code(self) -> int | None:
        """Its exit status; None while it is there. A signal that ended it is negative: -9 is SIGKILL."""
        if self._guard.poll() is None:
            return None
        with self._lock:
            if self._exit_code is None:
                with self._words:
                    said, _, status = self._words.read().decode().strip().partition(" ")
                if said != "ended" and (orphan := processes.alive(self._identity)):
                    processes.kill(orphan)  # somebody has killed the guard
                self._exit_code = int(status) if said == "ended" else guard.KILLED
        return self._exit_code

    @property
    def state(self) -> str:
        """What the system says of it now: somebody else can kill or freeze it, too."""
        if (status := self.exit_code) is not None:
            return "killed" if status == guard.KILLED else "ended"
        with contextlib.suppress(psutil.Error):
            if psutil.Process(self.pid).status() == psutil.STATUS_STOPPED:
                return "frozen"
        return "running"

    @property
    def output(self) -> str:
        """What it printed last, at most 16 kB of it, standard output and errors as they came."""
        kept = self._output
        if len(kept) == KEPT:  # the first line has lost its beginning
            kept = kept.partition(b"\n")[2] or kept
        return kept.decode("utf-8", "replace").replace("\r\n", "\n")

    def last_lines(self, most: int = 5) -> str:
        """The last lines that it printed, for an error."""
        lines = self.output.strip().splitlines()[-most:]
        return "\n".join(line[:200] for line in lines) or "(nothing)"

    def wait(self, timeout: float) -> int:
        """Wait until it has ended, and return its ``exit_code``. WaitTimeoutError after ``timeout`` seconds."""
        checks.seconds("timeout", timeout)
        try:
            self._guard.wait(timeout)
        except subprocess.TimeoutExpired:
            raise WaitTimeoutError(
                f"{self.name} is still {self.state} after {timeout:g} s.",
                do=f"It printed last:\n{self.last_lines()}",
                limit=timeout,
            ) from None
        return self._settle()

    # --- what is done to it ------------------------------------------------------------------

    def kill(self) -> None:
        """End it and all that it started with SIGKILL, as a crash would; it is gone when this returns.

        Harmless when it has ended. WaitTimeoutError if the system does not let go of it.
        """
        self._send("SIGKILL")
        self.wait(SIGNAL_LIMIT)

    def stop(self, timeout: float = 10) -> None:
        """Ask it to end (SIGTERM, as ``kill PID`` does; CTRL_BREAK on Windows), and wait until it has.

        Harmless when it has ended. WaitTimeoutError if it is still there after ``timeout`` seconds; UsageError
        for a frozen one, which cannot hear it.
        """
        checks.seconds("timeout", timeout)
        if self.state == "frozen":
            raise UsageError(
                f"{self.name} is frozen: it cannot react to SIGTERM.", do="Thaw it first, or kill it."
            )
        self._send("SIGTERM")
        self.wait(timeout)

    def freeze(self) -> None:
        """Freeze it and all that it started (SIGSTOP): it does nothing and holds everything, its connections too.

        UsageError on Windows, which has no SIGSTOP. ProgramError if it has ended.
        """
        self._strike("SIGSTOP", "frozen")

    def thaw(self) -> None:
        """Let it go on (SIGCONT) where it was frozen. The same errors as ``freeze``."""
        self._strike("SIGCONT", "running")

    def _strike(self, name: str, state: str) -> None:
        if not hasattr(signal, name):
            raise UsageError(f"Windows has no {name}.", do="Kill it instead, or use Linux or macOS.")
        self._send(name)
        deadline = time.monotonic() + SIGNAL_LIMIT
        while self.state != state:
            if self.exit_code is not None:
                raise ProgramError(
                    f"{self.name} has ended.",
                    do="Start it again.",
                    name=self.name,
                    exit_code=self.exit_code,
                    output=self.output,
                )
            if time.monotonic() > deadline:
                raise WaitTimeoutError(f"{self.name} is not {state} after {name}.", limit=SIGNAL_LIMIT)
            time.sleep(POLL)

    def _send(self, name: str) -> None:
        # If its guard has ended, or the pipe is closed already, so has the program.
        with contextlib.suppress(OSError, ValueError):
            self._commands.write(f"{name}\n".encode())

    def ask_to_end(self) -> None:
        """Send SIGTERM and wait for nothing; for a frozen one it is SIGKILL, because nothing else would do."""
        self._send("SIGKILL" if self.state == "frozen" else "SIGTERM")

    def close(self, grace: float = 0.0) -> None:
        """See that it is gone: after ``grace`` seconds it is killed. Harmless when repeated."""
        with contextlib.suppress(WaitTimeoutError):
            self.wait(grace)
            return
        self.kill()

    def _settle(self) -> int:
        """The exit status, when the guard has ended: everything of it is put away."""
        status = self.exit_code
        self._reader.join(SIGNAL_LIMIT / 10)  # the last lines; somebody who escaped may hold them open
        with contextlib.suppress(OSError):
            self._commands.close()
        return guard.KILLED if status is None else status

    def _read(self) -> None:
        with self._printed:
            while chunk := self._printed.read(CHUNK):
                self._output = (self._output + chunk)[-KEPT:]

    def __repr__(self) -> str:
        return f"<{self.name}: {self.state}, process {self.pid}>"


def environment(url: str, parameters: pika.connection.Parameters) -> dict[str, str]:
    """This Python's environment, with the broker's address under the names that programs look for it."""
    return {
        **os.environ,
        **dict.fromkeys(URLS, url),
        **dict.fromkeys(HOSTS, parameters.host),
        **dict.fromkeys(PORTS, str(parameters.port)),
        "PYTHONUNBUFFERED": "1",  # its lines are seen when they are printed
        "PYTHONIOENCODING": "utf-8",
    }


def address(parameters: pika.connection.Parameters) -> str:
    """The address that leads where the parameters lead, for any AMQP client; the password is in it."""
    scheme, user = "amqps" if parameters.ssl_options else "amqp", ""
    if isinstance(who := parameters.credentials, pika.PlainCredentials):
        user = f"{_quoted(who.username)}:{_quoted(who.password)}@"
    host = f"[{parameters.host}]" if ":" in parameters.host else parameters.host
    heartbeat = f"?heartbeat={parameters.heartbeat}" if isinstance(parameters.heartbeat, int) else ""
    return f"{scheme}://{user}{host}:{parameters.port}/{_quoted(parameters.virtual_host)}{heartbeat}"


def _quoted(text: str) -> str:
    return quote(text, safe="")


def resolved(command: object, arguments: Sequence[object]) -> list[str]:
    """The words of a command: a file (a ``.py`` one for this Python) or a list as it is, then the arguments.

    UsageError for a file or a command that is not there, and for what is no command.
    """
    if isinstance(command, str | Path):
        file = Path(command)
        if not command or not file.is_file():
            raise UsageError(
                f"There is no file {str(command)!r} in {Path.cwd()}.",
                do="Check its name and folder; a command with arguments is a list, as in ['node', 'worker.js'].",
                field="command",
            )
        words: list[object] = [sys.executable, file] if file.suffix == ".py" else [file.absolute()]
    elif isinstance(command, Sequence) and not isinstance(command, bytes) and command:
        words = list(command)
    else:
        raise checks.refused("command", command, "Use a file, or a list as in ['node', 'worker.js'].")
    if isinstance(arguments, str | bytes) or not isinstance(arguments, Sequence):
        raise checks.refused("arguments", arguments, "Give a list of them.")
    words += arguments
    for word in words:
        if not isinstance(word, str | Path | int | float) or "\0" in str(word):
            raise checks.refused("A word of the command", word, "Use texts, paths and numbers.")
    found = list(map(str, words))
    if shutil.which(found[0]) is None:
        raise UsageError(
            f"There is no command {found[0]!r}.",
            do="Check its name, and that it is installed and in the PATH.",
            field="command",
        )
    return found
