"""`shapes`: the built-in data set of ten drawn figures; any number of images, always the same.

Each image shows one figure at a random place, size, rotation and colour on a lit background, among
clutter that belongs to no class, partly covered, with noise. The colour is independent of the
class, and mirroring never changes the class. docs/shapes.md reports how hard the set is.

Image i depends on (seed, split, size, i) alone, to the byte. The random numbers are raw output of
PCG64, which is the same in all versions of NumPy, and the pixels follow from them by float32
operations that IEEE 754 rounds in one way only. docs/shapes.md has the details.

Shapes: B images drawn together, S side in pixels. A plane is B S S, a canvas 3 B S S.
"""

import hashlib
from collections.abc import Callable
from typing import Literal

import numpy as np

from onecycle.data.image_set import ImageSet
from onecycle.errors import InputError
from onecycle.progress import SILENT, Progress
from onecycle.writing.numbers import counted

CLASSES = (
    "arrow", "crescent", "cross", "disk", "heart", "hexagon", "ring", "square", "star", "triangle",
)  # fmt: skip

SMALLEST = 16
"""The smallest side in pixels at which the figures can be distinguished."""
TOGETHER = 2**16
"""Pixels drawn at once: few enough for a core's cache, enough to make calls cheap."""
NUMBERS = 80
"""Uniform random numbers reserved for each image, besides its noise."""

# How hard the set is. Lengths are in halves of the image's side, angles in radians.
REACH = 0.25
"""Largest distance of a figure's centre from the middle, horizontally and vertically."""
TURN = 0.5
"""Largest rotation of a figure."""
SCALES = (0.52, 0.8)
"""Size of a figure: about half its width."""
CONTRAST = 0.28
"""Smallest difference between figure and background in one channel, before light and noise."""
NOISE = (0.02, 0.12)
"""Amplitude of an image's noise."""

Plane = np.ndarray


def load(
    *, train: int = 10_000, test: int = 2_000, size: int = 32, progress: Progress = SILENT
) -> tuple[ImageSet, ImageSet]:
    """The train split and the test split, with `train` and `test` images.

    A larger split begins with the images of a smaller one.

    Args:
        train, test: number of images, at least 10, so that each class has one.
        size: height and width in pixels, at least 16.
        progress: receives progress reports.

    Raises:
        InputError: a number or the size is too small.
    """
    for name, count in (("train", train), ("test", test)):
        if count < len(CLASSES):
            raise InputError(
                f"shapes: {counted(count, f'{name} image')} can't hold {len(CLASSES)} classes; "
                f"ask for {len(CLASSES)} or more"
            )
    return (
        draw(train, "train", size=size, progress=progress),
        draw(test, "test", size=size, progress=progress),
    )


