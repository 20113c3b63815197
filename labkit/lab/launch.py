"""Workers in processes of their own, and any other programs, as long as an experiment lasts."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import pika

from labkit import checks
from labkit.clients import program
from labkit.clients.program import Program
from labkit.errors import LabError, ProgramError, QueueMissingError, UsageError, WaitTimeoutError
from labkit.lab.access import Access, queue_name
from labkit.setup import bootstrap, home
from labkit.words import plural

MOST = 50  # at a time: a process each, and another one that guards it
STARTED = 30.0  # seconds until the broker must show their consumers
AT_ONCE = 1.0  # seconds in which a program that cannot work has ended
LOOK = 0.1  # seconds between two looks at the broker
ACKS = ("manual", "automatic")
ON_ERROR = ("reject", "requeue", "acknowledge", "dead-letter")
USUAL_PORT = 5672
HERE = ("localhost", "127.0.0.1", "::1")


class Programs:
    """The programs of one experiment; ``lab`` is the bench."""

    def __init__(self, lab: Access) -> None:
        self._lab = lab
        self.by_name: dict[str, Program] = {}  # the dead ones too

    # --- starting ----------------------------------------------------------------------------

    def workers(
        self,
        n: int,
        queue: str,
        *,
        names: Sequence[str] | None = None,
        taken: Collection[str] = (),
        prefetch: int | None = None,
        ack: str = "manual",
        seconds_per_dot: float = 1.0,
        speed: float = 1.0,
        on_error: str = "reject",
        timeout: float = STARTED,
        parameters: pika.ConnectionParameters | None = None,
    ) -> list[Program]:
        """Start ``labkit worker`` n times; see ``Lab.processes``. ``taken`` are names that others have."""
        options = [
            f"--queue={queue_name(queue)}",
            f"--seconds-per-dot={checks.seconds('seconds_per_dot', seconds_per_dot)}",
            f"--speed={checks.number('speed', speed, above=0)}",
            f"--on-error={checks.one_of('on_error', on_error, ON_ERROR)}",
        ]
        if checks.prefetch(prefetch) is not None:
            options.append(f"--prefetch={prefetch}")
        if checks.one_of("ack", ack, ACKS) == "automatic":
            options.append("--auto-ack")
        command = [sys.executable, "-m", "labkit", "worker", *options]
        named = {name: [*command, f"--name={name}"] for name in self._names(n, names, "process", taken)}
        url, environment = self._environment(parameters)
        path = [str(home.ROOT), *filter(None, [environment.get("PYTHONPATH")])]
        environment |= {
            "LABKIT_BROKER": "remote",
            "LABKIT_AMQP_URL": url,
            "LABKIT_MANAGEMENT_URL": self._management_url(),
            "PYTHONPATH": os.pathsep.join(path),
            bootstrap.SERVES: sys.executable,
        }
        return self._start(named, environment, queue, timeout)

    def start(
        self,
        command: str | Path | Sequence[object],
        n: int = 1,
        *,
        arguments: Sequence[object] = (),
        names: Sequence[str] | None = None,
        taken: Collection[str] = (),
        consumers: str | None = None,
        timeout: float = STARTED,
        parameters: pika.ConnectionParameters | None = None,
    ) -> list[Program]:
        """Start any command n times; see ``Lab.program``. ``taken`` are names that others have."""
        words = program.resolved(command, arguments)
        stem = Path(command if isinstance(command, str | Path) else words[0]).name
        if consumers is not None:
            queue_name(consumers)
        named = dict.fromkeys(self._names(n, names, stem, taken), words)
        return self._start(named, self._environment(parameters)[1], consumers, timeout)

    def _names(self, n: int, names: Sequence[str] | None, stem: str, taken: Collection[str]) -> Sequence[str]:
        """A name for each, that nobody else has."""
        checks.whole("n", n, 1, MOST)
        others = {*self.by_name, *taken}
        if names is None:
            numbered = (f"{stem}-{number}" for number in range(1, len(others) + n + 1))
            return [name for name in numbered if name not in others][:n]
        if isinstance(names, str) or not isinstance(names, Sequence) or len(names) != n:
            raise checks.refused("names", names, f"Give a list of {plural(n, 'name')}, one each.")
        for name in names:
            checks.text("A name", name)
        twice = [name for name in names if name in others or names.count(name) > 1]
        if twice:
            raise UsageError(
                f"The name {twice[0]!r} is taken twice.", do="Give each a name of its own.", field="names"
            )
        return names

    def _environment(self, parameters: pika.ConnectionParameters | None) -> tuple[str, dict[str, str]]:
        """The address that programs get, and the environment that has it."""
        if parameters is None:
            parameters, url = self._lab.parameters("program"), self._lab.amqp_url
        else:
            url = program.address(parameters)
        return url, program.environment(url, parameters)

    def _management_url(self) -> str:
        """The address of the management API, with the user and the password; empty if there is none."""
        broker = self._lab.broker
        if not broker.management_url:
            return ""
        user, password = (quote(text, safe="") for text in broker.management_credentials)
        scheme, _, rest = broker.management_url.partition("://")
        return f"{scheme}://{user}:{password}@{rest}"

    def _start(
        self, named: Mapping[str, list[str]], environment: dict[str, str], queue: str | None, timeout: float
    ) -> list[Program]:
        checks.seconds("timeout", timeout)
        before = 0 if queue is None else self._consumers(queue)
        started: list[Program] = []
        try:
            for name, command in named.items():
                started.append(Program(name, command, environment))
            if queue is None:
                self._watch(started, environment)
            else:
                self._await_consumers(started, environment, queue, before, timeout)
        except BaseException:  # Ctrl-C as well
            end(started)
            raise
        self.by_name |= {one.name: one for one in started}
        return started

    def _watch(self, started: list[Program], environment: Mapping[str, str]) -> None:
        """See whether one ends at once; a producer may, if all is well."""
        deadline = time.monotonic() + AT_ONCE
        while True:
            statuses = [one.exit_code for one in started]
            for one, status in zip(started, statuses, strict=True):
                if status:
                    raise self._ended(one, environment)
            if None not in statuses or time.monotonic() > deadline:
                return
            time.sleep(LOOK / 2)

    def _await_consumers(
        self,
        started: list[Program],
        environment: Mapping[str, str],
        queue: str,
        before: int,
        timeout: float,
    ) -> None:
        deadline = time.monotonic() + timeout
        while (there := self._consumers(queue)) < before + len(started):
            before = min(before, there)  # one that was killed just now was counted still
            self._lab.check()
            for one in started:
                if one.exit_code is not None:
                    raise self._ended(one, environment)
            if time.monotonic() > deadline:
                said = "\n".join(f"{one.name} printed last:\n{one.last_lines()}" for one in started[:3])
                raise WaitTimeoutError(
                    f"After {timeout:g} s the broker shows {plural(there, 'consumer')} on {queue},"
                    f" not {before + len(started)}.",
                    do=f"{_hint(environment)}{said}",
                    limit=timeout,
                )
            time.sleep(LOOK)

    def _consumers(self, queue: str) -> int:
        with contextlib.suppress(QueueMissingError):  # the program may declare it
            return self._lab.depth(queue)[1]
        return 0

    def _ended(self, one: Program, environment: Mapping[str, str]) -> LabError:
        status = one.wait(AT_ONCE)
        return ProgramError(
            f"{one.name} ended at once with exit status {status}.",
            do=f"{_hint(environment)}It printed last:\n{one.last_lines()}",
            name=one.name,
            exit_code=status,
            output=one.output,
        )

    # --- the end -----------------------------------------------------------------------------

    def state(self) -> str:
        """What each does, in words; nothing if there is none."""
        states = ", ".join(f"{name} {one.state}" for name, one in self.by_name.items())
        return f" Programs: {states}." if states else ""

    def close(self, grace: float) -> None:
        """End them all: politely, and those that are still there after ``grace`` seconds with SIGKILL."""
        end(list(self.by_name.values()), grace)


def end(programs: Sequence[Program], grace: float = 0.0) -> None:
    """End them all; they have ``grace`` seconds, together, to go by themselves."""
    for one in programs:
        one.ask_to_end()
    deadline = time.monotonic() + grace
    for one in programs:
        one.close(max(0.0, deadline - time.monotonic()))


def _hint(environment: Mapping[str, str]) -> str:
    """What to change in a program that looks for a broker at the usual place, if the lab's is elsewhere."""
    host, port = environment[program.HOSTS[0]], environment[program.PORTS[0]]
    if host in HERE and port == str(USUAL_PORT):
        return ""
    return (
        f"The broker is at {host}:{port}, not at localhost:{USUAL_PORT}: have the program connect to the address"
        " in its environment variable AMQP_URL.\n"
    )
