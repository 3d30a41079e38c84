"""Hostile and damaged archives are refused in one line, as documented; nothing is left behind."""

import io
import os
import re
import shutil
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzzing import EDITS, FUZZ, edited, outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from small_archives import images, png, taped, zipped
from small_cifar import measured

from onecycle.data import archives, load_all, load_splits
from onecycle.data.archives import unpacking
from onecycle.data.archives.members import MOST_MEMBERS
from onecycle.errors import InputError
from onecycle.progress import SILENT

Made = Callable[[Path], Path]
"""Makes the bad archive in a folder."""


def zip_with(name: str, content: bytes = b"x") -> Made:
    """A zip archive of images, with a member that zipfile would name otherwise."""

    def make(folder: Path) -> Path:
        path = folder / "photos.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for image, its in images().items():
                archive.writestr(image, its)
            info = zipfile.ZipInfo("x")
            info.filename = name
            archive.writestr(info, content)
        return path

    return make


def tar_with(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> Made:
    """A tar archive of images behind a member of that kind."""

    def make(folder: Path) -> Path:
        info = tarfile.TarInfo(name)
        info.type = kind
        for field, value in fields.items():
            setattr(info, field, value)
        head = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        path = taped(folder / "photos.tar", images())
        path.write_bytes(head + path.read_bytes())
        return path

    return make


def spoiled(change: Callable[[bytearray], bytes | None], ending: str = ".zip") -> Made:
    """An archive of images with changed bytes."""

    def make(folder: Path) -> Path:
        path = folder / f"photos{ending}"
        (zipped if ending == ".zip" else taped)(path, images())
        content = bytearray(path.read_bytes())
        changed = change(content)
        path.write_bytes(content if changed is None else changed)
        return path

    return make


def at_list(offset: int, form: str, *values: int) -> Made:
    """A zip archive with other numbers in the first line of its list."""

    def change(content: bytearray) -> None:
        struct.pack_into(form, content, content.index(b"PK\1\2") + offset, *values)

    return spoiled(change)


def at_end(offset: int, form: str, *values: int) -> Made:
    """A zip archive with other numbers in its last lines."""

    def change(content: bytearray) -> None:
        struct.pack_into(form, content, content.index(b"PK\5\6") + offset, *values)

    return spoiled(change)


def bomb(folder: Path) -> Path:
    """270 MB of zeros in 270 kB."""
    return zipped(folder / "photos.zip", {**images(), "ant/zeros.png": bytes(270 * 10**6)})


def tar_bomb(folder: Path) -> Path:
    path = folder / "photos.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("ant/0.png")
        info.size = 270 * 10**6
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    return path


def overlapping(folder: Path) -> Path:
    """Every line of the list names the same member, as in quines and non-recursive bombs."""
    path = zipped(folder / "photos.zip", images())
    content = path.read_bytes()
    start = content.index(b"PK\1\2")
    line = content[start : content.index(b"PK\1\2", start + 4)]
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, 9 * len(line), start, 0)
    path.write_bytes(content[:start] + 9 * line + end)
    return path


def longer(folder: Path) -> Path:
    """A member that unpacks to more than its two headers say."""
    packer = zlib.compressobj(wbits=-15)
    content = packer.compress(bytes(10**6)) + packer.flush()
    name = b"ant/0.png"
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 0, 0, len(content), 100, 9, 0)
    line = struct.pack(
        "<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 0, 0, len(content), 100, 9, 0, 0, 0, 0, 0, 0
    )
    start = len(local + name + content)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(line) + 9, start, 0)
    path = folder / "photos.zip"
    path.write_bytes(local + name + content + line + name + end)
    return path


def pax(**headers: str) -> Made:
    def make(folder: Path) -> Path:
        path = folder / "photos.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            for name, content in images().items():
                info = tarfile.TarInfo(name)
                info.size, info.pax_headers = len(content), dict(headers)
                archive.addfile(info, io.BytesIO(content))
        return path

    return make


