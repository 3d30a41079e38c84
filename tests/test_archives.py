"""Archives of class folders give the same images, splits and names as the unpacked folder."""

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from small_archives import MODES, images, packed, png, taped, zipped
from small_cifar import make
from small_folders import Recorder, make_flat, make_split, paint

from onecycle.data import Splits, archives, cache, cifar, load_all, load_splits
from onecycle.data.cifar import CIFAR10
from onecycle.errors import InputError
from onecycle.progress import SILENT


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONECYCLE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def same(first: Splits, second: Splits) -> None:
    """The same pixels, labels, names and splits, and the same left out."""
    assert first.fingerprint == second.fingerprint
    assert first.left_out == second.left_out
    for one, other in zip(
        (first.train, first.test, first.val), (second.train, second.test, second.val), strict=True
    ):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert one.names == other.names
            assert one.classes == other.classes
            assert np.array_equal(one.labels_N, other.labels_N)
            assert np.array_equal(one.images_NHWC, other.images_NHWC)


@pytest.mark.parametrize("ending", [".zip", *MODES])
@pytest.mark.parametrize("top", [pytest.param("", marks=pytest.mark.faults), "photos"])
def test_an_archive_is_the_same_as_its_folder(ending, top, place):
    root = make_flat(place / "photos", 5)
    (root / "ant" / "notes.txt").write_text("x")
    (root / ".DS_Store").write_text("x")
    archive = packed(place / f"a{ending}", root, top=top)
    for options in ({}, {"image_size": 8, "resize": "squash", "val_fraction": 0.3}):
        same(load_splits("photos", **options), load_splits(str(archive), **options))
    assert load_all(str(archive)).fingerprint == load_all("photos").fingerprint


@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
def test_splits_inside_are_splits(ending, place):
    root = make_split(place / "set", ["png", "jpg"])
    shutil.copytree(root / "test", root / "valid_data")
    archive = packed(place / f"a{ending}", root, top="set")
    same(load_splits("set"), load_splits(str(archive)))
    with pytest.raises(InputError, match="has its own validation split"):
        load_splits(str(archive), val_fraction=0.1)
    whole = load_all(str(archive))
    assert whole.kind.startswith("test split of ")
    assert whole.fingerprint == load_all("set").fingerprint


def test_an_archive_is_recognized_by_content_whatever_it_is_called(place):
    made = {
        "one": zipped(place / "a.zip", images()),
        "two.jpg": taped(place / "b.tar", images()),
        "three.zip": taped(place / "c.tar.xz", images()),
    }
    prints = {
        load_splits(str(path.rename(place / name))).fingerprint for name, path in made.items()
    }
    assert len(prints) == 1


def test_an_official_archive_of_cifar_is_still_one(place):
    made = make(CIFAR10)
    path = made.tar(place / "cifar.tar.gz")
    assert cifar.recognise(path, [made.archive]) is made.archive
    assert cifar.recognise(taped(place / "photos.tar.gz", images()), [made.archive]) is None


def test_what_macs_and_windows_put_into_archives_is_left_out(place):
    junk = {
        "photos/.DS_Store": b"x", "__MACOSX/photos/ant/._0.png": b"x", "photos/Thumbs.db": b"x",
        "__MACOSX/._photos": b"x", "photos/ant/._0.png": b"x",
    }  # fmt: skip
    inside = {f"photos/{name}": content for name, content in images().items()}
    found = load_splits(str(zipped(place / "a.zip", junk | inside)))
    assert found.train.classes == ("ant", "bee")
    assert found.train.names[0].startswith("ant/")
    assert found.left_out.system_names == ("Thumbs.db",)
    assert found.left_out.hidden_files == 2


def test_names_of_old_zip_programs_are_read(place):
    """Backslashes between folders; UTF-8 without saying so, as macOS; and DOS's own letters."""
    names = {"größe\\0.png": 0, "größe\\1.png": 3, "ant\\0.png": 0, "ant\\1.png": 0}
    with zipfile.ZipFile("a.zip", "w") as archive:
        for seed, (name, system) in enumerate(names.items()):
            info = zipfile.ZipInfo("placeholder")
            info.filename, info.create_system = name, system
            archive.writestr(info, png(seed))
    assert load_splits("a.zip").train.classes == ("ant", "größe")
    plain = zipped(place / "b.zip", {f"xx{i}/{n}.png": png(n) for i in "12" for n in range(2)})
    content = plain.read_bytes().replace(b"xx1", "é1".encode()).replace(b"xx2", b"a\x82x")
    Path("c.zip").write_bytes(content)
    assert load_splits("c.zip").train.classes == ("aéx", "é1")


