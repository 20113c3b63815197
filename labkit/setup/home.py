"""Where this checkout is, and where it keeps its files (standard library only)."""

from __future__ import annotations

import os
from pathlib import Path

from labkit.errors import SetupError

ROOT = Path(__file__).resolve().parents[2]  # holds the package, compose.yaml and the notebooks


def state_path(root: Path | str | None = None) -> Path:
    """``.labkit`` in ``root``, or in ``LABKIT_HOME``, or else in the checkout; it need not exist."""
    base = os.path.expanduser(root or os.environ.get("LABKIT_HOME") or ROOT)  # noqa: PTH111 - never raises
    return Path(base) / ".labkit"


def state_directory(root: Path | str | None = None) -> Path:
    """``state_path``, made if need be. Raises SetupError where it cannot be written."""
    directory = state_path(root)
    try:
        if directory.parts[0].startswith("~"):
            raise FileNotFoundError("the home of nobody")
        directory = directory.resolve()
        directory.mkdir(parents=True, exist_ok=True)
        writable = os.access(directory, os.W_OK)
    except OSError as error:
        raise not_writable(directory) from error
    if not writable:
        raise not_writable(directory)
    return directory


def not_writable(directory: Path) -> SetupError:
    """The error for a directory in which the lab's files cannot be."""
    return SetupError(
        f"The lab cannot write its files in {directory}.",
        do="Make the checkout writable, or set LABKIT_HOME to a directory of your own.",
    )
