"""Faulty metadata never makes an image unreadable: against the same image without metadata."""

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile, PngImagePlugin
from small_folders import drawn

from onecycle.data.folder import decoding, essentials
from onecycle.data.folder.decoding import Unreadable, pixels, quiet

RGB = drawn(1, (24, 20))


def saved(image: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def read(content: bytes) -> np.ndarray:
    with quiet():
        return pixels(io.BytesIO(content))


# --------------------------------------------------------------------------------------------- PNG


def chunk(kind: bytes, content: bytes, crc: int | None = None) -> bytes:
    right = zlib.crc32(kind + content)
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", right if crc is None else crc)
    )


PNG = saved(RGB, "PNG")
BEFORE, AFTER = 33, len(PNG) - 12
"""Right after the header, and before the end."""


def put(content: bytes, what: bytes, at: int = BEFORE) -> bytes:
    return content[:at] + what + content[at:]


LONG = zlib.compress(bytes(2 * 2**20))
CHUNKS = {
    "a large packed text": chunk(b"zTXt", b"k\0\0" + LONG),
    "a large international text": chunk(b"iTXt", b"k\0\1\0\0\0" + LONG),
    "much text in sum": b"".join(
        chunk(b"zTXt", b"k%d\0\0" % i + zlib.compress(bytes(2**20 - 20))) for i in range(66)
    ),
    "a text with a wrong checksum": chunk(b"tEXt", b"k\0x", 5),
    "an international text with a wrong checksum": chunk(b"iTXt", b"k\0\0\0\0\0x", 5),
    "a time with a wrong checksum": chunk(b"tIME", bytes(7), 5),
    "an unknown chunk with a wrong checksum": chunk(b"abCd", b"xyz", 5),
    "EXIF with a wrong checksum": chunk(b"eXIf", b"II*\0\x08\0\0\0\0\0", 5),
    "EXIF that is junk": chunk(b"eXIf", b"junk" * 9),
    "a large colour profile": chunk(b"iCCP", b"k\0\0" + LONG),
    "a colour profile that is junk": chunk(b"iCCP", b"k\0\0junk"),
    "a colour profile cut short": chunk(b"iCCP", b"k"),
    "a colour profile packed otherwise": chunk(b"iCCP", b"k\0\7junk"),
    "a gamma cut short": chunk(b"gAMA", b"k"),
    "a size cut short": chunk(b"pHYs", b"k"),
    "colours cut short": chunk(b"cHRM", b"k"),
    "an empty sRGB": chunk(b"sRGB", b""),
    "an animation cut short": chunk(b"acTL", b""),
    "a raw profile that is junk": chunk(b"zTXt", b"Raw profile type exif\0\0junk"),
    "a large raw profile": chunk(b"zTXt", b"Raw profile type exif\0\0" + LONG),
    "a large XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LONG),
}


@pytest.mark.parametrize("at", [BEFORE, AFTER])
@pytest.mark.parametrize("what", CHUNKS)
def test_a_png_with_odd_chunks_has_its_pixels(what, at):
    assert np.array_equal(read(put(PNG, CHUNKS[what], at)), np.asarray(RGB))


def test_these_are_pillows_pixels_without_its_limits(monkeypatch):
    content = put(put(PNG, CHUNKS["a large packed text"], AFTER), CHUNKS["much text in sum"])
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 2**30)
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 2**30)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(image.convert("RGB"))
    monkeypatch.undo()
    assert np.array_equal(read(content), expected)


def test_pillows_own_settings_stay_as_they_were():
    names = ((PngImagePlugin, "MAX_TEXT_CHUNK"), (PngImagePlugin, "MAX_TEXT_MEMORY"),
             (Image, "MAX_IMAGE_PIXELS"), (ImageFile, "LOAD_TRUNCATED_IMAGES"))  # fmt: skip
    before = [getattr(*name) for name in names]
    read(put(PNG, CHUNKS["a large packed text"]))
    assert [getattr(*name) for name in names] == before


@pytest.mark.parametrize("kind", ["P", "RGBA", "LA", "L", "1", "16 bits", "colour", "interlaced"])
def test_every_kind_of_png_keeps_its_transparency_and_palette(kind):
    options = {"transparency": 1} if kind == "P" else {}
    options |= {"transparency": (4, 5, 6)} if kind == "colour" else {}
    image = {
        "P": lambda: RGB.quantize(9),
        "RGBA": lambda: Image.merge("RGBA", (*RGB.split(), RGB.getchannel(0))),
        "LA": lambda: Image.merge("LA", RGB.split()[:2]),
        "16 bits": lambda: Image.fromarray(np.asarray(RGB.convert("L"), np.uint16) * 200),
        "colour": lambda: Image.fromarray(np.asarray(RGB) % 7),
        "interlaced": lambda: RGB,
    }.get(kind, lambda: RGB.convert(kind))()
    plain = saved(image, "PNG", **options)
    assert np.array_equal(read(put(plain, CHUNKS["a large packed text"])), read(plain))


