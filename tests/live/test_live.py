"""The live view: the picture says what the ledger says, costs little, and stays as a still."""

import json
import random
import re
import subprocess
import sys
import threading
import time

import foreigners
import nbclient
import nbformat
import pytest
from films import Film, panels, words
from waiting import until

from labkit import live, tasks
from labkit.errors import SavedRunError, UsageError
from labkit.lab import Lab
from labkit.ledger import Kind, Ledger, saved
from labkit.live import captions as in_words
from labkit.live import scene as scenes
from labkit.live.moment import State
from labkit.live.scene import Layout
from labkit.live.screen import Terminal
from labkit.live.still import picture
from labkit.results.run import Run

TIMEOUT = 60  # seconds, generous for a busy machine


def looks(scene):
    """How the boxes look, label by label (marks and sizes are dropped)."""
    return {box[6].lstrip("↻✓"): box[5].removesuffix(" tight") for box in scene["boxes"]}


def still(seat):
    return 0.5, 1.0


def scene_of(ledger, **more):
    state = State(ledger)
    state.read()
    return Layout(state).scene(now=1.0, pace=still, **more)


def some_history(seed, ledger, moves=400, crew=4):
    """What a queue and its workers might do, told to the ledger; yields after each move."""
    rng = random.Random(seed)
    queue, held, names = [], {}, [f"worker-{n}" for n in range(1, crew + 1)]
    published = tasks.random(moves, seed=seed)
    ledger.add(published)
    waiting = iter(published)
    for _ in range(moves):
        move, name = rng.random(), rng.choice(names)
        if name not in held:
            ledger.record(Kind.CONNECTED, None, name, rng.choice(["automatic", "manual"]))
            held[name] = []
        elif move < 0.3:
            task = next(waiting)
            ledger.record(Kind.PUBLISHED, task.id)
            ledger.record(Kind.CONFIRMED if move < 0.28 else Kind.RETURNED, task.id)
            if move < 0.28:
                queue.append(task.id)
        elif move < 0.6 and queue:
            held[name].append(queue.pop(0))
            ledger.record(rng.choice([Kind.DELIVERED, Kind.REDELIVERED]), held[name][-1], name)
        elif move < 0.9 and held[name]:
            task_id = held[name].pop(0)
            ledger.record(Kind.STARTED, task_id, name)
            ledger.record(Kind.FINISHED if move < 0.85 else Kind.FAILED, task_id, name)
            end = rng.choice([Kind.ACKNOWLEDGED, None, Kind.REQUEUED, Kind.DEAD_LETTERED, Kind.REJECTED])
            if end is not None and (move >= 0.85 or end == Kind.ACKNOWLEDGED):
                ledger.record(end, task_id, name)
        elif move < 0.93:
            ledger.record(rng.choice([Kind.CRASHED, Kind.STOPPED, Kind.DISCONNECTED]), None, name)
            del held[name]
        elif move < 0.95 and queue:
            ledger.record(Kind.LOST, queue.pop())
        yield


# ---------------------------------------------------------------- workers whose work is not seen


def at(ledger, moment):
    state = State(ledger)
    state.read(moment)
    scene = Layout(state).scene(now=moment, pace=still)
    return state, scene, [text for _, _, _, text in scene["words"]]


def test_a_foreign_worker_has_a_row_with_what_it_holds_and_what_it_answered():
    _, scene, words = at(foreigners.several(), 2.5)
    assert {"celery", "▷ holds tasks", "holds 4", "✔ 2", "acknowledged"} <= set(words)
    assert {label: look for label, look in looks(scene).items() if label != "#6"} == dict.fromkeys(
        ("#3", "#4", "#5"), "held"
    )
    assert looks(scene)["#6"] == "held again", "redelivered"
    assert not [panel for panel in scene["panels"] if panel[4] == "slot"], "nobody knows what it works on"


def test_what_one_at_a_time_works_on_is_shown():
    state, scene, words = at(foreigners.killed(), 2.5)
    assert looks(scene) == {"#3": "work", "#4": "work"}
    assert "▷ holds tasks" in words and "▶ working" not in words, "it may have forgotten to acknowledge"
    assert scene["say"] == "2 of 4 tasks acknowledged, 0 ready, 2 with workers."
    state, scene, words = at(foreigners.killed(), 3.5)
    assert "✕ no goodbye" in words
    assert scene["say"].endswith("worker.py 2 gone without a goodbye.")
    assert "crashed" not in in_words.text(state, still)


