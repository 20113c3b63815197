"""The exercises of lesson 03 refuse workers that lose, forget or repeat tasks when they really crash."""

import pytest

from labkit.exercises import Mark, lesson_03


def subscribe(channel, queue, on_message, **settings):
    channel.basic_consume(queue, on_message_callback=on_message, **settings)


def refused(exercise, answer, said):
    result = exercise.check(answer)
    assert result.mark is Mark.WRONG, result.message
    assert said in result.message


# ---------------------------------------------------------------- keep


def automatic(channel, queue, work):
    subscribe(channel, queue, lambda ch, method, properties, body: work(body), auto_ack=True)


def acknowledged_before(channel, queue, work):
    def on_message(ch, method, properties, body):
        ch.basic_ack(method.delivery_tag)
        work(body)

    subscribe(channel, queue, on_message)


def never_acknowledged(channel, queue, work):
    subscribe(channel, queue, lambda ch, method, properties, body: work(body))


def acknowledged_although_automatic(channel, queue, work):
    def on_message(ch, method, properties, body):
        work(body)
        ch.basic_ack(method.delivery_tag)

    subscribe(channel, queue, on_message, auto_ack=True)


def the_first_tag_again_and_again(channel, queue, work):
    def on_message(ch, method, properties, body):
        work(body)
        ch.basic_ack(1)

    subscribe(channel, queue, on_message)


def requeued(channel, queue, work):
    def on_message(ch, method, properties, body):
        work(body)
        ch.basic_nack(method.delivery_tag, requeue=True)

    subscribe(channel, queue, on_message)


def nobody_subscribed(channel, queue, work):
    queue.upper()


def started_to_consume(channel, queue, work):
    automatic(channel, queue, work)
    channel.start_consuming()


def with_an_argument_that_does_not_exist(channel, queue, work):
    subscribe(channel, queue, print, manual_ack=True)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (automatic, "4 tasks were never done"),
        (acknowledged_before, "told too early"),
        (never_acknowledged, "never been acknowledged"),
        (acknowledged_although_automatic, "unknown delivery tag"),
        (the_first_tag_again_and_again, "unknown delivery tag"),
        (requeued, "round and round"),
        (nobody_subscribed, "Nobody consumes"),
        (started_to_consume, "start_consuming"),
        (with_an_argument_that_does_not_exist, "manual_ack"),
    ],
)
def test_a_worker_that_loses_tasks_is_refused(wrong, said, broker):
    refused(lesson_03.keep, wrong, said)


def test_a_worker_that_takes_one_at_a_time_and_acknowledges_up_to_it_is_accepted(broker):
    def keep(channel, queue, work):
        channel.basic_qos(prefetch_count=1)

        def on_message(ch, method, properties, body):
            work(body)
            ch.basic_ack(delivery_tag=method.delivery_tag, multiple=True)

        channel.basic_consume(queue, on_message)

    result = lesson_03.keep.check(keep)
    assert result.mark is Mark.RIGHT, result.message


# ---------------------------------------------------------------- settle


def forgetful(channel, queue, work):
    def on_message(ch, method, properties, body):
        if body == b"ping":
            return
        work(body)
        ch.basic_ack(method.delivery_tag)

    subscribe(channel, queue, on_message)


def settled_before_the_work(channel, queue, work):
    def on_message(ch, method, properties, body):
        ch.basic_ack(method.delivery_tag)
        if body != b"ping":
            work(body)

    subscribe(channel, queue, on_message)


def all_up_to_the_last_task(channel, queue, work):
    def on_message(ch, method, properties, body):
        if body != b"ping":
            work(body)
            ch.basic_ack(method.delivery_tag, multiple=True)

    subscribe(channel, queue, on_message)


def pings_put_back(channel, queue, work):
    def on_message(ch, method, properties, body):
        if body == b"ping":
            ch.basic_nack(method.delivery_tag)
            return
        work(body)
        ch.basic_ack(method.delivery_tag)

    subscribe(channel, queue, on_message)


def pings_as_work(channel, queue, work):
    def on_message(ch, method, properties, body):
        work(body)
        ch.basic_ack(method.delivery_tag)

    subscribe(channel, queue, on_message)


