"""Whatever is given to the lab that it cannot use: one clear error, nothing lost, nothing left running.

What only one part refuses is tested with that part (test_tasks, test_management, test_brokers_connection, test_cli,
test_compare …). Here are the doors to the whole.
"""

import contextlib
import json
import math
import signal
import socket
import threading
from random import Random
from types import SimpleNamespace

import pika
import psutil
import pytest
from terminal import wait_until
from test_brokers_connection import server
from test_management import Server, cut_off, saying

from labkit import management, tasks
from labkit.brokers.remote import Remote
from labkit.clients.producer import Producer
from labkit.clients.worker import Worker
from labkit.commands import cli
from labkit.errors import (
    AccessRefusedError,
    BrokerDownError,
    BrokerError,
    LabError,
    ManagementError,
    PortTakenError,
    QueueMissingError,
    SavedRunError,
    UsageError,
    VirtualHostError,
    WaitTimeoutError,
)
from labkit.lab import Lab
from labkit.ledger import Kind, Ledger
from labkit.loads import Load, Loads, Sample
from labkit.results.run import Run
from labkit.tasks import Task

LONG = "x" * 300  # longer than a name may be in AMQP
WAITING = 3  # tasks that wait in the queue throughout


@pytest.fixture(scope="module")
def bench(broker, tmp_path_factory):
    """A bench with a queue in which tasks wait: none of them may get lost."""
    with Lab("bad-input", broker=broker, progress=False, say=lambda _: None) as lab:
        queue = lab.queue("q")
        lab.publish(queue, tasks.equal(WAITING))
        yield SimpleNamespace(
            lab=lab,
            queue=queue,
            parameters=lab.parameters("bad input"),
            directory=tmp_path_factory.mktemp("runs"),
        )


@pytest.fixture(autouse=True)
def nothing_is_left(request, broker):
    """After each test: no thread, process or connection that was not there before, and every task still there."""
    bench = request.getfixturevalue("bench") if "bench" in request.fixturenames else None
    before = set(threading.enumerate()), children()
    yield
    if bench is not None:
        bench.lab.begin()
        wait_until(
            lambda: bench.lab.depth(bench.queue) == (WAITING, 0),
            what="all tasks in the queue and no consumer",
        )
    threads, processes = before
    wait_until(lambda: set(threading.enumerate()) <= threads, what="the end of every thread")
    wait_until(lambda: children() <= processes, what="the end of every process")


def children():
    return {
        each.pid
        for each in psutil.Process().children(recursive=True)
        if each.name().startswith(("python", "epmd", "beam", "docker"))
    }


def worker(**settings):
    """A case: a Worker with these settings."""
    return lambda b: Worker(**{"parameters": b.parameters, "queue": b.queue, "name": "w", **settings}).start()


def producer(workload=(), **settings):
    return lambda b: Producer(
        **{"parameters": b.parameters, "queue": b.queue, "workload": workload, **settings}
    ).start()


def bench_of(lesson="bad-input-2", **settings):
    return lambda b: Lab(lesson, **{"broker": b.lab.broker, **settings})


