"""The house is in order: the rooms of the package are built on each other one way, and every tool agrees."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "labkit"
LIMIT = 250  # seconds for a tool on a busy machine

# From the ground up, as in pyproject.toml; what comes before "charts" must run where there is no picture to draw.
BEFORE_CHARTS = ("setup", "tasks", "management", "brokers", "ledger", "clients", "loads", "results")
PICTURES = ("matplotlib", "ipywidgets", "IPython", "anywidget")

# What may be imported inside a function: what is heavy and not always needed …
HEAVY = {"matplotlib", "IPython", "ipywidgets", "anywidget", "traitlets"}
# … what imports something heavy itself …
LATE = {
    ("playground/__init__.py", "labkit.playground.panel"): "the controls: ipywidgets and charts",
    ("compare/compare.py", "labkit.charts"): "for those who want a picture",
    ("live/replay.py", "labkit.live.buttons"): "the buttons of a replay: ipywidgets",
}
# … everything where nothing may be installed yet, and other people's clients, which may not be installed either.
ANYTHING = ("setup/", "commands/", "bench/other_clients.py")


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def run(*command):
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=LIMIT,
        check=False,
    )  # fmt: skip


def passes(*command):
    done = run(*command)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_room_imports_only_from_those_it_is_built_on_and_nothing_goes_in_a_circle():
    passes("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache")


def test_no_name_of_a_module_is_used_twice():
    """A package's eponymous module (lab/lab.py) and its __init__ are one name: the package stands for the module."""
    names = defaultdict(list)
    for path in modules():
        inside = path.relative_to(PACKAGE)
        if path.stem == "__main__" or inside == Path("__init__.py"):
            continue
        if path.stem == "__init__":
            names[path.parent.name].append(path.parent)
        elif path.stem != path.parent.name:
            names[path.stem].append(path)
    assert {name: paths for name, paths in names.items() if len(paths) > 1} == {}


def late_imports(path):
    """What a module imports inside its functions: (line, name of the module)."""
    found = set()
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Import):
                found |= {(node.lineno, name.name) for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                parts = [f"{module}.{name.name}" for name in node.names]
                found |= {(node.lineno, part if is_module(part) else module) for part in parts}
    return sorted(found)


def is_module(name):
    """Whether this is a module of the lab, and not something in one."""
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def test_imports_stand_at_the_top_where_they_are_seen():
    wrong = []
    for path in modules():
        where = path.relative_to(PACKAGE).as_posix()
        if where.startswith(ANYTHING):
            continue
        wrong += [
            f"labkit/{where}:{line} imports {module} inside a function"
            for line, module in late_imports(path)
            if module.split(".")[0] not in HEAVY and (where, module) not in LATE
        ]
    assert wrong == []


def test_every_exception_for_a_late_import_is_still_needed():
    there = {
        (path.relative_to(PACKAGE).as_posix(), name) for path in modules() for _, name in late_imports(path)
    }
    assert set(LATE) <= there


@pytest.mark.parametrize("room", BEFORE_CHARTS)
def test_a_plain_terminal_does_without_pictures(room):
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in modules()
        if path.relative_to(PACKAGE).parts[0] == room
    ]
    imports = "\n".join(f"import {name}" for name in names)
    passes("-c", f"import sys\n{imports}\nassert not (found := {set(PICTURES)} & set(sys.modules)), found")


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("requests", {"management"}),  # who speaks HTTP to RabbitMQ
        ("matplotlib", {"charts"}),
        ("subprocess", {"setup", "brokers", "clients", "judge", "bench", "commands"}),  # who starts programs
    ],
)
def test_a_library_is_used_in_its_own_room_alone(library, rooms):
    used = {
        path.relative_to(PACKAGE).parts[0]
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
        )
        if name.split(".")[0] == library
    }
    assert used <= rooms


def test_ruff_finds_nothing():
    passes("-m", "ruff", "check", ".")


def test_the_code_is_formatted_by_ruff():
    passes("-m", "ruff", "format", "--check", ".")


def test_the_types_are_right():
    passes("-m", "mypy")


def test_whoever_imports_the_package_gets_its_types():
    assert (PACKAGE / "py.typed").exists()
