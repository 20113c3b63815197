"""The charts say what the data say, in bars, in numbers and in a sentence, and nothing is cut off."""

from __future__ import annotations

import base64
import html
import random
import re
import subprocess
import sys
import time
from functools import cache

import foreigners
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.text import Text

from labkit import charts
from labkit.charts import chart as base
from labkit.charts import lettering as letters
from labkit.errors import UsageError
from labkit.ledger import Kind, Ledger
from labkit.loads import Load, Loads, Sample
from labkit.results.run import Run
from labkit.tasks import Task

LONG = "a-worker-with-a-very-long-name-in-the-cellar-of-the-house"


# Small runs, written by hand.


class Story:
    """A run told as events at times, in seconds."""

    def __init__(self, name=""):
        self.name, self.rows, self.loads, self.about, self.tasks = name, [], Loads(), {}, []

    def at(self, moment, kind, task=None, worker=None, note=None):
        self.rows.append((moment, kind, task, worker, note))
        return self

    def joins(self, *workers, moment=0.0, ack="manual"):
        self.ack = ack
        for worker in workers:
            self.at(moment, Kind.CONNECTED, None, worker, ack)
        return self

    def published(self, count):
        for number in range(1, count + 1):
            self.at(0.1, Kind.PUBLISHED, f"r-{number}")
            self.tasks.append(Task(f"r-{number}", b"", 1.0))
        return self

    def does(self, worker, number, start, end, again=False, how=Kind.FINISHED):
        task = f"r-{number}"
        self.at(start - 0.01, Kind.REDELIVERED if again else Kind.DELIVERED, task, worker)
        self.at(start, Kind.STARTED, task, worker)
        if how is not None:
            self.at(end, how, task, worker)
            if self.ack == "manual":
                self.at(end, Kind.ACKNOWLEDGED, task, worker)
        return self

    def counted(self, *loads, samples=()):
        self.loads = Loads(
            {load.worker: load for load in loads}, [Sample(at, (), r, u) for at, r, u in samples]
        )
        return self

    def told(self):
        """The run."""
        ledger = Ledger.of_the_past(sorted(self.rows, key=lambda row: row[0]))
        ledger.add(self.tasks)
        return Run(self.name, ledger, self.loads, self.about)


def even(workers=3, each=4, name=""):
    """Every worker does as many tasks, each of 0.5 seconds."""
    names = [f"worker-{number}" for number in range(1, workers + 1)]
    story = Story(name).joins(*names).published(workers * each)
    for number in range(workers * each):
        start = 0.1 + number // workers * 0.5
        story.does(names[number % workers], number + 1, start, start + 0.5)
    return story.counted(*(Load(name, each, each) for name in names)).told()


def crashed(ack="manual", name=""):
    """worker-2 crashes in its second task at 1.0 s; with manual acks worker-1 does the rest of its tasks."""
    story = Story(name).joins("worker-1", "worker-2", ack=ack).published(6)
    for place, number in enumerate((1, 3, 5)):
        story.does("worker-1", number, 0.2 + place, 1.2 + place)
    story.does("worker-2", 2, 0.2, 0.7).does("worker-2", 4, 0.7, 1.7, how=None)
    story.at(0.7, Kind.DELIVERED, "r-6", "worker-2").at(1.1, Kind.CRASHED, None, "worker-2")
    if ack == "manual":
        story.does("worker-1", 4, 3.2, 4.2, again=True).does("worker-1", 6, 4.2, 5.2, again=True)
        story.counted(Load("worker-1", 5, 5, 2), Load("worker-2", 3, 1, stale=True))
    else:
        story.counted(Load("worker-1", 3, automatic=3), Load("worker-2", 3, automatic=3, stale=True))
    return story.told()


