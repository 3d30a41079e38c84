"""One image file to pixels: whatever its kind, grey or RGB, 8 bit, upright, on white, first frame.

Only the formats named here are opened. Pillow knows more, and some of them run programs
(Ghostscript for EPS), have no signature so that anything passes for them (TGA), or are hardly ever
met; a file of such a format is refused whatever its ending.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import IO, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from onecycle.data import stand_ins
from onecycle.data.folder import essentials
from onecycle.data.folder.words import printable

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000", "ICO", "AVIF")
"""What is opened, as Pillow calls it; a file's content tells, not its ending."""

MOST_PIXELS = 2**27
"""Images with more pixels are refused, from the header alone."""

LONGEST_SIDE = 2**16
"""Images with a longer side are refused too: resizing takes memory in proportion to it."""

FORMAT = 3
"""Raised whenever decoding changes, so that older caches are not taken for the same."""

LONGEST_REASON = 120

DRAFT = 3
"""Large JPEGs are decoded at 1/2, 1/4 or 1/8, as long as that is this many times `side`."""

STRIP_PIXELS = 2**20
"""Pixels converted at a time where that takes several copies."""

LARGE = 2**24
"""Bytes of a file from which on its metadata are not even tried: they may be all of it."""

Resize = Literal["crop", "squash"]

Source = str | os.PathLike[str] | IO[bytes]
"""A path, or an open file."""

logging.getLogger("PIL").addHandler(logging.NullHandler())  # else some damage is told twice

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each value of EXIF's Orientation."""

