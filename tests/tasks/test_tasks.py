"""What is sent, what is done with it, and what is refused: tasks, workloads and handlers."""

import inspect
import json
import math
import random
import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import tasks
from labkit.errors import TaskError, UsageError
from labkit.tasks.handlers import HANDLERS, MAX_FACTORS, field, parse, perform

JSON = "application/json"


def body(**fields):
    return json.dumps(fields).encode()


def do(fields, handlers=HANDLERS):
    """What a worker does with a JSON message from any producer."""
    return perform(parse(body(**fields), "1", JSON), handlers)


# ---------------------------------------------------------------- bodies


def test_a_content_type_that_is_no_text_is_refused_by_name():
    with pytest.raises(UsageError, match="content_type"):
        parse(b"x", "m", {})


def test_the_dots_of_a_text_are_its_cost():
    assert parse(b"First message.", "a-1", None).cost == 1
    assert parse(b"... wait ..", "a-1", "text/plain").cost == 5
    assert parse(b"no work at all", "a-1", "text/plain").cost == 0


def test_text_in_any_language_is_understood():
    task = parse("très long…  ..".encode(), "a-1", "text/plain")
    assert (task.cost, task.kind) == (2, "dots")


def test_sum_and_multiply_are_really_computed():
    assert do({"task": "sum", "start": 1, "end": 100}) == 5050
    assert do({"task": "sum", "start": -3, "end": 2}) == -3
    assert do({"task": "multiply", "start": 1, "end": 20}) == math.factorial(20)
    assert do({"task": "multiply", "start": -2, "end": 10**9}) == 0
    assert do({"task": "multiply", "start": -3, "end": -1}) == -6


def test_the_sum_of_a_huge_range_is_exact_and_takes_no_time():
    big = 10**30
    assert do({"task": "sum", "start": 1, "end": big}) == big * (big + 1) // 2


@given(st.integers(-200, 200), st.integers(0, 200))
def test_sum_and_multiply_agree_with_adding_and_multiplying_one_by_one(start, length):
    fields = {"start": start, "end": start + length}
    product = 1
    for number in range(start, start + length + 1):
        product *= number
    assert do({"task": "sum", **fields}) == sum(range(start, start + length + 1))
    assert do({"task": "multiply", **fields}) == product


@pytest.mark.parametrize(
    ("operation", "payload", "result"),
    [
        ("resize-image", {"image_id": 1}, {"image_id": 1, "width": 640, "height": 480}),
        ("resize-image", {"image_id": 1, "width": 9, "height": 8}, {"image_id": 1, "width": 9, "height": 8}),
        ("send-email", {"user_id": 42}, {"user_id": 42, "subject": "Hello, user 42"}),
        ("generate-report", {"month": "2025-10"}, {"month": "2025-10", "file": "report-2025-10.pdf"}),
    ],
)
def test_each_operation_of_a_job_gives_its_result(operation, payload, result):
    assert do({"job_id": "j", "operation": operation, "payload": payload}) == result


def test_json_is_recognised_without_a_content_type():
    task = parse(b' {"task": "sum", "start": 1, "end": 2}', None, None)
    assert (task.kind, perform(task)) == ("sum", 3)


def test_the_cost_of_a_json_task_is_0_for_arithmetic_and_1_for_operations_unless_it_says():
    job = {"job_id": "j", "operation": "send-email", "payload": {"user_id": 1}}
    assert parse(body(task="sum", start=1, end=2), "1", JSON).cost == 0
    assert parse(body(**job), "1", JSON).cost == 1
    assert parse(body(**job, cost=2.5), "1", JSON).cost == 2.5


def test_a_message_without_an_id_takes_its_job_id_or_else_one_of_its_own():
    job = body(job_id="j-9", operation="send-email", payload={"user_id": 1})
    assert parse(job, None, JSON).id == "j-9"
    assert parse(job, "m", JSON).id == "m"
    assert parse(b"same", None, None).id != parse(b"same", None, None).id


@pytest.mark.parametrize(
    "task",
    [
        tasks.dots(3),
        tasks.dots(0, "nothing to do"),
        tasks.arithmetic("multiply", 1, 5),
        tasks.job("generate-report", {"month": "2024-02"}),
        tasks.job("resize-image", {"image_id": 7}, cost=3, job_id="mine"),
    ],
    ids=lambda task: task.kind,
)
def test_what_the_lab_makes_it_understands_again(task):
    assert parse(task.body, task.id, task.content_type) == task
    perform(task)


def test_a_handler_of_ones_own_is_used():
    handlers = {**HANDLERS, "shout": lambda task, fields: field(fields, "text", str).upper()}
    assert do({"task": "shout", "text": "hi"}, handlers) == "HI"
    with pytest.raises(TaskError) as caught:
        do({"task": "shout", "text": 5}, handlers)
    assert caught.value.field == "text"


