"""``labkit tap``: any program, unchanged, watched from a terminal."""

import contextlib
import os
import re
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from terminal import ROOT, Program, labkit, variables
from waiting import until

from labkit.ledger import Kind
from labkit.results.run import Run

PROGRAMS = ROOT / "tests" / "tap" / "programs"  # RabbitMQ's tutorial two, written anew
ADDRESS = r"connect to (amqp://\S+) are watched"


@pytest.fixture
def tap(broker, tmp_path):
    """The command, running; ``.url`` is the address that it printed, ``.saved`` where it saves."""
    started = []

    def start(*arguments, **options):
        saved = tmp_path / "seen.jsonl"
        command = [sys.executable, "-m", "labkit", "tap", "--save", saved, *arguments]
        program = Program(*command, **options)
        started.append(program)
        program.url = program.wait_for(ADDRESS).group(1)
        program.saved = saved
        return program

    yield start
    for program in started:
        program.__exit__()


@pytest.fixture
def tutorial(queue):
    def start(name, url, *words):
        return Program(sys.executable, PROGRAMS / name, *words, AMQP_URL=url, QUEUE=queue)

    return start


def sent(tutorial, url, *messages):
    with tutorial("new_task.py", url, *messages) as new_task:
        assert new_task.end() == 0, new_task.output


def left(program):
    """Press Ctrl-C: the run that was saved."""
    program.interrupt()
    assert program.end() == 0, program.output
    assert "Traceback" not in program.output, program.output
    return Run.load(program.saved)


