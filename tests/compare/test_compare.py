"""Strategies compared on the real broker: the same tasks, one run each, and what the table says of them."""

import csv
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pika.exceptions
import pytest

from labkit import brokers, charts, tasks
from labkit.compare import Comparison, Strategy, measure, save
from labkit.errors import UsageError, WaitTimeoutError
from labkit.lab import Lab
from labkit.ledger import Kind, Ledger
from labkit.results.run import Run
from labkit.tap.relay import Relay

LIMIT = 120  # seconds for a command on a busy machine


@pytest.fixture
def lab(broker):
    with Lab(
        "test-compare", broker=broker, seconds_per_dot=0.02, progress=False, say=lambda text: None
    ) as lab:
        yield lab


# ---------------------------------------------------------------- what a strategy is


@pytest.mark.parametrize(
    ("strategy", "label"),
    [
        (Strategy(), "no prefetch limit"),
        (Strategy(prefetch=1), "prefetch 1"),
        (Strategy(prefetch=5, ack="automatic", queue_type="quorum"), "prefetch 5, automatic ack, quorum"),
        (
            Strategy(publish_first=True, priorities=(10, 0), confirms=False, ack="forgotten"),
            "no prefetch limit, forgotten ack, published first, priorities 10/0, no confirms",
        ),
        (Strategy(prefetch=1, name="fair"), "fair"),
    ],
)
def test_a_strategy_is_called_by_what_it_sets(strategy, label):
    assert strategy.label == label


@pytest.mark.parametrize(
    ("text", "strategy"),
    [
        ("default", Strategy()),
        ("", Strategy()),
        ("prefetch=1", Strategy(prefetch=1)),
        ("prefetch=unlimited", Strategy()),
        (
            " prefetch = 5, ack=automatic,queue_type=quorum,publish_first=yes,priorities=10/0,confirms=off,name=all",
            Strategy(5, "automatic", "quorum", True, (10, 0), False, "all"),
        ),
    ],
)
def test_a_strategy_is_read_from_a_text(text, strategy):
    assert Strategy.parse(text) == strategy


@pytest.mark.parametrize(
    "text",
    ["prefetch", "prefetch=-1", "prefetch=x", "prefetch=70000", "ack=never", "queue_type=stream", "speed=3",
     "confirms=maybe", "publish_first=2", "priorities=high", "1"],
)  # fmt: skip
def test_a_text_that_is_no_strategy_says_what_is_wrong(text):
    with pytest.raises(UsageError) as caught:
        Strategy.parse(text)
    assert caught.value.do


@pytest.mark.parametrize(
    "settings", [{"prefetch": True}, {"prefetch": 1.0}, {"priorities": 3}, {"priorities": (True,)}]
)
def test_a_strategy_with_a_setting_of_another_kind_is_refused(settings):
    with pytest.raises(UsageError):
        Strategy(**settings)


def test_a_strategy_can_be_a_key_even_if_its_priorities_came_as_a_list():
    assert {Strategy(priorities=[1, 0]): 1} == {Strategy(priorities=(1, 0)): 1}


# ---------------------------------------------------------------- comparing


def test_fair_dispatch_beats_no_limit_on_the_same_uneven_tasks(lab):
    workload = tasks.alternating(10, heavy=5, light=1)
    plain, fair = lab.compare([Strategy(), Strategy(prefetch=1)], workload, 2, names=["Ada", "Ben"])
    for result in (plain, fair):
        assert result.run.ledger.task_ids() == [task.id for task in workload]
        assert result.done == result.published == 10
        assert [result.run.loads.final[name].delivered for name in ("Ada", "Ben")] == [
            len(result.run.ledger.delivered_to(name)) for name in ("Ada", "Ben")
        ]
        assert result.bound <= result.greedy
    assert fair.makespan < plain.makespan
    assert fair.spread > plain.spread
    assert plain.ratio > 1.3  # 25 dots for one worker, where 15 or 16 each would do
    assert fair.waiting_median <= fair.waiting_95
    assert plain.run.about["strategy"]["prefetch"] is None


def test_a_backlog_without_a_limit_is_all_the_first_workers(lab):
    only = lab.compare([Strategy(publish_first=True)], tasks.equal(8), 2, loads=False)[0]
    assert [len(only.run.ledger.delivered_to(name)) for name in only.run.workers] == [8, 0]
    assert only.spread == pytest.approx(0.5)
    assert not only.run.loads.final


def test_workers_of_a_higher_priority_are_served_first(lab):
    only = lab.compare([Strategy(priorities=(0, 10))], tasks.equal(6), 2, names=["low", "high"], loads=False)[
        0
    ]
    assert [len(only.run.ledger.delivered_to(name)) for name in ("low", "high")] == [0, 6]


@pytest.mark.parametrize(
    "strategy",
    [Strategy(ack="automatic"), Strategy(queue_type="quorum", prefetch=2), Strategy(confirms=False)],
    ids=lambda one: one.label,
)
def test_every_kind_of_strategy_does_all_tasks(lab, strategy):
    only = lab.compare([strategy], tasks.equal(6), 2, loads=False)[0]
    assert (only.done, only.lost, only.done_twice, only.redelivered) == (6, 0, 0, 0)