IN_PYTHON = {
    # The bench.
    "a lesson without a name": (bench_of(None), UsageError, "lesson"),
    "a lesson with a name too long": (bench_of(LONG), UsageError, "255"),
    "dots of a negative time": (bench_of(seconds_per_dot=-1), UsageError, "seconds_per_dot"),
    "dots of no time that there is": (bench_of(seconds_per_dot=math.nan), UsageError, "seconds_per_dot"),
    "an address instead of a broker": (bench_of(broker="amqp://localhost"), UsageError, "broker"),
    "a queue without a name": (lambda b: b.lab.queue(""), UsageError, "queue"),
    "a queue with a number for a name": (lambda b: b.lab.queue(5), UsageError, "queue"),
    "a queue with a name too long": (lambda b: b.lab.queue("ü" * 120), UsageError, "255"),
    "arguments that are a list": (lambda b: b.lab.queue("a", arguments=[1]), UsageError, "arguments"),
    "arguments AMQP cannot carry": (
        lambda b: b.lab.queue("a", arguments={"x": object()}), UsageError, "AMQP cannot carry",
    ),
    "arguments RabbitMQ refuses": (
        lambda b: b.lab.queue("a", arguments={"x-max-length": -1}), BrokerError, "x-max-length",
    ),
    "a quorum queue that is not durable": (
        lambda b: b.lab.queue("a", type="quorum", durable=False), BrokerError, "durable",
    ),
    "workers by the text": (lambda b: b.lab.workers("3", b.queue), UsageError, "number of workers"),
    "workers by the truth": (lambda b: b.lab.workers(True, b.queue), UsageError, "number of workers"),
    "workers without end": (lambda b: b.lab.workers(10**6, b.queue), UsageError, "1000"),
    "workers of the same name": (lambda b: b.lab.workers(2, b.queue, names=["a", "a"]), UsageError, "same name"),
    "workers whose name is a number": (lambda b: b.lab.workers(1, b.queue, names=[1]), UsageError, "name"),
    "workers of no speed": (lambda b: b.lab.workers(1, b.queue, speed=None), UsageError, "speed"),
    "workers with half a priority": (lambda b: b.lab.workers(1, b.queue, priority=1.5), UsageError, "priority"),
    "workers from afar, before now": (lambda b: b.lab.workers(1, b.queue, distance=-1), UsageError, "distance"),
    "workers on no queue": (lambda b: b.lab.workers(1, None), UsageError, "queue"),
    "workers in no time": (lambda b: b.lab.workers(1, b.queue, timeout=0), WaitTimeoutError, "to consume"),
    "workers in a time that is a text": (lambda b: b.lab.workers(1, b.queue, timeout="5"), UsageError, "timeout"),
    "a wait for what is no condition": (lambda b: b.lab.wait("done", "it"), UsageError, "condition"),
    "a finish in no time that there is": (lambda b: b.lab.finish(timeout=math.nan), UsageError, "timeout"),
    "a restart in a time that is a text": (lambda b: b.lab.restart_broker("5"), UsageError, "timeout"),
    "a kill in a negative time": (lambda b: b.lab.kill_broker(-1), UsageError, "timeout"),
    "the depth of no queue": (lambda b: b.lab.depth(None), UsageError, "queue"),
    "the depth of a queue that is not there": (lambda b: b.lab.depth("nowhere"), QueueMissingError, "nowhere"),
    # What is published.
    "no workload": (lambda b: b.lab.publish(b.queue, None), UsageError, "workload"),
    "a workload of texts": (lambda b: b.lab.publish(b.queue, "abc"), UsageError, "'a'"),
    "to no queue": (lambda b: b.lab.publish(None, tasks.equal(1)), UsageError, "queue"),
    "a text for a body": (lambda b: b.lab.publish(b.queue, [Task("1", "text")]), UsageError, "body"),
    "no id": (lambda b: b.lab.publish(b.queue, [Task(None, b"")]), UsageError, "id"),
    "an id too long": (lambda b: b.lab.publish(b.queue, [Task(LONG, b"")]), UsageError, "255"),
    "an id for two": (lambda b: b.lab.publish(b.queue, [Task("1", b""), Task("1", b"")]), UsageError, "same id"),
    "a delay before now": (lambda b: b.lab.publish(b.queue, [Task("1", b"", delay=-1)]), UsageError, "delay"),
    "an exchange that is not there": (
        lambda b: b.lab.publish(b.queue, tasks.equal(1), exchange="nowhere"), QueueMissingError, "nowhere",
    ),
    "an exchange that is not there, found out while waiting": (
        lambda b: b.lab.run(tasks.equal(1), b.queue, exchange="nowhere"), QueueMissingError, "nowhere",
    ),
    "a type that is no text": (
        lambda b: b.lab.publish(b.queue, [Task("1", b"", content_type=5)]), LabError, "producer failed",
    ),
    "more tasks than there is memory": (lambda b: tasks.equal(10**12), UsageError, "count"),
    # A producer and a worker by themselves.
    "a producer to nowhere": (producer(parameters=None), UsageError, "parameters"),
    "a rate that is a text": (producer(rate="fast"), UsageError, "rate"),
    "a rate without a number": (producer(rate=math.nan), UsageError, "rate"),
    "returns without confirms": (producer(mandatory=True, confirms=False), UsageError, "mandatory"),
    "a workload that is a number": (producer(5), UsageError, "workload"),
    "a worker to nowhere": (worker(parameters=None), UsageError, "parameters"),
    "a worker without a name": (worker(name=None), UsageError, "name"),
    "a worker with a name too long": (worker(name=LONG), UsageError, "255"),
    "a worker on no queue": (worker(queue=None), UsageError, "queue"),
    "handlers that are a list": (worker(handlers=[print]), UsageError, "handlers"),
    "a prefetch that is the truth": (worker(prefetch=True), UsageError, "prefetch"),
    "a crash in no task": (worker(crash_in=0), UsageError, "crash_in"),
    "an event for nobody": (worker(on_event="print"), UsageError, "on_event"),
    "seconds without a number": (worker(seconds_per_dot=math.nan), UsageError, "seconds_per_dot"),
    # Saving.
    "a run saved where there is no directory": (
        lambda b: Run("r", Ledger()).save(b.directory / "no" / "run"), SavedRunError, "written",
    ),
    "a run saved over a directory": (lambda b: Run("r", Ledger()).save(b.directory), SavedRunError, "written"),
    "a run saved nowhere": (lambda b: Run("r", Ledger()).save(None), SavedRunError, "written"),
    "a run with more in it than JSON takes": (
        lambda b: Run("r", Ledger(), about={"x": object()}).save(b.directory / "run"), SavedRunError, "saved",
    ),
    "a run from nowhere": (lambda b: Run.load(None), SavedRunError, "None"),
    "a run from a directory": (lambda b: Run.load(b.directory), SavedRunError, "no file"),
    "a run from a file without an end": (lambda b: Run.load("/dev/zero"), SavedRunError, "no file"),
}  # fmt: skip


