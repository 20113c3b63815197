"""Bytes as the tap understands them: whatever the reads are cut into, and whatever is in them."""

import asyncio
import itertools
import time

import pika
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pika import spec
from talk import (
    BROKER,
    CLIENT,
    B,
    Q,
    Wire,
    ack,
    content,
    deliver,
    heard,
    hello,
    method,
    publish,
    subscribe,
)

from labkit.ledger import Ledger
from labkit.tap import Tap
from labkit.tap import conversation as said
from labkit.tap.frames import HEADER


@pytest.fixture(scope="module")
def loop():
    made = asyncio.new_event_loop()
    yield made
    made.close()


class Recorder(Tap):
    """A tap that keeps what passes: pairs of who says it, and the bytes of one read."""

    def _wire(self):
        wire, self.tape = super()._wire(), []
        understood, tape = wire.came, self.tape

        def came(data, *, client):
            if wire.flows() or not client:  # what comes before the broker is connected comes again then
                tape.append((client, data))
            understood(data, client=client)

        wire.came = came
        return wire


@pytest.fixture(scope="module")
def tape(broker):
    """What pika and the broker really said: a publish with confirms, a large one, a return, get, ack, nack, cancel."""
    name = "test-tape"
    with Recorder(broker.parameters("tape"), Ledger()) as recorder:
        parameters = recorder.parameters_to(broker.parameters("tape"))
        with pika.BlockingConnection(parameters) as connection:
            channel = connection.channel()
            channel.queue_declare(name, durable=True, arguments={"x-dead-letter-exchange": ""})
            channel.queue_purge(name)
            channel.confirm_delivery()
            for number in range(4):
                channel.basic_publish(
                    "", name, b"task %d.." % number, pika.BasicProperties(message_id=f"m{number}")
                )
            channel.basic_publish("", name, b"x" * 200_000)
            with pytest.raises(pika.exceptions.UnroutableError):
                channel.basic_publish("", "test-nowhere", b"lost", mandatory=True)
            channel.basic_get(name, auto_ack=True)
            channel.basic_qos(prefetch_count=2)
            for method, _, _ in channel.consume(name):
                if method.delivery_tag == 3:
                    channel.basic_nack(method.delivery_tag)
                elif method.delivery_tag > 5:
                    channel.basic_reject(method.delivery_tag, requeue=False)
                    break
                else:
                    channel.basic_ack(method.delivery_tag)
            channel.cancel()
            channel.queue_delete(name)
        assert recorder.undecoded == 0
        yield recorder.tape


def test_all_that_pika_really_says_is_understood(tape):
    events = heard(tape)
    kinds = [type(event) for event in events]
    assert said.Undecoded not in kinds
    published = [event for event in events if isinstance(event, said.Published)]
    assert [event.number for event in published] == [1, 2, 3, 4, 5, 6]
    assert [event.message.id for event in published] == ["m0", "m1", "m2", "m3", None, None]
    assert len(published[4].message.body) == 200_000
    assert kinds.count(said.Confirmed) == 6 and kinds.count(said.Returned) == 1
    returned = kinds.index(said.Returned)
    assert [e.number for e in events[returned:] if isinstance(e, said.Confirmed)] == [6]  # after the return
    verdicts = [event.verdict for event in events if isinstance(event, said.Answered)]
    assert verdicts.count("requeue") >= 1 and verdicts[-1] in ("reject", "requeue")
    assert events[0] == said.Named("tape", "Pika Python Client Library", None)
    assert next(event for event in events if isinstance(event, said.Declared)) == said.Declared(
        "test-tape", False, True
    )
    assert kinds[-1] is said.Closed


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_cut_of_the_stream_into_reads_gives_the_same_events_and_the_same_bytes(tape, loop, data):
    cuts, original = [], {CLIENT: b"", BROKER: b""}
    for client, read in tape:
        original[client] += read
        places = data.draw(st.sets(st.integers(1, max(1, len(read) - 1)), max_size=4), label="cuts")
        edges = [0, *sorted(places), len(read)]
        cuts += [(client, read[a:b]) for a, b in itertools.pairwise(edges)]
    assert heard(cuts) == heard(tape)
    wire = Wire(loop)
    wire.talk(cuts)
    assert (wire.to_broker.written, wire.to_client.written) == (original[CLIENT], original[BROKER])
    assert not wire.tap.undecoded and not wire.tap.opaque


