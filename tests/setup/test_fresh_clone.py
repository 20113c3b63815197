"""From a fresh clone in an empty home to JupyterLab and a broker, with one command. One environment serves all."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import psutil
import pytest
from terminal import BARE_PYTHON, ROOT, Program, labkit
from waiting import until

pytestmark = [pytest.mark.timeout(900), pytest.mark.own_broker]
COLD = 600  # seconds for the first start: pip on a busy machine
WARM = 10  # seconds for the second one
BUSY = 4  # times longer than that on a machine that does other things as well


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory):
    """An empty home and a clone; nothing of this checkout's environment is seen there, but pip's settings are."""
    home = tmp_path_factory.mktemp("home")
    clone = home / "lab"
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    files = subprocess.run(
        ["git", "ls-files", "-mo", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    for name in files.stdout.splitlines():  # what is not committed yet is tested as well
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    hidden = {
        name: None for name in os.environ if name.startswith(("LABKIT_", "JUPYTER", "VIRTUAL_ENV", "PYTHON"))
    }
    cache = os.environ.get("PIP_CACHE_DIR") or os.path.expanduser("~/.cache/pip")  # noqa: PTH111
    environment = hidden | {"HOME": home, "PIP_CACHE_DIR": cache, "LABKIT_BROKER": "node"}
    yield clone, environment
    for each in processes_of(clone):  # of a test that failed: a broker outlives whoever started it
        with contextlib.suppress(psutil.Error):
            each.kill()


def start(surroundings, *arguments):
    clone, environment = surroundings
    return Program(
        BARE_PYTHON,
        "-m",
        "labkit",
        *arguments,
        "--no-browser",
        "--yes",
        cwd=clone,
        **environment | {"CI": None},
    )


def addresses(program, timeout):
    jupyter = program.wait_for(r"JupyterLab +(http://\S+)", timeout)[1]
    management = program.wait_for(r"Management page +(http://\S+)")[1]
    program.wait_for("Ctrl-C ends")
    return jupyter, management


def fetch(url, data=None, token=None):
    headers = {"Authorization": f"token {token}"} if token else {}
    request = urllib.request.Request(url, data=data, headers=headers)
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with straight.open(request, timeout=30) as answer:
        return answer.read().decode()


def processes_of(clone):
    return [
        each
        for each in psutil.process_iter(["cmdline", "status"])
        if str(clone) in " ".join(each.info["cmdline"] or []) and each.info["status"] != psutil.STATUS_ZOMBIE
    ]


@pytest.fixture(scope="module")
def running(broker, surroundings):
    """``python3 -m labkit --no-browser --yes``, in a clone in which nothing was installed before."""
    with start(surroundings) as program:
        jupyter, management = addresses(program, COLD)
        program.jupyter, program.management = jupyter, management
        program.base, program.token = jupyter.partition("/lab/")[0], jupyter.partition("token=")[2]
        yield program
        if program.process.poll() is None:  # a test before the last one failed
            program.process.send_signal(signal.SIGTERM)
            program.end(120)


def test_it_says_what_it_does(running):
    said = [line for line in running.lines if line.endswith("…")]
    assert any(re.match(r"Making \.venv", line) for line in said)
    assert any(re.match(r"Installing \d+ packages into \.venv", line) for line in said)


def test_jupyterlab_opens_on_the_first_notebook(running):
    assert urlsplit(running.jupyter).path == "/lab/tree/notebooks/00_start_here.ipynb"
    assert "jupyter-config-data" in fetch(running.jupyter)
    found = json.loads(
        fetch(f"{running.base}/api/contents/notebooks/00_start_here.ipynb?content=0", None, running.token)
    )
    assert found["type"] == "notebook"


def test_nobody_gets_in_without_the_token(running):
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetch(f"{running.base}/api/contents")
    assert caught.value.code == 403


def test_it_listens_on_loopback_only(running, surroundings):
    listening = [
        each.laddr.ip
        for process in processes_of(surroundings[0])
        for each in process.net_connections("inet")
        if each.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 3 and set(listening) <= {"127.0.0.1", "::1"}


def test_no_question_about_news_and_no_look_for_updates(running):
    page = fetch(running.jupyter)
    config = json.loads(
        re.search(r'<script id="jupyter-config-data"[^>]*>(.*?)</script>', page, re.DOTALL)[1]
    )
    assert config["news"] == {"disabled": True}


def test_the_one_kernel_is_that_of_the_environment(running, surroundings):
    kernel = json.loads(fetch(f"{running.base}/api/kernels", b"{}", running.token))
    assert kernel["name"] == "python3"
    pythons = [
        each.cmdline()[0] for each in processes_of(surroundings[0]) if kernel["id"] in str(each.cmdline())
    ]
    assert pythons == [str(surroundings[0] / ".venv" / "bin" / "python")]


def test_the_management_page_works(running):
    assert "RabbitMQ" in fetch(running.management)


def test_nothing_is_configured_in_the_home(running, surroundings):
    home = surroundings[0].parent
    assert not [
        name
        for name in (".jupyter", ".local", ".config", ".labkit", ".erlang.cookie")
        if (home / name).exists()
    ]


def test_everything_is_well_says_the_doctor(running, surroundings):
    clone, environment = surroundings
    answer = labkit("doctor", python=BARE_PYTHON, cwd=clone, **environment)
    assert answer.returncode == 0, answer.stdout


def test_ctrl_c_ends_jupyterlab_its_kernels_and_the_broker(running, surroundings):
    fetch(f"{running.base}/api/kernels", b"{}", running.token)
    running.interrupt()
    assert running.end(120) == 0
    assert "Traceback" not in running.output
    until(lambda: not processes_of(surroundings[0]), "the end of every process of the clone")
    for url in running.jupyter, running.management:
        with pytest.raises(urllib.error.URLError):
            fetch(url)


def test_a_second_start_is_quick_and_installs_nothing(surroundings):
    began = time.monotonic()
    with start(surroundings, "start") as program:
        addresses(program, COLD)
        took = time.monotonic() - began
        program.process.send_signal(signal.SIGTERM)
        assert program.end(120) == 0
    assert "Installing" not in program.output and "Making" not in program.output
    load = os.getloadavg()[0] / os.cpu_count()
    assert took <= WARM * (BUSY if load > 1 else 1), f"{took:.1f} s"
    until(lambda: not processes_of(surroundings[0]), "the end of every process of the clone")


def test_a_broker_that_ran_before_runs_on(surroundings):
    clone, environment = surroundings

    def broker(action):
        return labkit("broker", action, python=BARE_PYTHON, cwd=clone, timeout=200, **environment).returncode

    assert broker("start") == 0
    with start(surroundings) as program:
        addresses(program, COLD)
        program.process.send_signal(signal.SIGHUP)
        assert program.end(120) == 0
    assert broker("status") == 0
    assert broker("stop") == 0


def test_a_port_that_is_taken_is_said(surroundings):
    import socket

    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        start(surroundings, "--port", str(taken.getsockname()[1])) as program,
    ):
        assert program.end() == 1
        assert "is taken by another program" in program.output and "--port" in program.output


def test_the_clone_has_nothing_new_that_git_sees(surroundings):
    answer = subprocess.run(["git", "status", "--short"], cwd=surroundings[0], capture_output=True, text=True)
    changed = subprocess.run(["git", "status", "--short"], cwd=ROOT, capture_output=True, text=True)
    assert set(answer.stdout.splitlines()) <= set(changed.stdout.splitlines())