def twice(folder: Path) -> Path:
    path = zipped(folder / "photos.zip", {"ant/0.png": png(), "ant/9.png": png()})
    path.write_bytes(path.read_bytes().replace(b"ant/9.png", b"ant/0.png"))
    return path


def nested(folder: Path) -> Path:
    inner = zipped(folder / "inner.zip", images()).read_bytes()
    return zipped(folder / "photos.zip", {"inner.zip": inner})


def stronger(folder: Path) -> Path:
    return zipped(folder / "photos.zip", images(), zipfile.ZIP_LZMA)


def cut(share: float) -> Callable[[bytearray], bytes]:
    return lambda content: bytes(content[: int(share * len(content))])


def bit(content: bytearray) -> None:
    content[content.index(b"IDAT") + 20] ^= 1


OUT = "which points out of the archive; don't trust it, or make it again"
WHERE = "'photos.zip' has the member"
TAPE = "'photos.tar' has the member"
HURT = "is damaged or cut off"
BAD: dict[str, tuple[Made, str]] = {
    "a path that climbs": (zip_with("ant/../../evil.png"), f"{WHERE} 'ant/../../evil.png', {OUT}"),
    "a path that climbs on Windows": (
        zip_with("ant\\..\\..\\evil.png"),
        rf"{WHERE} 'ant\..\..\evil.png', {OUT}",
    ),
    "an absolute path": (zip_with("/etc/evil.png"), f"{WHERE} '/etc/evil.png', {OUT}"),
    "a path with a drive": (zip_with("C:\\evil.png"), rf"{WHERE} 'C:\evil.png', {OUT}"),
    "a path that climbs, tar": (tar_with("../evil.png"), f"{TAPE} '../evil.png', {OUT}"),
    "an absolute path, tar": (tar_with("/etc/evil.png"), f"{TAPE} '/etc/evil.png', {OUT}"),
    "a path that climbs in another header": (
        pax(path="../evil.png"),
        f"{TAPE} '../evil.png', {OUT}",
    ),
    "a zero byte in a name": (
        pax(path="ant/\0.png"),
        rf"{TAPE} 'ant/\x00.png', whose name has a zero byte; make the archive again",
    ),
    "a name of 300 letters": (
        zip_with("ant/" + 300 * "x" + ".png"),
        f"{WHERE} 'ant/{56 * 'x'}…', whose name has more than 255 bytes; make the archive again",
    ),
    "100 folders in each other": (
        zip_with("a/" * 100 + "x.png"),
        f"{WHERE} 'a', which lies in more than 64 folders; make the archive again",
    ),
    "an image twice": (
        twice,
        f"{WHERE} 'ant/0.png', which is there twice, or once as a folder and once as a file; make "
        "the archive again",
    ),
    "a file where a folder is": (
        zip_with("ant"),
        f"{WHERE} 'ant', which is there twice, or once as a folder and once as a file; make the "
        "archive again",
    ),
    "a folder where a file is": (
        zip_with("ant/0.png/1.png"),
        f"{WHERE} 'ant/0.png/1.png', which is there twice, or once as a folder and once as a file; "
        "make the archive again",
    ),
    "a sparse image": (
        tar_with("ant/9.png", tarfile.GNUTYPE_SPARSE),
        f"{TAPE} 'ant/9.png', which is a sparse file; make the archive without sparse files",
    ),
    "a sparse image in another header": (
        pax(**{"GNU.sparse.major": "1"}),
        f"{TAPE} '', which is a sparse file; make the archive without sparse files",
    ),
    "a password": (
        at_list(8, "<H", 1),
        "'photos.zip' is encrypted; unpack it with its password, and give its folder",
    ),
    "an unusual method": (
        stronger,
        f"{WHERE} 'ant/0.png', which is packed by an unusual method (14); unpack the archive, and "
        "give its folder",
    ),
    "zeros without end": (
        bomb,
        "'photos.zip' unpacks to more than 100 times its size, as no photos do; if you trust it, "
        "unpack it, and give its folder",
    ),
    "zeros without end, tar": (
        tar_bomb,
        "'photos.tar.gz' unpacks to more than 100 times its size, as no photos do; if you trust "
        "it, unpack it, and give its folder",
    ),
    "members that overlap": (overlapping, f"'photos.zip' {HURT} (its members overlap)"),
    "a member that is longer than it says": (
        longer,
        f"'photos.zip' {HURT} (a member is longer than it says)",
    ),
    "an archive in an archive": (
        nested,
        "'photos.zip' is an archive without images in it; give an archive of class folders, or a "
        "folder of them",
    ),
    "another name in the list": (
        spoiled(lambda content: bytes(content).replace(b"ant/0.png", b"ant/9.png", 1)),
        f"'photos.zip' {HURT} (its list and its members have different names)",
    ),
    "a bit flipped": (spoiled(bit), f"'photos.zip' {HURT} (a member's checksum is wrong)"),
    "a length of 4 GB": (
        at_list(24, "<L", 2**32 - 2),
        "'photos.zip' unpacks to more than 100 times its size, as no photos do; if you trust it, "
        "unpack it, and give its folder",
    ),
    "a list of 60,000 members": (
        at_end(8, "<2H", 60_000, 60_000),
        f"'photos.zip' {HURT} (its list of members is not where it says)",
    ),
    "a list elsewhere": (
        at_end(16, "<L", 2**31),
        f"'photos.zip' {HURT} (its list of members is not where it says)",
    ),
    "one part of several": (at_end(4, "<H", 3), f"'photos.zip' {HURT} (it is one part of several)"),
    "a zip archive cut off": (spoiled(cut(0.6)), f"'photos.zip' {HURT} (it ends too early)"),
    "a tar archive cut off": (
        spoiled(cut(0.1), ".tar"),
        f"'photos.tar' {HURT} (it ends too early)",
    ),
    "a length of 2^60 bytes": (
        tar_with("ant/9.png", size=2**60),
        f"{TAPE} 'ant/9.png', which has more than 1,073,741,824 bytes; no image needs as many, so "
        "remove it",
    ),
    "a length of 2^60 bytes in another header": (
        pax(size=str(2**60)),
        f"{TAPE} 'ant/0.png', which has more than 1,073,741,824 bytes; no image needs as many, so "
        "remove it",
    ),
    "another file of 2^60 bytes": (
        tar_with("notes", size=2**60),
        f"'photos.tar' {HURT} (it ends too early)",
    ),
    "an extended header of 2^60 bytes": (
        tar_with("x", tarfile.XHDTYPE, size=2**60),
        f"'photos.tar' {HURT} (an extended header is too long)",
    ),
}  # fmt: skip


