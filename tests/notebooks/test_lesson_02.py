"""The exercises of lesson 02 refuse what learners get wrong, and accept what is right."""

from itertools import accumulate

import pytest

from labkit.exercises import Mark, lesson_02

# ---------------------------------------------------------------- gone


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([6], "pushed to him already"),
        ([8, 10, 12], "begun and not finished"),
        ([2, 4, 6, 8, 10, 12], "Not all"),
        ([5, 6, 8], "Ada's"),
        ([4, 6, 8, 10, 12], "Add up"),
        ([8], "Add up"),
        ("6, 8, 10, 12", "list of task numbers"),
        (["6", "8"], "nothing but task numbers"),
    ],
)
def test_a_wrong_list_of_lost_tasks_is_refused(wrong, said):
    result = lesson_02.gone.check(wrong)
    assert result.mark is not Mark.RIGHT
    assert said in result.message


@pytest.mark.parametrize("right", [[6, 8, 10, 12], (12, 10, 8, 6), {6, 8, 10, 12}, range(6, 13, 2)])
def test_the_lost_may_be_named_in_any_order(right):
    assert lesson_02.gone.check(right).mark is Mark.RIGHT


# ---------------------------------------------------------------- lost


def under_way_only(dispatch, seconds, crashed, at):
    total = 0.0
    for task in dispatch[crashed]:
        total += seconds[task]
        if total > at:
            return [task]
    return []


def not_begun_only(dispatch, seconds, crashed, at):
    total, gone = 0.0, []
    for task in dispatch[crashed]:
        if total > at:
            gone.append(task)
        total += seconds[task]
    return gone


def everything_it_had(dispatch, seconds, crashed, at):
    return dispatch[crashed]


def all_workers(dispatch, seconds, crashed, at):
    total, gone = 0.0, []
    for task in sorted(task for had in dispatch.values() for task in had):
        total += seconds[task]
        if total > at:
            gone.append(task)
    return gone


def all_tasks_alike(dispatch, seconds, crashed, at):
    had = dispatch[crashed]
    return had[int(at / (sum(seconds.values()) / len(seconds))) :]


def each_by_itself(dispatch, seconds, crashed, at):
    return [task for task in dispatch[crashed] if seconds[task] > at]


def printed(dispatch, seconds, crashed, at):
    print(dispatch[crashed])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (under_way_only, "what else did it have"),
        (not_begun_only, "not finished either"),
        (everything_it_had, "is not lost"),
        (all_workers, "Only what the crashed worker"),
        (all_tasks_alike, ""),
        (each_by_itself, ""),
        (printed, "returned nothing"),
    ],
)
def test_a_wrong_function_is_refused_by_what_a_real_run_lost(wrong, said, broker):
    result = lesson_02.lost.check(wrong)
    assert result.mark is Mark.WRONG
    assert said in result.message


def test_a_function_with_running_sums_is_accepted(broker):
    def lost(dispatch, seconds, crashed, at):
        mine = dispatch[crashed]
        ends = accumulate(seconds[task] for task in mine)
        return {task for task, end in zip(mine, ends, strict=True) if end > at}

    result = lesson_02.lost.check(lost)
    assert result.mark is Mark.RIGHT, result.message


def test_the_check_leaves_no_queue_behind(broker):
    from labkit import management

    lesson_02.lost.check(everything_it_had)
    assert not management.of(broker).queues("lab.02-check.")
