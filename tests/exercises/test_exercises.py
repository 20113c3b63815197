"""The checks of the exercises refuse what is wrong and accept what is right."""

import importlib
import itertools
import json
import pkgutil
import threading
from contextlib import suppress

import pytest

from labkit import exercises
from labkit.errors import BrokerDownError
from labkit.exercises import Exercise, Mark, NotAttempted, Wrong, attempt, lesson_00, lesson_01

LESSONS = [
    importlib.import_module(f"labkit.exercises.{module.name}")
    for module in pkgutil.iter_modules(exercises.__path__)
    if module.name.startswith("lesson_")
]
ALL = [
    pytest.param(name, exercise, id=f"{module.__name__.rpartition('.')[2]}.{name}")
    for module in LESSONS
    for name, exercise in vars(module).items()
    if isinstance(exercise, Exercise)
]


# ---------------------------------------------------------------- every exercise


@pytest.mark.parametrize(("name", "exercise"), ALL)
def test_the_solution_is_right(name, exercise, broker):
    learner = {}
    exec(exercise.solution_code, learner)
    result = exercise.check(learner[name])
    assert result.mark is Mark.RIGHT, result.message


@pytest.mark.parametrize(("name", "exercise"), ALL)
def test_the_empty_stub_is_not_attempted(name, exercise):
    def stub(*arguments):
        """What to do."""

    for answer in (..., None, stub, lambda *arguments: ..., [..., ..., ...]):
        assert exercise.check(answer).mark is Mark.NOT_ATTEMPTED
    assert exercise.check().mark is Mark.NOT_ATTEMPTED


@pytest.mark.parametrize(("name", "exercise"), ALL)
def test_there_are_hints_and_a_solution_with_a_reason(name, exercise, capsys):
    assert len(exercise.hints) >= 2
    assert exercise.why
    for number in range(1, len(exercise.hints) + 1):
        exercise.hint(number)
        assert exercise.hints[number - 1] in capsys.readouterr().out
    exercise.solution()
    assert exercise.solution_code in capsys.readouterr().out


@pytest.mark.parametrize(("name", "exercise"), ALL)
@pytest.mark.parametrize(
    "answer",
    [-5, "ten", [1], {}, object(), [[]], lambda: 1],
    ids=["a number", "a text", "a list", "a dict", "an object", "a list in a list", "a function"],
)
def test_no_answer_makes_a_traceback(name, exercise, answer, broker):
    assert exercise.check(answer).mark in (Mark.WRONG, Mark.NOT_ATTEMPTED)


# ---------------------------------------------------------------- lesson 00


def never_sent(channel, queue, job):
    return job


def sent_as_python_text(channel, queue, job):
    channel.basic_publish(exchange="", routing_key=queue, body=str(job))
    return eval(channel.basic_get(queue, auto_ack=True)[2])


def not_decoded(channel, queue, job):
    channel.basic_publish(exchange="", routing_key=queue, body=json.dumps(job))
    return channel.basic_get(queue, auto_ack=True)[2]


def published_and_forgotten(channel, queue, job):
    channel.basic_publish(exchange="", routing_key=queue, body=json.dumps(job))
    return dict(job)


def returned_nothing(channel, queue, job):
    channel.basic_publish(exchange="", routing_key=queue, body=json.dumps(job))
    json.loads(channel.basic_get(queue, auto_ack=True)[2])


def encoded_twice(channel, queue, job):
    channel.basic_publish(exchange="", routing_key=queue, body=json.dumps(json.dumps(job)))
    return json.loads(json.loads(channel.basic_get(queue, auto_ack=True)[2]))


def to_no_queue(channel, queue, job):
    channel.basic_publish(exchange="", routing_key="job", body=json.dumps(job))
    return json.loads(channel.basic_get(queue, auto_ack=True)[2])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (never_sent, "through the broker"),
        (sent_as_python_text, "not JSON"),
        (not_decoded, "back into a dictionary"),
        (published_and_forgotten, "left in the queue"),
        (returned_nothing, "returned nothing"),
        (to_no_queue, "TypeError"),
        (encoded_twice, "should have been"),
    ],
)
def test_a_wrong_way_there_and_back_is_refused(wrong, said, broker):
    result = lesson_00.there_and_back.check(wrong)
    assert result.mark is Mark.WRONG
    assert said in result.message