def test_forgotten_acknowledgements_are_not_called_done(lab):
    comparison = lab.compare(
        [Strategy(ack="forgotten", prefetch=1), Strategy()], tasks.equal(6), 2, loads=False
    )
    assert comparison[0].done == 0
    assert "Not all done: prefetch 1, forgotten ack" in comparison.text


def test_the_fastest_of_several_rounds_counts(lab):
    before = len(lab.management.queues("lab."))
    comparison = lab.compare([Strategy()], tasks.equal(4), 2, repeat=3, loads=False)
    assert len(comparison) == 1
    assert len(lab.management.queues("lab.")) <= before + 1


def test_a_broker_farther_away_makes_prefetch_1_slow(lab):
    workload = tasks.equal(20, cost=0)
    one, ten = lab.compare(
        [Strategy(prefetch=1), Strategy(prefetch=10)], workload, 1, distance=0.02, loads=False
    )
    assert one.makespan > 19 * 0.04  # a round trip for each
    assert ten.makespan < one.makespan


@pytest.mark.parametrize(
    ("strategies", "workload", "settings"),
    [
        ([], [1], {}),
        (True, [1], {}),
        ([Strategy()], [1], {"workers": "fast"}),
        ([Strategy()], [1], {"workers": ["fast"]}),
        ([Strategy()], [1], {"workers": True}),
        ([Strategy()], [1], {"repeat": True}),
        (["prefetch=1"], [1], {}),
        ([Strategy()], [], {}),
        ([Strategy()], [1], {"workers": 0}),
        ([Strategy()], [1], {"workers": []}),
        ([Strategy()], [1], {"repeat": 0}),
        ([Strategy()], [1], {"distance": -1}),
        ([Strategy()], [1], {"names": ["one"]}),
    ],
)
def test_settings_that_make_no_sense_are_refused(lab, strategies, workload, settings):
    with pytest.raises(UsageError):
        lab.compare(strategies, tasks.workload(workload) if workload else [], **settings)


def test_after_a_run_that_took_too_long_the_next_comparison_is_its_own(lab):
    with pytest.raises(WaitTimeoutError):
        lab.compare([Strategy()], tasks.equal(2, cost=1000), 2, timeout=0.5, loads=False)
    workload = tasks.equal(4)
    again = lab.compare([Strategy()], workload, 2, loads=False)[0]
    assert again.run.ledger.task_ids() == [task.id for task in workload]
    assert again.done == 4


# ---------------------------------------------------------------- what is measured


def recorded(*events):
    """A run of what was recorded at these seconds: (second, kind, task, worker)."""
    ledger = Ledger.of_the_past((*event, None) for event in events)
    ledger.add(tasks.workload([1, 1]))
    return Run("recorded", ledger)


def test_times_count_from_when_there_were_tasks_and_a_worker():
    run = recorded(
        (1, Kind.PUBLISHED, "a", None),
        (1, Kind.PUBLISHED, "b", None),
        (5, Kind.CONNECTED, None, "Ada"),
        (5, Kind.DELIVERED, "a", "Ada"),
        (5, Kind.STARTED, "a", "Ada"),
        (7, Kind.FINISHED, "a", "Ada"),
        (7, Kind.ACKNOWLEDGED, "a", "Ada"),
        (8, Kind.REDELIVERED, "b", "Ada"),
        (8, Kind.STARTED, "b", "Ada"),
        (9, Kind.FINISHED, "b", "Ada"),
        (9, Kind.ACKNOWLEDGED, "b", "Ada"),
    )
    result = measure(run, Strategy(), tasks.workload([2, 1]), 1, 1.0)
    assert result.makespan == 4
    assert (result.waiting_median, result.waiting_95) == (1.5, 3)
    assert result.redelivered == 1
    assert result.throughput == 0.5
    assert result.ratio == pytest.approx(4 / 3)
    assert result.bound_ratio == pytest.approx(4 / 3)
    assert result.spread == 1


def test_a_run_in_which_nothing_happened_has_figures_too():
    result = measure(recorded(), Strategy(), tasks.equal(1), 1, 0.0)
    assert (result.makespan, result.throughput, result.ratio, result.waiting_95) == (0, 0, None, 0)
    assert "no prefetch limit" in str(Comparison((result,)))


# ---------------------------------------------------------------- the table


@pytest.fixture(scope="module")
def comparison(broker):
    with Lab("test-table", broker=broker, seconds_per_dot=0.02, progress=False, say=lambda text: None) as lab:
        strategies = [Strategy(), Strategy(prefetch=1, name="<fair & square>")]
        return lab.compare(strategies, tasks.alternating(6), 2, loads=False)


def test_the_table_is_text_in_a_terminal_and_a_table_in_a_notebook(comparison):
    headings = ("strategy", "makespan", "× greedy", "× bound", "waiting, median", "waiting, 95 %", "spread (Jain)",
                "redelivered", "done twice", "lost", "throughput")  # fmt: skip
    for shown in (repr(comparison), comparison._repr_html_()):
        for heading in headings:
            assert heading in shown
        assert "6 of 6" in shown
    assert "<fair & square>" in repr(comparison)
    assert "&lt;fair &amp; square&gt;" in comparison._repr_html_()
    assert comparison.text in repr(comparison)


