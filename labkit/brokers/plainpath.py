"""A path that RabbitMQ can work with, whatever the checkout's directory is called."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
from pathlib import Path

from labkit.errors import BrokerStartError

# With a quote in the path of its files RabbitMQ hangs while it boots (a shell asks `df` for the free space), and with
# a letter outside of Latin-1 its management plugin does not start. Seen on 3.10.
PLAIN = re.compile(r"[\w ./\\:@+~,()=-]*")


def plain_path(directory: Path) -> Path:
    """A path to ``directory``: its own, or where RabbitMQ cannot work with that, a symbolic link among temporary files.

    Raises BrokerStartError where there can be none.
    """
    if _is_plain(directory):
        return directory
    link = _link(directory)
    trouble = BrokerStartError(
        f"RabbitMQ cannot work in a directory with such characters in its path: {directory}.",
        do="Move the lab to a directory with a plain name, or set LABKIT_HOME to one.",
        setting="LABKIT_HOME",
    )
    if not _is_plain(link):
        raise trouble
    try:
        link.symlink_to(directory, target_is_directory=True)
    except FileExistsError:
        if not _is_ours(link, directory):
            raise trouble from None  # somebody else put it there
    except OSError as error:  # Windows lets few make one
        raise trouble from error
    return link


def remove_link(directory: Path) -> None:
    """Takes the link away, if there is one; harmless when repeated."""
    link = _link(directory)
    if _is_ours(link, directory):
        link.unlink(missing_ok=True)


def _link(directory: Path) -> Path:
    whose = hashlib.sha256(f"{_user()} {directory}".encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return Path(tempfile.gettempdir()).resolve() / f"labkit-{whose}"


def _is_ours(link: Path, directory: Path) -> bool:
    return link.is_symlink() and link.lstat().st_uid == _user() and link.readlink() == directory


def _user() -> int:
    return os.getuid() if sys.platform != "win32" else 0


def _is_plain(path: Path) -> bool:
    return PLAIN.fullmatch(str(path)) is not None and all(ord(letter) < 256 for letter in str(path))
