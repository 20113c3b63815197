"""The private node: beside any other RabbitMQ, and there again whatever happened to it."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path

import pika
import psutil
import pytest
from conftest import not_to_be_had
from waiting import until

from labkit import brokers
from labkit.brokers import config, processes
from labkit.brokers.node import Node
from labkit.brokers.plainpath import plain_path
from labkit.brokers.remote import Remote
from labkit.brokers.statefile import StateFile
from labkit.errors import (
    BrokerStartError,
    LabError,
    PortTakenError,
    ResourceAlarmError,
    SetupError,
    WaitTimeoutError,
)
from labkit.setup.ports import port_free

CHECKOUT = Path(__file__).resolve().parents[2]
START = "import sys; from labkit.brokers.node import Node; Node(root=sys.argv[1]).start()"


def quiet(_sentence):
    """For ``say``."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A checkout of these tests' own."""
    return tmp_path_factory.mktemp("checkout")


@pytest.fixture(scope="module")
def shared(root):
    """A node of these tests' own, apart from the one of the checkout."""
    found = Node(root=root)
    try:
        found.require_program()
    except LabError as error:
        not_to_be_had(error)
    yield found
    found.kill(say=quiet)
    found.stop(say=quiet)


@pytest.fixture
def node(shared):
    """The same node, running whatever the test before has done to it."""
    shared.start(say=quiet)
    return shared


def known(node):
    return json.loads((node.directory / "state.json").read_text(encoding="utf-8"))


def started_elsewhere(root, **more):
    """A process that starts the node of ``root``, in a session of its own as in a terminal."""
    return subprocess.Popen(
        [sys.executable, "-c", START, str(root)], cwd=CHECKOUT, start_new_session=True, text=True, **more
    )


def keep(node, queue="kept"):
    """Puts a confirmed, persistent message into a durable queue."""
    with brokers.connect(node.parameters("test")) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True)
        channel.queue_purge(queue)
        channel.confirm_delivery()
        channel.basic_publish("", queue, b"a task", pika.BasicProperties(delivery_mode=2))


def kept(node, queue="kept"):
    with brokers.connect(node.parameters("test")) as connection:
        return connection.channel().queue_declare(queue, passive=True).method.message_count


def goodbyes_of(node):
    """How many times it went in peace, by its own log."""
    log = node.directory / "log" / "rabbit.log"
    return log.read_text(encoding="utf-8", errors="replace").count("stopped TCP listener on")


def test_it_listens_on_loopback_alone_with_epmd_and_distribution(node):
    belongs = [processes.alive(known(node)[name]) for name in ("broker", "epmd")]
    listening = {
        (entry.laddr.ip, entry.laddr.port)
        for process in belongs
        for entry in process.net_connections(kind="inet")
        if entry.status == psutil.CONN_LISTEN
    }
    assert {address for address, _ in listening} <= {"127.0.0.1", "::1"}
    assert {port for _, port in listening} == set(known(node)["ports"].values())


def test_the_status_says_what_it_is(node):
    status = node.status()
    assert (status.kind, status.running, status.amqp) == ("node", True, node.address())
    assert status.rabbitmq_version == node.require_program().version_text
    assert int(status.erlang_version.split(".")[0]) >= 23
    assert 0 < status.uptime < 600