@pytest.mark.parametrize("case", IN_PYTHON)
def test_what_cannot_be_used_is_refused_at_the_door(bench, case):
    do, error, said = IN_PYTHON[case]
    with pytest.raises(error) as caught:
        do(bench)
    assert said in caught.value.what
    assert caught.value.what.endswith((".", "…"))
    assert not list(bench.directory.iterdir()), "nothing half-written stays"


# ---------------------------------------------------------------- the command line and its surroundings

BAD = {  # a name for the address in LABKIT_AMQP_URL; {} is the broker's
    "no user's password": "amqp://guest@{}/",
    "no time for a heartbeat": "amqp://guest:guest@{}/?heartbeat=never",
    "a frame too small": "amqp://guest:guest@{}/?frame_max=1",
    "no options": "amqp://guest:guest@{}/?ssl_options=1",
}
NAMES = {"two dots in a row": "amqp://a..b/", "no name of a machine": f"amqp://{'a' * 70}.example/"}

ON_THE_COMMAND_LINE = {
    "a queue without a name": (["send", "--queue", "", "hello"], {}, 2, "1 to 255"),
    "a queue with a name too long": (["send", "--queue", LONG, "hello"], {}, 2, "1 to 255"),
    "a queue that only RabbitMQ may name": (["send", "--queue", "amq.mine", "hello"], {}, 1, "reserved"),
    "a worker with a name too long": (["worker", "--name", LONG], {}, 2, "1 to 255"),
    "a worker on RabbitMQ's own queue": (["worker", "--queue", "amq.mine"], {}, 1, "reserved"),
    "a prefetch too large": (["worker", "--prefetch", "70000"], {}, 1, "65535"),
    "a speed without end": (["worker", "--speed", "inf"], {}, 2, "--speed"),
    "a negative number of lines": (["broker", "logs", "--lines", "-3"], {}, 2, "--lines"),
    "more workers than there can be": (["compare", "--workers", "100000000000"], {}, 1, "1000"),
    "more tasks than there can be": (["compare", "--workload", "equal:count=99999999999"], {}, 1, "count"),
    "a place where nothing can be saved": (["compare", "--save", "/dev/null"], {}, 1, "cannot be made"),
    "no such broker to test with": (["test", "--brokers", "node,newest"], {}, 2, "newest"),
    **{
        f"an address with {name}": (["send", "hello"], {"LABKIT_AMQP_URL": url}, 1, "pika does not understand")
        for name, url in BAD.items()
    },
    **{
        f"an address with {name}": (["send", "hello"], {"LABKIT_AMQP_URL": url}, 1, "no machine of this name")
        for name, url in NAMES.items()
    },
    "a broken escape in the password": (
        ["send", "hello"], {"LABKIT_AMQP_URL": "amqp://guest:gu%zz@{}/"}, 1, "refuses the user",
    ),
    "a virtual host too long": (
        ["send", "hello"], {"LABKIT_AMQP_URL": "amqp://guest:guest@{}/" + LONG}, 1, "virtual host",
    ),
    "the home of nobody": (["broker", "status"], {"LABKIT_HOME": "~nobody-of-this-name/x"}, 1, "cannot write"),
    "a file for a home": (["broker", "status"], {"LABKIT_HOME": __file__}, 1, "cannot write"),
    "a port that only looks like a number": (["broker", "start"], {"LABKIT_AMQP_PORT": "²"}, 1, "not a port"),
    "a port too high": (["broker", "start"], {"LABKIT_MANAGEMENT_PORT": "99999"}, 1, "not a port"),
}  # fmt: skip


