"""Every client goes through the tap as it is, and what the tap counts is what the broker counts."""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from terminal import Program
from waiting import until

from labkit import management
from labkit.ledger import Kind, Ledger
from labkit.tap import Tap

PROGRAMS = Path(__file__).parent / "programs"
COUNT = 6  # tasks
AMQPLIB = "amqplib@2.3.1"
INSTALL_LIMIT = 180  # seconds


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory):
    """Where amqplib is; fails in CI where it cannot be had, and skips elsewhere."""
    folder = tmp_path_factory.mktemp("node")
    npm, node = shutil.which("npm"), shutil.which("node")
    problem = "" if npm and node else "There is no Node with npm."
    if not problem:
        install = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", AMQPLIB]
        answer = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=INSTALL_LIMIT)
        problem = answer.stderr if answer.returncode else ""
    if problem:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(problem)
    return folder / "node_modules"


@pytest.fixture
def ledger():
    """A ledger of which the law holds at every moment: somebody looks all the time."""
    watched, over, broken = Ledger(), threading.Event(), []

    def watch():
        while not over.wait(0.001):
            counts = watched.counts()
            if not counts.adds_up:
                broken.append(counts)

    thread = threading.Thread(target=watch)
    thread.start()
    yield watched
    over.set()
    thread.join()
    assert not broken


@pytest.fixture
def tap(broker, ledger):
    with Tap(broker.parameters("tap"), ledger) as opened:
        yield opened


@pytest.fixture
def queue(broker, new_queue, connection):
    name = new_queue()
    yield name
    channel = connection.channel()
    for suffix in (".DQ", ".XQ"):  # dramatiq's
        channel.queue_delete(name + suffix)


@pytest.fixture
def program(tap, queue):
    """Start one of the programs, with the address of the tap."""

    def start(name, *arguments, **environment):
        runs = "node" if name.endswith(".js") else sys.executable
        variables = {"AMQP_URL": tap.parameters, "QUEUE": queue, "COUNT": COUNT, **environment}
        return Program(runs, PROGRAMS / name, *arguments, **variables)

    return start


def send(program, name, *arguments, **environment):
    with program(name, *arguments, **environment) as sender:
        assert sender.end() == 0, sender.output


def total(ledger):
    """What the ledger says the broker should have counted: delivered, acknowledged, redelivered, automatic."""
    seats = ledger.seats().values()
    kinds = ("delivered", "acknowledged", "redelivered", "automatic")
    return tuple(sum(getattr(seat, what) for seat in seats) for what in kinds)


def counted(broker, queue):
    """What the broker counted."""
    found = management.of(broker).queue(queue)
    return found.delivered, found.acknowledged, found.redelivered, found.automatic


def agree(broker, queue, tap, ledger):
    until(
        lambda: counted(broker, queue) == total(ledger),
        lambda: f"the broker's counts {counted(broker, queue)} to be the tap's {total(ledger)}",
        20,
    )
    assert tap.undecoded == 0


def all_done(ledger, outcome="done"):
    until(
        lambda: getattr(ledger.counts(), outcome) == COUNT, lambda: f"all to be {outcome}: {ledger.counts()}"
    )
    assert ledger.counts().published == COUNT


def test_bare_pika_with_automatic_acknowledgements(broker, queue, tap, ledger, program):
    send(program, "with_pika.py", "send")
    assert ledger.counts().waiting == COUNT
    send(program, "with_pika.py", "work")
    all_done(ledger, "handed_over")
    assert total(ledger) == (COUNT, 0, 0, COUNT)
    agree(broker, queue, tap, ledger)
    assert ledger.workers == ["with_pika.py"]


def test_rabbitmqs_tutorial_two_with_a_worker_that_is_killed(broker, queue, tap, ledger, program):
    send(program, "new_task.py", "First....................", *["Another."] * (COUNT - 1))
    with program("worker.py") as one:
        one.wait_for("Received First")
        with program("worker.py") as two:
            two.wait_for("Received Another")
            one.process.kill()
            all_done(ledger)
    again = list(ledger.events({Kind.REDELIVERED}))
    assert [event.worker for event in again] == ["worker.py 2"]
    assert ledger.task(again[0].task_id).body.startswith(b"First")
    assert [event.worker for event in ledger.events({Kind.CRASHED})][0] == "worker.py"
    agree(broker, queue, tap, ledger)


@pytest.mark.parametrize("name", ["kombu", "aio_pika", "dramatiq"])
def test_a_python_client(broker, queue, tap, ledger, program, name):
    send(program, f"with_{name}.py", "send")
    send(program, f"with_{name}.py", "work")
    all_done(ledger)
    assert total(ledger) == (COUNT, COUNT, 0, 0)
    agree(broker, queue, tap, ledger)
    # dramatiq consumes from its delay queue as well, by a connection of its own
    assert [bool(seat.delivered) for seat in ledger.seats().values()].count(True) == 1


@pytest.mark.parametrize("mode", [{}, {"ACKS_LATE": "1"}], ids=["default", "acks_late"])
def test_celery(broker, queue, tap, ledger, program, mode):
    send(program, "with_celery.py", "send", **mode)
    with program("with_celery.py", "work", **mode) as worker:
        all_done(ledger)
        consuming = [one for one in tap.connections if one.consumers]
        assert [one.consumers for one in consuming] == [(queue,)]
        assert consuming[0].prefetch == (2 if mode else 8)
        agree(broker, queue, tap, ledger)
        worker.process.terminate()
        with contextlib.suppress(AssertionError):
            worker.end()
    assert ledger.counts().done == COUNT and tap.undecoded == 0


def test_amqplib_on_node(broker, queue, tap, ledger, program, node_modules):
    for what in ("send", "work"):
        send(program, "with_amqplib.js", what, NODE_PATH=node_modules)
    all_done(ledger)
    assert set(ledger.task_ids()) == {f"node-{number}" for number in range(COUNT)}
    assert len(list(ledger.events({Kind.CONFIRMED}))) == COUNT
    agree(broker, queue, tap, ledger)
