"""Bad, damaged and hostile folders, images and tables: one line each, as documented; and fuzz."""

import io
import os
import re
import resource
import shutil
import struct
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import EDITS, FUZZ, edited, outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_folders import by_name, drawn, make_flat, make_split, make_table, paint

from onecycle.data import cache, folder, load_splits
from onecycle.data.folder import decoding, manifest
from onecycle.errors import InputError

Spoil = Callable[[Path, pytest.MonkeyPatch], "dict[str, Any] | None"]
"""Makes the bad input at a path; returns options for `load_splits`, if any."""

PNG = b"\x89PNG\r\n\x1a\n"


# ------------------------------------------------------------------------------------- bad folders


def emptied(*labels: str) -> Spoil:
    def spoil(root: Path, _: Any) -> None:
        make_split(root, ["png"])
        for label in labels:
            (root / "train" / label / "0.png").unlink()

    return spoil


def renamed(before: str, after: str) -> Spoil:
    def spoil(root: Path, _: Any) -> None:
        make_split(root, ["png"])
        (root / before).rename(root / after)

    return spoil


def renamed_all(gone: str = "", **names: str) -> Spoil:
    """Splits under other names, perhaps without a class in test."""

    def spoil(root: Path, _: Any) -> None:
        make_split(root, ["png"])
        if gone:
            shutil.rmtree(root / "test" / gone)
        for before, after in names.items():
            (root / before).rename(root / after)

    return spoil


def below(*folders: str) -> Spoil:
    """Two images in each folder."""

    def spoil(root: Path, _: Any) -> None:
        for name in folders:
            paint(root / name / "0.png")
            paint(root / name / "1.png")

    return spoil


def trees(*splits: str, empty: str = "", **options: Any) -> Spoil:
    """Two classes in each folder."""

    def spoil(root: Path, _: Any) -> dict[str, Any]:
        for split in splits:
            make_flat(root / split, 2, ("ant", "bee"))
        if empty:
            (root / empty).mkdir()
        return options

    return spoil


def flat(classes: tuple[str, ...], count: int = 2) -> Spoil:
    def spoil(root: Path, _: Any) -> None:
        make_flat(root, count, classes)

    return spoil


def with_file(name: str, content: bytes, **options: Any) -> Spoil:
    """A good folder except for one file."""

    def spoil(root: Path, _: Any) -> dict[str, Any]:
        path = make_split(root, ["png"]) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return options

    return spoil


def only(root: Path, _: Any) -> None:
    for index in range(2):
        paint(root / f"{index}.png")


def other_kinds(root: Path, _: Any) -> None:
    for label in ("ant", "bee"):
        (root / label).mkdir(parents=True)
        (root / label / "1.heic").write_bytes(b"x")
        (root / label / "1.mov").write_bytes(b"x")
        (root / label / "2.heic").write_bytes(b"x")


def hidden(root: Path, _: Any) -> None:
    make_flat(root, 2, ("ant", "bee"))
    for path in list((root / "bee").iterdir()):
        path.rename(path.with_name(f".{path.name}"))


def around(root: Path, _: Any) -> None:
    make_flat(root / "inner", 2, ("ant", "bee"))


def alike(first: str, second: str) -> Spoil:
    def spoil(root: Path, _: Any) -> None:
        for split, label in (("train", first), ("test", second)):
            make_flat(root / split, 1, (label, "bee"))

    return spoil