def refusal(path: Path) -> str:
    """The error, which is the same line in both functions, unless a single class is no fault."""
    lines = []
    for load in (load_splits, load_all):
        with pytest.raises(InputError) as error:
            load(path.name)
        lines.append(str(error.value))
    assert lines[0] == lines[1]
    assert lines[0].isprintable()
    return lines[0]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("ONECYCLE_CACHE", str(tmp_path / "cache"))
    return tmp_path


SLOW = ("zeros without end", "zeros without end, tar")
"""They unpack a quarter of a gigabyte."""


@pytest.mark.parametrize(
    "what", [pytest.param(w, marks=[pytest.mark.faults] if w in SLOW else []) for w in BAD]
)
def test_a_bad_archive_is_refused_in_one_line_and_leaves_nothing(what, place):
    make, line = BAD[what]
    path = make(place / "work")
    before = set(place.rglob("*"))
    with measured() as spent:
        assert refusal(path).startswith(f"data: {line}")
    assert spent.bytes < 30 * 10**6
    assert set(place.rglob("*")) - before <= {place / "cache"}
    row = f"| {what} | {line} |"
    document = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    assert row in document


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_too_many_members_are_refused_before_they_are_kept(kind, place, monkeypatch):
    path = (zipped if kind == "zip" else taped)(Path(f"a.{kind}"), images())
    for module in (archives.zips, archives.tars):
        monkeypatch.setattr(module, "MOST_MEMBERS", 5)
    with pytest.raises(InputError, match="more than 5 members"):
        load_splits(str(path))
    assert MOST_MEMBERS == 2**21


