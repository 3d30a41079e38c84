"""The drawn images: always the same, balanced, true to their figures, and no use to a linear model.

Shapes: N images, H height, W width, C channels, K classes, D values of an image.
"""

import hashlib
import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path as Outline

from onecycle.data import shapes
from onecycle.data.image_set import ImageSet
from onecycle.errors import InputError
from onecycle.progress import Progress

CHECKSUMS = {
    ("train", 32): "a24bdad6acd628705e919e16df273c4b",
    ("test", 21): "5e278c844ef3c26c99f6c104499fe4a2",
}


@cache
def drawn(count: int, split: str) -> ImageSet:
    return shapes.draw(count, "train" if split == "train" else "test")


# ------------------------------------------------------------------------------ always the same


@pytest.mark.parametrize(("split", "size"), CHECKSUMS)
def test_pixels_are_the_same_on_every_machine(split, size):
    images = shapes.draw(100, split, size=size, start=45).images_NHWC
    assert hashlib.sha256(images.tobytes()).hexdigest()[:32] == CHECKSUMS[split, size]


@given(start=st.integers(0, 299), count=st.integers(1, 80))
def test_image_does_not_depend_on_start_and_count(start, count):
    whole = drawn(400, "train")
    part = shapes.draw(count, "train", start=start)
    window = slice(start, start + count)
    np.testing.assert_array_equal(part.images_NHWC, whole.images_NHWC[window])
    np.testing.assert_array_equal(part.labels_N, whole.labels_N[window])
    assert part.names == whole.names[window]


@given(start=st.integers(0, 10**30))
def test_any_start_works(start):
    three = shapes.draw(3, "test", start=start, size=16)
    last = shapes.draw(1, "test", start=start + 2, size=16)
    np.testing.assert_array_equal(three.images_NHWC[2:], last.images_NHWC)
    assert last.labels_N[0] == (start + 2) % 10
    assert last.names == (f"shapes/test/{start + 2:06d}",)


def test_the_number_drawn_together_changes_nothing(monkeypatch):
    expected = drawn(400, "train").images_NHWC[:60]
    monkeypatch.setattr(shapes, "TOGETHER", 7 * 32 * 32)
    np.testing.assert_array_equal(shapes.draw(60, "train").images_NHWC, expected)


def test_seeds_and_splits_share_no_image():
    sets = [
        drawn(2000, "train"),
        drawn(1000, "test"),
        shapes.draw(500, "train", seed=1),
        shapes.draw(500, "test", seed=1),
    ]
    pixels = {image.tobytes() for images in sets for image in images.images_NHWC}
    assert len(pixels) == 4000


def test_load_gives_the_first_images_of_both_splits():
    train, test = shapes.load(train=30, test=20)
    np.testing.assert_array_equal(train.images_NHWC, drawn(400, "train").images_NHWC[:30])
    assert test.names == tuple(f"shapes/test/{number:06d}" for number in range(20))


# -------------------------------------------------------------------------- sizes and bad numbers


@pytest.mark.parametrize("size", [16, 28, 64])
def test_other_sizes(size):
    images = shapes.draw(20, "train", size=size)
    assert images.images_NHWC.shape == (20, size, size, 3)
    assert images.images_NHWC.dtype == np.uint8
    assert images.images_NHWC.std(axis=(1, 2, 3)).min() > 5  # no image is blank


def test_every_size_shows_the_same_scenes():
    small_NHWC = shapes.draw(40, "test", size=32).images_NHWC.astype(float)
    large_NHWC = shapes.draw(40, "test", size=96).images_NHWC.astype(float)
    shrunk_NHWC = large_NHWC.reshape(40, 32, 3, 32, 3, 3).mean(axis=(2, 4))
    distance_NN = np.abs(small_NHWC[:, None] - shrunk_NHWC[None]).mean(axis=(2, 3, 4))
    np.testing.assert_array_equal(distance_NN.argmin(axis=1), np.arange(40))
    assert np.diag(distance_NN).max() < 15  # apart are the noise, and how edges are smoothed


