"""Killed, closed or doubled: whatever becomes of a kernel, the next one works and nothing of the old one is left.

Every lesson, N times each: ``python3 -m labkit test tests/lab/test_leftovers.py --leftovers N``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import nbformat
import psutil
import pytest
from kernels import kernel_of
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from terminal import ROOT, Program, listen
from waiting import until

from labkit import brokers, management

FOLDER = ROOT / "notebooks"
LESSONS = sorted(FOLDER.glob("[0-9]*.ipynb"))
FEW = LESSONS[:1]  # killed alone in an ordinary run; two more are killed before three run at the same time
CELL_TIMEOUT = 180  # seconds; a busy machine is allowed to be slow
START_TIMEOUT = 180  # seconds for a kernel to start there
LONGEST = 3.0  # seconds after the beginning of a cell at which its kernel is killed at the latest
BROKER = ("beam", "epmd", "erl", "inet_gethost", "docker", "sh")  # what may outlive a kernel that started it


def pytest_generate_tests(metafunc):
    if "moment" in metafunc.fixturenames:
        times = metafunc.config.getoption("--leftovers")
        cases = [(path, seed) for path in (LESSONS if times else FEW) for seed in range(times or 1)]
        names = [f"{path.stem}-{seed}" for path, seed in cases]
        metafunc.parametrize(("path", "moment"), cases, ids=names)


class Kernel:
    """A lesson in a kernel of its own, as a context manager."""

    def __init__(self, path: Path):
        self.client = NotebookClient(
            nbformat.read(path, as_version=4),
            timeout=CELL_TIMEOUT,
            startup_timeout=START_TIMEOUT,
            kernel_name="python3",
            resources={"metadata": {"path": str(FOLDER)}},
        )
        self.cells = self.client.nb.cells
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Kernel:
        self._open.enter_context(kernel_of(self.client))
        return self

    def __exit__(self, *error) -> None:
        self._open.__exit__(*error)

    @property
    def pid(self) -> int:
        return self.client.km.provisioner.process.pid

    def run(self, first: int = 0, last: int | None = None) -> None:
        """Run the cells from ``first`` up to ``last``; an error in one is raised."""
        for index in range(first, len(self.cells) if last is None else last):
            self.client.execute_cell(self.cells[index], index)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def kill_in_the_middle(path: Path, random: Random) -> tuple[str, list[psutil.Process]]:
    """Run a lesson up to a random moment in a random cell, and kill its kernel there.

    Returns the moment in words, and the processes that the kernel had started.
    """
    with Kernel(path) as kernel:
        code = [index for index, cell in enumerate(kernel.cells) if cell.cell_type == "code"]
        at, after = random.choice(code), random.uniform(0, LONGEST)
        kernel.run(last=at)
        started: list[psutil.Process] = []

        def strike():
            started.extend(psutil.Process(kernel.pid).children(recursive=True))
            kernel.kill()

        blow = threading.Timer(after, strike)
        blow.start()
        with contextlib.suppress(DeadKernelError):
            kernel.run(at, at + 1)
        blow.cancel()
        blow.join()
        if not started:  # the cell was shorter than that
            with contextlib.suppress(psutil.Error):
                strike()
    return f"{path.stem}, cell {at}, {after:.2f} s", started


def traces(broker) -> set[str]:
    """The broker's queues and connections by name; the latter without those that only look."""
    with management.of(broker) as api:
        queues = {f"queue {each.name}" for each in api.queues()}
        return queues | {f"connection {each.user_provided_name or each.name}" for each in api.connections()}


def nodes() -> set[int]:
    """The processes of brokers and their port mappers that this checkout has."""
    here = str(brokers.find().directory / "pid") if brokers.find().kind == "node" else None
    found = set()
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            named = process.info["name"].startswith(("beam", "epmd"))
            if named and process.environ().get("RABBITMQ_PID_FILE") == here:
                found.add(process.pid)
    return found


def orphans(processes: list[psutil.Process]) -> list[psutil.Process]:
    found = []
    for each in processes:
        with contextlib.suppress(psutil.Error):
            if each.status() != psutil.STATUS_ZOMBIE and not each.name().startswith(BROKER):
                found.append(each)
    return found