def test_byte_by_byte_is_the_same_too(tape):
    small = [(client, read) for client, read in tape if len(read) < 2_000]
    single = [(client, read[at : at + 1]) for client, read in small for at in range(len(read))]
    whole = heard(small)
    assert heard(single) == whole and whole


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.binary(max_size=60)), max_size=12),
    st.sampled_from([b"", HEADER, hello()]),
)
def test_garbage_never_stops_the_forwarding(loop, reads, first):
    wire = Wire(loop)
    wire.talk([(CLIENT, first), *reads])
    assert wire.to_broker.written == first + b"".join(read for client, read in reads if client)
    assert wire.to_client.written == b"".join(read for client, read in reads if not client)
    assert wire.ledger.counts().adds_up


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.sampled_from(sorted(spec.methods)),
            st.sampled_from([1, 2, 3, 8]),
            st.binary(max_size=40),
        ),
        max_size=20,
    )
)
def test_frames_with_nonsense_in_them_are_told_and_forwarded(loop, nonsense):
    wire, sent = Wire(loop), {CLIENT: b"", BROKER: b""}
    wire.say(CLIENT, hello())
    for client, number, kind, payload in nonsense:
        payload = number.to_bytes(4, "big") + payload
        data = bytes([kind]) + (1).to_bytes(2, "big") + len(payload).to_bytes(4, "big") + payload + b"\xce"
        sent[client] += data
        wire.say(client, data)
    assert wire.to_broker.written == hello() + sent[CLIENT]
    assert wire.to_client.written == sent[BROKER]
    assert not wire.tap.opaque
    assert wire.ledger.counts().adds_up


def test_a_body_comes_in_as_many_frames_as_it_takes_and_one_of_no_size_in_none():
    body = bytes(range(256)) * 800
    big, none = heard([(CLIENT, hello() + publish(body, cut=65_536) + publish(b""))])[1:]
    assert big.message.body == body and none.message.body == b""


def test_messages_of_several_channels_may_be_mixed():
    one, two = publish(b"one", channel=1), publish(b"two", channel=2)
    at = len(method(B.Publish(exchange="", routing_key="tasks"), 1))
    mixed = one[:at] + two[:at] + one[at:] + two[at:]
    events = heard([(CLIENT, hello() + mixed)])[1:]
    assert [(event.channel, event.message.body) for event in events] == [(1, b"one"), (2, b"two")]


def deliveries(count, channel=1):
    return [(BROKER, deliver(tag, channel=channel)) for tag in range(1, count + 1)]


def answered(*answers, before=5):
    said_ = [(CLIENT, hello()), *subscribe(), *deliveries(before), *((CLIENT, one) for one in answers)]
    return [(e.delivery_tag, e.verdict) for e in heard(said_) if isinstance(e, said.Answered)]


def test_multiple_answers_all_up_to_it_and_nought_all_of_them():
    assert answered(ack(2), ack(4, multiple=True)) == [(2, "ack"), (1, "ack"), (3, "ack"), (4, "ack")]
    assert answered(ack(0, multiple=True), before=3) == [(1, "ack"), (2, "ack"), (3, "ack")]
    assert answered(method(B.Nack(3, True, False)), before=4) == [(n, "reject") for n in (1, 2, 3)]
    assert answered(method(B.Nack(2, False, True))) == [(2, "requeue")]


def test_an_answer_counts_once():
    assert answered(ack(1), ack(1), ack(9)) == [(1, "ack")]


def test_delivery_tags_are_each_channels_own():
    talk = [(CLIENT, hello()), *subscribe(), *subscribe(channel=2), *deliveries(2), *deliveries(2, channel=2)]
    events = heard([*talk, (CLIENT, ack(2, multiple=True, channel=2))])
    answers = [event for event in events if isinstance(event, said.Answered)]
    assert [(event.channel, event.delivery_tag) for event in answers] == [(2, 1), (2, 2)]


