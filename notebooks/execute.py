"""Run the notebooks from top to bottom and store what their cells show.

    python notebooks/execute.py [NOTEBOOK...]

Each runs in the folder that this command is called in, in a kernel of its own, as `make notebook`
would run it. Pictures are stored with a palette of 256 colours, a third of their size. A notebook
is written when all of its cells have run; one that fails stays as it was.
"""

import argparse
import base64
import io
import os
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).parent
ALL = (HERE / "CIFAR10_Custom_ResNet.ipynb", *sorted((HERE / "experiments").glob("*.ipynb")))


def main() -> None:
    """Run the notebooks that are named, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", type=Path, default=ALL, metavar="NOTEBOOK")
    for path in parser.parse_args().notebooks:
        began = time.perf_counter()
        execute(path)
        size = path.stat().st_size / 1e6
        print(f"{path}: {(time.perf_counter() - began) / 60:.1f} min, {size:.2f} MB", flush=True)


def execute(path: Path) -> None:
    """Run one notebook in the working folder, and store it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": os.getcwd()}}
    NotebookClient(notebook, timeout=None, resources=resources).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
        for output in cell.get("outputs", []):
            compress(output.get("data", {}))
    partial = path.with_suffix(".partial")
    nbformat.write(notebook, partial)
    partial.replace(path)


def compress(data: dict[str, Any]) -> None:
    """Store a picture with a palette, if that makes it smaller."""
    if "image/png" not in data:
        return
    before = base64.b64decode(data["image/png"])
    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(before)).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
    if buffer.tell() < len(before):
        data["image/png"] = base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    main()
