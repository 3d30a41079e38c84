"""Arrays of a run in npz files, which may come from a stranger: only requested arrays are unpacked.

The header of each array is checked for type and shape before memory is allocated for it, so a small
file can't expand into a large one. Nothing in it is executed.

Shapes: N images of the test split, V of the validation split, K classes, E images kept as examples,
M of these with maps, S stages, H height, W width, C channels.
"""

import io
import math
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
from numpy.lib import format as npy

from onecycle.errors import InputError
from onecycle.run_dir.files import damaged, reading
from onecycle.run_dir.folder import place_of

MOST_BYTES = 2**33
"""Maximum size of an npz file in bytes: logits of a million images and 2,000 classes."""

FREE_BYTES, MOST_RATIO = 2**26, 100
"""An array larger than the first is refused if its compression ratio exceeds the second."""

MOST_ARRAYS_BYTES = 2**26
"""Maximum size of an unpacked array of examples.npz, in bytes."""

MOST_CLASSES, LONGEST_SIDE, LONGEST_NAME = 100_000, 256, 65_536
"""Maximum number of classes, length of an example's longer side, and length of a name."""

CHUNK = 2**20
"""Bytes read at a time, also from an archive's list of contents."""


@dataclass(frozen=True)
class Form:
    """The form that an array must have.

    Attributes:
        kinds: allowed values of `numpy.dtype.kind`: i, u, f, U.
        dimensions: number of dimensions; None: any number up to 6.
        most: maximum size in bytes.
    """

    kinds: str = "biufU"
    dimensions: int | None = None
    most: int = MOST_BYTES


PREDICTIONS = {
    "logits": Form("f", 2),
    "labels": Form("iu", 1),
    "names": Form("U", 1),
    "classes": Form("U", 1),
    "val_logits": Form("f", 2),
    "val_labels": Form("iu", 1),
}
"""predictions.npz: N K, N, N, K, V K, V."""

EXAMPLES = {
    "indices": Form("iu", 1, MOST_ARRAYS_BYTES),
    "images": Form("u", 4, MOST_ARRAYS_BYTES),
    "wrong": Form("iu", 1, MOST_ARRAYS_BYTES),
    "losses": Form("iu", 1, MOST_ARRAYS_BYTES),
    "labels": Form("iu", 1, MOST_ARRAYS_BYTES),
    "cam_indices": Form("iu", 1, MOST_ARRAYS_BYTES),
    "cam_predicted": Form("u", 3, MOST_ARRAYS_BYTES),
    "cam_actual": Form("u", 3, MOST_ARRAYS_BYTES),
    "field_stages": Form("U", 1, MOST_ARRAYS_BYTES),
    "field_sides": Form("fiu", 1, MOST_ARRAYS_BYTES),
    "fields": Form("f", 3, MOST_ARRAYS_BYTES),
    "wrong_images": Form("u", 4, MOST_ARRAYS_BYTES),
    "sample_images": Form("u", 4, MOST_ARRAYS_BYTES),
    "sample_versions": Form("u", 5, MOST_ARRAYS_BYTES),
    "sample_labels": Form("iu", 1, MOST_ARRAYS_BYTES),
}
"""examples.npz: E, E H W C, then indices of images, M, M H W twice, S, S, S H W, and pictures."""

LATER = ("wrong_images", "sample_images", "sample_versions", "sample_labels")
"""Arrays of examples.npz that runs of older versions do not have."""


def read_arrays(
    root: Path, name: str, forms: Mapping[str, Form] | None = None
) -> dict[str, np.ndarray]:
    """The arrays with these names in an npz file of a run folder; None: all arrays.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is damaged, an array has another form, or it is not a file in that folder.
    """
    path = root / name
    with reading(path), place_of(root, name) as (folder, last):
        opened = folder.open_to_read(last, MOST_BYTES)
    with opened as file:
        try:
            with zipfile.ZipFile(_Sparing(file)) as archive:  # pyright: ignore[reportArgumentType]
                return _arrays(archive, forms)
        except Exception as error:  # zip, zlib and NumPy fail in a dozen ways on damaged bytes
            raise InputError(f"{path}: is damaged ({error}); train again") from None


