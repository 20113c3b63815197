"""The checks of lesson 05 refuse typical mistakes and accept what is right, measured on the broker."""

import pytest

from labkit.exercises import Mark, lesson_05
from labkit.exercises.lesson_05 import LONG_GOAL, TINY_GOAL

# ---------------------------------------------------------------- subscribe


def without_a_limit(channel, queue, callback):
    channel.basic_consume(queue, on_message_callback=callback)


def limited_too_late(channel, queue, callback):
    channel.basic_consume(queue, on_message_callback=callback)
    channel.basic_qos(prefetch_count=1)


def acknowledged_automatically(channel, queue, callback):
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(queue, on_message_callback=callback, auto_ack=True)


def with_no_limit_by_zero(channel, queue, callback):
    channel.basic_qos(prefetch_count=0)
    channel.basic_consume(queue, on_message_callback=callback)


def on_another_channel(channel, queue, callback):
    channel.connection.channel().basic_qos(prefetch_count=1)
    channel.basic_consume(queue, on_message_callback=callback)


def two_at_a_time(channel, queue, callback):
    channel.basic_qos(prefetch_count=2)
    channel.basic_consume(queue, on_message_callback=callback)


def only_the_limit(channel, queue, callback):
    channel.basic_qos(prefetch_count=1)


def for_ever(channel, queue, callback):
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(queue, on_message_callback=callback)
    channel.start_consuming()


def from_another_queue(channel, queue, callback):
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume("no such queue", on_message_callback=callback)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (without_a_limit, "sent 6 of 6"),
        (limited_too_late, "in time"),
        (acknowledged_automatically, "what does the broker count"),
        (with_no_limit_by_zero, "sent 6 of 6"),
        (on_another_channel, "sent 6 of 6"),
        (two_at_a_time, "more than one"),
        (only_the_limit, "subscribe"),
        (for_ever, "start_consuming"),
        (from_another_queue, "NOT_FOUND"),
    ],
)
def test_a_wrong_way_to_subscribe_is_refused_by_what_the_broker_sent(wrong, said, broker, monkeypatch):
    if wrong is only_the_limit:
        monkeypatch.setattr(lesson_05, "RECEIVE_TIMEOUT", 0.3)
    result = lesson_05.subscribe.check(wrong)
    assert result.mark is Mark.WRONG
    assert said in result.message


def test_a_limit_for_the_whole_channel_is_accepted(broker):
    def subscribe(channel, queue, callback):
        channel.basic_qos(0, 1, True)
        channel.basic_consume(queue, callback, consumer_tag="mine")

    assert lesson_05.subscribe.check(subscribe).mark is Mark.RIGHT


# ---------------------------------------------------------------- prefetch


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(1, "come over the wire"), (10, "sits on tasks"), (0, "sits on tasks"), (50, "sits on")],
)
def test_a_prefetch_that_misses_a_goal_is_refused_by_what_was_measured(wrong, said, broker):
    result = lesson_05.prefetch.check(wrong)
    assert result.mark is Mark.WRONG
    assert said in result.message


@pytest.mark.parametrize("wrong", [-1, 5.0, "5", True, 70000, [5]])
def test_a_prefetch_that_is_no_prefetch_is_refused_without_a_run(wrong, monkeypatch):
    monkeypatch.setattr(lesson_05, "_measure", lambda prefetch: pytest.fail("measured"))
    result = lesson_05.prefetch.check(wrong)
    assert result.mark is Mark.WRONG
    assert "whole number" in result.message


@pytest.mark.parametrize("right", [5, 7])
def test_another_prefetch_that_meets_both_goals_is_accepted(right, broker):
    result = lesson_05.prefetch.check(right)
    assert result.mark is Mark.RIGHT, result.message


def test_a_bad_moment_of_the_machine_does_not_refuse_a_right_prefetch(monkeypatch):
    measured = iter([(TINY_GOAL / 2, LONG_GOAL * 2), (TINY_GOAL + 1, LONG_GOAL)])
    monkeypatch.setattr(lesson_05, "_measure", lambda prefetch: next(measured))
    assert lesson_05.prefetch.check(5).mark is Mark.RIGHT


# ---------------------------------------------------------------- idle


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"who": "Ben", "where": "b", "cure": "b"}, "without a single bar"),
        ({"who": "Cleo", "where": "a", "cure": "b"}, "none ready"),
        ({"who": "Cleo", "where": "c", "cure": "b"}, "still to be done"),
        ({"who": "Cleo", "where": "d", "cure": "b"}, "none was lost"),
        ({"who": "Cleo", "where": "b", "cure": "a"}, "empty queue"),
        ({"who": "Cleo", "where": "b", "cure": "c"}, "no limit at all"),
        ({"who": "Cleo", "where": "b", "cure": "d"}, "However fast"),
        ({"who": "Cleo", "where": "b", "cure": "prefetch"}, "letters"),
        ({"who": "Cleo", "where": "b"}, "Three texts"),
        ({"who": "Cleo", "where": ..., "cure": "b"}, "Three texts"),
    ],
)
def test_a_wrong_explanation_of_the_idle_worker_is_refused(wrong, said):
    result = lesson_05.idle.check(wrong)
    assert result.mark is Mark.WRONG
    assert said in result.message


@pytest.mark.parametrize(
    "right", [{"who": "Cleo", "where": "b", "cure": "e"}, (" cleo", "B", "e"), ["Cleo", "b", "b"]]
)
def test_another_cure_and_another_form_are_accepted(right):
    assert lesson_05.idle.check(right).mark is Mark.RIGHT
