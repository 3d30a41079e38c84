"""Class-per-directory images, decoded once into a memory-mapped cache.

`PATH/train/<class>/*` with `PATH/test/<class>/*`, or `PATH/<class>/*`, of which a seeded fifth of
each class becomes the test split.
"""

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from onecycle.data.image_set import ImageSet
from onecycle.errors import InputError
from onecycle.progress import SILENT, Progress

TEST_FRACTION = 0.2
"""Share of each class that becomes the test split where the folder has none."""

FORMAT = 1
"""Raised whenever decoding changes, so that older caches are not taken for the same."""

CHUNK = 256
"""Files decoded at a time by a worker."""

NAMED = 3
"""Offenders named in a message."""


@dataclass(frozen=True)
class _File:
    """An image file: its path relative to the root, split, class, size and time."""

    name: str
    split: str
    label: str
    size: int
    changed: int


def load(
    path: str | Path,
    *,
    image_size: int = 0,
    split_seed: int = 0,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> tuple[ImageSet, ImageSet]:
    """The train and test images under `path`, memory-mapped.

    Classes are the folder names in code point order, and so are the files of a class. Files whose
    names begin with a dot or have no extension that Pillow knows are passed over. Images keep their
    relative file names. All grey images give one channel; otherwise all become RGB, transparent
    parts on white; EXIF rotation is applied; of an animation the first frame counts.

    Args:
        path: the folder.
        image_size: the short side is resized to it and the middle square cut out; 0: the images'
            own size, if all have the same.
        split_seed: of the test split where the folder has none.
        cache_dir: where decoded images are kept; None: `$ONECYCLE_CACHE`, else `onecycle` in the
            user's cache folder.
        progress: listens.

    Raises:
        InputError: no folder, no images, a class without images, fewer than two classes, train and
            test classes that differ, images of different sizes, or an unreadable one.
    """
    root = Path(path)
    if not root.is_dir():
        raise InputError(f"data: '{path}' is not a folder; give a folder of class folders")
    files, classes = _list_files(root)
    cache = _cache_folder(cache_dir) / _key(files, image_size)
    images_NHWC = _open_cache(cache)
    if images_NHWC is None:
        _decode(root, files, image_size, cache, progress)
        images_NHWC = _open_cache(cache)
        if images_NHWC is None:
            raise InputError(f"data: the cache '{cache}' can't be read back; check the disk")
    return _splits(images_NHWC, files, classes, split_seed)


def _splits(
    images_NHWC: np.ndarray, files: Sequence[_File], classes: tuple[str, ...], split_seed: int
) -> tuple[ImageSet, ImageSet]:
    """Files are ordered train before test, so that both are slices of the map."""
    number = {label: index for index, label in enumerate(classes)}
    labels_N = np.array([number[file.label] for file in files], dtype=np.int64)
    names = tuple(file.name for file in files)
    whole = ImageSet(images_NHWC, labels_N, classes, names)
    in_test = np.array([file.split == "test" for file in files])
    if in_test.any():
        border = int((~in_test).sum())
        return _cut(whole, 0, border), _cut(whole, border, len(files))
    in_test = _stratified_test(labels_N, split_seed)
    return whole.take(np.flatnonzero(~in_test)), whole.take(np.flatnonzero(in_test))


def _cut(images: ImageSet, start: int, stop: int) -> ImageSet:
    part = slice(start, stop)
    return ImageSet(
        images.images_NHWC[part], images.labels_N[part], images.classes, images.names[part]
    )


def _stratified_test(labels_N: np.ndarray, seed: int) -> np.ndarray:
    """Bool N: a seeded fifth of each class, at least one image and not all."""
    key = hashlib.sha256(f"{seed}/test split".encode()).digest()
    rank_N = np.random.PCG64(int.from_bytes(key[:16], "little")).random_raw(len(labels_N))
    in_test_N = np.zeros(len(labels_N), dtype=bool)
    for label in np.unique(labels_N):
        members = np.flatnonzero(labels_N == label)
        order = members[np.argsort(rank_N[members], kind="stable")]
        in_test_N[order[: max(1, round(TEST_FRACTION * len(members)))]] = True
    return in_test_N


# ----------------------------------------------------------------------------------- the listing


def _list_files(root: Path) -> tuple[list[_File], tuple[str, ...]]:
    """Every image file, train before test, by class and name; and the classes."""
    split = (root / "train").is_dir() and (root / "test").is_dir()
    roots = {name: root / name for name in ("train", "test")} if split else {"": root}
    found: dict[str, dict[str, list[_File]]] = {
        name: _list_classes(root, folder, name) for name, folder in roots.items()
    }
    for name, classes in found.items():
        _check_classes(classes, roots[name], needed=1 if split else 2)
    if split:
        _check_same_classes(set(found["train"]), set(found["test"]))
    files = [
        file for classes in found.values() for label in sorted(classes) for file in classes[label]
    ]
    return files, tuple(sorted(next(iter(found.values()))))


def _list_classes(root: Path, folder: Path, split: str) -> dict[str, list[_File]]:
    known = Image.registered_extensions()
    classes: dict[str, list[_File]] = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith(".") or not entry.is_dir():
            continue
        classes[entry.name] = [
            _File(
                name=Path(file.path).relative_to(root).as_posix(),
                split=split,
                label=entry.name,
                size=file.stat().st_size,
                changed=file.stat().st_mtime_ns,
            )
            for file in sorted(os.scandir(entry.path), key=lambda file: file.name)
            if not file.name.startswith(".")
            and Path(file.name).suffix.lower() in known
            and file.is_file()
        ]
    return classes


def _check_classes(classes: dict[str, list[_File]], folder: Path, needed: int) -> None:
    if not classes:
        raise InputError(
            f"data: '{folder}' has no class folders; put images in '{folder}/<class>/'"
        )
    empty = [label for label, files in classes.items() if not files]
    if len(empty) == len(classes):
        raise InputError(f"data: '{folder}' has class folders but no images in them")
    if empty:
        raise InputError(
            f"data: {_some('class', empty, 'classes')} in '{folder}' without images; "
            "add some or remove the folder"
        )
    if len(classes) < 2:
        raise InputError(
            f"data: '{folder}' has the one class '{next(iter(classes))}'; at least 2 are needed"
        )
    short = [label for label, files in classes.items() if len(files) < needed]
    if short:
        raise InputError(
            f"data: {_some('class', short, 'classes')} with a single image, but one is needed to "
            "train and one to test; add images"
        )


def _check_same_classes(train: set[str], test: set[str]) -> None:
    for here, there, where, elsewhere in (
        (train, test, "train", "test"),
        (test, train, "test", "train"),
    ):
        if lone := sorted(here - there):
            raise InputError(
                f"data: {_some('class', lone, 'classes')} in {where} but not in {elsewhere}; "
                "both need the same class folders"
            )


def _some(what: str, offenders: Sequence[str], plural: str) -> str:
    """`class 'a'`, or `5 classes ('a', 'b', 'c', …)`."""
    if len(offenders) == 1:
        return f"{what} '{offenders[0]}'"
    named = ", ".join(f"'{name}'" for name in offenders[:NAMED])
    return f"{len(offenders)} {plural} ({named}{', …' if len(offenders) > NAMED else ''})"


# ---------------------------------------------------------------------------------------- decoding


def _decode(
    root: Path, files: Sequence[_File], image_size: int, cache: Path, progress: Progress
) -> None:
    """Decode all files over all cores into a new cache folder, beside its place, then rename it."""
    names = [file.name for file in files]
    chunks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
    workers = min(os.cpu_count() or 1, len(chunks))
    temporary = cache.with_name(f"{cache.name}.{os.getpid()}.tmp")
    with _pool(workers) as pool:
        side, channels = _common_shape(root, chunks, image_size, pool, progress)
        shape = (len(files), side[1], side[0], channels)
        try:
            _make_folder(temporary)
            images_NHWC = np.lib.format.open_memmap(temporary / "images.npy", "w+", np.uint8, shape)
            progress.start("decoding images", len(files), "images")
            decode = partial(_decode_chunk, str(root), image_size, channels)
            start = 0
            for decoded in pool.map(decode, chunks):
                _refuse_unreadable(decoded)
                images_NHWC[start : start + len(decoded)] = decoded
                start += len(decoded)
                progress.advance(len(decoded))
            progress.finish()
            images_NHWC.flush()
            del images_NHWC
            _seal(temporary, shape)
            shutil.rmtree(cache, ignore_errors=True)
            temporary.rename(cache)
        except OSError as error:
            if not cache.exists():  # else another process was faster, with the same content
                raise InputError(
                    f"data: can't write the cache in '{cache.parent}': {error.strerror}; set "
                    "ONECYCLE_CACHE to a folder with room"
                ) from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _pool(workers: int) -> Any:
    """Worker processes for large folders; for small ones starting them would take longer."""
    if workers <= 1:
        return _InProcess()
    return _Workers(
        workers,
        mp_context=get_context("spawn" if os.name == "nt" else "forkserver"),
        initializer=signal.signal,  # Ctrl-C is for this process, which then ends them
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )


class _Workers(ProcessPoolExecutor):
    """A pool that drops what is still to be done when an error or Ctrl-C leaves it."""

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        self.shutdown(wait=True, cancel_futures=kind is not None)


class _InProcess:
    """The pool's interface without processes."""

    def __enter__(self) -> "_InProcess":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, function: Any, items: Iterable[Any]) -> Iterable[Any]:
        return map(function, items)


