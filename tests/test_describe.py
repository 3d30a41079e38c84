"""Descriptions of image sources against NumPy and brute force."""

import json
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onecycle
from onecycle.data import duplicates, image_set, load_splits
from onecycle.data.class_examples import FEW_CLASSES, MOST_CLASSES, examples_of_classes, spread_over
from onecycle.data.describe import SplitDescription, describe_data
from onecycle.data.image_set import ImageSet, Splits, fingerprint
from onecycle.progress import Progress

CLASSES = ("ant", "bee", "cat")


def images_of(looks: Sequence[int], labels: Sequence[int], name: str) -> ImageSet:
    """Images that are equal exactly if their `looks` are equal."""
    images_NHWC = np.zeros((len(looks), 2, 3, 1), dtype=np.uint8)
    for image, look in zip(images_NHWC, looks, strict=True):
        image.ravel()[:2] = look % 256, look // 256
    names = tuple(f"{name}/{index}" for index in range(len(looks)))
    return ImageSet(images_NHWC, np.array(labels, dtype=np.int64), CLASSES, names)


def splits_of(train: ImageSet, test: ImageSet, val: ImageSet | None = None) -> Splits:
    return Splits(train, test, val, "my images", fingerprint(train, test, val))


def spotted(first: ImageSet, second: ImageSet, *, within: bool = False) -> tuple[int, int]:
    """Images of `second` with an equal one in `first`, or one of another class; by all pairs."""
    equal, unlike = 0, 0
    for index, image in enumerate(second.images_NHWC):
        seen = [
            label
            for other, label in zip(first.images_NHWC, first.labels_N, strict=True)
            if np.array_equal(other, image)
        ]
        if within:
            seen = [
                first.labels_N[earlier]
                for earlier in range(index)
                if np.array_equal(first.images_NHWC[earlier], image)
            ]
        equal += bool(seen)
        unlike += any(label != second.labels_N[index] for label in seen)
    return equal, unlike


# ------------------------------------------------------------------------------------- duplicates

A_SET = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), min_size=1, max_size=12)


@given(train=A_SET, val=A_SET, test=A_SET, in_pieces=st.booleans())
def test_equal_images_are_those_that_a_comparison_of_all_pairs_finds(
    train: list[tuple[int, int]],
    val: list[tuple[int, int]],
    test: list[tuple[int, int]],
    in_pieces: bool,
) -> None:
    sets = {
        name: images_of([look for look, _ in rows], [label for _, label in rows], name)
        for name, rows in (("train", train), ("val", val), ("test", test))
    }
    with pytest.MonkeyPatch.context() as patch:
        if in_pieces:
            patch.setattr(image_set, "CHUNK_BYTES", 1)
        found = duplicates.find(sets)
    assert list(found) == ["train_val", "train_test", "val_test", "train", "val", "test"]
    for name, kind in found.items():
        one, _, other = name.partition("_")
        expected = spotted(sets[one], sets[other or one], within=not other)
        assert (kind.images, kind.conflicting_labels) == expected
        check_examples(sets[one], sets[other or one], kind)


def check_examples(first: ImageSet, second: ImageSet, found: duplicates.Duplicates) -> None:
    """Each example is true, conflicts come first, and as many are named as exist or fit."""
    unlike = []
    for pair in found.examples:
        one, other = first.names.index(pair.first), second.names.index(pair.second)
        assert first is not second or one < other
        assert np.array_equal(first.images_NHWC[one], second.images_NHWC[other])
        assert pair.first_class == first.classes[first.labels_N[one]]
        assert pair.second_class == second.classes[second.labels_N[other]]
        unlike.append(pair.first_class != pair.second_class)
    assert unlike == sorted(unlike, reverse=True)
    assert len(unlike) == min(duplicates.EXAMPLES, found.images)
    assert sum(unlike) == min(duplicates.EXAMPLES, found.conflicting_labels)


def test_one_pixel_makes_a_different_image() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 5, 4, 3), dtype=np.uint8)
    changed = pixels.copy()
    for index in range(40):
        changed[index].ravel()[rng.integers(60)] ^= 1
    names, labels = tuple(map(str, range(40))), np.zeros(40, dtype=np.int64)
    sets = {
        name: ImageSet(images, labels, CLASSES, names)
        for name, images in (("train", pixels), ("test", changed))
    }
    assert [kind.images for kind in duplicates.find(sets).values()] == [0, 0, 0]