@pytest.mark.parametrize("case", ON_THE_COMMAND_LINE)
def test_the_command_line_answers_with_a_status_and_a_sentence(broker, case, monkeypatch, tmp_path, capsys):
    arguments, environment, status, said = ON_THE_COMMAND_LINE[case]
    for name, value in environment.items():
        monkeypatch.setenv(name, value.replace("{}", broker.address()))
        if name == "LABKIT_AMQP_URL":
            monkeypatch.setenv("LABKIT_BROKER", "remote")
        elif name.endswith("_PORT"):
            monkeypatch.setenv("LABKIT_BROKER", "node")
            monkeypatch.setenv("LABKIT_HOME", str(tmp_path))
    assert on_the_command_line(*arguments) == status
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Sent" not in printed.out
    assert len([line for line in printed.err.splitlines() if line.startswith(("labkit", "  → "))]) <= 2
    assert not (tmp_path / ".labkit" / "node" / "state.json").exists()


def on_the_command_line(*arguments):
    """``labkit`` in this process, which costs less than another one; returns its exit status."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        return cli.main(arguments)
    except SystemExit as usage:
        return usage.code
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---------------------------------------------------------------- what is no broker, or a broken one

START = pika.frame.Method(
    0, pika.spec.Connection.Start(0, 9, {"product": "nothing"}, "PLAIN AMQPLAIN", "en_US")
).marshal()
CLOSED = pika.frame.Method(0, pika.spec.Connection.Close(320, "CONNECTION_FORCED", 0, 0)).marshal()

NO_BROKERS = {
    "it closes at once": (b"", BrokerDownError),
    "it closes in the handshake": (START, BrokerDownError),
    "it breaks off in its first sentence": (START[:10], BrokerDownError),
    "it talks nonsense after the greeting": (START + b"\xff" * 200, BrokerDownError),
    "it says goodbye in the handshake": (START + CLOSED, BrokerError),
    "it speaks another AMQP": (b"AMQP\x03\x01\x00\x00", BrokerDownError),
    "it wants TLS": (b"\x15\x03\x03\x00\x02\x02\x46", BrokerDownError),
    "it is a web server": (b"HTTP/1.1 400 Bad Request\r\n\r\n", PortTakenError),
    "it is a mail server": (b"220 mail ESMTP\r\n", PortTakenError),
}


@pytest.mark.parametrize("case", NO_BROKERS)
def test_producers_and_workers_say_what_answers_there_and_end(case, monkeypatch, capsys):
    answer, error = NO_BROKERS[case]
    with server(answer) as port:
        url = f"amqp://guest:secret@127.0.0.1:{port}/"
        parameters = Remote(url).parameters("test", stack_timeout=10)
        ledger = Ledger()
        sender = Producer(parameters, "q", tasks.equal(3), ledger=ledger, reconnect=False)
        sender.start()
        with pytest.raises(error) as caught:
            sender.wait(30)
        assert caught.value.do and "secret" not in str(caught.value)
        assert ledger.counts().published == 0, "what was never sent is not counted as sent"
        consumer = Worker(parameters, "q", name="w", reconnect=False)
        consumer.start()
        consumer.join(30)
        assert not consumer.is_alive()
        assert type(consumer.error) is type(caught.value)
        monkeypatch.setenv("LABKIT_AMQP_URL", url)
        monkeypatch.setenv("LABKIT_BROKER", "remote")
        assert on_the_command_line("send", "hello") == 1
        assert "labkit: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("amqp://guest:wrong@{}/", AccessRefusedError),
        ("amqp://guest:guest@{}/nowhere", VirtualHostError),
        ("amqp://guest@{}/", UsageError),
    ],
)
def test_a_bench_on_a_broker_that_lets_nobody_in(broker, url, error):
    with pytest.raises(error):
        Lab("bad-input-2", broker=Remote(url.format(broker.address())), say=lambda _: None)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (saying(200, b"<html>hello</html>"), "not RabbitMQ's management API"),
        (saying(500, b'{"error": "internal"}'), "status 500"),
        (saying(403, b"{}"), "status 403"),
        (saying(200, b'{"rabbitmq_version": 5}'), "not RabbitMQ's management API"),
        (cut_off, "cut off"),
        (None, "Nothing answers"),
    ],
    ids=["another program", "500", "403", "no version", "cut off", "nobody"],
)
def test_a_bench_whose_management_api_is_broken_does_not_open(broker, answer, said):
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(Server(answer)).url if answer else f"http://127.0.0.1:{closed_port()}"
        with pytest.raises(ManagementError) as caught:
            Lab("bad-input-2", broker=Remote(broker.amqp_url, url), say=lambda _: None)
    assert said in caught.value.what


@pytest.mark.parametrize(
    "answer",
    [saying(500, b""), saying(200, b"{"), saying(404, b"{}"), cut_off],
    ids=["500", "{", "404", "cut"],
)
def test_a_management_api_that_breaks_in_the_middle_costs_the_figures_and_no_task(broker, answer):
    with (
        Lab("bad-input-2", broker=broker, progress=False, say=lambda _: None) as lab,
        Server(answer) as broken,
    ):
        queue = lab.queue("q")
        lab.workers(2, queue)
        whole, lab.management.url = lab.management.url, broken.url
        run = lab.run(tasks.equal(6), queue)
        lab.management.url = whole
        assert run.counts.done == 6 and not run.counts.lost
        assert run.loads.problem or run.loads.reconcile(run.ledger).sentence


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def test_a_queue_that_is_deleted_under_its_worker_is_named_in_the_end(bench):
    queue = bench.lab.queue("deleted")
    (worker,) = bench.lab.workers(1, queue)
    with management.of(bench.lab.broker) as api:
        api.delete_queue(queue)
    wait_until(lambda: isinstance(worker.error, QueueMissingError), what="the worker to find out")
    bench.lab.publish(queue, tasks.equal(1))
    with pytest.raises(WaitTimeoutError) as caught:
        bench.lab.finish(timeout=0.5)
    assert "no queue" in caught.value.do


# ---------------------------------------------------------------- saved runs


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small run in a file, made without a broker."""
    ledger, workload = Ledger(), tasks.alternating(6)
    ledger.add(workload)
    ledger.record(Kind.CONNECTED, worker="ann", note="manual")
    for task in workload:
        for kind in (Kind.PUBLISHED, Kind.CONFIRMED):
            ledger.record(kind, task.id)
        for kind in (Kind.DELIVERED, Kind.STARTED, Kind.FINISHED, Kind.ACKNOWLEDGED):
            ledger.record(kind, task.id, "ann")
    load = Load("ann", 6, 6)
    loads = Loads({"ann": load}, [Sample(0.1, (load,), 3, 1)], total=load)
    return Run("six", ledger, loads, {"rabbitmq": "4.3.6"}).save(
        tmp_path_factory.mktemp("saved") / "run.jsonl"
    )


