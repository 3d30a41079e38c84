"""The notebooks run from top to bottom at reduced size, and show their pictures."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from onecycle.config import differences
from onecycle.experiments import compare

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


REDUCED = {"DATA": "shapes", "EPOCHS": 2, "LIMIT": 200, "WIDTH": 0.1}
TRIALS = {
    "DATA": "shapes", "EPOCHS": 1, "LIMIT": 100, "WIDTH": 0.1, "SEEDS": (0, 1), "MIN_STEPS": 0,
    "GRID": {"weight_decay": [5e-4], "dropout": [0.3]},
}  # fmt: skip


def shown(name: str, folder: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    """What the cells show when the notebook runs in `folder` with other values of its parameters.

    Only those are set that the cell of parameters sets, as papermill would.
    """
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    (place,) = (n for n, cell in enumerate(notebook.cells) if is_parameters(cell))
    names = re.findall(r"^([A-Z_]+) = ", notebook.cells[place].source, re.MULTILINE)
    given = [f"{name} = {value!r}" for name, value in values.items() if name in names]
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell("\n".join(given)))
    for cell in notebook.cells:
        cell.pop("outputs", None) if cell.cell_type == "markdown" else cell.update(outputs=[])
    client = NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(folder)}})
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output["data"] for output in outputs if "data" in output]


def is_parameters(cell: Any) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.rglob("*.ipynb")), ids=lambda path: path.stem)
def test_the_outputs_of_one_whole_run_are_stored_with_the_notebook(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    data = [output.data for output in outputs if "data" in output]
    pictures = [base64.b64decode(each["image/png"]) for each in data if "image/png" in each]
    assert len(pictures) >= 4
    assert max(map(len, pictures)) < 200_000
    assert path.stat().st_size < 1_000_000
    text = json.dumps(notebook)
    assert re.search(r"takes about \d+ minutes? on", text)  # what a reader may expect
    assert not re.search(r"/(home|root|tmp)/|EXPECTED", text)


@pytest.mark.faults
def test_the_notebook_runs_and_shows_its_pictures(tmp_path: Path) -> None:
    outputs = shown("CIFAR10_Custom_ResNet.ipynb", tmp_path, REDUCED)
    assert sum("image/png" in data for data in outputs) == 6
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "result.json").exists()


@pytest.mark.faults
def test_the_experiments_train_show_and_compare(tmp_path: Path) -> None:
    """In their order, as the second and third need the runs of the first."""
    recipes = {}
    for name in sorted(path.name for path in (NOTEBOOKS / "experiments").glob("*.ipynb")):
        outputs = shown(f"experiments/{name}", tmp_path, TRIALS)
        assert sum("image/png" in data for data in outputs) >= 4
        (recipes[name],) = (
            data["text/markdown"].splitlines()[0] for data in outputs if "text/markdown" in data
        )
    regularization = recipes.pop("4_regularization.ipynb")
    data = re.search(r"on shapes .*", recipes["1_cutout_8.ipynb"])
    assert data
    assert recipes == {
        "1_cutout_8.ipynb": f"1 recipe, 2 runs, {data[0]}",
        "2_cutout_16.ipynb": f"2 recipes, 4 runs, {data[0]}",
        "3_higher_max_lr.ipynb": f"3 recipes, 6 runs, {data[0]}",
    }
    assert regularization.startswith("4 recipes, 8 runs, on shapes")
    found = compare([tmp_path / "runs/trials" / trial for trial in ("cutout-8", "higher-lr")])
    baseline, higher = (group.runs[0].recipe for group in found.groups)
    assert "lr_max" in (changed := set(differences(higher, baseline)))
    assert changed <= {"lr_max", "lr_min", "lr_final"}
    assert higher.lr_max == pytest.approx(baseline.lr_max * 1.5, rel=5e-3)  # three digits
