"""The notebooks run from top to bottom at reduced size, and show their pictures."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from onecycle.config import differences
from onecycle.experiments import compare

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


@pytest.fixture(autouse=True)
def reduced_size(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("EPOCHS", "2"), ("LIMIT", "200"), ("WIDTH", "0.1"), ("SEEDS", "2")):
        monkeypatch.setenv(f"ONECYCLE_NOTEBOOK_{name}", value)


def shown(name: str, folder: Path) -> list[dict[str, Any]]:
    """What the cells of a notebook show when it runs in `folder`, by kind."""
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # committed without outputs
    client = NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(folder)}})
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output["data"] for output in outputs if "data" in output]


def test_the_notebook_runs_and_shows_its_pictures(tmp_path: Path) -> None:
    outputs = shown("CIFAR10_Custom_ResNet.ipynb", tmp_path)
    assert sum("image/png" in data for data in outputs) == 6
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "result.json").exists()


def test_the_experiments_train_show_and_compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In their order, as the second and third need the runs of the first."""
    for name, value in (("EPOCHS", "1"), ("LIMIT", "100")):
        monkeypatch.setenv(f"ONECYCLE_NOTEBOOK_{name}", value)
    recipes = {}
    for name in sorted(path.name for path in (NOTEBOOKS / "experiments").glob("*.ipynb")):
        outputs = shown(f"experiments/{name}", tmp_path)
        assert sum("image/png" in data for data in outputs) >= 4
        (recipes[name],) = (
            data["text/markdown"].splitlines()[0] for data in outputs if "text/markdown" in data
        )
    data = re.search(r"on shapes .*", recipes["1_cutout_8.ipynb"])
    assert data
    assert recipes == {
        "1_cutout_8.ipynb": f"1 recipe, 2 runs, {data[0]}",
        "2_cutout_16.ipynb": f"2 recipes, 4 runs, {data[0]}",
        "3_higher_max_lr.ipynb": f"3 recipes, 6 runs, {data[0]}",
    }
    found = compare([tmp_path / "runs/trials" / trial for trial in ("cutout-8", "higher-lr")])
    baseline, higher = (group.runs[0].recipe for group in found.groups)
    assert set(differences(higher, baseline)) == {"recipe", "lr_max"}
    assert higher.lr_max == pytest.approx(baseline.lr_max * 3.5 / 2.3)