@pytest.mark.timeout(900)
def test_after_a_kernel_was_killed_the_lesson_runs_again_and_nothing_of_it_is_left(path, moment, broker):
    before = traces(broker)
    where, started = kill_in_the_middle(path, Random(f"{path.stem} {moment}"))
    brokers.find().start()
    run_all(path)
    until(lambda: not orphans(started), f"the end of what the kernel had started ({where})")
    until(lambda: traces(broker) <= before, f"the end of queues and connections ({where})")
    if broker.kind == "node":
        assert len(nodes()) == 2, "one broker and its port mapper"


def at_once(function, paths: list[Path]) -> list:
    """What the function returns for each of the paths, in threads at the same time; the first error is raised."""
    with ThreadPoolExecutor(len(paths)) as pool:
        return list(pool.map(function, paths))


def run_all(path: Path) -> None:
    with Kernel(path) as kernel:
        kernel.run()


@pytest.mark.timeout(600)
def test_kernels_at_the_same_time_do_not_disturb_each_other_even_after_two_were_killed(broker):
    """Two on the same lesson, and one on another."""
    before = traces(broker)
    killed = at_once(lambda path: kill_in_the_middle(path, Random(path.stem)), LESSONS[:2])
    at_once(run_all, [LESSONS[0], LESSONS[0], LESSONS[1]])
    until(lambda: not orphans([each for _, started in killed for each in started]), "orphans' end")
    until(lambda: traces(broker) <= before, "the end of queues and connections")


RESTARTING = """
from labkit.lab import Lab
lab = Lab("killed")
lab.queue("q")
print("ready", flush=True)
lab.restart_broker()
"""


@pytest.mark.timeout(400)
def test_a_kernel_killed_while_it_restarts_the_broker_leaves_one_that_starts_again(broker, queue, channel):
    """It is the kernel that would have started the broker again."""
    if not broker.can_restart:
        pytest.skip("This broker is somebody else's.")
    channel.queue_declare(queue, durable=True)
    channel.connection.close()
    with Program(sys.executable, "-u", "-c", RESTARTING) as kernel:
        kernel.wait_for("ready")
        until(lambda: not broker.running(), "the broker to go")
        os.kill(kernel.process.pid, signal.SIGKILL)
        kernel.end()
    again = brokers.find()
    assert again.kind == broker.kind and again.address() == broker.address()
    again.start()
    with brokers.connect(again.parameters("test")) as connection:
        assert connection.channel().queue_declare(queue, passive=True).method.message_count == 0
    if broker.kind == "node":
        assert len(nodes()) == 2, "one broker and its port mapper"


@pytest.mark.own_broker
@pytest.mark.timeout(400)
def test_closing_the_terminal_ends_jupyterlab_and_the_broker_that_it_started(broker, tmp_path):
    """A closed terminal sends SIGHUP, and takes the place away where the rest could be said."""
    pty = pytest.importorskip("pty")
    pid, terminal = pty.fork()
    if pid == 0:
        listen()
        os.chdir(ROOT)
        os.environ |= {"LABKIT_BROKER": "node", "LABKIT_HOME": str(tmp_path)}
        os.environ.pop("LABKIT_AMQP_URL", None)
        os.execv(sys.executable, [sys.executable, "-m", "labkit", "start", "--no-browser"])
    try:
        said = b""
        while b"Ctrl-C ends JupyterLab and RabbitMQ" not in said:
            said += os.read(terminal, 4096)
        family = of_home(tmp_path)
        assert {"beam.smp", "epmd"} <= {each.name() for each in family}
        os.close(terminal)
        until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, "the end of labkit", timeout=120)
        until(lambda: not of_home(tmp_path), f"the end of {family}")
    finally:
        for each in of_home(tmp_path):
            with contextlib.suppress(psutil.NoSuchProcess):  # it went with the one before it
                each.kill()


def of_home(home: Path) -> list[psutil.Process]:
    """The live processes that were started with this LABKIT_HOME, or by it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            mine = process.environ().get("LABKIT_HOME") == str(home)
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
