"""Tensors by name from a file: safetensors, or PyTorch's own format without any code in it."""

import pickle
import re
import stat
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors
import torch
from torch import Tensor

from onecycle.errors import InputError
from onecycle.writing.names import printable

Kind = Literal["run", "safetensors", "pytorch"]
"""Where weights come from: a run folder, or one of the formats of files."""

NESTED = (
    "state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "module",
    "model_ema", "state_dict_ema", "ema",
)  # fmt: skip
"""Keys under which programs save a state dict beside other things, in the order of preference."""

DEEPEST = 4
"""State dicts are looked for at most this many keys deep."""

AGAIN, WITH_TORCH = "save it again", "save the weights with torch.save(model.state_dict(), FILE)"

_PIECE = 2**22
"""Bytes that are read at a time to check them."""

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"


def read(path: Path) -> tuple[Kind, dict[str, Tensor]]:
    """The format of a file of weights, told from its content, and its tensors by name, on the CPU.

    Of PyTorch's format only tensors, numbers, text and containers of them are read
    (`torch.load` with `weights_only`). A state dict may lie under one of the keys `NESTED`.

    Raises:
        InputError: there is no such file, it is damaged or of another kind, or it holds objects
            whose reading would run code.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"init_from: '{printable(str(path))}' is not a file")
        with path.open("rb") as file:
            beginning = file.read(16)
    except OSError as error:
        name = printable(str(path))
        raise InputError(f"init_from: '{name}' can't be read: {error.strerror}") from None
    if beginning.startswith(_ZIP) or beginning.startswith(_PICKLE):
        return "pytorch", _state_dict(path, _from_pytorch(path, zipped=beginning[:4] == _ZIP))
    if beginning[8:9] == b"{":
        return "safetensors", _from_safetensors(path)
    raise _unusable(
        path, "it is neither a safetensors file nor one of PyTorch's", "give such a one"
    )


def _from_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        raise _damaged(path, error) from None


def _from_pytorch(path: Path, *, zipped: bool) -> Any:
    """What `torch.save` wrote, of which nothing is executed."""
    if zipped:
        _check_zip(path)
    try:
        with warnings.catch_warnings():  # of old formats
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _with_code(path, error) from None
    except Exception as error:  # a damaged file may fail anywhere in PyTorch's reader
        raise _damaged(path, error) from None


def _check_zip(path: Path) -> None:
    """Refuse a zip file that is damaged, or larger than itself, before memory is taken for it."""
    try:
        with zipfile.ZipFile(path) as file:
            entries = file.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise _unusable(path, "it is compressed, which torch.save does not do", AGAIN)
            if sum(entry.file_size for entry in entries) > path.stat().st_size:
                raise _damaged(path, "it declares more bytes than it has")
            if entries and all(entry.filename.endswith(".npy") for entry in entries):
                raise _unusable(path, "it is an .npz file of NumPy", WITH_TORCH)
            for entry in entries:
                if entry.CRC:  # 0: torch.save was told to leave out the checksums
                    with file.open(entry) as content:
                        while content.read(_PIECE):
                            pass
    except InputError:
        raise
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise _damaged(path, error) from None


def _state_dict(path: Path, content: Any) -> dict[str, Tensor]:
    """The tensors by name, from wherever programs put a state dict."""
    found = _found(content, DEEPEST)
    if not found:
        what = "no tensors" if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise _unusable(
            path,
            f"it holds {what}, not a state dict (tensors by name)",
            "save one with torch.save(model.state_dict(), FILE)",
        )
    return found


def _found(content: Any, depth: int) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or depth == 0:
        return {}
    for key in NESTED:
        if key in content and (inner := _found(content[key], depth - 1)):
            return inner
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _with_code(path: Path, error: Exception) -> InputError:
    """The error for a file that holds objects, or is damaged in its pickle."""
    needed = re.search(
        r"GLOBAL ([\w.]+)|[Uu]nsupported (?:class|operand|global) ([\w.]+)", str(error)
    )
    if needed is None:
        return _damaged(path, "its pickle is broken")
    return _unusable(
        path,
        f"it holds more than tensors ({needed[1] or needed[2]}), and reading that could run code",
        "save only the weights, with torch.save(model.state_dict(), FILE)",
    )


def _damaged(path: Path, reason: object) -> InputError:
    said = printable((str(reason).strip().splitlines() or ["no reason given"])[0][:120])
    return _unusable(path, f"it is damaged or incomplete ({said})", "get it again")


def _unusable(path: Path, what: str, remedy: str) -> InputError:
    return InputError(f"init_from: '{printable(str(path))}' can't be used: {what}; {remedy}")
