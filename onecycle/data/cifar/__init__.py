"""CIFAR-10 and CIFAR-100 from the official archives: recognise, verify, read, and cache them.

Shapes: N images (train, then test), L sets of labels, H height, W width, C channels.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from onecycle.data import archives as image_archives
from onecycle.data import cache, stand_ins
from onecycle.data.cifar import batches, containers
from onecycle.data.cifar.archives import (
    CHANNELS,
    CIFAR10,
    CIFAR10_BINARY,
    CIFAR100,
    CIFAR100_BINARY,
    OFFICIAL,
    SIDE,
    Archive,
    File,
    Labels,
)
from onecycle.data.download import Remote, fetch, md5
from onecycle.data.folder import walking
from onecycle.data.image_set import ImageSet
from onecycle.errors import InputError
from onecycle.progress import SILENT, Progress

FORMAT = 1
"""Increased whenever decoding changes, so that older caches are not reused."""

LONGEST_SHOWN = 200
"""Most characters shown of a name that is too long for a path."""

KEPT = ("images.npy", "labels.npy", "names.json")
"""The files of a decoded set."""

__all__ = [
    "CIFAR10",
    "CIFAR10_BINARY",
    "CIFAR100",
    "CIFAR100_BINARY",
    "OFFICIAL",
    "Archive",
    "File",
    "Labels",
    "Remote",
    "load",
    "recognise",
]


@dataclass(frozen=True)
class _Decoded:
    """A whole archive: images, labels in the order of `Archive.labels`, names by label set."""

    images_NHWC: np.ndarray
    labels_LN: np.ndarray
    names: Mapping[str, tuple[str, ...]]


def recognise(source: str | Path, archives: Sequence[Archive] = OFFICIAL) -> Archive | None:
    """The one of `archives` that a source is; None if it is none of them.

    Args:
        source: a name of a set (`Archive.data`), which stands for the first archive with it; or a
            path to an archive or its extracted folder, recognised by its content. The folder may
            be inside the one given.
        archives: the known archives, with names, checksums and mirrors.

    Raises:
        InputError: it is another archive, is named like an archive but isn't one, or is damaged;
            or a folder contains several sets.
    """
    for archive in archives:
        if source == archive.data:
            return archive
    path = Path(source)
    try:
        if path.is_dir():
            return _recognise_folder(path, archives)
        if not path.is_file():
            return None
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise InputError(
            f"data: can't look for '{str(path)[:LONGEST_SHOWN]}': {error.strerror}; check the path"
        ) from None
    if not containers.is_archive(path):
        if any(path.name == archive.remote.name for archive in archives):
            named = (
                containers.stand_in(path) or "is not an archive despite its name; fetch it again"
            )
            raise InputError(f"data: '{path}' {named}")
        return None
    return _recognise_archive(path, archives)


def load(
    source: str | Path,
    archive: Archive,
    *,
    label_set: str = "fine",
    image_size: int = 0,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> tuple[ImageSet, ImageSet]:
    """The train and test images of an archive, in its order, downloaded or from a local path.

    If the archive is downloaded, the decoded images are kept next to it and memory-mapped from
    then on.

    Args:
        source: the source passed to `recognise`.
        archive: the archive that `recognise` returned.
        label_set: `fine`, or `coarse` for CIFAR-100's groups of classes.
        image_size: images are resized to it (bilinear, with antialiasing); 0: 32.
        cache_dir: where the archive and the decoded images are kept; None: the user's cache.
        progress: receives progress reports.

    Raises:
        InputError: the archive can't be downloaded; is damaged, incomplete, hostile or not the
            published one; or has no such labels.
    """
    if label_set not in (labels.set for labels in archive.labels):
        raise InputError(
            f"label_set: {archive.title} has no {label_set} labels; leave out label_set"
        )
    if source == archive.data:
        if Path(source).exists():
            progress.note(f"data: {source} is the official set; for the local path give ./{source}")
        decoded = _fetched(archive, cache.cache_folder(cache_dir), progress)
    else:
        decoded = _decode(archive, _place(Path(source), archive), progress)
    return _splits(archive, decoded, label_set, image_size)


def _fetched(archive: Archive, folder: Path, progress: Progress) -> _Decoded:
    """The decoded images in the cache, else from the archive in the cache, else downloaded."""
    kept = folder / f"{archive.data}-{_key(archive)}"
    decoded = _open_kept(kept)
    if decoded is None:
        decoded = _decode(archive, fetch(archive.remote, folder, progress), progress)
        if _keep(decoded, kept, progress):
            decoded = _open_kept(kept) or decoded
    return decoded


def _recognise_names(path: Path, archives: Sequence[Archive]) -> Archive | None:
    """Recognise an archive by two of its files, or by one in a folder of the right name."""
    most = {file.name: archive.largest(file) for archive in archives for file in archive.files()}
    found: dict[str, set[str]] = {archive.remote.name: set() for archive in archives}
    for member in containers.names(path, most):
        if walking.ending(member.name) in walking.ENDINGS:
            return None  # CIFAR's archives have no image files
        for archive in archives:
            if member.name in (file.name for file in archive.files()):
                known = found[archive.remote.name]
                known.add(member.name)
                if len(known) == 2 or PurePosixPath(member).parent.name == archive.folder:
                    return archive
    return None


def _recognise_archive(path: Path, archives: Sequence[Archive]) -> Archive | None:
    """The set in an archive; None if it holds images instead.

    Raises:
        InputError: it holds neither, or is damaged.
    """
    try:
        if found := _recognise_names(path, archives):
            return found
    except InputError:
        if image_archives.holds_images(path):
            return None
        raise
    if image_archives.holds_images(path):
        return None
    raise InputError(
        f"data: '{path}' is an archive, but not CIFAR's, and has no images in it; give an archive "
        "or a folder of class folders"
    )


def _recognise_folder(path: Path, archives: Sequence[Archive]) -> Archive | None:
    """Recognise the folder itself, else a folder in it."""
    if found := _recognise_names(path, archives):
        return found
    within = [archive for archive in archives if (path / archive.folder).is_dir()]
    within = [archive for archive in within if _recognise_names(path / archive.folder, [archive])]
    if len(within) > 1:
        held = ", ".join(f"'{path / archive.folder}'" for archive in within)
        raise InputError(f"data: '{path}' holds several sets; give one of {held}")
    return within[0] if within else None


def _place(path: Path, archive: Archive) -> Path:
    """The archive, or the extracted folder: `path` itself, or a folder in it."""
    inner = path / archive.folder
    if path.is_dir() and inner.is_dir() and _recognise_names(path, [archive]) is None:
        return inner
    return path


# ---------------------------------------------------------------------------------------- decoding


def _decode(archive: Archive, path: Path, progress: Progress) -> _Decoded:
    """Read every file at `path`, in any order, into its place."""
    files = {file.name: file for file in archive.files()}
    places = _places(archive)
    images = sum(archive.counts)
    images_NHWC = np.empty((images, SIDE, SIDE, CHANNELS), dtype=np.uint8)
    labels_LN = np.empty((len(archive.labels), images), dtype=np.uint8)
    names: dict[str, tuple[str, ...]] = {}
    progress.start(f"reading {archive.title}", images, "images")
    wanted = {file.name: archive.largest(file) for file in files.values()}
    for name, content in containers.read(path, wanted):
        file = files.pop(name)
        try:
            if file.images:
                place = places[name]
                images_NHWC[place], labels_LN[:, place] = batches.images(archive, file, content)
            else:
                names |= batches.class_names(archive, file, content)
        except batches.Unfit as error:
            remedy = (
                "" if stand_ins.known(content[: stand_ins.HEAD]) else "; fetch the archive again"
            )
            raise InputError(f"data: {name} in '{path}' {error}{remedy}") from None
        progress.advance(file.images)
    if files:
        raise InputError(
            f"data: '{path}' lacks {', '.join(files)} of {archive.title}; fetch the archive again"
        )
    _check_whole(archive, path, progress)
    progress.finish()
    return _Decoded(images_NHWC, labels_LN, names)


def _places(archive: Archive) -> dict[str, slice]:
    """The range of each batch's images among all images."""
    places, start = {}, 0
    for file in (*archive.train, *archive.test):
        places[file.name] = slice(start, start + file.images)
        start += file.images
    return places


