"""The playground: from code, with its controls, and in a browser."""

import json
import re
import subprocess
import sys
import threading
import time

import pytest
from browsing import READY, RUN, keep_notebooks_as_they_are, open_notebook, run_all
from films import Film, panels, words
from waiting import until

from labkit import management, tasks
from labkit.commands import playground_command as command
from labkit.commands import start_command as start
from labkit.compare import Strategy
from labkit.errors import LabError, SavedRunError, UsageError
from labkit.lab import Lab
from labkit.ledger import Kind
from labkit.playground import Happening, Playground, Settings, happen
from labkit.playground.panel import Panel
from labkit.tasks import WORKLOADS

TIMEOUT = 90  # seconds, generous for a busy machine
SHORT = Settings(
    options={"count": 8, "heavy": 4, "light": 1},
    speeds=(1.0, 1.0),
    strategies=(Strategy(), Strategy(prefetch=1)),
    seconds_per_dot=0.05,
)
LONG = Settings(
    workload="equal",
    options={"count": 100, "cost": 10},
    speeds=(1.0, 1.0),
    strategies=(Strategy(prefetch=2), Strategy(ack="automatic")),
)


@pytest.fixture
def screen():
    return Film()


@pytest.fixture
def playground(broker, screen):
    made = Playground(SHORT, screen=screen, broker=broker)
    yield made
    made.stop()


def at_work(playground):
    """Wait until tasks are being done."""
    until(lambda: playground._lab is not None and playground._lab.ledger.counts().done >= 2, "tasks are done")


def left_behind(broker):
    """What of a playground is still there: threads, connections, queues."""
    api = management.of(broker)
    threads = [
        one.name
        for one in threading.enumerate()
        if one.name.startswith(("worker-", "producer", "live", "load", "happening", "playground", "restart"))
    ]
    names = [one.user_provided_name or "" for one in api.connections()]
    connections = [name for name in names if name.startswith(("worker-", "producer", "lab playground"))]
    queues = [one.name for one in api.queues("lab.playground")]
    return threads + connections + queues


# ---------------------------------------------------------------- from code


def test_every_strategy_is_run_on_the_same_tasks_and_seen(playground, screen):
    results = playground.run()
    assert [result.name for result in results] == ["no prefetch limit", "prefetch 1"]
    assert [result.done for result in results] == [8, 8]
    titles = {words(scene)[0] for scene in screen.scenes}
    assert {"no prefetch limit  (1 of 2)", "prefetch 1  (2 of 2)"} <= titles
    assert playground.message == results.text


def test_what_is_to_go_wrong_goes_wrong_in_every_strategy(playground):
    crash = Happening("crash", "worker-1", after=0.2)
    playground.run(
        Settings(
            **{**vars(SHORT), "happenings": (crash,), "strategies": (Strategy(), Strategy(ack="automatic"))}
        )
    )
    for result in playground.results:
        crashed = list(result.run.ledger.events({Kind.CRASHED}))
        assert [event.worker for event in crashed] == ["worker-1"]
    assert [result.lost > 0 for result in playground.results] == [False, True]


def test_something_may_happen_in_one_run_only(broker):
    with Lab("happen", broker=broker, seconds_per_dot=0.05, progress=False) as lab:
        strategies = [Strategy(), Strategy(prefetch=1)]
        with (
            happen(lab, "pause", "worker-2", after=0.1, which=2),
            happen(lab, "resume", "worker-2", after=0.5),
        ):
            results = lab.compare(strategies, tasks.equal(10, cost=2), timeout=TIMEOUT)
    paused = [[event.worker for event in one.run.ledger.events({Kind.PAUSED})] for one in results]
    assert paused == [[], ["worker-2"]]


@pytest.mark.parametrize("what", ["dance", "crash", ""])
def test_what_cannot_happen_is_refused_at_once(what):
    with pytest.raises(UsageError):
        happen(None, what)


def test_what_is_done_by_hand_happens_and_is_written_down_as_code(playground, screen):
    playground.start(LONG)
    at_work(playground)
    playground.act("crash", "worker-1")
    with pytest.raises(UsageError, match="worker-1 is not at work"):
        playground.act("slow down", "worker-1")
    playground.act("slow down", "worker-2")
    until(lambda: any("worker crashed" in panels(one) for one in screen.scenes), "the crash is seen")
    assert playground._lab.active[1].speed == 0.5
    playground.stop()
    assert re.search(r'happen\(lab, "crash", "worker-1", after=\d+\.?\d*, which=1\)', playground.code())
    assert 'happen(lab, "slow down", "worker-2"' in playground.code()


