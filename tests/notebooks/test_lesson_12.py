"""The checks of lesson 12 refuse typical mistakes and accept what is right."""

import pytest

from labkit.exercises import Mark, lesson_12


def every_one(channel, method, properties, body):
    channel.basic_ack(method.delivery_tag)


def one_of_ten(channel, method, properties, body):
    if method.delivery_tag % 10 == 0:
        channel.basic_ack(method.delivery_tag)


def the_first_of_ten(channel, method, properties, body):
    if method.delivery_tag % 10 == 1:
        channel.basic_ack(method.delivery_tag, multiple=True)


def every_second(channel, method, properties, body):
    if method.delivery_tag % 2 == 0:
        channel.basic_ack(method.delivery_tag, multiple=True)


def nothing(channel, method, properties, body):
    print(body)


def twice(channel, method, properties, body):
    channel.basic_ack(method.delivery_tag)
    channel.basic_ack(method.delivery_tag)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (every_one, "more than one for every ten"),
        (one_of_ten, "27 messages came back"),
        (the_first_of_ten, "9 messages came back"),
        (every_second, "more than one for every ten"),
        (nothing, "Nothing was acknowledged"),
        (twice, "PRECONDITION_FAILED"),
    ],
)
def test_a_wrong_way_to_acknowledge_in_batches_is_refused(wrong, said, broker):
    result = lesson_12.on_message.check(wrong)
    assert result.mark is Mark.WRONG
    assert said in result.message


@pytest.mark.parametrize("last", [5, 30])
def test_what_never_came_back_is_not_taken_for_acknowledged(last, broker, monkeypatch):
    """The subscription ends before all is there, or before the rest can come back."""
    monkeypatch.setattr(lesson_12, "RECEIVE_TIMEOUT", 1.0)

    def on_message(channel, method, properties, body):
        if method.delivery_tag % 10 == 0:
            channel.basic_ack(method.delivery_tag)
        if method.delivery_tag == last:
            channel.basic_cancel(channel.consumer_tags[0])

    result = lesson_12.on_message.check(on_message)
    assert result.mark is Mark.WRONG
    assert "end the subscription" in result.message


def test_all_thirty_at_once_is_accepted_too(broker):
    def on_message(channel, method, properties, body):
        if method.delivery_tag == 30:
            channel.basic_ack(delivery_tag=30, multiple=True)

    assert lesson_12.on_message.check(on_message).mark is Mark.RIGHT


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"with_1": 500, "prefetch": 4}, "when is the work done"),
        ({"with_1": 2000, "prefetch": 4}, "never waits"),
        ({"with_1": 100, "prefetch": 4}, "how long is it"),
        ({"with_1": 400, "prefetch": 3}, "at most 1200"),
        ({"with_1": 400, "prefetch": 100}, "smaller"),
        ({"with_1": "400", "prefetch": 4}, "a number"),
        ({"with_1": 400}, "Two numbers"),
        (400, "Two numbers"),
    ],
)
def test_a_wrong_round_trip_is_refused(wrong, said):
    result = lesson_12.round_trip.check(wrong)
    assert result.mark is Mark.WRONG
    assert said in result.message


@pytest.mark.parametrize("program", lesson_12._RIGHT)
@pytest.mark.parametrize("letter", "abc")
def test_wrong_settings_are_refused_with_their_price(program, letter):
    answer = {**lesson_12._RIGHT, program: letter}
    result = lesson_12.settings.check(answer)
    if letter == lesson_12._RIGHT[program]:
        assert result.mark is Mark.RIGHT
    else:
        assert result.mark is Mark.WRONG
        assert result.message.startswith(program)


@pytest.mark.parametrize("wrong", [{"clicks": "d", "orders": "b", "films": "c"}, "abc", {"clicks": "a"}])
def test_what_is_no_choice_is_refused(wrong):
    assert lesson_12.settings.check(wrong).mark is Mark.WRONG


@pytest.mark.parametrize("exercise", [lesson_12.on_message, lesson_12.round_trip, lesson_12.settings])
def test_the_solution_is_accepted(exercise, broker):
    names = {}
    exec(exercise.solution_code, names)
    (name,) = [key for key in names if not key.startswith("__")]
    assert exercise.check(names[name]).mark is Mark.RIGHT


@pytest.mark.parametrize(
    ("exercise", "stub"),
    [
        (lesson_12.on_message, lambda channel, method, properties, body: ...),
        (lesson_12.round_trip, {"with_1": ..., "prefetch": ...}),
        (lesson_12.settings, {"clicks": ..., "orders": ..., "films": ...}),
    ],
)
def test_the_stub_is_not_attempted(exercise, stub):
    assert exercise.check(stub).mark is Mark.NOT_ATTEMPTED
