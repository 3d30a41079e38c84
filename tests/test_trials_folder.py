"""Folders of trials and of sweeps with links, damage or exchanged runs; nothing is trained."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import ask
from simulated_runs import recipe, write_run

from onecycle.errors import InputError
from onecycle.sweep import folder as sweeps
from onecycle.sweep.storage import ENDINGS, address
from onecycle.trials import manifest, worker
from onecycle.trials.folder import OWNER, Outcome, TrialsFolder
from onecycle.trials.held import HeldWorker, Order
from onecycle.trials.local import LocalEngine
from onecycle.trials.manifest import Jobs

BASE = recipe()
FIRST = "cutout=0,seed=0"
NAMES = tuple(f"cutout={cutout},seed={seed}" for cutout in (0, 8) for seed in (0, 1))
RIGHT = {name: 20 + 4 * index for index, name in enumerate(NAMES)}
"""How many of 40 test images each trial has right."""


def grid_of(path: Path) -> TrialsFolder:
    """A folder with four finished trials: two values of cutout and two seeds."""
    place = TrialsFolder.at(path, BASE)
    found = manifest.new(BASE, {"cutout": (0, 8)}, (0, 1), None, ())
    manifest.write(path, found)
    for trial in found.trials():
        right_N = np.arange(40) < RIGHT[trial.name]
        write_run(place.run(trial.name), right_N, seed=trial.seed, **trial.settings)
    return place


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TrialsFolder:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    return grid_of(Path("t"))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder outside, with a file."""
    found = tmp_path / "outside"
    found.mkdir()
    (found / "precious.txt").write_text("precious")
    return found


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# ------------------------------------------------------------------------------------------ links


def test_the_folder_itself_may_be_a_link(place: TrialsFolder) -> None:
    Path("there").symlink_to(place.path)
    answer = ask("trials --into there --json --reports last")
    assert answer.code == 0, answer.err
    assert all((place.run(name) / "report.html").is_file() for name in NAMES[1::2])


def test_files_that_are_links_are_replaced_and_not_written_through(
    place: TrialsFolder, outside: Path
) -> None:
    before = content(outside)
    for name in (OWNER, "trials.json"):
        kept = place.path / name
        value = kept.read_bytes() if kept.exists() else b""
        kept.unlink(missing_ok=True)
        kept.symlink_to(outside / "precious.txt")
        with place.driving():
            assert content(outside) == before
            if name == "trials.json":
                manifest.write(place.path, manifest.new(BASE, {}, (0,), None, ()))
        assert content(outside) == before
        kept.unlink(missing_ok=True)
        kept.write_bytes(value)
    place.note_outcome(FIRST, Outcome(state="saved"))
    path = place.path / f".workers/{FIRST}.json"
    path.unlink()
    path.symlink_to(outside / "precious.txt")
    place.note_outcome(FIRST, Outcome(state="saved"))
    assert not path.is_symlink()
    path.unlink()
    path.symlink_to(outside / "precious.txt")
    place.forget_outcome(FIRST)
    assert content(outside) == before


ENTRIES = {
    ".workers": True, ".workers/slurm": True, FIRST: True, ".lock": False,
    f".workers/{FIRST}.log": False, f".workers/{FIRST}.lock": False,
}  # fmt: skip
"""What may not be a link, and whether it is a folder."""


@pytest.mark.parametrize("there", [True, False], ids=["to something", "to nothing"])
@pytest.mark.parametrize("name", ENTRIES)
def test_a_link_in_a_folder_of_trials_is_refused_and_not_followed(
    name: str, there: bool, place: TrialsFolder, outside: Path
) -> None:
    entry, target = place.path / name, outside / ("there" if there else "new")
    if entry.exists():
        entry.rename(target if there else place.path / "moved")
    elif there:
        target.mkdir() if ENTRIES[name] else target.touch()
    entry.symlink_to(target)
    before = content(outside), sorted(outside.rglob("*"))
    answer = ask(f"trials --into {place.path} --reports all")
    kind = "folder" if ENTRIES[name] else "file"
    assert answer.err == (
        f"onecycle: error: {entry}: is a link, not a {kind}; put the {kind} itself in its place\n"
    )
    assert (answer.code, answer.out) == (2, "")
    assert (content(outside), sorted(outside.rglob("*"))) == before


def test_a_file_in_place_of_the_workers_folder_is_named(place: TrialsFolder) -> None:
    (place.path / ".workers").rmdir()
    (place.path / ".workers").touch()
    answer = ask(f"trials --into {place.path}")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        "onecycle: error: t/.workers: is a file, not a folder; put the folder itself in its place\n"
    )