def test_nothing_can_happen_when_nothing_runs(playground):
    with pytest.raises(UsageError, match="Nothing is running"):
        playground.act("crash", "worker-1")


def test_the_code_that_is_printed_does_the_same(tmp_path, broker):
    settings = Settings(**{**vars(SHORT), "happenings": (Happening("crash", "worker-1", after=0.1),)})
    program = tmp_path / "program.py"
    program.write_text(settings.code((Happening("speed up", "worker-2", 0.1, which=2),)))
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    assert "no prefetch limit" in done.stdout
    assert "prefetch 1" in done.stdout
    assert "crashed" in done.stdout  # the live view, as text


def test_stopping_in_the_middle_leaves_no_thread_connection_or_queue(playground, broker):
    playground.start(LONG)
    at_work(playground)
    began = time.monotonic()
    playground.stop()
    assert time.monotonic() - began < 30
    assert not playground.running
    until(lambda: not left_behind(broker), f"nothing is left but {left_behind(broker)}")
    assert playground.message == "Stopped."


def test_a_second_run_begins_at_once_after_a_stop_and_after_an_end(playground):
    playground.start(LONG)
    at_work(playground)
    playground.stop()
    assert len(playground.run(SHORT)) == 2
    assert len(playground.run()) == 2


def test_two_comparisons_at_the_same_time_are_refused(playground):
    playground.start(LONG)
    with pytest.raises(UsageError, match="under way"):
        playground.start()


def test_a_broker_that_is_restarted_in_the_middle_is_shown_and_nothing_is_lost(playground, broker, screen):
    playground.start(
        Settings(**{**vars(LONG), "options": {"count": 12, "cost": 8}, "strategies": (Strategy(prefetch=1),)})
    )
    at_work(playground)
    playground.act("restart broker")
    with pytest.raises(UsageError, match="on its way"):
        playground.act("kill broker")
    until(lambda: not playground.running, "the end of the comparison", 2 * TIMEOUT)
    assert playground.problem is None
    assert playground.results[0].run.counts.done == 12
    assert any("queue down" in panels(scene) for scene in screen.scenes)
    assert playground.results[0].run.ledger.downtimes()


def test_a_comparison_is_saved_and_loaded_with_its_settings(playground, tmp_path, broker):
    before = playground.run()
    playground.save(tmp_path / "kept")
    film = Film()
    other = Playground(screen=film, broker=broker)
    after = other.load(tmp_path / "kept")
    assert other.settings == SHORT
    assert [one.makespan for one in after] == pytest.approx([one.makespan for one in before], abs=1e-4)
    assert [one.greedy for one in after] == pytest.approx([one.greedy for one in before])
    single = other.load(tmp_path / "kept" / "2.jsonl")
    assert [one.name for one in single] == ["prefetch 1"]
    replay = other.replay(1, speed=10)
    assert replay.wait(TIMEOUT)
    replay.stop()
    assert film.last["say"].startswith("8 of 8")
    compile((tmp_path / "kept" / "program.py").read_text(), "program.py", "exec")


def test_a_folder_that_is_no_saved_comparison_is_refused(playground, tmp_path):
    with pytest.raises(SavedRunError):
        playground.load(tmp_path)
    (tmp_path / "1.jsonl").write_text("no run")
    with pytest.raises(SavedRunError):
        playground.load(tmp_path)
    with pytest.raises(UsageError, match="nothing to save"):
        playground.save(tmp_path)


def test_a_broker_that_cannot_be_had_is_told_and_ends_the_comparison(playground, monkeypatch):
    monkeypatch.setattr("labkit.playground.playground.Lab", lambda *_, **__: 1 / 0)
    playground.start()
    until(lambda: not playground.running, "it ends")
    assert "failed" in playground.message
    monkeypatch.undo()
    assert len(playground.run()) == 2