def restarted():
    """The broker is away from 1.1 s to 6.1 s (1 s and 6 s after the first task)."""
    story = Story("restart").joins("worker-1", "worker-2").published(6)
    story.does("worker-1", 1, 0.2, 0.9).does("worker-2", 2, 0.2, 0.9)
    story.does("worker-1", 3, 1.0, 2, how=None).does("worker-2", 4, 1.0, 2, how=None)
    story.at(1.1, Kind.BROKER_DOWN).at(6.1, Kind.BROKER_UP)
    for worker in ("worker-1", "worker-2"):
        story.at(1.15, Kind.DISCONNECTED, None, worker).at(6.5, Kind.CONNECTED, None, worker, "manual")
    story.does("worker-1", 3, 6.6, 7.4, again=True).does("worker-2", 4, 6.6, 7.4, again=True)
    story.does("worker-1", 5, 7.5, 8.3).does("worker-2", 6, 7.5, 8.3)
    samples = [(0.1, 0, 0), (0.6, 4, 2), (1.05, 2, 2), (6.6, 4, 0), (7.2, 2, 2), (8.4, 0, 0)]
    return story.counted(Load("worker-1", 4, 3, 1), Load("worker-2", 4, 3, 1), samples=samples).told()


def many(workers, each=3, name="w"):
    names = [f"{name}-{number}" for number in range(workers)]
    dice, story = random.Random(workers), Story().joins(*names).published(workers * each)
    for at, worker in enumerate(names):
        start = 0.1
        for place in range(each):
            end = start + dice.uniform(0.05, 0.6)
            story.does(worker, at * each + place + 1, start, end)
            start = end + 0.01
    loads = [Load(name, each + at % 5, each, 0, at % 5) for at, name in enumerate(names)]
    samples = [(0.1, 0, 0), (0.7, workers * each, workers), (2.0, 0, 0)]
    return story.counted(*loads, samples=samples).told()


def written(chart):
    """Every text that is drawn; matplotlib keeps labels of ticks beyond an axis, and does not draw them."""
    beyond = set()
    for axes in chart.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if not low <= tick.get_loc() <= high:
                    beyond |= {tick.label1, tick.label2}
    return [
        text for text in chart.findobj(Text)
        if text.get_text() and text.get_visible() and text not in beyond
    ]  # fmt: skip


def words(chart):
    """Everything that is written in the chart."""
    return [text.get_text() for text in written(chart)]


def ready(*samples, **more):
    story = Story(**more).joins("w").published(1)
    return story.counted(Load("w"), samples=samples)


CHARTS = {
    "loads, even": lambda: charts.loads(even()),
    "loads, one worker": lambda: charts.loads(even(workers=1)),
    "loads, crash": lambda: charts.loads(crashed()),
    "loads, side by side": lambda: charts.loads([crashed("automatic", name="automatic"), crashed(name="manual")]),
    "loads, three runs": lambda: charts.loads({LONG: even(), "b": crashed(), "c": even(1, 2000)}),
    "loads, five runs": lambda: charts.loads([many(20), even(), crashed(), even(8), restarted()]),
    **{f"loads, {n} workers": lambda n=n: charts.loads(many(n, name=LONG)) for n in (2, 8, 9, 17, 64)},
    "loads, none": lambda: charts.loads(Story().told()),
    "timeline, even": lambda: charts.timeline(even()),
    "timeline, crash": lambda: charts.timeline(crashed()),
    "timeline, lost": lambda: charts.timeline(crashed("automatic")),
    "timeline, restart": lambda: charts.timeline(restarted()),
    "timeline, side by side": lambda: charts.timeline([even(2, name=LONG * 3), crashed(), restarted()]),
    **{f"timeline, {n} workers": lambda n=n: charts.timeline(many(n, name=LONG)) for n in (1, 2, 16, 17, 64)},
    **{f"timeline, foreign, {run.__name__}": lambda run=run: charts.timeline(run()) for run in foreigners.ALL},
    "timeline, foreign, many at a time": lambda: charts.timeline(foreigners.several(250)),
    "timeline, foreign, side by side": lambda: charts.timeline([run() for run in foreigners.ALL]),
    "comparison, foreign": lambda: charts.comparison([run() for run in foreigners.ALL]),
    "timeline, none": lambda: charts.timeline(Ledger()),
    "backlog, restart": lambda: charts.backlog(restarted()),
    "backlog, crowd": lambda: charts.backlog([many(64, name=LONG), restarted()]),
    "backlog, millions": lambda: charts.backlog(ready((0.1, 0, 0), (1, 9_876_543, 1_234_567), (2, 0, 0)).told()),
    "backlog, none": lambda: charts.backlog(even()),
    "comparison, two": lambda: charts.comparison([crashed("automatic", "automatic"), crashed()], 2.0),
    "comparison, long names": lambda: charts.comparison({LONG + f" {n}": even(2, n) for n in range(1, 13)}, 1.5),
    "comparison, crowds": lambda: charts.comparison([many(64), many(16)]),
    "comparison, none": lambda: charts.comparison([Ledger()]),
}  # fmt: skip


