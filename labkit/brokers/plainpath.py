"""A path that RabbitMQ can work with, whatever the checkout's directory is called."""

from __future__ import annotations

import hashlib
import os
import re
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
    user = getattr(os, "getuid", int)()
    whose = hashlib.sha256(f"{user} {directory}".encode("utf-8", "surrogateescape")).hexdigest()[:12]
    link = Path(tempfile.gettempdir()).resolve() / f"labkit-{whose}"
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
        if not link.is_symlink() or link.lstat().st_uid != user or link.readlink() != directory:
            raise trouble from None  # somebody else put it there
    except OSError as error:  # Windows lets few make one
        raise trouble from error
    return link


def _is_plain(path: Path) -> bool:
    return PLAIN.fullmatch(str(path)) is not None and all(ord(letter) < 256 for letter in str(path))
