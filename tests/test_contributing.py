"""The walk-throughs of CONTRIBUTING.md work: their edits, made in a copy of the package, train.

Each block that begins with a path is a new file, each `diff` is an edit of one that exists, and
each command is run with the package so far, at a small size.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SMALL = """--epochs 1 --train-limit 60 --test-limit 30 --image-size 16 --width 0.1 --batch-size 20
--cutout 4 --crop-padding 2 --lr-max 0.1 --lr-min 0.01 --threads 1 --no-report --quiet""".split()


def walk_through(heading: str) -> list[tuple[str, str]]:
    """Language and text of each block below a heading."""
    part = TEXT[TEXT.index(f"\n### {heading}\n") :]
    part = re.split(r"^##", part.split("\n", 2)[2], maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(r"^```(\w+)\n(.*?)^```$", part, flags=re.MULTILINE | re.DOTALL)


def edit(package: Path, diff: str) -> None:
    """Make the changes of a diff whose hunks name no lines: what it removes is there once."""
    head, *lines = diff.splitlines()
    file = package / head.removeprefix("--- ")
    before, after = (
        "".join(f"{line[1:]}\n" for line in lines if line[:1] in (" ", sign)) for sign in "-+"
    )
    text = file.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"CONTRIBUTING.md: {file.name} has not, once:\n{before}"
    file.write_text(text.replace(before, after), encoding="utf-8")


def follow(heading: str, package: Path) -> list[Path]:
    """Do what the walk-through says; the folders of the runs that it trains."""
    for language, text in walk_through(heading):
        if language == "diff":
            edit(package, text)
        elif language == "python":
            path = re.match(r"# (\S+)\n", text)
            assert path
            (package / path[1]).write_text(text, encoding="utf-8")
        else:
            for line in text.splitlines():
                train(line, package)
    return sorted((package / "runs").iterdir())


def train(line: str, package: Path) -> None:
    program, command, *words = line.split()
    assert (program, command) == ("onecycle", "train")
    done = subprocess.run(
        [sys.executable, "-m", "onecycle", "train", *words, *SMALL],
        cwd=package,  # whose `onecycle` comes before the installed one
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with a copy of the package in it."""
    kept = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "onecycle", tmp_path / "onecycle", ignore=kept)
    return tmp_path


@pytest.mark.faults
def test_a_new_transform_trains_as_the_walk_through_says(package: Path) -> None:
    (run,) = follow("Add a transform", package)
    assert "fading = 0.8" in (run / "recipe.toml").read_text()
    audit = json.loads((run / "audit.json").read_text())
    assert audit["applied"]["unexplained"] > 0


@pytest.mark.faults
def test_a_new_network_trains_as_the_walk_through_says(package: Path) -> None:
    (run,) = follow("Add a network", package)
    assert json.loads((run / "network.json").read_text())["name"] == "plain"
