"""Odd images, each against Pillow, NumPy or a formula."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter, ImageOps
from small_folders import drawn

from onecycle.data.folder import decoding
from onecycle.data.folder.decoding import FORMATS, Unreadable, pixels, quiet
from onecycle.data.folder.walking import ENDINGS


def saved(image: Image.Image, format: str, **options) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, format, **options)
    file.seek(0)
    return file


def read(image: Image.Image, format: str = "PNG", **options) -> np.ndarray:
    return pixels(saved(image, format, **options))


def rgb(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


RGB = drawn(1)
GREY = drawn(2, mode="L")
VALUES = np.asarray(GREY)
RAMP = Image.fromarray(np.arange(120, dtype=np.uint8).reshape(10, 12))


# ------------------------------------------------------------------------------------------- kinds


@pytest.mark.parametrize("format", ["PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000", "ICO"])
def test_lossless_formats_return_their_pixels(format):
    image = drawn(1, (16, 16)) if format == "ICO" else RGB
    image = image.quantize(200) if format == "GIF" else image
    options = {"lossless": True} if format == "WEBP" else {}
    options |= {"sizes": [(16, 16)]} if format == "ICO" else {}
    assert np.array_equal(read(image, format, **options), rgb(image))


@pytest.mark.parametrize("format", ["JPEG", "AVIF"])
def test_a_lossy_format_is_decoded_as_pillow_does(format):
    file = saved(RGB, format)
    with Image.open(file) as image:
        assert np.array_equal(pixels(saved(RGB, format)), rgb(image))


def test_extensions_and_formats_agree_with_pillows_registry():
    known = {end for end, name in Image.registered_extensions().items() if name in FORMATS}
    assert known >= ENDINGS - {".jpf", ".jpx", ".jfif", ".apng", ".avifs"}
    assert known - ENDINGS == set()
    assert set(FORMATS) <= set(Image.OPEN)


def test_grey_modes_have_one_channel_and_their_values():
    for image, expected in (
        (GREY, VALUES),
        (GREY.convert("1"), np.asarray(GREY.convert("1").convert("L"))),
        (Image.merge("LA", (GREY, Image.new("L", GREY.size, 255))), VALUES),
        (GREY.quantize(256, dither=Image.Dither.NONE), None),
    ):
        found = read(image)
        assert found.shape == (10, 12, 1)
        if expected is not None:
            assert np.array_equal(found[..., 0], expected)
    assert read(GREY, "JPEG").shape == read(GREY, "GIF").shape == (10, 12, 1)


def test_a_palette_is_grey_or_not_by_its_colours():
    image = Image.new("P", (2, 2))
    image.putdata([0, 1, 2, 3])
    image.putpalette([0, 0, 0, 9, 9, 9, 70, 70, 70, 255, 255, 255])
    assert read(image).ravel().tolist() == [0, 9, 70, 255]
    image.putpalette([0, 0, 0, 9, 9, 9, 70, 70, 71, 255, 255, 255])
    assert read(image).reshape(4, 3).tolist() == [[0] * 3, [9] * 3, [70, 70, 71], [255] * 3]


@given(value=st.integers(0, 65535))
def test_16_bits_become_the_nearest_of_8(value):
    found = read(Image.fromarray(np.full((2, 3), value, np.uint16)))
    assert found.shape == (2, 3, 1)
    assert abs(float(found[0, 0, 0]) - value * 255 / 65535) <= 0.5


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_16_bits_of_every_format_are_alike(format):
    values = np.random.default_rng(0).integers(0, 65536, (10, 12), dtype=np.uint16)
    expected = np.rint(values / 257)
    assert np.array_equal(read(Image.fromarray(values), format)[..., 0], expected)


def test_16_bits_of_the_other_byte_order():
    image = Image.new("I;16B", (2, 1))
    image.putpixel((0, 0), 257 * 200)
    assert read(image, "TIFF").ravel().tolist() == [200, 0]


def test_integers_of_32_bits_count_as_16():
    values = np.array([[-5, 0, 257, 25700, 65535, 10**9]], dtype=np.int32)
    assert read(Image.fromarray(values), "TIFF").ravel().tolist() == [0, 0, 1, 100, 255, 255]


def test_floats_are_shares_of_white_or_go_to_255():
    shares = np.array([[0, 0.5, 1, -1, np.nan]], dtype=np.float32)
    assert read(Image.fromarray(shares), "TIFF").ravel().tolist() == [0, 128, 255, 0, 0]
    values = np.array([[0, 0.5, 1, 254.6, 1000, np.inf]], dtype=np.float32)
    assert read(Image.fromarray(values), "TIFF").ravel().tolist() == [0, 0, 1, 255, 255, 255]


def test_cmyk_is_converted_as_by_pillow():
    image = RGB.convert("CMYK")
    assert np.array_equal(read(image, "TIFF"), rgb(image))
    with Image.open(saved(image, "JPEG")) as decoded:
        assert decoded.mode == "CMYK"
        assert np.array_equal(read(image, "JPEG"), rgb(decoded))


@pytest.mark.parametrize("mode", ["LAB", "YCbCr"])
def test_other_colour_spaces_are_converted_as_by_pillow(mode):
    file = saved(Image.merge(mode, RGB.split()), "TIFF")
    with Image.open(file) as image:
        expected = rgb(image)
    file.seek(0)
    assert np.array_equal(pixels(file), expected)


# ------------------------------------------------------------------------------------ transparency


def blended(values: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The formula for `values` blended with white."""
    share = alpha / 255
    return values * share + 255 * (1 - share)


