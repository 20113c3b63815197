"""The command line itself: help, usage, errors, and the broker from a terminal."""

import re
import resource
import subprocess
import sys

import pytest
from terminal import BARE_PYTHON, ROOT, labkit

import labkit as package

SUBCOMMANDS = ["start", "broker", "send", "worker", "tap", "compare", "playground", "doctor", "test"]
BARE = [BARE_PYTHON, "-S", "-m", "labkit"]  # -S: no package is installed there


def test_help_answers_at_once_on_a_python_without_packages():
    """At once: 0.3 s, as the processor's time, so that a busy machine does not matter."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        answer = subprocess.run([*BARE, "--help"], cwd=ROOT, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert answer.returncode == 0 and "usage: labkit" in answer.stdout
    assert min(times) <= 0.3


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_every_subcommand_has_help_before_anything_is_installed(subcommand):
    answer = subprocess.run([*BARE, subcommand, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0
    assert answer.stdout.startswith(f"usage: labkit {subcommand}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["dance"],
        ["--dance"],
        ["start", "--port", "70000"],
        ["start", "--port", "x"],
        ["broker"],
        ["broker", "dance"],
        ["send"],
        ["send", "--count", "0", "hello"],
        ["worker", "--speed", "0"],
        ["worker", "--speed", "nan"],
        ["worker", "--prefetch", "-1"],
        ["worker", "--seconds-per-dot", "-1"],
        ["doctor", "now"],
    ],
    ids=" ".join,
)
def test_wrong_arguments_are_answered_with_usage_and_status_2(arguments):
    answer = labkit(*arguments)
    assert answer.returncode == 2
    assert answer.stderr.startswith("usage: labkit")
    assert "Traceback" not in answer.stderr


def test_an_older_python_is_told_what_is_needed():
    pretend = (
        "import runpy, sys; sys.version_info = (3, 9, 0); runpy.run_module('labkit', run_name='__main__')"
    )
    answer = subprocess.run([sys.executable, "-c", pretend], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 1
    assert answer.stderr.startswith("labkit needs Python 3.10 or later; this is 3.9.")


def test_an_error_is_said_in_two_sentences_without_a_traceback():
    answer = labkit("broker", "status", LABKIT_BROKER="nonsense")
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[0].startswith("labkit: LABKIT_BROKER is 'nonsense'")
    assert "→" in answer.stderr and "Traceback" not in answer.stderr


def test_the_arguments_of_test_go_to_pytest():
    answer = labkit(
        "test", "-q", "--collect-only", "-k", "the_arguments_of_test", "tests/commands/test_cli.py"
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "test_the_arguments_of_test_go_to_pytest" in answer.stdout
    assert "test_every_subcommand" not in answer.stdout


def test_the_status_of_pytest_is_that_of_test():
    assert (
        labkit(
            "test", "-q", "--collect-only", "-k", "no_test_is_called_so", "tests/commands/test_cli.py"
        ).returncode
        == 5
    )


@pytest.fixture(scope="module")
def at(broker, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    yield {"LABKIT_BROKER": "node", "LABKIT_HOME": home, "LABKIT_AMQP_URL": None}
    labkit("broker", "stop", LABKIT_BROKER="node", LABKIT_HOME=home)


@pytest.mark.own_broker
class TestBroker:
    """``labkit broker`` with a node of its own, from the first start to the last stop."""

    def test_status_is_3_when_it_is_down(self, at):
        answer = labkit("broker", "status", **at)
        assert answer.returncode == 3, answer.stderr
        assert "is down" in answer.stdout

    def test_start_and_status_say_what_runs_and_where(self, at):
        answer = labkit("broker", "start", **at, timeout=120)
        assert answer.returncode == 0, answer.stderr
        assert "management page at http://127.0.0.1:" in answer.stdout
        answer = labkit("broker", "status", **at)
        assert answer.returncode == 0
        shown = dict(line.split(": ", 1) for line in answer.stdout.splitlines())
        assert shown["kind"].strip() == "node"
        assert set(shown) == {"kind", "RabbitMQ", "Erlang", "AMQP", "management", "uptime"}

    def test_a_second_start_leaves_it_alone(self, at):
        assert "runs already" in labkit("broker", "start", **at).stdout

    def test_logs_are_as_long_as_asked(self, at):
        assert len(labkit("broker", "logs", "--lines", "3", **at).stdout.splitlines()) == 3

    def test_a_killed_broker_is_down_and_starts_again(self, at):
        assert labkit("broker", "kill", **at).returncode == 0
        assert labkit("broker", "status", **at).returncode == 3
        assert labkit("broker", "start", **at, timeout=120).returncode == 0

    def test_a_stopped_broker_is_down(self, at):
        assert labkit("broker", "stop", **at, timeout=120).returncode == 0
        assert labkit("broker", "status", **at).returncode == 3
        assert "down already" in labkit("broker", "stop", **at).stdout


def test_the_packages_help_lists_each_of_its_rooms():
    there = {path.stem for path in (ROOT / "labkit").iterdir() if path.suffix == ".py" or path.is_dir()}
    rows = [line for line in package.__doc__.splitlines() if line.startswith("``")]
    told = {name for line in rows for name in re.findall(r"``(\w+)``", line[:22])}
    assert told == {name for name in there if not name.startswith("_")}
