"""The chart of what outlived the broker says in words what it shows, whatever happened."""

import pytest

from labkit import charts
from labkit.errors import UsageError
from labkit.lab.survival import MESSAGES, QUEUES
from labkit.results.fates import Fate, Matrix


def matrix(name="After a graceful restart", sent=100, unsure=100, refused=False, confirmed=True):
    """What became of ``sent`` messages of each kind; ``unsure`` of those that are a race were kept."""
    gone = Fate(0, 0, refused=True) if refused else Fate(sent, None)
    fates = dict.fromkeys([("non-durable classic", message) for message in MESSAGES], gone)
    fates["durable classic", "transient"] = Fate(sent, 0)
    fates["durable classic", "persistent"] = Fate(sent, min(unsure, sent))
    fates |= {("quorum", message): Fate(sent, min(unsure, sent)) for message in MESSAGES}
    return Matrix(name, fates, confirmed)


def words(chart):
    return [text.get_text() for text in chart.texts]


def test_a_matrix_in_words():
    chart = charts.survival(matrix())
    assert chart.title == "After a graceful restart: 3 of 6 kinds of message were kept"
    assert "Non-durable classic: the queue was gone" in chart.sentence
    assert "Durable classic: 0 of 100 transient and 100 of 100 persistent messages kept." in chart.sentence
    assert words(chart).count("100 of 100") == 3
    assert words(chart).count("0 of 100") == 1
    assert words(chart).count("gone") == 2
    assert {"kept", "lost"} <= set(words(chart))
    assert {*QUEUES, "transient messages", "persistent messages"} <= set(words(chart))


def test_a_refused_queue_is_said_to_be_refused_and_not_counted():
    chart = charts.survival(matrix(refused=True))
    assert chart.title == "After a graceful restart: 3 of 4 kinds of message were kept"
    assert "Non-durable classic: refused by this RabbitMQ." in chart.sentence
    assert words(chart).count("refused") == 2
    assert "queue gone, with everything in it" not in words(chart)


def test_the_same_several_times():
    chart = charts.survival(
        [matrix("killed after 0 s"), matrix("killed after 0.1 s"), matrix("killed after 2 s")]
    )
    assert chart.title == "Confirmed: 3 of 6 kinds were kept, all 3 times"
    assert chart.sentence.startswith("Killed after 0 s, 0.1 s and 2 s. Non-durable")
    assert words(chart).count("0.1 s") == 6
    assert words(chart).count("100 of 100") == 9


def test_names_that_share_no_words_stay_whole():
    chart = charts.survival([matrix("restart"), matrix("kill"), matrix("restart")])
    assert chart.sentence.startswith("Restart, kill and restart. ")
    assert words(chart).count("kill") == 6


def test_a_race_shows_its_spread():
    chart = charts.survival(
        [matrix("0 s", sent=104, unsure=0, confirmed=False), matrix("2 s", unsure=100, confirmed=False)]
    )
    assert chart.title == "Not confirmed: what is kept is left to chance"
    assert "0 to 100 of 104 persistent" in chart.sentence
    assert "0 of 104" in words(chart)


@pytest.mark.parametrize("unsure", [0, 1, 99, 12_345])
def test_no_text_leaves_the_picture(unsure):
    chart = charts.survival(
        [matrix(f"{pause} s after the last", 12_345, unsure, confirmed=False) for pause in range(5)]
    )
    chart.canvas.draw()
    room = chart.bbox
    for text in chart.texts:
        box = text.get_window_extent()
        assert room.x0 <= box.x0 <= box.x1 <= room.x1, text
        assert room.y0 <= box.y0 <= box.y1 <= room.y1, text


def test_nothing_published_is_said():
    assert "No message" in charts.survival(Matrix("kill")).sentence
    assert "No message" in charts.survival([]).sentence


@pytest.mark.parametrize("other", [None, 5, "matrix", [1], {"a": 1}])
def test_something_else_is_refused(other):
    with pytest.raises(UsageError):
        charts.survival(other)


def test_a_prediction_stands_beside_the_outcome():
    said = dict.fromkeys(matrix(), "kept") | {("durable classic", "transient"): "messages lost"}
    chart = charts.survival(matrix(), predicted=said)
    assert words(chart).count("✔ you said: kept") == 3
    assert words(chart).count("✘ you said: kept") == 2
    assert words(chart).count("✔ you said: messages lost") == 1
    assert chart.sentence.endswith("4 of 6 predictions came true.")
    assert charts.survival(matrix(), predicted=None).sentence == charts.survival(matrix()).sentence
