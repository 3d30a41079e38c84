"""Folders that count as splits or as classes; all labelled images as one set."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from fuzzing import outcome
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_folders import Recorder, make_table, paint

from onecycle.data import load_all, load_splits
from onecycle.data.folder import kept, layout
from onecycle.data.folder.layout import role_of
from onecycle.data.folder.listing import list_folder, list_labelled
from onecycle.data.folder.walking import Passed
from onecycle.errors import InputError

KINDS = ("ant", "bee")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("one") / "x.png")


@pytest.fixture
def fill(tmp_path: Path, image: Path):
    """Makes folders with two images each below a root; or one, if given an image's name."""

    def fill(*folders: str, root: str = "photos") -> Path:
        for folder in folders:
            place = tmp_path / root / folder
            if place.suffix:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(image, place)
                continue
            place.mkdir(parents=True, exist_ok=True)
            for name in ("0.png", "1.png"):
                shutil.copy(image, place / name)
        return tmp_path / root

    return fill


def under(*splits: str, kinds: Iterable[str] = KINDS) -> list[str]:
    return [f"{split}/{kind}" for split in splits for kind in kinds]


# ------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("names", "role"),
    [
        ("train Train TRAIN training Training seg_train train_data train-images trainset", "train"),
        ("TrainingSet train2017 x_train Kaggle-train-v2 TrainImages training_set", "train"),
        ("test Testing TEST seg_test test_data TestSet test-images my.test", "test"),
        ("val valid Validation validation_set valid_data VAL dev val2017 Devel", "val"),
        ("eval Evaluation", "eval"),
        ("unlabeled unlabelled seg_pred submission", "unlabelled"),
        ("ant trainer contest latest valley interval device restrain pretrain 7 _ train_test", ""),
        ("trains testament valve evaluate 训练", ""),
    ],
)
def test_a_split_is_recognised_by_a_word_of_its_name(names, role):
    assert {name: role_of(name) for name in names.split()} == dict.fromkeys(names.split(), role)
    assert role_of("Training Set") == "train"


@given(name=st.text(max_size=30))
def test_any_name_has_a_role_or_none(name):
    assert role_of(name) in ("", "train", "val", "test", "eval", "unlabelled")


# ------------------------------------------------------------------------------------------ splits


def splits_of(root: Path) -> dict[str, list[str]]:
    """The names of the images of each split."""
    found: dict[str, list[str]] = {}
    for file in list_folder(root).files:
        found.setdefault(file.split, []).append(file.name)
    return found


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Test"),
        ("seg_train", "seg_test"),
        ("train_data", "test_data"),
        ("TRAIN", "TEST"),
        ("Train Images", "Test Images"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train/images", "test/images"),
        ("training", "evaluation"),
        ("train", "test"),
    ],
)
def test_train_and_test_under_other_names_are_splits(train, test, fill):
    root = fill(*under(train, test))
    found = splits_of(root)
    assert found == {
        split: [f"{folder}/{kind}/{index}.png" for kind in KINDS for index in range(2)]
        for split, folder in (("train", train), ("test", test))
    }
    assert list_folder(root).classes == KINDS


@pytest.mark.parametrize("val", ["val", "Valid", "validation_data", "dev", "eval"])
def test_val_is_the_validation_split(val, fill, tmp_path):
    root = fill(*under("train", val, "test"))
    splits = load_splits(str(root), cache_dir=tmp_path / "cache")
    assert splits.val is not None
    for images, name in ((splits.train, "train"), (splits.val, val), (splits.test, "test")):
        assert {path.split("/")[0] for path in images.names} == {name}
        assert images.classes == KINDS
        assert list(images.class_counts()) == [2, 2]
    assert not splits.left_out
    without = load_splits(str(fill(*under("train", "test"), root="b")), cache_dir=tmp_path / "c")
    assert splits.fingerprint != without.fingerprint


def test_each_image_of_three_splits_is_its_file(tmp_path):
    for number, name in enumerate(under("train", "val", "test")):
        paint(tmp_path / "photos" / name / "a.png", number)
    for _ in range(2):  # decoded, then from the cache
        splits = load_splits(str(tmp_path / "photos"), cache_dir=tmp_path / "cache")
        assert splits.val is not None
        for images in (splits.train, splits.val, splits.test):
            for pixels, name in zip(images.images_NHWC, images.names, strict=True):
                with Image.open(tmp_path / "photos" / name) as opened:
                    assert np.array_equal(pixels, np.asarray(opened))


