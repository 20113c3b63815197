"""Every notebook runs from top to bottom, twice, and after it was left half-way; and it is stored clean."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from kernels import kernel_of
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LESSONS = [path for path in NOTEBOOKS if path.name[:2].isdigit()]
CELL_TIMEOUT = 120  # seconds; a busy machine is allowed to be slow
MOST_LINES = 14  # of a code cell: it has to fit on a projector
SLIDES = {"slide", "subslide", "fragment", "skip", "notes", "-"}


def named(paths):
    return [pytest.param(path, id=path.stem) for path in paths]


def execute(client, cells):
    for index, cell in enumerate(client.nb.cells):
        if cell in cells:
            client.execute_cell(cell, index)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", named(LESSONS))
def test_a_notebook_runs_twice_in_one_kernel_even_after_it_was_left_half_way(path, broker):
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=CELL_TIMEOUT, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    )
    cells = notebook.cells
    with kernel_of(client):
        execute(client, cells[: len(cells) // 2])
        # An experiment that nobody waited for: its workers are still at work.
        left = nbformat.v4.new_code_cell(
            "left = lab.queue('left'); lab.workers(2, left); lab.publish(left, tasks.equal(200, cost=9))"
        )
        notebook.cells.append(left)
        execute(client, [left])
        notebook.cells.remove(left)
        for _ in range(2):
            execute(client, cells)
    errors = [o for cell in cells for o in cell.get("outputs", ()) if o.output_type == "error"]
    warnings = [
        o.text
        for cell in cells
        for o in cell.get("outputs", ())
        if o.output_type == "stream" and o.name == "stderr"
    ]
    assert not errors
    # A progress bar is all that may be said there.
    assert [text for text in warnings if "it/s" not in text and "s/it" not in text] == []


@pytest.mark.parametrize("path", named(LESSONS))
def test_every_queue_has_a_name_by_which_it_is_cleared_away_after_a_crash(path):
    source = "\n".join(
        cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"
    )
    named_by_hand = re.findall(
        r"^ *\w+ = f?\"[\w{}.()-]+\"(?=.*\n(?:.*\n){0,3}.*queue_declare)", source, re.M
    )
    assert not named_by_hand, "use lab.name(…)"


@pytest.mark.parametrize("path", named(LESSONS))
def test_a_queue_that_a_cell_declares_is_of_the_kind_that_the_lesson_means(path):
    for cell in nbformat.read(path, as_version=4).cells:
        for node in ast.walk(ast.parse(cell.source)) if cell.cell_type == "code" else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".queue_declare"):
                said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                if said.get("durable", "True") == "True" and ("durable" in said or "exclusive" in said):
                    assert "x-queue-type" in said.get("arguments", ""), ast.unparse(node)


@pytest.mark.parametrize("path", named(NOTEBOOKS))
def test_a_notebook_is_stored_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.parametrize("path", named(NOTEBOOKS))
def test_a_notebook_is_valid_and_opens_without_a_kernel_to_choose(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9-]+", each) for each in ids)


@pytest.mark.parametrize("path", named(LESSONS))
def test_a_lesson_can_be_shown_as_slides(path):
    kinds = [cell.metadata.slideshow.slide_type for cell in nbformat.read(path, as_version=4).cells]
    assert set(kinds) <= SLIDES
    assert kinds[0] == "slide"
    assert kinds.count("slide") >= 5


@pytest.mark.parametrize("path", named(NOTEBOOKS))
def test_a_code_cell_is_short_enough_for_a_projector(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert len(cell.source.splitlines()) <= MOST_LINES, cell.id


@pytest.mark.parametrize("path", named(LESSONS))
def test_a_lesson_has_all_that_a_lesson_has(path):
    notebook = nbformat.read(path, as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert notebook.cells[0].source.startswith(f"# {path.name[:2]} · ")
    for wanted in (
        "you will**",
        "minutes",
        "## Your turn",
        "## Questions people ask",
        "other versions",
        "**Next:**",
    ):
        assert wanted in text, wanted
    for wanted in (
        "pika.BlockingConnection(",
        "lesson.predict(",
        ".reveal(",
        "assert ",
        ".check(",
        ".hint(1)",
    ):
        assert wanted in code, wanted
    assert code.index("pika.BlockingConnection(") < code.index("lab.workers(")  # bare pika comes first
    assert notebook.cells[-1].source == "lab.close()"


@pytest.mark.parametrize("path", named(LESSONS))
def test_every_prediction_of_a_lesson_is_revealed_later(path):
    code = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
    asked = re.findall(r"(\w+) = lesson\.predict\(", code)
    assert asked
    for name in asked:
        assert code.index(f"{name}.reveal(") > code.index(f"{name} = lesson.predict(")


@pytest.mark.parametrize("path", named(LESSONS))
def test_a_revealed_outcome_is_one_of_the_options(path):
    tree = ast.parse(
        "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
    )
    options = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("lesson.predict("):
            given = next((k.value for k in node.value.keywords if k.arg == "options"), None)
            options[node.targets[0].id] = given and ast.literal_eval(given)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".reveal"):
            asked = options[node.func.value.id]
            for outcome in outcomes(node.args[0]) if asked else ():
                assert outcome in asked


def outcomes(node):
    """The texts that an expression can be, as far as they are written out in it."""
    if isinstance(node, ast.IfExp):
        return outcomes(node.body) | outcomes(node.orelse)
    if isinstance(node, ast.JoinedStr):
        return {ast.unparse(node)}
    return {node.value} if isinstance(node, ast.Constant) else set()


@pytest.mark.parametrize("path", named(NOTEBOOKS))
def test_the_pictures_and_notebooks_that_are_linked_exist(path):
    for cell in nbformat.read(path, as_version=4).cells:
        for link in re.findall(r"\]\(([^)#]+)\)", cell.source if cell.cell_type == "markdown" else ""):
            if not link.startswith("http"):
                assert (FOLDER / link).exists(), link
