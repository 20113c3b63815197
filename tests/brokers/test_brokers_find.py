"""Which broker is chosen, and what is said where there is none."""

import os
import stat

import pytest

from labkit import brokers
from labkit.brokers import Broker, engine
from labkit.brokers.compose import Compose
from labkit.brokers.node import Node
from labkit.brokers.remote import Remote
from labkit.brokers.statefile import StateFile
from labkit.errors import (
    BrokerNotInstalledError,
    BrokerTooOldError,
    EngineError,
    ImageMissingError,
    UsageError,
    WaitTimeoutError,
)
from labkit.setup import programs

NO_DOCKER = EngineError("Docker is not installed.", do="Install Docker.")
NO_IMAGE = ImageMissingError("The image rabbitmq:4.3-management is not on this machine.", do="Connect.")
NO_RABBITMQ = BrokerNotInstalledError("RabbitMQ is not installed on this machine.", do="Install it.")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    """No variable of whoever runs the tests decides."""
    for name in (
        "LABKIT_BROKER",
        "LABKIT_AMQP_URL",
        "LABKIT_MANAGEMENT_URL",
        "LABKIT_RABBITMQ_HOME",
        "RABBITMQ_IMAGE",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def surroundings(monkeypatch):
    """A function that says what the machine has: Docker's trouble, the image's, RabbitMQ's."""

    def have(*, engine=None, image=None, rabbitmq=None, node=False, compose=False):
        def answer(trouble):
            def method(self, **_):
                if trouble:
                    raise trouble

            return method

        monkeypatch.setattr(Compose, "require_engine", answer(engine))
        monkeypatch.setattr(Compose, "fetch_image", answer(image))
        monkeypatch.setattr(Node, "require_program", answer(rabbitmq))
        monkeypatch.setattr(Node, "in_use", lambda self: node)
        monkeypatch.setattr(Compose, "in_use", lambda self: compose)

    return have


def kind(tmp_path, **more):
    return brokers.find(root=tmp_path, **more).kind


def test_an_address_comes_first(surroundings, tmp_path, monkeypatch):
    surroundings(node=True, compose=True)
    monkeypatch.setenv("LABKIT_AMQP_URL", "amqp://rabbit.example/")
    assert kind(tmp_path) == "remote"


def test_what_this_checkout_uses_already_comes_next(surroundings, tmp_path):
    surroundings(node=True, compose=False)
    assert kind(tmp_path) == "node"
    surroundings(node=False, compose=True, engine=NO_DOCKER)
    assert kind(tmp_path) == "compose"


def test_then_compose_where_an_engine_answers(surroundings, tmp_path):
    surroundings()
    assert kind(tmp_path) == "compose"


def test_then_a_private_node(surroundings, tmp_path):
    surroundings(engine=NO_DOCKER)
    assert kind(tmp_path) == "node"


def test_without_the_image_a_private_node_serves_and_it_is_said(surroundings, tmp_path):
    surroundings(image=NO_IMAGE)
    said = []
    assert kind(tmp_path, say=said.append) == "node"
    assert said == [f"{NO_IMAGE.what} A private node of the installed RabbitMQ serves instead."]


def test_whoever_only_asks_waits_for_no_download(surroundings, tmp_path):
    surroundings(image=AssertionError("downloaded"))
    assert kind(tmp_path, fetch=False) == "compose"


def test_with_neither_both_reasons_are_given(surroundings, tmp_path):
    surroundings(engine=NO_DOCKER, rabbitmq=NO_RABBITMQ)
    with pytest.raises(BrokerNotInstalledError) as caught:
        kind(tmp_path)
    assert "RabbitMQ is not installed" in caught.value.what
    assert "Docker is not installed" in caught.value.what
    assert caught.value.do


@pytest.mark.parametrize("forced", ["node", "compose"])
def test_a_kind_can_be_forced(surroundings, tmp_path, monkeypatch, forced):
    surroundings(node=forced != "node", compose=forced != "compose")
    monkeypatch.setenv("LABKIT_AMQP_URL", "amqp://rabbit.example/")
    monkeypatch.setenv("LABKIT_BROKER", forced)
    assert kind(tmp_path) == forced


def test_a_forced_kind_that_is_not_there_is_no_other(surroundings, tmp_path, monkeypatch):
    surroundings(engine=NO_DOCKER, rabbitmq=NO_RABBITMQ)
    monkeypatch.setenv("LABKIT_BROKER", "compose")
    with pytest.raises(EngineError):
        kind(tmp_path)
    monkeypatch.setenv("LABKIT_BROKER", "node")
    with pytest.raises(BrokerNotInstalledError):
        kind(tmp_path)
    monkeypatch.setenv("LABKIT_BROKER", "remote")
    with pytest.raises(UsageError, match="LABKIT_AMQP_URL"):
        kind(tmp_path)


def test_an_unknown_kind_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_BROKER", "kafka")
    with pytest.raises(UsageError, match="(?s)'kafka'.*node, compose, remote"):
        kind(tmp_path)


# ---- an installed RabbitMQ ------------------------------------------------------------------------


def installed(place, version):
    """A directory that looks like RabbitMQ ``version``."""
    sbin = place / f"rabbitmq_server-{version}" / "sbin"
    sbin.mkdir(parents=True)
    (sbin / f"rabbitmq-server{programs.SUFFIX}").touch()
    (sbin.parent / "plugins" / f"rabbit-{version}").mkdir(parents=True)
    return sbin


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """An empty machine with Erlang; what is installed goes where its packages would put it."""
    bin = tmp_path / "bin"
    bin.mkdir()
    for program in ("erl", "epmd"):
        (bin / program).touch()
        (bin / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(bin))
    monkeypatch.setattr(programs, "ERLANG_PLACES", ())
    monkeypatch.setattr(programs, "PLACES", (f"{tmp_path}/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",))
    return tmp_path


def test_the_newest_of_several_is_found(machine):
    for version in ("3.9.13", "3.13.7", "3.8.9"):
        installed(machine / "usr/lib/rabbitmq/lib", version)
    found = programs.find_rabbitmq()
    assert found.version == (3, 13, 7)
    assert found.version_text == "3.13.7"
    assert found.ctl.parent == found.server.parent


def test_one_on_the_path_is_found_through_its_link(machine):
    sbin = installed(machine / "Cellar", "4.1.0")
    (sbin / "rabbitmq-server").chmod(0o755)
    (machine / "bin" / "rabbitmq-server").symlink_to(sbin / "rabbitmq-server")
    assert programs.find_rabbitmq().sbin == sbin.resolve()


def test_a_named_one_wins_and_a_wrong_name_is_refused(machine, monkeypatch):
    installed(machine / "usr/lib/rabbitmq/lib", "4.3.6")
    sbin = installed(machine / "unpacked", "4.0.5")
    monkeypatch.setenv("LABKIT_RABBITMQ_HOME", str(sbin.parent))
    assert programs.find_rabbitmq().version == (4, 0, 5)
    monkeypatch.setenv("LABKIT_RABBITMQ_HOME", str(machine / "nowhere"))
    with pytest.raises(BrokerNotInstalledError, match="LABKIT_RABBITMQ_HOME"):
        programs.find_rabbitmq()


def test_an_old_one_is_refused_with_both_versions(machine):
    installed(machine / "usr/lib/rabbitmq/lib", "3.8.9")
    with pytest.raises(BrokerTooOldError, match=r"3\.9 or newer; here is 3\.8\.9"):
        programs.find_rabbitmq()


def test_none_at_all_is_said(machine):
    with pytest.raises(BrokerNotInstalledError, match="RabbitMQ is not installed"):
        programs.find_rabbitmq()


def test_rabbitmq_without_its_erlang_is_said(machine):
    installed(machine / "usr/lib/rabbitmq/lib", "4.3.6")
    (machine / "bin" / "erl").unlink()
    with pytest.raises(BrokerNotInstalledError, match="Erlang that it runs on is not"):
        programs.find_rabbitmq()


# ---- Docker -----------------------------------------------------------------------------------------


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """A function that puts a ``docker`` on the PATH which prints what real ones print, and fails."""

    def says(stderr, *, status=1, stdout=""):
        program = tmp_path / "docker"
        program.write_text(
            f"#!/bin/sh\ncat <<'END'\n{stdout}\nEND\ncat >&2 <<'END'\n{stderr}\nEND\nexit {status}\n"
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")

    return says


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for Docker is a shell script")
@pytest.mark.parametrize(
    ("stderr", "what"),
    [
        (
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
            "not run",
        ),
        (
            "error during connect: this error may indicate that the docker daemon is not running: "
            'Get "http://%2F%2F.%2Fpipe%2Fdocker_engine/v1.24/version": open //./pipe/docker_engine: no such file',
            "not run",
        ),
        (
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "
            'Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.24/version": dial unix /var/run/docker.sock: connect: '
            "permission denied",
            "refuses you permission",
        ),
    ],
)
def test_an_engine_that_does_not_serve_is_told_apart(docker, stderr, what, tmp_path):
    docker(stderr)
    with pytest.raises(EngineError, match=what) as caught:
        Compose(root=tmp_path).require_engine()
    assert caught.value.do
    assert stderr.split()[0] in str(caught.value.__cause__)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for Docker is a shell script")
def test_compose_that_is_missing_or_too_old_is_said(docker, tmp_path, monkeypatch):
    docker("docker: 'compose' is not a docker command.")
    with pytest.raises(EngineError, match="Compose plugin is not"):
        engine.docker("compose", "version")
    docker("", status=0, stdout="2.20.3")
    with pytest.raises(EngineError, match=r"Compose 2\.20\.3 is too old"):
        Compose(root=tmp_path).require_engine()


def test_no_docker_at_all_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="Docker is not installed"):
        Compose(root=tmp_path).require_engine()


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for Docker is a shell script")
def test_an_engine_that_never_answers_is_given_up(docker, tmp_path):
    docker("")
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(EngineError, match=r"did not finish `docker version` within 0 s"):
        engine.docker("version", timeout=0.2)


# ---- a remote broker --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["rabbit.example:5672", "http://u:geheim@rabbit.example", "amqp://", "amqp://u:geheim@h:x/"]
)
def test_a_bad_address_is_refused_without_repeating_the_password(monkeypatch, url):
    monkeypatch.setenv("LABKIT_AMQP_URL", url)
    with pytest.raises(UsageError, match="LABKIT_AMQP_URL is not an address") as caught:
        brokers.find()
    assert "geheim" not in str(caught.value)


