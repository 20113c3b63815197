"""Open the playground on a page of its own: compare strategies without code, for a projector."""

from __future__ import annotations

import argparse
import shutil

from labkit.commands import start_command as start
from labkit.setup import bootstrap

# Voila, an extension of JupyterLab's server, shows what a notebook shows, and not its code.
PAGE = "voila/render/notebooks/playground.ipynb"
TEMPLATE = "labkit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``labkit playground``: those of ``labkit start``, and the page's theme."""
    start.add_arguments(parser)
    parser.add_argument("--dark", action="store_true", help="light on dark")


def run(args: argparse.Namespace) -> int:
    """Set up, start the broker and the page, and stay until Ctrl-C, SIGTERM or the end of the server."""
    bootstrap.enter(args.argv)
    return start.serve(args, "Playground", PAGE, page_options(dark=args.dark))


def page_options(*, dark: bool = False) -> list[str]:
    """Put the page's template where Voila looks for it, and return the options that make it use it."""
    template = bootstrap.STATE / "jupyter" / "data" / "voila" / "templates" / TEMPLATE
    template.mkdir(parents=True, exist_ok=True)
    source = bootstrap.ROOT / "labkit" / "playground" / "page.html.j2"
    shutil.copyfile(source, template / "index.html.j2")
    (template / "conf.json").write_text('{"base_template": "lab"}')
    return [
        f"--VoilaConfiguration.template={TEMPLATE}",
        f"--VoilaConfiguration.theme={'dark' if dark else 'light'}",
        "--VoilaConfiguration.show_tracebacks=True",  # of a LabError: what happened and what to do
        # Every page has a kernel; that of a page that was closed is ended after some minutes.
        *("--MappingKernelManager.cull_idle_timeout=300", "--MappingKernelManager.cull_interval=60"),
    ]
