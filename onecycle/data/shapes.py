"""`shapes`: the embedded data set. Ten figures, drawn; any number of them, always the same.

Each image shows one figure of a random place, size, turn and colour on a lit background, among
clutter that belongs to no class, partly covered, with noise. Colour says nothing about the class,
and mirroring never changes it.

Shapes: B images of a block, S side in pixels.
"""

import hashlib
from collections.abc import Callable
from typing import Literal

import numpy as np

from onecycle.data.image_set import ImageSet
from onecycle.errors import InputError
from onecycle.progress import SILENT, Progress

CLASSES = (
    "arrow", "crescent", "cross", "disk", "heart", "hexagon", "ring", "square", "star", "triangle",
)  # fmt: skip

BLOCK = 250
"""Images are drawn in blocks of this size, each from a random stream of its own."""

CLUTTER = 2
"""Lines and spots of no class behind the figure."""
OCCLUDERS = 1
"""Bars across the figure."""
NUMBERS = 128
"""Uniform random numbers that one image takes, beside its noise."""

Plane = np.ndarray  # float32 B S S


def load(
    *, train: int = 10_000, test: int = 2_000, size: int = 32, progress: Progress = SILENT
) -> tuple[ImageSet, ImageSet]:
    """The train and test split, of `train` and `test` images.

    More images of a split only add to it: the first 1,000 of 10,000 are the 1,000.

    Args:
        train, test: number of images, at least 10.
        size: height and width in pixels, at least 16.
        progress: listens.

    Raises:
        InputError: a number or the size is too small.
    """
    return (
        draw(train, "train", size=size, progress=progress),
        draw(test, "test", size=size, progress=progress),
    )


