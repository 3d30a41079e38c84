"""Folders and tables of small images, made on the spot."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from onecycle.data import folder
from onecycle.data.image_set import ImageSet, LeftOut
from onecycle.progress import Progress

CLASSES = ("ant", "bee", "cat")


class Recorder(Progress):
    """Keeps the notes, and counts every stage."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.stages: dict[str, list[int]] = {}

    def start(self, title, total, unit="steps"):
        self.stages[title] = [total, 0]
        self.title = title

    def advance(self, count=1, **figures):
        self.stages[self.title][1] += count

    def note(self, line):
        self.notes.append(line)


def drawn(seed: int, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Image.Image:
    """Noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def paint(path: Path, seed: int = 1, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn(seed, size, mode).save(path)
    return path


def make_split(root: Path, endings: Sequence[str] = ("png", "BMP", "jpg", "webp")) -> Path:
    """train/ and test/ with three classes in several formats."""
    for number, (split, label) in enumerate(
        (split, label) for split in ("train", "test") for label in CLASSES
    ):
        for index, ending in enumerate(endings):
            paint(root / split / label / f"{index}.{ending}", 10 * number + index)
    return root


def make_flat(root: Path, count: int = 5, classes: Iterable[str] = CLASSES) -> Path:
    """Class folders of `count` images each."""
    for number, label in enumerate(classes):
        for index in range(count):
            paint(root / label / f"{index}.png", 100 * number + index)
    return root


def make_table(path: Path, rows: Iterable[Sequence[object]], header: str = "path,label") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return path


def load(root: Path, cache: Path, **options) -> tuple[ImageSet, ImageSet]:
    return folder.load(root, cache_dir=cache, **options)[:2]


def left_out(root: Path, cache: Path, **options) -> LeftOut:
    return folder.load(root, cache_dir=cache, **options).left_out


def by_name(*sets: ImageSet) -> dict[str, np.ndarray]:
    return {
        name: image
        for images in sets
        for name, image in zip(images.names, images.images_NHWC, strict=True)
    }
