"""What is remembered under ``.labkit/``: which ports, which process, and who may change it now."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from labkit.errors import PortTakenError, SetupError, WaitTimeoutError

LOOPBACK = "127.0.0.1"


def checkout() -> Path:
    """The directory that holds the package, ``compose.yaml`` and the notebooks."""
    return Path(__file__).resolve().parents[2]


def state_directory(root: Path | None = None) -> Path:
    """Where the lab keeps its files: ``.labkit`` in ``LABKIT_HOME``, or else in the checkout.

    Raises SetupError where it cannot be written.
    """
    base = root or Path(os.environ.get("LABKIT_HOME") or checkout())
    try:
        directory = Path(base).expanduser().resolve() / ".labkit"
    except RuntimeError as error:  # the home of nobody
        raise _not_writable(Path(base)) from error
    try:
        directory.mkdir(parents=True, exist_ok=True)
        writable = os.access(directory, os.W_OK)
    except OSError as error:
        raise _not_writable(directory) from error
    if not writable:
        raise _not_writable(directory)
    return directory


def _not_writable(directory: Path) -> SetupError:
    return SetupError(
        f"The lab cannot write its files in {directory}.",
        do="Make the checkout writable, or set LABKIT_HOME to a directory of your own.",
    )


def read(path: Path) -> dict:
    """The state in ``path``; nothing where it is absent, half-written or not ours."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    # A checkout that was copied brings a state along that speaks of the original's broker.
    if not isinstance(found, dict) or found.get("directory") != str(path.parent):
        return {}
    return found


def write(path: Path, state: dict) -> None:
    """Replaces the state in ``path`` in one step, so that a reader sees the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(state | {"directory": str(path.parent)}, indent=1), encoding="utf-8")
    draft.replace(path)


@contextlib.contextmanager
def locked(path: Path, *, timeout: float) -> Iterator[None]:
    """Holds the lock ``path`` alone; the system lets go of it when its holder dies.

    Raises WaitTimeoutError when another process holds it for more than ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    except OSError as error:
        raise _not_writable(path.parent) from error
    with file:
        while not _try_lock(file.fileno()):
            if time.monotonic() > deadline:
                raise WaitTimeoutError(
                    f"Another process has been starting or stopping this broker for {timeout:.0f} s.",
                    do="Wait until it is through, or end it, and try again.",
                )
            time.sleep(0.05)
        try:
            yield
        finally:
            _unlock(file.fileno())


if os.name == "nt":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def port_free(port: int) -> bool:
    """Whether nothing listens on ``port`` of this machine and we could."""
    for family, address in ((socket.AF_INET, LOOPBACK), (socket.AF_INET6, "::1")):
        with contextlib.suppress(OSError), socket.socket(family) as probe:
            probe.settimeout(0.5)
            if probe.connect_ex((address, port)) == 0:
                return False
    with socket.socket() as probe:
        if os.name != "nt":  # there it means something else: to take a port that is in use
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def wanted_port(variable: str) -> int | None:
    """The port that the environment ``variable`` asks for; raises PortTakenError for a bad value."""
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 65536:
        raise PortTakenError(f"{variable} is not a port: {text!r}.", do="Set it to a number from 1 to 65535.")
    return int(text)