def test_so_many_at_once_are_said():
    assert {"holds 3", "2 at once"} <= set(at(foreigners.two_at_once(), 0.5)[2])


def test_what_is_handed_over_is_counted_and_nothing_is_said_of_the_work():
    state, scene, words = at(foreigners.handed_over(), 2.5)
    assert {"● connected", "⇥ 14", "handed over", "its work is", "not seen"} <= set(words)
    assert "given 14" in in_words.text(state, still)
    assert scene["say"] == "0 of 14 tasks done, 0 ready, 0 with workers, 14 handed over."


def test_a_crowd_of_foreign_workers_has_a_tile_each():
    for crew in (12, 40):
        said = [(0, f"w-{n}", "on", ("foreign", "foreign 1", "handed over")[n % 3]) for n in range(crew)]
        said += [(1, f"w-{n}", "to", n + 1) for n in range(crew)]
        words = at(foreigners.ledger(*said), 2)[2]
        assert sum("⇥" in word for word in words) == crew // 3 + (crew % 3 > 2)
        assert sum("working" in word or "idle" in word for word in words) == 0


@pytest.mark.parametrize("run", foreigners.ALL)
def test_every_moment_of_a_run_of_foreign_workers_can_be_drawn(run):
    ledger = run()
    for moment in (0.0, 0.5, 1.5, 2.1, 3.0, 7.0):
        state, scene, _ = at(ledger, moment)
        assert picture(scene) and in_words.text(state, still) and scene["say"].endswith(".")


# ---------------------------------------------------------------- the picture says what the ledger says


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_the_picture_counts_what_the_ledger_counts(seed):
    ledger = Ledger()
    state = State(ledger)
    for move, _ in enumerate(some_history(seed, ledger)):
        if move % 7 == 0:
            state.read()
            counts = ledger.counts()
            assert state.counts() == [number for _, number in counts.by_outcome()]
            assert state.done_twice == counts.done_twice
            # Who holds what, too.
            assert [list(seat.held) for seat in state.seats] == [
                list(seat.held) for seat in ledger.seats().values()
            ]


@pytest.mark.parametrize("crew", [1, 3, 8, 9, 24, 25, 64, 70])
def test_everything_stands_within_the_picture_whatever_the_number_of_workers(crew):
    ledger = Ledger()
    state = State(ledger)
    layout = Layout(state)
    for move, _ in enumerate(some_history(crew, ledger, moves=900, crew=crew)):
        if move % 50 == 0:
            state.read()
            scene = layout.scene(now=1.0, pace=still, title="a title")
            for _, x, y, width, height, *_ in scene["boxes"]:
                assert x >= 0
                assert x + width <= scenes.WIDTH
                assert y + height <= scene["height"]
            for x, y, width, height, _ in scene["panels"]:
                assert x + width <= scenes.WIDTH
                assert y + height <= scene["height"]
            assert scene["height"] <= 520  # it fits on a projector, with room for more


def test_tasks_in_a_row_do_not_overlap_and_heavy_ones_are_wider():
    ledger = Ledger()
    workload = tasks.alternating(10, heavy=5, light=1)
    ledger.add(workload)
    for task in workload:
        ledger.record(Kind.PUBLISHED, task.id)
    boxes = scene_of(ledger)["boxes"]
    assert [box[6] for box in boxes] == [str(number) for number in range(1, 11)]
    for left, right in zip(boxes, boxes[1:], strict=False):
        assert left[1] + left[3] < right[1]
    assert boxes[0][3] > 2 * boxes[1][3]


def test_what_has_no_room_in_the_queue_is_a_number():
    ledger = Ledger()
    workload = tasks.equal(500)
    ledger.add(workload)
    for task in workload:
        ledger.record(Kind.PUBLISHED, task.id)
    scene = scene_of(ledger)
    hidden = next(int(word[1:]) for word in words(scene) if re.fullmatch(r"\+\d+", word))
    assert hidden + len(scene["boxes"]) == 500
    assert "500 ready" in words(scene)