def _check_whole(archive: Archive, path: Path, progress: Progress) -> None:
    """Verify an archive as a whole if its files have no published checksums."""
    if all(file.md5 for file in archive.files() if file.images):
        return
    if path.is_dir():
        progress.note(f"'{path}': no checksums are published; lengths and labels were checked")
        return
    found = md5(path)
    if found != archive.remote.md5:
        raise InputError(
            f"data: '{path}' is not the published archive: its MD5 is {found}, not "
            f"{archive.remote.md5}; fetch it again"
        )


def _splits(
    archive: Archive, decoded: _Decoded, label_set: str, image_size: int
) -> tuple[ImageSet, ImageSet]:
    """Two image sets with the chosen labels, in the archive's order."""
    chosen = [labels.set for labels in archive.labels].index(label_set)  # pyright: ignore[reportArgumentType]
    border = archive.counts[0]
    sets = []
    for split, part in (("train", slice(border)), ("test", slice(border, None))):
        images_NHWC = _resized(decoded.images_NHWC[part], image_size)
        count = len(images_NHWC)
        sets.append(
            ImageSet(
                images_NHWC,
                decoded.labels_LN[chosen, part].astype(np.int64),
                decoded.names[label_set],
                tuple(f"{archive.data}/{split}/{index:05d}" for index in range(count)),
            )
        )
    return sets[0], sets[1]