def test_a_remote_brokers_parts_are_read_from_its_address():
    remote = Remote("amqps://me:p%40ss@rabbit.example/team%2Fa")
    assert (remote.username, remote.password, remote.vhost) == ("me", "p@ss", "team/a")
    assert remote.address() == "rabbit.example:5671"
    assert remote.management_url == "https://rabbit.example:15672"
    parameters = remote.parameters("worker-1", heartbeat=5)
    assert parameters.virtual_host == "team/a"
    assert parameters.ssl_options is not None
    assert parameters.heartbeat == 5
    assert parameters.client_properties["connection_name"] == "worker-1"
    assert "p@ss" not in repr(parameters)


def test_the_management_address_is_shown_without_its_credentials():
    remote = Remote("amqp://u:p@rabbit.example/", "https://admin:geheim@page.example/rabbit")
    assert remote.management_url == "https://page.example/rabbit"
    assert remote.management_credentials == ("admin", "geheim")
    assert Remote("amqp://u:p@rabbit.example/", "").management_url is None


# ---- what is remembered -----------------------------------------------------------------------------


def test_a_lock_is_held_by_one_and_given_up_waiting_for(tmp_path):
    first, second = (StateFile(tmp_path / "state", lock=tmp_path / "lock", ports=()) for _ in range(2))
    with first.locked(1), pytest.raises(WaitTimeoutError) as caught, second.locked(0.1):
        pass
    assert caught.value.limit == 0.1
    with second.locked(0.1):
        pass


def test_every_kind_of_broker_offers_the_same():
    assert {each.kind for each in (Node, Compose, Remote)} == set(brokers.KINDS)
    assert all(issubclass(each, Broker) and not each.__abstractmethods__ for each in (Node, Compose, Remote))