# ---------------------------------------------------------------- what is chosen


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_workload_begins_with_options_that_make_sense(name):
    settings = Settings(workload=name, options=WORKLOADS[name].example)
    assert settings.problems() == {}
    assert f"tasks.{name}(" in settings.code()
    assert Settings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"options": {"count": 0, "heavy": "x", "light": 1}}, {"count", "heavy"}),
        ({"workload": "random", "options": {"count": 3, "seed": 1, "low": 5, "high": 2}}, {"low"}),
        ({"workload": "nonsense"}, {"workload"}),
        ({"options": {"count": 5, "taste": 1}}, {"workload"}),
        ({"options": {"count": 10_000_000}}, {"count"}),
        ({"options": {"count": 10_000}}, {"count"}),
        ({"speeds": ()}, {"speeds"}),
        ({"speeds": (1,) * 65}, {"speeds"}),
        ({"speeds": (1, 0)}, {"speeds"}),
        ({"speeds": (1, "fast")}, {"speeds"}),
        ({"strategies": ()}, {"strategies"}),
        ({"strategies": (Strategy(),) * 2}, {"strategies"}),
        ({"strategies": tuple(Strategy(prefetch=n) for n in range(1, 6))}, {"strategies"}),
        ({"seconds_per_dot": -1}, {"seconds_per_dot"}),
        ({"seconds_per_dot": float("nan")}, {"seconds_per_dot"}),
        ({"happenings": (Happening("dance"),)}, {"happenings"}),
        ({"happenings": (Happening("crash", "worker-1", after=-1),)}, {"happenings"}),
        ({"happenings": (Happening("crash", "worker-1", after="soon"),)}, {"happenings"}),
    ],
)
def test_a_bad_setting_is_named_and_refused(changes, wrong):
    settings = Settings(**changes)
    assert set(settings.problems()) == wrong
    with pytest.raises(UsageError, match=next(iter(settings.problems()))):
        Playground(settings).start()


# ---------------------------------------------------------------- its controls, without a browser


@pytest.fixture
def panel(playground):
    made = Panel(playground)
    yield made
    made._end_replay()


def test_what_is_wrong_is_said_beside_the_control_and_nothing_can_be_run(panel):
    count = panel.controls.options["count"]
    count.control.value = "many"
    assert "Use a whole number" in count._problem.value
    assert panel.run.disabled
    panel.controls.rows[1].prefetch.value = "-3"
    assert "prefetch is -3" in panel.controls.rows[1]._problem.value
    panel.controls.speeds.control.value = "1, fast"
    assert "above 0" in panel.controls.speeds._problem.value
    count.control.value, panel.controls.speeds.control.value = "4", "1, 2"
    panel.controls.rows[1].prefetch.value = "3"
    assert not panel.run.disabled
    assert panel.controls.settings.strategies[1] == Strategy(prefetch=3)
    assert panel.controls.settings.speeds == (1, 2)
    assert count._problem.value == ""


def test_the_number_of_workers_and_their_speeds_agree(panel):
    panel.controls.speeds.control.value = "1 2"
    panel.controls.count.value = 4
    assert panel.controls.settings.speeds == (1, 2, 1, 1)
    panel.controls.count.value = 1
    assert panel.controls.settings.speeds == (1,)
    panel.controls.speeds.control.value = "1, 2, 3"
    assert panel.controls.count.value == 3


def test_each_workload_has_its_own_options(panel):
    for name, recipe in WORKLOADS.items():
        panel.controls.workload.value = name
        assert list(panel.controls.options) == list(recipe.example)
        assert panel.controls.settings.workload == name


def test_the_page_code_follows_the_controls(panel):
    panel.controls.rows[2].used.value = True
    panel.controls.rows[2].ack.value = "automatic"
    panel.controls.mishap.value = "worker-1 crashes"
    code = panel.pages["Code"].value.replace("&quot;", '"')
    assert 'Strategy(ack="automatic")' in code
    assert 'happen(lab, "crash", "worker-1", after=1)' in code


def test_a_strategy_keeps_what_has_no_control(broker):
    strategy = Strategy(prefetch=1, priorities=(5, 0), confirms=False, name="mine")
    panel = Panel(Playground(Settings(strategies=(strategy,)), broker=broker))
    assert panel.controls.settings.strategies == (strategy,)


