"""By default, long work shows its progress in the cells of a notebook and nowhere else."""

import subprocess
import sys
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from onecycle.progress import IN_NOTEBOOKS

SETUP = """
import onecycle
from onecycle.progress import SILENT
recipe = onecycle.override(
    onecycle.named("demo").recipe, train_limit=96, test_limit=32, epochs=2, batch_size=32,
    width=0.05, lr_max=0.1, lr_min=0.01, checkpoint_minutes=0,
)
"""
SCRIPTED = """
from time import sleep
from onecycle.progress import IN_NOTEBOOKS, notebook
notebook.NotebookProgress.interval = 0.0
IN_NOTEBOOKS.start("reading", 3, "images")
IN_NOTEBOOKS.advance(2)
IN_NOTEBOOKS.note("halfway")
"""


def executed(*sources: str, folder: Any, allow_errors: bool = False) -> list[list[Any]]:
    """The outputs of the cells of a notebook, run by a real kernel."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=200, resources=resources, allow_errors=allow_errors).execute()
    return [cell["outputs"] for cell in notebook.cells]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    return executed(
        SETUP,
        "run = onecycle.train(recipe)",
        "onecycle.train(recipe, progress=SILENT);",
        SCRIPTED,
        "IN_NOTEBOOKS.note('in another cell')",
        folder=tmp_path_factory.mktemp("notebook"),
    )


def test_a_training_shows_a_line_per_epoch_and_where_the_run_is(outputs: list[list[Any]]) -> None:
    (output,) = outputs[1]  # one display, however often it was drawn
    assert output["output_type"] == "display_data"
    lines = output["data"]["text/plain"].splitlines()
    assert any(line.startswith("run folder: runs/demo-") for line in lines)
    above, below = (
        lines.index(line) for line in lines if line.split()[:1] in (["train"], ["epoch"])
    )
    assert below == above + 1
    epochs = [line.split() for line in lines[below + 1 : below + 3]]
    assert [row[0] for row in epochs] == ["1", "2"]
    assert all(row[3] == row[6] == "%" for row in epochs)  # accuracies
    assert not any("left" in line or "\x1b" in line for line in lines)  # the live line has gone


def test_a_silent_training_shows_nothing(outputs: list[list[Any]]) -> None:
    assert outputs[2] == []


def test_the_live_line_says_how_far_the_work_is(outputs: list[list[Any]]) -> None:
    (output,) = outputs[3]
    note, live = output["data"]["text/plain"].splitlines()
    assert note == "halfway"
    assert live.startswith("reading ━")
    assert "2/3 images" in live


def test_a_new_cell_has_its_own_display(outputs: list[list[Any]]) -> None:
    (output,) = outputs[4]
    assert output["data"]["text/plain"] == "in another cell"


def test_an_interrupted_stage_does_not_go_on_in_the_next_cell(tmp_path: Any) -> None:
    failed, after = executed(
        f"{SCRIPTED}raise KeyError('x')",
        "IN_NOTEBOOKS.start('more', 2)\nIN_NOTEBOOKS.finish()\nIN_NOTEBOOKS.note('done')",
        folder=tmp_path,
        allow_errors=True,
    )
    assert [output["output_type"] for output in failed] == ["display_data", "error"]
    (output,) = after
    assert output["data"]["text/plain"] == "done"


def test_outside_a_notebook_nothing_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    IN_NOTEBOOKS.start("work", 2)
    IN_NOTEBOOKS.advance(1)
    IN_NOTEBOOKS.finish()
    assert capfd.readouterr() == ("", "")


def test_ipython_in_a_terminal_is_not_a_notebook() -> None:
    code = (
        "from onecycle.progress import IN_NOTEBOOKS as p; p.start('work', 2); p.note('said'); "
        "print('IPython' in __import__('sys').modules)"
    )
    command = [sys.executable, "-m", "IPython", "--no-banner", "--colors=nocolor", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "True"
