"""Sources that can't be used: one line each, with the remedy."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_folders import make_flat, make_table, paint

from onecycle.cli import main
from onecycle.data import load_all, load_splits, stand_ins
from onecycle.data.folder.decoding import Unreadable, pixels
from onecycle.errors import InputError

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
PAGE = b"\n<!doctype HTML>\n<html><head><title>404</title></head></html>"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, which contains photos and photos.csv."""
    monkeypatch.chdir(tmp_path)
    make_flat(tmp_path / "photos", 2, ("ant", "bee"))
    make_table(tmp_path / "labels.csv", [("photos/ant/0.png", "ant")])
    return tmp_path


def refusal(source: str) -> str:
    """The error, which is the same line in every function that loads the source."""
    lines = []
    for load in (load_splits, load_all):
        with pytest.raises(InputError) as error:
            load(source)
        lines.append(str(error.value))
    assert lines[0] == lines[1]
    assert lines[0].isprintable()
    return lines[0]


@pytest.mark.parametrize(
    ("source", "meant"),
    [
        ("CIFAR10", "cifar10"),
        ("CIFAR-10", "cifar10"),
        ("Cifar_100", "cifar100"),
        ("cifar 100", "cifar100"),
        ("Shapes", "shapes"),
        ("uoft-cs/cifar10", "cifar10"),
        ("cifar11", "cifar10"),
        ("photo", "photos"),
        ("Photos", "photos"),
        ("./photo", "photos"),
        ("photos/ants", "photos/ant"),
        (" photos", "photos"),
        ("'photos'", "photos"),
        ("label.csv", "labels.csv"),
        ("~/photos", "{home}/photos"),
    ],
)
def test_a_nearly_right_name_gets_a_suggestion(source, meant, place, monkeypatch):
    monkeypatch.setenv("HOME", str(place))
    line = refusal(source)
    assert line.startswith(f"data: there is no path {source!r}" if "'" not in source else "data: ")
    assert line.endswith(f"did you mean '{meant.format(home=place)}'?")


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        ("https://example.com/photos.zip", "is an address; download it first, and give the path"),
        ("s3://bucket/photos", "is an address; download it first"),
        ("gs://bucket/photos", "is an address; download it first"),
        (
            "hf://datasets/user/set",
            "is a Hugging Face data set; save it, with datasets.load_dataset",
        ),
        ("https://huggingface.co/datasets/user/set", "is a Hugging Face data set; save it, with"),
        ("user/imagenette", "if it is a Hugging Face data set: save it, with datasets."),
        ("file:///tmp", "is an address; give '/tmp'"),
        ("/no/such/folder", "check its spelling, or give its full path"),
        ("gone/inner/deep", "check its spelling, or give its full path"),
        ("gone.csv", "check its spelling, or give its full path"),
        ("mnist", "give the path of your images, or one of cifar10, cifar100, shapes"),
        ("x" * 5000, "File name too long; check the path"),
        ("a\0b", "no built-in set with that name"),
    ],
)
def test_a_source_that_is_not_a_path_gets_a_remedy(source, remedy, place):
    assert remedy in refusal(source)