@pytest.mark.parametrize("how", ["eXIf", "XMP", "raw profile"])
def test_the_orientation_is_kept_although_text_is_skipped(how):
    exif = Image.Exif()
    exif[0x0112] = 6
    if how == "eXIf":
        plain = saved(RGB, "PNG", exif=exif)
    else:
        info = PngImagePlugin.PngInfo()
        if how == "XMP":
            info.add_itxt("XML:com.adobe.xmp", '<rdf:Description tiff:Orientation="6"/>')
        else:
            profile = f"\nexif\n{len(exif.tobytes()):8}\n{exif.tobytes().hex()}\n"
            info.add_text("Raw profile type exif", profile, zip=True)
        plain = saved(RGB, "PNG", pnginfo=info)
    expected = np.rot90(np.asarray(RGB), -1)
    assert np.array_equal(read(plain), expected)
    for what in ("a large packed text", "a text with a wrong checksum"):
        assert np.array_equal(read(put(plain, CHUNKS[what])), expected)


def test_damaged_pixels_are_refused_with_any_texts():
    odd = put(PNG, CHUNKS["a large packed text"])
    data = odd.index(b"IDAT")
    for content in (
        odd[: data + 30],
        odd[: data + 40] + bytes([odd[data + 40] ^ 8]) + odd[data + 41 :],
        odd[:20] + b"\1" + odd[21:],
        odd.replace(b"IDAT", b"iDAT"),
    ):
        with pytest.raises(Unreadable, match="truncated|broken|not an image|cannot load"):
            read(content)


def test_a_png_cut_off_after_its_pixels_or_within_a_text_is_complete():
    long = put(PNG, chunk(b"tEXt", b"k\0" + b"x" * 5000), AFTER)
    for content in (PNG[:AFTER], PNG[:-3], long[: AFTER + 300], long[:-5]):
        assert np.array_equal(read(content), np.asarray(RGB))


def test_bombs_with_texts_are_still_refused():
    head = b"IHDR" + struct.pack(">IIBBBBB", 2**15, 2**15, 8, 2, 0, 0, 0)
    bomb = PNG[:12] + head + struct.pack(">I", zlib.crc32(head)) + CHUNKS["a large packed text"]
    bomb += chunk(b"IDAT", zlib.compress(bytes(100))) + PNG[-12:]
    with pytest.raises(Unreadable, match="more than 134,217,728 pixels"):
        read(bomb)


def test_memory_is_bounded_by_the_pixels(tmp_path):
    """A file of 200 MB, all text except the pixels, and one that unpacks to as much."""
    path = tmp_path / "a.png"
    size = 200 * 2**20
    with path.open("wb") as file:
        file.write(PNG[:BEFORE] + struct.pack(">I", size) + b"tEXt")
        file.seek(size + 4, io.SEEK_CUR)  # nothing is written there
        file.write(PNG[BEFORE:])
    packed = put(PNG, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(size), 1)))
    tracemalloc.start()
    try:
        assert np.array_equal(pixels(path), np.asarray(RGB))
        assert np.array_equal(read(packed), np.asarray(RGB))
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


@given(
    odd=st.lists(
        st.tuples(
            st.sampled_from([b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP", b"gAMA", b"sBIT", b"bKGD",
                             b"pHYs", b"tIME", b"hIST", b"sPLT", b"cHRM", b"abCd"]),
            st.binary(max_size=40),
            st.booleans(),
            st.sampled_from([BEFORE, AFTER]),
        ),
        min_size=1,
        max_size=5,
    )
)  # fmt: skip
def test_no_other_chunk_changes_the_pixels(odd):
    content = PNG
    for kind, text, right, at in sorted(odd, key=lambda each: -each[3]):
        content = put(content, chunk(kind, text, None if right else 7), at)
    assert np.array_equal(read(content), np.asarray(RGB))


# -------------------------------------------------------------------------------------------- JPEG


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


