"""Set the lab up on a fresh machine: an environment with the requirements. Standard library only.

The way in is :func:`enter`: it goes on in an interpreter that has the requirements - this one, or that
of ``.venv``, which it makes, mends and fills when need be.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from labkit.errors import SetupError
from labkit.setup import machine
from labkit.setup.home import ROOT, state_path
from labkit.setup.machine import say

VENV = ROOT / ".venv"
VENV_PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
UNFINISHED = VENV / "unfinished"  # there from the first moment of making .venv until pip has filled it
STATE = state_path()
REQUIREMENTS = "requirements.txt"
TEST_REQUIREMENTS = "tests/requirements.txt"
ROOM_NEEDED = 1_000_000_000  # bytes: .venv takes 0.4 GB, and RabbitMQ stops publishers on a full disk

PROBE = """import importlib.util, json, sys
sys.path.insert(0, sys.argv[1])
from labkit.setup import bootstrap
print(json.dumps([sys.version_info[:2], bool(importlib.util.find_spec("pip")), bootstrap.missing(sys.argv[2:])]))"""

MARKER = re.compile(r'python_version (>=|<) "(\d+)\.(\d+)"')  # the only one that requirements.txt needs
NO_NETWORK = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|NameResolution|name resolution|"
    r"Max retries|unreachable|Could not resolve|Connection (refused|reset|timed out)"
)


def missing(files: Iterable[str]) -> list[str]:
    """Return the requirements in ``files`` that this interpreter lacks, or has in another version."""
    from importlib import metadata

    absent = []
    for requirement in _requirements(files):
        if requirement == "-e .":
            origins = (found.read_text("direct_url.json") for found in metadata.distributions(name="labkit"))
            if not any(origin and json.loads(origin)["url"] == ROOT.as_uri() for origin in origins):
                absent.append("labkit")
            continue
        name, _, wanted = requirement.partition("==")
        try:
            here = metadata.version(name) == wanted
        except metadata.PackageNotFoundError:
            here = False
        if not here:
            absent.append(requirement)
    return absent


def _requirements(files: Iterable[str]) -> list[str]:
    """Return what the files require of this Python, without comments and markers."""
    lines = (line.partition("#")[0] for file in files for line in (ROOT / file).read_text().splitlines())
    parts = (line.partition(";") for line in lines)
    return [wanted.strip() for wanted, _, marker in parts if wanted.strip() and _concerns_us(marker)]


def _concerns_us(marker: str) -> bool:
    if not marker:
        return True
    sign, major, minor = MARKER.fullmatch(marker.strip()).groups()
    return (sys.version_info >= (int(major), int(minor))) == (sign == ">=")


def enter(argv: Sequence[str], *, tests: bool = False) -> None:
    """Return in an interpreter that has the requirements; where this one lacks them, go over to ``.venv``'s.

    ``argv`` are the arguments of ``python -m labkit`` with which the other interpreter starts.
    Raises :class:`SetupError` when the environment cannot be made.
    """
    files = [REQUIREMENTS, TEST_REQUIREMENTS] if tests else [REQUIREMENTS]
    if not missing(files):
        return
    try:
        prepare(files)
    except OSError as error:
        raise _explained(error) from error
    if inside_venv():
        importlib.invalidate_caches()
        return
    go_over(argv)


def inside_venv() -> bool:
    """Tell whether this interpreter is that of ``.venv``."""
    return VENV.exists() and VENV.samefile(sys.prefix)


def base_python() -> str:
    """Return the Python that ``.venv`` is made from; not ``.venv``'s own, which may have to be made anew."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    if base == sys.executable and sys.prefix != sys.base_prefix:
        return str(Path(base).resolve())  # Python 3.10 does not know, but .venv links to it
    return base


def go_over(argv: Sequence[str]) -> NoReturn:
    """Go on as ``python -m labkit argv`` in the interpreter of ``.venv``."""
    command = [str(VENV_PYTHON), "-m", "labkit", *argv]
    sys.stdout.flush()
    if os.name == "posix":
        os.execv(command[0], command)
    child = subprocess.Popen(command)  # Windows has no exec; Ctrl-C reaches the child by the console
    while True:
        try:
            sys.exit(child.wait())
        except KeyboardInterrupt:
            continue


def probe(files: Sequence[str] = ()) -> tuple[str | None, list[str]]:
    """Return what is wrong with ``.venv`` (``None``: nothing) and which requirements it lacks."""
    if not os.path.lexists(VENV):
        return "There is no .venv.", list(files)
    if UNFINISHED.exists():
        return ".venv was left half made.", list(files)
    try:
        command = [str(VENV_PYTHON), "-c", PROBE, str(ROOT), *files]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        version, has_pip, absent = json.loads(answer)
    except (OSError, ValueError, subprocess.SubprocessError):
        return ".venv is broken: its Python does not run.", list(files)
    if tuple(version) != sys.version_info[:2]:
        there, here = ".".join(map(str, version)), ".".join(map(str, sys.version_info[:2]))
        return f".venv is from another Python, {there}; this is {here}.", list(files)
    if absent and not has_pip:
        return ".venv is broken: it has no pip.", list(files)
    return None, absent


def prepare(files: Sequence[str]) -> None:
    """Make or mend ``.venv`` so that it has everything in ``files``; what fails leaves no half-made one."""
    fault, absent = probe(files)
    if fault is None and not absent:
        return
    if shutil.disk_usage(ROOT).free < ROOM_NEEDED:
        raise SetupError(
            f"The disk is nearly full: {shutil.disk_usage(ROOT).free / 1e9:.1f} GB are free at {ROOT}.",
            do=f"Free {ROOM_NEEDED / 1e9:.0f} GB and start again.",
        )
    try:
        if fault:
            _make_venv(fault)
        count = len(_requirements(files))
        doing = f"Installing {count} packages into .venv (about a minute)"
        pip = ["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
        code, output = machine.run(
            [str(VENV_PYTHON), *pip, *(f"--requirement={ROOT / f}" for f in files)], doing, cwd=ROOT
        )
        if code:
            raise _pip_failed(output)
        UNFINISHED.unlink(missing_ok=True)
    except BaseException:
        if UNFINISHED.exists():
            shutil.rmtree(VENV, ignore_errors=True)
        raise


def _make_venv(fault: str) -> None:
    if os.path.lexists(VENV):
        say(f"{fault} Making it anew.")
        VENV.unlink() if VENV.is_symlink() or VENV.is_file() else shutil.rmtree(VENV)
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        error = SetupError("This Python cannot make an environment: it has no venv module.")
        machine.install(
            {"apt-get": package}, error, otherwise="Install Python 3.10 or later with its venv module."
        )
        importlib.invalidate_caches()
    VENV.mkdir()
    UNFINISHED.touch()
    code, output = machine.run([base_python(), "-m", "venv", str(VENV)], "Making .venv")
    if code:
        raise _pip_failed(output)


def _pip_failed(output: str) -> SetupError:
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


def _explained(error: OSError) -> SetupError:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return SetupError(
            f"The checkout {ROOT} cannot be written to.",
            do="Clone the lab into a folder of your own and start it there.",
        )
    if error.errno == errno.ENOSPC:
        return SetupError(f"The disk is full at {ROOT}.", do="Free 1 GB and start again.")
    return SetupError(f"The environment could not be made: {error}.", do="Mend that and start again.")
