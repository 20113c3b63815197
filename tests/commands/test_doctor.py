"""``labkit doctor``: a line for each check, what to do where one fails, and the exit status."""

import re

from checkouts import fake, small_checkout
from terminal import BARE_PYTHON, labkit

CHECKS = ["Python", "environment", "packages", "Docker", "RabbitMQ", "broker", "management_API"]
CHECKS += ["ports", "kernel", "disk"]


def findings(text):
    """What was found for each check: name -> [(mark, sentence), …]."""
    found = {}
    for mark, name, sentence in re.findall(r"^\[(.{4})\] ([^:]+): +(.*)$", text, re.MULTILINE):
        found.setdefault(name.replace(" ", "_"), []).append((mark.strip(), sentence))
    return found


def test_a_machine_that_has_everything_is_well(broker):
    answer = labkit("doctor")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    found = findings(answer.stdout)
    assert list(found) == CHECKS
    assert not answer.stderr
    assert broker.address() in found["broker"][0][1]
    assert broker.management_url in found["management_API"][0][1]
    assert found["kernel"] == [("ok", "the Python kernel starts and answers")]


def test_before_anything_is_installed_it_says_what_is_missing_and_what_to_do(tmp_path):
    checkout = small_checkout(tmp_path / "checkout")
    (checkout / "requirements.txt").write_text("not-there-at-all==1.0\n")
    answer = labkit("doctor", python=BARE_PYTHON, cwd=checkout, LABKIT_BROKER=None, LABKIT_HOME=None)
    assert answer.returncode == 1
    found = findings(answer.stdout)
    assert list(found) == CHECKS
    assert found["environment"] == [("FAIL", "There is no .venv.")]
    assert "not-there-at-all==1.0" in found["packages"][0][1]
    assert "→ Run `python3 -m labkit`" in answer.stdout
    assert "Traceback" not in answer.stdout + answer.stderr
    assert not (checkout / ".venv").exists(), "a doctor installs nothing"


def test_a_wrong_password_fails_with_what_to_do(broker):
    url = f"amqp://guest:wrong@{broker.address()}/%2F"
    answer = labkit("doctor", LABKIT_BROKER="remote", LABKIT_AMQP_URL=url)
    assert answer.returncode == 1
    assert findings(answer.stdout)["broker"][0][0] == "FAIL"
    assert "→ Check the user and the password" in answer.stdout


def test_a_remote_broker_that_is_down_fails():
    answer = labkit("doctor", LABKIT_BROKER="remote", LABKIT_AMQP_URL="amqp://127.0.0.1:9")
    assert answer.returncode == 1
    assert findings(answer.stdout)["broker"][0][0] == "FAIL"


def test_an_engine_that_does_not_run_is_a_note(tmp_path):
    answer = labkit("doctor", PATH=fake(tmp_path, "docker", status=1), LABKIT_BROKER="node")
    assert findings(answer.stdout)["Docker"] == [("note", "installed, but its engine does not run")]
    assert "→ Start Docker" in answer.stdout


def test_an_engine_without_permission_is_a_note(tmp_path):
    (tmp_path / "docker").write_text("#!/bin/sh\necho 'Got permission denied while trying' >&2\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    answer = labkit("doctor", PATH=str(tmp_path), LABKIT_BROKER="node")
    assert findings(answer.stdout)["Docker"] == [("note", "this user may not use the engine")]
    assert "→ Add yourself to the group docker" in answer.stdout


def test_no_rabbitmq_and_no_docker_fails_with_what_to_do(tmp_path):
    environment = {"PATH": str(tmp_path), "LABKIT_RABBITMQ_HOME": tmp_path, "LABKIT_AMQP_URL": None}
    answer = labkit("doctor", **environment, LABKIT_BROKER="node")
    assert answer.returncode == 1
    assert findings(answer.stdout)["RabbitMQ"][0][0] == "FAIL"
