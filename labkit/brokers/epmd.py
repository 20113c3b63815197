"""Erlang's port mapper (epmd) of a private node: its own, so that no other node is in it, and it is known.

It lives on while the node is away for a moment, and so keeps other labs off the node's ports.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

from labkit.brokers import config, processes
from labkit.brokers.plainpath import plain_path
from labkit.brokers.statefile import StateFile
from labkit.setup.ports import port_free
from labkit.setup.programs import find_epmd

LISTEN_TIMEOUT = 5.0  # seconds that it gets to open its port
END_TIMEOUT = 5.0  # seconds that it, or a lost node, gets to end


class Epmd:
    """The port mapper of the node in ``directory``; ``state`` is where it is noted, with the ports that it keeps."""

    def __init__(self, directory: Path, state: StateFile) -> None:
        self._directory = directory
        self._state = state

    def claim(self, ports: dict[str, int]) -> bool:
        """Makes all of these ports the node's: they are free, and it listens on its own. False if they are not."""
        known = self._state.ports
        held = known is not None and known["epmd"] == ports["epmd"] and self._process() is not None
        if not all(port_free(port) for name, port in ports.items() if not (held and name == "epmd")):
            return False
        if held:
            self._state.update(ports=ports, comes_back=True)
            return True
        self.end()
        program = find_epmd()
        if program is None:
            self._state.replace({"ports": ports, "comes_back": True})
            return True  # Erlang starts one by itself
        self._directory.mkdir(parents=True, exist_ok=True)
        epmd = processes.spawn(
            [str(program)],
            environment=config.environment(self._directory, ports),
            directory=self._directory,
        )
        if not processes.wait_listening(epmd, ports["epmd"], timeout=LISTEN_TIMEOUT):
            return False
        self._state.replace({"ports": ports, "epmd": processes.identity(epmd.pid), "comes_back": True})
        return True

    def end(self) -> None:
        """Ends it, and whatever else was started in the directory."""
        if known := self._process():
            _end(known)
        self.end_leftovers()

    def end_leftovers(self) -> None:
        """Ends what is left of a start that was killed before it could note it; our own goes on."""
        ours = self._process()
        pid_file = str(plain_path(self._directory) / "pid")
        for process in processes.with_environment(("epmd", "beam"), "RABBITMQ_PID_FILE", pid_file):
            if process != ours:
                _end(process)

    def _process(self) -> psutil.Process | None:
        return processes.alive(self._state.read().get("epmd"))


def _end(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.terminate()
        process.wait(END_TIMEOUT)
