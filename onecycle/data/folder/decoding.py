"""Decode an image file of any kind to pixels: grey or RGB, 8 bit, upright, on white, first frame.

Only the formats listed here are opened. Pillow knows more, but some of them run programs
(Ghostscript for EPS), have no signature, so that any file may pass for them (TGA), or are very
rare. Files of such formats are rejected, whatever their extension.
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
from onecycle.data.folder.messages import printable

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000", "ICO", "AVIF")
"""The formats to open, by Pillow's names. A file's content decides, not its extension."""

MOST_PIXELS = 2**27
"""Images with more pixels are rejected, judging by the header alone."""

LONGEST_SIDE = 2**16
"""Images with a longer side are rejected too: resizing takes memory in proportion to it."""

FORMAT = 3
"""Increased whenever decoding changes, so that older caches are not reused."""

LONGEST_REASON = 120

DRAFT = 3
"""Large JPEGs are decoded at 1/2, 1/4 or 1/8 size, if that is at least this many times `side`."""

STRIP_PIXELS = 2**20
"""Pixels converted at a time if the conversion makes several copies."""

LARGE = 2**24
"""Files of at least this many bytes are read without their metadata, which may be most of them."""

Resize = Literal["crop", "squash"]

Size = int | tuple[int, int]
"""The side of a square, or height and width, in pixels; 0: an image's own size."""

Source = str | os.PathLike[str] | IO[bytes]
"""A path, or an open file."""

logging.getLogger("PIL").addHandler(logging.NullHandler())  # else some damage is reported twice

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that undoes each value of EXIF's Orientation."""

_SIDEWAYS = {_TURNS[value] for value in (5, 6, 7, 8)}
"""The transpositions that swap height and width."""

