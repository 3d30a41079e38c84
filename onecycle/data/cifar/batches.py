"""Batches and class names of the CIFAR archives: from a file's bytes to checked arrays.

Shapes: N images, L sets of labels, H height, W width, C channels.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from onecycle.data import stand_ins
from onecycle.data.cifar import pickles
from onecycle.data.cifar.archives import CHANNELS, PIXELS, SIDE, Archive, File
from onecycle.writing.numbers import counted

STEPS_PER_IMAGE = 32
"""Most instructions of a pickle per image; protocol 0 needs about 20."""

STEPS = 10_000
"""Most additional instructions of a pickle."""


class Unfit(ValueError):
    """What is wrong with a file, as the end of a sentence that begins with its name."""


def images(archive: Archive, file: File, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of a batch.

    Args:
        archive: the archive of the file.
        file: the expected file.
        content: the file's bytes.

    Returns:
        uint8 N H W C, and uint8 L N in the order of `archive.labels`.

    Raises:
        Unfit: it is not a valid batch, or not the published one.
    """
    read = _binary if archive.form == "binary" else _pickled
    with _stand_ins_named(content):
        pixels_NP, labels_LN = read(archive, file, content)
    for labels, labels_N in zip(archive.labels, labels_LN, strict=True):
        if labels_N.max(initial=0) >= labels.classes:
            raise Unfit(
                f"has the {labels.key[:-1].replace('_', ' ')} {labels_N.max()}, but the largest is "
                f"{labels.classes - 1}"
            )
    _check_published(file, content)
    pixels_NCHW = pixels_NP.reshape(file.images, CHANNELS, SIDE, SIDE)
    return pixels_NCHW.transpose(0, 2, 3, 1), labels_LN


def class_names(archive: Archive, file: File, content: bytes) -> dict[str, tuple[str, ...]]:
    """The class names in a file, by the name of the label set.

    Raises:
        Unfit: there are fewer or more different names than classes, or it is not the published
            file.
    """
    with _stand_ins_named(content):
        found = _class_names(archive, file, content)
    _check_published(file, content)
    return found


def _class_names(archive: Archive, file: File, content: bytes) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    if archive.form == "binary":
        listed: dict[str, Any] = {
            file.name: [line.strip() for line in content.splitlines() if line.strip()]
        }
    else:
        listed = _loaded(file, content)
    for labels in archive.labels:
        if labels.names in listed:
            found[labels.set] = _different(listed[labels.names], labels.classes)
        elif archive.form == "python":
            raise Unfit(f"has no {labels.names}")
    return found


@contextmanager
def _stand_ins_named(content: bytes) -> Iterator[None]:
    """Say what a file is if it is not a batch at all."""
    try:
        yield
    except Unfit:
        head = content[: stand_ins.HEAD]
        if named := stand_ins.known(head):
            raise Unfit(named) from None
        if stand_ins.is_prose(head):
            raise Unfit("is plain text") from None
        raise


def _different(given: Any, count: int) -> tuple[str, ...]:
    """`count` different names, as text."""
    if not isinstance(given, list) or not all(isinstance(name, bytes | str) for name in given):
        raise Unfit("has no list of class names")
    try:
        texts = [name if isinstance(name, str) else name.decode() for name in given]
    except UnicodeDecodeError:
        raise Unfit("has class names that are not text") from None
    if not all(map(str.isprintable, texts)):
        raise Unfit("has class names that are not text")
    if not len(texts) == len(set(texts)) == count:
        raise Unfit(
            f"has {counted(len(set(texts)), 'different class name')}, but {count} are expected"
        )
    return tuple(texts)


def _check_published(file: File, content: bytes) -> None:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if file.md5 and found != file.md5:
        raise Unfit(f"is not the published file: its MD5 is {found}, not {file.md5}")


def _binary(archive: Archive, file: File, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Pixels N x 3072 and labels L N, from records of label bytes followed by pixels."""
    record = len(archive.labels) + PIXELS
    if len(content) != file.images * record:
        raise Unfit(
            f"has {counted(len(content), 'byte')}, but {file.images * record:,} are expected: "
            f"{file.images:,} images of {record:,}"
        )
    records_NB = np.frombuffer(content, np.uint8).reshape(file.images, record)
    return records_NB[:, len(archive.labels) :], records_NB[:, : len(archive.labels)].T


def _pickled(archive: Archive, file: File, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Pixels N x 3072 and labels L N, from a dictionary of an array and lists."""
    batch = _loaded(file, content)
    for key in ("data", *(labels.key for labels in archive.labels)):
        if key not in batch:
            raise Unfit(f"has no {key}")
    labels_LN = [_labels(batch[labels.key], labels.key, file.images) for labels in archive.labels]
    return _pixels(batch["data"], file.images), np.stack(labels_LN)


def _loaded(file: File, content: bytes) -> dict[str, Any]:
    try:
        value = pickles.load(content, STEPS + STEPS_PER_IMAGE * file.images)
    except pickles.UnreadablePickle as error:
        raise Unfit(str(error)) from None
    if not isinstance(value, dict):
        raise Unfit("contains no dictionary")
    return value


def _labels(given: Any, key: str, count: int) -> np.ndarray:
    """uint8 N."""
    if not isinstance(given, list) or len(given) != count:
        length = f"{len(given):,}" if isinstance(given, list) else "no list of"
        raise Unfit(f"has {length} {key.replace('_', ' ')}, but {count:,} are expected")
    if not all(type(label) is int and 0 <= label <= 255 for label in given):
        raise Unfit(f"has {key.replace('_', ' ')} that are not numbers from 0 to 255")
    return np.array(given, dtype=np.uint8)


def _pixels(given: Any, count: int) -> np.ndarray:
    """uint8 N x 3072."""
    if not isinstance(given, pickles.Array):
        raise Unfit("has no array of pixels")
    if given.shape != (count, PIXELS) or given.dtype not in ("u1", b"u1", "|u1", b"|u1"):
        raise Unfit(
            f"has pixels of shape {_shape(given.shape)} and type {_type(given.dtype)}, but "
            f"({count}, {PIXELS}) and u1 are expected"
        )
    content = given.content
    if isinstance(content, pickles.Encoded):
        try:
            content = content.to_bytes()
        except UnicodeEncodeError:
            raise Unfit("has pixels that are not bytes") from None
    if not isinstance(content, bytes) or len(content) != count * PIXELS:
        length = f"{len(content):,}" if isinstance(content, bytes) else "no"
        raise Unfit(f"has {length} bytes of pixels, but {count * PIXELS:,} are expected")
    order = "F" if given.fortran is True or given.fortran == 1 else "C"
    return np.frombuffer(content, np.uint8).reshape(count, PIXELS, order=order)


def _shape(given: Any) -> str:
    """Show only numbers: printing other values of a hostile pickle could take forever."""
    if isinstance(given, tuple) and len(given) < 9 and all(type(side) is int for side in given):
        return str(given)
    return "?"


def _type(given: Any) -> str:
    text = str(given, "latin-1") if isinstance(given, bytes) else given
    return text[:20] if isinstance(text, str) else "?"
