"""``.venv``, which is either whole or not there. Standard library only.

It is built beside its place, under a name of the same length, and renamed when everything is in it. Whatever ends
that at whatever moment leaves the ``.venv`` that was there before, or none; never one that is half made.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import random
import re
import shutil
import string
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from labkit.errors import SetupError
from labkit.setup import machine
from labkit.setup.home import ROOT
from labkit.setup.machine import say

VENV = ROOT / ".venv"
PYTHON = "Scripts/python.exe" if os.name == "nt" else "bin/python"
VENV_PYTHON = VENV / PYTHON
OURS = (
    "made-by-labkit"  # a file that tells what we build and throw away from somebody's folder of such a name
)
LOCK = ROOT / ".labkit" / "setup.lock"
NO_NETWORK = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|NameResolution|name resolution|"
    r"Max retries|unreachable|Could not resolve|Connection (refused|reset|timed out)"
)
STEPS = {
    "Collecting": "looking for",
    "Downloading": "fetching",
    "Building": "building",
    "Installing": "unpacking",
}


def base_python() -> str:
    """Return the Python that ``.venv`` is made from; not ``.venv``'s own, which may have to be made anew."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    if base == sys.executable and sys.prefix != sys.base_prefix:
        return str(Path(base).resolve())  # Python 3.10 does not know, but .venv links to it
    return base


def renew(requirements: Sequence[str], doing: str, *, fault: str | None, lock: int) -> None:
    """Put a ``.venv`` in place that has what pip installs for the arguments ``requirements``.

    It begins as a copy of the one that is there, or, if that has a ``fault``, from nothing. ``doing`` is what is
    said meanwhile. Raises :class:`SetupError`; the old one stays then. Only for whoever holds the ``lock``, which
    the programs that are started hold as well: they may outlive us.
    """
    aside = _free_name()
    try:
        aside.mkdir()
        (aside / OURS).touch()
        if fault is None:
            shutil.copytree(VENV, aside, symlinks=True, dirs_exist_ok=True)
        else:
            _make(aside, fault, lock)
        _install(aside, requirements, doing, lock)
        _settle(aside)
        _put_in_place(aside)
    finally:
        _throw_away(aside)


@contextlib.contextmanager
def alone() -> Iterator[int]:
    """Hold the right to change ``.venv`` (a lock), and clear away what others left who were killed with it."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("a+b") as file:
        waiting = False
        while not _locked(file.fileno()):
            if not waiting:
                say("Another start of the lab is making .venv; waiting for it…")
            waiting = True
            time.sleep(0.2)
        for each in ROOT.glob(".v???"):
            if each != VENV and (each / OURS).exists():
                _throw_away(each)
        yield file.fileno()


def _locked(descriptor: int) -> bool:
    """Take the lock, which the system lets go of when its holder ends."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _free_name() -> Path:
    """A name beside ``.venv`` and as long."""
    while True:
        path = ROOT / f".v{''.join(random.choices(string.ascii_lowercase + string.digits, k=3))}"
        if not os.path.lexists(path):
            return path


def _make(aside: Path, fault: str, lock: int) -> None:
    if os.path.lexists(VENV):
        say(f"{fault} Making it anew.")
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        error = SetupError("This Python cannot make an environment: it has no venv module.")
        machine.install(
            {"apt-get": package}, error, otherwise="Install Python 3.10 or later with its venv module."
        )
        importlib.invalidate_caches()
    command = [base_python(), "-m", "venv", f"--prompt={VENV.name}", str(aside)]
    code, output = machine.run(command, "Making .venv", keep=[lock])
    if code:
        raise _failed(output)


def _install(aside: Path, requirements: Sequence[str], doing: str, lock: int) -> None:
    python = str(aside / PYTHON)
    prefix = subprocess.run(
        [python, "-c", "import sys; print(sys.prefix)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.rstrip("\n")
    if not aside.samefile(prefix):  # pip would install into the Python that it was made from
        raise SetupError(
            f"The environment that was made is none: its Python says it is at {prefix}.",
            do="Start again with another Python 3.10 or later.",
        )
    pip = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    code, output = machine.run([*pip, *requirements], doing, cwd=ROOT, step=step, keep=[lock])
    if code:
        raise _failed(output)


def step(line: str) -> str | None:
    """What pip does at this line of its output, in a few words; None if the line does not tell."""
    word, _, rest = line.strip().partition(" ")
    if word not in STEPS or not rest:
        return None
    if word == "Installing":  # "Installing collected packages: a, b, c"; "Installing build dependencies: …"
        return f"unpacking {rest.count(',') + 1} packages" if "," in rest else None
    return f"{STEPS[word]} {re.split(r'[ =<>!~;(-]', rest.rpartition('/')[2])[0]}"


def _settle(aside: Path) -> None:
    """Make the programs in it name the place where they will be; the names are equally long, so that any may."""
    here, there = os.fsencode(aside), os.fsencode(VENV)
    for path in (aside / "pyvenv.cfg", *(aside / PYTHON).parent.iterdir()):
        if path.is_file() and not path.is_symlink() and here in (content := path.read_bytes()):
            path.write_bytes(content.replace(here, there))


def _put_in_place(aside: Path) -> None:
    old = _free_name()
    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
    elif VENV.exists():
        (VENV / OURS).touch()
        _rename(VENV, old)
    _rename(aside, VENV)
    _throw_away(old)


def _throw_away(folder: Path) -> None:
    """Delete it, and last of all what tells that it is ours: whoever comes later goes on with what is left."""
    for path in folder.glob("*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _rename(path: Path, to: Path) -> None:
    try:
        path.rename(to)
    except PermissionError as error:  # Windows renames nothing that is in use
        raise SetupError(
            ".venv cannot be replaced: a program that runs from it is in its way.",
            do=f"End JupyterLab and the terminals that use it, then type: {base_python()} -m labkit",
        ) from error


def _failed(output: str) -> SetupError:
    if NO_NETWORK.search(output):
        return SetupError(
            "The packages could not be fetched: the package index does not answer.",
            do="Connect this machine to the internet (behind a proxy: set HTTPS_PROXY) and start again.",
        )
    if "No space left" in output:
        return SetupError(
            "The disk became full while packages were installed.", do="Free 1 GB and start again."
        )
    lines = [
        line for line in output.splitlines() if "ERROR" in line or "rror:" in line
    ] or output.splitlines()
    return SetupError(
        f"The packages could not be installed: {lines[-1].strip() if lines else 'pip said nothing'}",
        do=f"Mend what it names and start again; `{base_python()} -m labkit doctor` shows what is there.",
    )