def closed(root: Path, patch: pytest.MonkeyPatch) -> None:
    make_flat(root)
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if os.fspath(path).endswith("bee"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    patch.setattr(os, "scandir", refuse)


def sizes(first: tuple[int, int], second: tuple[int, int]) -> Spoil:
    def spoil(root: Path, _: Any) -> None:
        make_split(root, ["png"])
        for split in ("train", "test"):
            for label in ("ant", "bee", "cat"):
                paint(root / split / label / "0.png", size=first)
        paint(root / "test" / "bee" / "0.png", size=second)

    return spoil


def header(width: int, height: int) -> bytes:
    """The beginning of a PNG of that size."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = PNG + b"\0\0\0\x0d" + head + struct.pack(">I", zlib.crc32(head))
    return body + bytes(4) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def png() -> bytes:
    file = io.BytesIO()
    drawn(1).save(file, "PNG")
    return file.getvalue()


def jpeg() -> bytes:
    file = io.BytesIO()
    drawn(1, (60, 60)).save(file, "JPEG")
    return file.getvalue()


def several(root: Path, _: Any) -> None:
    make_split(root, ["png"])
    for index in range(5):
        (root / "train" / "bee" / f"bad{index}.png").write_bytes(b"no")


def lost_class(root: Path, _: Any) -> dict[str, Any]:
    make_split(root, ["png"])
    (root / "test" / "bee" / "0.png").write_bytes(b"no")
    return {"on_bad_image": "skip"}


def lost_all_but_one(root: Path, _: Any) -> dict[str, Any]:
    make_flat(root, 2)
    (root / "cat" / "1.png").write_bytes(b"no")
    return {"on_bad_image": "skip"}


def lost_everything(root: Path, _: Any) -> dict[str, Any]:
    make_flat(root, 2)
    for path in root.glob("*/*"):
        path.write_bytes(b"no")
    return {"on_bad_image": "skip"}


def no_file(root: Path, _: Any) -> None:
    root.with_suffix(".zip").write_bytes(b"PK\5\6" + bytes(18))


def no_room(root: Path, patch: pytest.MonkeyPatch) -> None:
    make_flat(root)
    usage = shutil.disk_usage("/")._replace(free=100)
    patch.setattr(shutil, "disk_usage", lambda _: usage)


def no_cache(root: Path, _: Any) -> dict[str, Any]:
    make_flat(root)
    path = root.with_name("cache in the way")
    path.write_text("a file")
    return {"cache_dir": path}


def wrong_limit(root: Path, patch: pytest.MonkeyPatch) -> None:
    make_flat(root)
    patch.setenv(cache.LIMIT, "a lot")


BAD_FOLDERS: dict[str, Spoil] = {
    "no such folder": lambda root, _: None,
    "a file": no_file,
    "nothing in it": lambda root, _: root.mkdir(),
    "images in no class folder": only,
    "class folders without any image": lambda root, _: (root / "ant").mkdir(parents=True),
    "class folders with other files only": other_kinds,
    "a class without images": emptied("bee"),
    "several classes without images": emptied("ant", "bee"),
    "a class with hidden images only": hidden,
    "one class": flat(("ant",)),
    "a folder around the right one": around,
    "splits of unknown names": renamed_all(train="2023 photos", test="2024 photos"),
    "one split of an unknown name": renamed_all(test="holdout"),
    "splits in each class": below("ant/train", "ant/test", "bee/train", "bee/test"),
    "several sets": trees("a/train", "a/test", "b/train", "b/test"),
    "a folder around splits": trees("inner/train", "inner/test"),
    "splits without train": trees("Testing"),
    "a split twice": trees("train1", "train2"),
    "an empty split": trees("train", empty="valid"),
    "images without classes in train": below("train", "test"),
    "a folder in each split around its classes": trees("train/inner", "test/inner"),
    "different classes in train and val": renamed_all("bee", test="val"),
    "a validation split and val_fraction": trees("train", "val", "test", val_fraction=0.5),
    "one image in a class, no test folder": flat(("ant", "bee"), 1),
    "different classes in train and test": renamed("test/cat", "test/cow"),
    "a class in capitals in test": alike("ant", "Ant"),
    "a class in other letters of the same look": alike("f\u00e9e", "fe\u0301e"),
    "a folder that may not be read": closed,
    "different sizes": sizes((12, 10), (9, 9)),
    "images too small": sizes((12, 7), (12, 7)),
    "images too large": sizes((1025, 10), (1025, 10)),
    "a text with an image's ending": with_file("train/bee/x.jpg", b"Not found"),
    "a web page with an image's ending": with_file("train/bee/x.jpg", b"<html>Not found</html>"),
    "a Git LFS pointer with an image's ending": with_file(
        "train/bee/x.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n"
    ),
    "an empty file": with_file("train/bee/x.png", b""),
    "a PNG cut off": with_file("train/bee/x.png", png()[:-30]),
    "a JPEG cut off": with_file("train/bee/x.jpg", jpeg()[:1200]),
    "a bit of a PNG flipped": with_file(
        "train/bee/x.png", png()[:60] + bytes([png()[60] ^ 4]) + png()[61:]
    ),
    "a bomb": with_file("train/bee/x.png", header(2**15, 2**15)),
    "an image far too long": with_file("train/bee/x.png", header(2**16 + 1, 1)),
    "PostScript with an image's ending": with_file(
        "train/bee/x.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"
    ),
    "a name with a line break": with_file("train/bee/a\nb.png", b"no"),
    "a name that is no Unicode": with_file(os.fsdecode(b"train/bee/caf\xe9.png"), b"no"),
    "five unreadable images": several,
    "a class left without readable images": lost_class,
    "a class left with one readable image": lost_all_but_one,
    "no readable image at all": lost_everything,
    "a disk without room": no_room,
    "a cache that can't be made": no_cache,
    "a limit that is no number": wrong_limit,
}


# -------------------------------------------------------------------------------------- bad tables


def table(content: str | bytes, **options: Any) -> Spoil:
    """A table with that content, next to images named a.png to f.png."""

    def spoil(root: Path, _: Any) -> dict[str, Any]:
        for index, name in enumerate("abcdef"):
            paint(root / f"{name}.png", index)
        path = root / "photos.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return {"source": str(path)} | options

    return spoil


HEAD = "path,label\na.png,ant\nb.png,ant\nc.png,bee\n"
SPLIT_HEAD = "path,label,split\na.png,ant,train\nb.png,bee,train\nc.png,ant,test\nd.png,bee,test\n"

BAD_TABLES: dict[str, Spoil] = {
    "an empty table": table(""),
    "a table with a header only": table("path,label\n"),
    "a table without a header": table("a.png,ant\nb.png,bee\n"),
    "a table without labels": table("path,class\na.png,ant\n"),
    "a table separated by semicolons": table("path;label\na.png;ant\n"),
    "a column twice": table("path,label,label\na.png,ant,bee\n"),
    "a row with an empty label": table(HEAD + "d.png,\n"),
    "a row with an empty path": table(HEAD + " ,bee\n"),
    "a row with a field too few": table(HEAD + "d.png\n"),
    "a row with a field too many": table(HEAD + "d, e.png,bee\n"),
    "a quotation mark left open": table(HEAD + '"d.png,bee\ne.png,bee\n'),
    "a quotation mark astray": table(HEAD + '"d".png,bee\n'),
    "a table in another encoding": table(HEAD.encode() + "d.png,bée\n".encode("latin-1")),
    "a table in UTF-16": table(HEAD.encode("utf-16")),
    "a line without end": table(HEAD + "x" * 2**17),
    "a zero byte in a path": table(HEAD + "d\0.png,bee\n"),
    "a path twice": table(HEAD + "d.png,bee\n./a.png,bee\n"),
    "a missing file": table(HEAD + "d.png,bee\ngone/x.png,bee\n"),
    "a folder in a table": table(HEAD + "d.png,bee\n.,bee\n"),
    "a path that is too long": table(HEAD + "d.png,bee\n" + "x" * 300 + ",bee\n"),
    "several missing files": table(HEAD + "".join(f"{i}.png,bee\n" for i in range(5))),
    "an unreadable file in a table": table(HEAD + "d.png,bee\nphotos.csv,bee\n"),
    "one label": table("path,label\na.png,ant\nb.png,ant\n"),
    "one image of a label, no splits": table(HEAD),
    "a label in test only": table(SPLIT_HEAD + "e.png,cat,test\n"),
    "an unknown split": table(SPLIT_HEAD + "e.png,ant,extra\n"),
    "a validation split without a class": table(SPLIT_HEAD + "e.png,ant,val\n"),
    "a row without a split": table(SPLIT_HEAD + "e.png,ant,\n"),
    "no rows of train": table("path,label,split\na.png,ant,test\nb.png,bee,val\n"),
    "a label whose files are all missing": table(
        "path,label\na.png,ant\nb.png,ant\nx.png,bee\ny.png,bee\n", on_bad_image="skip"
    ),
}

BAD = BAD_FOLDERS | BAD_TABLES

DOCUMENTED = dict(
    re.findall(
        r"^\| (.+?) \| (.+) \|$",
        (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
)


def everything(folder: Path) -> set[Path]:
    """Everything below the folder, listed without scandir, which a test has patched."""
    here = {folder / name for name in os.listdir(folder)}
    return here.union(*(everything(path) for path in here if path.is_dir()))


@pytest.mark.parametrize("what", BAD)
def test_a_bad_input_is_refused_in_one_line_as_documented_and_leaves_nothing(
    what, tmp_path, monkeypatch
):
    root, kept = tmp_path / "photos", tmp_path / "cache"
    options = BAD[what](root, monkeypatch) or {}
    source = options.pop("source", None) or str(
        root if root.exists() or what == "no such folder" else root.with_suffix(".zip")
    )
    before = everything(tmp_path)
    with pytest.raises(InputError) as error:
        load_splits(source, **{"cache_dir": kept} | options)
    line = str(error.value)
    assert line.isprintable()
    assert everything(tmp_path) - {kept} == before
    line = line.replace(f"{tmp_path}/photos/photos.csv", "photos.csv").replace(f"{tmp_path}/", "")
    words = ".+".join(map(re.escape, DOCUMENTED[what].split("…")))
    assert re.match(f"(data: )?{words}", line), line


def test_every_documented_row_about_folders_and_tables_is_tested():
    text = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    part = text[text.index("## Bad folders and their messages") :]
    rows = re.findall(r"^\| (.+?) \| .+ \|$", part, flags=re.MULTILINE)
    assert set(rows) - {"what is wrong"} == set(BAD)


# ------------------------------------------------------------------------------------------ samples


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def samples() -> dict[str, bytes]:
    """Intact images of every format and most modes."""
    rgb, grey = drawn(1, (20, 24)), drawn(2, (20, 24), "L")
    rgba = Image.merge("RGBA", (*rgb.split(), grey))
    deep = Image.fromarray(np.asarray(grey, np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [rgb, rgb]}
    found = {
        f"png {image.mode}": saved(image, "PNG")
        for image in (rgb, grey, rgba, deep, rgb.quantize(9), grey.convert("1"))
    }
    found |= {
        f"tiff {image.mode} {packed}": saved(image, "TIFF", compression=packed)
        for image in (rgb, grey, rgba, deep, grey.convert("F"), rgb.convert("CMYK"))
        for packed in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits")
    }
    return found | {
        "apng": saved(rgb, "PNG", **frames),
        "png exif": saved(rgb, "PNG", exif=exif),
        "jpeg": saved(rgb, "JPEG", exif=exif),
        "jpeg grey": saved(grey, "JPEG", progressive=True),
        "jpeg cmyk": saved(rgb.convert("CMYK"), "JPEG"),
        "jpeg of several": saved(rgb, "MPO", **frames),
        "tiff jpeg": saved(rgb, "TIFF", compression="jpeg"),
        "tiff fax": saved(grey.convert("1"), "TIFF", compression="group4"),
        "gif": saved(rgb, "GIF", **frames, transparency=1),
        "bmp": saved(rgb, "BMP"),
        "bmp palette": saved(rgb.quantize(9), "BMP"),
        "webp": saved(rgba, "WEBP"),
        "webp lossless": saved(rgb, "WEBP", lossless=True, exif=exif),
        "webp animated": saved(rgb, "WEBP", **frames),
        "ppm": saved(rgb, "PPM"),
        "ppm in words": b"P3 3 2 255 " + b" ".join(b"%d" % value for value in range(18)) + b"\n",
        "pgm deep": b"P5 3 2 65535 " + bytes(range(12)),
        "pfm": saved(grey.convert("F"), "PPM"),
        "jp2": saved(rgb, "JPEG2000"),
        "j2k": saved(grey, "JPEG2000", no_jp2=True),
        "ico": saved(rgba, "ICO", sizes=[(16, 16), (20, 20)]),
        "ico of bitmaps": saved(rgba, "ICO", sizes=[(16, 16)], bitmap_format="bmp"),
        "avif": saved(rgba, "AVIF", exif=exif),
    }


WHOLE = samples()


@pytest.mark.parametrize("kind", WHOLE)
def test_intact_samples_of_the_fuzz_tests_are_read(kind):
    assert decoding.pixels(io.BytesIO(WHOLE[kind])).size > 0


# --------------------------------------------------------------------------------------------- fuzz


def most_memory() -> int:
    """Peak memory of this process so far in bytes, including Pillow's."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two classes, and room for a cache."""
    place = tmp_path_factory.mktemp("fuzzed")
    make_flat(place / "photos", 2, ("ant", "bee"))
    return place


def check_fuzzed(place: Path, source: Path, **options: Any) -> None:
    """It loads or is refused, within limits of time and memory, and writes only to the cache."""
    before = sorted(path for path in place.rglob("*") if "cache" not in path.parts)
    memory, began = most_memory(), time.process_time()
    outcome(lambda: folder.load(source, cache_dir=place / "cache", **options))
    assert time.process_time() - began < 5
    assert most_memory() - memory < 2**28
    assert sorted(path for path in place.rglob("*") if "cache" not in path.parts) == before
    left = [path.name for path in (place / "cache").glob("*")]
    assert all(re.fullmatch(r"folder-[0-9a-f]{32}", name) for name in left)
    shutil.rmtree(place / "cache", ignore_errors=True)


OPTIONS = st.fixed_dictionaries(
    {
        "image_size": st.sampled_from([0, 8, 33]),
        "resize": st.sampled_from(["crop", "squash"]),
        "on_bad_image": st.sampled_from(["error", "skip"]),
    }
)


@given(kind=st.sampled_from(sorted(WHOLE)), edits=EDITS, options=OPTIONS)
@settings(max_examples=FUZZ)
def test_fuzz_mutated_and_truncated_images(kind, edits, options, place):
    path = place / "photos" / "bee" / "fuzzed.png"
    path.write_bytes(edited(WHOLE[kind], edits))
    check_fuzzed(place, place / "photos", **options)


@given(
    kind=st.sampled_from(sorted(WHOLE)),
    head=st.lists(
        st.tuples(st.integers(0, 120), st.sampled_from([0, 1, 127, 128, 255])),
        min_size=1,
        max_size=5,
    ),
    options=OPTIONS,
)
@settings(max_examples=FUZZ)
def test_fuzz_headers_of_images(kind, head, options, place):
    """Sizes, offsets and types at their extremes, with PNG's checksums corrected."""
    content = bytearray(WHOLE[kind])
    for at, value in head:
        content[at % len(content)] = value
    if content.startswith(PNG) and len(content) > 33:
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (place / "photos" / "bee" / "fuzzed.png").write_bytes(content)
    check_fuzzed(place, place / "photos", **options)


MAGICS = [b"", PNG, b"\xff\xd8\xff\xe0", b"GIF89a", b"BM",
          b"RIFF\x40\0\0\0WEBPVP8 ", b"II*\0\x08\0\0\0",
          b"MM\0*\0\0\0\x08", b"P3 ", b"P6\n", b"Pf\n", b"\xff\x4f\xff\x51", b"\0\0\1\0\1\0",
          b"\0\0\0\x0cjP  \r\n\x87\n", b"\0\0\0\x1cftypavif", b"%!PS-Adobe", b"8BPS\0\1",
          b"SIMPLE  =", b"\x89HDF\r\n\x1a\n", b"\xd7\xcd\xc6\x9a"]  # fmt: skip


@given(magic=st.sampled_from(MAGICS), content=st.binary(max_size=500), options=OPTIONS)
@settings(max_examples=FUZZ)
def test_fuzz_random_bytes(magic, content, options, place):
    (place / "photos" / "bee" / "fuzzed.png").write_bytes(magic + content)
    check_fuzzed(place, place / "photos", **options)


NAMES = st.one_of(
    st.binary(min_size=1, max_size=40).map(os.fsdecode),
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30),
    st.sampled_from(
        [" ", "a\nb", "'", '"', "\\", "-rf", "CON", "…", "\u202egpj", "%s", "{x}", "*"]
    ),
).filter(lambda name: "/" not in name and "\0" not in name and len(os.fsencode(name)) < 200)