_HEIC = {b"ftyp" + brand for brand in (b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1")}

_ORIENTATION = 0x0112
_ROTATING = {"exif", "xmp"}
"""What a JPEG may tell it in."""

_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
"""Grey with more than 8 bits; whole numbers are taken for 16 bits, as PNG, PGM and TIFF have."""


class Unreadable(Exception):
    """An image that can't be used; the message says why, in a few words that can be printed."""


def pixels(path: Source, side: int = 0, resize: Resize = "crop") -> np.ndarray:
    """The image in a file.

    Args:
        path: the file, of one of `FORMATS`, or one that is open for reading.
        side: height and width to give it (bilinear, with antialiasing); 0: its own.
        resize: of one that is not square: `crop` scales the short side to `side` and keeps the
            middle; `squash` scales both sides to it.

    Returns:
        uint8, `H W 1` if the file's kind is grey, else `H W 3`.

    Raises:
        Unreadable: it is missing, damaged, too large, or of another kind.
    """
    first = None
    try:
        if _size(path) <= LARGE:
            return _decoded(path, side, resize)
    except TooLarge:
        raise
    except Unreadable as error:
        first = error
    return _without_metadata(path, side, resize, first)


def _size(file: Source) -> int:
    """Bytes of a file that has a path, 0 of another."""
    try:
        return os.stat(file).st_size if isinstance(file, str | os.PathLike) else 0
    except OSError:
        return 0  # what is wrong shows when it is opened


def _without_metadata(
    source: Source, side: int, resize: Resize, first: Unreadable | None
) -> np.ndarray:
    """The image in a file whose metadata may not be readable, or may be very large.

    Raises:
        Unreadable: the pixels can't be read either.
    """
    with _opened(source) as file:
        for orientation in (True, False):
            try:
                if rest := essentials.opened(file, orientation=orientation):
                    return _decoded(rest, side, resize)
            except Unreadable as error:
                first = error
    if isinstance(first, _Unknown):
        raise Unreadable(_in_words(_what_else(source) or str(first)))
    if first:
        raise first
    return _decoded(source, side, resize)


def _what_else(source: Source) -> str:
    """What a file is that is no image; empty: nobody knows."""
    with _opened(source) as file:
        file.seek(0)
        head = file.read(stand_ins.HEAD)
    if head[4:12] in _HEIC:
        return "it is a HEIC image, which is not read; convert it to JPEG or PNG"
    if head.lstrip()[:5].lower() == b"<svg ":
        return "it is an SVG drawing; convert it to PNG"
    named = stand_ins.known(head)
    return f"it {named}" if named else ""


@contextmanager
def _opened(source: Source) -> Iterator[IO[bytes]]:
    if isinstance(source, str | os.PathLike):
        with _told_as_unreadable(), open(source, "rb") as file:
            yield file
    else:
        yield source


def _decoded(source: Source, side: int, resize: Resize) -> np.ndarray:
    """The image in a file, read by Pillow as it is."""
    with _told_as_unreadable(), Image.open(source, formats=FORMATS) as image:
        _check_size(image.size)
        drafted = image.draft(None, (DRAFT * side, DRAFT * side)) if side else None
        with _mute() if image.format == "TIFF" else nullcontext():
            image.load()
        _check_size(image.size)  # an icon's frame may be larger than the header says
        # Of a JPEG decoded at a fraction, the last row and column may be there in part only.
        width, height = drafted[1][2:] if drafted else image.size
        resized = _resized(_plain(image), (width, height), side, resize)
        turn = _TURNS.get(_orientation(image))
        resized = resized.transpose(turn) if turn is not None else resized
        return np.asarray(resized).reshape(resized.height, resized.width, -1)


class _Unknown(Unreadable):
    """No image of the formats that are read."""


class TooLarge(Unreadable):
    """An image with more pixels than are read."""


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings: what Pillow warns of is either harmless here or checked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _mute() -> Iterator[None]:
    """Standard error goes nowhere: libtiff writes there what Pillow raises anyway."""
    try:
        before = os.dup(2)
    except OSError:  # there is none
        yield
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


@contextmanager
def _told_as_unreadable() -> Iterator[None]:
    """Have every failure be one that the user can read.

    Damaged files have Pillow's readers fail with whatever their parsing trips over: struct.error,
    IndexError, KeyError, SyntaxError, ZeroDivisionError and more.
    """
    try:
        yield
    except Unreadable:
        raise
    except UnidentifiedImageError:
        raise _Unknown("not an image of a known format") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise TooLarge(_TOO_LARGE) from None
    except MemoryError:
        raise Unreadable("it needs too much memory") from None
    except OSError as error:
        raise Unreadable(_in_words(error.strerror or str(error) or "it can't be read")) from None
    except Exception as error:
        raise Unreadable(_in_words(f"damaged ({type(error).__name__}: {error})")) from None


_TOO_LARGE = f"it has more than {MOST_PIXELS:,} pixels, or {LONGEST_SIDE:,} a side"


def _in_words(reason: str) -> str:
    return printable(" ".join(reason.split()))[:LONGEST_REASON]


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MOST_PIXELS or max(size) > LONGEST_SIDE:
        raise TooLarge(_TOO_LARGE)
    if min(size) < 1:
        raise Unreadable("it has no pixels")


def _orientation(image: Image.Image) -> int:
    """EXIF's Orientation, 1 where it is not told or damaged; of TIFF files Pillow has undone it."""
    if image.format == "JPEG" and not _ROTATING & image.info.keys():
        return 1  # looking for it would take a tenth of the time that a small image takes
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # the pixels are there all the same
        return 1


def _plain(image: Image.Image) -> Image.Image:
    """Grey or RGB, 8 bit, transparent parts laid on white; a strip at a time, to save memory."""
    grey = _is_grey(image)
    kind = "L" if grey else "RGB"
    if image.mode not in _DEEP and not image.has_transparency_data:
        return image if image.mode == kind else image.convert(kind)
    scale = _scale(image)
    whole = Image.new(kind, image.size)
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        strip = _eight_bits(strip, scale) if image.mode in _DEEP else _on_white(strip)
        whole.paste(strip.getchannel(0) if grey else strip, (0, top))
    return whole


def _on_white(image: Image.Image) -> Image.Image:
    """RGB, of an image with transparent parts."""
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _is_grey(image: Image.Image) -> bool:
    """Whether the kind of image has grey values only; a palette counts by its colours."""
    if image.mode in ("P", "PA"):
        palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in ("1", "L", "LA", "La", *_DEEP)


def _scale(image: Image.Image) -> float:
    """What to multiply deep values by: 16 bits to 8; floats up to 1 are shares of white."""
    if image.mode != "F":
        return 1 / 257
    return 255.0 if np.nanmax(np.asarray(image), initial=0) <= 1 else 1.0


def _eight_bits(image: Image.Image, scale: float) -> Image.Image:
    """Grey, of values of more bits; those that are no number become black."""
    values_HW = np.asarray(image)
    scaled_HW = np.nan_to_num(values_HW * scale, nan=0.0, posinf=255, neginf=0)
    scaled_HW = np.clip(np.rint(scaled_HW), 0, 255).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        scaled_HW[values_HW == clear] = 255
    return Image.fromarray(scaled_HW)


def _resized(
    image: Image.Image, size: tuple[float, float], side: int, resize: Resize
) -> Image.Image:
    """The whole image or its middle square at `side` pixels; as it is where `side` is 0."""
    if side == 0 or image.size == (side, side):
        return image
    width, height = size
    short = min(width, height)
    left, top = ((width - short) / 2, (height - short) / 2) if resize == "crop" else (0, 0)
    # As if the whole were scaled and then cut: at the edges of the box its surroundings count.
    box = (left, top, width - left, height - top)
    return image.resize((side, side), Image.Resampling.BILINEAR, box=box)