def test_little_memory_is_kept_per_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 60 MB, little more than one piece and some bytes per image are in memory at once."""
    monkeypatch.setattr(image_set, "CHUNK_BYTES", 2**16)
    pixels = np.broadcast_to(np.zeros((1, 100, 100, 3), dtype=np.uint8), (2000, 100, 100, 3))
    labels = np.zeros(2000, dtype=np.int64)
    images = ImageSet(pixels, labels, CLASSES, tuple(map(str, range(2000))))
    tracemalloc.start()
    try:
        found = duplicates.find({"train": images})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found["train"].images == 1999
    assert peak < 2_000_000


def test_progress_counts_every_image_once() -> None:
    reports = []

    class Listener(Progress):
        def start(self, title: str, total: int, unit: str = "steps") -> None:
            reports.append((total, unit))

        def advance(self, count: int = 1, **figures: float) -> None:
            reports.append(count)

    duplicates.find(
        {"train": images_of([1, 2], [0, 1], "train"), "test": images_of([3], [0], "test")},
        Listener(),
    )
    assert reports == [(3, "images"), 2, 1]


# ----------------------------------------------------------------------------------- a description


@given(st.lists(st.integers(0, 9), min_size=2, max_size=6).filter(any))
def test_imbalance_is_that_of_the_counts(counts: list[int]) -> None:
    split = SplitDescription(tuple(counts))
    assert split.images == sum(counts)
    np.testing.assert_allclose(split.class_shares, np.array(counts) / sum(counts))
    assert split.largest == int(np.argmax(counts))
    assert split.smallest == int(np.argmin(counts))
    assert split.imbalance == (max(counts) / min(counts) if min(counts) else None)


def test_a_description_agrees_with_numpy() -> None:
    splits = load_splits("shapes", image_size=16, train_limit=105, test_limit=33, val_fraction=0.2)
    assert splits.val is not None
    found = describe_data(splits)
    scaled = splits.train.images_NHWC / 255
    np.testing.assert_allclose(found.mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(found.std, scaled.std(axis=(0, 1, 2)), rtol=1e-10)
    assert found.image_shape == (16, 16, 3)
    assert found.bytes == (105 + 33) * 16 * 16 * 3
    assert (found.source, found.fingerprint) == ("shapes", splits.fingerprint)
    sets = {"train": splits.train, "val": splits.val, "test": splits.test}
    assert list(found.splits) == list(sets)
    for name, images in sets.items():
        counts = [int((images.labels_N == label).sum()) for label in range(10)]
        assert list(found.splits[name].class_counts) == counts


def test_its_json_has_everything_and_reads_back_equal() -> None:
    train = images_of([1, 2, 3, 3, 4], [0, 0, 0, 1, 2], "train")
    test = images_of([3, 9, 8], [2, 1, 0], "test")
    values = describe_data(splits_of(train, test)).to_json()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["splits"]["train"] == {
        "images": 5,
        "class_counts": [3, 1, 1],
        "class_shares": [0.6, 0.2, 0.2],
        "largest_class": "ant",
        "smallest_class": "bee",
        "imbalance": 3.0,
    }
    assert values["duplicates"]["train_test"] == {
        "images": 1,
        "conflicting_labels": 1,
        "examples": [
            {
                "first": "train/2",
                "second": "test/0",
                "first_class": "ant",
                "second_class": "cat",
            }
        ],
    }
    assert values["duplicates"]["train"]["images"] == 1
    assert values["duplicates"]["test"] == {"images": 0, "conflicting_labels": 0, "examples": []}
    assert values["kind"] == ""
    assert values["warnings"] == [
        "train: class 'ant' has 3.0 times as many images as 'bee' (3 and 1); train with "
        "--class-weights balanced",
        "test: 1 of 3 images is in train too, 1 of them under another class; remove the copies, "
        "or its accuracy is misleading",
        "train: 1 image repeats another one under another class; correct or remove them",
    ]


def test_even_classes_without_copies_give_no_warning() -> None:
    train = images_of([1, 2, 3, 4, 4, 5], [0, 1, 2, 0, 0, 1], "train")
    even = images_of([6, 7, 8], [0, 1, 2], "test")
    assert len(describe_data(splits_of(train, even)).warnings) == 1  # a ratio of 3
    train = images_of([1, 2, 3, 4, 4, 5, 9], [0, 1, 2, 0, 0, 1, 2], "train")
    found = describe_data(splits_of(train, even))
    assert found.duplicates["train"].images == 1  # under its own class: a figure, no warning
    assert found.warnings == ()


def test_a_class_that_a_limit_left_empty_gets_a_warning() -> None:
    train = images_of([1, 2, 3], [0, 0, 2], "train")
    (line,) = describe_data(splits_of(train, images_of([6, 7, 8], [0, 1, 2], "test"))).warnings
    assert line.startswith("train: class 'ant' has 2 images, but 'bee' has none; ")


def test_it_has_a_public_name() -> None:
    splits = onecycle.load_splits("shapes", image_size=16, train_limit=10, test_limit=10)
    assert onecycle.describe_data(splits).kind == "drawn shapes"


# ------------------------------------------------------------------------------------ the examples


@given(st.integers(0, 60), st.integers(1, 12))
def test_examples_are_evenly_spread(members: int, count: int) -> None:
    chosen = spread_over(np.arange(members) * 7, count) // 7
    assert len(chosen) == min(members, count)
    assert list(chosen) == sorted(set(chosen.tolist()))
    borders = np.arange(len(chosen) + 1) * members / max(len(chosen), 1)
    for place, index in enumerate(chosen):  # one from every equal part
        assert borders[place] - 1 < index < borders[place + 1]


@pytest.mark.parametrize("classes", [2, FEW_CLASSES, FEW_CLASSES + 1, MOST_CLASSES + 5])
def test_every_class_gets_its_own_examples(classes: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(classes), 30))
    images = ImageSet(
        np.zeros((len(labels), 1, 1, 1), dtype=np.uint8),
        labels,
        tuple(f"class {label}" for label in range(classes)),
        tuple(map(str, range(len(labels)))),
    )
    chosen = examples_of_classes(images)
    assert len(chosen) == min(classes, MOST_CLASSES)
    for label, indices in enumerate(chosen):
        assert len(indices) == (10 if classes <= FEW_CLASSES else 6)
        assert set(labels[indices]) == {label}
    assert all(
        np.array_equal(one, other)
        for one, other in zip(chosen, examples_of_classes(images), strict=True)
    )