@cache
def drawn(name):
    """A chart of CHARTS, made and drawn once for all tests."""
    chart = CHARTS[name]()
    chart.canvas.draw()
    return chart


@pytest.fixture(params=CHARTS)
def any_chart(request):
    return drawn(request.param)


# What is true of all charts.


def test_nothing_is_cut_off(any_chart):
    renderer, room = any_chart.canvas.get_renderer(), any_chart.bbox
    for text in written(any_chart):
        box = text.get_window_extent(renderer)
        assert room.x0 - 1 <= box.x0 and box.x1 <= room.x1 + 1, text
        assert room.y0 - 1 <= box.y0 and box.y1 <= room.y1 + 1, text


def test_no_two_words_lie_upon_each_other(any_chart):
    renderer = any_chart.canvas.get_renderer()
    boxes = [(text, text.get_window_extent(renderer)) for text in written(any_chart)]
    for number, (text, box) in enumerate(boxes):
        for other, its in boxes[number + 1 :]:
            width = min(box.x1, its.x1) - max(box.x0, its.x0)
            height = min(box.y1, its.y1) - max(box.y0, its.y0)
            if width > 2 and height > 0.3 * min(box.height, its.height):
                pytest.fail(f"{text.get_text()!r} lies upon {other.get_text()!r}")


def test_letters_are_large_enough_for_the_back_row(any_chart):
    assert any_chart.get_figwidth() == 10
    small = {text.get_text() for text in written(any_chart) if text.get_fontsize() < 14}
    assert small == set()


def test_the_sentence_is_in_the_picture_and_is_its_alternative_text(any_chart):
    written = " ".join(words(any_chart))
    assert any_chart.sentence in written and any_chart.title in written
    bundle = any_chart._repr_mimebundle_()
    assert f'<img alt="{html.escape(any_chart.sentence)}"' in bundle["text/html"]
    assert bundle["text/html"].startswith("<figure") and bundle["text/html"].endswith("</figure>")
    assert any_chart.sentence in bundle["text/plain"]
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert any_chart.sentence.endswith(".") and any_chart.sentence[:1].strip()