SEGMENTS = {
    "junk for EXIF": segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "EXIF that ends early": segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\x05\1\x12"),
    "much EXIF": segment(0xE1, b"Exif\0\0" + b"x" * 60_000) * 40,
    "a colour profile cut short": segment(0xE2, b"ICC_PROFILE\0"),
    "a colour profile in parts that lack": segment(0xE2, b"ICC_PROFILE\0\1\5junk"),
    "much comment": segment(0xFE, b"x" * 60_000) * 40,
    "no comment": segment(0xFE, b""),
    "JFIF cut short": segment(0xE0, b"JFIF\0"),
    "Adobe cut short": segment(0xEE, b"Adobe"),
    "junk of Photoshop": segment(0xED, b"Photoshop 3.0\0008BIM\3\xed\5abc"),
    "junk for several pictures": segment(0xE2, b"MPF\0II*\0\x08\0\0\0\x05\0junk"),
    "XMP that is junk": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0\xff\xfe<<"),
    "empty parts of applications": segment(0xE7, b"") * 50,
    "zeros": bytes(7),
    "a comment that is longer than it says": b"\xff\xfe\0\4ab" + b"stray",
}


@pytest.mark.parametrize("what", SEGMENTS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_with_odd_segments_has_its_pixels(what, mode):
    plain = saved(RGB.convert(mode), "JPEG", quality=90)
    assert np.array_equal(read(put(plain, SEGMENTS[what], 2)), read(plain))
    exif = Image.Exif()
    exif[0x0112] = 8
    turned = saved(RGB.convert(mode), "JPEG", quality=90, exif=exif)
    if "EXIF" not in what and "XMP" not in what:
        assert np.array_equal(read(put(turned, SEGMENTS[what], 2)), np.rot90(read(plain)))


def test_a_damaged_jpeg_is_still_refused():
    plain = put(saved(RGB, "JPEG"), SEGMENTS["a colour profile cut short"], 2)
    for content in (plain[:200], plain[:3], plain.replace(b"\xff\xda", b"\xff\xd8", 1)):
        with pytest.raises(Unreadable):
            read(content)


# ------------------------------------------------------------------------------- WebP, TIFF, others


def webp(how: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(RGB, "WEBP", lossless=True, exif=exif, xmp=b"<x/>", icc_profile=b"some profile")
    at = content.index(b"EXIF")
    return {
        "EXIF cut off": content[: at + 12],
        "EXIF beyond the end": content[: at + 4] + b"\xff\xff\xff\xff" + content[at + 8 :],
        "no EXIF though it says so": content[:at],
        "a length beyond the end": content[:4] + b"\xff\xff\0\0" + content[8:],
        "XMP cut off": content[:-2],
        "a profile that is junk": content.replace(b"some profile", b"\xff\xfe\xfd\xfcabcdefgh"),
    }[how]


@pytest.mark.parametrize("how", ["EXIF cut off", "EXIF beyond the end", "no EXIF though it says so",
                                 "a length beyond the end", "XMP cut off",
                                 "a profile that is junk"])  # fmt: skip
def test_a_webp_with_odd_chunks_has_its_pixels(how):
    upright = "EXIF" in how
    expected = np.asarray(RGB) if upright else np.rot90(np.asarray(RGB), -1)
    assert np.array_equal(read(webp(how)), expected)


def test_a_webp_cut_off_in_its_pixels_is_refused():
    with pytest.raises(Unreadable):
        read(webp("no EXIF though it says so")[:300])


def tiff(order: str, tags: list[tuple[int, int, int, int]]) -> bytes:
    """A grey TIFF of 6 by 4 pixels with further tags: number, type, count, offset."""
    own = [(256, 3, 1, 6), (257, 3, 1, 4), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
           (273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 4), (279, 4, 1, 24)]  # fmt: skip
    content = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 32)
    content += bytes(range(0, 240, 10))
    entries = b""
    for number, kind, count, value in sorted(own + tags):
        packed = struct.pack(
            order + ("HH" if kind == 3 else "I"), *((value, 0) if kind == 3 else (value,))
        )
        entries += struct.pack(order + "HHI", number, kind, count) + packed
    return content + struct.pack(order + "H", len(own) + len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "tags",
    [
        [(270, 2, 1000, 2**31)],
        [(270, 2, 2**31, 8), (305, 2, 40, 10**6)],
        [(271, 99, 7, 7)],
        [(282, 5, 1, 10**9), (283, 5, 1, 10**9)],
        [(34665, 4, 1, 10**9), (34853, 4, 1, 3)],
        [(700, 1, 2**30, 8), (34675, 7, 2**30, 8)],
        [(50000 + i, 2, 5000, 2**20 + i) for i in range(500)],
        [(10 + i, 2, 5000, 2**20 + i) for i in range(200)],
    ],
)
def test_a_tiff_with_odd_tags_has_its_pixels(order, tags):
    expected = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6, 1)
    assert np.array_equal(read(tiff(order, [])), expected)
    assert np.array_equal(read(tiff(order, tags)), expected)
    turned = tiff(order, [*tags, (274, 3, 1, 3)])
    assert np.array_equal(read(turned), expected[::-1, ::-1])