@pytest.mark.parametrize("val", ["val", "valid_data"])
def test_without_test_a_fifth_of_train_is_held_out_and_val_stays_complete(val, fill, tmp_path):
    root = fill(*under("train_data", val))
    recorder = Recorder()
    splits = load_splits(str(root), cache_dir=tmp_path / "cache", progress=recorder)
    assert splits.val is not None
    assert (len(splits.train), len(splits.val), len(splits.test)) == (2, 4, 2)
    assert {name.split("/")[0] for name in splits.train.names + splits.test.names} == {"train_data"}
    assert not set(splits.train.names) & set(splits.test.names)
    assert recorder.notes[-1] == (
        "data: no test split, so 20 % of each class of 'train_data' are set apart; "
        f"'{val}' is the validation split; to test on it, rename it to test"
    )
    assert splits.kind.endswith("20 % of each class of train set apart to test")


def test_a_train_folder_alone_and_an_unlabelled_test_folder_are_understood(fill, tmp_path):
    """As in the files of competitions."""
    alone = fill(*under("train"), root="alone")
    assert splits_of(alone).keys() == {"train"}
    root = fill(*under("train"), "test/1.png", "test/2.png", "unlabeled/3.png", "notes/a.txt")
    recorder = Recorder()
    splits = load_splits(str(root), cache_dir=tmp_path / "cache", progress=recorder)
    assert len(splits.train) == len(splits.test) == 2
    assert splits.left_out.unlabelled_folders == ("test", "unlabeled")
    assert splits.left_out.other_folder_names == ("notes",)
    assert any(
        "2 folders ('test', 'unlabeled') without class folders, so without labels" in line
        for line in recorder.notes
    )


@pytest.mark.parametrize("others", [["plane", "car"], ["plane"], ["test station", "car"]])
def test_a_class_called_train_stays_a_class(others, fill):
    root = fill("train", *others)
    assert splits_of(root).keys() == {""}
    assert list_folder(root).classes == tuple(sorted(["train", *others]))
    nested = fill("train/steam", "train/diesel", *others, root="nested")
    assert list_folder(nested).classes == tuple(sorted(["train", *others]))


@pytest.mark.parametrize(
    "folders",
    [
        ["cat/2021", "cat/2022", "dog/2021", "dog/2022"],
        ["cat/2021-05", "cat/2022-06", "dog/2021-05", "dog/2022-06"],
        ["cat/images", "dog/images"],
        ["cat/left", "cat/right", "dog"],
        ["cat/a", "cat/b", "dog/c", "dog/d"],
        ["cat/a/b", "cat", "dog"],
    ],
)
def test_folders_within_classes_are_not_splits(folders, fill):
    assert list_folder(fill(*folders)).classes == ("cat", "dog")


@pytest.mark.parametrize(
    "folders",
    [
        under("2023", "2024"),
        under("fold1", "fold2", "fold3"),
        [*under("one", "two"), "extra/0.png"],
        under("learn", "Testing"),
        under("训练", "测试"),
        [*under("train"), *under("more")],
        ["a/ant", "a/bee", "a/cat", "b/ant", "b/bee"],
        under("cat", "dog", kinds=("train", "test")),
        [f"{part}/{split}/{kind}" for part in ("p", "q") for split in ("train", "test")
         for kind in KINDS],
    ],
)  # fmt: skip
def test_siblings_with_folders_of_the_same_names_are_refused(folders, fill):
    with pytest.raises(InputError, match="contain folders of the same names") as error:
        list_folder(fill(*folders))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("around", ["archive", "archive/data/set"])
def test_for_a_parent_folder_the_message_names_the_right_one(around, fill):
    split = fill(*under(f"{around}/train", f"{around}/test"))
    with pytest.raises(InputError, match=f"photos/{around}' contains 'train' and 'test', so give"):
        list_folder(split)
    flat = fill(*(f"{around}/{kind}" for kind in KINDS), root="flat")
    with pytest.raises(InputError, match=f"the classes, give '.*flat/{around}'"):
        list_folder(flat)
    yolo = fill(*under("images/train", "images/val"), root="yolo")
    (yolo / "labels").mkdir()
    with pytest.raises(InputError, match="images' contains 'train' and 'val', so give that"):
        list_folder(yolo)


