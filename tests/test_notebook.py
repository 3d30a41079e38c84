"""The notebook runs from top to bottom at reduced size, and shows its pictures."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "CIFAR10_Custom_ResNet.ipynb"


def test_the_notebook_runs_and_shows_its_pictures(tmp_path, monkeypatch: pytest.MonkeyPatch):
    for name, value in (("EPOCHS", "2"), ("LIMIT", "200"), ("WIDTH", "0.1")):
        monkeypatch.setenv(f"ONECYCLE_NOTEBOOK_{name}", value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # committed without outputs
    client = NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 6
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "result.json").exists()
