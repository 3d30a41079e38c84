"""Data sets of Hugging Face on disk: made by its own library, and broken ones by pyarrow."""

import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import EDITS, FUZZ, edited, outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from small_archives import png
from small_folders import CLASSES, Recorder, drawn, make_split

from onecycle.cli import main
from onecycle.data import hugging_face, load_all, load_splits
from onecycle.data.folder.kept import Settings
from onecycle.data.hugging_face import HuggingFaceSource
from onecycle.errors import InputError
from onecycle.progress import SILENT

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

SAVING = """
import datasets

datasets.disable_progress_bars()
found = datasets.load_dataset("imagefolder", data_dir="set", cache_dir="made")
found = datasets.DatasetDict(train=found["train"], validation=found["test"], test=found["test"])
found.save_to_disk("saved")
found["train"].save_to_disk("one", num_shards=2)
found = datasets.load_from_disk("saved")
for split, part in found.items():
    part.to_parquet(f"hub/data/{split}-00000-of-00001.parquet")
texts = [found["train"].features["label"].int2str(label) for label in found["train"]["label"]]
part = found["train"].remove_columns("label").add_column("class", texts).add_column("note", texts)
part.save_to_disk("texts")
hidden = found["test"].map(lambda row: {"label": -1}, batched=False)
datasets.DatasetDict(train=found["train"], test=hidden).save_to_disk("hidden")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with class folders, `set`, and data sets that the library made of them."""
    if importlib.util.find_spec("datasets") is None:
        pytest.skip("the library datasets is not installed")
    place = tmp_path_factory.mktemp("hugging")
    make_split(place / "set", ["png", "jpg"])
    (place / "hub" / "data").mkdir(parents=True)
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(place / "home")}
    subprocess.run([sys.executable, "-c", SAVING], cwd=place, env=env, check=True, timeout=120)
    shutil.rmtree(place / "made")
    return place


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a cache of its own; HF's own settings lead nowhere."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("ONECYCLE_CACHE", str(tmp_path / "cache"))
    for name in ("HF_HOME", "HF_DATASETS_CACHE", "HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.setenv(name, "/nowhere")
    return tmp_path


@pytest.mark.faults
@pytest.mark.parametrize("name", ["saved", "hub"])
def test_a_saved_data_set_has_the_pixels_of_the_files_that_it_was_made_of(name, made, place):
    wanted, found = load_splits(str(made / "set")), load_splits(str(made / name))
    assert found.kind == "Hugging Face data set, val in 'validation'"
    assert found.train.classes == CLASSES
    assert found.val is not None
    for one, other in ((found.train, wanted.train), (found.test, wanted.test)):
        assert np.array_equal(one.images_NHWC, other.images_NHWC)
        assert np.array_equal(one.labels_N, other.labels_N)
    assert found.val.digest() == found.test.digest() == wanted.test.digest()
    assert found.test.names[:2] == ("test/00000", "test/00001")
    assert load_all(str(made / name)).fingerprint == load_all(str(made / "set")).fingerprint


@pytest.mark.faults
def test_one_split_is_divided_and_read_from_all_its_files(made, place):
    assert len(list((made / "one").glob("*.arrow"))) == 2
    found = load_splits(str(made / "one"), image_size=8)
    assert found.kind == "Hugging Face data set, 20 % of each class set apart to test"
    assert (len(found.train), found.val, len(found.test)) == (3, None, 3)


@pytest.mark.faults
def test_labels_may_be_texts_in_a_column_of_the_usual_name(made, place):
    found, wanted = load_all(str(made / "texts")), load_all(str(made / "one"))
    assert found.images.classes == CLASSES
    assert found.fingerprint == wanted.fingerprint


@pytest.mark.faults
def test_a_split_without_labels_is_left_out(made, place):
    found = load_splits(str(made / "hidden"))
    assert found.left_out.unlabelled_folders == ("test",)
    assert len(found.train) + len(found.test) == 6


@pytest.mark.faults
def test_it_is_read_once_and_without_a_network(made, place, monkeypatch):
    load_splits(str(made / "saved"))
    listener = Recorder()
    load_splits(str(made / "saved"), progress=listener)
    assert listener.stages == {}
    (kept,) = (place / "cache").iterdir()
    assert "unpacked" not in {file.name for file in kept.iterdir()}


@pytest.mark.faults
def test_commands_take_it(made, place, capsys):
    small = "--epochs 1 --width 0.1 --batch-size 4 --image-size 16 --lr-max 0.05 --lr-min 0.005"
    for name in ("saved", "hub"):
        assert main(["data", str(made / name)]) == 0
    capsys.readouterr()
    shutil.copytree(made / "saved", "set")
    text = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    section = text.partition("\n## Hugging Face data sets\n")[2].partition("\n## ")[0]
    (command,) = re.findall(r"^    onecycle (.+)$", section, flags=re.MULTILINE)
    assert main(f"{command} {small} --cutout 4 --no-report --json".split()) == 0
    run = json.loads(capsys.readouterr().out)["run"]
    assert main(["evaluate", run, "--data", str(made / "hub")]) == 0


@pytest.mark.faults
def test_a_missing_library_is_named_with_the_extra(made, place, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["data", str(made / "saved")]) == 2
    line = "pyarrow is not installed; get it with: pip install 'onecycle[datasets]'"
    assert line in capsys.readouterr().err


# ----------------------------------------------------------------------------------- bad data sets

Image = dict[str, Any]
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES: dict[str, Any] = {
    "image": {"_type": "Image"},
    "label": {"_type": "ClassLabel", "names": ["ant", "bee"]},
}


def write(path: Path, table: Any) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def saved(
    folder: Path,
    images: list[Image | None] | None = None,
    labels: Any = None,
    features: dict[str, Any] | None = None,
    **columns: Any,
) -> Path:
    """A saved Dataset of six images of two classes, written by pyarrow."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"bytes": png(n), "path": None} for n in range(6)] if images is None else images
    given = [0, 1, 0, 1, 0, 1] if labels is None else labels
    table = pa.table({"image": pa.array(rows, STRUCT), "label": pa.array(given), **columns})
    features = FEATURES if features is None else features
    write(folder / "data.arrow", table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return folder


def state(**content: Any) -> Callable[[Path], Any]:
    return lambda path: (saved(path) / "state.json").write_text(json.dumps(content))


def cut(path: Path) -> None:
    file = saved(path) / "data.arrow"
    file.write_bytes(file.read_bytes()[:-800])


def outside(name: str) -> Callable[[Path], Any]:
    def make(path: Path) -> None:
        Path("secret.png").write_bytes(png())
        saved(path)
        (path / "link.png").symlink_to("../secret.png")
        saved(path, [{"bytes": None, "path": name}] * 6)

    return make


def without_labels(path: Path) -> None:
    saved(path, labels=[None] * 6)


def two_images(path: Path) -> None:
    twice = pa.array([{"bytes": png(), "path": None}] * 6, STRUCT)
    features = {**FEATURES, "left": {"_type": "Image"}, "right": {"_type": "Image"}}
    saved(path, features=features, left=twice, right=twice)
    table = pa.ipc.open_stream((path / "data.arrow").read_bytes()).read_all()
    write(path / "data.arrow", table.drop(["image"]))


def named(names: Any) -> Callable[[Path], Any]:
    label = {"_type": "ClassLabel", "names": names}
    return lambda path: saved(path, features={**FEATURES, "label": label})


AGAIN = "save the data set again"
BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a file that is missing": (
        state(_data_files=[{"filename": "other.arrow"}]),
        f"'set/other.arrow' is missing; {AGAIN}",
    ),
    "a file elsewhere": (
        state(_data_files=[{"filename": "../../etc/passwd"}]),
        "'set' names the file '../../etc/passwd', which points out of it; don't trust it, or save "
        "it again",
    ),
    "a split without rows": (
        state(_data_files=[]),
        "'set' has no rows; save the data set again without this split",
    ),
    "no list of files": (state(), f"'set/state.json' is damaged; {AGAIN}"),
    "metadata that are no JSON": (
        lambda path: (saved(path) / "dataset_info.json").write_text("{"),
        f"'set/dataset_info.json' is damaged; {AGAIN}",
    ),
    "an order of its own": (
        state(_data_files=[{"filename": "data.arrow"}], _indices_files=[{"filename": "x"}]),
        "'set' was saved by an old version of datasets, with an order of its own; load and save "
        "it again with a newer one",
    ),
    "an Arrow file cut off": (cut, "'set/data.arrow' is damaged or cut off ("),
    "an image elsewhere": (
        outside("../secret.png"),
        "'set' names the image '../secret.png', which is not in it; save it again with the images "
        "inside, by save_to_disk",
    ),
    "an image behind a link": (
        outside("link.png"),
        "'set' names the image 'link.png', which is not in it; save it again with the images "
        "inside, by save_to_disk",
    ),
    "a device for an image": (
        outside("/dev/zero"),
        "'set' names the image '/dev/zero', which is not in it; save it again with the images "
        "inside, by save_to_disk",
    ),
    "no column of images": (
        lambda path: saved(
            path,
            [None] * 6,
            features={"label": FEATURES["label"], "image": {"_type": "Value"}},
        )
        and _renamed(path, ["thing", "label"], drop_bytes=True),
        "'set' has no column of images, only 2 columns ('thing', 'label'); give one the type "
        "Image, with cast_column",
    ),
    "no column of labels": (
        lambda path: saved(path, features={}) and _renamed(path, ["image", "number"]),
        "'set' has no column of labels, only 2 columns ('image', 'number'); give one the type "
        "ClassLabel, with cast_column",
    ),
    "two columns of images": (
        two_images,
        "'set' has 2 columns ('left', 'right') of images; keep one, with remove_columns",
    ),
    "several labels for an image": (
        lambda path: saved(path, labels=[[0, 1]] * 6),
        "the column 'label' of 'set' has several labels for each image, or none that are whole "
        "numbers or texts; one is needed",
    ),
    "no labels at all": (without_labels, "the column 'label' of 'set' has several labels"),
    "a label that is missing": (
        lambda path: saved(path, labels=[0, 1, None, 1, 0, 1]),
        "row 2 of 'set' has no label; give it one, or remove the row",
    ),
    "a label beyond the names": (
        lambda path: saved(path, labels=[0, 1, 0, 7, 0, 1]),
        "row 3 of 'set' has the label '7', which is the name or number of no class; "
        "correct it, or remove the row",
    ),
    "names of classes that are no texts": (
        named([1, 2]),
        "the column 'label' of 'set' has no names of its classes, or one twice; give each class "
        "a name of its own",
    ),
    "the name of a class twice": (
        named(["ant", "ant"]),
        "the column 'label' of 'set' has no names of its classes, or one twice; give each class "
        "a name of its own",
    ),
    "an image that is missing": (
        lambda path: saved(path, [None, *({"bytes": png(n), "path": None} for n in range(5))]),
        "can't read image '00000': it is empty",
    ),
    "an image that is none": (
        lambda path: saved(path, [{"bytes": b"x", "path": None}] * 6),
        "can't read 6 images ('00000', '00001', '00002', …): not an image in a known format",
    ),
    "images that differ in size": (
        lambda path: saved(
            path, [{"bytes": png(n, (8 + n, 8)), "path": None} for n in range(6)]
        ),
        "images differ in size: '00000' is 8x8, '00001' is 9x8; give --image-size, such as "
        "--image-size 8",
    ),
}  # fmt: skip


def _renamed(path: Path, names: list[str], *, drop_bytes: bool = False) -> None:
    """The same columns under other names; images may become numbers."""
    table = pa.ipc.open_stream((path / "data.arrow").read_bytes()).read_all()
    if drop_bytes:
        table = table.set_column(0, "image", pa.array(range(6)))
    table = table.rename_columns(names)
    write(path / "data.arrow", table)


@pytest.mark.parametrize("what", BAD)
def test_a_bad_data_set_is_refused_in_one_line_and_leaves_nothing(what, place):
    make, line = BAD[what]
    make(Path("set"))
    before = set(place.rglob("*"))
    for load in (load_splits, load_all):
        with pytest.raises(InputError) as error:
            load("set")
        assert str(error.value).startswith(f"data: {line}")
        assert str(error.value).isprintable()
    assert set(place.rglob("*")) - before <= {place / "cache"}


def test_unreadable_images_can_be_skipped(place):
    rows: list[Image | None] = [{"bytes": png(n), "path": None} for n in range(6)]
    saved(Path("set"), [None, *rows], [0, 0, 1, 0, 1, 0, 1])
    found = load_splits("set", on_bad_image="skip")
    assert [image.name for image in found.left_out.bad_images] == ["00000"]


def test_images_in_the_folder_of_the_data_set_are_read(place):
    folder = saved(Path("set"), [{"bytes": None, "path": f"{n}.png"} for n in range(6)])
    for number in range(6):
        (folder / f"{number}.png").write_bytes(png(number))
    saved(Path("other"))
    assert load_splits("set").fingerprint == load_splits("other").fingerprint


def test_splits_in_parquet_files_are_told_apart_by_name(place):
    table = pa.table({
        "image": pa.array([png(n) for n in range(6)]), "label": pa.array(["ant", "bee"] * 3),
    })  # fmt: skip
    for name in ("a/train-0.parquet", "b/train/0000.parquet", "b/test/0000.parquet"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, name)
    assert len(load_splits("b").test) == 6
    assert load_splits("a").train.classes == ("ant", "bee")
    assert len(load_all("a/train-0.parquet").images) == 6
    pq.write_table(table, "a/more.parquet")
    with pytest.raises(InputError, match=r"has file 'more.parquet' whose split is not known"):
        load_splits("a")


PARTS = {
    "blood/train-00000-of-00001 blood/test-00000-of-00001 path/train-00000-of-00001 "
    "path/test-00000-of-00001": "'hub' has Parquet files in 2 folders ('hub/blood', 'hub/path'), "
    "which may be different data sets; give one of them",
    "small/train large/test": "'hub' has Parquet files in 2 folders ('hub/large', 'hub/small')",
    "train-0 data/test-0": "'hub' has Parquet files in 2 folders ('hub', 'hub/data')",
    "train/train-0 training/train-0": "'hub' has Parquet files in 2 folders ('hub/train', ",
    "data/train-00000-of-00002 data/test-00000-of-00001": "'hub/data' lacks 1 file of a split, "
    "such as 'train-00001-of-00002.parquet'; fetch all of them",
    "train-00001-of-00003 train-00002-of-00003": "'hub' lacks 1 file of a split, "
    "such as 'train-00000-of-00003.parquet'; fetch all of them",
    "train-00000-of-00002-0a1b": "'hub' lacks 1 file of a split",
    "train-00000-of-00001 train-00000-of-00002": "'hub' has 2 files ('train-00000-of-00001.parquet'"
    ", 'train-00000-of-00002.parquet') that are not parts of one split; keep those that belong",
    "train-00000-of-00001 train-more": "'hub' has 2 files (",
    "train-00001-of-00001": "'hub' lacks 1 file of a split, such as 'train-00000-of-",
}


def parquet(names: str) -> None:
    table = pa.table({
        "image": pa.array([png(n) for n in range(6)]), "label": pa.array(["ant", "bee"] * 3),
    })  # fmt: skip
    for name in names.split():
        file = Path("hub", f"{name}.parquet")
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, file)


@pytest.mark.parametrize("names", PARTS)
def test_files_that_are_missing_or_of_several_sets_are_refused(names, place):
    parquet(names)
    for load in (load_splits, load_all):
        with pytest.raises(InputError) as error:
            load("hub")
        assert str(error.value).startswith(f"data: {PARTS[names]}")


def test_all_files_of_a_split_are_read(place):
    parquet("data/train-00000-of-00002 data/train-00001-of-00002 data/test-00000-of-00001-0a1b")
    found = load_splits("hub")
    assert (len(found.train), len(found.test)) == (12, 6)
    with pytest.raises(InputError, match="'hub/data' lacks 1 file of a split"):
        load_splits("hub/data/train-00000-of-00002.parquet")
    assert len(load_all("hub/data/test-00000-of-00001-0a1b.parquet").images) == 6


@pytest.mark.parametrize("head", ["version https://git-lfs.github.com/spec/v1\n", "<html>"])
def test_a_file_that_was_not_fetched_is_told(head, place):
    parquet("train-0 test-0")
    Path("hub/test-0.parquet").write_text(head)
    told = r"'hub/test-0.parquet' is a (Git LFS pointer|web page)"
    with pytest.raises(InputError, match=told):
        load_splits("hub")


@pytest.mark.faults
def test_bounds_hold_for_compressed_images(place, monkeypatch):
    """A Parquet file of one large value, a thousand times: 20 kB that unpack to gigabytes."""
    noise = drawn(1, (400, 400))
    content = io.BytesIO()
    noise.save(content, "png")
    column = pa.array([content.getvalue()] * 200)
    pq.write_table(pa.table({"image": column, "label": pa.array([0, 1] * 100)}), "a.parquet")
    assert Path("a.parquet").stat().st_size < 10**6
    monkeypatch.setattr(hugging_face, "SMALL", 10**6)
    monkeypatch.setattr(hugging_face, "MOST_TIMES", 10)
    with pytest.raises(InputError, match="has images of more bytes than any data set needs"):
        load_splits("a.parquet")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = saved(tmp_path_factory.mktemp("arrow") / "set")
    table = pa.ipc.open_stream((folder / "data.arrow").read_bytes()).read_all()
    pq.write_table(table, folder / "a.parquet")
    return {
        "arrow": (folder / "data.arrow").read_bytes(),
        "parquet": (folder / "a.parquet").read_bytes(),
        "info": (folder / "dataset_info.json").read_bytes(),
        "state": (folder / "state.json").read_bytes(),
    }


@pytest.mark.faults
@pytest.mark.parametrize("which", ["arrow", "parquet", "info", "state"])
@given(edits=EDITS, whole=st.booleans())
@settings(max_examples=FUZZ // 3)
def test_a_mutated_data_set_is_read_or_refused(which, samples, edits, whole, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "mutated"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "set").mkdir(parents=True)
    (folder / "out" / "unpacked").mkdir(parents=True)
    contents = {**samples, which: edited(samples[which], edits)}
    names = {"arrow": "data.arrow", "info": "dataset_info.json", "state": "state.json"}
    if which == "parquet":
        names = {"parquet": "train.parquet"}
    for part, name in names.items():
        (folder / "set" / name).write_bytes(contents[part])
    how = Settings(0, "crop", "skip")
    outcome(lambda: HuggingFaceSource(folder / "set").decode(folder / "out", how, whole, SILENT))
    assert {entry.name for entry in folder.iterdir()} == {"set", "out"}
