"""Worker processes, and anybody's programs, at the bench: they consume for real, and die for real."""

import contextlib
import os
import sys
import textwrap

import psutil
import pytest
from terminal import Program as Terminal
from waiting import until

from labkit import tasks
from labkit.errors import ProgramError, QueueMissingError, UsageError, WaitTimeoutError
from labkit.lab import Lab, launch
from labkit.setup import bootstrap
from labkit.setup.ports import port_free

TIMEOUT = 60
# RabbitMQ's tutorial two, written anew from its description; where it connects to is what the tests change.
TUTORIAL = """
import os, sys, time, pika
connection = pika.BlockingConnection(CONNECT)
channel = connection.channel()
channel.queue_declare(queue=sys.argv[1], durable=True, arguments={'x-queue-type': 'classic'})
print(' [*] Waiting for messages. To exit press CTRL+C')
def callback(ch, method, properties, body):
    print(f' [x] Received {body.decode()}')
    time.sleep(float(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(' [x] Done')
    ch.basic_ack(delivery_tag=method.delivery_tag)
channel.basic_qos(prefetch_count=1)
channel.basic_consume(queue=sys.argv[1], on_message_callback=callback)
channel.start_consuming()
"""
BY_URL = TUTORIAL.replace("CONNECT", "pika.URLParameters(os.environ['AMQP_URL'])")
BY_HOST = TUTORIAL.replace(
    "CONNECT", "pika.ConnectionParameters(os.environ['AMQP_HOST'], int(os.environ['AMQP_PORT']))"
)
FIXED = TUTORIAL.replace("CONNECT", "pika.ConnectionParameters(host='localhost')")
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGSTOP.")


def started():
    """What this Python has started and not cleared away, zombies too; the broker stays."""
    return [
        each
        for each in psutil.Process().children(recursive=True)
        if not each.name().startswith(("beam", "erl", "epmd", "sh", "inet_gethost"))
    ]


