"""``labkit test --brokers``: the tests on one broker after the other, and the table of what came of it."""

import psutil
import pytest
from terminal import labkit
from waiting import until

from labkit.commands.test_command import Result, table

ONE_TEST = ["tests/management/test_management.py", "-q", "-k", "test_overview_names_the_versions"]
NO_ENGINE = {"DOCKER_HOST": "tcp://127.0.0.1:9", "LABKIT_AMQP_URL": None}


@pytest.mark.own_broker
def test_each_broker_has_a_row_and_what_could_not_be_run_is_said_and_fails(broker, tmp_path):
    answer = labkit(
        "test", "--brokers", "node,4.3", *ONE_TEST, timeout=240, LABKIT_HOME=tmp_path, **NO_ENGINE
    )  # fmt: skip
    assert answer.returncode == 1
    *_, head, node, image = answer.stdout.splitlines()
    assert head.split() == ["broker", "RabbitMQ", "passed", "failed", "skipped", "minutes"]
    assert node.split()[0] == "node" and node.split()[2:5] == ["1", "0", "0"]
    assert image.startswith("4.3") and "not run: Docker is" in image
    until(lambda: not left(tmp_path), "the end of the matrix's own node")
    assert not (tmp_path / ".labkit" / "matrix" / "node" / ".labkit" / "node").exists()


def left(home):
    return [
        each
        for each in psutil.process_iter(["cmdline", "status"])
        if str(home) in " ".join(each.info["cmdline"] or []) and each.info["status"] != psutil.STATUS_ZOMBIE
    ]


@pytest.mark.parametrize(
    ("result", "good"),
    [
        (Result("4.3", passed=10), True),
        (Result("4.3", passed=10, failed=1), False),
        (Result("4.3", passed=10, why="interrupted"), False),
        (Result("4.3", skipped=10), False),
        (Result("4.3"), False),
    ],
)
def test_only_tests_that_ran_and_passed_are_good(result, good):
    assert result.good is good


def test_the_table_has_figures_for_what_ran_and_a_reason_for_what_did_not():
    ran = Result("node", "3.10.8", passed=10, skipped=1, seconds=90)
    rows = table([ran, Result("4.3", why="not run: Docker is not installed.")]).splitlines()
    assert rows[1].split() == ["node", "3.10.8", "10", "0", "1", "1.5"]
    assert rows[2].split(maxsplit=2) == ["4.3", "?", "not run: Docker is not installed."]