@given(label=NAMES, name=NAMES, inner=NAMES, whole=st.booleans())
@settings(max_examples=FUZZ)
def test_fuzz_odd_names(label, name, inner, whole, tmp_path_factory):
    """Names of classes, files and folders in classes."""
    place = tmp_path_factory.getbasetemp() / "names"
    shutil.rmtree(place, ignore_errors=True)
    make_flat(place / "photos", 2, ("ant", "bee"))
    odd = place / "photos" / f"_{label}"
    paint(odd / "plain.png", 5)
    path = odd / f"_{inner}" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(WHOLE["png RGB"] if whole else b"no")
    check_fuzzed(place, place / "photos", image_size=8)
    if whole and not name.startswith("."):
        sets = folder.load(place / "photos", image_size=8, cache_dir=place / "cache")[:2]
        assert f"_{label}" in sets[0].classes
        assert f"_{label}/_{inner}/{name}.png" in by_name(*sets)


CELLS = st.one_of(
    st.sampled_from(["path", "label", "split", "a.png", "b.png", "c.png", "ant", "bee", "train"]),
    st.sampled_from(["test", "", " ", '"', '"a.png"', "gone.png", ".", "..", "/", "\ufeff", "\0"]),
    st.text(max_size=8),
)
TABLES = st.one_of(
    st.binary(max_size=200),
    st.lists(st.lists(CELLS, max_size=4).map(",".join), max_size=8)
    .map(lambda rows: "\n".join(rows).encode("utf-8", "surrogatepass")),
    st.lists(st.lists(CELLS, min_size=2, max_size=2).map(",".join), max_size=8)
    .map(lambda rows: "\r\n".join(["path,label", *rows]).encode("utf-8", "surrogatepass")),
)  # fmt: skip


@given(content=TABLES, options=OPTIONS)
@settings(max_examples=FUZZ)
def test_fuzz_tables(content, options, tmp_path_factory):
    place = tmp_path_factory.getbasetemp() / "tables"
    if not place.exists():
        for index, name in enumerate("abc"):
            paint(place / f"{name}.png", index)
    path = place / "photos.csv"
    path.write_bytes(content)
    check_fuzzed(place, path, **options)
    path.unlink()


@given(edits=EDITS, options=OPTIONS)
@settings(max_examples=FUZZ)
def test_fuzz_mutated_tables(edits, options, tmp_path_factory):
    place = tmp_path_factory.getbasetemp() / "edited tables"
    if not place.exists():
        for index, name in enumerate("abcdef"):
            paint(place / f"{name}.png", index)
    path = place / "photos.csv"
    rows = [(f"{name}.png", label, "") for name, label in zip("abcdef", "xxyyxy", strict=True)]
    content = make_table(path, rows, "path,label,more").read_bytes()
    assert len(manifest.read(path).files) == 6
    path.write_bytes(edited(content, edits))
    check_fuzzed(place, path, **options)
    path.unlink()