def test_classes_are_balanced():
    for count, start in ((1000, 0), (137, 41)):
        counts = shapes.draw(count, "train", size=16, start=start).class_counts()
        assert len(counts) == 10
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(
    "call",
    [
        lambda: shapes.draw(0, "train"),
        lambda: shapes.draw(10, "train", size=15),
        lambda: shapes.draw(10, "train", start=-1),
        lambda: shapes.draw(10, "validation"),  # pyright: ignore[reportArgumentType]
        lambda: shapes.load(train=9),
        lambda: shapes.load(test=9),
        lambda: shapes.load(train=100, test=20, size=8),
    ],
)
def test_bad_numbers_give_one_clear_line(call):
    with pytest.raises(InputError, match=r"^shapes: [^\n]+; [^\n]+$"):
        call()


def test_progress_counts_images():
    class Listener(Progress):
        total = done = finished = 0

        def start(self, title: str, total: int, unit: str = "steps") -> None:
            self.total += total

        def advance(self, count: int = 1, **figures: float) -> None:
            self.done += count

        def finish(self) -> None:
            self.finished += 1

    listener = Listener()
    shapes.load(train=150, test=70, progress=listener)
    assert (listener.total, listener.done, listener.finished) == (220, 220, 2)


# ------------------------------------------------------------------------------------ the figures


def around(radius: float, turns: float) -> tuple[float, float]:
    """A corner at an angle of `turns` from straight up (v points down)."""
    return radius * math.sin(2 * math.pi * turns), -radius * math.cos(2 * math.pi * turns)


TIP, NOTCH = 1.08, 0.46
STAR = [around((TIP, NOTCH)[k % 2], k / 10) for k in range(10)]
HEXAGON = [around(0.84 / math.cos(math.pi / 6), k / 6) for k in range(6)]
TRIANGLE = [(math.sqrt(3) / 2, 0.5), (-math.sqrt(3) / 2, 0.5), (0, -1)]
SQUARE = [(0.78, 0.78), (0.78, -0.78), (-0.78, -0.78), (-0.78, 0.78)]
PEAK = 0.65 * math.sqrt(2)
ARROW = [
    (0.0, -PEAK), (PEAK - 0.05, -0.05), (0.26, -0.05), (0.26, 0.9),
    (-0.26, 0.9), (-0.26, -0.05), (0.05 - PEAK, -0.05),
]  # fmt: skip
CROSS = [
    (0.95, 0.3), (0.3, 0.3), (0.3, 0.95), (-0.3, 0.95), (-0.3, 0.3), (-0.95, 0.3),
    (-0.95, -0.3), (-0.3, -0.3), (-0.3, -0.95), (0.3, -0.95), (0.3, -0.3), (0.95, -0.3),
]  # fmt: skip
OUTLINES = {
    "arrow": ARROW, "cross": CROSS, "hexagon": HEXAGON, "square": SQUARE, "star": STAR,
    "triangle": TRIANGLE,
}  # fmt: skip


def plane(name: str, points_N2: np.ndarray) -> np.ndarray:
    u, v = points_N2.astype(np.float32).T[:, :, None, None]
    return shapes.FIGURES[name](u, v)[:, 0, 0]


def points(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1.3, 1.3, (count, 2))


@pytest.mark.parametrize("name", OUTLINES)
def test_straight_figures_equal_their_polygons(name):
    points_N2 = points(20_000)
    distance_N = plane(name, points_N2)
    inside_N = Outline(OUTLINES[name]).contains_points(points_N2)
    clear_N = np.abs(distance_N) > 1e-4  # else on the edge itself
    np.testing.assert_array_equal((distance_N < 0)[clear_N], inside_N[clear_N])