def test_every_file_is_under_labkit(node, root, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    node.kill(say=quiet)
    node.start(say=quiet)
    assert list(tmp_path.iterdir()) == []
    assert [entry.name for entry in root.iterdir()] == [".labkit"]
    opened = processes.alive(known(node)["broker"]).open_files()
    written = [Path(file.path) for file in opened if getattr(file, "mode", "") != "r"]  # Linux knows the mode
    assert written
    assert not [path for path in written if not path.is_relative_to(root / ".labkit")]


def test_it_is_configured_for_fresh_figures_and_transient_queues(node):
    assert "{rabbit,collect_statistics_interval,1000}" in node.ctl(
        "eval",
        "[{rabbit,collect_statistics_interval,V} || {ok,V} <- "
        "[application:get_env(rabbit,collect_statistics_interval)]].",
    ).replace(" ", "").replace("\n", "")
    with brokers.connect(node.parameters("test")) as connection:
        channel = connection.channel()
        channel.queue_declare("for a moment", durable=False)
        channel.queue_delete("for a moment")


def test_a_second_start_changes_nothing(node):
    before, said = known(node), []
    Node(root=node.directory.parents[1]).start(say=said.append)
    assert said == []
    assert known(node) == before


def test_a_restart_keeps_ports_and_messages(node):
    keep(node)
    before = known(node)
    goodbyes = goodbyes_of(node)
    node.restart(say=quiet)
    assert goodbyes_of(node) > goodbyes
    assert known(node)["ports"] == before["ports"]
    assert known(node)["broker"] != before["broker"]
    assert kept(node) == 1


def test_a_kill_is_no_goodbye_and_the_next_start_brings_everything_back(node):
    keep(node)
    before, goodbyes = known(node), goodbyes_of(node)
    node.kill(say=quiet)
    assert goodbyes_of(node) == goodbyes
    assert not node.running()
    assert node.in_use(), "find() has to return to it, not to another kind of broker"
    node.kill(say=quiet)  # a second time does no harm
    node.start(say=quiet)
    assert known(node)["ports"] == before["ports"]
    assert kept(node) == 1


def test_its_ports_are_its_own_while_it_is_away(node, tmp_path):
    before = known(node)["ports"]
    node.kill(say=quiet)
    other = Node(root=tmp_path)
    try:
        other.start(say=quiet)
        assert known(other)["ports"].items().isdisjoint(before.items())
        assert not config.unclaimed("amqp", before["amqp"]), "nor does a container take them"
        node.start(say=quiet)
        assert known(node)["ports"] == before
    finally:
        other.throw_away(say=quiet)
    node.kill(say=quiet)
    node.stop(say=quiet)
    assert config.unclaimed("amqp", before["amqp"]), "a stop gives them free"


def test_somebody_elses_restart_is_waited_for(node):
    remote = Remote(node.amqp_url)
    other = threading.Thread(target=node.restart, kwargs={"say": quiet})
    held = brokers.connect(remote.parameters("test"))
    other.start()
    remote.wait_for_restart(timeout=90)
    with pytest.raises(pika.exceptions.AMQPError):
        held.channel()
    brokers.connect(remote.parameters("test")).close()
    other.join()


def test_a_restart_that_never_comes_is_said_so(node):
    with pytest.raises(WaitTimeoutError, match="was not restarted within 1 s"):
        node.wait_for_restart(timeout=1)


def test_low_disk_space_is_said_instead_of_hanging(node):
    node.ctl("set_disk_free_limit", "900000GB")
    try:
        with pytest.raises(ResourceAlarmError, match="disk or its memory runs low"):
            # The broker looks at its disk now and then, not at once.
            until(lambda: node.wait_ready(5), "the alarm")
        with pytest.raises(ResourceAlarmError):
            node.start(say=quiet)
    finally:
        node.ctl("set_disk_free_limit", str(config.DISK_FREE_LIMIT))
    until(lambda: _accepts(node), "the end of the alarm")


def _accepts(node):
    with contextlib.suppress(ResourceAlarmError):
        node.wait_ready(5)
        return True
    return False


def test_it_outlives_the_process_that_started_it(node, root):
    node.kill(say=quiet)
    starter = started_elsewhere(root, stdout=subprocess.PIPE)
    until(node.running, "the node")
    with contextlib.suppress(ProcessLookupError):
        os.killpg(starter.pid, signal.SIGKILL)  # the starter and all that is in its session
    starter.communicate(timeout=30)
    assert node.running()
    node.wait_ready(30)


def test_two_processes_that_start_it_at_once_get_the_same_one(node, root):
    node.kill(say=quiet)
    pair = [started_elsewhere(root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    said = [process.communicate(timeout=150)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], said
    assert sorted("Starting" in text for text in said) == [False, True]
    assert node.running()


def test_ctrl_c_while_it_starts_leaves_nothing_behind(node, root):
    node.kill(say=quiet)
    starter = started_elsewhere(root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: processes.alive(known(node).get("broker")), "the process")
    broker = processes.alive(known(node)["broker"])
    starter.send_signal(signal.SIGINT)
    starter.communicate(timeout=60)
    until(lambda: not broker.is_running() or broker.status() == psutil.STATUS_ZOMBIE, "its end")
    assert not node.running()
    assert not node.in_use()
    assert not list(processes.with_environment(("epmd", "beam"), "RABBITMQ_PID_FILE", _pid_file(node)))


def _pid_file(node):
    return str(node.directory / "pid")


def test_a_number_that_another_process_has_now_is_not_taken_for_the_broker(node):
    port = socket.create_server(("127.0.0.1", 0))
    node.kill(say=quiet)
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    stale = known(node) | {
        "broker": {"pid": other.pid, "created": 1.0},
        "epmd": {"pid": other.pid, "created": 1},
    }
    (node.directory / "state.json").write_text(json.dumps(stale), encoding="utf-8")
    try:
        assert not node.running()
        node.stop(say=quiet)
        node.start(say=quiet)
        assert other.poll() is None
        assert known(node)["broker"]["pid"] != other.pid
    finally:
        port.close()
        other.communicate(b"\n")


@pytest.mark.parametrize(
    "text", ['{"ports": {"amqp": 56', "", "[]", "true", '{"ports": 7, "broker": "?"}', "[" * 100_000]
)
def test_a_half_written_state_is_not_believed(tmp_path, text):
    node = Node(root=tmp_path)
    node.directory.mkdir()
    (node.directory / "state.json").write_text(text, encoding="utf-8")
    assert not node.running()
    assert not node.in_use()
    assert node.address() == "127.0.0.1:5672"


def damaged(node, **damage):
    """Puts ``damage`` into the state file of a node as a hand or a failing disk would."""
    (node.directory / "state.json").write_text(json.dumps(known(node) | damage), encoding="utf-8")


@pytest.mark.parametrize("port", ["5672", 0, 70_000, -1, True, 5672.0, None, [5672]])
def test_ports_that_are_none_are_not_believed(tmp_path, port):
    node = Node(root=tmp_path)
    StateFile(node.directory / "state.json", lock=node.directory / "lock", ports=()).replace(
        {"ports": config.slot(7), "comes_back": True}
    )
    assert node.address() == "127.0.0.1:5679"
    damaged(node, ports=config.slot(7) | {"amqp": port})
    assert node.address() == "127.0.0.1:5672"
    assert not node.in_use()
    assert not node.running()


@pytest.mark.parametrize(
    "process",
    [
        {"pid": True, "created": True},
        {"pid": "1", "created": 1.0},
        {"pid": 10**30, "created": 1.0},
        {"pid": -1, "created": 1.0},
        {"pid": 1, "created": float("nan")},
        {"pid": 1},
        [1],
    ],
)
def test_a_process_that_is_none_is_not_believed(tmp_path, process):
    node = Node(root=tmp_path)
    StateFile(node.directory / "state.json", lock=node.directory / "lock", ports=()).replace(
        {"broker": process, "epmd": process}
    )
    assert not node.in_use()
    assert not node.running()
    node.stop(say=quiet)  # and nobody is hurt


def test_a_foreign_broker_at_the_noted_port_is_not_taken_for_ours(node, broker):
    """The state is whole, but says another port: there answers a RabbitMQ that another process has."""
    before, foreign = known(node), int(broker.address().rpartition(":")[2])
    damaged(node, ports=before["ports"] | {"amqp": foreign})
    try:
        assert node.greeting() is not None, "somebody answers there"
        assert not node.running()
        with pytest.raises(BrokerStartError, match="did not answer in time"):
            node.start(timeout=1, say=quiet)
    finally:
        damaged(node, ports=before["ports"])
    assert node.running()
    assert broker.running()


def test_a_node_whose_state_was_lost_is_ended_and_started_again(node):
    keep(node)
    lost = processes.alive(known(node)["broker"])
    (node.directory / "state.json").write_text('{"ports": {"amqp', encoding="utf-8")
    assert not node.running()
    node.start(say=quiet)
    assert not lost.is_running() or lost.status() == psutil.STATUS_ZOMBIE
    assert kept(node) == 1


def test_a_copied_checkout_does_not_take_the_originals_broker_for_its_own(node, tmp_path):
    copy = Node(root=tmp_path)
    copy.directory.mkdir()
    text = (node.directory / "state.json").read_text(encoding="utf-8")
    for whose in (node.directory, copy.directory):  # as it was copied, and as somebody has adapted it
        adapted = text.replace(json.dumps(str(node.directory)), json.dumps(str(whose)))
        (copy.directory / "state.json").write_text(adapted, encoding="utf-8")
        assert not copy.running()
        assert not copy.in_use()
        copy.stop(say=quiet)
        copy.kill(say=quiet)
    assert node.running()


@pytest.mark.skipif(os.name == "nt", reason="a directory with open files cannot be moved there")
def test_a_checkout_moved_while_its_broker_runs_has_one_broker_and_its_messages(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    before = Node(root=here)
    before.start(say=quiet)
    moved = None
    try:
        keep(before)
        first = processes.alive(known(before)["broker"])
        ports = known(before)["ports"]
        here.rename(there)
        moved, said = Node(root=there), []
        assert moved.in_use(), "it is the same broker, and no other kind is taken"
        assert not moved.running(), "its files are not where it looks for them"
        moved.start(say=said.append)
        assert any("was moved while its RabbitMQ ran" in sentence for sentence in said)
        assert not first.is_running() or first.status() == psutil.STATUS_ZOMBIE
        assert known(moved)["ports"] == ports
        assert moved.running()
        assert kept(moved) == 1
        assert not here.exists()
    finally:
        (moved or before).throw_away(say=quiet)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names, and makes no link")
@pytest.mark.parametrize("name", ["Übung 'ß' 漢", 'a "quoted" one', "$HOME `x` \\ ;&"])
def test_a_directory_may_have_any_name(tmp_path, monkeypatch, name):
    root, links = tmp_path / name, tmp_path / "links"
    root.mkdir()
    links.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(links))
    node = Node(root=root)
    try:
        node.start(say=quiet)
        keep(node)
        node.restart(say=quiet)
        assert kept(node) == 1
        assert "lab@localhost" in node.ctl("eval", "node().")
        assert [entry.name for entry in root.iterdir()] == [".labkit"]
        assert list(links.iterdir())
    finally:
        node.throw_away(say=quiet)
    assert not list(links.iterdir())


def test_where_no_link_can_be_made_the_error_names_the_directory(tmp_path, monkeypatch):
    def refuses(*_, **__):
        raise OSError("a required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuses)
    root = tmp_path / "漢"
    root.mkdir()
    with pytest.raises(BrokerStartError, match="such characters in its path: .*漢") as caught:
        Node(root=root).start(say=quiet)
    assert caught.value.setting == "LABKIT_HOME"


@pytest.mark.skipif(os.name == "nt", reason="makes a link")
def test_a_link_that_leads_elsewhere_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    strange = tmp_path / "漢"
    strange.mkdir()
    link = plain_path(strange)
    assert plain_path(strange) == link
    link.unlink()
    link.symlink_to(tmp_path)
    with pytest.raises(BrokerStartError, match="漢"):
        plain_path(strange)


def test_a_port_that_is_taken_between_our_look_and_rabbitmqs_costs_another_attempt(node, monkeypatch):
    node.kill(say=quiet)
    before, spawn, taken = known(node)["ports"], processes.spawn, []

    def spawn_late(command, **more):
        if "rabbitmq-server" in command[0] and not taken:
            taken.append(socket.create_server(("127.0.0.1", before["amqp"])))
        return spawn(command, **more)

    monkeypatch.setattr(processes, "spawn", spawn_late)
    try:
        node.start(say=quiet)
        assert taken
        assert known(node)["ports"]["amqp"] != before["amqp"]
    finally:
        for each in taken:
            each.close()


def test_taken_ports_are_left_to_their_owner_and_the_choice_is_kept(node):
    node.kill(say=quiet)
    before = known(node)["ports"]
    said = []
    with socket.create_server(("127.0.0.1", before["amqp"])):
        node.start(say=said.append)
        moved = known(node)["ports"]
        assert moved["amqp"] != before["amqp"]
        assert any(f"Port {before['amqp']} is not free" in sentence for sentence in said)
    node.kill(say=quiet)
    node.start(say=quiet)
    assert known(node)["ports"] == moved


def test_a_port_that_was_asked_for_and_is_taken_is_refused(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setenv("LABKIT_AMQP_PORT", str(port))
        node = Node(root=tmp_path)
        with pytest.raises(PortTakenError, match=f"Port {port} of LABKIT_AMQP_PORT is taken"):
            node.start(say=quiet)
    monkeypatch.setenv("LABKIT_MANAGEMENT_PORT", str(port))
    with pytest.raises(PortTakenError, match=f"Port {port} of LABKIT_MANAGEMENT_PORT is asked for twice"):
        node.start(say=quiet)
    monkeypatch.setenv("LABKIT_AMQP_PORT", "amqp")
    with pytest.raises(PortTakenError, match="LABKIT_AMQP_PORT is not a port"):
        node.start(say=quiet)


def test_a_port_that_is_usually_for_something_else_can_be_asked_for(tmp_path, monkeypatch):
    usual = config.FIRST_PORTS["prometheus"]
    if not port_free(usual):
        pytest.skip(f"another program has {usual}")
    monkeypatch.setenv("LABKIT_AMQP_PORT", str(usual))
    node = Node(root=tmp_path)
    try:
        node.start(say=quiet)
        assert node.address() == f"127.0.0.1:{usual}"
        assert known(node)["ports"]["prometheus"] != usual
    finally:
        node.throw_away(say=quiet)


def test_a_boot_that_fails_shows_what_rabbitmq_said(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "FRESH_STATISTICS", "no_such_setting = 1\n")
    node = Node(root=tmp_path)
    with pytest.raises(BrokerStartError, match="(?s)ended while it was starting.*set no_such_setting"):
        node.start(say=quiet)
    assert not node.running()
    assert not node.in_use()
    assert not list(processes.with_environment(("epmd", "beam"), "RABBITMQ_PID_FILE", _pid_file(node)))


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(SetupError, match="cannot write its files in"):
        Node(root=tmp_path / "file")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_can_run_it_whatever_the_directory_is_called(node):
    nobody = 65534
    root = Path(tempfile.gettempdir()) / f"ein lab für {os.getpid()}"
    root.mkdir()
    os.chown(root, nobody, nobody)
    try:
        # A fork has the modules loaded already: the checkout may be where that user cannot read.
        child = os.fork()
        if child == 0:
            _as_ordinary_user(nobody, root)
        assert os.waitpid(child, 0)[1] == 0, (root / "went wrong").read_text(encoding="utf-8")
        assert {entry.stat().st_uid for entry in root.rglob("*")} == {nobody}
    finally:
        shutil.rmtree(root)


def _as_ordinary_user(user, root):
    try:
        os.chdir(root)
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        os.environ["HOME"] = "/nonexistent"
        other = Node(root=root)
        other.start(say=quiet)
        assert other.running()
        other.stop(say=quiet)
        assert not other.running()
        os._exit(0)
    except BaseException:
        (root / "went wrong").write_text(traceback.format_exc(), encoding="utf-8")
        os._exit(1)


def test_a_stop_says_goodbye_to_the_clients_and_leaves_no_process(node):
    before = known(node)
    held = brokers.connect(node.parameters("test"))
    node.stop(say=quiet)
    assert not node.running()
    assert not node.in_use()
    assert not processes.alive(before["epmd"])
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="320"):
        held.process_data_events(time_limit=10)
    node.stop(say=quiet)  # a second time does no harm
    assert known(node)["ports"] == before["ports"]