def test_a_broker_that_is_down_is_shown_and_told():
    ledger = Ledger()
    ledger.record(Kind.PUBLISHED, "t-1")
    ledger.record(Kind.BROKER_DOWN)
    scene = scene_of(ledger)
    assert "queue down" in panels(scene)
    assert "✕ the broker is down" in words(scene)
    assert "The broker is down." in scene["say"]
    ledger.record(Kind.BROKER_UP)
    assert "queue down" not in panels(scene_of(ledger))


def test_what_is_lost_rejected_or_unroutable_is_shown_by_name():
    ledger = Ledger()
    ledger.add(workload := tasks.equal(4))
    for task in workload:
        ledger.record(Kind.PUBLISHED, task.id)
    ledger.record(Kind.CONNECTED, None, "w", "manual")
    ledger.record(Kind.LOST, workload[0].id)
    ledger.record(Kind.RETURNED, workload[1].id)
    ledger.record(Kind.DELIVERED, workload[2].id, "w")
    ledger.record(Kind.DEAD_LETTERED, workload[2].id, "w")
    scene = scene_of(ledger)
    assert looks(scene) == {"1": "lost", "2": "dead", "3": "dead", "4": "wait"}
    assert {"1 lost", "1 unroutable", "1 dead-lettered"} <= set(words(scene))


def test_what_comes_back_to_the_queue_is_marked():
    ledger = Ledger()
    ledger.add(workload := tasks.equal(2))
    ledger.record(Kind.CONNECTED, None, "w", "manual")
    for task in workload:
        ledger.record(Kind.PUBLISHED, task.id)
    ledger.record(Kind.DELIVERED, workload[0].id, "w")
    ledger.record(Kind.CRASHED, None, "w")
    assert looks(scene_of(ledger)) == {"1": "wait again", "2": "wait"}


def test_a_worker_that_never_acknowledges_keeps_its_tasks_in_the_picture():
    ledger = Ledger()
    ledger.add(workload := tasks.equal(2))
    ledger.record(Kind.CONNECTED, None, "w", "forgotten")
    for task in workload:
        ledger.record(Kind.PUBLISHED, task.id)
        ledger.record(Kind.DELIVERED, task.id, "w")
        ledger.record(Kind.STARTED, task.id, "w")
        ledger.record(Kind.FINISHED, task.id, "w")
    assert looks(scene_of(ledger)) == {"1": "unacked", "2": "unacked"}


def test_many_workers_are_drawn_as_tiles_each_with_what_it_does_and_holds():
    ledger = Ledger()
    ledger.add(workload := tasks.equal(130))
    for number in range(64):
        ledger.record(Kind.CONNECTED, None, f"worker-{number + 1}", "manual")
    for number, task in enumerate(workload):
        ledger.record(Kind.PUBLISHED, task.id)
        ledger.record(Kind.DELIVERED, task.id, f"worker-{number % 64 + 1}")
        if number < 64:
            ledger.record(Kind.STARTED, task.id, f"worker-{number + 1}")
    ledger.record(Kind.CRASHED, None, "worker-64")
    scene = scene_of(ledger)
    assert panels(scene).count("worker working") == 63
    assert panels(scene).count("worker crashed") == 1
    assert sum(box[5].startswith("work") for box in scene["boxes"]) == 63
    assert words(scene).count("+2") == 2
    assert words(scene).count("+1") == 61
    assert "worker-64 crashed." in scene["say"]


# ---------------------------------------------------------------- it follows a real run


@pytest.fixture
def lab(broker):
    with Lab("live", broker=broker, seconds_per_dot=0.05, progress=False, say=lambda _: None) as lab:
        yield lab


def ended(thread):
    until(lambda: thread not in {one.name for one in threading.enumerate()}, f"the end of the {thread}")


def film(lab, **more):
    screen = Film()
    return live.Watch(lab, screen=screen, **more), screen.scenes