def draw(
    count: int,
    split: Literal["train", "test"],
    size: int = 32,
    seed: int = 0,
    start: int = 0,
    progress: Progress = SILENT,
) -> ImageSet:
    """Images `start` to `start + count` of a split. Classes alternate, so they are balanced.

    Image i is the same for every `count` and `start`, so a set of any size can be drawn in parts.

    Args:
        count: number of images, at least 1.
        split: `train` or `test`.
        size: height and width in pixels, at least 16.
        seed: another seed gives other images.
        start: number of the first image, at least 0.
        progress: receives progress reports.

    Raises:
        InputError: one of these is out of its range.
    """
    _check(count, split, size, start)
    images_NHWC = np.empty((count, size, size, 3), dtype=np.uint8)
    together = max(1, TOGETHER // size**2)
    progress.start(f"drawing shapes ({split})", count, "images")
    for done in range(0, count, together):
        part = images_NHWC[done : done + together]
        part[:] = _draw(_Numbers(seed, split, size, start + done, len(part)))
        progress.advance(len(part))
    progress.finish()
    numbers = range(start, start + count)
    labels_N = np.array([number % len(CLASSES) for number in numbers], dtype=np.int64)
    names = tuple(f"shapes/{split}/{number:06d}" for number in numbers)
    return ImageSet(images_NHWC, labels_N, CLASSES, names)


def _check(count: int, split: str, size: int, start: int) -> None:
    if split not in ("train", "test"):
        raise InputError(f"shapes: there is no split '{split}'; ask for train or test")
    if count < 1:
        raise InputError(f"shapes: can't draw {count} images; ask for 1 or more")
    if start < 0:
        raise InputError(f"shapes: there is no image {start}; start at 0 or later")
    if size < SMALLEST:
        raise InputError(
            f"shapes: {counted(size, 'pixel')} per side are too few; give {SMALLEST} or more"
        )


class _Numbers:
    """The random numbers of images `first` to `first + count`, at fixed positions of two streams.

    Both streams can start at any image directly. The scene's stream does not depend on the size,
    so image i shows the same scene at every size.
    """

    def __init__(self, seed: int, split: str, size: int, first: int, count: int) -> None:
        self.size, self.first, self.count = size, first, count
        self._stream = f"shapes/{seed}/{split}"
        raw_BP = _raw(self._stream, first, count, NUMBERS)
        self._uniform_PB = (raw_BP.T >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
        self._next = 0

    def take(self, low: float, high: float) -> np.ndarray:
        """One number per image, uniform in [low, high): float32 B 1 1."""
        column = self._uniform_PB[self._next, :, None, None]
        self._next += 1
        return np.float32(low) + np.float32(high - low) * column

    def noise(self) -> np.ndarray:
        """Noise of triangular distribution in (-1, 1): float32 3 B S S."""
        size, values = self.size, 3 * self.size**2
        raw_BW = _raw(f"{self._stream}/noise/{size}", self.first, self.count, -(-2 * values // 8))
        bytes_BX = raw_BW.astype("<u8", copy=False).view(np.uint8)[:, : 2 * values]
        pairs_B2CHW = bytes_BX.reshape(self.count, 2, 3, size, size).astype(np.int16)
        noise_BCHW = (pairs_B2CHW[:, 0] - pairs_B2CHW[:, 1]).astype(np.float32) / np.float32(256)
        return noise_BCHW.transpose(1, 0, 2, 3)


def _raw(stream: str, first: int, count: int, words: int) -> np.ndarray:
    """uint64 count x words: the numbers of `stream` for images `first` to `first + count`."""
    key = hashlib.sha256(stream.encode()).digest()
    bits = np.random.PCG64(int.from_bytes(key[:16], "little"))
    bits.advance(first * words)
    return bits.random_raw((count, words))


# ------------------------------------------------------------------------------------- the scene


def _draw(numbers: _Numbers) -> np.ndarray:
    """uint8 B S S 3, drawn back to front: background, clutter, figure, cover, light, noise."""
    size = numbers.size
    axis = (2 * np.arange(size, dtype=np.float32) + 1 - size) / np.float32(size)
    x, y = axis[None, None, :], axis[None, :, None]

    canvas, tone = _background(numbers, x, y)
    for clutter in (_bar(numbers, x, y, 0.02, 0.06), _arc(numbers, x, y), _spot(numbers, x, y)):
        _paint(canvas, clutter, _colour(numbers), 0.85)
    _paint(canvas, _figure(numbers, x, y), _contrasting(numbers, tone), 1)
    _paint(canvas, _bar(numbers, x, y, 0.04, 0.12), _colour(numbers), 1)
    light = 1 + numbers.take(-0.45, 0.45) * x + numbers.take(-0.45, 0.45) * y
    canvas *= light * numbers.take(0.7, 1.15)
    canvas += numbers.take(*NOISE) * numbers.noise()
    return (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 3, 0)


def _paint(canvas: np.ndarray, distance: Plane, colour: np.ndarray, opacity: float) -> None:
    """Paint a colour where the signed distance is negative, with an edge one pixel wide."""
    pixels = np.float32(canvas.shape[-1] / 2)
    cover = np.clip(np.float32(0.5) - distance * pixels, 0, 1) * np.float32(opacity)
    canvas += cover * (colour - canvas)


def _background(numbers: _Numbers, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A curved gradient between two colours of similar hue, and their mean: 3 B 1 1."""
    hue, value = numbers.take(0, 1), numbers.take(0.25, 0.95)
    one = _hsv(hue, numbers.take(0.2, 0.85), value)
    hue, value = hue + numbers.take(-0.15, 0.15), value + numbers.take(-0.2, 0.2)
    two = _hsv(hue, numbers.take(0.2, 0.85), value)
    slope = numbers.take(-0.5, 0.5) * x + numbers.take(-0.5, 0.5) * y
    slope = slope + numbers.take(-0.5, 0.5) * x * y
    return one + (two - one) * np.clip(slope + np.float32(0.5), 0, 1), (one + two) / 2


def _colour(numbers: _Numbers) -> np.ndarray:
    """A colour per image: float32 3 B 1 1."""
    return _hsv(numbers.take(0, 1), numbers.take(0.15, 0.9), numbers.take(0.2, 1))


def _contrasting(numbers: _Numbers, tone: np.ndarray) -> np.ndarray:
    """A colour per image, lightened or darkened if too close to `tone`: float32 3 B 1 1."""
    colour = _colour(numbers)
    aside = colour + np.where(tone[1] > 0.5, np.float32(-0.45), np.float32(0.45))
    distance = np.abs(colour - tone).max(axis=0)
    return np.where(distance < CONTRAST, np.clip(aside, 0, 1), colour)


def _hsv(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Red, green and blue, float32 3 B 1 1, for a hue in turns, a saturation and a value."""
    thirds = np.array([0, 2 / 3, 1 / 3], dtype=np.float32)[:, None, None, None] + hue
    ramp = np.abs((thirds - np.floor(thirds)) * 6 - 3) - 1
    return value * (1 - saturation + saturation * np.clip(ramp, 0, 1))


def _placed(
    numbers: _Numbers, x: np.ndarray, y: np.ndarray, reach: float, turn: float
) -> tuple[Plane, Plane]:
    """Coordinates around a random centre within `reach`, rotated by up to `turn` radians."""
    dx, dy = x - numbers.take(-reach, reach), y - numbers.take(-reach, reach)
    # In float64: machines differ in a sine's last bit, which rounding to float32 hides.
    angle = numbers.take(-turn, turn).astype(np.float64)
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    return cos * dx + sin * dy, cos * dy - sin * dx


# ------------ signed distances of what is drawn: negative inside, with a slope of about 1 at edges


def _length(a: Plane, b: Plane) -> Plane:
    return np.sqrt(a * a + b * b)


def _bar(numbers: _Numbers, x: np.ndarray, y: np.ndarray, thin: float, thick: float) -> Plane:
    """A bar at a random place, with a random direction, length and width."""
    u, v = _placed(numbers, x, y, 0.9, np.pi)
    return np.maximum(np.abs(u) - numbers.take(0.2, 0.9), np.abs(v) - numbers.take(thin, thick))


def _arc(numbers: _Numbers, x: np.ndarray, y: np.ndarray) -> Plane:
    """An arc of a half circle or less, at a random place."""
    u, v = _placed(numbers, x, y, 0.95, np.pi)
    line = np.abs(_length(u, v) - numbers.take(0.2, 0.6)) - numbers.take(0.03, 0.09)
    return np.maximum(line, v)


def _spot(numbers: _Numbers, x: np.ndarray, y: np.ndarray) -> Plane:
    """An oval spot at a random place."""
    u, v = _placed(numbers, x, y, 0.95, np.pi)
    return _length(u * numbers.take(0.4, 1), v) - numbers.take(0.04, 0.14)


def _figure(numbers: _Numbers, x: np.ndarray, y: np.ndarray) -> Plane:
    """Each image's figure, stretched and possibly mirrored; image i has class i mod K."""
    u, v = _placed(numbers, x, y, REACH, TURN)
    scale, stretch = numbers.take(*SCALES), numbers.take(0.85, 1.18)
    mirror = np.where(numbers.take(-1, 1) < 0, np.float32(-1), np.float32(1))
    u, v = u * mirror * stretch / scale, v / scale
    distance = np.empty(u.shape, dtype=np.float32)
    for label, name in enumerate(CLASSES):
        mine = slice((label - numbers.first) % len(CLASSES), None, len(CLASSES))
        distance[mine] = FIGURES[name](u[mine], v[mine])
    return distance * scale


# The figures lie within about 1 of the origin; v points down.


def _disk(u: Plane, v: Plane) -> Plane:
    return _length(u, v) - 0.9


def _ring(u: Plane, v: Plane) -> Plane:
    return np.abs(_length(u, v) - 0.68) - 0.24


def _crescent(u: Plane, v: Plane) -> Plane:
    return np.maximum(_length(u, v) - 0.95, 0.72 - _length(u - 0.45, v))


def _square(u: Plane, v: Plane) -> Plane:
    return np.maximum(np.abs(u), np.abs(v)) - 0.78


def _hexagon(u: Plane, v: Plane) -> Plane:
    a, b = np.abs(u), np.abs(v)
    return np.maximum(0.866025 * b + 0.5 * a, a) - 0.84


def _triangle(u: Plane, v: Plane) -> Plane:
    return np.maximum(0.866025 * np.abs(u) - 0.5 * v, v) - 0.5


def _cross(u: Plane, v: Plane) -> Plane:
    a, b = np.abs(u), np.abs(v)
    return np.minimum(np.maximum(a - 0.95, b - 0.3), np.maximum(b - 0.95, a - 0.3))


def _star(u: Plane, v: Plane) -> Plane:
    """Five points. Two reflections fold them into one, whose edge is a straight line."""
    cos, sin = 0.809017, 0.587785  # of 36 degrees
    a, b = np.abs(u), -v
    beyond = 2 * np.maximum(cos * a - sin * b, 0)
    a, b = a - beyond * cos, b + beyond * sin
    beyond = 2 * np.maximum(-cos * a - sin * b, 0)
    a, b = np.abs(a + beyond * cos), b + beyond * sin
    # Across the edge from the tip (0, 1.08) to the notch at radius 0.46, 36 degrees off.
    return 0.934170 * a + 0.356829 * (b - 1.08)


def _heart(u: Plane, v: Plane) -> Plane:
    """A square on its corner, with half disks on its upper sides."""
    a = np.abs(u)
    tip = (a + np.abs(v - 0.08)) * 0.707107 - 0.551543
    lobe = _length(a - 0.39, v + 0.31) - 0.551543
    return np.minimum(lobe, tip)


def _arrow(u: Plane, v: Plane) -> Plane:
    a = np.abs(u)
    head = np.maximum(0.707106 * (a - v) - 0.65, v + 0.05)
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