_HEIC = {b"ftyp" + brand for brand in (b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1")}

_ORIENTATION = 0x0112
_ROTATING = {"exif", "xmp"}
"""Metadata that can contain a JPEG's orientation."""

_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
"""Grey modes with more than 8 bits; integers count as 16 bits, as in PNG, PGM and TIFF."""


class Unreadable(Exception):
    """An image that can't be used; the message is the reason in a few printable words."""


def pixels(path: Source, size: Size = 0, resize: Resize = "crop") -> np.ndarray:
    """The image in a file.

    Args:
        path: the file, in one of `FORMATS`, or a file open for reading.
        size: to which it is resized (bilinear, with antialiasing).
        resize: if it has another shape: `crop` scales it until it covers `size`, and keeps the
            middle; `squash` scales both sides.

    Returns:
        uint8, `H W 1` if the file's mode is grey, else `H W 3`.

    Raises:
        Unreadable: it is missing, damaged, too large, or in another format.
    """
    first = None
    try:
        if _bytes(path) <= LARGE:
            return _decoded(path, size, resize)
    except TooLarge:
        raise
    except Unreadable as error:
        first = error
    return _without_metadata(path, size, resize, first)


def pixels_of(image: Image.Image, size: Size = 0, resize: Resize = "crop") -> np.ndarray:
    """The pixels of an opened image, by the rules of `pixels`.

    Raises:
        Unreadable: it is damaged, or too large.
    """
    with _failures_as_unreadable():
        _check_size(image.size)
        image.load()
        return _prepared(image, image.size, size, resize)


def grey(image_HWC: np.ndarray) -> np.ndarray:
    """The image with one channel, uint8 `H W 1`: its luma by ITU-R 601-2, as Pillow has it."""
    if image_HWC.shape[2] == 1:
        return image_HWC
    return np.asarray(Image.fromarray(image_HWC).convert("L"))[..., None]


def _bytes(file: Source) -> int:
    """Bytes of a file, if it has a path; 0 otherwise."""
    try:
        return os.stat(file).st_size if isinstance(file, str | os.PathLike) else 0
    except OSError:
        return 0  # opening it will report the error


def _without_metadata(
    source: Source, size: Size, resize: Resize, first: Unreadable | None
) -> np.ndarray:
    """The image in a file whose metadata may be unreadable or very large.

    Raises:
        Unreadable: the pixels are unreadable, too.
    """
    with _opened(source) as file:
        for orientation in (True, False):
            try:
                if rest := essentials.opened(file, orientation=orientation):
                    return _decoded(rest, size, resize)
            except Unreadable as error:
                first = error
    if isinstance(first, _Unknown):
        raise Unreadable(_in_words(_what_else(source) or str(first)))
    if first:
        raise first
    return _decoded(source, size, resize)


def _what_else(source: Source) -> str:
    """What a file is if it is not an image; empty if not known."""
    with _opened(source) as file:
        file.seek(0)
        head = file.read(stand_ins.HEAD)
    if head[4:12] in _HEIC:
        return "it is a HEIC image, which is not supported; convert it to JPEG or PNG"
    if head.lstrip()[:5].lower() == b"<svg ":
        return "it is an SVG drawing; convert it to PNG"
    named = stand_ins.known(head)
    return f"it {named}" if named else ""


@contextmanager
def _opened(source: Source) -> Iterator[IO[bytes]]:
    if isinstance(source, str | os.PathLike):
        with _failures_as_unreadable(), open(source, "rb") as file:
            yield file
    else:
        yield source


def _decoded(source: Source, size: Size, resize: Resize) -> np.ndarray:
    """The image in a file, read by Pillow as a whole."""
    with _failures_as_unreadable(), Image.open(source, formats=FORMATS) as image:
        _check_size(image.size)
        longest = max(size) if isinstance(size, tuple) else size
        drafted = image.draft(None, (DRAFT * longest, DRAFT * longest)) if size else None
        with _mute() if image.format == "TIFF" else nullcontext():
            image.load()
        _check_size(image.size)  # an icon's frame may be larger than the header says
        # If a JPEG is decoded at a fraction, its last row and column may be incomplete.
        return _prepared(image, drafted[1][2:] if drafted else image.size, size, resize)


def _prepared(
    image: Image.Image, own: tuple[float, float], size: Size, resize: Resize
) -> np.ndarray:
    """The pixels of an image, upright and resized. `own`: its width and height."""
    turn = _TURNS.get(_orientation(image))
    height, width = size if isinstance(size, tuple) else (size, size)
    if turn in _SIDEWAYS:
        height, width = width, height
    resized = _resized(_plain(image), own, (width, height), resize)
    resized = resized.transpose(turn) if turn is not None else resized
    return np.asarray(resized).reshape(resized.height, resized.width, -1)


class _Unknown(Unreadable):
    """The file is not an image in one of the supported formats."""


class TooLarge(Unreadable):
    """An image with too many pixels."""


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings: what Pillow warns about is harmless here, or checked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _mute() -> Iterator[None]:
    """Suppress standard error: libtiff writes to it what Pillow raises anyway."""
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
def _failures_as_unreadable() -> Iterator[None]:
    """Turn every failure into an `Unreadable` with a clear reason.

    On damaged files Pillow's readers raise all kinds of errors: struct.error, IndexError,
    KeyError, SyntaxError, ZeroDivisionError and more.
    """
    try:
        yield
    except Unreadable:
        raise
    except UnidentifiedImageError:
        raise _Unknown("not an image in a known format") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise TooLarge(_TOO_LARGE) from None
    except MemoryError:
        raise Unreadable("it needs too much memory") from None
    except OSError as error:
        raise Unreadable(_in_words(error.strerror or str(error) or "it can't be read")) from None
    except Exception as error:
        raise Unreadable(_in_words(f"damaged ({type(error).__name__}: {error})")) from None


_TOO_LARGE = f"it has more than {MOST_PIXELS:,} pixels, or more than {LONGEST_SIDE:,} per side"


def _in_words(reason: str) -> str:
    return printable(" ".join(reason.split()))[:LONGEST_REASON]


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MOST_PIXELS or max(size) > LONGEST_SIDE:
        raise TooLarge(_TOO_LARGE)
    if min(size) < 1:
        raise Unreadable("it has no pixels")


def _orientation(image: Image.Image) -> int:
    """EXIF's Orientation; 1 if missing or damaged, and for TIFF files, which Pillow has rotated."""
    if image.format == "JPEG" and not _ROTATING & image.info.keys():
        return 1  # searching for it would take a tenth of a small image's time
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # the pixels can be used all the same
        return 1


def _plain(image: Image.Image) -> Image.Image:
    """Grey or RGB, 8 bit, transparent parts on white; made strip by strip to save memory."""
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
    """An image with transparent parts as RGB on white."""
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _is_grey(image: Image.Image) -> bool:
    """Whether the image's mode has grey values only; for a palette, its colours decide."""
    if image.mode in ("P", "PA"):
        palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in ("1", "L", "LA", "La", *_DEEP)


def _scale(image: Image.Image) -> float:
    """The factor for deep values: from 16 to 8 bits; floats up to 1 are shares of white."""
    if image.mode != "F":
        return 1 / 257
    return 255.0 if np.nanmax(np.asarray(image), initial=0) <= 1 else 1.0


def _eight_bits(image: Image.Image, scale: float) -> Image.Image:
    """Grey values of more bits, reduced to 8; NaN becomes black."""
    values_HW = np.asarray(image)
    scaled_HW = np.nan_to_num(values_HW * scale, nan=0.0, posinf=255, neginf=0)
    scaled_HW = np.clip(np.rint(scaled_HW), 0, 255).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        scaled_HW[values_HW == clear] = 255
    return Image.fromarray(scaled_HW)


def _resized(
    image: Image.Image, own: tuple[float, float], size: tuple[int, int], resize: Resize
) -> Image.Image:
    """The whole image, or its middle, at `size`, a width and a height; unchanged if that is 0."""
    if size == (0, 0) or image.size == size:
        return image
    width, height = own
    left = top = 0.0
    if resize == "crop":  # products first: for a square they are exact
        left = max(0.0, (width - height * size[0] / size[1]) / 2)
        top = max(0.0, (height - width * size[1] / size[0]) / 2)
    # As if the whole were scaled and then cropped: pixels around the box count at its edges.
    box = (left, top, width - left, height - top)
    return image.resize(size, Image.Resampling.BILINEAR, box=box)
