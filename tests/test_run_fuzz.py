"""Values of other kinds in a run's JSON, TOML and logs end in one line, never in a traceback."""

import io
import json
import random
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from reliability import fault
from test_run_folder_hostile import reseal

from onecycle.cli import main
from onecycle.config import override
from onecycle.recipes import RECIPES
from onecycle.training import train

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**53, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e-300, 1e300,
    float("nan"), float("inf"), "", "abc", "\x1b[2J", "\u202e", "x" * 100_000, [], [1], ["a"],
    [[[]]], {}, {"a": 1}, {"": None}, [0.1] * 3, [1, 2, 3],
)  # fmt: skip
"""What a value becomes."""

TINY = override(
    RECIPES["demo"].recipe,
    epochs=2, train_limit=100, test_limit=30, image_size=16, width=0.0625, batch_size=50, cutout=2,
    crop_padding=1, precision="fp32", lr_steps=12, tta=False, min_steps=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run, finished, with a range test."""
    return train(TINY, runs=tmp_path_factory.mktemp("fuzz"), threads=1).path


def documents(run: Path) -> list[Path]:
    """Every file of the run that is made of keys and values."""
    return sorted(path for path in run.rglob("*") if path.suffix in (".json", ".jsonl", ".toml"))


def loaded(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        return tomllib.loads(text)
    return (
        [json.loads(row) for row in text.splitlines()]
        if path.suffix == ".jsonl"
        else json.loads(text)
    )


def store(path: Path, value: Any) -> None:
    if path.suffix == ".toml":
        text = tomli_w.dumps(value)
    elif path.suffix == ".jsonl":
        text = "".join(f"{json.dumps(row)}\n" for row in value)
    else:
        text = json.dumps(value)
    path.write_text(text, encoding="utf-8")


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with a key of it."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in list(items):
        yield value, key
        if isinstance(part, dict | list):
            yield from places(part)


def mutated(run: Path, draw: random.Random) -> str:
    """Change a value of a document of the run, or remove it; what was done, in words."""
    path = draw.choice(documents(run))
    value = loaded(path)
    container, key = draw.choice(list(places(value)))
    if draw.random() < 0.2:
        told = "removed"
        del container[key]
    else:
        container[key] = draw.choice(VALUES)
        told = repr(container[key])[:60] if container[key] != 10**400 else "10**400"
    try:
        store(path, value)
    except (TypeError, ValueError, AttributeError):  # TOML has no null
        store(path, {"epochs": 10**30})
    if path.name == "state.json":
        reseal_if_possible(path.parent)
    return f"{path.relative_to(run)}: {key}: {told}"


def reseal_if_possible(folder: Path) -> None:
    with suppress(KeyError, TypeError, ValueError):
        reseal(folder)


def answer(*words: str) -> tuple[int, str]:
    """Exit code and last line of a command."""
    err = io.StringIO()
    with redirect_stderr(err), redirect_stdout(io.StringIO()):
        code = main(list(words))
    return code, err.getvalue()


def hold(words: list[str], told: str, codes: tuple[int, ...] = (0, 2)) -> None:
    code, err = answer(*words)
    assert code in codes, (told, words, err)
    assert "Traceback" not in err, (told, err)
    if code:
        last = err.splitlines()[-1]
        assert last.startswith("onecycle: error: "), (told, err)
        assert last.isprintable(), (told, last)


def fuzz(whole: Path, folder: Path, seed: int, count: int, commands: tuple[str, ...]) -> None:
    draw = random.Random(seed)
    for number in range(count):
        run = folder / f"{number}"
        shutil.copytree(whole, run)
        told = mutated(run, draw)
        command = draw.choice(commands)
        if command == "resume" and draw.random() < 0.5:
            (run / "result.json").unlink()
        words = [command, str(run)] + (["--quiet"] if command in ("evaluate", "resume") else [])
        hold(words, told, (0, 1, 2) if command == "resume" else (0, 2))
        shutil.rmtree(run)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts and plots take most of the time, and are drawn from values that were checked."""
    monkeypatch.setattr("onecycle.pictures._write", lambda *_: [])
    monkeypatch.setattr("onecycle.report.page.charts", lambda _: {})


@pytest.mark.faults
def test_values_of_other_kinds_end_in_one_line(whole, tmp_path, undrawn):
    fuzz(whole, tmp_path / "shown", 0, 150, ("report", "report", "compare"))
    fuzz(whole, tmp_path / "worked on", 1, 20, ("evaluate", "resume"))


@fault("values of other kinds in the JSON, the logs or the recipe of a run: 300 changes")
def test_many_values_of_other_kinds(whole, tmp_path, monkeypatch):
    commands = ("report", "report", "compare", "evaluate", "resume")
    for seed in range(100, 103):
        fuzz(whole, tmp_path / str(seed), seed, 100, commands)