def dead(pid):
    """Whether it does nothing any more; who reaps a killed kernel's orphans is not ours to say."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


@pytest.fixture
def lab(broker):
    before = started()
    with Lab("programs", broker=broker, seconds_per_dot=0.03, progress=False, say=lambda text: None) as bench:
        yield bench
    assert started() == before, "somebody is left, or a zombie"


@pytest.fixture
def script(tmp_path):
    def script(code, name="worker.py"):
        file = tmp_path / name
        file.write_text(code)
        return file

    return script


# --- worker processes ------------------------------------------------------------------------


def test_worker_processes_do_the_tasks_and_the_ledger_says_elsewhere(lab):
    queue = lab.queue("q")
    two = lab.processes(2, queue, prefetch=1)
    assert lab.depth(queue)[1] == 2, "the broker shows them when they are returned"
    assert [one.name for one in two] == list(lab.programs) == ["process-1", "process-2"]
    lab.wait(
        lambda: (
            {channel.worker for channel in lab.management.channels() if queue in channel.queues}
            == {"process-1", "process-2"}
        ),
        "their names on the management page",
    )
    run = lab.run(tasks.equal(10), queue, timeout=TIMEOUT)
    assert (run.counts.done_elsewhere, run.counts.published, run.counts.lost) == (10, 10, 0)
    counted = {name: load.acknowledged for name, load in run.loads.final.items()}
    assert counted == {"process-1": 5, "process-2": 5}, "the broker's figures"
    assert [one.state for one in two] == ["ended", "ended"]
    assert lab.programs == {}


def test_of_a_killed_process_the_other_one_does_the_rest(lab):
    queue = lab.queue("q")
    one, other = lab.processes(2, queue, prefetch=1, seconds_per_dot=0.2, names=["one", "other"])
    lab.publish(queue, tasks.equal(10))
    lab.wait(lambda: "Received" in one.output, "the one to be in a task")
    one.kill()
    done = one.output.count("Done")
    assert one.output.count("Received") == done + 1, "it struck in the middle of a task"
    run = lab.finish(timeout=TIMEOUT)
    assert run.loads.final["other"].acknowledged == 10 - done
    counted = lab.management.queue(queue)
    assert (one.state, other.state) == ("killed", "ended")
    assert run.counts.done_elsewhere == 10
    assert (counted.acknowledged, counted.redelivered) == (10, 1)
    assert other.output.count("Done") == 10 - done
    assert other.output.count("(redelivered)") == 1


def test_processes_beside_the_labs_own_workers(lab):
    queue = lab.queue("q")
    lab.workers(1, queue)
    lab.processes(1, queue, prefetch=1)
    run = lab.run(tasks.equal(12), queue, timeout=TIMEOUT)
    assert run.counts.done > 0 and run.counts.done_elsewhere > 0
    assert run.counts.done + run.counts.done_elsewhere == 12


@posix
def test_a_frozen_process_holds_its_task_until_it_is_thawed(lab):
    queue = lab.queue("q")
    (one,) = lab.processes(1, queue, prefetch=1, seconds_per_dot=0.3)
    lab.publish(queue, tasks.equal(2))
    lab.wait(lambda: "Received" in one.output, "it to be in a task")
    one.freeze()
    assert lab.programs["process-1"].state == "frozen"
    with pytest.raises(WaitTimeoutError, match="2 tasks wait") as error:
        lab.finish(timeout=3)
    assert "process-1 frozen" in error.value.do
    one.thaw()
    assert lab.finish(timeout=TIMEOUT).counts.done_elsewhere == 2


@posix
@pytest.mark.timeout(180)
def test_a_frozen_process_that_sends_no_heartbeats_loses_its_task_to_the_other(lab):
    queue = lab.queue("q")
    short = lab.parameters("short", heartbeat=2)
    one, other = lab.processes(2, queue, prefetch=1, parameters=short, seconds_per_dot=0.2)
    one.freeze()
    lab.publish(queue, tasks.equal(4))
    assert lab.depth(queue)[1] == 2, "the broker does not know it yet"
    assert lab.finish(timeout=TIMEOUT).counts.done_elsewhere == 4
    assert "Received" not in one.output and other.output.count("Done") == 4
    assert other.output.count("(redelivered)") == 1


@posix
def test_a_frozen_process_is_ended_with_the_experiment(lab):
    (one,) = lab.processes(1, lab.queue("q"))
    one.freeze()
    lab.begin()
    assert one.state == "killed" and not psutil.pid_exists(one.pid)


def test_a_process_that_is_stopped_politely_finishes_its_task(lab):
    queue = lab.queue("q")
    (one,) = lab.processes(1, queue, prefetch=1, seconds_per_dot=0.5)
    lab.publish(queue, tasks.equal(2))
    lab.wait(lambda: "Received" in one.output, "it to be in a task")
    one.stop()
    assert one.state == "ended" and one.output.count("Done") == 1
    lab.wait(lambda: lab.depth(queue) == (1, 0), "the other task to be in the queue")


def test_a_process_with_automatic_acknowledgements(lab):
    queue = lab.queue("q")
    lab.processes(1, queue, ack="automatic")
    lab.wait(
        lambda: [each.acknowledges for each in lab.management.consumers(queue)] == [False],
        "the broker to show it",
    )
    run = lab.run(tasks.equal(3), queue, timeout=TIMEOUT)
    assert run.counts.handed_over == 3


def test_dead_letters_of_a_process_are_cleared_away_with_the_lab(lab):
    queue = lab.queue("q")
    lab.processes(1, queue, on_error="dead-letter")
    assert lab.depth(f"{queue}.dead-letters")[0] == 0
    lab.close()
    assert lab.management.queues(queue) == []


def test_a_process_on_a_queue_that_is_not_there_is_refused_and_declares_none(lab):
    with pytest.raises(QueueMissingError):
        lab.processes(1, lab.name("none"))
    assert lab.programs == {}


def test_a_process_takes_this_python_as_it_is_and_installs_nothing(lab, monkeypatch):
    """It may have other versions than those of requirements.txt: it runs the lab, and that will do."""
    monkeypatch.setattr(bootstrap, "missing", lambda files: ["pika==0"])
    monkeypatch.setattr(bootstrap, "prepare", lambda files: pytest.fail("it would install"))
    queue = lab.queue("q")
    (one,) = lab.processes(1, queue)
    for name, value in psutil.Process(one.pid).environ().items():
        monkeypatch.setenv(name, value)
    bootstrap.enter(["worker"])


# --- any program -----------------------------------------------------------------------------


@pytest.mark.parametrize("code", [BY_URL, BY_HOST], ids=["AMQP_URL", "AMQP_HOST and AMQP_PORT"])
def test_the_tutorials_worker_twice_with_the_address_from_its_environment(lab, script, code):
    if code is BY_HOST and lab.broker.password != "guest":
        pytest.skip("This broker wants a password.")
    queue = lab.queue("q")
    two = lab.program(script(code), n=2, arguments=[queue], consumers=queue)
    assert [one.name for one in two] == ["worker.py-1", "worker.py-2"]
    assert lab.depth(queue)[1] == 2
    run = lab.run(tasks.equal(6), queue, timeout=TIMEOUT)
    assert run.counts.done_elsewhere == 6
    assert sum(load.acknowledged for load in run.loads.final.values()) == 6
    assert sum(one.output.count("Done") for one in two) == 6


def test_a_program_may_declare_the_queue_that_it_consumes_from(lab, script, new_queue):
    queue = new_queue()
    (one,) = lab.program(script(BY_URL), arguments=[queue], consumers=queue)
    assert "Waiting for messages" in one.output
    assert lab.depth(queue) == (0, 1)


def test_a_command_is_started_as_it_is(lab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (one,) = lab.program([sys.executable, "-c", "import os; print(os.getcwd())"], names=["x"])
    (two,) = lab.program([sys.executable, "-c", "print('two')"])
    assert (one.output, two.output) == (f"{tmp_path}\n", "two\n")
    assert two.name.endswith("-1") and lab.programs == {"x": one, two.name: two}


def test_a_program_that_is_done_at_once_is_no_error(lab, script):
    (one,) = lab.program(script("print('sent')", "new_task.py"))
    assert (one.state, one.exit_code, one.output) == ("ended", 0, "sent\n")


def test_a_program_that_fails_at_once_says_why_and_leaves_none(lab, script):
    file = script("import time, sys; n = sys.argv[1]\nif n: sys.exit('oh no')")
    with pytest.raises(ProgramError, match=r"worker\.py-1 ended at once with exit status 1") as error:
        lab.program(file, 2, arguments=["1"])
    assert "oh no" in error.value.do
    assert (error.value.name, error.value.exit_code, error.value.output) == ("worker.py-1", 1, "oh no\n")
    assert lab.programs == {}
    assert started() == []


def test_one_that_ends_before_it_consumes_is_an_error_even_if_it_says_all_is_well(lab, script):
    with pytest.raises(ProgramError, match="exit status 0"):
        lab.program(script("print('hello')"), consumers=lab.queue("q"))


def test_who_never_consumes_is_said_and_ended(lab, script):
    file = script("import time\nprint('sleeps', flush=True)\ntime.sleep(1000)")
    with pytest.raises(WaitTimeoutError, match="shows 0 consumers on .*, not 1") as error:
        lab.program(file, consumers=lab.queue("q"), timeout=1.5)
    assert error.value.limit == 1.5 and "sleeps" in error.value.do
    assert lab.programs == {}
    assert started() == []


def test_the_tutorials_own_worker_reaches_a_broker_at_5672_or_is_told_what_to_change(lab, script):
    queue = lab.queue("q")
    if lab.broker.address().endswith(":5672"):
        lab.program(script(FIXED), arguments=[queue], consumers=queue)
        return
    if not port_free(5672):
        pytest.skip("Somebody else's broker is at 5672, and gets none of our queues.")
    with pytest.raises((ProgramError, WaitTimeoutError)) as error:
        lab.program(script(FIXED), arguments=[queue], consumers=queue, timeout=3)
    assert f"The broker is at {lab.broker.address()}, not at localhost:5672" in error.value.do
    assert "AMQP_URL" in error.value.do


def test_a_program_is_led_where_the_parameters_lead(lab, script):
    parameters = lab.parameters("elsewhere", host="127.0.0.1", port=9, heartbeat=3)
    names = "AMQP_URL", "RABBITMQ_URL", "CELERY_BROKER_URL", "AMQP_HOST", "AMQP_PORT", "RABBITMQ_PORT"
    (one,) = lab.program(
        script(f"import os\nfor name in {names}: print(os.environ[name])"), parameters=parameters
    )
    *urls, host, port, other = one.output.split()
    assert set(urls) == {urls[0]} and urls[0].endswith("@127.0.0.1:9/%2F?heartbeat=3")
    assert (host, port, other) == ("127.0.0.1", "9", "9")


@posix
@pytest.mark.timeout(180)
def test_a_frozen_programs_connection_is_closed_when_its_heartbeats_stay_out(lab, script):
    """Two heartbeats missed, and the broker gives its task to the other: nothing but the clock tells it."""
    queue = lab.queue("q")
    short = lab.parameters("short", heartbeat=2)
    code = BY_URL.replace("time.sleep(", "connection.sleep(")
    one, other = lab.program(
        script(code), 2, arguments=[queue, 0.1], consumers=queue, parameters=short, names=["one", "other"]
    )
    one.freeze()
    lab.publish(queue, tasks.equal(4))
    assert lab.depth(queue)[1] == 2, "the broker does not know it yet"
    lab.wait(lambda: lab.depth(queue)[1] == 1, "the broker to give up", TIMEOUT)
    lab.wait(lambda: other.output.count("Done") == 4, "the other to do them all", TIMEOUT)
    assert one.state == "frozen" and "Received" not in one.output
    lab.wait(lambda: lab.management.queue(queue).redelivered == 1, "the broker's figures")
    one.kill()


# --- names, numbers --------------------------------------------------------------------------


def test_names_go_on_where_others_have_them(lab, script):
    file = script("import time; time.sleep(1000)")
    first, second = lab.program(file)[0], lab.program(file)[0]
    assert (first.name, second.name) == ("worker.py-1", "worker.py-2")
    first.kill()
    assert lab.programs["worker.py-1"].state == "killed", "the dead one's name stays"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n": 0}, "n is 0"),
        ({"n": launch.MOST + 1}, "n is 51"),
        ({"n": True}, "n is True"),
        ({"n": 2, "names": ["a"]}, "names is"),
        ({"n": 2, "names": "ab"}, "names is 'ab'"),
        ({"n": 2, "names": ["a", "a"]}, "'a' is taken twice"),
        ({"names": ["worker-1"]}, "'worker-1' is taken twice"),
        ({"names": [""]}, "A name is ''"),
        ({"timeout": -1}, "timeout is -1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_started(lab, settings, said):
    queue = lab.queue("q")
    lab.workers(1, queue)
    given = {"n": 1} | settings
    for start in (
        lambda: lab.processes(queue=queue, **given),
        lambda: lab.program([sys.executable], **given),
    ):
        with pytest.raises(UsageError, match=said) as error:
            start()
        assert error.value.do
    assert lab.programs == {}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ack": "forgotten"}, "ack is 'forgotten'"),
        ({"prefetch": 0}, "prefetch is 0"),
        ({"seconds_per_dot": -1}, "seconds_per_dot is -1"),
        ({"speed": 0}, "speed is 0"),
        ({"on_error": "panic"}, "on_error is 'panic'"),
    ],
)
def test_settings_of_processes_are_refused_in_a_sentence(lab, settings, said):
    with pytest.raises(UsageError, match=said):
        lab.processes(1, lab.queue("q"), **settings)


# --- the end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["begin", "close"])
def test_they_end_with_the_experiment_politely_or_not(lab, script, how):
    waits = "print('ready', flush=True); time.sleep(1000)"
    deaf = f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); {waits}"
    polite = f"import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); {waits}"
    one, other = lab.program(script(deaf)) + lab.program(script(polite, "polite.py"))
    until(lambda: "ready" in one.output and "ready" in other.output, "them to begin")
    getattr(lab, how)()
    assert (one.state, other.state, other.exit_code) == ("killed", "ended", 7)
    assert lab.programs == {}


KERNEL = """
from labkit.lab import Lab
lab = Lab("killed-programs", progress=False, say=lambda text: None)
queue = lab.queue("q")
started = lab.processes(2, queue) + lab.program({file!r}, arguments=[queue], consumers=queue)
started[1].freeze()
print("started", *[one.pid for one in started], *[one._guard.pid for one in started], flush=True)
{then}
"""


@posix
@pytest.mark.parametrize("then", ["import time; time.sleep(1000)", ""], ids=["killed", "ended"])
def test_when_the_kernel_ends_nothing_is_left_of_them(broker, script, then):
    code = textwrap.dedent(KERNEL).format(file=str(script(BY_URL)), then=then)
    with Terminal(sys.executable, "-u", "-c", code) as kernel:
        pids = [int(pid) for pid in kernel.wait_for(r"started ([\d ]+)")[1].split()]
        if then:
            assert not any(map(dead, pids))
            kernel.process.kill()
        until(lambda: all(map(dead, pids)), "their end")
        kernel.end()
    with Lab("killed-programs", broker=broker, progress=False, say=lambda text: None):
        pass  # clears its queues away
