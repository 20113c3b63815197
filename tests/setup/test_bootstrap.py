"""Setting up on a fresh machine, in small checkouts with one small package, and what can go wrong there."""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from checkouts import called, fake, small_checkout
from terminal import BARE_PYTHON, ROOT, Program, variables
from waiting import until

from labkit.errors import BrokerNotInstalledError
from labkit.setup import bootstrap, environment, machine

SET_UP = """import sys
{before}
from labkit.setup import bootstrap
from labkit.commands import cli
sys.modules["labkit.commands.set_up_command"] = type("set_up", (), dict(
    __doc__="", add_arguments=lambda parser: None, run=lambda args: bootstrap.enter(["--version"]) or 0))
cli.COMMANDS["set_up"] = ""
sys.exit(cli.main(["set_up"]))"""


def command(before="pass", python=BARE_PYTHON):
    """Set the checkout up as every subcommand does, and end with ``labkit --version`` in its environment."""
    return [python, "-c", SET_UP.format(before=before)]


def set_up(checkout, before="pass", **environment):
    return subprocess.run(
        command(before), cwd=checkout, env=variables(environment), capture_output=True, text=True, timeout=200
    )


def failed(answer):
    """Return what was said: two sentences on the standard error, status 1 and no traceback."""
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert answer.stderr.startswith("labkit: ") and "\n  → " in answer.stderr
    assert "Traceback" not in answer.stderr
    return answer.stderr


@pytest.fixture
def checkout(tmp_path):
    return small_checkout(tmp_path / "checkout")


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A checkout that has been set up; tests break it and mend it, one after the other."""
    folder = small_checkout(tmp_path_factory.mktemp("ready") / "checkout")
    answer = set_up(folder)
    assert answer.returncode == 0, answer.stderr
    return folder


@pytest.fixture
def no_index():
    """pip's settings for an index that refuses connections, and no other source."""
    nowhere = "http://127.0.0.1:9/simple"
    return {"PIP_INDEX_URL": nowhere, "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_RETRIES": 1}


def test_a_second_time_installs_nothing(ready):
    answer = set_up(ready)
    assert answer.stdout.startswith("labkit "), answer.stdout


def test_only_what_this_python_needs_is_required(ready, monkeypatch):
    wanted = (ready / "requirements.txt").read_text()
    other = 'no-such-package==1.0; python_version < "3.10"  # for an older one\n'
    (ready / "requirements.txt").write_text(
        wanted.strip().replace("  #", '; python_version >= "3.10"  #') + f"\n{other}"
    )
    answer = set_up(ready)
    (ready / "requirements.txt").write_text(wanted)
    assert answer.stdout.startswith("labkit "), answer.stdout


@pytest.mark.skipif(os.name == "nt", reason="Windows knows the base Python in every version")
def test_the_python_of_the_environment_is_not_made_from_itself(monkeypatch):
    """Python 3.10 calls .venv's own Python the base one."""
    assert sys.prefix != sys.base_prefix, "the tests run in .venv"
    monkeypatch.setattr(sys, "_base_executable", sys.executable, raising=False)
    assert not Path(bootstrap.base_python()).is_relative_to(sys.prefix)


def test_an_environment_that_was_left_half_made_is_made_anew(ready):
    (ready / ".venv" / "pyvenv.cfg").unlink()  # what Ctrl-C in the middle of deleting it once left
    answer = set_up(ready)
    assert ".venv is broken: its Python is not its own. Making it anew." in answer.stdout
    assert answer.returncode == 0, answer.stderr


def test_its_programs_name_the_place_where_they_are(ready):
    (ready / ".venv").rename(ready / ".venv-before")  # what it has a copy of
    try:
        assert set_up(ready).returncode == 0
        pip = subprocess.run([ready / ".venv" / "bin" / "pip", "--version"], capture_output=True, text=True)
        assert str(ready / ".venv" / "lib") in pip.stdout, pip.stderr
        texts = [path for path in (ready / ".venv").rglob("*") if path.is_file() and path.suffix != ".pyc"]
        assert not [path for path in texts if re.search(rb"/\.v(?!env)[a-z0-9]{3}/", path.read_bytes())]
    finally:
        shutil.rmtree(ready / ".venv-before")


KILLS = [0.05, 0.2, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0]  # seconds