def draw(
    count: int,
    split: Literal["train", "test"],
    *,
    size: int = 32,
    seed: int = 0,
    start: int = 0,
    progress: Progress = SILENT,
) -> ImageSet:
    """Images `start` to `start + count` of a split. Classes take turns, so they are balanced.

    Image i is a function of (seed, split, size, i): neither `count` nor `start` changes it.

    Raises:
        InputError: fewer images than classes, a size below 16, or a negative start.
    """
    if count < len(CLASSES) or start < 0:
        raise InputError(f"shapes: {count} images from {start}; ask for at least {len(CLASSES)}")
    if size < 16:
        raise InputError(f"shapes: {size} pixels are too few to tell figures apart; give 16 or more")
    images_NHWC = np.empty((count, size, size, 3), dtype=np.uint8)
    blocks = range(start // BLOCK, (start + count - 1) // BLOCK + 1)
    progress.start(f"drawing shapes ({split})", len(blocks), "blocks")
    for block in blocks:
        first = block * BLOCK
        low, high = max(start, first), min(start + count, first + BLOCK)
        drawn = _draw_block(seed, split, block, size)
        images_NHWC[low - start : high - start] = drawn[low - first : high - first]
        progress.advance()
    progress.finish()
    numbers = np.arange(start, start + count)
    names = tuple(f"shapes/{split}/{number:06d}" for number in numbers)
    return ImageSet(images_NHWC, numbers % len(CLASSES), CLASSES, names)


class _Numbers:
    """Uniform numbers for a block of images, taken column by column.

    They come from the raw 64-bit output of PCG64, which NumPy keeps the same in every version.
    """

    def __init__(self, seed: int, split: str, block: int) -> None:
        key = hashlib.sha256(f"shapes/{seed}/{split}/{block}".encode()).digest()
        self._bits = np.random.PCG64(int.from_bytes(key[:16], "little"))
        raw = self._bits.random_raw((BLOCK, NUMBERS))
        self._uniform_BP = ((raw >> np.uint64(40)).astype(np.float32)) / np.float32(2**24)
        self._next = 0

    def take(self, low: float, high: float) -> np.ndarray:
        """One number per image, uniform in [low, high): float32 B 1 1."""
        column = self._uniform_BP[:, self._next, None, None]
        self._next += 1
        return np.float32(low) + np.float32(high - low) * column

    def colour(self) -> np.ndarray:
        """A colour per image, uniform over the cube: float32 B 1 1 3."""
        return np.concatenate([self.take(0.05, 0.95)[..., None] for _ in range(3)], axis=3)

    def noise(self, size: int) -> np.ndarray:
        """Noise of triangular distribution in (-1, 1): float32 B S S 3."""
        count = BLOCK * size * size * 3
        raw = self._bits.random_raw(-(-count // 4)).view(np.uint8)
        pairs = raw[: 2 * count].reshape(2, BLOCK, size, size, 3).astype(np.float32)
        return (pairs[0] - pairs[1]) / np.float32(256)


def _draw_block(seed: int, split: str, block: int, size: int) -> np.ndarray:
    """uint8 B S S 3."""
    numbers = _Numbers(seed, split, block)
    axis = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1).astype(np.float32)
    x, y = axis[None, None, :], axis[None, :, None]
    pixel = np.float32(2 / size)

    back, front = numbers.colour(), numbers.colour()
    front = _apart(front, back)
    canvas = back + 0.25 * (numbers.colour() - 0.5) * _wave(numbers, x, y)[..., None]
    for _ in range(CLUTTER):
        _paint(canvas, _bar(numbers, x, y, 0.02, 0.06), numbers.colour(), pixel, 0.8)
        _paint(canvas, _spot(numbers, x, y, 0.04, 0.12), numbers.colour(), pixel, 0.8)
    _paint(canvas, _figure(numbers, x, y), front, pixel, 1.0)
    for _ in range(OCCLUDERS):
        _paint(canvas, _bar(numbers, x, y, 0.04, 0.11), numbers.colour(), pixel, 1.0)
    light = 1 + numbers.take(-0.45, 0.45) * x + numbers.take(-0.45, 0.45) * y
    canvas = canvas * (light * numbers.take(0.7, 1.15))[..., None]
    canvas += numbers.take(0.02, 0.12)[..., None] * numbers.noise(size)
    return (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)


def _apart(front: np.ndarray, back: np.ndarray) -> np.ndarray:
    """`front`, moved away from `back` where the two could not be told apart."""
    distance = np.sqrt(((front - back) ** 2).sum(axis=3, keepdims=True))
    opposite = np.where(back > 0.5, back - 0.4, back + 0.4)
    return np.where(distance < 0.4, opposite, front).astype(np.float32)


def _paint(
    canvas: np.ndarray, distance: Plane, colour: np.ndarray, pixel: np.float32, opacity: float
) -> None:
    """Lay a colour over all where the signed distance is negative, with a soft edge of a pixel."""
    cover = np.clip(0.5 - distance / pixel, 0, 1) * np.float32(opacity)
    canvas += cover[..., None] * (colour - canvas)


def _wave(numbers: _Numbers, x: np.ndarray, y: np.ndarray) -> Plane:
    """A slow wave across the background."""
    phase = numbers.take(0, 6.28)
    return np.sin(phase + numbers.take(-4, 4) * x + numbers.take(-4, 4) * y)


def _bar(numbers: _Numbers, x: np.ndarray, y: np.ndarray, thin: float, thick: float) -> Plane:
    """A bar of random place, direction and length."""
    u, v = _placed(numbers, x, y, reach=0.9, turn=np.pi)
    return np.maximum(np.abs(u) - numbers.take(0.2, 0.9), np.abs(v) - numbers.take(thin, thick))


def _spot(numbers: _Numbers, x: np.ndarray, y: np.ndarray, small: float, large: float) -> Plane:
    """An ellipse-like spot of random place."""
    u, v = _placed(numbers, x, y, reach=0.95, turn=np.pi)
    radius = numbers.take(small, large)
    return np.sqrt(u * u + (v * numbers.take(1, 2.5)) ** 2) - radius


def _figure(numbers: _Numbers, x: np.ndarray, y: np.ndarray) -> Plane:
    """Each image's own figure; images of one class lie `len(CLASSES)` apart."""
    u, v = _placed(numbers, x, y, reach=0.25, turn=0.5)
    scale = numbers.take(0.52, 0.8)
    u, v = u / scale * numbers.take(0.85, 1.18), v / scale
    distance = np.empty(u.shape, dtype=np.float32)
    for label, name in enumerate(CLASSES):
        mine = slice(label, None, len(CLASSES))
        distance[mine] = FIGURES[name](u[mine], v[mine])
    return distance * scale


def _placed(
    numbers: _Numbers, x: np.ndarray, y: np.ndarray, *, reach: float, turn: float
) -> tuple[Plane, Plane]:
    """Coordinates about a random centre within `reach`, turned by up to `turn` radians."""
    dx, dy = x - numbers.take(-reach, reach), y - numbers.take(-reach, reach)
    angle = numbers.take(-turn, turn)
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * dx + sin * dy, cos * dy - sin * dx


# ------------------------------------------------- figures: signed distances within about radius 1


def _disk(u: Plane, v: Plane) -> Plane:
    return np.sqrt(u * u + v * v) - 0.9


def _ring(u: Plane, v: Plane) -> Plane:
    return np.abs(np.sqrt(u * u + v * v) - 0.68) - 0.24


def _crescent(u: Plane, v: Plane) -> Plane:
    hole = 0.72 - np.sqrt((u - 0.45) ** 2 + v * v)
    return np.maximum(np.sqrt(u * u + v * v) - 0.95, hole)


def _square(u: Plane, v: Plane) -> Plane:
    return np.maximum(np.abs(u), np.abs(v)) - 0.78


def _hexagon(u: Plane, v: Plane) -> Plane:
    a, b = np.abs(u), np.abs(v)
    return np.maximum(0.866 * b + 0.5 * a, a) - 0.84


def _triangle(u: Plane, v: Plane) -> Plane:
    return np.maximum(0.866 * np.abs(u) - 0.5 * v, v) - 0.5


def _cross(u: Plane, v: Plane) -> Plane:
    a, b = np.abs(u), np.abs(v)
    return np.minimum(np.maximum(a - 0.95, b - 0.3), np.maximum(b - 0.95, a - 0.3))


def _star(u: Plane, v: Plane) -> Plane:
    fifth = np.float32(2 * np.pi / 5)
    angle = np.mod(np.arctan2(u, -v) + fifth / 2, fifth) - fifth / 2
    radius = np.sqrt(u * u + v * v)
    a, b = radius * np.cos(angle), radius * np.abs(np.sin(angle))
    # The edge from the tip (1.08, 0) to the notch at radius 0.44 and 36 degrees.
    along = np.array([0.44 * np.cos(fifth / 2) - 1.08, 0.44 * np.sin(fifth / 2)], np.float32)
    along /= np.hypot(*along)
    return (a - np.float32(1.08)) * along[1] - b * along[0]


def _heart(u: Plane, v: Plane) -> Plane:
    a, b = np.abs(u), v + 0.12
    lobe = np.sqrt((a - 0.42) ** 2 + (b + 0.28) ** 2) - 0.5
    tip = (a + np.abs(b - 0.07)) * np.float32(0.7071) - 0.62
    return np.minimum(lobe, tip)


def _arrow(u: Plane, v: Plane) -> Plane:
    a = np.abs(u)
    head = np.maximum(0.7071 * a - 0.7071 * v - 0.65, v + 0.05)
    shaft = np.maximum(a - 0.26, np.abs(v - 0.4) - 0.5)
    return np.minimum(head, shaft)


FIGURES: dict[str, Callable[[Plane, Plane], Plane]] = {
    "arrow": _arrow,
    "crescent": _crescent,
    "cross": _cross,
    "disk": _disk,
    "heart": _heart,
    "hexagon": _hexagon,
    "ring": _ring,
    "square": _square,
    "star": _star,
    "triangle": _triangle,
}
