"""``labkit start`` where another one was before, or still is: whose JupyterLab it is, and who ends it."""

import socket
import sys

import psutil
import pytest
from terminal import Program
from waiting import until


@pytest.fixture
def start(broker, tmp_path):
    """``labkit start --port N`` in a state of its own, on the tests' broker."""

    def start(port):
        environment = {"LABKIT_HOME": tmp_path, "LABKIT_AMQP_URL": broker.amqp_url, "LABKIT_BROKER": "remote"}
        return Program(
            sys.executable, "-m", "labkit", "start", "--no-browser", "--port", str(port), **environment
        )

    yield start
    for each in servers(tmp_path):
        each.kill()


@pytest.fixture
def port():
    return free_port()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def servers(home):
    found = []
    for each in psutil.process_iter(["cmdline", "environ", "status"]):
        ours = (each.info["environ"] or {}).get("LABKIT_HOME") == str(home)
        if (
            ours
            and "jupyterlab" in (each.info["cmdline"] or [])
            and each.info["status"] != psutil.STATUS_ZOMBIE
        ):
            found.append(each)
    return found


def test_the_jupyterlab_of_a_start_that_was_killed_is_ended_by_the_next_one(start, port, tmp_path):
    with start(port) as first:
        first.wait_for(f"http://127.0.0.1:{port}/")
        first.process.kill()
        first.end()
    (orphan,) = servers(tmp_path)
    with start(port) as second:
        second.wait_for(rf"Ending a JupyterLab of this lab whose start was killed \(process {orphan.pid}\)")
        second.wait_for(f"http://127.0.0.1:{port}/")
        assert not orphan.is_running() and len(servers(tmp_path)) == 1
        second.interrupt()
        assert second.end() == 0
    until(lambda: not servers(tmp_path), "the end of JupyterLab")


def test_two_starts_at_the_same_time_leave_each_other_alone(start, port, tmp_path):
    with start(port) as first:
        first.wait_for(f"http://127.0.0.1:{port}/")
        with start(port) as same:
            assert same.end() == 1
            assert "is taken by this lab's own JupyterLab, which another terminal started" in same.output
        other = free_port()
        with start(other) as second:
            second.wait_for(f"http://127.0.0.1:{other}/")
            logs = [path.read_text() for path in (tmp_path / ".labkit" / "jupyter").glob("server-*.log")]
            assert sorted((f":{port}/" in text, f":{other}/" in text) for text in logs) == [
                (False, True),
                (True, False),
            ]
            second.interrupt()
            assert second.end() == 0
        assert len(servers(tmp_path)) == 1
        first.interrupt()
        assert first.end() == 0