def _common_shape(
    root: Path, chunks: list[list[str]], image_size: int, pool: Any, progress: Progress
) -> tuple[tuple[int, int], int]:
    """(width, height) that all images will have, and the channels: 1 if all are grey, else 3."""
    headers: list[tuple[str, tuple[int, int], bool]] = []
    progress.start("reading image headers", sum(map(len, chunks)), "images")
    for part in pool.map(partial(_read_headers, str(root)), chunks):
        _refuse_unreadable(part)
        headers += part
        progress.advance(len(part))
    progress.finish()
    channels = 1 if all(grey for _, _, grey in headers) else 3
    if image_size:
        return (image_size, image_size), channels
    first_name, first_size, _ = headers[0]
    for name, size, _ in headers:
        if size != first_size:
            raise InputError(
                f"data: images differ in size: '{first_name}' is {first_size[0]}x{first_size[1]}, "
                f"'{name}' is {size[0]}x{size[1]}; give --image-size"
            )
    if min(first_size) < 8 or max(first_size) > 1024:
        raise InputError(
            f"data: images are {first_size[0]}x{first_size[1]} pixels; give --image-size from 8 "
            "to 1024"
        )
    return first_size, channels


def _refuse_unreadable(part: Any) -> None:
    """Workers answer with a list of (name, reason) where files can't be read."""
    if isinstance(part, _Unreadable):
        names = [name for name, _ in part.files]
        raise InputError(
            f"data: can't read {_some('image', names, 'images')}: {part.files[0][1]}; "
            "repair or remove"
        )