def test_the_tutorials_programs_one_of_them_killed_and_what_is_left_when_it_is_over(tap, tutorial):
    watched = tap()
    with tutorial("worker.py", watched.url) as one:
        one.wait_for("Waiting for messages")
        watched.wait_for(r"\[\+\] worker.py")
        sent(tutorial, watched.url, "First" + "." * 20, "Second.", "Third.")
        one.wait_for("Received First")
        with tutorial("worker.py", watched.url) as two:
            two.wait_for("Received Second")
            one.process.kill()
            watched.wait_for(r"\[-\] worker.py is gone")
            two.wait_for("Received First")
            watched.wait_for(r"worker.py 2 consumes .*\(prefetch 1\): .* held 0, acked 3, redelivered 1")
            run = left(watched)
    events = [(event.kind, event.worker, event.task_id) for event in run.ledger.events()]
    first = next(task_id for kind, _, task_id in events if kind is Kind.DELIVERED)
    assert (Kind.CRASHED, "worker.py", None) in events
    assert (Kind.REDELIVERED, "worker.py 2", first) in events
    assert events[-1][:2] == (Kind.STOPPED, "worker.py 2")  # the tap was closed: nobody's crash
    assert (run.counts.published, run.counts.done) == (3, 3)
    picture = watched.saved.with_suffix(".png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(watched.saved) in watched.output and str(picture) in watched.output


def test_where_nothing_passed_nothing_is_saved(tap):
    watched = tap()
    watched.interrupt()
    assert watched.end() == 0
    assert "Nothing was published" in watched.output and not watched.saved.exists()


def test_sigterm_saves_as_well(tap, tutorial):
    watched = tap()
    sent(tutorial, watched.url, "one")
    watched.process.terminate()
    assert watched.end() == 0
    assert Run.load(watched.saved).counts.published == 1


def test_faults_are_typed_line_by_line(tap, tutorial):
    watched = tap(stdin=subprocess.PIPE)

    def type_(line):
        watched.process.stdin.write(f"{line}\n")
        watched.process.stdin.flush()

    with tutorial("worker.py", watched.url) as worker:
        worker.wait_for("Waiting for messages")
        watched.wait_for("worker.py consumes")
        for line, answer in [
            ("explode", "'explode' is no fault. They are cut, disconnect, silence"),
            ("delay soon", "'soon' is no number"),
            ("delay", "'delay' is no fault"),
            (
                "cut new_task.py",
                "No connection is called 'new_task.py'. Those through the tap are: worker.py.",
            ),
            ("delay 0.01 worker.py", "delay: 1 connection"),
            ("limit none", "limit: 1 connection"),
            ("swallow_ack worker.py", "swallow_ack: 1 connection"),
        ]:
            type_(line)
            watched.wait_for(re.escape(answer))
        sent(tutorial, watched.url, "twice")
        assert worker.end() != 0  # it has done the task, and its acknowledgement did not pass
        assert "Done" in worker.output
    with tutorial("worker.py", watched.url) as worker:
        worker.wait_for("Received twice")
        watched.wait_for("acked 1, redelivered 1")
        type_("cut worker.py")
        assert worker.end() != 0
    run = left(watched)
    assert [event.kind for event in run.ledger.events({Kind.REDELIVERED, Kind.ACKNOWLEDGED})] == [
        Kind.REDELIVERED,
        Kind.ACKNOWLEDGED,
    ]


@pytest.mark.skipif(os.name != "posix", reason="There are no pseudo-terminals.")
def test_on_a_terminal_the_table_is_redrawn_in_its_place(broker, tmp_path, tutorial):
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "labkit", "tap", "--save", str(tmp_path / "seen.jsonl")]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=variables({}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = []

    def read_until(pattern):
        def there():
            if select.select([ours], [], [], 0)[0]:
                with contextlib.suppress(OSError):  # it has ended
                    shown.append(os.read(ours, 65536).decode())
            return re.search(pattern, "".join(shown))

        return until(there, lambda: f"{pattern!r} in {''.join(shown)!r}")

    try:
        url = read_until(ADDRESS).group(1)
        read_until("connection +consumes +prefetch +sent +held +acked +redeliv")
        with tutorial("worker.py", url) as worker:
            worker.wait_for("Waiting for messages")
            read_until(r"worker\.py +test-\w+ +1\b")
            sent(tutorial, url, "one", "two")
            read_until(r"\x1b7\x1b\[\d+F")  # up to its first line
            read_until("2 tasks: 2 done")
        process.terminate()
        read_until("and drawn in")
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


# --- where it listens, and what it says of passwords ----------------------------------------------


def test_a_program_with_a_port_written_into_it_is_watched_there(tap, tutorial):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # free in a moment
    watched = tap("--port", str(port))
    assert watched.url == f"amqp://guest:guest@127.0.0.1:{port}/%2F"
    sent(tutorial, f"amqp://localhost:{port}", "hello")
    assert left(watched).counts.published == 1


def test_a_port_that_is_the_brokers_own_says_how_to_move_the_broker(broker):
    port = broker.address().rpartition(":")[2]
    answer = labkit("tap", "--port", port)
    assert answer.returncode == 1
    assert "the lab's own broker's" in answer.stderr
    assert f"LABKIT_AMQP_PORT={int(port) + 1}" in answer.stderr


def test_a_port_that_is_taken_by_another_program_is_said_to_be(broker):
    with socket.create_server(("127.0.0.1", 0)) as server:
        answer = labkit("tap", "--port", str(server.getsockname()[1]))
    assert answer.returncode == 1 and "taken by another program" in answer.stderr


def test_a_password_is_not_printed(broker, tap, tutorial, queue):
    api, admin = f"{broker.management_url}/api", broker.management_credentials
    put = {"timeout": 10, "auth": admin}
    user = {"password": "se/cret", "tags": ""}
    requests.put(f"{api}/users/{queue}", json=user, **put).raise_for_status()
    try:
        may = {"configure": ".*", "write": ".*", "read": ".*"}
        requests.put(f"{api}/permissions/%2F/{queue}", json=may, **put).raise_for_status()
        watched = tap("--url", f"amqp://{queue}:se%2Fcret@{broker.address()}/%2F")
        assert watched.url.startswith(f"amqp://{queue}:***@127.0.0.1:")
        sent(tutorial, watched.url.replace("***", "se%2Fcret"), "hello")
        run = left(watched)
        assert "cret" not in watched.output and "cret" not in watched.saved.read_text()
        assert run.counts.published == 1
    finally:
        requests.delete(f"{api}/users/{queue}", **put)


@pytest.mark.parametrize("where", ["missing.txt/seen.jsonl", "."])
def test_a_file_that_cannot_be_written_is_refused_before_it_begins(tmp_path, where):
    (tmp_path / "missing.txt").write_text("a file, not a folder")
    answer = labkit("tap", "--save", str(Path(tmp_path, where)))
    assert answer.returncode == 1 and "is no place for a run" in answer.stderr


def test_only_the_queues_that_are_named_count(tap, tutorial, new_queue):
    watched = tap("--queue", new_queue("other"))
    sent(tutorial, watched.url, "hello")
    watched.interrupt()
    assert watched.end() == 0 and "Nothing was published" in watched.output
