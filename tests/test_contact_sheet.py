"""The contact sheet shows its images unchanged, and every text legibly."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from test_plots import assert_legible, says

from onecycle import plots
from onecycle.plots import style


def pixels_of(figure: plots.Figure) -> np.ndarray:
    """The drawn pixels: uint8 H W 3."""
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def random_images(count: int, shape: tuple[int, int], channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, *shape, channels), dtype=np.uint8)


def tiles(figure: plots.Figure) -> list[tuple[int, int, int, int]]:
    """(left, top, right, bottom) in pixels of each image drawn, in order."""
    return [
        (round(left), round(top), round(right), round(bottom))
        for image in figure.axes[0].images
        for left, right, bottom, top in [image.get_extent()]
    ]


def rows(classes: int, each: int) -> list[list[int]]:
    return [list(range(label * each, (label + 1) * each)) for label in range(classes)]


def names(classes: int) -> list[str]:
    return [f"class {label}" for label in range(classes)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(8, 8), (32, 32), (28, 20), (12, 40)])
def test_small_images_are_enlarged_to_squares_of_equal_pixels(
    shape: tuple[int, int], channels: int
) -> None:
    images = random_images(12, shape, channels)
    figure = plots.contact_sheet(images, rows(3, 4), names(3), [4] * 3)
    drawn = pixels_of(figure)
    places = tiles(figure)
    assert len(places) == 12
    for image, (left, top, right, bottom) in zip(images, places, strict=True):
        tile = drawn[top:bottom, left:right]
        factor = tile.shape[0] // shape[0]
        assert factor > 1
        assert tile.shape == (factor * shape[0], factor * shape[1], 3)
        enlarged = image.repeat(factor, axis=0).repeat(factor, axis=1)
        assert np.array_equal(tile, np.broadcast_to(enlarged, tile.shape))


@pytest.mark.parametrize(("height", "width"), [(300, 300), (480, 240), (200, 800)])
def test_large_images_are_reduced_and_keep_their_aspect_ratio(height: int, width: int) -> None:
    column = np.linspace(0, 255, width).astype(np.uint8)
    image = np.broadcast_to(column[None, :, None], (height, width, 3))
    figure = plots.contact_sheet(image[None], [[0], []], ["one", "none"], [1, 0])
    ((left, top, right, bottom),) = tiles(figure)
    assert max(right - left, bottom - top) == 150
    assert (right - left) / (bottom - top) == pytest.approx(width / height, rel=0.03)
    tile = pixels_of(figure)[top:bottom, left:right].astype(float)
    expected = np.interp(
        (np.arange(right - left) + 0.5) * width / (right - left) - 0.5, np.arange(width), column
    )
    assert np.abs(tile - expected[None, :, None]).max() <= 2


def test_each_row_names_its_class_and_counts_it() -> None:
    images = random_images(6, (16, 16))
    figure = plots.contact_sheet(images, rows(3, 2), ["ant", "bee", "cat"], [1200, 1, 2], "photos")
    text = says(figure).splitlines()
    assert sorted(text[-2:]) == ["3 classes, 6 images of 16 × 16 pixels", "Contact sheet of photos"]
    assert text[:-2] == ["ant", "1,200 images", "bee", "1 image", "cat", "2 images"]
    lefts = [left for left, *_ in tiles(figure)]
    tops = [top for _, top, *_ in tiles(figure)]
    assert lefts == lefts[:2] * 3
    assert tops == sorted(tops)


def test_the_heading_says_how_many_classes_are_shown() -> None:
    images = random_images(100, (8, 8))
    figure = plots.contact_sheet(images, rows(100, 1), names(140), [1] * 140)
    assert "The first 100 of 140 classes" in says(figure)
    assert len(tiles(figure)) == 100
    assert "class 99" in says(figure)
    assert "class 100" not in says(figure)


def test_only_the_chosen_images_are_read() -> None:
    class Counted(np.ndarray):
        read: list[int] = []  # noqa: RUF012

        def __getitem__(self, index):  # type: ignore[no-untyped-def]
            if isinstance(index, int | np.integer):
                self.read.append(int(index))
            return super().__getitem__(index)

    images = random_images(50, (8, 8)).view(Counted)
    plots.contact_sheet(images, [[3, 40], [7]], ["a", "b"], [25, 25])
    assert sorted(set(Counted.read) & set(range(8, 50))) == [40]


@pytest.mark.parametrize("classes", [1, 2, 10, 20, 21, 100])
@pytest.mark.parametrize("shape", [(8, 8), (32, 32), (10, 200), (200, 10)])
def test_sheets_of_any_size_are_legible(classes: int, shape: tuple[int, int]) -> None:
    each = 10 if classes <= 20 else 6
    images = random_images(classes * each, shape)
    figure = plots.contact_sheet(images, rows(classes, each), names(classes), [5000] * classes)
    assert_legible(figure)
    boxes = tiles(figure)
    across, down = figure.bbox.width, figure.bbox.height
    assert all(
        0 < left < right < across and 0 < top < bottom < down for left, top, right, bottom in boxes
    )
    apart = sorted(boxes)
    assert all(
        one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        for one, other in itertools.pairwise(apart)
    )


@pytest.mark.parametrize("classes", [4, 40])
def test_odd_names_are_drawn_on_one_line_next_to_their_row(classes: int) -> None:
    odd = ["x" * 200, "ein sehr langer Name\nauf zwei Zeilen", "中文类别名称", "$\\alpha$ \udcff"]
    images = random_images(classes * 6, (32, 32))
    figure = plots.contact_sheet(
        images, rows(classes, 6), odd * (classes // 4), [7] * classes, "/very/long/path" * 20
    )
    assert_legible(figure)
    assert "…" in says(figure)
    assert max(map(len, says(figure).splitlines())) < 120


@given(st.text(max_size=60), st.floats(0.6, 3))
def test_a_name_takes_two_lines_before_it_is_shortened(name: str, width: float) -> None:
    lines = style.fit_in_two(name, 9, width)
    assert 1 <= len(lines) <= 2
    assert all(style.text_width(line, 9) <= width + 1e-9 for line in lines)
    assert (len(lines) == 1) == (style.text_width(style.one_line(name), 9) <= width)
    kept = "".join("".join(lines).split())
    if "…" not in kept:
        assert kept == "".join(style.one_line(name).split())


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("cat", ["cat"]),
        ("Greater spotted woodpecker", ["Greater spotted", "woodpecker"]),
        ("greater_spotted_woodpecker", ["greater_spotted_", "woodpecker"]),
        ("a-b" * 4, ["a-ba-ba-ba-b"]),
    ],
)
def test_lines_are_broken_at_spaces_and_punctuation(name: str, lines: list[str]) -> None:
    assert style.fit_in_two(name, 9, 1.3) == lines


@pytest.mark.parametrize("name", ["bed", "a long name in two lines"])
@pytest.mark.parametrize(("classes", "side"), [(10, 96), (100, 64)])
def test_cifars_images_are_shown_large_under_any_names(classes: int, side: int, name: str) -> None:
    each = 10 if classes == 10 else 6
    images = random_images(classes * each, (32, 32))
    figure = plots.contact_sheet(images, rows(classes, each), [name] * classes, [500] * classes)
    assert {(right - left, bottom - top) for left, top, right, bottom in tiles(figure)} == {
        (side, side)
    }


def test_the_same_images_give_the_same_bytes() -> None:
    images = random_images(6, (16, 16), 1)
    one, other = (
        style.png(plots.contact_sheet(images, rows(2, 3), names(2), [3, 3])) for _ in range(2)
    )
    assert one == other