@dataclass(frozen=True)
class _Unreadable:
    files: list[tuple[str, str]]


def _each(root: str, names: list[str], read: Any) -> Any:
    """`read` of every opened image, or what could not be read."""
    results, broken = [], []
    for name in names:
        try:
            with Image.open(Path(root, name)) as image:
                results.append(read(name, image))
        except UnidentifiedImageError:
            broken.append((name, "not an image that Pillow can read"))
        except Image.DecompressionBombError:
            broken.append((name, "it holds too many pixels to be decoded safely"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombWarning) as error:
            broken.append((name, str(error) or type(error).__name__))
    return _Unreadable(broken) if broken else results


def _read_headers(root: str, names: list[str]) -> Any:
    """(name, size as it will be shown, is it grey) of each file."""

    def read(name: str, image: Image.Image) -> tuple[str, tuple[int, int], bool]:
        width, height = image.size
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        size = (height, width) if turned else (width, height)
        return name, size, image.mode in ("1", "L", "I;16", "I", "F")

    return _each(root, names, read)


def _decode_chunk(root: str, image_size: int, channels: int, names: list[str]) -> Any:
    """uint8 N H W C."""

    def read(_: str, image: Image.Image) -> np.ndarray:
        image = ImageOps.exif_transpose(image)
        pixels = np.asarray(_squared(_to_mode(image, channels), image_size))
        return pixels.reshape(*pixels.shape[:2], channels)

    decoded = _each(root, names, read)
    return decoded if isinstance(decoded, _Unreadable) else np.stack(decoded)


def _to_mode(image: Image.Image, channels: int) -> Image.Image:
    """Grey or RGB; 16-bit values are scaled down, and transparent parts are laid on white."""
    if image.mode in ("I;16", "I"):
        values = np.asarray(image, dtype=np.float64) / 257
        image = Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("L" if channels == 1 else "RGB")


def _squared(image: Image.Image, side: int) -> Image.Image:
    """The middle square at `side` pixels, resized before it is cut; as it is where side is 0."""
    if side == 0 or image.size == (side, side):
        return image
    return ImageOps.fit(image, (side, side), method=Image.Resampling.BILINEAR)


# -------------------------------------------------------------------------------------------- cache


def _cache_folder(cache_dir: Path | None) -> Path:
    """Where decoded folders are kept."""
    if cache_dir is not None:
        return cache_dir
    if own := os.environ.get("ONECYCLE_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "onecycle"


def _key(files: Sequence[_File], image_size: int) -> str:
    """The cache folder's name: changes with any file's path, size or time, or the settings."""
    listing = [(file.name, file.split, file.size, file.changed) for file in files]
    text = json.dumps([FORMAT, image_size, listing])
    return "folder-" + hashlib.sha256(text.encode()).hexdigest()[:32]


def _make_folder(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)


def _seal(folder: Path, shape: tuple[int, ...]) -> None:
    """Write what `_open_cache` verifies."""
    sums = _checksum(folder / "images.npy")
    (folder / "seal.json").write_text(json.dumps({"shape": shape, "sha256": sums}))


def _open_cache(folder: Path) -> np.ndarray | None:
    """The images, memory-mapped, or None where there is no undamaged cache."""
    try:
        seal = json.loads((folder / "seal.json").read_text())
        if _checksum(folder / "images.npy") != seal["sha256"]:
            return None
        images_NHWC = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return images_NHWC if list(images_NHWC.shape) == seal["shape"] else None


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
