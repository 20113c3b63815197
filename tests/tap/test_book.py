"""Which task a message is, which row a connection, what counts, and what became of it: without a network."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pika import spec
from talk import BROKER, CLIENT, B, Q, Wire, ack, content, deliver, hello, method, publish, subscribe, turn

from labkit.ledger import Kind, Ledger, Outcome
from labkit.tap.book import Book


@pytest.fixture
def loop():
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture
def book():
    return Book(Ledger())


@pytest.fixture
def connect(loop, book):
    """Connections of one tap, by name."""

    def connected(name, *talk):
        wire = Wire(loop, book)
        wire.say(CLIENT, hello(name))
        wire.talk(talk)
        return wire

    return connected


def events(book, *kinds):
    return [(event.kind.name, event.task_id, event.worker) for event in book.ledger.events(kinds or None)]


# --- which task ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "task_id"),
    [
        ({"message_id": "m", "headers": {"id": "h"}, "correlation_id": "c"}, "m"),
        ({"headers": {"id": "h"}, "correlation_id": "c"}, "h"),
        ({"headers": {"id": 5}, "correlation_id": "c"}, "c"),
        ({"correlation_id": "c"}, "c"),
        ({}, "message#1"),
    ],
)
def test_a_task_is_called_by_its_message_id_the_header_id_the_correlation_id_or_a_number(
    connect, book, properties, task_id
):
    connect("sender", (CLIENT, publish(b"one..", **properties)))
    connect("worker", *subscribe(), (BROKER, deliver(1, b"one..", **properties)), (CLIENT, ack(1)))
    assert book.ledger.outcomes() == {task_id: Outcome.DONE}
    assert book.ledger.task(task_id).cost == 2


def test_five_equal_messages_without_ids_come_out_right_in_number(connect, book):
    connect("sender", *[(CLIENT, publish(b"same"))] * 5)
    worker = connect("worker", *subscribe(), *[(BROKER, deliver(n, b"same")) for n in range(1, 6)])
    assert book.ledger.counts().in_flight == 5
    worker.say(CLIENT, ack(3, multiple=True))
    counts = book.ledger.counts()
    assert (counts.published, counts.done, counts.in_flight) == (5, 3, 2)


def test_what_is_redelivered_is_rather_one_that_was_returned(connect, book):
    connect("sender", *[(CLIENT, publish(b"same"))] * 3)
    first = connect("worker-1", *subscribe(), (BROKER, deliver(1, b"same")))
    first.tap.lost(client=True)
    connect("worker-2", *subscribe(), (BROKER, deliver(1, b"same", redelivered=True)))
    assert events(book, Kind.REDELIVERED) == [("REDELIVERED", "message#1", "worker-2")]
    connect("worker-3", *subscribe(), (BROKER, deliver(1, b"same")))
    assert events(book, Kind.DELIVERED)[-1] == ("DELIVERED", "message#2", "worker-3")


def test_a_header_that_the_broker_adds_makes_no_other_message_of_it(connect, book):
    connect("sender", (CLIENT, publish(b"x", headers={"mine": 1})))
    connect("worker", *subscribe(), (BROKER, deliver(1, b"x", headers={"mine": 1, "x-delivery-count": 2})))
    assert book.ledger.counts().published == 1


def test_a_message_that_was_published_elsewhere_is_a_task_once_it_is_delivered(connect, book):
    worker = connect(
        "worker", *subscribe(), (BROKER, deliver(1, b"x")), (BROKER, deliver(2, b"y", message_id="m"))
    )
    assert book.ledger.outcomes() == {"message#1": Outcome.IN_FLIGHT, "m": Outcome.IN_FLIGHT}
    worker.say(CLIENT, ack(2, multiple=True))
    assert book.ledger.counts().done == 2


def test_a_body_that_is_no_task_of_the_labs_is_a_task_all_the_same(connect, book):
    connect("sender", (CLIENT, publish(b'{"broken', content_type="application/json", message_id="j")))
    connect("sender", (CLIENT, publish(b"\xff\xfe", message_id="bytes")))
    assert book.ledger.counts().published == 2


# --- what counts -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "declare",
    [{"queue": "reply", "exclusive": True}, {"queue": "events", "auto_delete": True}, {"queue": ""}],
)
def test_queues_that_go_with_their_client_do_not_count(connect, book, declare):
    queue = declare["queue"] or "amq.gen-1"
    worker = connect(
        "worker",
        (CLIENT, method(Q.Declare(**declare))),
        (BROKER, method(Q.DeclareOk(queue, 0, 0))),
        (CLIENT, publish(b"chatter", queue=queue)),
        *subscribe(queue=queue),
        (BROKER, deliver(1, b"chatter")),
        (CLIENT, ack(1)),
    )
    assert len(book.ledger) == 0 and worker.tap.client.held == 0


def test_an_exchange_leads_to_tasks_if_a_queue_of_tasks_is_bound_to_it(connect, book):
    connect(
        "sender",
        (CLIENT, publish(b"nobody's", exchange="logs")),
        (CLIENT, method(Q.Bind(queue="tasks", exchange="logs", routing_key="#"))),
        (CLIENT, publish(b"a task", exchange="logs")),
    )
    assert book.ledger.counts().published == 1


# --- what becomes of it ----------------------------------------------------------------------


def rejected(connect, *declared):
    connect("sender", *declared, (CLIENT, publish(b"x", message_id="m")))
    return connect(
        "worker",
        *subscribe(),
        (BROKER, deliver(1, b"x", message_id="m")),
        (CLIENT, method(B.Reject(1, False))),
    )


def declared_with(arguments):
    return [
        (CLIENT, method(Q.Declare(queue="tasks", arguments=arguments))),
        (BROKER, method(Q.DeclareOk("tasks", 0, 0))),
    ]


def test_what_is_rejected_is_lost_where_the_queue_has_no_dead_letter_exchange(connect, book):
    rejected(connect, *declared_with({}))
    assert book.ledger.outcomes() == {"m": Outcome.LOST}


def test_what_is_rejected_is_dead_lettered_where_it_was_declared_so(connect, book):
    rejected(connect, *declared_with({"x-dead-letter-exchange": ""}))
    assert book.ledger.outcomes() == {"m": Outcome.DEAD_LETTERED}


def test_a_policy_is_asked_for(loop):
    asked = []
    book = Book(Ledger(), dead_letters=lambda queue: not asked.append(queue))
    wire = Wire(loop, book)
    wire.talk(
        [
            (CLIENT, hello()),
            *subscribe(),
            (BROKER, deliver(1, b"x", message_id="m")),
            (CLIENT, method(B.Reject(1, False))),
        ]
    )
    assert book.ledger.outcomes() == {"m": Outcome.DEAD_LETTERED} and asked == ["tasks"]


def test_what_was_dead_lettered_is_known_again_when_it_comes_out_of_the_other_queue(connect, book):
    connect("sender", *declared_with({"x-dead-letter-exchange": ""}), (CLIENT, publish(b"x")))
    worker = connect("worker", *subscribe(), (BROKER, deliver(1, b"x")), (CLIENT, method(B.Reject(1, False))))
    worker.talk(
        [*subscribe(queue="dead", tag="d"), (BROKER, deliver(2, b"x", consumer="d")), (CLIENT, ack(2))]
    )
    assert book.ledger.outcomes() == {"message#1": Outcome.DONE}


def test_a_message_that_no_queue_takes_is_unroutable_and_its_confirm_does_not_change_that(connect, book):
    select = method(spec.Confirm.Select())
    returned = content(B.Return(312, "NO_ROUTE", "", "nowhere"), b"same")
    connect(
        "sender",
        (CLIENT, select + publish(b"other") + publish(b"same", queue="nowhere") + publish(b"same")),
        (BROKER, returned + ack(3, multiple=True)),
    )
    assert book.ledger.outcomes() == {
        "message#1": Outcome.WAITING,
        "message#2": Outcome.UNROUTABLE,
        "message#3": Outcome.WAITING,
    }
    confirmed = [task_id for _, task_id, _ in events(book, Kind.CONFIRMED)]
    assert confirmed == ["message#1", "message#3"]
    connect("worker", *subscribe(), (BROKER, deliver(1, b"same")))
    assert book.ledger.outcomes()["message#3"] is Outcome.IN_FLIGHT


def test_without_confirms_what_comes_back_is_unroutable_too(connect, book):
    returned = content(B.Return(312, "NO_ROUTE", "", "nowhere"), b"x")
    connect("sender", (CLIENT, publish(b"x", queue="nowhere")), (BROKER, returned))
    assert book.ledger.outcomes() == {"message#1": Outcome.UNROUTABLE}


def test_what_comes_back_and_was_no_task_is_none_now(connect, book):
    returned = content(B.Return(312, "NO_ROUTE", "events", "x"), b"x", message_id="m")
    connect("sender", (CLIENT, publish(b"x", exchange="events", message_id="m")), (BROKER, returned))
    assert book.ledger.counts().published == 0


def test_what_the_broker_refuses_is_lost(connect, book):
    talk = (CLIENT, method(spec.Confirm.Select()) + publish(b"x")), (BROKER, method(B.Nack(1)))
    connect("sender", *talk)
    assert book.ledger.counts().lost == 1


def test_automatic_acknowledgements_hand_over_and_nothing_more_is_known(connect, book):
    worker = connect("worker", *subscribe(no_ack=True), (BROKER, deliver(1, b"x", message_id="m")))
    assert book.ledger.outcomes() == {"m": Outcome.HANDED_OVER}
    assert worker.tap.client.held == 0
    worker.tap.lost(client=True)
    assert book.ledger.outcomes() == {"m": Outcome.HANDED_OVER}


@pytest.mark.parametrize(
    ("prefetch", "at_once", "note"), [(1, None, "foreign 1"), (5, None, "foreign"), (5, 2, "foreign 2")]
)
def test_how_many_at_once_is_only_known_of_a_prefetch_count_of_1_or_when_it_is_said(
    loop, prefetch, at_once, note
):
    wire = Wire(loop, Book(Ledger(), at_once=at_once))
    wire.talk([(CLIENT, hello() + method(B.Qos(prefetch_count=prefetch))), *subscribe()])
    assert [event.note for event in wire.ledger.events({Kind.CONNECTED})] == [note]


# --- whose row -------------------------------------------------------------------------------


def test_two_connections_of_one_name_have_a_row_each(connect, book):
    for name in ("worker", "worker", "worker 2", "worker"):
        connect(name, *subscribe())
    assert book.ledger.workers == ["worker", "worker 2", "worker 2 2", "worker 3"]


def test_who_connects_again_has_the_row_that_it_had(connect, book):
    first = connect("worker", *subscribe(), (BROKER, deliver(1, b"x", message_id="m")))
    first.tap.lost(client=True)
    assert book.ledger.outcomes() == {"m": Outcome.WAITING}
    again = connect("worker", *subscribe())
    again.talk([(BROKER, deliver(1, b"x", redelivered=True, message_id="m")), (CLIENT, ack(1))])
    assert book.ledger.workers == ["worker"]
    assert book.ledger.outcomes() == {"m": Outcome.DONE}


def test_who_gives_no_name_is_called_after_its_program(loop, book):
    wire = Wire(loop, book)
    wire.say(CLIENT, hello(""))
    wire.say(BROKER, b"\x08\0\0\0\0\0\0\xce")
    assert wire.to_client.written == b""  # nothing goes on before the name is known
    turn(loop)
    turn(loop)
    assert wire.tap.name == "program at 40000"
    assert wire.to_client.written == b"\x08\0\0\0\0\0\0\xce"


def ended(connect, book, end, *last):
    worker = connect("worker", *subscribe(), *last)
    end(worker.tap)
    return [(event.kind, event.note) for event in book.ledger.events()][-1]


def test_how_a_connection_ended_is_told(connect, book):
    close = (CLIENT, method(spec.Connection.Close(200, "Normal shutdown", 0, 0), 0))
    refused = (BROKER, method(spec.Connection.Close(320, "CONNECTION_FORCED", 0, 0), 0))
    assert ended(connect, book, lambda tap: tap.lost(client=True)) == (
        Kind.CRASHED,
        "its connection ended without a word",
    )
    assert ended(connect, book, lambda tap: tap.lost(client=True), close) == (Kind.STOPPED, "Normal shutdown")
    assert ended(connect, book, lambda tap: tap.lost(client=False), refused)[0] is Kind.DISCONNECTED
    assert ended(connect, book, lambda tap: tap.lost(client=False))[0] is Kind.DISCONNECTED
    assert ended(connect, book, lambda tap: tap.cut()) == (Kind.DISCONNECTED, "cut at the tap")
    assert ended(connect, book, lambda tap: tap.close()) == (Kind.DISCONNECTED, "closed at the tap")
    assert ended(connect, book, lambda tap: tap.clear_away()) == (Kind.STOPPED, "the tap was closed")


def test_a_connection_that_is_over_is_over_once(connect):
    wire = connect("worker", *subscribe())
    wire.tap.cut()
    wire.tap.lost(client=True)
    wire.tap.cut()
    wire.tap.clear_away()
    assert wire.gone == [wire.tap]


def test_a_silent_connection_whose_client_is_gone_can_still_be_cut(connect):
    wire = connect("worker", *subscribe())
    for flow in wire.tap.flows():
        flow.set_silent(True)
    wire.say(CLIENT, ack(1))
    wire.tap.lost(client=True)
    assert not wire.gone
    wire.tap.cut()
    assert wire.gone and wire.to_broker.aborted


# --- the law ---------------------------------------------------------------------------------

BODIES, IDS = st.sampled_from([b"same", b"other.", b""]), st.sampled_from([None, None, "m1", "m2"])


class Broker(RuleBasedStateMachine):
    """A broker with one queue, and clients that do whatever they may; the ledger knows only what passes."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.book = Book(Ledger())
        self.ready, self.held, self.tags, self.wires = [], {}, {}, {}
        self.sender = Wire(self.loop, self.book)
        self.sender.say(CLIENT, hello("sender") + method(spec.Confirm.Select()))
        self.sent, self.to_confirm = 0, []
        self.published = self.acknowledged = self.dropped = 0

    def teardown(self):
        self.loop.close()

    @rule(body=BODIES, message_id=IDS, there=st.booleans())
    def publish(self, body, message_id, there):
        # An id is one message's: what has one is published once.
        if message_id and any(message_id == one for _, one in self.sent_ids()):
            return
        self.sent += 1
        self.published += 1
        self.to_confirm.append(self.sent)
        properties = {"message_id": message_id} if message_id else {}
        self.sender.say(CLIENT, publish(body, queue="tasks" if there else "nowhere", **properties))
        if there:
            self.ready.append((body, properties, False))
        else:
            self.dropped += 1
            self.sender.say(BROKER, content(B.Return(312, "NO_ROUTE", "", "nowhere"), body, **properties))

    def sent_ids(self):
        return [(None, one) for one in self.book.ledger.task_ids()]

    @precondition(lambda self: self.to_confirm)
    @rule()
    def confirm(self):
        self.sender.say(BROKER, ack(self.to_confirm[-1], multiple=True))
        self.to_confirm.clear()

    @precondition(lambda self: len(self.wires) < 3)
    @rule()
    def consume(self):
        name = next(name for name in ("a", "b", "c") if name not in self.wires)
        wire = self.wires[name] = Wire(self.loop, self.book)
        wire.talk([(CLIENT, hello(name)), *subscribe()])
        self.held[name], self.tags[name] = {}, 0

    @precondition(lambda self: self.ready and self.wires)
    @rule(data=st.data())
    def deliver(self, data):
        name = data.draw(st.sampled_from(sorted(self.wires)))
        body, properties, again = self.ready.pop(0)
        self.tags[name] += 1
        self.held[name][self.tags[name]] = body, properties
        self.wires[name].say(BROKER, deliver(self.tags[name], body, again, **properties))

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data(), how=st.sampled_from(["ack", "all", "nack", "requeue"]))
    def answer(self, data, how):
        name = data.draw(st.sampled_from(sorted(name for name, held in self.held.items() if held)))
        tag = data.draw(st.sampled_from(sorted(self.held[name])))
        answered = [one for one in self.held[name] if one == tag or (how == "all" and one < tag)]
        frames = {
            "ack": ack(tag),
            "all": ack(tag, multiple=True),
            "nack": method(B.Reject(tag, False)),
            "requeue": method(B.Nack(tag, False, True)),
        }
        self.wires[name].say(CLIENT, frames[how])
        messages = [self.held[name].pop(one) for one in answered]
        if how == "requeue":
            self.ready = [(*one, True) for one in messages] + self.ready
        elif how == "nack":
            self.dropped += len(messages)
        else:
            self.acknowledged += len(messages)

    @precondition(lambda self: self.wires)
    @rule(data=st.data(), how=st.sampled_from(["killed", "cut", "closed", "recover"]))
    def leave(self, data, how):
        name = data.draw(st.sampled_from(sorted(self.wires)))
        wire, held = self.wires[name], self.held[name]
        self.ready = [(*one, True) for one in held.values()] + self.ready
        held.clear()
        if how == "recover":
            wire.say(CLIENT, method(B.Recover(True)))
            return
        if how == "cut":
            wire.tap.cut()
        else:
            if how == "closed":
                wire.say(CLIENT, method(spec.Connection.Close(200, "", 0, 0), 0))
            wire.tap.lost(client=True)
        del self.wires[name], self.held[name]

    @invariant()
    def the_ledger_adds_up_and_agrees_with_the_broker(self):
        counts = self.book.ledger.counts()
        assert counts.adds_up
        assert counts.published == self.published
        assert counts.waiting == len(self.ready)
        assert counts.in_flight == sum(map(len, self.held.values()))
        assert counts.done == self.acknowledged
        assert counts.lost + counts.unroutable == self.dropped
        for name, wire in self.wires.items():
            assert wire.tap.client.held == len(self.held[name])


TestTheLedgerAddsUpWhateverHappens = Broker.TestCase
TestTheLedgerAddsUpWhateverHappens.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
