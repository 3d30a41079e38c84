"""Where a run's images lie: found again from any folder, and never taken for others of the name."""

import json
import shutil
from pathlib import Path

import pytest
from small_folders import make_table
from test_evaluating import CLASSES, SMALL, make_images
from test_training import Stopper

from onecycle import training
from onecycle.config import override, read_recipe, to_toml
from onecycle.errors import InputError, Interrupted


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was started in `home` with a relative path and stopped; now in another folder."""
    home = tmp_path / "home"
    make_images(home / "photos", 1, dict.fromkeys(CLASSES, 10))
    monkeypatch.chdir(home)
    with pytest.raises(Interrupted) as stop:
        training.train(
            override(SMALL, data="photos"), runs="runs", progress=Stopper(4), report=False
        )
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "away")
    return home / (stop.value.run or "")


def recorded(run: Path) -> dict:
    return json.loads((run / "environment.json").read_text())


def test_the_absolute_path_is_recorded_beside_the_given_one(stopped: Path) -> None:
    assert read_recipe(stopped / "recipe.toml").data == "photos"
    assert recorded(stopped)["data_given"] == "photos"
    assert recorded(stopped)["data_path"] == str(stopped.parents[1] / "photos")


def test_every_command_finds_the_images_from_another_folder(stopped: Path) -> None:
    assert training.evaluate_run(stopped)["test_images"] == 6
    finished = training.resume(stopped, report=False)
    assert finished.result["data"] == "photos"
    assert training.verify(stopped).equal
    found = training.evaluate_run(stopped)
    assert (found["data"], found["test_loss"]) == ("photos", finished.result["test_loss"])


def test_another_folder_of_the_same_name_is_not_taken(stopped: Path) -> None:
    make_images(Path("photos"), 9, dict.fromkeys(CLASSES, 10))
    resumed = training.resume(stopped, report=False)
    assert resumed.result["data_fingerprint"] == recorded(stopped)["data_fingerprint"]
    there = stopped.parents[1] / "photos"
    there.rename(there.with_name("gone"))
    with pytest.raises(InputError, match="'photos' does not hold the images"):
        training.evaluate_run(stopped)


def test_the_same_images_under_the_given_path_are_taken(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stopped.parents[1] / "photos").rename("photos")
    assert training.evaluate_run(stopped)["test_images"] == 6
    assert training.resume(stopped, report=False).result["test_images"] == 6
    assert recorded(stopped)["data_path"] == str(Path.cwd() / "photos")


def test_neither_path_is_there(stopped: Path) -> None:
    there = stopped.parents[1] / "photos"
    moved = there.rename(there.with_name("moved"))
    line = (
        f"data: there is no path '{there}', where the run found its images, nor 'photos' here; "
        "say where they are with --data"
    )
    for command in (training.resume, training.evaluate_run, training.verify):
        with pytest.raises(InputError) as caught:
            command(stopped)
        assert str(caught.value) == line
    resumed = training.resume(stopped, data=str(moved), report=False)
    assert resumed.result["data"] == "photos"
    assert read_recipe(stopped / "recipe.toml").data == "photos"
    assert recorded(stopped)["data_path"] == str(moved)
    assert recorded(stopped)["resumed"][0]["allowed_differences"] == []
    assert training.evaluate_run(stopped)["test_loss"] == resumed.result["test_loss"]


def test_resume_refuses_other_images_that_are_named(stopped: Path) -> None:
    make_images(Path("others"), 9, dict.fromkeys(CLASSES, 10))
    with pytest.raises(InputError, match="data_fingerprint was .* and is now"):
        training.resume(stopped, data="others", report=False)


def test_an_edited_path_in_the_recipe_counts(stopped: Path) -> None:
    there = stopped.parents[1] / "photos"
    moved = there.rename(there.with_name("moved"))
    recipe = override(read_recipe(stopped / "recipe.toml"), data=str(moved))
    (stopped / "recipe.toml").write_text(to_toml(recipe))
    assert training.resume(stopped, report=False).result["data"] == str(moved)
    assert training.evaluate_run(stopped)["test_images"] == 6


def test_a_link_stays_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_images(tmp_path / "version-1", 1, dict.fromkeys(CLASSES, 5))
    (tmp_path / "current").symlink_to("version-1")
    monkeypatch.chdir(tmp_path)
    run = training.train(override(SMALL, data="current"), runs="runs", report=False).path.absolute()
    assert recorded(run)["data_path"] == str(tmp_path / "current")
    (tmp_path / "version-1").rename("version-2")
    (tmp_path / "current").unlink()
    (tmp_path / "current").symlink_to("version-2")
    monkeypatch.chdir("/")
    assert training.evaluate_run(run)["test_images"] == 3


def test_a_table_with_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_images(tmp_path / "images", 1, dict.fromkeys(CLASSES, 5))
    rows = [[f"images/{label}/{index}.png", label] for label in CLASSES for index in range(5)]
    make_table(tmp_path / "table.csv", rows)
    monkeypatch.chdir(tmp_path)
    run = training.train(
        override(SMALL, data="table.csv"), runs="runs", report=False
    ).path.absolute()
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    assert training.evaluate_run(run)["test_images"] == 3


def test_a_built_in_set_has_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = override(SMALL, data="shapes", train_limit=20, test_limit=10, epochs=1)
    run = training.train(recipe, runs=tmp_path / "runs", report=False).path
    assert recorded(run)["data_path"] is None
    (tmp_path / "shapes").mkdir()
    monkeypatch.chdir(tmp_path)
    assert training.evaluate_run(run)["test_images"] == 10


def test_a_run_of_an_older_version_is_found_by_its_recipe(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {k: v for k, v in recorded(stopped).items() if k not in ("data_given", "data_path")}
    (stopped / "environment.json").write_text(json.dumps(known))
    with pytest.raises(InputError, match="there is no path 'photos'"):
        training.evaluate_run(stopped)
    monkeypatch.chdir(stopped.parents[1])
    assert training.evaluate_run(stopped)["test_images"] == 6


def test_a_copied_run_is_evaluated_without_its_images(stopped: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(stopped, tmp_path / "copy"))
    shutil.rmtree(stopped.parents[1])
    make_images(tmp_path / "some", 2, {"cat": 3})
    assert training.evaluate_run(copy, data=str(tmp_path / "some"))["test_images"] == 3
