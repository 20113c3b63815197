"""A program in a process of its own: it really dies, stops and freezes, and never outlives whoever started it."""

import contextlib
import os
import signal
import sys
import threading
import time

import pika
import psutil
import pytest
from terminal import Program as Terminal
from waiting import until

from labkit.clients import program
from labkit.clients.program import KEPT, Program, resolved
from labkit.errors import ProgramError, UsageError, WaitTimeoutError

READY = "import signal, subprocess, sys, time; print('ready', flush=True)\n"
WAITS = READY + "time.sleep(1000)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAITS
POLITE = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n" + WAITS
CHILD = """child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])
print('child', child.pid, flush=True)
"""
PARENT = READY + CHILD + "time.sleep(1000)"
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has none of these signals.")


@pytest.fixture
def start():
    """A function that starts Python code as a program and waits until it says "ready"."""
    started = []

    def start(code, ready=True, **more):
        one = Program("one", [sys.executable, "-c", code], os.environ | {"PYTHONUNBUFFERED": "1"} | more)
        started.append(one)
        if ready:
            until(lambda: "ready" in one.output, "the program to begin")
        return one

    yield start
    for one in started:
        one.close()


def gone(pid):
    """Whether there is no such process, not even a zombie."""
    return not psutil.pid_exists(pid)


def child_of(one):
    until(lambda: "child" in one.output, "the child to begin")
    return int(one.output.rpartition("child ")[2].split()[0])


