"""What would have been best: the arithmetic that a real run is held against."""

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import tasks
from labkit.compare import schedule
from labkit.errors import UsageError

costs = st.lists(st.integers(0, 50), max_size=30)
teams = st.lists(st.floats(0.25, 8), min_size=1, max_size=6)
ALMOST = 1 + 1e-9  # for the rounding of sums


def everything(plan):
    return sorted(index for share in plan.shares for index in share.tasks)


def test_round_robin_deals_heavy_tasks_to_one_and_light_ones_to_the_other():
    plan = schedule.round_robin(tasks.alternating(10, heavy=5, light=1), 2, seconds_per_dot=0.1)
    assert [len(share.tasks) for share in plan.shares] == [5, 5]
    assert [share.busy for share in plan.shares] == pytest.approx([2.5, 0.5])
    assert plan.makespan == pytest.approx(2.5)
    assert plan.max_over_mean == pytest.approx(2.5 / 1.5)


def test_greedy_shares_the_same_tasks_more_evenly():
    plan = schedule.greedy(tasks.alternating(10, heavy=5, light=1), 2, seconds_per_dot=0.1)
    assert plan.makespan == pytest.approx(1.7)
    assert plan.jain > 0.98


def test_greedy_gives_a_fast_worker_more():
    plan = schedule.greedy(tasks.equal(12), [1, 3])
    assert [len(share.tasks) for share in plan.shares] == [3, 9]
    assert plan.makespan == schedule.lower_bound(tasks.equal(12), [1, 3]) == 3


def test_the_bound_knows_that_three_equal_tasks_on_two_workers_take_two_rounds():
    assert schedule.lower_bound([1, 1, 1], 2) == 2


def test_the_bound_knows_the_largest_task():
    assert schedule.lower_bound([9, 1, 1], 3) == 9
    assert schedule.lower_bound([9, 1, 1], [1, 3]) == 9 / 3
    assert schedule.lower_bound([4, 4, 4], [1, 3]) == 12 / 4


def test_bursts_are_not_worked_on_before_they_come():
    workload = tasks.bursts(4, size=2, pause=10)
    for plan in (schedule.round_robin(workload, 2), schedule.greedy(workload, 2)):
        assert plan.makespan == 11
        assert [share.busy for share in plan.shares] == [2, 2]
    assert schedule.lower_bound(workload, 2) == 11


@given(costs, teams)
def test_nothing_is_lost_and_nothing_done_twice(workload, speeds):
    for plan in (schedule.round_robin(workload, speeds), schedule.greedy(workload, speeds)):
        assert everything(plan) == list(range(len(workload)))
        for share, speed in zip(plan.shares, speeds, strict=True):
            assert share.busy == pytest.approx(sum(workload[index] for index in share.tasks) / speed)
            assert share.finish <= plan.makespan


@given(costs, st.integers(1, 6))
def test_round_robin_gives_equal_counts(workload, workers):
    counts = [len(share.tasks) for share in schedule.round_robin(workload, workers).shares]
    assert max(counts) - min(counts) <= 1


@given(costs, st.integers(1, 6))
def test_greedy_is_within_graham_s_factor_of_the_bound(workload, workers):
    bound = schedule.lower_bound(workload, workers)
    greedy = schedule.greedy(workload, workers).makespan
    assert bound <= greedy * ALMOST
    assert greedy <= (2 - 1 / workers) * bound * ALMOST


@given(costs, teams, st.lists(st.integers(0, 20), min_size=30, max_size=30))
def test_no_schedule_beats_the_bound_whatever_the_speeds_and_delays(workload, speeds, delays):
    items = [tasks.Task("x", b"", cost, delay=delay) for cost, delay in zip(workload, delays, strict=False)]
    bound = schedule.lower_bound(items, speeds)
    assert bound <= schedule.greedy(items, speeds).makespan * ALMOST
    assert bound <= schedule.round_robin(items, speeds).makespan * ALMOST


def test_no_assignment_at_all_beats_the_bound():
    generator = random.Random(4)
    for _ in range(60):
        workload = [generator.randint(1, 9) for _ in range(6)]
        speeds = [generator.choice((1, 2, 3)) for _ in range(generator.randint(1, 3))]
        best = math.inf
        for assigned in itertools.product(range(len(speeds)), repeat=len(workload)):
            loads = [0.0] * len(speeds)
            for cost, worker in zip(workload, assigned, strict=True):
                loads[worker] += cost / speeds[worker]
            best = min(best, max(loads))
        assert schedule.lower_bound(workload, speeds) <= best * ALMOST


@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=8))
def test_the_measures_of_spread_stay_within_their_limits(values):
    assert 1 / len(values) / ALMOST <= schedule.jain(values) <= ALMOST
    assert 1 / ALMOST <= schedule.max_over_mean(values) <= len(values) * ALMOST


def test_equal_loads_have_no_spread_and_one_worker_alone_has_the_most():
    assert schedule.jain([3, 3, 3]) == schedule.max_over_mean([3, 3, 3]) == 1
    assert schedule.jain([0, 0]) == schedule.max_over_mean([0, 0]) == 1
    assert (schedule.jain([9, 0, 0]), schedule.max_over_mean([9, 0, 0])) == (pytest.approx(1 / 3), 3)


def test_nothing_to_do_takes_no_time():
    assert schedule.greedy([], 3).makespan == schedule.lower_bound([], 3) == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (([1], 0), "worker"),
        (([1], [1, 0]), "speed"),
        (([1], [math.nan]), "speed"),
        (([-1], 2), "cost"),
        ((["1"], 2), "cost"),
        (([math.inf], 2), "cost"),
        ((5, 2), "workload"),
        (([1], "12"), "worker"),
        (([1], 10**9), "worker"),
        (([1], True), "worker"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(arguments, named):
    for function in (schedule.round_robin, schedule.greedy, schedule.lower_bound):
        with pytest.raises(UsageError, match=named):
            function(*arguments)
    with pytest.raises(UsageError, match="seconds_per_dot"):
        schedule.greedy([1], 2, seconds_per_dot=0)


@pytest.mark.parametrize("values", [[], 5, None, ["a"], [-1], [math.nan]])
def test_the_spread_of_what_are_no_values_is_refused(values):
    for measure in (schedule.jain, schedule.max_over_mean):
        with pytest.raises(UsageError, match="value"):
            measure(values)
