"""Set the lab up on a fresh machine: an environment with the requirements. Standard library only.

The way in is :func:`enter`: it goes on in an interpreter that has the requirements - this one, or that
of ``.venv``, which it makes, mends and fills when need be.
"""

from __future__ import annotations

import errno
import importlib
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
from labkit.setup import environment
from labkit.setup.environment import VENV, VENV_PYTHON
from labkit.setup.environment import base_python as base_python
from labkit.setup.home import ROOT, state_path
from labkit.setup.machine import say as say

STATE = state_path()
REQUIREMENTS = "requirements.txt"
TEST_REQUIREMENTS = "tests/requirements.txt"
PACKAGE = ROOT / "pyproject.toml"  # what pip needs to install labkit itself
ROOM_NEEDED = 1_000_000_000  # bytes: .venv takes 0.4 GB, and RabbitMQ stops publishers on a full disk

PROBE = """import importlib.util, json, sys
sys.path.insert(0, sys.argv[1])
from labkit.setup import bootstrap
absent = bootstrap.missing(sys.argv[2:]) + ([] if bootstrap.installed() else ["labkit"])
print(json.dumps([sys.prefix, sys.version_info[:2], bool(importlib.util.find_spec("pip")), absent]))"""

SERVES = "LABKIT_PYTHON_SERVES"  # the interpreter in which a lab runs already, with what that lab needs

MARKER = re.compile(r'python_version (>=|<) "(\d+)\.(\d+)"')  # the only one that requirements.txt needs


def missing(files: Iterable[str]) -> list[str]:
    """Return the requirements in ``files`` that this interpreter lacks, or has in another version."""
    from importlib import metadata

    absent = []
    for requirement in _requirements(files):
        name, _, wanted = requirement.partition("==")
        try:
            here = metadata.version(name) == wanted
        except metadata.PackageNotFoundError:
            here = False
        if not here:
            absent.append(requirement)
    return absent


def installed() -> bool:
    """Tell whether this checkout's labkit is installed in this interpreter, so that it is found from any folder."""
    from importlib import metadata

    origins = (found.read_text("direct_url.json") for found in metadata.distributions(name="labkit"))
    return not PACKAGE.exists() or any(
        origin and json.loads(origin)["url"] == ROOT.as_uri() for origin in origins
    )


def make_importable() -> None:
    """Have the programs that this one starts find labkit, also from ``notebooks/``, where it is not installed."""
    if not installed():
        others = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{others}" if others else str(ROOT)


def _requirements(files: Iterable[str]) -> list[str]:
    """Return what the files require of this Python, without comments and markers."""
    lines = (line.partition("#")[0] for file in files for line in (ROOT / file).read_text().splitlines())
    parts = (line.partition(";") for line in lines)
    return [wanted.strip() for wanted, _, marker in parts if wanted.strip() and _concerns_us(marker)]


def _concerns_us(marker: str) -> bool:
    if not marker:
        return True
    found = MARKER.fullmatch(marker.strip())
    assert found, f"requirements.txt has a marker that is not understood here: {marker}"
    sign, major, minor = found.groups()
    return (sys.version_info >= (int(major), int(minor))) == (sign == ">=")


def enter(argv: Sequence[str], *, tests: bool = False) -> None:
    """Return in an interpreter that has the requirements; where this one lacks them, go over to ``.venv``'s.

    ``argv`` are the arguments of ``python -m labkit`` with which the other interpreter starts.
    Raises :class:`SetupError` when the environment cannot be made.
    """
    if os.environ.get(SERVES) == sys.executable:
        return
    files = [REQUIREMENTS, TEST_REQUIREMENTS] if tests else [REQUIREMENTS]
    if not missing(files) and (installed() or not inside_venv()):
        make_importable()  # in an environment of the user's own
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
    try:
        command = [str(VENV_PYTHON), "-c", PROBE, str(ROOT), *files]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        prefix, version, has_pip, absent = json.loads(answer)
        own = Path(prefix).exists() and VENV.samefile(prefix)
    except (OSError, ValueError, subprocess.SubprocessError):
        return ".venv is broken: its Python does not run.", list(files)
    if tuple(version) != sys.version_info[:2]:
        there, here = ".".join(map(str, version)), ".".join(map(str, sys.version_info[:2]))
        return f".venv is from another Python, {there}; this is {here}.", list(files)
    if not own:  # without its pyvenv.cfg it is the Python that it was made from
        return ".venv is broken: its Python is not its own.", list(files)
    if absent and not has_pip:
        return ".venv is broken: it has no pip.", list(files)
    return None, absent


def prepare(files: Sequence[str]) -> None:
    """Make or mend ``.venv`` so that it has everything in ``files``, and this labkit; nothing is left half made."""
    with environment.alone() as lock:
        fault, absent = probe(files)
        if fault is None and not absent:
            return
        free = shutil.disk_usage(ROOT).free
        if free < ROOM_NEEDED:
            raise SetupError(
                f"The disk is nearly full: {free / 1e9:.1f} GB are free at {ROOT}.",
                do=f"Free {ROOM_NEEDED / 1e9:.0f} GB and start again.",
            )
        wanted = [f"--requirement={ROOT / file}" for file in files]
        if PACKAGE.exists():
            wanted += ["--editable", str(ROOT)]
        doing = f"Installing {len(_requirements(files))} packages into .venv"
        environment.renew(wanted, doing, fault=fault, lock=lock)


def _explained(error: OSError) -> SetupError:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return SetupError(
            f"The checkout {ROOT} cannot be written to.",
            do="Clone the lab into a folder of your own and start it there.",
        )
    if error.errno == errno.ENOSPC:
        return SetupError(f"The disk is full at {ROOT}.", do="Free 1 GB and start again.")
    return SetupError(f"The environment could not be made: {error}.", do="Mend that and start again.")