def test_the_picture_moves_while_the_run_goes_on_and_ends_on_its_last_frame(lab):
    queue = lab.queue("work")
    lab.workers(2, queue, prefetch=1)
    screen = Film()
    view, frames = live.Watch(lab, screen=screen), screen.scenes
    with view:
        run = lab.run(tasks.equal(20, cost=2), queue, timeout=TIMEOUT)
    assert view.problem is None
    seen = [int(re.search(r"(\d+) done", words(frame)[1])[1]) for frame in frames]
    assert seen == sorted(seen)  # never backwards
    assert len(set(seen)) >= 8  # it did not jump to the end
    assert screen.last["say"].startswith("20 of 20 tasks done")
    assert screen.last["now"] == pytest.approx(list(run.ledger.events())[-1].time, abs=0.05)
    assert any(len(box) == 9 and 0 < box[7] <= 1 for frame in frames for box in frame["boxes"])  # progress


def test_a_crash_is_seen_and_what_the_worker_had_is_marked_as_delivered_again(lab):
    queue = lab.queue("work")
    first, _ = lab.workers(2, queue, prefetch=3, speed=0.5)
    view, frames = film(lab)
    with view:
        lab.publish(queue, tasks.equal(12, cost=2))
        lab.wait(lambda: lab.ledger.finished_by(first.name), "something done", TIMEOUT)
        first.crash()
        lab.finish(timeout=TIMEOUT)
    crashed = [frame for frame in frames if "worker crashed" in panels(frame)]
    assert crashed
    assert "worker-1 crashed." in crashed[-1]["say"]
    assert any("again" in look for frame in crashed for look in looks(frame).values())


def test_tasks_lost_with_a_worker_stay_crossed_out_in_its_row(lab):
    queue = lab.queue("work")
    (worker,) = lab.workers(1, queue, ack="automatic")
    view, _ = film(lab)
    with view:
        lab.publish(queue, tasks.equal(6, cost=4))
        lab.wait(lambda: len(lab.ledger.delivered_to(worker.name)) == 6, "all pushed", TIMEOUT)
        worker.crash()
        run = lab.finish(timeout=TIMEOUT)
    last = view.scene
    lost = [label for label, look in looks(last).items() if look == "lost"]
    assert lost == [task.rpartition("-")[2] for task in run.ledger.lost()]
    assert words(last)[1].endswith(f"+  {len(lost)} lost")


def test_a_paused_worker_and_its_progress_stand_still(lab):
    queue = lab.queue("work")
    (worker,) = lab.workers(1, queue)
    view, frames = film(lab)
    with view:
        lab.publish(queue, tasks.equal(1, cost=20))
        lab.wait(lambda: worker.state == "working", "it works", TIMEOUT)
        worker.pause()
        lab.wait(lambda: "worker paused" in panels(frames[-1]), "the pause is drawn", TIMEOUT)
        share, rate = frames[-1]["boxes"][0][7:9]
        assert rate == 0  # the browser does not go on by itself either
        more = len(frames) + 2
        lab.wait(lambda: len(frames) >= more, "more frames", TIMEOUT)
        assert frames[-1]["boxes"][0][7] == pytest.approx(share, abs=0.02)
        worker.resume()
        lab.finish(timeout=TIMEOUT)


def test_without_a_block_the_view_ends_by_itself_with_the_experiment(lab):
    queue = lab.queue("work")
    lab.workers(1, queue)
    view, _ = film(lab)
    lab.run(tasks.equal(3), queue, timeout=TIMEOUT)
    ended("live view")
    assert view.scene["say"].startswith("3 of 3 tasks done")


def test_in_a_block_it_goes_on_from_one_experiment_to_the_next(lab):
    view, frames = film(lab)
    with view:
        for count in (3, 4):
            queue = lab.queue("work")
            lab.workers(1, queue)
            lab.run(tasks.equal(count), queue, timeout=TIMEOUT)
    said = [frame["say"] for frame in frames]
    assert any(sentence.startswith("3 of 3") for sentence in said)
    assert view.scene["say"].startswith("4 of 4")


def test_it_reads_every_event_once_and_no_more(lab, monkeypatch):
    read = []
    columns = Ledger.columns

    def counted(self, since=0):
        found = columns(self, since)
        read.append(len(found[0]))
        return found

    monkeypatch.setattr(Ledger, "columns", counted)
    queue = lab.queue("work")
    lab.workers(1, queue)
    view, _ = film(lab)
    run = lab.run(tasks.equal(2000, cost=0), queue, timeout=TIMEOUT)
    view.stop()
    assert len(run.ledger) <= sum(read) <= len(run.ledger) + 5
    assert sum(1 for count in read if count) > 3