def test_transparent_parts_are_blended_with_white():
    alpha = drawn(3, mode="L")
    image = RGB.copy()
    image.putalpha(alpha)
    expected = blended(np.asarray(RGB, float), np.asarray(alpha, float)[..., None])
    assert np.abs(read(image) - expected).max() <= 1
    grey = Image.merge("LA", (GREY, alpha))
    found = read(grey)
    assert found.shape == (10, 12, 1)
    expected = blended(VALUES.astype(float), np.asarray(alpha, float))
    assert np.abs(found[..., 0] - expected).max() <= 1


def test_transparent_colours_become_white():
    image = Image.new("P", (2, 1))
    image.putdata([0, 1])
    image.putpalette([10, 20, 30, 40, 50, 60])
    for options in ({"transparency": 1}, {"transparency": b"\xff\x00"}):
        assert read(image, **options).tolist() == [[[10, 20, 30], [255] * 3]]
    assert read(image, "GIF", transparency=0).tolist() == [[[255] * 3, [40, 50, 60]]]
    grey = Image.fromarray(np.array([[7, 8]], np.uint8))
    assert read(grey, transparency=7).tolist() == [[[255], [8]]]
    colour = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert read(colour, transparency=(4, 5, 6)).tolist() == [[[1, 2, 3], [255] * 3]]
    bits = Image.new("1", (8, 1))
    assert (read(bits, transparency=0) == 255).all()


def test_a_transparent_value_of_16_bits_becomes_white():
    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 0, 0, 0, 0))
    content += chunk(b"tRNS", struct.pack(">H", 1000))
    content += chunk(b"IDAT", zlib.compress(b"\0" + struct.pack(">HH", 1000, 1028)))
    found = pixels(io.BytesIO(content + chunk(b"IEND", b"")))
    assert found.ravel().tolist() == [255, 4]


@pytest.mark.parametrize("make", [lambda: drawn(1, mode="RGBA"), lambda: drawn(1, mode="LA"),
                                  lambda: Image.fromarray(np.arange(120, dtype=np.uint16)
                                                          .reshape(10, 12) * 500)])  # fmt: skip
def test_strips_make_no_difference(make: Callable[[], Image.Image], monkeypatch):
    image = make()
    if image.mode.endswith("A"):
        image.putalpha(drawn(9, mode="L"))
    whole = read(image)
    monkeypatch.setattr(decoding, "STRIP_PIXELS", 30)
    assert np.array_equal(read(image), whole)


