"""Cross-validation: parts that cover all images once, each with its share of every class."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_folders import Recorder, paint

from onecycle.config import Recipe, override
from onecycle.data import load_splits, splits_of
from onecycle.data.folds import fold_of_each
from onecycle.errors import InputError
from onecycle.progress import SILENT


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    folds=st.integers(2, 12),
    seed=st.integers(0, 5),
)
def test_folds_are_even_as_a_whole_and_in_each_class(counts, folds, seed):
    labels_N = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(seed).shuffle(labels_N)
    fold_N = fold_of_each(labels_N, folds, seed)
    assert fold_N.min() >= 0
    assert fold_N.max() < folds
    whole = np.bincount(fold_N, minlength=folds)
    assert whole.max() - whole.min() <= 1
    for label in range(len(counts)):
        part = np.bincount(fold_N[labels_N == label], minlength=folds)
        assert part.max() - part.min() <= 1
    assert np.array_equal(fold_N, fold_of_each(labels_N, folds, seed))


def test_another_seed_makes_other_folds():
    labels_N = np.arange(60) % 3
    assert not np.array_equal(fold_of_each(labels_N, 5, 0), fold_of_each(labels_N, 5, 1))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """23 images in three classes, without a test split."""
    path = tmp_path_factory.mktemp("folds") / "photos"
    write_images(path, {"ant": 7, "bee": 10, "cow": 6})
    return path


def write_images(path, counts):
    """Class folders with so many images each, all different."""
    for number, (label, count) in enumerate(counts.items()):
        for index in range(count):
            paint(path / label / f"{index}.png", 100 * number + index)


def names(images):
    return set(images.names)


def test_the_held_out_parts_of_a_folder_cover_all_images_once(photos):
    everything, notes = set(), Recorder()
    for fold in range(5):
        splits = load_splits(str(photos), folds=5, fold=fold, progress=notes)
        assert not names(splits.train) & names(splits.test)
        assert len(splits.train) + len(splits.test) == 23
        assert not everything & names(splits.test)
        everything |= names(splits.test)
        assert set(splits.test.labels_N.tolist()) == {0, 1, 2}
        assert splits.kind == "class folders"
    assert len(everything) == 23
    assert notes.notes[1] == "data: fold 0 of 0 to 4 is the test split: 5 images"


def test_a_validation_split_is_cut_from_what_is_left(photos):
    splits = load_splits(str(photos), folds=3, fold=2, val_fraction=0.25, progress=SILENT)
    assert splits.val is not None
    sets = [names(splits.train), names(splits.val), names(splits.test)]
    assert sum(map(len, sets)) == len(set.union(*sets)) == 23


def test_a_test_split_of_the_data_is_left_alone(tmp_path):
    write_images(tmp_path / "photos" / "train", {"ant": 6, "bee": 6})
    write_images(tmp_path / "photos" / "test", {"ant": 2, "bee": 2})
    notes = Recorder()
    splits = load_splits(str(tmp_path / "photos"), folds=3, fold=1, progress=notes)
    assert all(name.startswith("train/") for name in names(splits.train) | names(splits.test))
    assert len(splits.test) == 4
    assert notes.notes[-1].endswith("4 images; the data's own is not used")


def test_drawn_shapes_can_be_folded_and_the_limit_comes_first():
    recipe = Recipe(data="shapes", train_limit=60, folds=4, fold=3)
    splits = splits_of(recipe)
    assert (len(splits.train), len(splits.test)) == (45, 15)
    whole = splits_of(override(recipe, folds=0, fold=0))
    assert len(whole.train) == 60


def test_a_class_with_too_few_images_is_named(photos):
    with pytest.raises(InputError, match="folds: class 'cow' has 6 images, fewer than the 7 folds"):
        load_splits(str(photos), folds=7, fold=0)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"folds": 1}, "folds: 1 leaves nothing to train on"),
        ({"fold": 2}, "fold: there is no fold 2; set folds too"),
        ({"folds": 3, "fold": 3}, "fold: there is no fold 3; give one from 0 to 2"),
        ({"folds": 3, "test_limit": 5}, "test_limit: with folds"),
        ({"folds": 1001}, "folds: 1001 is out of range"),
    ],
    ids=["one", "alone", "too high", "limit", "many"],
)
def test_what_does_not_fit_is_refused(settings, told):
    with pytest.raises(InputError, match=told):
        Recipe(**settings)