@pytest.mark.parametrize("packed", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
@pytest.mark.parametrize("big", [False, True])
def test_a_packed_tiff_is_read_without_its_other_tags(packed, big):
    plain = saved(RGB, "TIFF", compression=packed, description="x" * 100, big_tiff=big)
    rest = essentials.opened(io.BytesIO(plain), orientation=True)
    assert rest is not None
    with rest:
        assert np.array_equal(pixels(rest), read(plain))


@pytest.mark.parametrize(
    "tags", [[(270, 1000, 2**31)], [(10 + i, 5000, 2**20) for i in range(200)]]
)
@pytest.mark.parametrize("packed", [None, "tiff_lzw", "jpeg"])
def test_a_packed_tiff_with_texts_beyond_its_end_has_its_pixels(packed, tags):
    plain = saved(RGB, "TIFF", compression=packed)
    (at,) = struct.unpack("<I", plain[4:8])
    (count,) = struct.unpack("<H", plain[at : at + 2])
    entries = [plain[at + 2 + 12 * i : at + 14 + 12 * i] for i in range(count)]
    entries += [struct.pack("<HHII", number, 2, length, place) for number, length, place in tags]
    entries.sort(key=lambda entry: struct.unpack("<H", entry[:2]))
    odd = plain[:4] + struct.pack("<I", len(plain)) + plain[8:]
    odd += struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    assert np.array_equal(read(odd), read(plain))


def test_an_avif_whose_exif_is_junk_has_its_pixels():
    exif = Image.Exif()
    exif[0x010E] = "words"
    plain = saved(RGB, "AVIF", exif=exif, xmp=b"<x/>")
    at = max(plain.find(b"II*\0"), plain.find(b"MM\0*"))
    assert at > 4
    for junk in (b"junkjunk", b"\xff" * 8):
        assert np.array_equal(read(plain[: at - 4] + junk + plain[at + 4 :]), read(plain))


def test_comments_of_a_gif_and_profiles_of_a_bitmap_do_no_harm():
    image = RGB.quantize(50)
    gif = saved(image, "GIF")
    at = 13 + 3 * (2 << (gif[10] & 7))
    comment = b"\x21\xfe" + (b"\xff" + b"c" * 255) * 40 + b"\0"
    junk = b"\x21\xff\x0bXMP DataXMP" + b"\x05<\xff\xfe\x00>" + b"\0"
    for what in (comment * 50, b"\x21\xfe\0", junk, b"\x21\xfe\1c\0" * 2000):
        assert np.array_equal(read(put(gif, what, at)), read(gif))
    bitmap = saved(RGB, "BMP")
    head = bytearray(bitmap[14:54] + struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0) + b"MBED")
    head += bytes(48) + struct.pack("<4I", 4, 10**9, 10**9, 0)
    head[:4] = struct.pack("<I", len(head))
    odd = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(head)) + bytes(head) + bitmap[54:]
    assert np.array_equal(read(odd), np.asarray(RGB))


# ----------------------------------------------------------------------------------- pieces as one


@given(
    content=st.binary(max_size=60),
    cuts=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.binary(max_size=5)),
                  max_size=5),
    reads=st.lists(st.tuples(st.integers(-5, 80), st.integers(0, 30)), max_size=6),
)  # fmt: skip
def test_spliced_pieces_read_like_the_joined_bytes(content, cuts, reads):
    pieces: list[essentials.Piece] = []
    whole = b""
    for one, other, more in cuts:
        start, stop = sorted((min(one, len(content)), min(other, len(content))))
        pieces += [(start, stop), more]
        whole += content[start:stop] + more
    file = io.BufferedReader(essentials.Spliced(io.BytesIO(content), pieces), 7)
    assert file.read() == whole
    truth = io.BytesIO(whole)
    for place, count in reads:
        assert file.seek(max(0, place)) == truth.seek(max(0, place))
        assert file.read(count) == truth.read(count)


def test_a_good_image_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A good image is not searched for metadata, so reading is as fast as Pillow."""
    refuse: Callable[..., None] = lambda *_, **__: pytest.fail("it was opened again")  # noqa: E731
    monkeypatch.setattr(essentials, "opened", refuse)
    for content in (PNG, saved(RGB, "JPEG"), saved(RGB, "WEBP")):
        (tmp_path / "a.png").write_bytes(content)
        assert decoding.pixels(tmp_path / "a.png").shape == (20, 24, 3)