def test_round_figures_cover_their_areas():
    """Areas by formula against the share of random points inside."""
    # The crescent is a disk of radius 0.95 minus a disk of 0.72 at a distance of 0.45.
    outer = math.acos((0.45**2 + 0.95**2 - 0.72**2) / (2 * 0.45 * 0.95))
    inner = math.acos((0.45**2 + 0.72**2 - 0.95**2) / (2 * 0.45 * 0.72))
    shared = 0.95**2 * (outer - math.sin(2 * outer) / 2) + 0.72**2 * (
        inner - math.sin(2 * inner) / 2
    )
    areas = {
        "disk": math.pi * 0.9**2,
        "ring": math.pi * (0.92**2 - 0.44**2),
        "crescent": math.pi * 0.95**2 - shared,
        "heart": 2 * 0.78**2 + math.pi * 0.78**2 / 2,  # a square and two half disks
    }
    points_N2 = points(400_000)
    for name, area in areas.items():
        assert (plane(name, points_N2) < 0).mean() * 2.6**2 == pytest.approx(area, abs=0.02)


@pytest.mark.parametrize("name", shapes.CLASSES)
def test_distances_are_never_steep(name):
    """The slope is at most 1, so that an edge is at least a pixel wide: anti-aliased."""
    here_N2 = points(20_000)
    there_N2 = here_N2 + np.random.default_rng(1).normal(0, 0.05, here_N2.shape)
    step_N = np.linalg.norm(here_N2 - there_N2, axis=1)
    assert (np.abs(plane(name, here_N2) - plane(name, there_N2)) <= step_N * 1.001 + 1e-5).all()


@pytest.mark.parametrize("name", sorted(set(shapes.CLASSES) - {"crescent"}))
def test_figure_is_its_own_mirror_image(name):
    points_N2 = points(2000)
    np.testing.assert_array_equal(plane(name, points_N2), plane(name, points_N2 * [-1, 1]))


def test_crescents_open_to_both_sides(monkeypatch):
    """The only figure that mirroring changes: it stays a crescent, and both kinds are drawn."""
    right: list[bool] = []
    crescent = shapes.FIGURES["crescent"]

    def recorded(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        right.extend(u[:, 16, 31] > u[:, 16, 0])
        return crescent(u, v)

    monkeypatch.setitem(shapes.FIGURES, "crescent", recorded)
    shapes.draw(2000, "train")
    assert len(right) == 200
    assert 70 < sum(right) < 130


# ------------------------------------------------------------------------- what the pixels tell


def nearest_centroid(train_ND: np.ndarray, train: ImageSet, test_ND: np.ndarray) -> np.ndarray:
    centroids = np.stack([train_ND[train.labels_N == k].mean(axis=0) for k in range(10)])
    return np.linalg.norm(test_ND[:, None] - centroids, axis=2).argmin(axis=1)


def test_colour_is_independent_of_the_class():
    train, test = drawn(2000, "train"), drawn(1000, "test")
    colours = [images.images_NHWC.mean(axis=(1, 2)) for images in (train, test)]
    accuracy = (nearest_centroid(colours[0], train, colours[1]) == test.labels_N).mean()
    assert accuracy < 0.1 + 4 * math.sqrt(0.1 * 0.9 / 1000)


def test_linear_model_stays_far_below_a_convolutional_one():
    """Ridge regression to the classes, with the best of several penalties."""
    train, test = drawn(2000, "train"), drawn(1000, "test")
    train_ND, test_ND = (
        images.images_NHWC.reshape(len(images), -1).astype(np.float32) / 255 - 0.5
        for images in (train, test)
    )
    gram_NN = (train_ND @ train_ND.T).astype(np.float64)
    targets_NK = np.eye(10)[train.labels_N] - 0.1
    accuracies = []
    for penalty in (1e2, 1e3, 1e4, 1e5):
        weights_NK = np.linalg.solve(gram_NN + penalty * np.eye(2000), targets_NK)
        scores_NK = test_ND @ (train_ND.T @ weights_NK)
        accuracies.append((scores_NK.argmax(axis=1) == test.labels_N).mean())
    assert 0.1 < max(accuracies) < 0.25
