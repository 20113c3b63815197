"""The benchmark runs from end to end, and its arithmetic is right."""

import io
import json
import os
import time
from contextlib import redirect_stdout

import pytest
from waiting import until

from labkit import management
from labkit.bench import costs, report, startup
from labkit.bench import other_clients as clients
from labkit.bench.costs import Way
from labkit.bench.rounds import Figure, Ratio, Took, alternate, clock
from labkit.commands import cli
from labkit.errors import LabError, UsageError
from labkit.lab import Lab, leftovers

QUICK = 60  # seconds that a quick look may take on a machine with nothing else to do


def test_a_quick_look_has_every_section_and_takes_less_than_a_minute(broker, tmp_path):
    path, began = tmp_path / "bench.json", time.monotonic()
    said = io.StringIO()
    with redirect_stdout(said):
        assert cli.main(["bench", "--quick", "--save", str(path)]) == 0
    busy = max(1.0, os.getloadavg()[0] / os.cpu_count()) if hasattr(os, "getloadavg") else 1.0
    assert time.monotonic() - began < QUICK * busy
    for title, _ in report.SECTIONS.values():
        assert title in said.getvalue()
    saved = json.loads(path.read_text())
    for what in ("machine", "cores", "python", "rabbitmq", "erlang", "pika", "labkit", "load_before"):
        assert what in saved["about"]
    sections = {section["name"]: section for section in saved["sections"]}
    assert list(sections) == list(report.SECTIONS)
    for name, section in sections.items():
        assert section["found"] or name == "clients", section["note"]
    names = [one["name"] for one in sections["workers"]["found"]]
    for manner in ("drained", "steady"):
        for mode in ("prefetch 1", "prefetch 10", "prefetch 100", "automatic"):
            assert f"{manner}, 2 workers, {mode}, bare pika loop" in names
    memory = [one for one in sections["scale"]["found"] if one["name"].startswith("ledger")]
    assert memory[0]["met"]  # of all the goals, the one that no busy machine disturbs


def test_the_bench_leaves_no_queue_behind(broker):
    report.run(broker, quick=True, only=["producer"], say=lambda _: None)
    with management.of(broker) as api:  # the listing may be some seconds old
        ours = f"lab.bench.{leftovers.owner()}"
        until(lambda: not api.queues(ours), lambda: f"the end of {api.queues(ours)}")


@pytest.mark.parametrize("argv", [["--only", "nothing"], ["--save", "/no/such/directory/bench.json"]])
def test_a_wrong_argument_is_refused_before_anything_is_measured(argv, broker, capsys):
    assert cli.main(["bench", "--quick", *argv]) == 1
    assert "→" in capsys.readouterr().err


# ---------------------------------------------------------------- arithmetic


def test_a_ratio_is_the_median_of_the_rounds_and_above_1_where_the_lab_is_faster():
    ours = iter([1.0, 1.0, 2.0, 2.0, 1.0, 1.0])
    others = iter([2.0, 2.0, 2.0, 2.0, 20.0, 20.0])  # one bad moment
    ratio = alternate(
        "one",
        lambda: Took(100, next(ours), 0.1),
        lambda: Took(100, next(others), 0.2),
        rounds=3,
        goal=0.95,
        other="another",
    )
    assert (ratio.ratio, ratio.low, ratio.high) == (2.0, 1.0, 20.0)
    assert (ratio.cpu_ratio, ratio.rate, ratio.other_rate) == (2.0, 100.0, 50.0)
    assert ratio.met


def test_the_two_are_run_in_the_order_a_b_b_a():
    order = []

    def run(name):
        order.append(name)
        return Took(1, 1.0, 1.0)

    alternate("one", lambda: run("a"), lambda: run("b"), rounds=2, goal=1, other="another")
    assert "".join(order) == "abbaabba"


def test_the_clock_counts_other_threads_only():
    with clock(1) as took:
        end = time.perf_counter() + 0.1
        while time.perf_counter() < end:
            pass
    assert took.seconds >= 0.1
    assert took.cpu < 0.05


def test_a_figure_without_a_limit_is_only_told():
    assert Figure("one", 1e9, "s").met
    assert not Figure("one", 3, "s", 2).met


def test_a_section_that_cannot_be_measured_does_not_end_the_others(broker, monkeypatch):
    def fail(*_):
        raise LabError("Something went wrong.")

    monkeypatch.setitem(report.SECTIONS, "start", ("The start", fail))
    found = report.run(broker, quick=True, only=["start"], say=lambda _: None)
    assert found.sections[0].note == "Not measured: Something went wrong."


# ---------------------------------------------------------------- clients, costs, start


@pytest.mark.parametrize("name", ["labkit", *clients.CLIENTS])
def test_a_client_does_all_of_its_messages(name, broker):
    if name != "labkit" and clients.installed()[name] is None:
        pytest.skip(f"{name} is not installed (tests/requirements.txt)")
    took = clients.one(broker, clients.Job(name, broker.amqp_url, "", 10, 50))
    assert took.count == 49
    assert took.seconds > 0


def test_a_client_that_fails_is_named_with_what_it_said(broker):
    with pytest.raises(LabError, match="nobody"):
        clients.one(broker, clients.Job("nobody", broker.amqp_url, "", 1, 10))


def test_rates_are_measured_in_turns_and_compared_by_the_round(broker):
    with Lab("bench-costs", broker=broker, progress=False, say=lambda _: None) as lab:
        ways = {"large": Way(size=20_000), "quorum": Way(queue_type="quorum", prefetch=1)}
        rates = costs.working(lab, ways, count=30, rounds=2)
        published = costs.publishing(lab, {"one": Way(confirms=True)}, count=30, rounds=1)
    assert [len(rounds) for rounds in rates.by_way.values()] == [2, 2]
    assert rates.median("large") > 0
    assert published.median("one") > 0
    rates.by_way = {"a": [10.0, 30.0, 10.0], "b": [5.0, 3.0, 5.0]}
    assert rates.times("a", "b") == 2


def test_nothing_to_measure_is_said(broker):
    with (
        Lab("bench-costs", broker=broker, progress=False, say=lambda _: None) as lab,
        pytest.raises(UsageError),
    ):
        costs.publishing(lab, {})


def test_the_steps_of_a_start_are_told(broker):
    assert [one.name for one in startup.quick(broker)][-1] == "a lab is opened and closed"


def test_what_is_said_on_the_side_is_no_step():
    assert startup.ASIDE.match("Port 5672 is not free; this broker takes 5680.")
    assert startup.ASIDE.match("  12 s")
    assert not startup.ASIDE.match("Making .venv…")


def test_ratios_and_figures_are_both_in_the_table():
    section = report.Section("one", [Figure("memory", 170, "bytes", 200)])
    section.found.append(Ratio("w", "bare", 90, 100, 0.9, 0.9, 0.9, 10, 9, 0.9, 1, 0.95))
    table = report._table(section)
    assert "✔ at most 200" in table
    assert "✘ 0.95" in table
