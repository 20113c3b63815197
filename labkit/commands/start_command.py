"""Set the lab up and open JupyterLab on the first notebook."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from labkit.commands import arguments
from labkit.errors import PortTakenError, SetupError
from labkit.setup import bootstrap
from labkit.setup.machine import say
from labkit.setup.ports import port_free

FIRST_PAGE = "lab/tree/notebooks/00_start_here.ipynb"
FIRST_PORT = 8888
PORTS_TRIED = 100  # how many ports after that are tried when it is taken
READY_TIMEOUT = 90  # seconds that JupyterLab may take to answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``labkit start``."""
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument(
        "--port",
        type=arguments.port,
        metavar="N",
        help=f"port of JupyterLab (default: the first free one from {FIRST_PORT})",
    )
    parser.add_argument("--yes", action="store_true", help="install what is missing without asking")


def run(args: argparse.Namespace) -> int:
    """Set up, start the broker and JupyterLab, and stay until Ctrl-C, SIGTERM or the end of JupyterLab."""
    return serve(args, "JupyterLab", FIRST_PAGE)


def serve(args: argparse.Namespace, name: str, page: str, options: Sequence[str] = ()) -> int:
    """Do what ``run`` does, opening this ``page`` of JupyterLab's server; ``name`` is what it is called.

    ``options`` are more of the server's.
    """
    bootstrap.enter(args.argv)
    from labkit.commands import servers

    servers.end_orphans()
    if args.port:
        _require_free(args.port)
    broker = arguments.find_broker(yes=args.yes)
    with contextlib.ExitStack() as undo:
        say("Starting JupyterLab and RabbitMQ…")
        jupyter = undo.enter_context(jupyterlab(args.port, not args.no_browser, page, options))
        ours = not broker.running()
        if ours:
            undo.callback(broker.stop, say=_say_on)
            undo.callback(jupyter.terminate)  # both end at the same time
            undo.callback(_deaf)  # the first to be undone: a second Ctrl-C must not cut the rest short
            broker.start(say=say)
        url = wait_until_ready(jupyter, page)
        try:
            say(f"\n  {name:<16}  {url}")
            say(f"  Management page   {broker.management_url or 'none was given for this broker'}")
            say(
                "\nCtrl-C ends JupyterLab"
                + (" and RabbitMQ." if ours else "; RabbitMQ ran before and runs on.")
            )
            jupyter.wait()
            raise SetupError("JupyterLab ended by itself.", do=f"What it said is in {servers.log()}.")
        except KeyboardInterrupt:
            _say_on("\nEnding JupyterLab and what it started…")
    return 0


def _say_on(text: str) -> None:
    """``say``, also when the terminal was closed and nobody hears it: what is left to do is done all the same."""
    with contextlib.suppress(OSError, ValueError):
        say(text)


def _require_free(port: int) -> None:
    from labkit.commands import servers

    if not port_free(port):
        ours = any(port in server.ports for server in servers.running())
        who = "this lab's own JupyterLab, which another terminal started" if ours else "another program"
        raise PortTakenError(f"Port {port} is taken by {who}.", do="Choose another one with --port.")


@contextlib.contextmanager
def jupyterlab(
    port: int | None, browser: bool, page: str = FIRST_PAGE, options: Sequence[str] = ()
) -> Iterator[subprocess.Popen]:
    """Run JupyterLab on loopback, in a state of its own, and end it with its kernels afterwards."""
    from labkit.commands import servers

    home = servers.HOME
    home.mkdir(parents=True, exist_ok=True)
    quiet = home / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    if not quiet.exists():  # the browser asks about news unless the answer is known
        quiet.parent.mkdir(parents=True, exist_ok=True)
        quiet.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    # What is configured elsewhere on this machine (passwords, kernels, a workspace left open) stays outside.
    environment = {
        **{name: value for name, value in os.environ.items() if name != "JUPYTER_PATH"},
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(servers.RUNTIME),
        servers.LAUNCHER: servers.launcher(),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_TOKEN": secrets.token_hex(24),
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
    command = [
        *(sys.executable, "-m", "jupyterlab", f"--LabApp.default_url=/{page}"),
        *("--ip=127.0.0.1", f"--port={port or FIRST_PORT}"),
        f"--ServerApp.port_retries={0 if port else PORTS_TRIED}",
        servers.OPTION,
        *("--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"),
        *options,
        *([] if browser else ["--no-browser"]),
        *(["--allow-root"] if os.name == "posix" and os.geteuid() == 0 else []),
    ]
    # A session of its own: Ctrl-C in the terminal comes to us alone, and we end the rest in order.
    with servers.new_log().open("w") as log:
        server = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield server
    finally:
        server.terminate()
        try:
            server.wait(servers.END_TIMEOUT)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _deaf() -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def wait_until_ready(jupyter: subprocess.Popen, page: str = FIRST_PAGE) -> str:
    """Return the address of the page, with its token, as soon as JupyterLab answers there."""
    import urllib.request  # slow to import, and --help imports this module

    from labkit.commands import servers

    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback never goes by a proxy
    deadline = time.monotonic() + READY_TIMEOUT
    while time.monotonic() < deadline and jupyter.poll() is None:
        try:
            server = json.loads((servers.RUNTIME / f"jpserver-{jupyter.pid}.json").read_text())
            with straight.open(f"{server['url']}api", timeout=5):
                return f"{server['url']}{page}?token={server['token']}"
        except (OSError, ValueError):
            time.sleep(0.1)
    said = [line for line in servers.log().read_text(errors="replace").splitlines() if line.strip()]
    raise SetupError(
        f"JupyterLab did not come up: {said[-1] if said else 'it said nothing'}",
        do=f"All it said is in {servers.log()}.",
    )