def whole_or_absent(checkout):
    """Whether a .venv is there; it is wrong if there is one that lacks anything."""
    venv = checkout / ".venv"
    if not venv.exists():
        return False
    probe = "import sys, tqdm; print(sys.prefix)"
    answer = subprocess.run([venv / "bin" / "python", "-c", probe], capture_output=True, text=True)
    assert answer.stdout.strip() == str(venv), answer.stderr
    return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_an_installation_that_is_ended_at_any_moment_leaves_a_whole_environment_or_none(checkout, number):
    struck = 0
    for after in KILLS:
        with Program(*command(), cwd=checkout) as program:
            time.sleep(after)
            struck += program.process.poll() is None
            if number == signal.SIGKILL:
                program.process.kill()  # and not what it has started: that runs on
            for _ in range(3 * (number == signal.SIGINT)):
                with contextlib.suppress(ProcessLookupError):
                    program.interrupt()
                time.sleep(0.02)
            program.end()
        if whole_or_absent(checkout):
            (checkout / "requirements.txt").write_text(f"tqdm==4.67.{random.choice('01')}\n")
    assert struck >= 3, "most came too late"
    until(lambda: not processes_in(checkout), "the end of what a killed start has started")
    (checkout / "requirements.txt").write_text("tqdm==4.66.5\n")
    assert set_up(checkout).returncode == 0
    assert whole_or_absent(checkout)
    assert not list(checkout.glob(".v[!e]*")), "what was left half made is cleared away by the next start"


def processes_in(folder):
    return [each for each in psutil.process_iter(["cmdline"]) if str(folder) in str(each.info["cmdline"])]


def test_two_first_starts_at_the_same_time_make_one_environment(checkout):
    with Program(*command(), cwd=checkout) as first, Program(*command(), cwd=checkout) as second:
        assert first.end() == 0 and second.end() == 0, first.output + second.output
    said = first.output + second.output
    assert said.count("Making .venv") == 1 and "waiting for it" in said
    assert whole_or_absent(checkout)


def test_an_environment_that_cannot_be_brought_up_to_date_stays_as_it_was(ready, no_index):
    wanted = (ready / "requirements.txt").read_text()
    (ready / "requirements.txt").write_text("tqdm==4.66.0\n")
    assert "package index does not answer" in failed(set_up(ready, **no_index, PIP_NO_CACHE_DIR="1"))
    (ready / "requirements.txt").write_text(wanted)
    assert set_up(ready).stdout.startswith("labkit ")


def test_an_environment_whose_python_is_gone_is_made_anew(ready):
    for python in (ready / ".venv" / "bin").glob("python*"):
        python.unlink()
    answer = set_up(ready)
    assert ".venv is broken" in answer.stdout and "Making it anew." in answer.stdout
    assert answer.returncode == 0, answer.stderr


def test_an_environment_of_another_python_is_made_anew(ready):
    python = ready / ".venv" / "bin" / "python"
    python.unlink()
    python.write_text("#!/bin/sh\necho '[\"/usr\", [3, 9], true, []]'\n")
    python.chmod(0o755)
    answer = set_up(ready)
    assert ".venv is from another Python, 3.9; this is" in answer.stdout
    assert answer.returncode == 0, answer.stderr


def test_a_version_that_requirements_do_not_name_any_more_is_replaced(ready):
    wanted = (ready / "requirements.txt").read_text()
    (ready / "requirements.txt").write_text("tqdm==4.67.1\n")
    answer = set_up(ready)
    assert "Installing 1 packages" in answer.stdout and "Making" not in answer.stdout
    (ready / "requirements.txt").write_text(wanted)
    assert answer.returncode == 0, answer.stderr


def test_it_is_said_what_pip_does(ready, capfd, monkeypatch):
    monkeypatch.setattr(machine, "QUIET", 0.2)
    lines = "Collecting pika==1.4.4 (from -r x)|  Downloading https://x/pika-1.4.4.whl (1 MB)"
    lines += "|Installing collected packages: a, b"
    slowly = "import sys, time\nfor line in sys.argv[1].split('|'): print(line, flush=True); time.sleep(0.5)"
    assert machine.run([sys.executable, "-c", slowly, lines], "Installing", step=environment.step)[0] == 0
    said = capfd.readouterr().out
    assert "looking for pika" in said and "fetching pika" in said and "unpacking 2 packages" in said