def test_a_view_that_breaks_does_not_break_the_run(lab):
    class Broken(Film):
        def draw(self, scene, text):
            super().draw(scene, text)
            if len(self.scenes) == 2:
                raise RuntimeError("the browser has gone")

    queue = lab.queue("work")
    lab.workers(1, queue)
    with live.Watch(lab, screen=Broken()) as view:
        run = lab.run(tasks.equal(5), queue, timeout=TIMEOUT)
    assert run.counts.done == 5
    assert "gone" in str(view.problem)


def test_only_a_bench_can_be_watched():
    with pytest.raises(UsageError, match="no bench"):
        live.watch("01")


# ---------------------------------------------------------------- where it is shown


def test_in_a_terminal_the_lines_are_drawn_over_and_in_a_pipe_only_the_last_is_written(capsys, monkeypatch):
    into_pipe = Terminal()
    into_pipe.draw({}, lambda: "first")
    into_pipe.end({}, lambda: "last")
    assert capsys.readouterr().out == "last\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    terminal = Terminal()
    terminal.draw({}, lambda: "one\ntwo")
    terminal.draw({}, lambda: "three\nfour")
    assert "\x1b[2F" in capsys.readouterr().out


def test_the_text_has_a_line_for_the_queue_and_for_each_worker():
    ledger = Ledger()
    for _ in some_history(5, ledger, moves=60):
        pass
    state = State(ledger)
    state.read()
    lines = in_words.text(state, still).splitlines()
    assert lines[0].startswith(f"{ledger.counts().published} published")
    assert [line.split()[0] for line in lines[1:]] == ["queue", *ledger.workers]
    assert max(map(len, lines)) <= 80