def pings_settled_twice(channel, queue, work):
    def on_message(ch, method, properties, body):
        if body == b"ping":
            ch.basic_ack(method.delivery_tag)
        else:
            work(body)
        ch.basic_ack(method.delivery_tag)

    subscribe(channel, queue, on_message)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (forgetful, "3 of 7 messages came back"),
        (settled_before_the_work, "it loses tasks"),
        (automatic, "it loses tasks"),
        (all_up_to_the_last_task, "1 of 7 messages came back"),
        (pings_put_back, "round and round"),
        (pings_as_work, "no work"),
        (pings_settled_twice, "acknowledged twice"),
    ],
)
def test_a_worker_that_forgets_is_refused(wrong, said, broker):
    refused(lesson_03.settle, wrong, said)


def test_a_worker_that_rejects_the_pings_for_good_is_accepted(broker):
    def settle(channel, queue, work):
        def on_message(ch, method, properties, body):
            if body == b"ping":
                ch.basic_reject(method.delivery_tag, requeue=False)
                return
            work(body)
            ch.basic_ack(method.delivery_tag)

        subscribe(channel, queue, on_message)

    result = lesson_03.settle.check(settle)
    assert result.mark is Mark.RIGHT, result.message


# ---------------------------------------------------------------- once


def mail(decide):
    """A worker for which ``decide`` says whether a mail is to be sent, and when that is noted."""

    def once(channel, queue, send, sent):
        def on_message(ch, method, properties, body):
            decide(ch, method, properties, body, send, sent)
            if ch.is_open:
                ch.basic_ack(method.delivery_tag)

        subscribe(channel, queue, on_message)

    return once


def always(ch, method, properties, body, send, sent):
    send(body)


def unless_redelivered(ch, method, properties, body, send, sent):
    if not method.redelivered:
        send(body)


def noted_before(ch, method, properties, body, send, sent):
    if properties.message_id not in sent:
        sent.add(properties.message_id)
        send(body)


def by_its_text(ch, method, properties, body, send, sent):
    if body not in sent:
        send(body)
        sent.add(body)


def by_its_tag(ch, method, properties, body, send, sent):
    if method.delivery_tag not in sent:
        send(body)
        sent.add(method.delivery_tag)


def with_a_memory_of_its_own(channel, queue, send, sent):
    mine = set()

    def on_message(ch, method, properties, body):
        if properties.message_id not in mine:
            send(body)
            mine.add(properties.message_id)
        ch.basic_ack(method.delivery_tag)

    subscribe(channel, queue, on_message)


def not_acknowledging_what_was_sent(channel, queue, send, sent):
    def on_message(ch, method, properties, body):
        if properties.message_id in sent:
            return
        send(body)
        sent.add(properties.message_id)
        ch.basic_ack(method.delivery_tag)

    subscribe(channel, queue, on_message)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (mail(always), "mail-3 was sent twice"),
        (mail(unless_redelivered), "never sent"),
        (mail(noted_before), "mail-3 was never sent"),
        (mail(by_its_text), "5 mails were never sent"),
        (mail(by_its_tag), "never sent"),
        (with_a_memory_of_its_own, "gone after a crash"),
        (not_acknowledging_what_was_sent, "1 of 6 messages came back"),
    ],
)
def test_a_worker_that_sends_a_mail_twice_or_not_at_all_is_refused(wrong, said, broker):
    refused(lesson_03.once, wrong, said)


def test_a_worker_that_leaves_early_for_what_was_sent_is_accepted(broker):
    def once(channel, queue, send, sent):
        def on_message(ch, method, properties, body):
            if properties.message_id in sent:
                ch.basic_ack(method.delivery_tag)
                return
            send(body)
            sent.add(properties.message_id)
            ch.basic_ack(method.delivery_tag)

        subscribe(channel, queue, on_message)

    result = lesson_03.once.check(once)
    assert result.mark is Mark.RIGHT, result.message


def test_the_checks_leave_no_queue_behind(broker):
    from labkit import management

    lesson_03.keep.check(automatic)
    assert not management.of(broker).queues("lab.03-check.")