def test_without_waiting_for_an_ok_the_consumer_and_the_queue_are_there_too():
    events = heard(
        [
            (CLIENT, hello()),
            (CLIENT, method(Q.Declare(queue="tasks", nowait=True))),
            (CLIENT, method(B.Consume(queue="tasks", consumer_tag="c", nowait=True))),
            (BROKER, deliver(1)),
        ]
    )[1:]
    assert events[:2] == [said.Declared("tasks", False, False), said.Subscribed(1, "c", "tasks", False, 0)]
    assert events[2].queue == "tasks"


def test_a_consumer_without_a_tag_that_waits_for_no_ok_is_the_one_that_gets_what_nobody_else_asked_for():
    talk = [
        (CLIENT, hello() + method(B.Consume(queue="tasks", consumer_tag="", nowait=True))),
        (BROKER, deliver(1, consumer="amq.ctag-1")),
    ]
    assert heard(talk)[-1].queue == "tasks"


def test_names_that_the_broker_makes_up_are_taken_from_its_answer():
    events = heard(
        [
            (CLIENT, hello() + method(Q.Declare(queue="", exclusive=True))),
            (BROKER, method(Q.DeclareOk("amq.gen-x", 0, 0))),
            (CLIENT, method(B.Consume(queue="amq.gen-x", consumer_tag=""))),
            (BROKER, method(B.ConsumeOk("amq.ctag-y"))),
            (BROKER, deliver(1, consumer="amq.ctag-y")),
        ]
    )
    assert events[1] == said.Declared("amq.gen-x", True, False)
    assert events[2] == said.Subscribed(1, "amq.ctag-y", "amq.gen-x", False, 0)
    assert events[3].queue == "amq.gen-x"


def test_no_name_means_the_queue_that_was_declared_last_on_the_channel():
    talk = [
        (CLIENT, hello() + method(Q.Declare(queue="tasks"))),
        (BROKER, method(Q.DeclareOk("tasks", 0, 0))),
        *subscribe(queue=""),
        (BROKER, deliver(1)),
        (CLIENT, method(B.Get(queue=""))),
        (BROKER, content(B.GetOk(2, False, "", "tasks", 0))),
        (CLIENT, method(Q.Bind(queue="", exchange="logs", routing_key=""))),
    ]
    events = heard(talk)[2:]
    assert [event.queue for event in events] == ["tasks"] * 4


def prefetch_after(*qos):
    talk = [(CLIENT, hello()), *((CLIENT, method(one)) for one in qos), *subscribe()]
    return heard(talk)[-1].prefetch


def test_a_prefetch_count_is_each_consumers_own_or_global_the_channels():
    assert prefetch_after() == 0
    assert prefetch_after(B.Qos(prefetch_count=3)) == 3
    assert prefetch_after(B.Qos(prefetch_count=8, global_qos=True)) == 8
    assert prefetch_after(B.Qos(prefetch_count=3), B.Qos(prefetch_count=8, global_qos=True)) == 3
    assert prefetch_after(B.Qos(prefetch_count=3), B.Qos(prefetch_count=0)) == 0


def test_recover_gives_everything_back_and_a_closed_channel_too():
    talk = [(CLIENT, hello()), *subscribe(), *deliveries(2)]
    recovered = heard([*talk, (CLIENT, method(B.Recover(True)))])
    assert recovered[-2:] == [said.GivenBack(1, 1), said.GivenBack(1, 2)]
    closed = heard([*talk, (CLIENT, method(spec.Channel.Close(0, "", 0, 0)))])
    assert closed == heard(talk)  # not yet: an acknowledgement may still be on its way
    closed = heard(
        [*talk, (CLIENT, method(spec.Channel.Close(0, "", 0, 0))), (BROKER, method(spec.Channel.CloseOk()))]
    )
    assert closed[-3:] == [said.GivenBack(1, 1), said.GivenBack(1, 2), said.Unsubscribed(1, "c")]


def test_a_cancelled_consumer_keeps_what_it_holds():
    talk = [(CLIENT, hello()), *subscribe(), *deliveries(1), (CLIENT, method(B.Cancel("c")))]
    talk += [(BROKER, method(B.CancelOk("c"))), (CLIENT, ack(1))]
    assert heard(talk)[-2:] == [said.Unsubscribed(1, "c"), said.Answered(1, 1, "ack")]