def test_large_zip_archives_of_64_bits_are_read(place, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
        patch.setattr(zipfile, "ZIP64_LIMIT", 10)
        zipped(place / "a.zip", images())
    assert b"PK\6\6" in Path("a.zip").read_bytes()
    assert len(load_splits("a.zip").train) == 4


def test_a_zip_archive_behind_a_program_keeps_its_places(place):
    """Self-extracting archives begin with a program; the list says how far all is shifted."""
    whole = zipped(place / "a.zip", images()).read_bytes()
    Path("b.zip").write_bytes(b"PK\3\4" + bytes(100) + whole)
    assert load_splits("b.zip").fingerprint == load_splits("a.zip").fingerprint


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_long_names_in_tar_archives_are_read(form, place):
    kinds = {"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
    label = "ant" + "-" * 150
    with tarfile.open("a.tar", "w", format=kinds[form]) as archive:
        for number, name in enumerate((label, "bé")):
            for index in range(2):
                file = paint(place / "x" / name / f"{index}.png", number)
                archive.add(file, f"{name}/{'n' * 100}{index}.png")
    assert load_splits("a.tar").train.classes == (label, "bé")


def test_links_and_devices_are_left_out_and_counted(place):
    more = []
    for name, kind in (
        ("ant/l.png", tarfile.SYMTYPE),
        ("ant/h.png", tarfile.LNKTYPE),
        ("bee/d.png", tarfile.CHRTYPE),
        ("bee/p.png", tarfile.FIFOTYPE),
    ):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        more.append(info)
    listener = Recorder()
    found = load_splits(str(taped(place / "a.tar", images(), more)), progress=listener)
    assert found.left_out.links == 4
    assert "data: left out: 4 links or devices in the archive" in listener.notes
    with zipfile.ZipFile("a.zip", "w") as archive:
        for name, content in images().items():
            archive.writestr(name, content)
        link = zipfile.ZipInfo("ant/link.png")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert load_splits("a.zip").left_out.links == 1


def test_unreadable_images_are_refused_or_left_out(place):
    bad = images() | {"ant/9.png": b"no image"}
    path = str(zipped(place / "a.zip", bad))
    with pytest.raises(InputError, match="can't read image 'ant/9.png'"):
        load_splits(path)
    assert not list((place / "cache").iterdir())
    found = load_splits(path, on_bad_image="skip")
    assert [image.name for image in found.left_out.bad_images] == ["ant/9.png"]
    assert found.left_out == load_splits(path, on_bad_image="skip").left_out


def test_messages_name_the_place_in_the_archive(place):
    paths = [
        zipped(place / "a.zip", images(["ant"])),
        zipped(place / "b.zip", {"photos/train/ant/0.png": png(), "photos/train/bee/x.txt": b""}),
    ]
    lines = []
    for path in paths:
        with pytest.raises(InputError) as error:
            load_splits(path.name)
        lines.append(str(error.value))
    assert lines[0] == "data: 'a.zip' has only the class 'ant'; at least 2 are needed"
    assert "class 'bee' in 'b.zip/photos/train' without images" in lines[1]


def test_it_is_decoded_once_and_nothing_else_stays(place):
    path = zipped(place / "a.zip", images())
    first = Recorder()
    load_splits("a.zip", progress=first)
    assert "decoding images" in first.stages
    (kept,) = (place / "cache").iterdir()
    assert {file.name for file in kept.iterdir()} == {
        "images.npy", "about.json", "names.json", "seal.json",
    }  # fmt: skip
    second = Recorder()
    load_splits("a.zip", progress=second)
    assert second.stages == {}
    os.utime(path, (1, 1))
    load_splits("a.zip")
    assert len(list((place / "cache").iterdir())) == 2
    assert cache.clean().removed == 2
    assert not list((place / "cache").iterdir())


def test_a_damaged_list_in_the_cache_is_made_again(place):
    zipped(place / "a.zip", images())
    before = load_splits("a.zip").fingerprint
    (kept,) = (place / "cache").iterdir()
    for content in ("[]", "{}", '{"files": 1}', "x"):
        (kept / "names.json").write_text(content)
        assert load_splits("a.zip").fingerprint == before


@pytest.mark.faults
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interruption_leaves_nothing_behind(how: signal.Signals, place: Path) -> None:
    """After SIGKILL, the next process that writes removes what is left."""
    zipped(place / "a.zip", images(count=20))
    slow = (
        "import sys, time; from onecycle.data.folder import kept; "
        "kept.decode = lambda *_: (print('here', flush=True), time.sleep(60)); "
        "from onecycle.cli import main; sys.exit(main(['data', 'a.zip']))"
    )
    command = [sys.executable, "-c", slow]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        assert list((place / "cache").glob("*.tmp/unpacked/ant/*.png"))
        process.send_signal(how)
        assert process.wait(30) == {2: 130, 15: 143, 9: -9}[how]
    if how == signal.SIGKILL:
        load_splits("a.zip")
    assert not list((place / "cache").glob("*.tmp"))
    assert set(os.listdir()) == {"a.zip", "cache"}


def test_other_files_are_not_written(place):
    """They become empty files, which are counted like those of a folder."""
    zipped(place / "a.zip", images() | {"ant/film.mov": bytes(10**6), "__MACOSX/x": bytes(10**6)})
    (place / "out").mkdir()
    root, links = archives.unpack(place / "a.zip", place / "out", SILENT)
    assert (root, links) == (place / "out", 0)
    assert (root / "ant" / "film.mov").stat().st_size == 0
    assert not list((root / "__MACOSX").iterdir())