def test_train_without_class_folders_next_to_a_test_folder_with_some_is_refused(fill):
    with pytest.raises(InputError, match="'train' in .* has images but no class folders; put"):
        list_folder(fill("train", *under("test")))


def test_empty_folders_next_to_splits_are_skipped_unless_a_split_is_missing(fill):
    root = fill(*under("train", "test"))
    for name in ("test_scripts", "train_logs", "testing", "submission"):
        (root / name).mkdir()
    assert splits_of(root).keys() == {"train", "test"}
    (root / "valid").mkdir()
    with pytest.raises(InputError, match="valid' has neither class folders nor images"):
        list_folder(root)


def test_no_advice_leads_to_training_on_the_test_folder(fill):
    """No error message suggests a test folder."""
    for index, folders in enumerate((under("Test"), under("test", "learn"), under("Test", "val"))):
        with pytest.raises(InputError) as error:
            list_folder(fill(*folders, root=f"{index}"))
        assert f"give '{error.value}" not in str(error.value)
        assert "/Test'" not in str(error.value)
        assert "/test'" not in str(error.value)


def test_links_in_a_circle_end(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "train").symlink_to(tmp_path / "train")
    (tmp_path / "test").symlink_to(tmp_path)
    with pytest.raises(InputError):
        list_folder(tmp_path)


NAMES = st.sampled_from(["train", "Train", "test", "val", "eval", "dev", "seg_pred", "ant", "bee"])


@given(paths=st.lists(st.lists(NAMES, min_size=1, max_size=4).map("/".join), max_size=8))
def test_any_tree_is_read_completely_or_refused_in_one_line(paths, tmp_path_factory):
    """No image is in two splits, or in a different split than its folder."""
    root = tmp_path_factory.getbasetemp() / "trees"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for path in paths:
        (root / path).mkdir(parents=True, exist_ok=True)
        for name in ("0.png", "1.png"):
            (root / path / name).touch()
    outcome(lambda: list_folder(root))
    try:
        found = list_folder(root)
    except InputError:
        return
    names = [file.name for file in found.files]
    assert len(set(names)) == len(names)
    wanted = layout.find(root, Passed()).named
    for file in found.files:
        assert not file.split or file.name.startswith(f"{wanted[file.split]}/")
    assert {file.label for file in found.files} == set(found.classes)


# ------------------------------------------------------------------------------------------ tables


def test_a_table_has_a_validation_split(fill, tmp_path):
    root = fill(*under("x"))
    rows = [
        (f"x/{kind}/{i}.png", kind, "Valid" if i else "train") for kind in KINDS for i in (0, 1)
    ]
    extra = [(f"{kind}.png", kind, "test") for kind in KINDS]
    fill("ant.png", "bee.png")
    table = make_table(root / "t.csv", [*rows, *extra], "path,label,split")
    splits = load_splits(str(table), cache_dir=tmp_path / "cache")
    assert splits.val is not None
    assert splits.train.names == ("x/ant/0.png", "x/bee/0.png")
    assert splits.val.names == ("x/ant/1.png", "x/bee/1.png")
    assert splits.test.names == ("ant.png", "bee.png")
    with pytest.raises(InputError, match="val_fraction: .* its own validation split"):
        load_splits(str(table), val_fraction=0.2, cache_dir=tmp_path / "cache")


def test_in_a_table_without_test_a_fifth_of_train_is_held_out(fill, tmp_path):
    root = fill(*under("x", "y"))
    rows = [(f"{f}/{kind}/{i}.png", kind, "val" if f == "y" else "train")
            for f in "xy" for kind in KINDS for i in (0, 1)]  # fmt: skip
    splits = load_splits(
        str(make_table(root / "t.csv", rows, "path,label,split")), cache_dir=tmp_path / "cache"
    )
    assert splits.val is not None
    assert (len(splits.train), len(splits.val), len(splits.test)) == (2, 4, 2)


# -------------------------------------------------------------------------------- all, as one set