# ------------------------------------------------------------------------------ rotation and frames


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_exif_rotation_is_applied(orientation, format):
    values = np.asarray(RAMP)
    upright = {
        1: values,
        2: values[:, ::-1],
        3: values[::-1, ::-1],
        4: values[::-1],
        5: values.T,
        6: np.rot90(values, -1),
        7: values[::-1, ::-1].T,
        8: np.rot90(values),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {}
    assert np.array_equal(read(RAMP, format, exif=exif, **options)[..., 0], upright)


def test_a_rotated_jpeg_is_turned_as_by_pillow():
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(saved(RGB, "JPEG", exif=exif)) as image:
        assert np.array_equal(read(RGB, "JPEG", exif=exif), rgb(ImageOps.exif_transpose(image)))


def test_a_rotation_in_xmp_counts_as_it_does_for_pillow():
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    with Image.open(saved(RGB, "JPEG", xmp=xmp)) as image:
        turned = ImageOps.exif_transpose(image)
    assert turned.size == RGB.size[::-1]
    assert np.array_equal(read(RGB, "JPEG", xmp=xmp), rgb(turned))


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_invalid_orientation_turns_nothing(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(read(RAMP, exif=exif)[..., 0], np.asarray(RAMP))


def test_damaged_exif_does_no_harm():
    content = saved(RAMP, "JPEG").getvalue()
    for junk in (
        b"Exif\0\0junk",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
    ):
        exif = b"\xff\xe1" + struct.pack(">H", len(junk) + 2) + junk
        with quiet():
            found = pixels(io.BytesIO(content[:2] + exif + content[2:]))
        assert np.array_equal(found, pixels(io.BytesIO(content)))


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation_is_used(format):
    first = Image.new("RGB", (12, 10), (200, 10, 30))
    others = [Image.new("RGB", (12, 10), (0, 0, value)) for value in (100, 200)]
    options = {"lossless": True} if format == "WEBP" else {}
    found = read(first, format, save_all=True, append_images=others, **options)
    assert (found == (200, 10, 30)).all()


# ---------------------------------------------------------------------------------------- resizing


@pytest.mark.parametrize(("size", "scaled"), [((40, 20), (16, 8)), ((20, 60), (8, 24)),
                                              ((4, 2), (16, 8)), ((6, 30), (8, 40))])  # fmt: skip
def test_crop_scales_the_short_side_and_keeps_the_middle(size, scaled):
    """Against scaling the whole image and cropping, where sizes come out whole."""
    image = drawn(4, size)
    whole = image.resize(scaled, Image.Resampling.BILINEAR)
    left, top = (scaled[0] - 8) // 2, (scaled[1] - 8) // 2
    expected = np.asarray(whole.crop((left, top, left + 8, top + 8)))
    assert np.abs(pixels(saved(image, "PNG"), 8).astype(int) - expected).max() <= 1


def test_crop_scales_before_it_cuts():
    """Pixels next to the middle square blend into its edge, as in the scaled whole image."""
    values = np.zeros((8, 24), np.uint8)
    values[:, :8] = 255
    file = saved(Image.fromarray(values), "PNG")
    assert pixels(file, 4)[0, 0, 0] > 0


def test_squash_scales_both_sides():
    image = drawn(4, (40, 20))
    expected = np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR))
    assert np.array_equal(pixels(saved(image, "PNG"), 8, "squash"), expected)


def test_without_a_size_or_at_its_own_an_image_is_unchanged():
    assert np.array_equal(pixels(saved(RGB, "PNG")), np.asarray(RGB))
    square = drawn(5, (9, 9))
    for resize in ("crop", "squash"):
        assert np.array_equal(pixels(saved(square, "PNG"), 9, resize), np.asarray(square))


@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    side=st.integers(1, 24),
    resize=st.sampled_from(["crop", "squash"]),
    mode=st.sampled_from(["RGB", "L", "LA", "RGBA", "P", "1"]),
)
def test_any_size_becomes_the_requested_size(width, height, side, resize, mode):
    found = pixels(saved(drawn(1, (width, height), mode), "PNG"), side, resize)
    assert found.shape[:2] == (side, side)
    assert found.dtype == np.uint8


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (65_536, 1)])
def test_a_single_colour_stays_the_same_in_the_thinnest_image(size):
    image = Image.new("RGB", size, (9, 99, 199))
    for resize in ("crop", "squash"):
        assert (pixels(saved(image, "PNG"), 16, resize) == (9, 99, 199)).all()