def test_a_plain_task_of_the_lab_is_parsed_in_about_a_microsecond():
    task = tasks.equal(1, cost=5)[0]
    number = 20_000
    best = min(timeit.repeat(lambda: parse(task.body, task.id, task.content_type), number=number, repeat=7))
    assert best / number < 6e-6  # 0.8 µs measured; a busy machine is allowed some more


# ---------------------------------------------------------------- what cannot be done as it stands

ARITHMETIC = {"task": "sum", "start": 1, "end": 2}
JOB = {"job_id": "j", "operation": "send-email", "payload": {"user_id": 1}}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"task": "divide", "start": 1, "end": 2}, "task"),
        ({"task": 5}, "task"),
        ({"start": 1, "end": 2}, "task"),
        ({"task": "sum", "end": 2}, "start"),
        ({"task": "sum", "start": 1}, "end"),
        ({**ARITHMETIC, "start": "1"}, "start"),
        ({**ARITHMETIC, "end": 2.0}, "end"),
        ({**ARITHMETIC, "end": True}, "end"),
        ({**ARITHMETIC, "end": None}, "end"),
        ({**ARITHMETIC, "start": 3}, "start"),
        ({**ARITHMETIC, "cost": -1}, "cost"),
        ({**ARITHMETIC, "cost": "long"}, "cost"),
        ({**ARITHMETIC, "cost": True}, "cost"),
        ({**ARITHMETIC, "cost": math.nan}, "cost"),
        ({**ARITHMETIC, "cost": math.inf}, "cost"),
        ({"task": "multiply", "start": 1, "end": 10**9}, "end"),
        ({"task": "multiply", "start": 1, "end": MAX_FACTORS + 1}, "end"),
        ({"task": "multiply", "start": 10**3000, "end": 10**3000 + 5000}, "end"),
        ({**JOB, "operation": "make-coffee"}, "operation"),
        ({"operation": "send-email", "payload": {"user_id": 1}}, "job_id"),
        ({**JOB, "job_id": 7}, "job_id"),
        ({"job_id": "j", "operation": "send-email"}, "payload"),
        ({**JOB, "payload": [1]}, "payload"),
        ({**JOB, "payload": {}}, "user_id"),
        ({**JOB, "payload": {"user_id": "ann"}}, "user_id"),
        ({**JOB, "payload": {"user_id": False}}, "user_id"),
        ({**JOB, "payload": {"user_id": 1, "subject": 2}}, "subject"),
        ({**JOB, "operation": "resize-image", "payload": {}}, "image_id"),
        ({**JOB, "operation": "resize-image", "payload": {"image_id": 1, "width": 0}}, "width"),
        ({**JOB, "operation": "generate-report", "payload": {"month": "2025-13"}}, "month"),
        ({**JOB, "operation": "generate-report", "payload": {"month": 10}}, "month"),
    ],
)
def test_a_wrong_field_is_named(fields, wrong):
    with pytest.raises(TaskError) as caught:
        do(fields)
    assert caught.value.field == wrong
    assert wrong in caught.value.what or caught.value.do.startswith("Known kinds")


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [
        (b"{not json", JSON),
        (b"{not json", None),
        (b"", JSON),
        (b"[1, 2]", JSON),
        (b"null", JSON),
        (b'{"task": "sum", "start": 1, "end": ' + b"9" * 5000 + b"}", JSON),
        (b"[" * 100_000, JSON),
        (b"\xff\xfe.", "text/plain"),
        (b"\xff\xfe.", None),
        (b'{"task": "\xff"}', JSON),
    ],
)
def test_a_body_that_is_neither_text_nor_a_json_task_is_refused(raw, content_type):
    with pytest.raises(TaskError) as caught:
        perform(parse(raw, "1", content_type))
    assert caught.value.field == "body"


@given(
    st.binary(max_size=80),
    st.sampled_from([None, "text/plain", JSON, "application/json; charset=utf-8", "x"]),
)
def test_no_body_raises_anything_but_a_task_error(raw, content_type):
    for start in (b"", b'{"task":', b'{"task": "sum", "start": 1, "end": '):
        try:
            perform(parse(start + raw, None, content_type))
        except TaskError as error:
            assert error.field


# ---------------------------------------------------------------- workloads


def costs(workload):
    return [task.cost for task in workload]


def test_the_ready_made_workloads_cost_what_their_names_say():
    assert costs(tasks.equal(3, cost=2)) == [2, 2, 2]
    assert costs(tasks.growing(4)) == [1, 2, 3, 4]
    assert costs(tasks.growing(3, first=6, step=-3)) == [6, 3, 0]
    assert costs(tasks.alternating(5)) == [5, 1, 5, 1, 5]
    assert costs(tasks.workload([3, tasks.dots(0), 1])) == [3, 0, 1]


