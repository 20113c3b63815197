"""A private RabbitMQ node: a process of this machine with every file under ``.labkit/``."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil

from labkit.brokers import config, processes
from labkit.brokers.broker import START_TIMEOUT, Broker, Say
from labkit.brokers.epmd import Epmd
from labkit.brokers.plainpath import remove_link
from labkit.brokers.statefile import StateFile
from labkit.errors import BrokerError, BrokerStartError, PortTakenError
from labkit.setup.home import state_directory
from labkit.setup.ports import LOOPBACK, port_free, wanted_port
from labkit.setup.programs import RabbitMQ, find_rabbitmq

VARIABLES = {"amqp": "LABKIT_AMQP_PORT", "management": "LABKIT_MANAGEMENT_PORT"}
BOOT_ATTEMPTS = 3
PORTS_RELEASED = 5.0  # seconds at most until the ports of an ended process are free again
LAST_WORDS = 15  # lines of output that an error quotes
LONGEST_LINE = 300  # characters of each


class Node(Broker):
    """A private node: loopback only, its own ports, outlives the process that started it."""

    kind = "node"

    def __init__(self, *, root: Path | None = None) -> None:
        """``root`` is where ``.labkit`` is (default: ``LABKIT_HOME``, or the checkout)."""
        self.directory = state_directory(root) / "node"
        self._state = StateFile(
            self.directory / "state.json", lock=self.directory / "lock", ports=config.FIRST_PORTS
        )
        self._epmd = Epmd(self.directory, self._state)
        self._printed = self.directory / "log" / "printed.log"

    @property
    def amqp_url(self) -> str:
        return f"amqp://guest:guest@{LOOPBACK}:{self._port('amqp')}/%2F"

    @property
    def management_url(self) -> str:
        return f"http://{LOOPBACK}:{self._port('management')}"

    def require_program(self) -> RabbitMQ:
        """The installed RabbitMQ; raises BrokerNotInstalledError or BrokerTooOldError."""
        return find_rabbitmq()

    def running(self) -> bool:
        return self._listening() and self.greeting() is not None

    def in_use(self) -> bool:
        return self._process() is not None or self._state.comes_back

    def uptime(self) -> float | None:
        process = self._process()
        return None if process is None else max(0.0, time.time() - process.create_time())

    def logs(self, lines: int = 100) -> str:
        """The end of RabbitMQ's own log, or of what it printed when it did not come that far."""
        found = [log for log in (self._printed, self.directory / "log" / "rabbit.log") if log.is_file()]
        found.sort(key=lambda log: log.stat().st_mtime)
        if not found:
            return ""
        return "\n".join(found[-1].read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def start(self, *, timeout: float = START_TIMEOUT, say: Say = print) -> None:
        """Starts the node unless it runs already.

        Raises BrokerStartError with the end of its log when it does not come up within ``timeout`` seconds.
        """
        with self._state.locked(timeout):
            self._start(timeout, say)

    def stop(self, *, timeout: float = START_TIMEOUT, say: Say = print) -> None:
        with self._state.locked(timeout):
            self._stop(timeout, say)

    def restart(self, *, timeout: float = START_TIMEOUT, say: Say = print) -> None:
        with self._state.locked(timeout):
            self._stop(timeout, say, comes_back=True)
            self._start(timeout, say)

    def kill(self, *, timeout: float = START_TIMEOUT, say: Say = print) -> None:
        with self._state.locked(timeout):
            process = self._process()
            comes_back = self.in_use()
            if process is not None:
                processes.kill(process)
                self._wait_ended(process, timeout)
                say(f"RabbitMQ was killed (SIGKILL, process {process.pid}).")
            self._forget(comes_back=comes_back)

    def throw_away(self, *, timeout: float = START_TIMEOUT, say: Say = print) -> None:
        """Ends it, and deletes everything that is in it and the ports that it keeps."""
        self.stop(timeout=timeout, say=say)
        shutil.rmtree(self.directory, ignore_errors=True)

    def ctl(self, *arguments: str, timeout: float = 60.0) -> str:
        """Runs ``rabbitmqctl`` against this node; returns what it printed.

        Raises BrokerError with its output when it fails or takes more than ``timeout`` seconds.
        """
        command = [str(self.require_program().ctl), "-n", config.NODENAME, *arguments]
        try:
            done = subprocess.run(
                command,
                env=config.environment(self.directory, self._ports()),
                cwd=self.directory,
                capture_output=True,
                text=True,
                timeout=timeout,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BrokerError(f"rabbitmqctl {arguments[0]} did not work: {error}.") from error
        if done.returncode:
            raise BrokerError(f"rabbitmqctl {arguments[0]} failed:\n{(done.stdout + done.stderr).strip()}")
        return done.stdout

    # ---- what is remembered -------------------------------------------------------------------

    def _ports(self) -> dict[str, int]:
        return self._state.ports or {
            name: wanted_port(VARIABLES.get(name, "")) or first for name, first in config.FIRST_PORTS.items()
        }

    def _port(self, name: str) -> int:
        return self._ports()[name]

    def _forget(self, *, comes_back: bool = False) -> None:
        """Keeps the ports for the next start; if it comes back soon, epmd too, which keeps others off them."""
        if not comes_back:
            self._epmd.end()
            remove_link(self.directory)
        if kept := self._state.read():
            epmd = {"epmd": kept.get("epmd")} if comes_back else {}
            self._state.replace({"ports": kept.get("ports"), "comes_back": comes_back, **epmd})

    def _process(self) -> psutil.Process | None:
        """The live process that the state speaks of; None for a dead one or another one with its number."""
        return processes.alive(self._state.read().get("broker"))

    def _listening(self) -> bool:
        """Whether our broker itself has its port, and its files where it looks for them."""
        process = self._process()
        return (
            process is not None and not self._state.moved and processes.listens(process, self._port("amqp"))
        )

    # ---- starting -----------------------------------------------------------------------------

    def _start(self, timeout: float, say: Say) -> None:
        began = time.monotonic()
        if self._state.moved and self._process() is not None:
            say(
                "This checkout was moved while its RabbitMQ ran, which must start again where its files are now."
            )
            self._stop(timeout, say, comes_back=True)
        if self._process() is not None:  # it runs, or is on its way up, or down: who began that may be dead
            try:
                self._wait_booted(began + timeout)
                return
            except BrokerStartError:
                if self._process() is not None:
                    raise
        program = self.require_program()
        say(f"Starting RabbitMQ {program.version_text} as a private node ...")
        self._epmd.end_leftovers()
        lost: list[dict[str, int]] = []
        while True:
            ports = self._claim_ports(lost, say)
            try:
                self._boot(program, ports, began + timeout)
                break
            except BrokerStartError:
                # Another program can take a port in the seconds between our look and RabbitMQ's.
                lost.append(ports)
                if all(map(port_free, ports.values())) or len(lost) == BOOT_ATTEMPTS:
                    raise
        say(f"RabbitMQ answers at {self.address()} ({time.monotonic() - began:.0f} s).")

    def _claim_ports(self, lost: list[dict[str, int]], say: Say) -> dict[str, int]:
        """Chooses ports that are all free, and starts epmd on its one, which keeps other labs off the rest."""
        asked = config.wanted_ports(VARIABLES.values())
        wanted = {name: asked[variable] for name, variable in VARIABLES.items() if variable in asked}
        kept = self._ports()
        for ports in (kept | wanted, *(config.slot(number) | wanted for number in config.SLOTS)):
            apart = len(set(ports.values())) == len(ports)
            if apart and ports not in lost and self._epmd.claim(ports):
                for name in VARIABLES:
                    if ports[name] != kept[name] and name not in wanted:
                        say(f"Port {kept[name]} is not free; this broker takes {ports[name]}.")
                return ports
        raise PortTakenError(
            f"None of the ports from {config.FIRST_PORTS['amqp']} on is free together with those that belong to it.",
            do="Close the programs that listen there, and try again.",
        )

    def _boot(self, program: RabbitMQ, ports: dict[str, int], deadline: float) -> None:
        config.write_files(self.directory, ports)
        try:
            with self._printed.open("wb") as printed:
                child = processes.spawn(
                    [str(program.server)],
                    environment=config.environment(self.directory, ports),
                    directory=self.directory,
                    output=printed,
                )
            self._state.update(broker=processes.identity(child.pid), comes_back=False)
            self._wait_booted(deadline)
        except BaseException as error:  # Ctrl-C as well: a broker that is half up is of use to nobody
            process = self._process()
            if process is not None:
                processes.kill(process)
                self._wait_ended(process, PORTS_RELEASED)
            self._forget()
            if isinstance(error, OSError):
                raise BrokerStartError(f"RabbitMQ could not be started: {error}.") from error
            raise

    def _wait_booted(self, deadline: float) -> None:
        while True:
            if self._process() is None:
                raise BrokerStartError(
                    f"RabbitMQ ended while it was starting. It said:\n{self._last_words()}",
                    do="Mend what it says, or move .labkit/node away to start with an empty broker.",
                )
            if self.running():
                self.wait_ready(max(1.0, deadline - time.monotonic()))
                return
            if time.monotonic() > deadline:
                raise BrokerStartError(
                    f"RabbitMQ did not answer in time at {self.address()}. It said:\n{self._last_words()}",
                    do="Try again (a very busy machine needs longer), after `python3 -m labkit broker kill`.",
                )
            time.sleep(0.05)

    def _last_words(self) -> str:
        """Of what a failing RabbitMQ prints, the end of what comes before the reports of the crash."""
        text = ""
        with contextlib.suppress(OSError):
            text = self._printed.read_text(encoding="utf-8", errors="replace")
        lines = text.partition("BOOT FAILED")[0].strip().splitlines()
        return "\n".join(line[:LONGEST_LINE] for line in lines[-LAST_WORDS:]) or "(nothing)"

    # ---- stopping -----------------------------------------------------------------------------

    def _stop(self, timeout: float, say: Say, *, comes_back: bool = False) -> None:
        process = self._process()
        if process is not None:
            began = time.monotonic()
            say("Stopping RabbitMQ ...")
            if os.name == "nt":
                self.ctl("shutdown", timeout=timeout)
            else:
                process.send_signal(signal.SIGTERM)
            self._wait_ended(process, timeout)
            say(f"RabbitMQ is stopped ({time.monotonic() - began:.0f} s).")
        self._forget(comes_back=comes_back)

    def _wait_ended(self, process: psutil.Process, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self._process() is not None:
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"RabbitMQ (process {process.pid}) did not end within {timeout:.0f} s.",
                    do="End it with `python3 -m labkit broker kill`.",
                )
            time.sleep(0.02)
        # A killed process is gone a moment before the last of its threads lets go of the ports.
        deadline = time.monotonic() + PORTS_RELEASED
        ports = [port for name, port in self._ports().items() if name != "epmd"]
        while time.monotonic() < deadline and not all(map(port_free, ports)):
            time.sleep(0.02)