def test_all_images_of_class_folders_are_one_set(fill, tmp_path, monkeypatch):
    root = fill("ant", "bee", "ant/more", "cat/0.png")
    (root / "empty").mkdir()
    found = load_all(str(root), cache_dir=tmp_path / "cache")
    assert len(found.images) == 7
    assert found.images.classes == ("ant", "bee", "cat")
    assert sorted(found.images.names) == sorted(
        path.relative_to(root).as_posix() for path in root.rglob("*.png")
    )
    assert [found.images.classes[label] for label in found.images.labels_N] == [
        name.split("/")[0] for name in found.images.names
    ]
    assert (found.kind, found.source, len(found.fingerprint)) == ("class folders", str(root), 16)
    monkeypatch.setattr(kept, "decode", lambda *_: pytest.fail("it was decoded again"))
    assert load_all(str(root), cache_dir=tmp_path / "cache").fingerprint == found.fingerprint


def test_one_class_and_one_image_are_enough(fill, tmp_path):
    found = load_all(str(fill("ant/0.png")), cache_dir=tmp_path / "cache")
    assert found.images.classes == ("ant",)
    assert found.images.names == ("ant/0.png",)


@pytest.mark.parametrize(
    ("splits", "chosen"),
    [
        (("train", "val", "test"), "test"),
        (("Training", "Testing"), "test"),
        (("train", "valid"), "val"),
        (("train",), "train"),
        (("test",), "test"),
    ],
)
def test_with_splits_the_one_held_out_is_used(splits, chosen, fill, tmp_path):
    root = fill(*under(*splits))
    found = load_all(str(root), cache_dir=tmp_path / "cache")
    assert found.kind == f"{chosen} split of class folders"
    assert len(found.images) == 4
    (folder,) = {name.split("/")[0] for name in found.images.names}
    assert role_of(folder) == chosen
    assert not found.left_out


def test_a_table_gives_its_test_rows_or_else_all_rows_as_one_set(fill, tmp_path):
    root = fill("x")
    cache = tmp_path / "cache"
    tests = make_table(root / "a.csv", [("x/0.png", "ant", "test")], "path,label,split")
    found = load_all(str(tests), cache_dir=cache)
    assert (found.images.classes, found.kind) == (("ant",), "test split of table of images")
    both = [("x/0.png", "ant", "train"), ("x/1.png", "bee", "test")]
    found = load_all(str(make_table(root / "b.csv", both, "path,label,split")), cache_dir=cache)
    assert found.images.names == ("x/1.png",)
    rows = [("x/1.png", "bee"), ("x/0.png", "ant")]
    found = load_all(str(make_table(root / "c.csv", rows)), cache_dir=cache)
    assert found.images.names == ("x/1.png", "x/0.png")
    assert found.kind == "table of images"


def test_bad_images_are_refused_or_left_out_of_one_set_too(fill, tmp_path):
    root = fill("ant", "bee")
    for name in ("bee/0.png", "bee/1.png"):
        (root / name).write_bytes(b"no")
    cache = tmp_path / "cache"
    with pytest.raises(InputError, match="can't read 2 images"):
        load_all(str(root), cache_dir=cache)
    for _ in range(2):
        found = load_all(str(root), on_bad_image="skip", cache_dir=cache)
        assert found.images.classes == ("ant",)
        assert [image.name for image in found.left_out.bad_images] == ["bee/0.png", "bee/1.png"]
    for name in ("ant/0.png", "ant/1.png"):
        (root / name).write_bytes(b"no")
    with pytest.raises(InputError, match="no image can be read; 'ant/0.png': "):
        load_all(str(root), on_bad_image="skip", cache_dir=cache)


def test_for_the_built_in_shapes_the_set_is_the_test_split():
    found = load_all("shapes", image_size=16)
    assert len(found.images) == 2000
    some = load_splits("shapes", image_size=16, train_limit=10, test_limit=20).test
    assert np.array_equal(found.images.images_NHWC[:20], some.images_NHWC)
    assert found.kind == "test split of drawn shapes"


@pytest.mark.parametrize("how", ["nothing there", "no classes", "no images", "wrong level"])
def test_a_source_without_labelled_images_is_refused(how, fill, tmp_path):
    root = tmp_path / "photos"
    if how == "no classes":
        fill("0.png")
    elif how == "no images":
        (root / "ant").mkdir(parents=True)
    elif how == "wrong level":
        fill(*under("one", "two"))
    reason = {"nothing there": "no path", "no classes": "no class folders"}
    with pytest.raises(InputError, match=reason.get(how, "no images|same names")):
        load_all(str(root), cache_dir=tmp_path / "cache")
    if how != "nothing there":
        with pytest.raises(InputError):
            list_labelled(root)
