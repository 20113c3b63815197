"""What is remembered of a broker under ``.labkit/``: which ports, which process, and who may change it now."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from labkit.errors import WaitTimeoutError
from labkit.setup.home import not_writable


class StateFile:
    """A small JSON file in the directory that it speaks of, and the lock beside it.

    It belongs to that directory and goes with it when the checkout is moved; in a copy, which brings along
    what is true of the original's broker, it is not believed. Nor is a damaged one.
    """

    def __init__(self, path: Path, *, lock: Path, ports: Iterable[str]) -> None:
        """``ports`` are the names of the ports that a whole state has."""
        self.path = path
        self._lock = lock
        self._ports = tuple(ports)

    def read(self) -> dict[str, Any]:
        """The state; nothing where it is absent, damaged or another directory's."""
        found = self._load()
        return found if _is_of(found, self.path.parent) else {}

    def update(self, **more: object) -> None:
        """Puts ``more`` into the state."""
        self.replace(self.read() | more)

    def replace(self, state: Mapping[str, object]) -> None:
        """Writes a new state in one step, so that a reader sees the old or the new one."""
        directory = self.path.parent
        directory.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        whose = {"directory": str(directory), "identity": _identity(directory)}
        draft.write_text(json.dumps({**state, **whose}, indent=1), encoding="utf-8")
        draft.replace(self.path)

    @property
    def ports(self) -> dict[str, int] | None:
        """The ports that were chosen; None where there are none yet."""
        ports: dict[str, int] | None = self.read().get("ports")
        return ports

    @property
    def comes_back(self) -> bool:
        """Whether the broker is away for a moment only: it starts, restarts, or was killed to be started again."""
        return self.read().get("comes_back") is True

    @property
    def moved(self) -> bool:
        """Whether the directory is elsewhere than when the state was written."""
        here = str(self.path.parent)
        return bool(self.read().get("directory", here) != here)

    @contextlib.contextmanager
    def locked(self, timeout: float) -> Iterator[None]:
        """Holds the lock alone; the system lets go of it when its holder dies.

        Raises WaitTimeoutError when another process holds it for more than ``timeout`` seconds, SetupError
        where the directory cannot be written.
        """
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self._lock)
            lock.acquire(timeout=timeout)
        except filelock.Timeout as error:
            raise WaitTimeoutError(
                f"Another process has been starting or stopping this broker for {timeout:.0f} s.",
                do="Wait until it is through, or end it, and try again.",
                limit=timeout,
            ) from error
        except OSError as error:
            raise not_writable(self._lock.parent) from error
        try:
            yield
        finally:
            lock.release()

    def _load(self) -> dict[str, Any]:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(found, dict):
            return {}
        ports = found.get("ports")
        return found if ports is None or _are_ports(ports, self._ports) else {}


def _are_ports(ports: object, names: tuple[str, ...]) -> bool:
    """Whether these are ports of these names, each another one."""
    return (
        isinstance(ports, dict)
        and set(ports) == set(names)
        and all(type(port) is int and 0 < port < 65536 for port in ports.values())
        and len(set(ports.values())) == len(ports)
    )


def _identity(directory: Path) -> list[int]:
    """What a directory keeps when it is moved, and a copy of it has not."""
    found = directory.stat()
    return [found.st_dev, found.st_ino]


def _is_of(state: Mapping[str, object], directory: Path) -> bool:
    try:
        device, number = _identity(directory)
    except OSError:
        return False
    known = state.get("identity")
    if not isinstance(known, list) or len(known) != 2 or known[1] != number:
        return False
    # The number of a device can be another one after the machine was restarted.
    return known[0] == device or state.get("directory") == str(directory)
