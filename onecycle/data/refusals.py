"""Errors for sources that can't be used: addresses, archives, arrays, wrong names."""

import difflib
import os
import re
from itertools import islice
from pathlib import Path

from onecycle.data import stand_ins
from onecycle.data.folder.messages import quoted
from onecycle.data.folder.walking import ENDINGS
from onecycle.errors import InputError

BUILT_IN = ("cifar10", "cifar100", "shapes")
"""Names that need no path."""

MOST_NEIGHBOURS = 10_000
"""Most names in a folder to compare with a missing one."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/{1,2}")
_HUB = re.compile(r"hf:/|https?://(www\.)?(huggingface\.co|hf\.co)/", re.IGNORECASE)
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

_ARCHIVES = {
    ".zip": "unzip", ".tar": "tar xf", ".tgz": "tar xf", ".tbz2": "tar xf", ".txz": "tar xf",
    ".gz": "gunzip -k", ".bz2": "bunzip2 -k", ".xz": "unxz -k", ".zst": "unzstd", ".7z": "7z x",
    ".rar": "unrar x",
}  # fmt: skip
"""By extension: the command that unpacks it."""

_ARCHIVE_STARTS = {
    b"PK\3\4": "unzip", b"PK\5\6": "unzip", b"7z\xbc\xaf\x27\x1c": "7z x",
    b"Rar!\x1a\x07": "unrar x", b"BZh": "bunzip2 -k", b"\xfd7zXZ\0": "unxz -k",
    b"\x28\xb5\x2f\xfd": "unzstd",
}  # fmt: skip

_ARRAYS = frozenset(
    ".npz .npy .mat .h5 .hdf5 .hdf .parquet .arrow .feather .pkl .pickle .pt .pth .ckpt .tfrecord "
    ".tfrecords .lmdb .mdb .rec .idx .ubyte .joblib .zarr .safetensors .msgpack .db .sqlite".split()
)
_TABLES = frozenset(".tsv .txt .xlsx .xls .ods .json .jsonl .ndjson .xml .yaml .yml".split())

_TO_DISK = (
    "save it, with datasets.load_dataset('user/set').save_to_disk('set'), and give that folder"
)

_TO_ARRAYS = "save the arrays with numpy.savez('set.npz', images=…, labels=…), and give that file"

_READ = (".zip", ".tar", ".tgz", ".tbz2", ".txz")
"""Archives that are read as they are."""

_SOURCES = (".csv", ".gz", ".npz", ".parquet", ".bz2", ".xz", *_READ)
"""Extensions of files that may be a source."""


def no_such(source: str) -> InputError:
    """The error for a source that is neither a built-in name nor an existing path."""
    shown = quoted(source)
    if _HUB.match(source):
        return InputError(f"data: {shown} is a Hugging Face data set; {_TO_DISK}")
    if source.startswith("file://") and Path(source.removeprefix("file://")).exists():
        return InputError(f"data: {shown} is an address; give {source.removeprefix('file://')!a}")
    if _ADDRESS.match(source):
        return InputError(f"data: {shown} is an address; download it first, and give the path")
    if name := _built_in(source):
        return InputError(f"data: there is no path {shown}; did you mean {quoted(name)}?")
    if Path(source).is_symlink():
        target = quoted(os.readlink(source))
        return InputError(f"data: {shown} is a link to {target}, which is not there; correct it")
    missing = f"data: there is no path {shown}"
    if near := _near(source):
        return InputError(f"{missing}; did you mean {quoted(near)}?")
    if _HUB_NAME.fullmatch(source) and not Path(source).parent.exists():
        return InputError(f"{missing}; if it is a Hugging Face data set: {_TO_DISK}")
    if os.sep in source or Path(source).suffix:
        return InputError(f"{missing}; check its spelling, or give its full path")
    missing += ", and no built-in set with that name"
    if close := difflib.get_close_matches(source, BUILT_IN, n=1):
        return InputError(f"{missing}; did you mean {quoted(close[0])}?")
    known = ", ".join(sorted(BUILT_IN))
    return InputError(f"{missing}; give the path of your images, or one of {known}")


def _built_in(source: str) -> str:
    """The built-in set that another spelling stands for, such as CIFAR-10 or uoft-cs/cifar10."""
    plain = re.sub(r"[\W_]", "", source.rpartition("/")[2]).casefold()
    return plain if plain in BUILT_IN else ""


def _near(source: str) -> str:
    """An existing path that differs little: in its last part, or by an unexpanded home folder."""
    if source.startswith("~") and Path(source).expanduser().exists():
        return str(Path(source).expanduser())
    if (trimmed := source.strip().strip("'\"")) != source and trimmed and Path(trimmed).exists():
        return trimmed
    path = Path(source)
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, MOST_NEIGHBOURS) if _may_be(entry)]
    except (OSError, ValueError):
        return ""
    visible = sorted(names)
    by_case = {name.casefold(): name for name in visible}
    found = by_case.get(path.name.casefold()) or next(
        iter(difflib.get_close_matches(path.name, visible, n=1, cutoff=0.75)), ""
    )
    return str(path.with_name(found)) if found else ""


def _may_be(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry could be a source: a visible folder, table, archive or file of arrays."""
    if entry.name.startswith("."):
        return False
    return entry.is_dir() or os.path.splitext(entry.name)[1].lower() in _SOURCES