def photo(side: int) -> Image.Image:
    """A smooth image with edges, like a photograph."""
    small = drawn(8, (24, 24)).resize((side, side), Image.Resampling.BICUBIC)
    return small.filter(ImageFilter.GaussianBlur(2))


@pytest.mark.parametrize("resize", ["crop", "squash"])
def test_large_jpegs_are_decoded_at_a_fraction_to_nearly_the_same(resize):
    image = photo(700).crop((0, 0, 700, 520))
    with Image.open(saved(image, "JPEG", quality=90)) as whole:
        box = (90, 0, 610, 520) if resize == "crop" else None
        exact = np.asarray(whole.resize((32, 32), Image.Resampling.BILINEAR, box=box), float)
    found = pixels(saved(image, "JPEG", quality=90), 32, resize)
    assert 0 < np.sqrt(np.mean((found - exact) ** 2)) < 0.7  # of 255; not 0: it was a fraction


# --------------------------------------------------------------------------------- what is refused


def test_an_image_with_too_many_pixels_is_refused_by_its_header(monkeypatch, tmp_path):
    def ihdr(width: int, height: int) -> Path:
        head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        path = tmp_path / "bomb.png"
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + head + struct.pack(">I", zlib.crc32(head)) + bytes(4)
            + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
        )  # fmt: skip
        return path

    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("it was decoded"))
    for width, height in ((2**14, 2**13 + 1), (2**16 + 1, 1), (1, 2**16 + 1), (2**31 - 1,) * 2):
        with pytest.raises(
            Unreadable, match="more than 134,217,728 pixels, or more than 65,536 per side"
        ):
            pixels(ihdr(width, height))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # whoever has lifted Pillow's limit
    with pytest.raises(Unreadable, match="more than 134,217,728 pixels"):
        pixels(ihdr(2**16, 2**16))


def test_an_icon_may_not_hide_a_larger_image(monkeypatch):
    monkeypatch.setattr(decoding, "MOST_PIXELS", 1000)
    content = bytearray(saved(drawn(1, (40, 40)), "ICO", sizes=[(40, 40)]).getvalue())
    content[6:8] = b"\x10\x10"  # the directory says 16x16
    with quiet(), pytest.raises(Unreadable, match="more than"):
        pixels(io.BytesIO(bytes(content)))


OTHER_FORMATS = ["EPS", "PDF", "TGA", "PCX", "SGI", "MSP", "XBM", "SPIDER", "DDS", "DIB",
                 "QOI"]  # fmt: skip


@pytest.mark.parametrize("format", OTHER_FORMATS)
def test_other_formats_are_not_opened_under_any_extension(format, tmp_path):
    image = {"MSP": GREY.convert("1"), "XBM": GREY.convert("1"), "SPIDER": GREY.convert("F")}
    path = tmp_path / "innocent.spi"  # Pillow takes the ending that SPIDER is saved by for SPIDER's
    image.get(format, RGB).save(path, format)
    with pytest.raises(Unreadable, match="not an image in a known format"):
        pixels(path.rename(path.with_suffix(".png")))


def test_no_program_is_run_for_postscript(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    import subprocess

    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was run"))
    with pytest.raises(Unreadable):
        pixels(path)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_a_damaged_tiff_is_reported_once(compression, tmp_path, capfd):
    path = tmp_path / "a.tif"
    RGB.save(path, compression=compression)
    content = bytearray(path.read_bytes())
    content[8:40] = bytes(range(200, 232))
    path.write_bytes(content)
    with pytest.raises(Unreadable):
        pixels(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty; fetch it again"),
        (b"<html>Not found</html>", "it is a web page, probably from a failed download"),
        (b"\x89PNG\r\n\x1a\n", "not an image in a known format|damaged|truncated"),
        (b"P6\n0 5\n255\n", "not an image|damaged|no pixels"),
        (b"P5 2 2 255 ab", "not enough|truncated"),
    ],
)
def test_the_reason_is_given_in_a_few_words(content, reason, tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(Unreadable, match=reason) as error:
        pixels(path)
    assert str(tmp_path) not in str(error.value)
    assert str(error.value).isprintable()


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(Unreadable, match="No such file"):
        pixels(tmp_path / "gone.png")
