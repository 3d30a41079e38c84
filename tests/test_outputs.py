"""No command replaces what it reads, or a part of a run, with what it writes."""

import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from asking import ask
from PIL import Image

import onecycle
from onecycle.errors import InputError
from onecycle.experiments.marked import END
from onecycle.inference.sources import on_standard_input
from onecycle.writing.outputs import PARTS, check_output


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run and the images of which it came."""
    place = tmp_path_factory.mktemp("trained")
    noise = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = place / "photos" / split / name
            folder.mkdir(parents=True)
            for index in range(6):
                pixels = noise.integers(0, 256, (16, 16, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    recipe = onecycle.override(
        onecycle.named("demo").recipe, data=str(place / "photos"), epochs=1, width=0.1,
        lr_max=0.1, lr_min=0.01,
    )  # fmt: skip
    onecycle.train(recipe, runs=place, name="run", report=True)
    return place


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own with the run, class folders, and a table, an archive and arrays."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained / "photos", "photos")
    shutil.copytree(trained / "run", "run")
    files = sorted(Path("photos").rglob("*.png"))
    rows = [f"{file},{file.parent.name},{file.parts[1]}" for file in files]
    Path("table.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    shutil.make_archive("photos", "zip", "photos")
    np.savez(
        "set.npz",
        images=np.stack([np.asarray(Image.open(file)) for file in files]),
        labels=np.array([file.parent.name == "dog" for file in files], np.int64),
    )
    np.savez("weights.npz", a=np.zeros(1))
    Path("link.csv").symlink_to("table.csv")
    Path("linked").symlink_to("photos")
    with Path("run/train.log").open("a") as log:
        log.write(f"<!-- onecycle compare: . -->\n{END}\n")
    Path("log.md").symlink_to("run/train.log")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


PHOTO = "photos/train/cat/0.png"
ELSEWHERE = "so the next call would read it too; name a place elsewhere"
READ = "is read by this command; name another file"
LOST = {
    "data set.npz --contact-sheet set.npz": "--contact-sheet: 'set.npz' would be a PNG file; end",
    "data photos --contact-sheet sheet.jpg": "--contact-sheet: 'sheet.jpg' would be a PNG file",
    f"data photos --contact-sheet {PHOTO}": f"--contact-sheet: '{PHOTO}' is in 'photos', so",
    "data photos --contact-sheet photos/new.png": f"'photos/new.png' is in 'photos', {ELSEWHERE}",
    "data photos --contact-sheet linked/new.png": f"'linked/new.png' is in 'photos', {ELSEWHERE}",
    "data linked --contact-sheet photos/new.png": f"'photos/new.png' is in 'linked', {ELSEWHERE}",
    f"data table.csv --contact-sheet {PHOTO}": f"--contact-sheet: '{PHOTO}' {READ}",
    f"find-lr demo --data table.csv --plot linked/{PHOTO[7:]}": f"--plot: 'linked/{PHOTO[7:]}'",
    f"find-lr demo --data photos --plot {PHOTO}": f"--plot: '{PHOTO}' is in 'photos', so",
    "find-lr demo --data photos --plot run/plots/curves.png": "--plot: 'run/plots/curves.png' is a "
    "part of the run 'run'; name another file",
    f"predict run {PHOTO} --contact-sheet {PHOTO}": f"--contact-sheet: '{PHOTO}' {READ}",
    f"predict run table.csv --contact-sheet {PHOTO}": f"--contact-sheet: '{PHOTO}' {READ}",
    "predict run table.csv --output table.csv": f"--output: 'table.csv' {READ}",
    "predict run table.csv --output link.csv": f"--output: 'link.csv' {READ}",
    "predict run link.csv --output table.csv": f"--output: 'table.csv' {READ}",
    f"predict run photos --format csv --output {PHOTO}": f"--output: '{PHOTO}' {READ}",
    "predict run photos --output run/result.json": "--output: 'run/result.json' is a part of the",
    "predict run photos --output run/Metrics.JSONL": "--output: 'run/Metrics.JSONL' is a part of",
    "predict run photos --contact-sheet run/plots/a.png": "is a part of the run 'run'; name",
    "evaluate run --predictions run/predictions.npz": "'run/predictions.npz' is a part of the run",
    "evaluate run --data table.csv --predictions table.csv": f"predictions: 'table.csv' {READ}",
    "evaluate run --data set.npz --predictions set.npz": f"predictions: 'set.npz' {READ}",
    "compare run --html run/report.html": "--html: 'run/report.html' is a part of the run 'run'",
    "compare --update run/train.log": "--update: 'run/train.log' is a part of the run 'run'; name",
    "compare run --update run/train.log": "--update: 'run/train.log' is a part of the run 'run'",
    "compare --update log.md": "/run/train.log' is a part of the run 'run'; name another file",
}


@pytest.mark.parametrize("line", LOST)
def test_what_would_be_lost_is_refused_in_one_line(place: Path, line: str) -> None:
    before = contents(place)
    answer = ask(line)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("onecycle: error: ")
    assert LOST[line] in answer.err
    assert answer.err.count("\n") == 1
    assert contents(place) == before


def test_an_image_from_standard_input_is_not_replaced(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(place)
    read, write = os.pipe()
    os.write(write, f"photos/test/cat/0.png\n{PHOTO}\n".encode())
    os.close(write)
    monkeypatch.setattr(
        "onecycle.inference.sources.on_standard_input", partial(on_standard_input, read)
    )
    answer = ask(f"predict run - --contact-sheet {PHOTO}")
    os.close(read)
    assert answer.code == 2
    assert f"--contact-sheet: '{PHOTO}' {READ}" in answer.err
    assert contents(place) == before


def test_from_python_too(place: Path) -> None:
    before = contents(place)
    for data, file in (("table.csv", "table.csv"), (None, "run/predictions.npz")):
        with pytest.raises(InputError, match=r"predictions: '.*' is"):
            onecycle.evaluate_run("run", data=data, predictions=file)
    assert contents(place) == before


def test_what_was_written_before_is_written_again(place: Path) -> None:
    """Files of the user's own are replaced, also in the folder of the run."""
    lines = [
        "predict run photos --output run/rows.csv --contact-sheet run/sheet.png",
        "predict run photos --output photos/rows.csv --contact-sheet sheet.png",
        "evaluate run --data table.csv --predictions run/mine.csv",
        "data photos --contact-sheet sheet.png",
        "compare run --html compared.html",
    ]
    for line in [*lines, *lines]:
        assert ask(line).code == 0, line


def test_every_part_of_a_run_is_known(trained: Path, tmp_path: Path) -> None:
    for path in (trained / "run").iterdir():
        with pytest.raises(InputError, match="is a part of the run 'run'"):
            check_output("--output", trained / "run" / path.name)
    for known, parts, kind in PARTS:
        folder = tmp_path / kind
        folder.mkdir()
        for name in known[1:]:
            (folder / name).touch()
        for name in parts:  # as long as it is not a run's folder, it is the user's
            assert check_output("--output", folder / name) == folder / name
        for name in known:
            (folder / name).touch()
        for name in parts:
            with pytest.raises(InputError, match=f"is a part of the {kind}"):
                check_output("--output", folder / name)