def test_a_chart_is_no_figure_of_pyplots_and_does_not_load_it():
    code = (
        "import sys; from labkit import charts; from labkit.ledger import Ledger; "
        "charts.timeline(Ledger()).png(); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("draw", [charts.loads, charts.timeline, charts.backlog, charts.comparison])
@pytest.mark.parametrize("nonsense", [None, 7, "run", [1], []])
def test_what_is_no_run_is_refused_in_words(draw, nonsense):
    with pytest.raises(UsageError, match="drawn|no run"):
        draw(nonsense)


def test_a_dollar_sign_in_a_name_is_no_formula_and_a_strange_script_no_warning(recwarn):
    story = Story("price $x^2$").joins("w$1$", "工人-2").published(2).does("w$1$", 1, 0.2, 0.6)
    story.does("工人-2", 2, 0.2, 0.6).counted(Load("w$1$", 1, 1), Load("工人-2", 1, 1))
    for draw in (charts.loads, charts.timeline, charts.comparison):
        assert draw([story.told(), story.told()]).png()
        assert "w$1$" in " ".join(words(draw(story.told()))) or draw is charts.comparison
    assert [str(one.message) for one in recwarn if "lyph" in str(one.message)] == []


def test_a_chart_can_be_saved_to_a_file(tmp_path):
    charts.loads(even()).savefig(tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


# Text that fits.


def test_lines_are_as_wide_as_they_may_be_and_lose_no_word():
    text = "It is a truth universally acknowledged that a worker in possession of tasks " * 3
    lines = letters.fit(text, 4.0, 15)
    assert " ".join(lines).split() == text.split()
    assert all(letters.width_of(line, 15) <= 4.0 for line in lines)


def test_long_names_are_cut_so_that_they_can_still_be_told_apart():
    names = [f"the-machine-{number}.in.the.cellar.example.org" for number in range(12)]
    cut = letters.names_in(names, 1.5)
    assert len(set(cut)) == 12 and all("…" in name and letters.width_of(name) <= 1.5 for name in cut)
    assert letters.names_in(["a", "b"], 1.5) == ["a", "b"]


# Loads.


def bars(axes):
    return sorted(round(patch.get_width()) for patch in axes.patches)


def test_equal_loads_say_so_and_every_bar_has_its_value():
    chart = charts.loads(even(3, 4))
    assert chart.title == "3 workers, 4 tasks each"
    assert bars(chart.axes[0]) == [4] * 6
    assert words(chart).count("4 delivered") == words(chart).count("4 acknowledged") == 3
    assert chart.sentence == (
        "The broker delivered 4 to each of worker-1, worker-2 and worker-3. "
        "Broker and ledger agree: 12 deliveries and 12 acknowledgements."
    )


def test_redeliveries_and_a_worker_that_left_are_shown():
    chart = charts.loads(crashed())
    assert chart.title == "worker-1 got 5 deliveries, worker-2 3"
    assert bars(chart.axes[0]) == [1, 2, 3, 5, 5]
    assert {"2 redelivered", "0 redelivered", "1 acknowledged", "worker-2 (left)"} <= set(words(chart))
    assert "worker-2 left before the end. Broker and ledger agree: 8 deliveries" in chart.sentence


def test_automatic_acknowledgement_has_no_bars_for_acks():
    chart = charts.loads(crashed("automatic"))
    assert not any(
        "acknowledged" in word for word in words(chart) if word != chart.sentence and len(word) < 20
    )
    assert chart.title == "2 workers, 3 tasks each"
    assert "all acknowledged automatically" in chart.sentence


def test_unacknowledged_messages_are_shown_where_they_are():
    chart = charts.loads(Loads({"a": Load("a", 6, 0, 0, 6), "b": Load("b")}))
    assert chart.title == "a got all 6 tasks, b none"
    assert {"6 unacknowledged", "0 unacknowledged"} <= set(words(chart))
    assert "a holds 6 unacknowledged." in chart.sentence


def test_one_worker_that_had_everything_is_told_apart_from_the_other_or_the_others():
    one = {"a": Load("a", 1, 1)}
    assert charts.loads(Loads(one | {"b": Load("b")})).title == "a got the only task, b none"
    assert (
        charts.loads(Loads(one | {"b": Load("b"), "c": Load("c")})).title
        == "a got the only task, the others none"
    )


def test_a_chart_is_a_figure_with_everything_that_matplotlib_gives_it():
    chart = charts.loads(even(2, 3))
    chart.suptitle("in class, on Monday")
    chart.supxlabel("x")
    chart.text(0.5, 0.5, "a note")
    assert {"in class, on Monday", "a note"} <= set(words(chart))


def test_tasks_without_an_id_are_told_apart_by_their_delivery():
    assert [Task(f"worker-{worker}#{number}", b"").label for worker, number in ((1, 3), (1, 12))] == [
        "#3",
        "#12",
    ]


def test_loads_that_do_not_agree_with_the_ledger_say_by_how_much():
    run = even(2, 4)
    run.loads.final["worker-1"] = Load("worker-1", 3, 3, stale=True)
    assert "1 fewer delivery for worker-1 (its channel was gone" in charts.loads(run).sentence


def test_hatches_tell_the_bars_apart_without_colour():
    from labkit.charts.loads_chart import LOOKS as LOADS
    from labkit.charts.timeline_looks import LOOKS as SPANS

    for looks in (LOADS, SPANS):
        coloured = {(look.colour, look.hatch) for look in looks.values()}
        # What is acknowledged or rejected by a worker that is not seen looks like what is done or failed.
        assert len(coloured) == len(looks) - (2 if looks is SPANS else 0)
        strong = [look for look in looks.values() if look.edge == "white" and look.wide > 0.1]
        assert {look.colour for look in strong} <= {
            base.BLUE, base.GREEN, base.ORANGE, base.VERMILLION, base.PURPLE, base.SKY
        }  # fmt: skip
    assert len({look.hatch for look in LOADS.values()}) == len(LOADS)


def test_side_by_side_loads_have_one_scale():
    chart = charts.loads([even(2, 4, "few"), even(2, 8, "more")])
    few, more = (max(patch.get_window_extent().width for patch in axes.patches) for axes in chart.axes)
    assert more == pytest.approx(2 * few, rel=0.02)
    assert chart.title == "few: 2 workers, 4 tasks each; more: 2 workers, 8 tasks each"


def test_workers_are_in_the_order_in_which_they_were_set_up():
    run = even(3)
    run.about["workers"] = [{"name": f"worker-{number}"} for number in (3, 1, 2)]
    for draw in (charts.loads, charts.timeline):
        names = [word for word in words(draw(run)) if word.startswith("worker-")]
        assert names == ["worker-3", "worker-1", "worker-2"]


def test_no_figures_are_said_to_be_none_with_the_reason():
    chart = charts.loads(Loads(problem="Nothing answers at http://127.0.0.1:1."))
    assert chart.sentence.endswith("Nothing answers at http://127.0.0.1:1.")


# Timeline.


def spans(chart, colour):
    """The bars of this colour: (left, right) in seconds, rounded."""
    found = []
    for collection in (each for axes in chart.axes for each in axes.collections):
        if isinstance(collection, PolyCollection) and to_hex(collection.get_facecolor()[0]) == colour.lower():
            for path in collection.get_paths():
                xs = path.vertices[:, 0]
                found.append((round(float(min(xs)), 2), round(float(max(xs)), 2)))
    return sorted(found)


def test_a_bar_for_every_task_with_its_number():
    chart = charts.timeline(even(2, 3))
    assert chart.title == "2 workers, 6 tasks in 1.5 s"
    assert spans(chart, base.BLUE) == sorted([(0, 0.5), (0.5, 1), (1, 1.5)] * 2)
    assert {str(number) for number in range(1, 7)} <= set(words(chart))
    assert chart.sentence == (
        "In 1.5 s, each of worker-1 and worker-2 did 3 tasks and was busy 100% of the time."
    )


def test_an_idle_worker_is_in_the_title():
    story = Story().joins("a", "b").published(4)
    story.does("a", 1, 0.1, 2.1).does("a", 3, 2.1, 4.1).does("b", 2, 0.1, 0.3).does("b", 4, 0.3, 0.5)
    assert charts.timeline(story.told()).title == "2 workers, 4 tasks in 4.0 s; b idle 90% of the time"


def test_a_crash_with_manual_acks_shows_what_was_redelivered():
    chart = charts.timeline(crashed())
    assert chart.title == "worker-2 crashed, nothing lost: 2 tasks redelivered"
    assert spans(chart, base.ORANGE) == [(3.1, 4.1), (4.1, 5.1)]
    assert spans(chart, base.VERMILLION) == [(0.6, 1.0)]
    assert {"done", "redelivered", "cut off", "crash"} <= set(words(chart))
    assert "worker-2 crashed at 1.0 s. Redelivered were tasks 4 and 6. No task was lost." in chart.sentence


def test_a_crash_with_automatic_acks_names_the_lost_tasks():
    chart = charts.timeline(crashed("automatic"))
    assert chart.title == "worker-2 crashed: 2 of 6 tasks lost"
    assert "lost: 4, 6" in words(chart)
    assert "Lost are tasks 4 and 6." in chart.sentence


def test_the_brokers_absence_is_shaded_with_its_length():
    chart = charts.timeline(restarted())
    assert chart.title == "The broker was away for 5.0 s, and no task was lost"
    shade = [patch for patch in chart.axes[0].patches if patch.get_hatch() == "\\\\"]
    assert [(round(one.get_x(), 2), round(one.get_x() + one.get_width(), 2)) for one in shade] == [(1, 6)]
    assert "broker away 5.0 s" in words(chart)
    assert "The broker was away from 1.0 s to 6.0 s." in chart.sentence


def test_a_task_done_twice_and_a_failed_one_are_told():
    story = Story().joins("a", "b").published(2).does("a", 1, 0.2, 0.8).does("b", 1, 0.9, 1.2, again=True)
    chart = charts.timeline(story.does("b", 2, 1.3, 1.6, how=Kind.FAILED).told())
    assert "1 task was done twice. 1 attempt failed." in chart.sentence
    assert spans(chart, base.PURPLE) == [(1.2, 1.5)]


def test_runs_side_by_side_share_the_time_axis():
    chart = charts.timeline([even(2, 2, "short"), even(2, 6, "long")])
    assert chart.title == "short took 1.0 s, long 3.0 s"
    first, second = (axes.get_xlim() for axes in chart.axes[:2])
    assert first == second
    left = [axes.get_position().x0 for axes in chart.axes[:2]]
    assert left[0] == pytest.approx(left[1])


def test_workers_without_tasks_have_a_row():
    chart = charts.timeline(Story().joins("a", "b").told())
    assert chart.title == "2 workers, no task started"
    assert {"a", "b"} <= set(words(chart))


def test_a_hundred_thousand_tasks_are_drawn_within_two_seconds():
    ledger = Ledger()
    for number in range(8):
        ledger.record(Kind.CONNECTED, None, f"worker-{number}", "manual")
    for number in range(100_000):
        task, worker = f"r-{number}", f"worker-{number % 8}"
        for kind in (Kind.DELIVERED, Kind.STARTED, Kind.FINISHED, Kind.ACKNOWLEDGED):
            ledger.record(kind, task, worker)
    ledger.counts()
    took = []
    for _ in range(3):  # the least of three: others use this machine, too
        began = time.process_time()
        charts.timeline(ledger).png()
        took.append(time.process_time() - began)
        if took[-1] <= 2:
            break
    assert min(took) <= 2


def test_neighbours_thinner_than_a_pixel_are_one_bar_and_gaps_stay_gaps():
    import numpy as np

    from labkit.charts.timeline_rows import _merged

    start = np.array([0.0, 1.0, 5.0, 0.0, 0.5])
    stop = np.array([1.0, 2.0, 6.0, 3.0, 0.6])
    row = np.array([0.0, 0.0, 0.0, 1.0, 1.0])
    merged = [array.tolist() for array in _merged(start, stop, row, 0.1)]
    assert merged == [[0, 5, 0], [2, 6, 3], [0, 0, 1]]


# Backlog.


def test_the_curve_is_what_the_samples_say():
    run = ready((-0.5, 0, 0), (0.05, 0, 0), (0.6, 5, 3), (1.1, 2, 4), (2.1, 0, 0)).told()
    chart = charts.backlog(run)
    assert chart.title == "Up to 5 ready and 4 unacknowledged"
    ready_line, held_line = (
        [(round(x, 2), y) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]
        for line in chart.axes[0].lines if line.get_marker() == "o"
    )  # fmt: skip
    assert ready_line == [(0, 0), (0.5, 5), (1, 2), (2, 0)]
    assert held_line == [(0, 0), (0.5, 3), (1, 4), (2, 0)]
    assert chart.sentence == (
        "Ready: at most 5 (at 0.5 s), 0 at the end. Unacknowledged: at most 4 (at 1.0 s), 0 at the end."
    )


def test_a_forgotten_acknowledgement_grows_and_comes_back():
    story = ready((0.1, 0, 0), (1.1, 0, 10), (2.1, 0, 20), (3.1, 20, 0))
    chart = charts.backlog(story.at(2.6, Kind.STOPPED, None, "w").told())
    assert chart.title == "20 messages went unacknowledged, then all were ready again"
    assert {"w left", "20 ready", "0 unacknowledged"} <= set(words(chart))
    assert chart.sentence.endswith("In the meantime w left at 2.5 s.")
    chart = charts.backlog(ready((0.1, 0, 0), (1.1, 0, 10), (2.1, 0, 20)).told())
    assert chart.title == "Unacknowledged grew to 20 and stayed there"


def test_nobody_knows_a_backlog_while_the_broker_is_away():
    chart = charts.backlog(restarted())
    assert "broker away 5.0 s" in words(chart)
    assert "The broker was away from 1.0 s to 6.0 s." in chart.sentence
    curve = next(line for line in chart.axes[0].lines if line.get_drawstyle() == "steps-post")
    assert any(value != value for value in curve.get_ydata())  # a gap is not a number


@pytest.mark.parametrize(
    ("samples", "text"),
    [
        ([], "The run was over before the broker had been asked a second time."),
        ([(0.1, 1, 1)], "The run was over before the broker had been asked a second time."),
        ([(0.1, 0, 0), (1, 0, 0)], "Whenever the broker was asked, nothing was ready and nothing unacknowledged."),
    ],
)  # fmt: skip
def test_a_backlog_of_nothing_says_so(samples, text):
    assert text in charts.backlog(ready(*samples).told()).sentence


# Comparison.


def test_the_fastest_is_named_with_its_distance_from_the_best_possible():
    chart = charts.comparison({"slow": even(2, 6), "fast": even(2, 4)}, ideal=2.0)
    assert chart.title == "fast was fastest: 2.0 s, about the best possible"
    assert {"3.0 s", "1.5 × best", "2.0 s", "1.0 × best", "┆ best possible 2.0 s"} <= set(words(chart))
    assert [round(patch.get_width(), 2) for patch in chart.axes[0].patches] == [3.0, 2.0]
    assert chart.sentence == (
        "slow took 3.0 s (1.5 times the best possible) with its workers busy 100%; fast took 2.0 s "
        "(1.0 times the best possible) with its workers busy 100%. Nothing was lost, and nothing done twice."
    )


def test_lost_tasks_keep_a_strategy_from_winning():
    chart = charts.comparison([crashed("automatic", "automatic"), crashed(name="manual")])
    assert chart.title == "Only manual did all of its tasks"
    assert "automatic did 4 of 6 tasks. Lost: 2 with automatic." in chart.sentence
    assert "4 of 6 done" in words(chart)


def test_every_run_may_have_an_ideal_of_its_own():
    runs = {"a": even(2, 4), "b": even(2, 8)}
    for ideal in ([1.0, 2.0], {"a": 1.0, "b": 2.0}):
        assert words(charts.comparison(runs, ideal)).count("2.0 × best") == 2
    with pytest.raises(UsageError, match="2 runs and 3"):
        charts.comparison(runs, [1, 2, 3])


def test_how_busy_the_workers_were_is_a_little_bar_each():
    story = Story("x").joins("a", "b").published(2).does("a", 1, 0.1, 2.1).does("b", 2, 0.1, 0.6)
    chart = charts.comparison(story.told())
    shares = [round(patch.get_width(), 2) for patch in chart.axes[1].patches]
    assert shares == [1, 1, 1, 0.25]
    assert "25% to 100%" in words(chart)
    assert chart.title == "x took 2.0 s"


def test_even_strategies_are_said_to_be_even():
    assert charts.comparison([even(2, 4, "a"), even(2, 4, "b")]).title == "All took about the same time"


@pytest.mark.parametrize("ideal", ["fast", -1, True, [1.0], [1.0, "x"], {"a": "x"}])
def test_a_best_possible_time_that_is_none_is_refused(ideal):
    with pytest.raises(UsageError) as caught:
        charts.comparison([even(2, 4, "a"), even(2, 4, "b")], ideal=ideal)
    assert caught.value.field == "ideal"


def test_a_comparison_of_nothing_says_so():
    assert charts.comparison([Ledger()]).sentence == "No task was finished in any of these runs."


def test_every_sentence_is_free_of_nonsense(any_chart):
    for wrong in ("nan", "None", "inf ", "  ", " .", ",,", "1 tasks", "1 workers", "1 deliveries"):
        pattern = rf"(?<![\w,.]){re.escape(wrong)}" if wrong[0].isdigit() else re.escape(wrong)
        assert not re.search(pattern, any_chart.sentence.replace(LONG, "")), any_chart.sentence