@pytest.mark.faults
def test_fifty_thousand_members_take_seconds_and_little_memory(place):
    path = Path("a.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(50_000):
            archive.writestr(f"x/{number}.txt", b"")
    with measured() as spent, pytest.raises(InputError, match="without images in it"):
        load_splits("a.zip")
    assert spent.bytes < 50 * 10**6
    began = time.perf_counter()
    with pytest.raises(InputError, match="without images in it"):
        load_splits("a.zip")
    assert time.perf_counter() - began < 20


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_odd_names_are_names(kind, place):
    odd = {"a\nb": 0, "\x1b[31m": 1, "été": 2, "Ant": 3, "ant": 4}
    inside = {f"{label}/{n}.png": png(seed) for label, seed in odd.items() for n in range(2)}
    found = load_splits(str((zipped if kind == "zip" else taped)(Path(f"a.{kind}"), inside)))
    assert found.train.classes == tuple(sorted(odd))


def test_names_that_are_not_utf8_are_those_of_the_unpacked_folder(place):
    inside = {f"\udce9{label}/{n}.png": png(n) for label in "ab" for n in range(2)}
    path = taped(Path("a.tar"), inside)
    (place / "x").mkdir()
    with tarfile.open(path) as archive:
        archive.extractall(place / "x", filter="data")
    assert load_splits("a.tar").train.names == load_splits(str(place / "x")).train.names


def test_without_room_in_the_cache_nothing_stays(place, monkeypatch):
    zipped(Path("a.zip"), images())

    def full(folder: Path, needed: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(unpacking, "check_room", full)
    with pytest.raises(InputError, match=r"can't write the cache .* No space left on device"):
        load_splits("a.zip")
    assert not list((place / "cache").iterdir())


# ---------------------------------------------------------------------------------------- fuzzing


WHOLE = {
    ending: (zipped if ending == ".zip" else taped)
    for ending in (".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz")
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("samples")
    return {
        ending: make(folder / f"a{ending}", images()).read_bytes() for ending, make in WHOLE.items()
    }


@pytest.mark.parametrize("ending", WHOLE)
@given(edits=EDITS, to_headers=st.booleans())
@settings(max_examples=FUZZ // 3)
def test_a_mutated_archive_is_read_or_refused(ending, samples, tmp_path_factory, edits, to_headers):
    content = samples[ending]
    if to_headers:  # the list of a zip archive, and the first header of a tar archive
        cut = content.rfind(b"PK\1\2") if ending == ".zip" else 512
        parts = content[:cut], content[cut:]
        content = (
            parts[0] + edited(parts[1], edits)
            if ending == ".zip"
            else edited(parts[0], edits) + parts[1]
        )
    else:
        content = edited(content, edits)
    read_below(content, tmp_path_factory)


@given(head=st.sampled_from([b"PK\3\4", b"PK\5\6", b"\x1f\x8b", b"BZh9", b"\xfd7zXZ\0", b""]),
       content=st.binary(max_size=2000))  # fmt: skip
@settings(max_examples=FUZZ)
def test_any_bytes_are_refused(head, content, tmp_path_factory):
    read_below(head + content, tmp_path_factory)


def read_below(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Read an archive in a folder that holds nothing else, and in which nothing else appears."""
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    folder.mkdir(exist_ok=True)
    path = folder / "a"
    path.write_bytes(content)

    def read() -> None:
        out = folder / "out"
        out.mkdir()
        try:
            if archives.form_of(path) and archives.holds_images(path):
                archives.unpack(path, out, SILENT)
            for file in out.rglob("*"):
                assert not file.is_symlink()
        finally:
            shutil.rmtree(out)

    outcome(read)
    assert os.listdir(folder) == ["a"]


def test_every_documented_row_is_tested():
    text = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    section = text.partition("### Hostile archives of images")[2].partition("\n## ")[0]
    section = section.partition("\n### ")[0]
    rows = re.findall(r"^\| (.+?) \| .+ \|$", section, flags=re.MULTILINE)
    assert set(rows) - {"what is wrong"} == set(BAD)