def test_messages_are_fetched_one_by_one_and_an_empty_queue_is_no_message():
    talk = [
        (CLIENT, hello() + method(B.Get(queue="other", no_ack=True)) + method(B.Get(queue="tasks"))),
        (BROKER, method(B.GetEmpty()) + content(B.GetOk(1, True, "", "tasks", 0), b"x")),
        (CLIENT, ack(1)),
    ]
    delivered, answer = heard(talk)[1:]
    assert (delivered.queue, delivered.automatic, delivered.redelivered) == ("tasks", False, True)
    assert answer == said.Answered(1, 1, "ack")


def test_confirms_are_counted_from_the_select_and_come_in_any_order():
    select = method(spec.Confirm.Select())
    talk = [
        (
            CLIENT,
            hello() + publish() + select + publish(b"1") + publish(b"2") + publish(b"3") + publish(b"4"),
        ),
        (BROKER, ack(2) + ack(3, multiple=True) + method(B.Nack(4))),
    ]
    events = heard(talk)[1:]
    assert [event.number for event in events[:5]] == [0, 1, 2, 3, 4]
    assert events[5:] == [said.Confirmed(1, n, n < 4) for n in (2, 1, 3, 4)]


def test_many_unanswered_deliveries_and_confirms_are_no_burden():
    """Each answer is found by its number, and not looked for among all of them."""
    many = 20_000
    talk = [(CLIENT, hello() + method(spec.Confirm.Select())), *subscribe()]
    talk += [(CLIENT, publish() * many), (BROKER, b"".join(deliver(n) for n in range(1, many + 1)))]
    backwards = b"".join(ack(n) for n in range(many, 0, -1))
    took = _seconds(lambda: heard(talk))
    assert _seconds(lambda: heard([*talk, (CLIENT, backwards), (BROKER, backwards)])) < 3 * took + 1


def _seconds(what):
    began = time.process_time()
    what()
    return time.process_time() - began


def test_properties_that_nobody_can_read_do_not_upset_the_count():
    """The header's size is read all the same, so that the next message is the next one."""
    bad = publish(b"", headers={"abc": "text"}).replace(b"abcS", b"abc?")
    events = heard([(CLIENT, hello() + method(spec.Confirm.Select()) + bad + publish(b"next"))])[1:]
    assert [type(event) for event in events] == [said.Undecoded, said.Published, said.Published]
    assert [event.number for event in events[1:]] == [1, 2]


def test_an_id_is_a_text_whatever_bytes_it_has():
    strange = publish(message_id="abc").replace(b"abc", b"\xff\xfe\xfd")
    event = heard([(CLIENT, hello() + strange)])[1]
    assert isinstance(event.message.id, str) and event.message.id


# --- what is not AMQP 0-9-1 --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "what"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"),
        (b"AMQP\x00\x01\x00\x00", "AMQP 1.0"),
        (b"AMQP\x03\x01\x00\x00", "AMQP 1.0"),  # with SASL
        (b"GET / HTTP/1.1\r\n\r\n", "another protocol"),
    ],
)
@pytest.mark.parametrize("cut", [1, 5, 100])
def test_what_is_not_amqp_0_9_1_passes_unseen_and_is_said(loop, first, what, cut):
    wire = Wire(loop)
    for at in range(0, len(first), cut):
        wire.say(CLIENT, first[at : at + cut])
    wire.say(BROKER, b"whatever")
    wire.say(CLIENT, b"and so on")
    assert wire.tap.opaque == what
    assert (wire.to_broker.written, wire.to_client.written) == (first + b"and so on", b"whatever")


def test_what_stops_being_frames_is_seen_up_to_there(loop):
    wire = Wire(loop)
    wire.say(CLIENT, hello() + publish(b"a", message_id="a") + b"\x07nonsense" * 3)
    wire.say(CLIENT, publish(b"b", message_id="b"))
    assert wire.ledger.task_ids() == ["a"]
    assert "no AMQP frame" in wire.tap.opaque
