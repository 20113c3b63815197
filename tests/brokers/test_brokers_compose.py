"""The broker of compose.yaml, where a Docker engine answers."""

import os
import socket
import subprocess
import time
import uuid

import pika
import pytest

from labkit import brokers
from labkit.brokers import compose, config
from labkit.brokers.compose import Compose
from labkit.brokers.connection import explain
from labkit.brokers.statefile import StateFile
from labkit.errors import EngineError, FeatureRefusedError, ImageMissingError, PortTakenError
from labkit.setup.home import ROOT

IMAGES = ("rabbitmq:4.3-management", "rabbitmq:4.0-management", "rabbitmq:3.10-management")


def quiet(_sentence):
    """For ``say``."""


def docker(*arguments):
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def image():
    """An image that is here: what is tested is the lab, not the internet connection."""
    try:
        Compose().require_engine()
    except EngineError as error:
        pytest.skip(f"{error}")
    here = [each for each in IMAGES if docker("image", "inspect", each).returncode == 0]
    if not here:
        pytest.skip("no image of RabbitMQ is on this machine")
    return here[0]


@pytest.fixture(scope="module")
def shared(image, tmp_path_factory):
    """A container of these tests' own, thrown away at the end with its volume."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RABBITMQ_IMAGE", image)
        patch.setenv("COMPOSE_PROJECT_NAME", f"labkit-test-{uuid.uuid4().hex[:8]}")
        patch.delenv("LABKIT_BROKER", raising=False)
        patch.delenv("LABKIT_AMQP_URL", raising=False)
        broker = Compose(root=tmp_path_factory.mktemp("checkout"))
        yield broker
        broker._compose("down", "--volumes", "--timeout", "5", timeout=60)


@pytest.fixture
def broker(shared):
    shared.start(say=quiet)
    return shared


@pytest.mark.compose
def test_it_answers_on_loopback_alone_and_says_what_it_is(broker, image):
    status = broker.status()
    assert (status.kind, status.running) == ("compose", True)
    assert status.rabbitmq_version.startswith(image.partition(":")[2].partition("-")[0])
    assert status.uptime < 300
    published = docker(
        "ps", "--filter", f"label=com.docker.compose.project={broker._project()}", "--format", "{{.Ports}}"
    )
    outside = [port for port in published.stdout.split(", ") if "->" in port]
    assert len(outside) == 3
    assert all(port.startswith("127.0.0.1:") for port in outside)


@pytest.mark.compose
def test_find_returns_to_the_one_that_runs(broker):
    again = brokers.find(root=broker.directory.parent)
    assert again.kind == "compose"
    assert again.address() == broker.address()


@pytest.mark.compose
def test_it_is_configured_as_a_private_node_is(broker):
    effective = broker._compose("exec", "-T", "rabbitmq", "cat", "/etc/rabbitmq/conf.d/90-lab.conf")
    assert set(config.FRESH_STATISTICS.splitlines()) <= set(effective.splitlines())
    assert f"disk_free_limit.absolute = {config.DISK_FREE_LIMIT}" in effective
    with brokers.connect(broker.parameters("test")) as connection:
        channel = connection.channel()
        channel.queue_declare("for a moment", durable=False)
        channel.queue_delete("for a moment")


@pytest.mark.compose
@pytest.mark.parametrize("how", ["restart", "kill", "stop"])
def test_ports_and_messages_are_kept(broker, how):
    with brokers.connect(broker.parameters("test")) as connection:
        channel = connection.channel()
        channel.queue_declare("kept", durable=True)
        channel.queue_purge("kept")
        channel.confirm_delivery()
        channel.basic_publish("", "kept", b"a task", pika.BasicProperties(delivery_mode=2))
    before = broker.amqp_url
    getattr(broker, how)(say=quiet)
    assert broker.running() == (how == "restart")
    assert broker.in_use() == (how != "stop")
    broker.start(say=quiet)
    assert broker.amqp_url == before
    with brokers.connect(broker.parameters("test")) as connection:
        assert connection.channel().queue_declare("kept", passive=True).method.message_count == 1


@pytest.mark.compose
def test_one_that_was_started_by_hand_is_taken_over(broker, tmp_path):
    newcomer = Compose(root=tmp_path)
    newcomer.start(say=quiet)
    assert newcomer.address() == broker.address()


@pytest.mark.compose
def test_upstreams_refusal_of_transient_queues_can_be_shown(broker, monkeypatch):
    if broker.status().rabbitmq_version.startswith("3."):
        pytest.skip("this RabbitMQ has no deprecated features yet")
    monkeypatch.setenv("LABKIT_PERMIT_TRANSIENT", "false")
    broker._compose("up", "--detach", "--wait", "--force-recreate", timeout=120)
    broker.wait_ready(60)
    connection = brokers.connect(broker.parameters("test"))
    with pytest.raises(pika.exceptions.ConnectionClosed) as refused:
        connection.channel().queue_declare("for a moment", durable=False)
    assert isinstance(explain(refused.value), FeatureRefusedError)


@pytest.mark.parametrize(
    "state",
    [
        {"ports": 7, "started": True},
        {"ports": dict.fromkeys(compose.PORTS, "5672"), "comes_back": True},
        {"ports": dict.fromkeys(compose.PORTS, 5679), "comes_back": True},
        {"ports": dict(zip(compose.PORTS, (5679, 15679, 70_000), strict=True)), "comes_back": True},
    ],
)
def test_a_damaged_state_is_not_believed(tmp_path, monkeypatch, state):
    monkeypatch.delenv("LABKIT_AMQP_PORT", raising=False)
    broker = Compose(root=tmp_path)
    StateFile(broker.directory / "compose.json", lock=tmp_path / "lock", ports=()).replace(state)
    assert not broker.in_use()
    assert broker.address() == "127.0.0.1:5672"


@pytest.mark.compose
def test_an_image_that_cannot_be_had_is_said(image, tmp_path, monkeypatch):
    # An address on this machine where nothing listens: no internet is needed, and none is used.
    monkeypatch.setenv("RABBITMQ_IMAGE", "127.0.0.1:9/rabbitmq:none")
    with pytest.raises(ImageMissingError, match="127.0.0.1:9/rabbitmq:none is not on this machine") as caught:
        Compose(root=tmp_path).fetch_image(say=quiet)
    assert "docker load" in caught.value.do


@pytest.mark.compose
def test_a_port_that_was_asked_for_and_is_taken_is_refused(image, tmp_path, monkeypatch):
    monkeypatch.setenv("RABBITMQ_IMAGE", image)
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", f"labkit-test-{uuid.uuid4().hex[:8]}")
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("LABKIT_AMQP_PORT", str(other.getsockname()[1]))
        with pytest.raises(PortTakenError, match="LABKIT_AMQP_PORT is taken"):
            Compose(root=tmp_path).start(say=quiet)


@pytest.mark.skipif(os.name == "nt", reason="the engine is reached in another way there")
def test_an_engine_that_does_not_run_is_said_quickly(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    began = time.monotonic()
    with pytest.raises(EngineError) as caught:
        Compose(root=tmp_path).require_engine()
    assert "not run" in caught.value.what or "not installed" in caught.value.what
    assert time.monotonic() - began < compose.ENGINE_TIMEOUT


def test_compose_yaml_and_the_private_node_are_configured_alike():
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    for line in (
        *config.FRESH_STATISTICS.splitlines(),
        f"disk_free_limit.absolute = {config.DISK_FREE_LIMIT}",
    ):
        assert line in text
    assert config.advanced_config().strip().replace("=> true", "=> ${LABKIT_PERMIT_TRANSIENT:-true}") in text
    assert f"${{RABBITMQ_IMAGE:-{compose.DEFAULT_IMAGE}}}" in text
    assert f"hostname: {compose.CLUSTER.partition('@')[2]}" in text
