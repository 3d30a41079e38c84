"""Draw photos of balls, books and mugs: 300 in photos/<class>/, and 30 more in new/.

They are as odd as photos from several cameras: 640×480, portrait, wide and square; some grey, and
some on their side with an EXIF tag that turns them upright.

    python draw_photos.py
"""

import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

CLASSES = ("ball", "book", "mug")
SIZES = [(640, 480), (480, 640), (800, 450), (500, 500)]
ORIENTATION = 0x0112


def colour(draw_from: random.Random, low: int = 0, high: int = 255) -> tuple[int, int, int]:
    """Red, green and blue."""
    return draw_from.randint(low, high), draw_from.randint(low, high), draw_from.randint(low, high)


def photo(kind: str, draw_from: random.Random) -> Image.Image:
    """One object on a table, with crumbs around it."""
    width, height = draw_from.choice(SIZES)
    image = Image.new("RGB", (width, height), colour(draw_from, 120))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, draw_from.uniform(0.5, 0.8) * height, width, height), colour(draw_from))
    for _ in range(draw_from.randint(0, 12)):
        x, y = draw_from.uniform(0, width), draw_from.uniform(0, height)
        size = draw_from.uniform(4, 40)
        pen.rounded_rectangle((x, y, x + size, y + size), size / 3, colour(draw_from))
    side = draw_from.uniform(0.25, 0.5) * min(width, height)
    x = width / 2 + draw_from.uniform(-0.12, 0.12) * width
    y = height / 2 + draw_from.uniform(-0.12, 0.12) * height
    OBJECTS[kind](pen, x, y, side / 2, colour(draw_from))
    return image.filter(ImageFilter.GaussianBlur(draw_from.uniform(0, 3)))


def ball(pen: ImageDraw.ImageDraw, x: float, y: float, half: float, fill: tuple[int, ...]) -> None:
    """A disc with a light rim."""
    pen.ellipse((x - half, y - half, x + half, y + half), fill)
    pen.arc((x - half, y - half, x + half, y + half), 20, 160, "white", 4)


def book(pen: ImageDraw.ImageDraw, x: float, y: float, half: float, fill: tuple[int, ...]) -> None:
    """A rectangle with lines."""
    pen.rectangle((x - 0.8 * half, y - half, x + 0.8 * half, y + half), fill)
    for line in (-0.5, -0.25, 0, 0.25):
        pen.line((x - half / 2, y + line * half, x + half / 2, y + line * half), "white", 4)


def mug(pen: ImageDraw.ImageDraw, x: float, y: float, half: float, fill: tuple[int, ...]) -> None:
    """A rectangle with a handle."""
    pen.rectangle((x - 0.7 * half, y - half, x + 0.7 * half, y + half), fill)
    handle = (x + 0.3 * half, y - half / 2, x + 1.2 * half, y + half / 2)
    pen.arc(handle, -90, 90, fill, round(half / 4))


OBJECTS = {"ball": ball, "book": book, "mug": mug}


def save(image: Image.Image, path: Path, number: int) -> None:
    """As a JPEG; every tenth is grey, and every tenth lies on its side."""
    exif = Image.Exif()
    if number % 10 == 3:
        image = image.convert("L")
    if number % 10 == 7:
        image = image.transpose(Image.Transpose.ROTATE_90)
        exif[ORIENTATION] = 6  # "turn me by 90 degrees clockwise"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=85, exif=exif)


def main(each: int = 100, new: int = 10) -> None:
    """Draw `each` photos of every class to learn from, and `new` ones to classify."""
    for kind in CLASSES:
        draw_from = random.Random(kind)
        for number in range(each):
            save(photo(kind, draw_from), Path("photos", kind, f"IMG_{number:04d}.jpg"), number)
        for number in range(new):
            save(photo(kind, draw_from), Path("new", f"{kind}_{number:04d}.jpg"), number)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