def test_workers_follow_no_link(place: TrialsFolder, outside: Path) -> None:
    """A worker may begin long after its driver looked."""
    run = place.run(FIRST)
    (run / "result.json").unlink()
    run.rename(outside / "run")
    run.symlink_to(outside / "run")
    log = place.log(FIRST)
    log.symlink_to(outside / "precious.txt")
    before = content(outside)
    link = "is a link, not a"
    with pytest.raises(InputError, match=link):
        worker.carry_out(place, FIRST)
    with (
        LocalEngine(place, Jobs(jobs=1, threads=1)) as engine,
        pytest.raises(InputError, match=link),
    ):
        engine.submit(FIRST)
    with pytest.raises(OSError, match="symbolic link"):
        HeldWorker(Order(str(place.path), FIRST, str(log), 1, False, str(outside)))
    (place.path / f".workers/{FIRST}.lock").symlink_to(outside / "lock")
    with pytest.raises(InputError, match=link), place.working_on(FIRST):
        pass
    assert content(outside) == before


def _workers_outside(place: TrialsFolder, outside: Path) -> None:
    (place.path / ".workers").rmdir()
    (place.path / ".workers").symlink_to(outside)


@pytest.mark.parametrize(
    "act",
    [
        lambda place: place.note_outcome("precious", Outcome(state="saved")),
        lambda place: place.forget_outcome("precious"),
        lambda place: place.note_job("precious", "7"),
        lambda place: place.note_job("precious", ""),
        lambda place: place.open_log("precious.txt"),
        lambda place: place.working_on("precious").__enter__(),
    ],
    ids=["note", "forget", "job", "no job", "log", "lock"],
)
def test_nothing_is_done_where_the_workers_folder_is_a_link(
    act: Callable[[TrialsFolder], object], place: TrialsFolder, outside: Path
) -> None:
    for ending in ("json", "job"):
        (outside / f"precious.{ending}").write_text("precious")
    _workers_outside(place, outside)
    before = content(outside)
    with pytest.raises(InputError, match=r"\.workers: is a link, not a folder"):
        act(place)
    assert content(outside) == before


@pytest.mark.parametrize("name", [sweeps.TRIALS, sweeps.FINAL])
def test_folders_of_a_sweep_may_not_be_links(name: str, tmp_path: Path, outside: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "sweep.json").write_text("{}")
    (folder / name).symlink_to(outside)
    with pytest.raises(InputError, match=f"s/{name}: is a link, not a folder"):
        sweeps.at(folder, BASE)
    (folder / name).unlink()
    (tmp_path / "there").symlink_to(folder)
    assert sweeps.at(tmp_path / "there", BASE) == tmp_path / "there"


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_database_in_the_folder_of_a_sweep_may_not_be_a_link(
    ending: str, tmp_path: Path, outside: Path
) -> None:
    file = tmp_path / "study.db"
    (tmp_path / f"study.db{ending}").symlink_to(outside / "new.db")
    with pytest.raises(InputError, match=f"study.db{ending}: is a link, not a file"):
        address("", file)
    named = f"sqlite:///{file}"
    assert address(named, file) == named  # one that is asked for may be reached over links


def test_the_folder_of_a_database_may_be_reached_over_a_link(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "there").symlink_to(outside)
    assert (
        address("", tmp_path / "there/study.db")
        == f"sqlite:///{os.path.realpath(outside)}/study.db"
    )


# ------------------------------------------------------------------------- damaged and exchanged


def told(name: str) -> dict[str, Any]:
    """What `trials --json` says of a trial of the folder t."""
    answer = ask("trials --into t --reports none --quiet --json")
    assert answer.code == 1
    return {each["name"]: each for each in json.loads(answer.out)["trials"]}[name]


def test_a_run_without_its_recipe_does_not_hide_the_others(place: TrialsFolder) -> None:
    (place.run(FIRST) / "recipe.toml").unlink()
    found = told(FIRST)
    assert found["state"] == "failed"
    assert "recipe.toml: can't be read: No such file" in found["message"]
    answer = ask("trials --into t --reports none --quiet")
    assert answer.code == 1
    assert f"{RIGHT[NAMES[1]] / 0.4:.2f}" in answer.out


@pytest.mark.parametrize("other", ["cutout=8,seed=0", "cutout=0,seed=1"])
def test_a_run_in_the_place_of_another_trial_is_told(place: TrialsFolder, other: str) -> None:
    place.run(FIRST).rename("aside")
    place.run(other).rename(place.run(FIRST))
    Path("aside").rename(place.run(other))
    for name in (FIRST, other):
        found = told(name)
        assert (found["state"], found["test_accuracy"]) == ("failed", None)
        assert "is the run of another trial" in found["message"]
        assert "put the folders back in their places" in found["message"]


def test_a_damaged_run_is_to_be_removed_before_it_is_trained_again(place: TrialsFolder) -> None:
    """With its result.json it counts as finished, so trying again alone would never help."""
    (place.run(FIRST) / "result.json").write_text("{")
    answer = ask("trials --into t --reports none --quiet")
    assert answer.code == 1
    told = f"if you can't mend it, remove 't/{FIRST}', and try again with: onecycle trials --into"
    assert told in answer.err