def dead(pid):
    """Whether it does nothing any more; who reaps the child of a killed parent is not ours to say."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def test_a_program_runs_prints_and_ends(start):
    one = start("import os, sys; print('pid', os.getpid()); print('oh', file=sys.stderr); sys.exit(3)", False)
    assert one.wait(60) == 3
    assert (one.state, one.exit_code, one.output) == ("ended", 3, f"pid {one.pid}\noh\n")


def test_a_running_one_is_a_process_of_its_own(start):
    one = start(WAITS)
    assert (one.state, one.exit_code) == ("running", None)
    assert repr(one) == f"<one: running, process {one.pid}>"
    if os.name == "posix":
        assert os.getpgid(one.pid) == os.getsid(one.pid) == one.pid, "no signal for this Python reaches it"


def test_a_killed_one_is_gone_when_kill_returns(start):
    one = start(DEAF)
    one.kill()
    assert gone(one.pid)
    assert (one.state, one.exit_code) == ("killed", -9)
    one.kill()
    one.stop()
    one.close()


@posix
def test_whoever_kills_it_it_was_killed(start):
    one = start(WAITS)
    os.kill(one.pid, signal.SIGKILL)
    assert one.wait(60) == -9
    assert one.state == "killed"


def test_what_it_started_is_killed_with_it(start):
    one = start(PARENT)
    child = child_of(one)
    one.kill()
    until(lambda: dead(child), "the child's end")


def test_what_it_leaves_behind_ends_with_it(start):
    one = start(READY + CHILD)
    assert one.wait(60) == 0
    until(lambda: dead(child_of(one)), "the child's end")


@posix
def test_a_polite_one_stops_when_it_is_asked_to(start):
    one = start(POLITE)
    one.stop(60)
    assert (one.state, one.exit_code) == ("ended", 7)
    assert gone(one.pid)


@posix
def test_one_that_does_not_listen_is_said_to_be_there(start):
    one = start(DEAF)
    with pytest.raises(WaitTimeoutError, match=r"one is still running after 0\.2 s") as error:
        one.stop(0.2)
    assert error.value.limit == 0.2 and "ready" in error.value.do
    assert one.state == "running"


@posix
def test_a_frozen_one_does_nothing_until_it_is_thawed(start):
    one = start(READY + "\nwhile True:\n print(time.time()); time.sleep(0.01)")
    one.freeze()
    assert one.state == "frozen"
    time.sleep(0.1)  # what it had printed comes through
    before = one.output
    time.sleep(0.3)
    assert one.output == before
    one.freeze()
    one.thaw()
    assert one.state == "running"
    until(lambda: one.output != before, "it to go on")


@posix
def test_what_a_frozen_one_started_is_frozen_too(start):
    one = start(PARENT)
    child = psutil.Process(child_of(one))
    one.freeze()
    until(lambda: child.status() == psutil.STATUS_STOPPED, "the child to freeze")
    one.thaw()
    until(lambda: child.status() != psutil.STATUS_STOPPED, "the child to thaw")


@posix
def test_a_frozen_one_can_be_killed_and_not_be_stopped(start):
    one = start(POLITE)
    one.freeze()
    with pytest.raises(UsageError, match="frozen"):
        one.stop()
    one.kill()
    assert gone(one.pid) and one.state == "killed"


@posix
def test_one_that_was_frozen_from_a_terminal_is_seen_to_be(start):
    one = start(WAITS)
    os.kill(one.pid, signal.SIGSTOP)
    until(lambda: one.state == "frozen", "it to freeze")
    one.thaw()
    assert one.state == "running"


@posix
@pytest.mark.parametrize("act", ["freeze", "thaw"])
def test_one_that_has_ended_cannot_be_frozen(start, act):
    one = start("print('bye')", False)
    one.wait(60)
    with pytest.raises(ProgramError, match="one has ended") as error:
        getattr(one, act)()
    assert (error.value.name, error.value.exit_code, error.value.output) == ("one", 0, "bye\n")


def test_where_there_is_no_sigstop_it_is_said(start, monkeypatch):
    one = start(WAITS)
    monkeypatch.delattr(signal, "SIGSTOP", raising=False)
    with pytest.raises(UsageError, match="no SIGSTOP"):
        one.freeze()


def test_only_the_last_of_what_it_prints_is_kept(start):
    one = start("for n in range(20_000): print('line', n)", False)
    one.wait(60)
    assert len(one.output) <= KEPT
    lines = one.output.splitlines()
    assert lines[-1] == "line 19999"
    assert all(line.startswith("line ") for line in lines), "no line without its beginning"


def test_one_long_line_is_no_reason_to_keep_it_all(start):
    one = start("print('x' * 1_000_000, end='')", False)
    one.wait(60)
    assert one.output == "x" * KEPT


def test_what_is_no_text_is_shown_all_the_same(start):
    one = start("import sys; sys.stdout.buffer.write(b'\\xff ok')", False)
    one.wait(60)
    assert one.output == "\N{REPLACEMENT CHARACTER} ok"


def test_what_cannot_be_started_is_said_with_the_systems_words(tmp_path):
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x00\x01")
    broken.chmod(0o755)
    threads = threading.active_count()
    with pytest.raises(ProgramError, match="cannot be started"):
        Program("broken", [str(broken)], dict(os.environ))
    until(lambda: threading.active_count() == threads, "the reader's end")


def test_nothing_is_left_of_one_that_has_ended(start):
    me, threads = psutil.Process(), threading.active_count()
    files = me.num_fds() if os.name == "posix" else me.num_handles()
    children = me.children(recursive=True)
    for _ in range(5):
        start(WAITS).kill()
        start("print('ready')").wait(60)
    assert me.children(recursive=True) == children, "zombies would be among them"
    assert threading.active_count() == threads
    if os.name == "posix":
        assert me.num_fds() == files


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_a_guard_that_is_ended_leaves_no_program(start, name):
    """Jupyter sends SIGTERM to all that a kernel has started; the system kills when memory runs out."""
    one = start(DEAF)
    os.kill(one._guard.pid, getattr(signal, name))
    assert one.wait(60) == -9
    assert one.state == "killed"
    until(lambda: dead(one.pid), "the program's end")


STARTER = """
import os, sys
from labkit.clients.program import Program
one = Program("one", [sys.executable, "-c", {code!r}], os.environ)
while "child" not in one.output: pass
if {frozen}: one.freeze()
print("started", one._guard.pid, one.pid, one.output.split()[-1], flush=True)
{then}
"""


@posix
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("then", ["import time; time.sleep(1000)", "os._exit(0)", "sys.exit()"])
def test_when_the_python_that_started_it_ends_however_nothing_is_left(frozen, then):
    code = STARTER.format(code=DEAF.replace(WAITS, PARENT), frozen=frozen, then=then)
    with Terminal(sys.executable, "-u", "-c", code) as kernel:
        family = [int(pid) for pid in kernel.wait_for(r"started (\d+) (\d+) (\d+)").groups()]
        if "sleep" in then:
            assert not any(map(dead, family))
            os.kill(kernel.process.pid, signal.SIGKILL)
        until(lambda: all(map(dead, family)), "the end of the guard, the program and its child")


def test_a_command_is_a_file_or_a_list(tmp_path, monkeypatch):
    file = tmp_path / "my worker.py"
    file.write_text("")
    monkeypatch.chdir(tmp_path)
    assert resolved("my worker.py", [1, "a b"]) == [sys.executable, "my worker.py", "1", "a b"]
    assert resolved(file, ()) == [sys.executable, str(file)]
    assert resolved([sys.executable, "-V"], ["x"]) == [sys.executable, "-V", "x"]


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        ("there-is-none.py", (), "There is no file 'there-is-none.py'"),
        ("node worker.js", (), "There is no file 'node worker.js'"),
        ("", (), "There is no file ''"),
        (["there-is-none"], (), "There is no command 'there-is-none'"),
        ([], (), r"command is \[\]"),
        (7, (), "command is 7"),
        (b"ls", (), "command is b'ls'"),
        ([sys.executable, None], (), "A word of the command is None"),
        ([sys.executable, "a\0b"], (), "A word of the command is"),
        ([sys.executable], "-V", "arguments is '-V'"),
        ([sys.executable], 5, "arguments is 5"),
    ],
)
def test_what_is_no_command_is_refused_in_a_sentence(command, arguments, said):
    with pytest.raises(UsageError, match=said) as error:
        resolved(command, arguments)
    assert error.value.do


@pytest.mark.parametrize("more", [{}, {"heartbeat": 2}, {"host": "::1", "virtual_host": "a/b"}])
def test_the_address_leads_where_the_parameters_lead(more):
    settings = {"host": "localhost", "port": 5673, "virtual_host": "/"} | more
    given = pika.ConnectionParameters(credentials=pika.PlainCredentials("u:1", "p@/?"), **settings)
    found = pika.URLParameters(program.address(given))
    for what in ("port", "virtual_host", "heartbeat"):
        assert getattr(found, what) == getattr(given, what)
    assert found.host.strip("[]") == given.host
    assert (found.credentials.username, found.credentials.password) == ("u:1", "p@/?")
