"""What the tests share: a real broker, a connection to it, and queues that are gone afterwards."""

import contextlib
import os
import signal
import uuid
from pathlib import Path

import pika.exceptions
import pytest

ROOT = Path(__file__).resolve().parents[1]
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # begun in the background: what we start would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
process = os.environ.pop("PYTEST_XDIST_WORKER", None)  # ours, and not that of the programs that we start
if process:  # of a parallel run: each has a broker of its own
    os.environ["LABKIT_HOME"] = str(Path(os.environ.get("LABKIT_HOME", ROOT)) / ".labkit" / "tests" / process)
    os.environ["COMPOSE_PROJECT_NAME"] = (
        f"{os.environ.get('COMPOSE_PROJECT_NAME', 'labkit-test')}-{os.getppid()}-{process}"
    )

from labkit import brokers  # noqa: E402
from labkit.errors import LabError  # noqa: E402
from labkit.setup import bootstrap, machine  # noqa: E402 (the home is read when it is imported)

bootstrap.make_importable()  # for the kernels and programs that tests start, in whatever folder


def pytest_addoption(parser):
    parser.addoption("--storms", type=int, default=None, help="how many storms to run (tests/storms)")
    parser.addoption("--storm-seed", type=int, default=None, help="run this one storm again")
    parser.addoption(
        "--leftovers", type=int, default=None, help="kill every lesson's kernel so often (test_leftovers)"
    )
    parser.addoption(
        "--integration", action="store_true", help="only what runs on the broker of the surroundings"
    )


# The files that take longest, with which a parallel run begins: at its end nobody shall wait for one of them.
LONGEST = (
    "test_notebooks.py",
    "test_fresh_clone.py",
    "test_brokers_node.py",
    "test_playground.py",
    "test_storms.py",
    "test_survival.py",
    "test_leftovers.py",
    "test_browser.py",
    "test_bench.py",
    "test_proofs.py",
    "test_brokers_compose.py",
    "test_lesson_04.py",
    "test_lesson_03.py",
    "test_bootstrap.py",
    "test_lab.py",
)


def pytest_configure(config):
    config.option.loadscopereorder = False  # xdist would begin with the files that have most tests


def pytest_collection_modifyitems(config, items):
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
    if config.getoption("--integration"):
        used = [item for item in items if uses_the_broker(item)]
        config.hook.pytest_deselected(items=[item for item in items if item not in used])
        items[:] = used


def uses_the_broker(item):
    """Whether a test talks to the broker that ``find()`` gives, and not to one that it makes up itself."""
    fixtures = getattr(item, "_fixtureinfo", None)
    found = fixtures.name2fixturedefs.get("broker", ()) if fixtures else ()
    shared = bool(found) and all(fixture.func.__module__ == "conftest" for fixture in found)
    return shared and not item.get_closest_marker("own_broker")


CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def not_to_be_had(error: LabError) -> None:
    """Without a broker the tests say nothing: that fails in CI, and is a skipped test on a laptop."""
    if os.environ.get("CI"):
        pytest.fail(f"There is no broker to test with: {error}")
    pytest.skip(f"There is no broker to test with: {error}")


@pytest.fixture(scope="session")
def broker():
    """The broker that this checkout uses, running; stopped at the end unless it ran before.

    That of a process of a parallel run is its own, and is thrown away.
    """
    try:
        found = brokers.find()
        was_running = found.running()
        found.start()
    except LabError as error:
        not_to_be_had(error)
    yield found
    if process and found.can_restart:
        found.throw_away()
    elif not was_running and found.can_restart:
        found.stop()


@pytest.fixture
def connection(broker):
    """A connection of the test's own."""
    opened = brokers.connect(broker.parameters("test"))
    yield opened
    with contextlib.suppress(pika.exceptions.AMQPError):
        opened.close()


@pytest.fixture
def channel(connection):
    """A channel of the test's own."""
    return connection.channel()


@pytest.fixture
def new_queue(broker):
    """A function that makes up names of queues, ``new_queue("orders")``; the queues are deleted afterwards."""
    names = []

    def name(prefix="test"):
        names.append(f"{prefix}-{uuid.uuid4().hex[:8]}")
        return names[-1]

    yield name
    if names:
        broker.wait_ready(60)  # the test may have restarted it
        for each in names:
            # A connection for each: some refusals (a queue whose leader is not elected yet) end it.
            with (
                contextlib.suppress(pika.exceptions.AMQPError, LabError),
                brokers.connect(broker.parameters("test clears away")) as connection,
            ):
                connection.channel().queue_delete(each)


@pytest.fixture
def queue(new_queue):
    """The name of a queue that does not exist yet and is deleted afterwards."""
    return new_queue()


@pytest.fixture(scope="session")
def browser():
    """Chromium, without a window."""
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = machine.browser()
    if chromium is None:
        if os.environ.get("CI"):
            pytest.fail("There is no Chromium to test with.")
        pytest.skip("There is no Chromium to test with.")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium), args=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, request):
    """A page as large as a projector's; what it says is printed when the test fails."""
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    failed, complaints = request.session.testsfailed, []
    page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
    yield page
    if request.session.testsfailed > failed:
        print(page.url, page.locator("body").inner_text()[-4000:], *complaints[-20:], sep="\n")
    page.close()