@pytest.mark.parametrize("many", [1, 2, 4, 9])
def test_the_table_is_at_most_100_columns_wide(comparison, many):
    named = replace(comparison[0], name="prefetch 100, automatic ack, published first")
    lines = str(Comparison((named,) * many)).splitlines()
    assert max(map(len, lines[:-1])) <= 100  # the last is the sentence
    assert sum(line.count("6 of 6") for line in lines) == many


def test_a_result_is_found_by_its_place_and_by_its_name(comparison):
    assert comparison["no prefetch limit"] is comparison[0]
    assert [result.run for result in comparison] == comparison.runs
    with pytest.raises(KeyError, match="no prefetch limit"):
        comparison["prefetch 7"]


def test_what_is_saved_can_be_read_again(comparison, tmp_path):
    files = save(comparison, tmp_path / "new" / "folder")
    names = [path.name for path in files]
    assert names == ["1-no-prefetch-limit.jsonl", "2-fair-square.jsonl", "comparison.csv", "comparison.png"]
    assert Run.load(files[0]).counts.done == 6
    with files[2].open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["strategy"] for row in rows] == ["no prefetch limit", "<fair & square>"]
    assert float(rows[1]["makespan_seconds"]) == pytest.approx(comparison[1].makespan, abs=1e-5)
    assert float(rows[0]["ratio_to_greedy"]) == pytest.approx(comparison[0].ratio, abs=1e-5)
    assert files[3].read_bytes().startswith(b"\x89PNG")


# ---------------------------------------------------------------- the chart of the trade


def test_the_sweep_says_which_prefetch_was_best_on_either_side(comparison):
    chart = charts.sweep(comparison, comparison)
    for result in comparison:
        assert f"{result.makespan:.2f} s" in chart.sentence
        assert f"{result.throughput:,.0f}" in chart.sentence
    assert chart.title.startswith("Long tasks are soonest done with prefetch 1")
    assert chart.png().startswith(b"\x89PNG")


def test_a_sweep_needs_the_same_prefetches_on_both_sides(comparison):
    with pytest.raises(UsageError):
        charts.sweep(comparison, Comparison(comparison.results[:1]))


# ---------------------------------------------------------------- the relay


def test_a_relay_delays_each_way_and_keeps_the_order(broker):
    parameters = broker.parameters("test relay")
    with Relay(parameters, 0.05) as relay:
        connection = brokers.connect(relay.parameters_to(parameters))
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        before = time.perf_counter()
        channel.queue_declare(queue, passive=True)
        assert time.perf_counter() - before >= 0.1
        for number in range(200):
            channel.basic_publish("", queue, str(number).encode())
        got = []
        for _, _, body in channel.consume(queue, auto_ack=True, inactivity_timeout=30):
            got.append(int(body))
            if len(got) == 200:
                break
        assert got == list(range(200))
        connection.close()
    assert parameters.port != relay.port  # the original is as it was


def test_a_relay_that_is_closed_cuts_its_connections_and_its_thread_ends(broker):
    parameters = broker.parameters("test relay")
    relay = Relay(parameters, 0.0)
    connection = brokers.connect(relay.parameters_to(parameters))
    relay.close()
    relay.close()
    assert "relay" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(pika.exceptions.AMQPError):
        connection.channel()


@pytest.mark.parametrize("seconds", [-1, 11, "1", None, True])
def test_a_delay_that_makes_no_sense_is_refused(broker, seconds):
    with pytest.raises(UsageError):
        Relay(broker.parameters("test relay"), seconds)


# ---------------------------------------------------------------- the command


def labkit_compare(*arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "labkit", "compare", *arguments],
        capture_output=True, text=True, timeout=LIMIT, encoding="utf-8", check=False, **more,
    )  # fmt: skip


def test_the_command_prints_the_table_and_saves_it_all(broker, tmp_path):
    done = labkit_compare(
        "--workers", "1,3", "--workload", "equal:count=6,cost=1", "--strategy", "default", "--strategy", "prefetch=1",
        "--seconds-per-dot", "0.02", "--save", str(tmp_path / "results"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no prefetch limit" in done.stdout
    assert "6 of 6" in done.stdout
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == [
        "1-no-prefetch-limit.jsonl",
        "2-prefetch-1.jsonl",
        "comparison.csv",
        "comparison.png",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--workload", "huge"], "alternating"),
        (["--workload", "equal:size=3"], "count, cost"),
        (["--workload", "equal:count=many"], "count=5"),
        (["--workload", "equal:count=0"], "from 1 to"),
        (["--workers", "two"], "1,1,2"),
        (["--workers", "0"], "from 1 to"),
        (["--workers", "1,-1"], "more than 0"),
        (["--strategy", "prefetch=0.5"], "65535"),
    ],
)
def test_the_command_refuses_what_makes_no_sense_with_a_word_on_what_to_do(arguments, said, broker):
    done = labkit_compare(*arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
