"""Checkouts that are quickly set up, and programs that only pretend."""

import contextlib
import shutil

from terminal import ROOT


def small_checkout(folder):
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "labkit", folder / "labkit", ignore=shutil.ignore_patterns("__pycache__"))
    pin = next(
        line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("tqdm")
    )
    (folder / "requirements.txt").write_text(f"# one package\n{pin}  # small\n")
    return folder


def fake(folder, *names, status=0):
    """Put programs there that write down how they were called; return the PATH to find them."""
    for name in names:
        program = folder / name
        program.write_text(
            f'#!/bin/sh\necho "{name} $*" >>{folder}/called\necho "E: this is a fake"\nexit {status}\n'
        )
        program.chmod(0o755)
    return f"{folder}"


def called(folder):
    with contextlib.suppress(FileNotFoundError):
        return (folder / "called").read_text().splitlines()
    return []