def _resized(images_NHWC: np.ndarray, side: int) -> np.ndarray:
    """The images at `side` pixels; unchanged if it is 0 or their own."""
    count, height, _, channels = images_NHWC.shape
    if side in (0, height):
        return images_NHWC
    resized_NHWC = np.empty((count, side, side, channels), dtype=np.uint8)
    for source, target in zip(images_NHWC, resized_NHWC, strict=True):
        image = Image.fromarray(source).resize((side, side), Image.Resampling.BILINEAR)
        target[:] = np.asarray(image)
    return resized_NHWC


# -------------------------------------------------------------------------------------------- cache


def _key(archive: Archive) -> str:
    """The name of the decoded set; it changes with everything that the images depend on."""
    parts = [FORMAT, archive.remote.md5, archive.form]
    parts += [(file.name, file.images, file.md5) for file in archive.files()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _keep(decoded: _Decoded, place: Path, progress: Progress) -> bool:
    """Write the decoded images to the cache, and return whether they are there.

    If they can't be written, they are decoded again next time.
    """
    try:
        with cache.only_one(place, "keeping", progress):
            if not cache.is_whole(place, KEPT):  # else another process has written them meanwhile
                with cache.making(place) as folder:
                    np.save(folder / "images.npy", decoded.images_NHWC)
                    np.save(folder / "labels.npy", decoded.labels_LN)
                    names = json.dumps(dict(decoded.names))
                    (folder / "names.json").write_text(names, encoding="utf-8")
    except OSError:
        return False
    return True


def _open_kept(place: Path) -> _Decoded | None:
    """The decoded images, memory-mapped; None if there are no intact ones."""
    if not cache.is_whole(place, KEPT):
        return None
    try:
        images_NHWC = np.load(place / "images.npy", mmap_mode="r", allow_pickle=False)
        labels_LN = np.load(place / "labels.npy", allow_pickle=False)
        names = json.loads((place / "names.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return _Decoded(images_NHWC, labels_LN, {key: tuple(given) for key, given in names.items()})