def tar(mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(None, mode, file) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
        archive.addfile(tarfile.TarInfo("photos/ant/1.txt"))
    return file.getvalue()


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("photos/ant/1.txt", b"x")
    return file.getvalue()


def array(save: Callable[..., None]) -> bytes:
    file = io.BytesIO()
    save(file, np.zeros(3))
    return file.getvalue()


FILES = {
    "photos.zip": (zipped, "is an archive without images in it; give an archive of class folders"),
    "no ending": (zipped, "is an archive without images in it; give an archive of class folders"),
    "a.tar.gz": (lambda: tar("w:gz"), "is an archive, but not CIFAR's, and has no images in it"),
    "a.tar": (lambda: tar("w"), "is an archive, but not CIFAR's, and has no images in it"),
    "a.tar.bz2": (lambda: tar("w:bz2"), "is an archive without images in it; give an archive"),
    "a.tar.xz": (lambda: tar("w:xz"), "is an archive without images in it; give an archive of"),
    "b.tar.gz": (lambda: gzip.compress(b"x"), "is not an archive despite its name, or damaged"),
    "b.tar.xz": (lambda: lzma.compress(b"x"), "is not an archive despite its name, or damaged"),
    "e.zip": (lambda: b"words", "is not an archive despite its name, or damaged; fetch or make it"),
    "f.zip": (lambda: zipped()[:50], "'f.zip' is damaged or cut off (it ends too early); fetch or"),
    "a.png.gz": (lambda: gzip.compress(b"x"), "unpack it first, with gunzip -k 'a.png.gz', and g"),
    "a.bz2": (lambda: bz2.compress(b"x"), "unpack it first, with bunzip2 -k"),
    "a.xz": (lambda: lzma.compress(b"x"), "unpack it first, with unxz -k"),
    "a.7z": (lambda: b"7z\xbc\xaf\x27\x1c..", "unpack it first, with 7z x"),
    "a.rar": (lambda: b"Rar!\x1a\x07\0", "unpack it first, with unrar x"),
    "a.npz": (lambda: array(np.savez), "has array 'arr_0'; give it train_images, train_labels, te"),
    "b.npz": (lambda: b"words", "is not a file of arrays despite its name; save the arrays with n"),
    "a.npy": (
        lambda: array(np.save),
        "contains arrays of an unsupported form; save the arrays with numpy.savez('set.npz'",
    ),
    "a.parquet": (lambda: b"words", "contains arrays of an unsupported form"),
    "a.arrow": (lambda: b"words", "is one file of a data set; give the folder it was saved to"),
    "a.h5": (lambda: b"\x89HDF\r\n\x1a\n", "contains arrays of an unsupported form"),
    "a.mat": (lambda: b"MATLAB 5.0", "contains arrays of an unsupported form"),
    "a.pkl": (lambda: b"\x80\4K\1.", "contains arrays of an unsupported form"),
    "a.jpg": (lambda: b"\xff\xd8\xff", "is a single image; give a folder of class folders"),
    "a.tsv": (lambda: b"path\tlabel\n", "save it as .csv with the columns path and label"),
    "a.json": (lambda: b"{}", "save it as .csv with the columns path and label"),
    "a.zip": (lambda: LFS, "is a Git LFS pointer, not the file itself; fetch it with: git lfs"),
    "b.zip": (lambda: PAGE, "is a web page, probably from a failed download; fetch the file again"),
    "c.zip": (lambda: b"", "is empty; fetch it again"),
    "a.csv": (lambda: LFS, "is a Git LFS pointer, not the file itself; fetch it with: git lfs"),
    "b.csv": (lambda: PAGE, "is a web page, probably from a failed download"),
    "d.zip": (lambda: b"/annex/objects/SHA256E-s1--0.zip\n", "fetch it with: git annex get"),
    "other": (lambda: b"words", "is neither a folder, a table of images (.csv), an archive (.zip"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_a_source_gets_a_remedy(name, place):
    content, remedy = FILES[name]
    (place / name).write_bytes(content())
    assert remedy in refusal(name)


def test_a_pipe_does_not_block(place):
    os.mkfifo(place / "pipe.zip")
    assert "pipe.zip" in refusal("pipe.zip")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (LFS, "it is a Git LFS pointer, not the file itself; fetch it with: git lfs pull"),
        (PAGE, "it is a web page, probably from a failed download; fetch the file again"),
        (b"", "it is empty; fetch it again"),
        (
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            "it is a HEIC image, which is not supported; convert",
        ),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "it is an SVG drawing; convert it to PNG"),
        (b"words", "not an image in a known format"),
    ],
)
def test_a_stand_in_for_an_image_is_named(content, reason, place):
    (place / "photos" / "ant" / "1.png").write_bytes(content)
    assert f"can't read image 'ant/1.png': {reason}" in refusal("photos")
    with pytest.raises(Unreadable, match="it is|not an image"):
        pixels(io.BytesIO(content))


def test_a_command_ends_with_2_and_one_line(place, capsys):
    paint(place / "one.png")
    for source in ("CIFAR-10", "one.png", "https://example.com/a.zip", "user/set"):
        assert main(["data", source]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("onecycle: error: data: ")


@given(head=st.binary(max_size=600))
def test_any_bytes_can_be_examined(head):
    assert isinstance(stand_ins.known(head), str)
    assert stand_ins.is_prose(head) in (True, False)


@given(name=st.text(max_size=40))
def test_any_unknown_name_is_refused_in_one_line(name, tmp_path_factory):
    source = f"{tmp_path_factory.getbasetemp()}/nothing here/{name}"
    with pytest.raises(InputError) as error:
        load_splits(source)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("head", "prose"),
    [
        (b"Not found", True),
        (b"This is the file that you look for.\n", True),
        (b"# Readme, see below\n", True),
        ("Ausführlich steht es dort.".encode(), True),
        (b"(dp1\nS'data'\np2\n", False),
        (b"cos\nsystem\n(S'touch /tmp/x'\ntR.", False),
        (b"airplane\nautomobile\nbird\n", False),
        (b"\x80\4\x95 abc def", False),
        (gzip.compress(b"some words", mtime=0), False),
        (b"", False),
    ],
)
def test_prose_is_distinguished_from_pickles_and_archives(head, prose):
    assert stand_ins.is_prose(head) is prose


@pytest.mark.parametrize("name", ["set.csv", "photos.zip", "folder"])
def test_a_link_to_nothing_is_told(name, place):
    Path(name).unlink(missing_ok=True)
    Path(name).symlink_to("gone/away")
    assert (
        refusal(name) == f"data: {name!r} is a link to 'gone/away', which is not there; correct it"
    )
