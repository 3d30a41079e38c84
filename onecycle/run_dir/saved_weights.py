"""The checksum of the weights in a checkpoint, found without torch, as runs are read without it."""

import hashlib
from pathlib import Path
from typing import BinaryIO

from onecycle.errors import InputError
from onecycle.run_dir.checking import Misfit, from_json
from onecycle.run_dir.checkpoints import (
    HEADER_BYTES,
    TENSORS,
    compare,
    damaged,
    names,
    verified_content,
)
from onecycle.run_dir.files import decode_json
from onecycle.run_dir.folder import ForeignEntry
from onecycle.run_dir.records import Sealed, TensorPlace

CHUNK = 2**20
"""Bytes that are read at once."""


def newest(folder: Path) -> tuple[int, str] | None:
    """Step, and SHA-256 of the network's tensors, of the newest undamaged checkpoint, in hex.

    Raises:
        InputError: all are damaged, or one is a link.
    """
    present = names(folder)
    for name in present:
        try:
            with verified_content(folder / name, None) as (sealed, file):
                return sealed["step"], _weights_sha256(folder / name, file, sealed)
        except ForeignEntry:
            raise
        except InputError:
            continue
    if present:
        raise InputError(f"{folder}: every checkpoint in it is damaged; train again")
    return None


def _weights_sha256(path: Path, file: BinaryIO, sealed: Sealed) -> str:
    """SHA-256 of the raw bytes of all tensors in name order, as in `provenance.tensors_sha256`."""
    whole = hashlib.sha256()
    for chunk in iter(lambda: file.read(CHUNK), b""):
        whole.update(chunk)
    size = file.tell()
    compare(path, TENSORS, whole.hexdigest(), sealed["tensors_sha256"])
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > HEADER_BYTES:
        raise damaged(path, "its list of tensors is too long")
    tensors = decode_json(file.read(length), path / TENSORS)
    digest, left = hashlib.sha256(), size - 8 - length
    try:
        from_json(tensors, dict[str, TensorPlace | dict[str, str]])
        for name in sorted(name for name in tensors if name.startswith("model.")):
            begin, end = tensors[name]["data_offsets"]
            left -= max(0, end - begin)
            if left < 0 or end > size - 8 - length:
                raise Misfit("its list of tensors contradicts its length")
            file.seek(8 + length + begin)
            for start in range(begin, end, CHUNK):
                digest.update(file.read(min(CHUNK, end - start)))
    except (Misfit, KeyError) as error:
        raise damaged(path, error) from None
    return digest.hexdigest()