class _Sparing(io.RawIOBase):
    """A file that is read in small parts, whatever lengths it claims."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(CHUNK + 1 if size < 0 else min(size, CHUNK + 1))
        if len(content) > CHUNK:
            raise ValueError("a part of it is too long")
        return content


def _arrays(archive: zipfile.ZipFile, forms: Mapping[str, Form] | None) -> dict[str, np.ndarray]:
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if forms is None or name in forms:
            if name in members:
                raise ValueError(f"it has {name} twice")
            members[name] = member
    return {
        name: _array(archive, member, Form() if forms is None else forms[name])
        for name, member in members.items()
    }


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, form: Form) -> np.ndarray:
    """One array. Its header is checked before memory is allocated."""
    if member.flag_bits & 1 or member.compress_type not in (
        zipfile.ZIP_STORED,
        zipfile.ZIP_DEFLATED,
    ):
        raise ValueError(f"{member.filename} is packed as no run does it")
    with archive.open(member) as file:
        if npy.read_magic(file) != (1, 0):  # later ones have headers of any length
            raise ValueError(f"{member.filename} is no plain array")
        shape, turned, kind = npy.read_array_header_1_0(file)
        _hold(member, form, shape, kind)
        flat = np.empty(math.prod(shape), kind)
        _fill(flat, file)
    if kind.kind == "U" and flat.size and kind.itemsize:
        _hold_letters(flat)
    array = flat.reshape(shape, order="F" if turned else "C")
    return array.astype(kind.newbyteorder("="), copy=False)


def _hold(member: zipfile.ZipInfo, form: Form, shape: tuple[int, ...], kind: np.dtype) -> None:
    """Check an array's header against the form, and its size against that of the member."""
    wanted = len(shape) <= 6 if form.dimensions is None else len(shape) == form.dimensions
    if kind.kind not in form.kinds or not wanted or min(shape, default=0) < 0:
        raise ValueError(f"{member.filename} is an array of another kind: {kind}, {shape}")
    size = math.prod(shape) * kind.itemsize
    packed = size > FREE_BYTES and size > MOST_RATIO * member.compress_size
    too_long = kind.kind == "U" and kind.itemsize > 4 * LONGEST_NAME
    if size > form.most or size > member.file_size or packed or too_long:
        raise ValueError(f"{member.filename} is too large: {size:,} bytes")


def _fill(flat: np.ndarray, file: IO[bytes]) -> None:
    """Read an array's values up to the end of the file, where the checksum is verified."""
    place, done = flat.view(np.uint8) if flat.nbytes else np.empty(0, np.uint8), 0
    while done < len(place):
        chunk = file.read(min(CHUNK, len(place) - done))
        if not chunk:
            raise ValueError("an array is cut short")
        place[done : done + len(chunk)] = np.frombuffer(chunk, np.uint8)
        done += len(chunk)
    if file.read(1):
        raise ValueError("an array is longer than it says")


def _hold_letters(flat: np.ndarray) -> None:
    codes = flat.view(flat.dtype.str[0] + "u4")
    if codes.max() > 0x10FFFF:
        raise ValueError("a name is no text")


# ------------------------------------------------------------------------------- what they hold


def check_predictions(
    path: Path, arrays: Mapping[str, np.ndarray], needed: Collection[str]
) -> None:
    """Check that the arrays of predictions.npz fit each other.

    Raises:
        InputError: one is missing, a shape does not fit, or a value is impossible.
    """
    _check_present(path, arrays, {"logits", "labels", *needed})
    count, classes = arrays["logits"].shape
    shapes = {"labels": (count,), "names": (count,), "classes": (classes,)}
    if "val_logits" in arrays or "val_labels" in arrays:
        _check_present(path, arrays, {"val_logits", "val_labels"})
        shapes |= {"val_logits": (len(arrays["val_labels"]), classes)}
    fit = all(arrays[name].shape == shape for name, shape in shapes.items() if name in arrays)
    if not count or not 0 < classes <= MOST_CLASSES or not fit:
        raise damaged(path, "its arrays do not fit together")
    for prefix in ("", "val_"):
        if f"{prefix}logits" in arrays:
            _check_logits(path, arrays[f"{prefix}logits"], arrays[f"{prefix}labels"])


def _check_logits(path: Path, logits_NK: np.ndarray, labels_N: np.ndarray) -> None:
    if not np.isfinite(logits_NK).all():
        raise damaged(path, "a logit is not a finite number")
    if not _within(labels_N, logits_NK.shape[1]):
        raise damaged(path, "a label is not the number of a class")


