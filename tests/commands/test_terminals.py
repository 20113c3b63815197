"""``labkit send`` and ``labkit worker``: the terminals of the classic tutorial, on the real broker."""

import json
import signal
import sys

import pytest
from terminal import Program, labkit, wait_until

from labkit import management


@pytest.fixture
def send(broker, queue):
    def send(*arguments):
        answer = labkit("send", "--queue", queue, *arguments)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    return send


@pytest.fixture
def worker(broker, queue):
    def worker(*arguments):
        program = Program(sys.executable, "-m", "labkit", "worker", "--queue", queue, *arguments)
        program.wait_for(r"waits for messages")
        return program

    return worker


@pytest.fixture
def depth(channel, queue):
    return lambda: channel.queue_declare(queue, passive=True).method.message_count


def test_what_is_sent_is_received_and_done(send, worker):
    assert send("First.", "two words") == " [x] Sent 'First.'\n [x] Sent 'two words'\n"
    with worker("--seconds-per-dot", "0.01") as program:
        for text in ("First.", "two words"):
            program.wait_for(f"Received '{text}'")
            program.wait_for(f"Done '{text}'")


def test_count_sends_it_so_often(send, depth):
    send("--count", "5", "again")
    assert depth() == 5


def test_messages_from_any_other_producer_are_understood(channel, queue, worker):
    channel.queue_declare(queue, durable=True)
    channel.basic_publish("", queue, b"no properties at all..")
    channel.basic_publish("", queue, json.dumps({"task": "sum", "start": 1, "end": 100}))
    with worker("--seconds-per-dot", "0") as program:
        program.wait_for(r"Done 'no properties at all\.\.'")
        program.wait_for(r"Done .*= 5050")


def test_its_messages_are_understood_by_any_other_consumer(send, channel, queue):
    send("Zwölf Äpfel..", '{"task": "sum", "start": 1, "end": 2}')
    _, properties, body = channel.basic_get(queue, auto_ack=True)
    assert body.decode() == "Zwölf Äpfel.."
    assert properties.delivery_mode == 2 and properties.content_type == "text/plain" and properties.message_id
    _, properties, body = channel.basic_get(queue, auto_ack=True)
    assert json.loads(body) == {"task": "sum", "start": 1, "end": 2}
    assert properties.content_type == "application/json"


def test_a_message_that_cannot_be_done_does_not_stop_the_worker(send, worker):
    send('{"task": "sum", "start": "one", "end": 2}', "the next")
    with worker() as program:
        program.wait_for(r"\[!\] Failed: .*start")
        program.wait_for(r"was rejected and discarded: nobody gets it any more")
        program.wait_for(r"Done 'the next'")


def test_ctrl_c_finishes_the_task_and_leaves_the_rest(send, worker, depth):
    send("first..", "second..")
    with worker("--seconds-per-dot", "1") as program:
        program.wait_for("Received 'first..'")
        program.interrupt()
        assert program.end() == 0
        assert "Done 'first..'" in program.output and "second" not in program.output
        assert "Traceback" not in program.output
    wait_until(lambda: depth() == 1, what="the second message returning to the queue")


def test_a_second_ctrl_c_gives_the_task_back(send, worker, depth, channel, queue):
    send("endless....")
    with worker("--seconds-per-dot", "100") as program:
        program.wait_for("Received")
        program.interrupt()
        program.wait_for("Ctrl-C again")
        program.interrupt()
        assert program.end() == 0
        assert "Traceback" not in program.output
    wait_until(lambda: depth() == 1, what="the task returning to the queue")
    assert channel.basic_get(queue, auto_ack=True)[0].redelivered


def test_sigterm_ends_an_idle_worker_cleanly(worker):
    with worker() as program:
        program.process.send_signal(signal.SIGTERM)
        assert program.end() == 0


def test_a_killed_worker_loses_nothing(send, worker, depth):
    send("--count", "5", "slow..........")
    with worker("--seconds-per-dot", "100", "--prefetch", "5") as program:
        program.wait_for("Received")
        wait_until(lambda: depth() == 0, what="everything being delivered")
        program.process.kill()
    wait_until(lambda: depth() == 5, what="the messages returning")


def test_with_auto_ack_a_killed_worker_loses_everything_it_had(send, worker, depth):
    send("--count", "5", "slow..........")
    with worker("--seconds-per-dot", "100", "--auto-ack") as program:
        program.wait_for("Received")
        wait_until(lambda: depth() == 0, what="everything being delivered")
        program.process.kill()
    send("afterwards")  # by now the broker has seen the connection go
    assert depth() == 1


def test_the_broker_knows_the_worker_by_its_name(broker, worker):
    api = management.of(broker)
    with worker("--name", "anna"):
        wait_until(lambda: "anna" in [each.user_provided_name for each in api.connections()], what="anna")


@pytest.mark.parametrize("arguments", [["send", "hello"], ["worker"]], ids=["send", "worker"])
class TestBadSurroundings:
    def answer(self, arguments, *more, **environment):
        answer = labkit(*arguments, *more, **environment)
        assert answer.returncode == 1
        assert (
            "Traceback" not in answer.stderr and answer.stderr.startswith("labkit: ") and "→" in answer.stderr
        )
        return answer.stderr

    def test_a_broker_that_is_down(self, arguments):
        url = "amqp://guest:guest@127.0.0.1:9/%2F"
        assert "127.0.0.1:9" in self.answer(arguments, LABKIT_BROKER="remote", LABKIT_AMQP_URL=url)

    def test_a_wrong_password(self, broker, arguments):
        url = f"amqp://guest:wrong@{broker.address()}/%2F"
        said = self.answer(arguments, LABKIT_BROKER="remote", LABKIT_AMQP_URL=url)
        assert "password" in said and "wrong" not in said

    def test_a_wrong_virtual_host(self, broker, arguments):
        url = f"amqp://{broker.username}:{broker.password}@{broker.address()}/nowhere"
        assert "nowhere" in self.answer(arguments, LABKIT_BROKER="remote", LABKIT_AMQP_URL=url)

