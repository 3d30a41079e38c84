"""Whether a change of the code keeps the bits: four tiny runs by an older commit and by this tree.

    make same-bits BASE=origin/main
    python -m benchmarks.same_bits origin/main [--only NAME]

Each run goes through the command line, as a user's would, on two threads. Its weights
(`weights_sha256`), the rate, momentum and loss of every step (`steps.jsonl`) and its test logits
(`predictions.npz`) must be the same bytes. Together the runs take in range tests, probes,
micro-batches, both optimizers, every regularizer and transform, a validation split and class
weights. A minute or two; exit code 1 if anything differs.
"""

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from onecycle.data.shapes import draw

ROOT = Path(__file__).resolve().parents[1]
SMALL = ("--train-limit", "640", "--test-limit", "200", "--epochs", "2", "--batch-size", "128")
SPLITS: dict[Literal["train", "test"], int] = {"train": 900, "test": 200}
"""Drawn images of the folder, of which the classes of the second half keep every other one."""
FOLDER = "FOLDER"
"""Stands for the folder of images that is drawn for the runs."""

RUNS: dict[str, Sequence[str]] = {
    "demo": ("demo", *SMALL),
    "micro-batches": ("demo", *SMALL, "--micro-batch", "32", "--lr-repeats", "2", "--l1", "1e-5"),
    "adamw": (
        "demo", *SMALL, "--optimizer", "adamw", "--label-smoothing", "0.1", "--cycle-momentum",
        "--dropout", "0.2", "--weight-decay", "0.01", "--anneal", "cosine", "--precision", "fp32",
    ),
    "folder": (
        "custom-resnet-8", "--data", FOLDER, "--width", "0.125", "--epochs", "2",
        "--batch-size", "64", "--class-weights", "balanced", "--val-fraction", "0.2",
        "--lr-max", "proven", "--lr-final", "1e-4", "--tta",
    ),
}  # fmt: skip
"""Arguments of `onecycle train`, by name of the run."""


def main() -> int:
    """Compare, print a line for each run, and tell by the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument("--only", choices=RUNS, help="one run instead of all four")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="onecycle-bits-") as name:
        work = Path(name)
        tree = check_out(arguments.base, work / "base")
        draw_folder(work / "images")
        differing = 0
        for run in [arguments.only] if arguments.only else RUNS:
            before = evidence(tree, run, work / "runs-before", work / "images")
            after = evidence(ROOT, run, work / "runs-after", work / "images")
            differs = [what for what in before if before[what] != after[what]]
            differing += bool(differs)
            print(f"{run:<14} {'differs in ' + ', '.join(differs) if differs else 'same bits'}")
    return 1 if differing else 0


def check_out(commit: str, folder: Path) -> Path:
    """The files of a commit, in a folder of their own."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", commit], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode:
        raise SystemExit(f"{commit}: {archive.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


def draw_folder(folder: Path) -> None:
    """Class folders of drawn images, 32 x 32 pixels, of uneven classes, split in train and test."""
    for split in SPLITS:
        count = SPLITS[split]
        drawn = draw(count, split)
        uneven_N = (drawn.labels_N < 5) | (np.arange(count) % 20 < 10)  # half of five classes
        for index in np.flatnonzero(uneven_N):
            place = folder / split / drawn.classes[drawn.labels_N[index]]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn.images_NHWC[index]).save(place / f"{index:04d}.png")


def evidence(tree: Path, run: str, runs: Path, images: Path) -> dict[str, str]:
    """Train with the code in `tree`; what must not change, each as a hash."""
    flags = [str(images) if flag == FOLDER else flag for flag in RUNS[run]]
    command = [sys.executable, "-m", "onecycle", "train", *flags, "--runs", str(runs)]
    command += ["--threads", "2", "--device", "cpu", "--json"]
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(
        command, cwd=images, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{run}, in {tree}: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    folder = runs / Path(result["run"]).name
    files = ("steps.jsonl", "predictions.npz")
    return {"weights_sha256": result["weights_sha256"]} | {
        file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in files
    }


if __name__ == "__main__":
    sys.exit(main())
