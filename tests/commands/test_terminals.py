"""``labkit send`` and ``labkit worker``: the terminals of the classic tutorial, on the real broker."""

import json
import re
import signal
import subprocess
import sys
import time

import pika
import pytest
import requests
from terminal import Program, labkit
from waiting import until

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


NOT_A_TASK = json.dumps({"order": 42, "customer": "Zoë"})


class TestAMessageThatNobodyUnderstands:
    """A worker says so, what becomes of it and where it went; ``--on-error`` chooses."""

    @pytest.fixture
    def declare(self, channel, queue):
        def declare(**arguments):
            settings = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
            channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "classic"} | settings)
            channel.basic_publish(
                "", queue, NOT_A_TASK, pika.BasicProperties(message_id="of-another-program")
            )

        return declare

    def test_it_goes_to_the_dead_letter_exchange(self, channel, queue, new_queue, declare, worker):
        dead = new_queue("dead")
        channel.queue_declare(dead, exclusive=True)
        channel.exchange_declare(f"{dead}-exchange", "fanout", auto_delete=True)
        channel.queue_bind(dead, f"{dead}-exchange")
        declare(dead_letter_exchange=f"{dead}-exchange")
        with worker() as program:
            program.wait_for(f"was rejected and went to the dead-letter exchange {dead}-exchange")
        until(lambda: channel.basic_get(dead, auto_ack=True)[2] == NOT_A_TASK.encode(), "the dead letter")

    def test_a_policy_names_the_exchange_as_well(self, broker, channel, queue, declare, worker):
        policy = {
            "pattern": f"^{queue}$",
            "definition": {"dead-letter-exchange": "amq.fanout"},
            "apply-to": "queues",
        }
        user, queue_url = broker.management_credentials, f"{broker.management_url}/api/queues/%2F/{queue}"
        url = f"{broker.management_url}/api/policies/%2F/{queue}"
        requests.put(url, json=policy, auth=user, timeout=10).raise_for_status()
        try:
            declare()
            with worker() as program:  # the queue itself tells of its policy some seconds later
                program.wait_for("went to (its queue's|the) dead-letter exchange")
            channel.basic_publish("", queue, NOT_A_TASK)
            until(lambda: "policy" in requests.get(queue_url, auth=user, timeout=10).json(), "the policy")
            with worker() as program:
                program.wait_for("went to the dead-letter exchange amq.fanout")
        finally:
            requests.delete(url, auth=user, timeout=10)

    def test_an_exchange_that_does_not_exist_gets_nothing(self, declare, worker):
        declare(dead_letter_exchange="not-there")
        with worker() as program:
            program.wait_for("discarded: the dead-letter exchange not-there does not exist")

    def test_without_an_exchange_it_is_gone(self, declare, worker, depth):
        declare()
        with worker() as program:
            program.wait_for(r"Failed: .*'task' is missing")
            program.wait_for("was rejected and discarded: nobody gets it any more")
        until(lambda: depth() == 0, "an empty queue")

    def test_nothing_is_claimed_where_the_management_api_does_not_answer(self, declare, broker, queue):
        declare()
        command = [sys.executable, "-m", "labkit", "worker", "--queue", queue, "--url", broker.amqp_url]
        with Program(*command, LABKIT_AMQP_URL=None, LABKIT_MANAGEMENT_URL="http://127.0.0.1:9") as program:
            program.wait_for("went to its queue's dead-letter exchange, or nowhere if it has none")

    def test_it_is_put_back_and_comes_again(self, declare, worker, depth):
        declare()
        with worker("--on-error", "requeue") as program:
            for _ in range(2):
                program.wait_for("was put back into the queue and comes again")
        until(lambda: depth() == 1, "the message being back")

    def test_it_is_acknowledged_all_the_same(self, declare, worker, depth):
        declare()
        with worker("--on-error", "acknowledge") as program:
            program.wait_for("was acknowledged all the same: nobody gets it any more")
        until(lambda: depth() == 0, "an empty queue")

    def test_it_is_moved_as_it_is_to_a_durable_queue_of_the_same_type(
        self, declare, worker, channel, queue, depth
    ):
        declare()
        try:
            with worker("--on-error", "dead-letter") as program:
                program.wait_for(f"was moved to the queue {queue}.dead-letters")
            channel.queue_declare(
                f"{queue}.dead-letters", durable=True, arguments={"x-queue-type": "classic"}
            )
            method, properties, body = channel.basic_get(f"{queue}.dead-letters", auto_ack=True)
            assert method and body.decode() == NOT_A_TASK
            assert properties.delivery_mode == 2 and properties.message_id == "of-another-program"
            until(lambda: depth() == 0, "an empty queue")
        finally:
            channel.queue_delete(f"{queue}.dead-letters")

    def test_with_auto_ack_the_broker_has_forgotten_it(self, declare, worker):
        declare()
        with worker("--auto-ack") as program:
            program.wait_for("was acknowledged on delivery: nobody gets it any more")