def test_there_and_back_as_a_consumer_is_accepted(broker):
    def there_and_back(channel, queue, job):
        body = json.dumps(job, ensure_ascii=False).encode()
        channel.basic_publish("", queue, body)
        method, _, received = next(channel.consume(queue, inactivity_timeout=5))
        channel.basic_ack(method.delivery_tag)
        channel.cancel()
        return json.loads(received.decode())

    assert lesson_00.there_and_back.check(there_and_back).mark is Mark.RIGHT


# ---------------------------------------------------------------- lesson 01


def in_blocks(messages, workers):
    size = -(-len(messages) // workers)
    return [messages[i * size : (i + 1) * size] for i in range(workers)]


def only_the_counts(messages, workers):
    return [len(messages[i::workers]) for i in range(workers)]


def with_a_lost_remainder(messages, workers):
    return [messages[i::workers][: len(messages) // workers] for i in range(workers)]


def backwards(messages, workers):
    return [messages[workers - 1 - i :: workers] for i in range(workers)]


def without_the_idle(messages, workers):
    return [hand for hand in (messages[i::workers] for i in range(workers)) if hand]


def printed(messages, workers):
    print([messages[i::workers] for i in range(workers)])


@pytest.mark.parametrize(
    "wrong", [in_blocks, only_the_counts, with_a_lost_remainder, backwards, without_the_idle, printed]
)
def test_a_wrong_deal_is_refused(wrong):
    assert lesson_01.deal.check(wrong).mark is Mark.WRONG


def test_another_way_to_deal_is_accepted():
    def deal(messages, workers):
        hands = {worker: [] for worker in range(workers)}
        for message, worker in zip(messages, itertools.cycle(range(workers)), strict=False):
            hands[worker].append(message)
        return hands

    assert lesson_01.deal.check(deal).mark is Mark.RIGHT


@pytest.mark.parametrize("wrong", [[10, 10, 10], [6, 6, 18], [15, 15, 0], [12, 6, 12], [12, 12], "12,12,6"])
def test_a_wrong_count_for_the_late_worker_is_refused(wrong):
    assert lesson_01.joined.check(wrong).mark is Mark.WRONG


@pytest.mark.parametrize("right", [(12, 12, 6), {"Ada": 12, "Ben": 12, "Cleo": 6}])
def test_the_counts_may_be_given_in_another_form(right):
    assert lesson_01.joined.check(right).mark is Mark.RIGHT


def subscribe(channel, queue, callback):
    channel.basic_consume(queue=queue, on_message_callback=callback, auto_ack=True)


def publish(channel, queue, messages):
    for message in messages:
        channel.basic_publish(exchange="", routing_key=queue, body=message)


def published_first(channel, queue, messages, first, second):
    publish(channel, queue, messages)
    subscribe(channel, queue, first)
    subscribe(channel, queue, second)


def one_subscribed_too_late(channel, queue, messages, first, second):
    subscribe(channel, queue, first)
    publish(channel, queue, messages)
    subscribe(channel, queue, second)


def in_the_wrong_order(channel, queue, messages, first, second):
    subscribe(channel, queue, second)
    subscribe(channel, queue, first)
    publish(channel, queue, messages)


def nobody_subscribed(channel, queue, messages, first, second):
    publish(channel, queue, messages)


def every_message_twice(channel, queue, messages, first, second):
    subscribe(channel, queue, first)
    subscribe(channel, queue, second)
    publish(channel, queue, messages * 2)


def consuming_for_ever(channel, queue, messages, first, second):
    subscribe(channel, queue, first)
    subscribe(channel, queue, second)
    publish(channel, queue, messages)
    channel.start_consuming()


def from_another_queue(channel, queue, messages, first, second):
    subscribe(channel, "no such queue", first)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (published_first, "12 to the first and 0 to the second. One of them came too late"),
        (one_subscribed_too_late, "12 to the first and 0 to the second. One of them came too late"),
        (in_the_wrong_order, "second was served first"),
        (every_message_twice, "once"),
        (consuming_for_ever, "start_consuming"),
        (from_another_queue, "NOT_FOUND"),
    ],
)
def test_a_wrong_way_to_share_is_refused_by_what_the_broker_did(wrong, said, broker):
    result = lesson_01.share.check(wrong)
    assert result.mark is Mark.WRONG
    assert said in result.message
    assert "raised Wrong" not in result.message


def test_giving_each_a_block_is_not_sharing_in_turn():
    messages = [b"%d" % number for number in range(12)]
    with pytest.raises(Wrong, match="every other"):
        lesson_01._judge_share(messages[:6], messages[6:], messages)


def test_sharing_with_nobody_subscribed_is_refused(broker, monkeypatch):
    monkeypatch.setattr(lesson_01, "RECEIVE_TIMEOUT", 0.3)
    assert "subscribed" in lesson_01.share.check(nobody_subscribed).message


def test_sharing_over_two_channels_is_accepted(broker):
    def share(channel, queue, messages, first, second):
        subscribe(channel, queue, first)
        subscribe(channel.connection.channel(), queue, second)
        publish(channel, queue, messages)

    assert lesson_01.share.check(share).mark is Mark.RIGHT


def test_an_exercise_on_the_broker_says_when_there_is_none(monkeypatch):
    monkeypatch.setenv("LABKIT_BROKER", "")
    monkeypatch.setenv("LABKIT_AMQP_URL", "amqp://guest:guest@127.0.0.1:1/")
    from labkit import brokers

    class Down:
        def parameters(self, name):
            import pika

            return pika.ConnectionParameters("127.0.0.1", 1, connection_attempts=1, socket_timeout=1)

    monkeypatch.setattr(brokers, "find", Down)
    with pytest.raises(BrokerDownError):
        lesson_01.share.check(published_first)


# ---------------------------------------------------------------- what a learner writes


def exercise(function_checker):
    return Exercise("Try", function_checker, hints=["a", "b"], solution="x = 1", why="so")


def checked(function, **more):
    return exercise(lambda answer: attempt(answer, **more)).check(function)


def test_a_function_that_raises_is_told_its_error_and_its_line():
    def broken():
        return [1, 2, 3][7]

    result = checked(broken)
    assert result.mark is Mark.WRONG
    assert "IndexError" in result.message
    assert "return [1, 2, 3][7]" in result.message


def test_a_function_that_loops_for_ever_is_ended():
    def endless():
        while True:
            with suppress(Exception):
                pass

    assert "0.3 seconds" in checked(endless, timeout=0.3).message
    assert not [each for each in threading.enumerate() if each.name == "learner's function"]


@pytest.mark.parametrize("rude", [SystemExit, KeyboardInterrupt, GeneratorExit, RecursionError])
def test_a_function_that_would_end_the_kernel_does_not(rude):
    def leave():
        raise rude("bye")

    assert checked(leave).mark is Mark.WRONG


def test_a_function_called_instead_of_given_is_explained():
    assert "function" in checked(12).message


def test_a_function_that_takes_other_arguments_is_wrong_and_not_a_traceback():
    assert "TypeError" in checked(lambda one: one).message


def test_a_stub_that_returns_dots_is_not_attempted():
    def stub(a):
        result = [a, ...]
        return result[-1]

    with pytest.raises(NotAttempted):
        attempt(stub, 1)


def test_a_check_that_stumbles_over_an_answer_says_it_is_wrong():
    assert exercise(lambda answer: answer["key"]).check([1]).mark is Mark.WRONG


def test_a_hint_that_does_not_exist_says_how_many_there_are(capsys):
    for number in (0, 9, "x"):
        exercise(lambda answer: "").hint(number)
        assert "There are 2 hints" in capsys.readouterr().out


def test_the_answer_is_told_in_words_and_not_only_by_colour(capsys):
    def refuse(answer):
        raise Wrong("because")

    exercise(refuse).check(1)
    assert "✘ Not yet – Try\nbecause" in capsys.readouterr().out