def spoil(text, random):
    """The text, with one thing wrong with it."""
    at, length = random.randrange(len(text)), random.randint(1, 12)
    lines = text.splitlines(keepends=True)
    line = random.randrange(len(lines))
    kinds = {
        "truncated": lambda: text[:at],
        "a piece is missing": lambda: text[:at] + text[at + length :],
        "a piece is there twice": lambda: text[: at + length] + text[at:],
        "other characters": lambda: text[:at] + random.choice('0-9"{}[],:eE.nul\0ü') + text[at + 1 :],
        "a line is missing": lambda: "".join(lines[:line] + lines[line + 1 :]),
        "lines changed places": lambda: "".join(random.sample(lines, len(lines))),
        "another value": lambda: other_value(lines, line, random),
    }
    return random.choice(list(kinds.values()))()


def other_value(lines, number, random):
    values = [None, True, -1, 1e308, math.nan, math.inf, "x", [], {}, [[1]], 10**400, -(10**30)]
    entry = json.loads(lines[number])
    key = random.choice(list(entry) if isinstance(entry, dict) else range(len(entry)))
    entry[key] = random.choice(values)
    return "".join([*lines[:number], json.dumps(entry) + "\n", *lines[number + 1 :]])


@pytest.mark.parametrize("seed", range(4))
def test_a_saved_run_that_was_altered_is_refused_or_can_be_used(saved, tmp_path, seed):
    random, whole, path = Random(seed), saved.read_text(encoding="utf-8"), tmp_path / "run.jsonl"
    refused = 0
    for _ in range(250):
        path.write_text(spoil(whole, random), encoding="utf-8")
        try:
            run = Run.load(path)
        except SavedRunError as error:
            refused += 1
            assert error.do
            continue
        assert run.counts.adds_up
        assert repr(run) and run.loads.reconcile(run.ledger).sentence
        assert run.ledger.spans() is not None
        assert all(math.isfinite(event.time) for event in run.ledger.events())
        assert math.isfinite(run.makespan) and run.workers is not None
    assert refused > 100


