"""Archives and arrays do all that a folder does: training, resuming, evaluating, exporting."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_archives import packed
from test_evaluating import CLASSES, SMALL, make_images
from test_training import Stopper

import onecycle
from onecycle import training
from onecycle.cli import main
from onecycle.config import override
from onecycle.data import folder
from onecycle.errors import Interrupted
from onecycle.run_dir import RunDir

DATA_MD = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")


def as_arrays(root: Path, path: Path) -> Path:
    """The images of a folder with splits as an .npz file."""
    loaded = folder.load(root)
    given: dict[str, np.ndarray] = {"classes": np.array(loaded.train.classes)}
    for split, part in (("train", loaded.train), ("test", loaded.test)):
        given[f"{split}_images"] = part.images_NHWC
        given[f"{split}_labels"] = part.labels_N
    np.savez_compressed(path, **given)  # pyright: ignore[reportArgumentType]
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own") / "photos"
    make_images(root / "train", 1, dict.fromkeys(CLASSES, 8))
    make_images(root / "test", 2, dict.fromkeys(CLASSES, 4))
    return root


@pytest.fixture(scope="module")
def of_folder(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> training.Run:
    recipe = override(SMALL, data=str(photos), tta=False)
    return training.train(recipe, runs=tmp_path_factory.mktemp("runs"), report=False)


MAKE = {
    "photos.zip": lambda root, path: packed(path, root, top="photos"),
    "photos.tar.gz": lambda root, path: packed(path, root),
    "photos.npz": as_arrays,
}


@pytest.mark.faults
@pytest.mark.parametrize("name", MAKE)
def test_a_run_has_the_bits_of_one_on_the_folder(name, photos, of_folder, tmp_path):
    """Stopped, resumed on the source in another place, evaluated on it, and on the folder."""
    source = MAKE[name](photos, tmp_path / name)
    recipe = override(SMALL, data=str(source), tta=False)
    with pytest.raises(Interrupted):
        training.train(recipe, runs=tmp_path / "runs", progress=Stopper(3), report=False)
    (path,) = (tmp_path / "runs").iterdir()
    moved = source.rename(tmp_path / f"moved{''.join(source.suffixes)}")
    run = training.resume(path, data=str(moved), report=False)
    first, second = RunDir.open(of_folder.path).result(), RunDir.open(run.path).result()
    assert first is not None
    assert second is not None
    assert second.weights_sha256 == first.weights_sha256
    assert second.data_fingerprint == first.data_fingerprint
    evaluated = training.evaluate_run(run.path, data=str(moved))
    assert evaluated["test_accuracy"] == second.test_accuracy
    assert evaluated["test_images"] == 12
    on_folder = training.evaluate_run(run.path, data=str(photos))
    other = (
        "data",
        "data_fingerprint",
    )  # arrays have numbers for names: it's not known as the same
    assert {**evaluated, **dict.fromkeys(other)} == {**on_folder, **dict.fromkeys(other)}


@pytest.mark.faults
@pytest.mark.parametrize("name", ["photos.zip", "photos.npz"])
def test_every_command_takes_it(name, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = MAKE[name](photos, tmp_path / name).name
    small = "--epochs 1 --width 0.125 --head-scale 0.125 --batch-size 8 --cutout 4 --crop-padding 2"
    rates = "--lr-max 0.05 --lr-min 0.005 --precision fp32"
    train = f"train custom-resnet-8 --data {source} {small} {rates} --json"
    assert main(train.split()) == 0
    run = json.loads(capsys.readouterr().out)["run"]
    report = Path(run, "report.html").read_text("utf-8")
    assert ("ant/0.png" if name == "photos.zip" else "test/00000") in report
    with np.load(Path(run, "predictions.npz")) as found:
        assert len(found["names"]) == 12
    for line in (
        f"data {source}",
        f"find-lr custom-resnet-8 --data {source} {small} --lr-steps 10",
        f"summary custom-resnet-8 --data {source} {small}",
        f"evaluate {run} --data {source} --predictions said.csv",
        f"report {run}",
    ):
        assert main(line.split()) == 0, line
    assert main(["export", run, "--format", "pt2", "--output", "net.pt2"]) == 0
    assert len(onecycle.load(run).classes) == 3


@pytest.mark.faults
def test_predict_says_that_it_takes_folders(photos, of_folder, tmp_path, capsys):
    source = MAKE["photos.zip"](photos, tmp_path / "photos.zip")
    assert main(["predict", str(of_folder.path), str(source)]) == 2
    assert "is an archive; unpack it, and give its folder or its images" in capsys.readouterr().err


def commands(section: str) -> list[str]:
    """The commands of a section of docs/data.md."""
    text = DATA_MD.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^    onecycle (.+)$", text, flags=re.MULTILINE)


def programs(section: str) -> list[str]:
    text = DATA_MD.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.faults
@pytest.mark.parametrize("section", ["Archives", "Arrays"])
def test_the_documented_commands_work(section, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    packed(tmp_path / "photos.zip", photos)
    for program in programs(section):
        subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
    assert commands(section)
    for line in commands(section):
        small = "--epochs 1 --width 0.125 --lr-max 0.05 --lr-min 0.005 --batch-size 8".split()
        words = line.split()
        assert main(words + (small if words[0] == "train" else [])) == 0
    shutil.rmtree(tmp_path / "runs")