def test_a_result_of_thousands_of_digits_is_shown_short_and_ends_no_worker(send, worker):
    send('{"task": "multiply", "start": 1, "end": 2000}', "the next")
    with worker() as program:
        program.wait_for(r"Done .* = about 3\.3163e\+5735")
        program.wait_for("Done 'the next'")


def test_a_long_message_is_shown_short(send, worker):
    send("x" * 100_000)
    with worker() as program:
        assert len(program.wait_for("Done 'xxx").string) < 300


def test_a_terminal_that_cannot_show_a_message_shows_it_escaped_and_the_next_one(queue, send):
    send("Zwölf → Äpfel", "the next")
    command = [sys.executable, "-m", "labkit", "worker", "--queue", queue]
    with Program(*command, PYTHONIOENCODING="ascii") as program:
        program.wait_for(r"Received 'Zw.*lf \\u2192 .*pfel'")
        program.wait_for("Done 'the next'")


def test_a_worker_works_on_when_nobody_reads_what_it_says(queue, send, depth):
    send("first", "second", '{"task": "sum"}', f"endless{100 * '.'}")
    command = [sys.executable, "-m", "labkit", "worker", "--queue", queue, "--prefetch", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as program:
        assert b"waits for messages" in program.stdout.readline()
        program.stdout.close()
        until(lambda: depth() == 0, "the first three being done, for one is delivered at a time")
        program.kill()
    until(lambda: depth() == 1, "the endless one returning")


def test_a_redelivered_message_is_marked(send, worker):
    send("endless....", "short")
    with worker("--seconds-per-dot", "100", "--prefetch", "1") as program:
        assert "redelivered" not in program.wait_for("Received 'endless").string
        program.process.kill()
    with worker() as program:
        program.wait_for(r"Received 'endless\.\.\.\.' \(redelivered\)$")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_huge_count_is_sent_as_it_comes_and_an_end_of_it_says_how_far_it_came(queue, depth, number):
    with Program(
        sys.executable, "-m", "labkit", "send", "--queue", queue, "--count", "2147483648", "x"
    ) as program:
        program.wait_for("Sent 'x'")
        began = time.monotonic()
        program.process.send_signal(number)
        assert program.end() == 128 + number
        assert time.monotonic() - began < 2
        sent = int(re.search(r"Sent ([\d,]+) of 2,147,483,648 messages", program.output)[1].replace(",", ""))
        assert "Traceback" not in program.output
    until(lambda: depth() in (sent, sent + 1), "as many messages in the queue as were said")


def test_a_queue_that_is_deleted_meanwhile_is_said(queue, channel):
    with Program(
        sys.executable,
        "-m",
        "labkit",
        "send",
        "--queue",
        queue,
        "--queue-type",
        "classic",
        "--count",
        "1000000",
        "x",
    ) as program:
        program.wait_for("Sent 'x'")
        channel.queue_delete(queue)
        assert program.end() == 1
        assert "was deleted meanwhile" in program.output


def test_ctrl_c_finishes_the_task_and_leaves_the_rest(send, worker, depth):
    send("first..", "second..")
    with worker("--seconds-per-dot", "1") as program:
        program.wait_for("Received 'first..'")
        program.interrupt()
        assert program.end() == 0
        assert "Done 'first..'" in program.output and "second" not in program.output
        assert "Traceback" not in program.output
    until(lambda: depth() == 1, "the second message returning to the queue")


def test_a_second_ctrl_c_gives_the_task_back(send, worker, depth, channel, queue):
    send("endless....")
    with worker("--seconds-per-dot", "100") as program:
        program.wait_for("Received")
        program.interrupt()
        program.wait_for("Ctrl-C again")
        program.interrupt()
        assert program.end() == 0
        assert "Traceback" not in program.output
    until(lambda: depth() == 1, "the task returning to the queue")
    assert channel.basic_get(queue, auto_ack=True)[0].redelivered


def test_sigterm_ends_an_idle_worker_cleanly(worker):
    with worker() as program:
        program.process.send_signal(signal.SIGTERM)
        assert program.end() == 0


def test_a_killed_worker_loses_nothing(send, worker, depth):
    send("--count", "5", "slow..........")
    with worker("--seconds-per-dot", "100", "--prefetch", "5") as program:
        program.wait_for("Received")
        until(lambda: depth() == 0, "everything being delivered")
        program.process.kill()
    until(lambda: depth() == 5, "the messages returning")


def test_with_auto_ack_a_killed_worker_loses_everything_it_had(send, worker, depth):
    send("--count", "5", "slow..........")
    with worker("--seconds-per-dot", "100", "--auto-ack") as program:
        program.wait_for("Received")
        until(lambda: depth() == 0, "everything being delivered")
        program.process.kill()
    send("afterwards")  # by now the broker has seen the connection go
    assert depth() == 1


def test_the_broker_knows_the_worker_by_its_name(broker, worker):
    api = management.of(broker)
    with worker("--name", "anna"):
        until(lambda: "anna" in [each.user_provided_name for each in api.connections()], "anna")


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