HUGE = {
    "a number": b'{"run": ' + b"9" * 5000 + b"}",
    "nested": b"[" * 100_000,
    "nested further down": b'{"run": "x", "about": {}, "loads": {}}\n' + b"[" * 100_000,
    "no numbers": b'{"run": "x", "about": {}, "loads": {"final": [], "samples": [[NaN, [], 1, 1]]}}\n',
    "a text": b'"' + b"x" * 5_000_000,
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100,
    "nothing": b"",
    "a compressed one": b"\x1f\x8b\x08" + bytes(100),
}


@pytest.mark.parametrize("what", HUGE)
def test_a_file_that_is_no_run_at_all_is_refused(tmp_path, what):
    path = tmp_path / "run.jsonl"
    path.write_bytes(HUGE[what])
    with pytest.raises(SavedRunError) as caught:
        Run.load(path)
    assert caught.value.do
    assert len(str(caught.value)) < 1000


def test_a_line_without_an_end_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("labkit.ledger.saved.LONGEST_LINE", 1000)
    path = tmp_path / "run.jsonl"
    path.write_text('{"run": "' + "x" * 10_000)
    with pytest.raises(SavedRunError):
        Run.load(path)


def test_a_save_that_fails_leaves_what_was_saved_before(saved, tmp_path, monkeypatch):
    path = tmp_path / "run.jsonl"
    run = Run.load(saved)
    run.save(path)
    before = path.read_bytes()
    with pytest.raises(SavedRunError):
        Run("worse", run.ledger, about={1: {2}}).save(path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(SavedRunError, match="No space left"):
        run.save(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["run.jsonl"]