def check_images(path: Path, arrays: Mapping[str, np.ndarray], images: int) -> None:
    """Check that the images of examples.npz fit their indices, and these the test split.

    Raises:
        InputError: one is missing, a shape does not fit, or a value is impossible.
    """
    _check_present(path, arrays, ("indices", "images"))
    indices_E, (count, height, width, channels) = arrays["indices"], arrays["images"].shape
    fit = [
        arrays["images"].dtype == np.uint8,
        channels in (1, 3),
        not count or 0 < min(height, width) <= max(height, width) <= LONGEST_SIDE,
        3 * count * max(height, width) ** 2 <= 4 * MOST_ARRAYS_BYTES,
        indices_E.shape == (count,),
        _within(indices_E, images) and _rising(indices_E),
    ]
    if not all(fit):
        raise damaged(path, "its arrays do not fit together")


def check_examples(path: Path, arrays: Mapping[str, np.ndarray], images: int, classes: int) -> None:
    """Check that all arrays of examples.npz fit each other, the test images and the classes.

    Raises:
        InputError: one is missing, a shape does not fit, or a value is impossible.
    """
    _check_present(path, arrays, EXAMPLES.keys() - set(LATER))
    check_images(path, arrays, images)
    mapped, maps = arrays["cam_indices"], [arrays[n] for n in ("cam_predicted", "cam_actual")]
    fields = [arrays[name] for name in ("field_stages", "field_sides", "fields")]
    fit = [
        _rising(mapped) and bool(np.isin(mapped, arrays["indices"]).all()),
        all(_are_of(arrays[name], mapped) for name in ("losses", "labels")),
        _within(arrays["wrong"], images) and len(arrays["wrong"]) <= images,
        all(maps_MHW.dtype == np.uint8 and len(maps_MHW) == len(mapped) for maps_MHW in maps),
        all(max(maps_MHW.shape[1:]) <= LONGEST_SIDE for maps_MHW in maps),
        not len(mapped) or all(min(maps_MHW.shape) > 0 for maps_MHW in maps),
        len({len(values) for values in fields}) == 1,
        not len(fields[2]) or 0 < min(fields[2].shape) <= max(fields[2].shape) <= LONGEST_SIDE,
        all(bool(np.isfinite(values).all()) for values in fields[1:]),
        "wrong_images" not in arrays or _are_pictures(arrays["wrong_images"]),
        _samples_fit(arrays, classes),
    ]
    if not all(fit):
        raise damaged(path, "its arrays do not fit together")


def _samples_fit(arrays: Mapping[str, np.ndarray], classes: int) -> bool:
    """Whether the stored training images, if there are any, fit their versions and labels."""
    found = [arrays[name] for name in LATER[1:] if name in arrays]
    if len(found) < 3:
        return not found
    images_SHWC, versions_SRHWC, labels_S = found
    same = versions_SRHWC.shape[:1] + versions_SRHWC.shape[2:] == images_SHWC.shape
    fit = (
        _are_pictures(images_SHWC)
        and len(images_SHWC) == len(labels_S)
        and versions_SRHWC.dtype == np.uint8
    )
    return fit and same and _within(labels_S, classes)


def _are_pictures(images_NHWC: np.ndarray) -> bool:
    fit = images_NHWC.dtype == np.uint8 and images_NHWC.shape[3] in (1, 3)
    return fit and max(images_NHWC.shape[1:3]) <= LONGEST_SIDE


def _check_present(path: Path, arrays: Mapping[str, np.ndarray], needed: Collection[str]) -> None:
    if missing := set(needed) - arrays.keys():
        raise damaged(path, f"lacks {min(missing)}")


def _within(indices: np.ndarray, count: int) -> bool:
    """Whether all values are in [0, count)."""
    return not len(indices) or bool(0 <= indices.min() <= indices.max() < count)


def _are_of(indices: np.ndarray, mapped: np.ndarray) -> bool:
    """Whether each value is in `mapped`, and none occurs twice."""
    return len(np.unique(indices)) == len(indices) and bool(np.isin(indices, mapped).all())


def _rising(indices: np.ndarray) -> bool:
    return bool((indices[1:] > indices[:-1]).all())