def test_the_requirements_are_installed_from_any_folder(tmp_path):
    """Without fetching anything: what pip makes of the file is asked."""
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--quiet"]
    answer = subprocess.run(
        [*pip, "-r", ROOT / "requirements.txt"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=variables({}),
    )
    assert answer.returncode == 0, answer.stderr


def test_in_an_environment_of_ones_own_the_kernels_find_the_package(monkeypatch):
    monkeypatch.setattr(bootstrap, "installed", lambda: False)
    monkeypatch.setattr(bootstrap, "inside_venv", lambda: False)
    monkeypatch.setattr(bootstrap, "missing", lambda files: [])
    monkeypatch.setenv("PYTHONPATH", "before")
    bootstrap.enter([])
    assert os.environ["PYTHONPATH"] == f"{ROOT}{os.pathsep}before"


def test_an_environment_brings_itself_up_to_date(ready):
    wanted = (ready / "requirements.txt").read_text()
    (ready / "requirements.txt").write_text("tqdm==4.66.4\n")
    own = ready / ".venv" / "bin" / "python"
    answer = subprocess.run(command(python=own), cwd=ready, env=variables({}), capture_output=True, text=True)
    (ready / "requirements.txt").write_text(wanted)
    assert answer.returncode == 0 and "Installing" in answer.stdout, answer.stderr
    ask = "import tqdm; print(tqdm.__version__)"
    assert subprocess.run([own, "-c", ask], capture_output=True, text=True).stdout == "4.66.4\n"
    assert set_up(ready).returncode == 0


def test_no_network_during_installation(checkout, no_index):
    assert "package index does not answer" in failed(set_up(checkout, **no_index))
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_installation_leaves_nothing_half_made(checkout, no_index, number):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # an index that never answers
        no_index["PIP_INDEX_URL"] = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        with Program(*command(), cwd=checkout, **no_index) as program:
            program.wait_for("Installing 1 packages")
            silent.accept()
            if number == signal.SIGINT:
                program.interrupt()
            else:
                program.process.send_signal(number)  # to labkit alone: pip must be ended by it
            assert program.end() == 128 + number
            assert "Traceback" not in program.output
    assert not (checkout / ".venv").exists()
    assert not processes_in(checkout)


def test_python_without_venv_module_is_said_with_the_command_to_type(checkout, tmp_path):
    programs = fake(tmp_path, "apt-get")
    absent = "import os; sys.modules['ensurepip'] = None; os.geteuid = lambda: 1000"
    said = failed(set_up(checkout, absent, PATH=programs))
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    assert (
        "no venv module" in said and f"sudo apt-get install -y -q --no-install-recommends {package}" in said
    )


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 60 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", folder], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"this root may not mount: {done.stderr}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_nearly_full(small_disk):
    said = failed(set_up(small_checkout(small_disk / "checkout")))
    assert "nearly full" in said and "Free 1 GB" in said


def test_a_read_only_checkout(small_disk):
    checkout = small_checkout(small_disk / "checkout")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert "cannot be written" in failed(
        set_up(checkout, "from labkit.setup import bootstrap; bootstrap.ROOM_NEEDED = 0")
    )


class TestInstalling:
    """Programs of the machine are installed without asking, after a question, or not at all."""

    @pytest.fixture(autouse=True)
    def nobody_at_the_terminal(self, monkeypatch):
        monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115, PTH123

    def test_root_installs_at_once(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", fake(tmp_path, "apt-get"))
        monkeypatch.setattr("os.geteuid", lambda: 0)
        machine.install_rabbitmq()
        assert called(tmp_path) == ["apt-get update -qq", f"{installs('apt-get')} rabbitmq-server"]

    def test_brew_needs_no_password_and_installs_at_once(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", fake(tmp_path, "brew"))
        monkeypatch.setattr("os.geteuid", lambda: 501)
        machine.install_rabbitmq()
        assert called(tmp_path) == ["brew install rabbitmq"]

    def test_a_sudo_without_password_installs_at_once(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", fake(tmp_path, "dnf", "sudo"))
        monkeypatch.setattr("os.geteuid", lambda: 1000)
        machine.install_rabbitmq()
        assert called(tmp_path) == ["sudo -n true", "sudo dnf install -y rabbitmq-server"]

    def test_where_a_password_is_needed_and_nobody_answers_the_command_is_printed(
        self, monkeypatch, tmp_path
    ):
        monkeypatch.setenv("PATH", fake(tmp_path, "apt-get", "sudo", status=1))
        monkeypatch.setattr("os.geteuid", lambda: 1000)
        with pytest.raises(BrokerNotInstalledError) as caught:
            machine.install_rabbitmq(yes=True)
        assert f"sudo {installs('apt-get')} rabbitmq-server" in caught.value.do
        assert called(tmp_path) == ["sudo -n true"]

    def test_where_nothing_can_install_the_place_to_get_it_is_said(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(BrokerNotInstalledError) as caught:
            machine.install_rabbitmq()
        assert "https://www.rabbitmq.com/docs/download" in caught.value.do

    def test_an_installation_that_fails_says_why(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", fake(tmp_path, "apt-get", status=100))
        monkeypatch.setattr("os.geteuid", lambda: 0)
        with pytest.raises(BrokerNotInstalledError) as caught:
            machine.install_rabbitmq()
        assert "E: this is a fake" in caught.value.do


def installs(manager):
    return " ".join(machine.MANAGERS[manager])
