"""Set the lab up on a fresh machine: environment, packages, RabbitMQ. Standard library only.

The way in is :func:`enter`: it goes on in an interpreter that has the requirements - this one, or that
of ``.venv``, which it makes, mends and fills when need be.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from labkit.errors import BrokerNotInstalledError, SetupError

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
UNFINISHED = VENV / "unfinished"  # there from the first moment of making .venv until pip has filled it
STATE = Path(os.environ.get("LABKIT_HOME", ROOT)) / ".labkit"
REQUIREMENTS = "requirements.txt"
TEST_REQUIREMENTS = "tests/requirements.txt"
ROOM_NEEDED = 1_000_000_000  # bytes: .venv takes 0.4 GB, and RabbitMQ stops publishers on a full disk
BASE_PYTHON = getattr(sys, "_base_executable", None) or sys.executable  # not .venv's, which may be remade

PROBE = """import importlib.util, json, sys
sys.path.insert(0, sys.argv[1])
from labkit import bootstrap
print(json.dumps([sys.version_info[:2], bool(importlib.util.find_spec("pip")), bootstrap.missing(sys.argv[2:])]))"""

NO_NETWORK = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|NameResolution|name resolution|"
    r"Max retries|unreachable|Could not resolve|Connection (refused|reset|timed out)"
)
MANAGERS = {  # the package managers that the lab knows, and how each installs without asking (winget has no RabbitMQ)
    "apt-get": ["apt-get", "install", "-y", "-q", "--no-install-recommends"],
    "dnf": ["dnf", "install", "-y"],
    "brew": ["brew", "install"],
    "winget": ["winget", "install", "--silent", "--accept-package-agreements", "--accept-source-agreements"],
}
RABBITMQ = {"apt-get": "rabbitmq-server", "dnf": "rabbitmq-server", "brew": "rabbitmq"}
BROWSER = {"apt-get": "chromium", "dnf": "chromium", "brew": "chromium"}
BROWSER_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")


def say(text: str) -> None:
    """Print a line at once, also into a pipe."""
    print(text, flush=True)


# -- packages ---------------------------------------------------------------------------------------


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
    lines = (
        line.partition("#")[0].strip() for file in files for line in (ROOT / file).read_text().splitlines()
    )
    return [line for line in lines if line]


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
        code, output = run(
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
        install({"apt-get": package}, error, otherwise="Install Python 3.10 or later with its venv module.")
        importlib.invalidate_caches()
    VENV.mkdir()
    UNFINISHED.touch()
    code, output = run([BASE_PYTHON, "-m", "venv", str(VENV)], "Making .venv")
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
        do=f"Mend what it names and start again; `{BASE_PYTHON} -m labkit doctor` shows what is there.",
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


# -- programs ---------------------------------------------------------------------------------------


def run(command: Sequence[str], doing: str, cwd: Path | None = None) -> tuple[int, str]:
    """Run ``command``, saying what is ``doing`` and for how long; return its exit status and output.

    Whatever interrupts it also ends the command, and waits until it has ended.
    """
    live, began = sys.stdout.isatty(), time.monotonic()
    print(f"{doing}…", end="" if live else "\n", flush=True)
    child = subprocess.Popen(
        command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace",
    )  # fmt: skip
    try:
        while True:
            try:
                output, _ = child.communicate(timeout=1)
                break
            except subprocess.TimeoutExpired:
                if live:
                    print(f"\r{doing}… {time.monotonic() - began:.0f} s", end="", flush=True)
    except BaseException:
        end(child)
        raise
    finally:
        print("" if live else f"  {time.monotonic() - began:.0f} s", flush=True)
    return child.returncode, output


def end(child: subprocess.Popen, grace: float = 30) -> None:
    """Interrupt ``child`` (pip and apt-get clean up on that), and kill it when it stays over ``grace`` seconds."""
    if child.poll() is None:
        child.send_signal(signal.SIGINT) if os.name == "posix" else child.terminate()
    try:
        child.communicate(timeout=grace)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()


def install(packages: dict[str, str], error: Exception, *, otherwise: str, yes: bool = False) -> None:
    """Install one of ``packages`` (package manager -> names) or raise ``error`` saying what to type.

    At once as root, with brew, or with a sudo that needs no password; after a question where a password is
    needed (``yes`` answers it); else the error's ``do`` is the exact command.
    """
    manager = next((name for name in packages if shutil.which(name)), None)
    if manager is None:
        error.do = otherwise
        raise error
    command = [*MANAGERS[manager], *packages[manager].split()]
    if manager in ("apt-get", "dnf") and os.geteuid() != 0:
        command = ["sudo", *command]
    error.do = f"Type this, then start again: {shlex.join(command)}"
    if not _allowed(command, yes):
        raise error
    if manager == "apt-get":  # a fresh machine has no list of packages, an old one a list of vanished ones
        run(
            [*command[: command.index("apt-get")], "apt-get", "update", "-qq"],
            "Fetching the list of packages",
        )
        if os.geteuid() == 0:
            os.environ.setdefault("DEBIAN_FRONTEND", "noninteractive")
    code, output = run(command, f"Installing {packages[manager]} (one to three minutes)")
    if code:
        last = next((line for line in reversed(output.splitlines()) if line.strip()), "it said nothing")
        network = "Connect this machine to the internet and start again, or type this to see more: "
        error.do = f"{manager} could not install it ({last.strip()}). {network}{shlex.join(command)}"
        raise error


def _allowed(command: Sequence[str], yes: bool) -> bool:
    if command[0] == "winget":
        return yes or _asked(command)
    if command[0] != "sudo":
        return True
    if not shutil.which("sudo"):
        return False
    if subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        return True
    return sys.stdin.isatty() and (yes or _asked(command)) and subprocess.run(["sudo", "-v"]).returncode == 0


def _asked(command: Sequence[str]) -> bool:
    if not sys.stdin.isatty():
        return False
    return input(f"May I run `{shlex.join(command)}`? [Y/n] ").strip().lower() in ("", "y", "yes")


def install_rabbitmq(yes: bool = False) -> None:
    """Install RabbitMQ with the platform's package manager; raises :class:`BrokerNotInstalledError`."""
    error = BrokerNotInstalledError("There is no RabbitMQ and no Docker engine on this machine.")
    link = "Install RabbitMQ (https://www.rabbitmq.com/docs/download) or Docker, then start again."
    install(RABBITMQ, error, otherwise=link, yes=yes)


def browser() -> str | None:
    """Return the path of a Chromium or Chrome for the browser tests, or ``None``."""
    return next(filter(None, map(shutil.which, BROWSER_PROGRAMS)), None)


def install_browser(yes: bool = False) -> None:
    """Install Chromium with the platform's package manager; raises :class:`SetupError`."""
    error = SetupError("There is no Chromium for the browser tests.")
    install(BROWSER, error, otherwise="Install Chromium or Chrome, then start again.", yes=yes)