def test_nothing_for_notebooks_is_imported_in_a_terminal():
    program = (
        "import sys; from labkit import live\n"
        "print([name for name in ('IPython', 'ipywidgets', 'anywidget', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_still_needs_no_script_and_says_in_words_what_it_shows():
    ledger = Ledger()
    for _ in some_history(3, ledger):
        pass
    still_picture = picture(scene_of(ledger, title="<Round & round>"), "1.0 s")
    assert "<script" not in still_picture
    assert "http" not in still_picture.replace("http://www.w3.org/2000/svg", "")
    assert f'aria-label="{ledger.counts().done} of' in still_picture
    assert "&lt;Round &amp; round&gt;" in still_picture


CELLS = [
    """
import threading
from labkit import live, tasks
from labkit.lab import Lab
lab = Lab("live-notebook")
lab.seconds_per_dot = 0.02
queue = lab.queue("work")
lab.workers(2, queue, prefetch=1)
with live.watch(lab):                       # the cell waits
    lab.run(tasks.equal(10), queue)
""",
    """
queue = lab.queue("work")
lab.workers(2, queue, prefetch=1)
view = live.watch(lab)                      # the cell returns at once
producer = lab.publish(queue, tasks.equal(10), wait=False)
""",
    """
run = lab.finish()
view._thread.join(30)
replay = live.replay(run, speed=10)
assert replay.wait(30)
replay.stop()
lab.close()
""",
]


def test_the_last_frame_stays_in_the_notebook_whether_the_cell_waited_or_not(broker, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    for cell in notebook.cells:
        bundles = [output.data for output in cell.outputs if "data" in output]
        assert len(bundles) == 1
        assert "<svg" in bundles[0]["text/html"]
        assert "10 of 10 tasks done" in bundles[0]["text/html"]
        assert "10 published" in bundles[0]["text/plain"]
        assert "application/vnd.jupyter.widget-view+json" not in bundles[0]


# ---------------------------------------------------------------- played back


@pytest.fixture(scope="module")
def recorded():
    """A run that was never on any broker: one worker, three tasks of a second each, the last one crashes."""
    lines = [
        {"ledger": 1, "started_at": 0.0},
        *({"task": f"t-{n}", "cost": 2.0, "kind": "dots"} for n in (1, 2, 3)),
        [0.0, "CONNECTED", None, "w", "manual"],
        *([0.1, "PUBLISHED", f"t-{n}", None, None] for n in (1, 2, 3)),
        *([0.2, "DELIVERED", f"t-{n}", "w", None] for n in (1, 2, 3)),
        [1.0, "STARTED", "t-1", "w", None],
        [2.0, "FINISHED", "t-1", "w", None],
        [2.0, "ACKNOWLEDGED", "t-1", "w", None],
        [2.0, "STARTED", "t-2", "w", None],
        [3.0, "FINISHED", "t-2", "w", None],
        [3.0, "ACKNOWLEDGED", "t-2", "w", None],
        [3.0, "STARTED", "t-3", "w", None],
        [3.5, "CRASHED", None, "w", None],
        {"events": 15},
    ]
    return Run("recorded", saved.ledger([json.dumps(line) for line in lines]))


@pytest.fixture
def replay(recorded):
    playing = live.Replay(recorded, screen=Film())
    playing.pause()
    yield playing
    playing.stop()


def test_a_replay_shows_the_moment_it_is_put_to_forwards_and_backwards(replay):
    for moment, said in ((3.2, "2 of 3"), (1.5, "0 of 3"), (2.5, "1 of 3")):
        replay.go_to(moment)
        assert replay.scene["say"].startswith(said)
    assert looks(replay.scene)["2"] == "work"
    assert replay.scene["boxes"][0][7] == pytest.approx(0.5)  # half a second of the second it took
    replay.go_to(99)
    assert "w crashed." in replay.scene["say"]


def test_a_replay_goes_on_one_event_at_a_time(replay):
    replay.go_to(1.5)
    replay.step()
    assert replay.position == 2.0
    replay.step()
    assert replay.position == 3.0
    assert not replay.playing


def test_a_replay_is_as_fast_as_it_is_told(recorded):
    began = time.monotonic()
    playing = live.Replay(recorded, speed=10, screen=Film())
    assert playing.wait(TIMEOUT)
    assert 0.3 <= time.monotonic() - began < 0.8 * playing.length  # not as long as the run itself took
    playing.speed = 0.5
    playing.play()  # from the beginning again
    assert playing.playing
    assert playing.position < 1
    playing.stop()
    ended("replay")


@pytest.mark.parametrize("speed", [0.4, 11, "fast", None])
def test_a_replay_of_another_speed_is_refused(recorded, speed):
    with pytest.raises(UsageError, match="speed"):
        live.Replay(recorded, speed=speed, screen=Film())


def test_a_saved_run_is_played_with_no_broker_at_hand(recorded, tmp_path, capsys):
    playing = live.replay(recorded.save(tmp_path / "run.jsonl"), speed=10)
    assert playing.wait(TIMEOUT)
    ended("replay")
    assert "2 done" in capsys.readouterr().out
    (tmp_path / "other.txt").write_text("no run")
    with pytest.raises(SavedRunError):
        live.replay(tmp_path / "other.txt")


def test_a_run_in_which_nothing_happened_cannot_be_played():
    with pytest.raises(UsageError, match="no events"):
        live.replay(Run("empty", Ledger()))


def test_what_others_had_is_counted_in_the_picture_and_in_its_words():
    ledger = Ledger()
    for number, kind in enumerate((Kind.DONE_ELSEWHERE, Kind.HANDED_OVER, Kind.LOST), 1):
        ledger.record(Kind.PUBLISHED, f"t-{number}")
        ledger.record(kind, f"t-{number}")
    scene = scene_of(ledger)
    said = "3 published  =  0 ready  +  0 with workers  +  0 done  +  1 lost  +  1 handed over  +  1 done elsewhere"
    assert said in words(scene)
    assert scene["say"] == (
        "0 of 3 tasks done, 0 ready, 0 with workers, 1 lost, 1 handed over, 1 done elsewhere."
    )
    assert {"1 lost", "1 handed over", "1 done elsewhere"} <= set(words(scene))


def test_a_replay_knows_when_a_foreign_worker_will_answer():
    playing = live.Replay(Run("killed", foreigners.killed()), screen=Film())
    try:
        playing.pause()
        playing.go_to(2.5)
        boxes = {box[6].lstrip("↻"): box[7:] for box in playing.scene["boxes"]}
    finally:
        playing.stop()
    assert boxes["#3"][0] == 0.5, "delivered at 1 s, answered at 4 s"