def no_images(path: Path) -> InputError:
    """The error for a file that is no table of images, no archive and no file of arrays."""
    shown = f"data: {quoted(path)}"
    head = _head(path)
    if head is not None and (named := stand_ins.known(head)):
        return InputError(f"{shown} {named}")
    endings = [suffix.lower() for suffix in path.suffixes]
    last = endings[-1] if endings else ""
    if last in _READ or re.search(r"\.tar\.(gz|bz2|xz)$", path.name.lower()):
        return InputError(
            f"{shown} is not an archive despite its name, or damaged; fetch or make it again"
        )
    if last == ".arrow":
        return InputError(f"{shown} is one file of a data set; give the folder it was saved to")
    if last == ".npz":
        return InputError(f"{shown} is not a file of arrays despite its name; {_TO_ARRAYS}")
    if unpack := unpacking(path, head or b""):
        return InputError(
            f"{shown} is an archive; unpack it first, with {unpack} {quoted(path.name)}, and give "
            "its folder"
        )
    if last in _ARRAYS or (head or b"").startswith((b"\x93NUMPY", b"\x89HDF", b"PAR1", b"\x80")):
        return InputError(f"{shown} contains arrays of an unsupported form; {_TO_ARRAYS}")
    if last in ENDINGS:
        return InputError(
            f"{shown} is a single image; give a folder of class folders, or a table of images "
            "(.csv)"
        )
    if last in _TABLES:
        return InputError(
            f"{shown} is not a supported table; save it as .csv with the columns path and label, "
            "separated by commas"
        )
    return InputError(
        f"{shown} is neither a folder, a table of images (.csv), an archive (.zip, .tar.gz) nor a "
        "file of arrays (.npz); give a folder of class folders"
    )


def no_images_inside(path: Path) -> InputError:
    """The error for an archive without images."""
    return InputError(
        f"data: {quoted(path)} is an archive without images in it; give an archive of class "
        "folders, or a folder of them"
    )


def unpacking(path: Path, head: bytes) -> str:
    """The command to unpack an archive, by its first bytes or extension; empty: not an archive."""
    lower = path.name.lower()
    if re.search(r"\.tar\.(gz|bz2|xz|zst)$", lower):
        return "tar xf"
    arrays = path.suffix.lower() in _ARRAYS  # some are also archives
    found = [how for start, how in _ARCHIVE_STARTS.items() if head.startswith(start)]
    return "" if arrays else next(iter(found), "") or _ARCHIVES.get(path.suffix.lower(), "")


def _head(path: Path) -> bytes | None:
    """The first bytes of a regular file; None if it can't be read."""
    try:
        if not path.is_file():  # reading a pipe would block
            return None
        with path.open("rb") as file:
            return file.read(stand_ins.HEAD)
    except OSError:
        return None
