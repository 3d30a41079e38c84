"""Image sets and splits against NumPy and brute force."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onecycle import data
from onecycle.config import Recipe
from onecycle.config.declaring import settings as declared
from onecycle.data import image_set, load_splits, splits_of, stratified
from onecycle.data.image_set import ImageSet
from onecycle.errors import InputError


def random_set(count: int = 50, channels: int = 3, seed: int = 0) -> ImageSet:
    rng = np.random.default_rng(seed)
    return ImageSet(
        rng.integers(0, 256, (count, 6, 5, channels), dtype=np.uint8),
        rng.integers(0, 3, count),
        ("a", "b", "c"),
        tuple(f"{i}.png" for i in range(count)),
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("chunk_bytes", [1, 200, 10**9])
def test_channel_statistics_are_numpys(channels, chunk_bytes, monkeypatch):
    monkeypatch.setattr(image_set, "CHUNK_BYTES", chunk_bytes)
    images = random_set(channels=channels)
    scaled = images.images_NHWC / 255
    mean, std = images.channel_statistics()
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, scaled.std(axis=(0, 1, 2)), rtol=1e-10)


def test_the_fingerprint_changes_with_the_training_data_and_with_nothing_else(monkeypatch):
    train, test = random_set(), random_set(seed=1)
    first = image_set.fingerprint(train, test, None)
    monkeypatch.setattr(image_set, "CHUNK_BYTES", 100)
    assert image_set.fingerprint(replace(train, names=("x",) * 50), test, None) == first
    pixels, labels = train.images_NHWC.copy(), train.labels_N.copy()
    pixels[3, 2, 1, 0] ^= 1
    labels[7] = (labels[7] + 1) % 3
    others = [
        image_set.fingerprint(replace(train, images_NHWC=pixels), test, None),
        image_set.fingerprint(replace(train, labels_N=labels), test, None),
        image_set.fingerprint(replace(train, classes=("a", "b", "d")), test, None),
        image_set.fingerprint(test, train, None),
        image_set.fingerprint(train, test, test),
    ]
    assert len({first, *others}) == 6


@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=6),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_a_stratified_choice_takes_its_share_of_each_class(counts, fraction, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    chosen = stratified(labels, fraction, seed, "test")
    assert np.array_equal(chosen, stratified(labels, fraction, seed, "test"))
    for label, count in enumerate(counts):
        assert chosen[labels == label].sum() == round(fraction * count)


def test_different_seeds_choose_differently():
    labels = np.zeros(100, int)
    assert not np.array_equal(stratified(labels, 0.5, 0, "a"), stratified(labels, 0.5, 1, "a"))
    assert not np.array_equal(stratified(labels, 0.5, 0, "a"), stratified(labels, 0.5, 0, "b"))


def test_validation_is_split_off_train_without_overlap():
    whole = load_splits("shapes", image_size=16, train_limit=200, test_limit=20)
    splits = load_splits("shapes", image_size=16, train_limit=200, test_limit=20, val_fraction=0.25)
    assert splits.val is not None
    assert sorted(splits.train.names + splits.val.names) == sorted(whole.train.names)
    assert list(splits.val.class_counts()) == [5] * 10
    assert splits.fingerprint != whole.fingerprint
    assert np.array_equal(splits.test.images_NHWC, whole.test.images_NHWC)


def test_a_validation_share_that_empties_a_class_is_refused():
    with pytest.raises(InputError, match="val_fraction: leaves class 'arrow' without images"):
        load_splits("shapes", image_size=16, train_limit=20, test_limit=20, val_fraction=0.1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("shape", "did you mean 'shapes'"),
        ("cifar-10", "did you mean 'cifar10'"),
        ("/no/such/folder", "there is no path '/no/such/folder'"),
    ],
)
def test_a_missing_source_is_refused_in_one_line(source, message):
    with pytest.raises(InputError, match=message) as error:
        load_splits(source)
    assert "\n" not in str(error.value)


def test_a_recipes_images_follow_its_settings(monkeypatch):
    """Every setting of a recipe for its images is passed on."""
    recipe = Recipe(
        data="cifar100", label_set="coarse", image_size=16, resize="squash", on_bad_image="skip",
        train_limit=200, val_fraction=0.25, folds=4, fold=1, split_seed=3,
    )  # fmt: skip
    handed_on = {}
    monkeypatch.setattr(
        data, "load_splits", lambda source, **settings: handed_on.update(settings, data=source)
    )
    splits_of(recipe)
    settings = {
        "data",
        *(declared(Recipe).keys() & inspect.signature(load_splits).parameters.keys()),
    }
    assert len(settings) == 11
    assert {name: handed_on[name] for name in settings} == {
        name: getattr(recipe, name) for name in settings
    }
