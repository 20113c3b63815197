"""Setting up on a fresh machine, in small checkouts with one small package, and what can go wrong there."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from checkouts import called, fake, small_checkout
from terminal import BARE_PYTHON, Program, variables

from labkit.errors import BrokerNotInstalledError
from labkit.setup import bootstrap, machine

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
    (ready / ".venv" / "unfinished").touch()
    answer = set_up(ready)
    assert ".venv was left half made. Making it anew." in answer.stdout
    assert answer.returncode == 0 and not (ready / ".venv" / "unfinished").exists()


def test_an_environment_whose_python_is_gone_is_made_anew(ready):
    for python in (ready / ".venv" / "bin").glob("python*"):
        python.unlink()
    answer = set_up(ready)
    assert ".venv is broken" in answer.stdout and "Making it anew." in answer.stdout
    assert answer.returncode == 0, answer.stderr


def test_an_environment_of_another_python_is_made_anew(ready):
    python = ready / ".venv" / "bin" / "python"
    python.unlink()
    python.write_text("#!/bin/sh\necho '[[3, 9], true, []]'\n")
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
    assert not [
        each for each in psutil.process_iter(["cmdline"]) if str(checkout) in str(each.info["cmdline"])
    ]


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
        set_up(checkout, "from labkit import bootstrap; bootstrap.ROOM_NEEDED = 0")
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