# ---------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def site():
    """The server of ``labkit playground``; gives the address of its page."""
    keep_notebooks_as_they_are()
    with start.jupyterlab(None, False, command.PAGE, command.page_options()) as server:
        yield start.wait_until_ready(server, command.PAGE)


def press(page, name):
    page.get_by_role("button", name=name).click()


def frames(page):
    return int(page.locator(".lk-live").first.get_attribute("data-frames"))


def wait_for_message(page, pattern):
    page.wait_for_function(
        f"() => /{pattern}/.test(document.querySelector('.lkp-message').innerText)", timeout=RUN
    )


def choose(page, row, prefetch, ack="manual"):
    line = page.locator(".lkp-strategy").nth(row)
    line.locator("input[type=checkbox]").set_checked(True)
    line.locator("input[type=text]").fill(prefetch)
    line.locator("select").first.select_option(ack)


@pytest.mark.timeout(600)
def test_a_class_compares_two_strategies_on_the_page(page, site, broker):
    failed = []
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.goto(site)
    page.locator(".lkp").wait_for(timeout=READY)
    # It fits on a projector: the live view is at the top of a page that does not scroll.
    view = page.locator(".lk-live svg").first.bounding_box()
    assert view["y"] >= 0
    assert view["y"] + view["height"] <= 720
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
    assert page.get_by_text("import show").count() == 0  # no code
    assert not [
        url for url in failed if "fontawesome" in url
    ]  # nothing that the page needs is on the network

    # A bad setting is refused beside its control.
    choose(page, 0, "-1")
    page.get_by_text("prefetch is -1").wait_for(timeout=RUN)
    page.locator("button:disabled", has_text="▶ Run").wait_for(timeout=RUN)

    # Two strategies.
    choose(page, 0, "")
    choose(page, 1, "1")
    page.get_by_text("prefetch is -1").wait_for(state="hidden", timeout=RUN)
    press(page, "▶ Run")
    page.locator(".lk-task.work").first.wait_for(timeout=RUN)
    before = frames(page)
    page.wait_for_function(
        f"() => document.querySelector('.lk-live').dataset.frames > {before + 5}", timeout=RUN
    )
    press(page, "✕ Crash")
    page.locator(".lk-panel.worker.crashed").wait_for(timeout=RUN)
    page.locator(".lk-task.again").first.wait_for(timeout=RUN)
    wait_for_message(page, "Fastest")
    page.locator(".lkp-results img[alt]").first.wait_for(timeout=RUN)
    page.get_by_role("tab", name="Table").click()
    page.get_by_role("columnheader", name="prefetch 1").wait_for(timeout=RUN)
    page.get_by_role("tab", name="Code").click()
    page.get_by_text('happen(lab, "crash", "worker-1"').wait_for(timeout=RUN)
    # What a screen reader is told comes a few seconds after it was drawn.
    page.locator(".lk-live [role=status]", has_text="32 of 32 tasks done").wait_for(
        state="attached", timeout=RUN
    )

    # A second one at once, and stopped in the middle.
    press(page, "▶ Run")
    page.locator(".lk-task.work").first.wait_for(timeout=RUN)
    press(page, "■ Stop")
    wait_for_message(page, "Stopped")
    until(lambda: not left_behind(broker), "nothing is left")


@pytest.mark.timeout(600)
def test_a_kernel_restarted_in_the_middle_leaves_nothing_in_the_way_of_the_next_run(page, site, broker):
    open_notebook(page, site.replace("voila/render", "lab/tree"), "playground")
    run_all(page)
    page.locator(".lkp").wait_for(timeout=RUN)
    press(page, "▶ Run")
    page.locator(".lk-task.work").first.wait_for(timeout=RUN)
    assert left_behind(broker)
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_role("menuitem", name="Restart Kernel and Run All Cells…").click()
    page.locator(".jp-Dialog button.jp-mod-accept").click()
    page.get_by_text("Choose, and press Run").wait_for(timeout=RUN)
    press(page, "▶ Run")
    wait_for_message(page, "Fastest")
    until(lambda: not left_behind(broker), "nothing is left")


def test_a_lab_error_on_the_page_is_two_sentences_and_no_traceback():
    assert LabError("What happened.", do="What to do.")._render_traceback_() == [
        "LabError: What happened.",
        "→ What to do.",
    ]