def test_a_workload_drawn_at_random_is_the_same_for_the_same_seed():
    first, again, other = tasks.random(50, 7), tasks.random(50, 7), tasks.random(50, 8)
    assert costs(first) == costs(again) != costs(other)
    assert set(costs(tasks.random(500, 1, low=2, high=4))) == {2, 3, 4}


def test_the_lab_leaves_the_random_numbers_of_the_program_alone():
    random.seed(1)
    expected = random.random()
    random.seed(1)
    tasks.random(50, 7)
    assert random.random() == expected


def test_bursts_pause_between_bursts_and_a_steady_stream_between_tasks():
    assert [task.delay for task in tasks.bursts(7, size=3, pause=0.5)] == [0, 0, 0, 0.5, 0, 0, 0.5]
    assert [task.delay for task in tasks.steady(3, every=0.2)] == [0, 0.2, 0.2]


@pytest.mark.parametrize("name", tasks.WORKLOADS)
def test_ids_count_from_1_and_never_repeat(name):
    first, second = (tasks.recipe(name)(count=5) for _ in range(2))
    assert [task.label for task in first] == ["1", "2", "3", "4", "5"]
    assert len({task.id for task in first + second}) == 10


@pytest.mark.parametrize("recipe", tasks.WORKLOADS.values(), ids=lambda recipe: recipe.name)
def test_every_workload_has_an_example_with_all_of_its_options(recipe):
    assert list(recipe.example) == list(inspect.signature(recipe.make).parameters)
    assert costs(eval(recipe.code(), {"tasks": tasks})) == costs(recipe())
    assert len(recipe(count=3)) == 3


def test_a_workload_is_read_from_a_text_and_what_it_does_not_say_is_as_in_the_example():
    assert costs(tasks.from_text("alternating:count=4,heavy=8")) == [8, 1, 8, 1]
    assert [task.delay for task in tasks.from_text("steady: count = 2, every = 0.5")] == [0, 0.5]
    assert costs(tasks.from_text("growing")) == costs(tasks.recipe("growing")())


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("huge", "workload"), ("", "workload"), ("equal:size=3", "size"), ("equal:count=many", "count"),
        ("equal:count", "count"), ("equal:count=0", "count"), ("bursts:pause=-1", "pause"),
    ],
)  # fmt: skip
def test_a_text_that_is_no_workload_names_the_option(text, field):
    with pytest.raises(UsageError) as caught:
        tasks.from_text(text)
    assert caught.value.field == field
    assert caught.value.do


def test_the_body_of_a_task_has_as_many_dots_as_it_costs():
    for task in tasks.growing(5):
        assert task.body.count(b".") == task.cost
        assert parse(task.body, task.id, task.content_type) == task


def test_a_foreign_id_gets_a_short_label():
    assert tasks.Task("9f1c2d3e-0000-4000-8000-426614174000", b"").label == "9f1c2d"


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: tasks.workload(19), "items"),
        (lambda: tasks.workload("19"), "items"),
        (lambda: tasks.equal(0), "count"),
        (lambda: tasks.equal("3"), "count"),
        (lambda: tasks.equal(True), "count"),
        (lambda: tasks.equal(3, cost=-1), "cost"),
        (lambda: tasks.equal(3, cost=1.5), "cost"),
        (lambda: tasks.growing(3, first=-1), "first"),
        (lambda: tasks.growing(3, first=1, step=-1), "step"),
        (lambda: tasks.alternating(3, heavy="5"), "heavy"),
        (lambda: tasks.alternating(3, light=None), "light"),
        (lambda: tasks.random(3, seed="x"), "seed"),
        (lambda: tasks.random(3, 1, low=5, high=4), "low"),
        (lambda: tasks.bursts(3, size=0, pause=1), "size"),
        (lambda: tasks.bursts(3, size=1, pause=-1), "pause"),
        (lambda: tasks.bursts(3, size=1, pause=math.nan), "pause"),
        (lambda: tasks.steady(3, every=math.inf), "every"),
        (lambda: tasks.dots(3, text="a.b"), "text"),
        (lambda: tasks.arithmetic("divide", 1, 2), "kind"),
        (lambda: tasks.arithmetic("sum", 1.0, 2), "start"),
        (lambda: tasks.job("send-email", 5), "payload"),
        (lambda: tasks.job("", {}), "operation"),
        (lambda: tasks.job("send-email", {}, cost=-1), "cost"),
        (lambda: tasks.job("send-email", {}, job_id=3), "job_id"),
        (lambda: tasks.job("send-email", {"x": object()}), "JSON"),
        (lambda: tasks.dots(10**5000), "cost"),  # a number that Python refuses to write
        (lambda: parse(b"x", "m", {}), "content_type"),
        (lambda: parse(b"x", 5), "message_id"),
        (lambda: parse("x", "m"), "body"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(make, named):
    with pytest.raises(UsageError, match=named):
        make()
