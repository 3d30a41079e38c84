"""The files of a Hugging Face data set on disk, by split, and what its metadata say of its columns.

Two forms are read: folders written by `save_to_disk` of the library `datasets` (Arrow files, with
state.json and dataset_info.json, or dataset_dict.json above them), and Parquet files as on the hub.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from onecycle.data.folder.layout import role_of
from onecycle.data.folder.messages import quoted, some
from onecycle.errors import InputError
from onecycle.writing.numbers import counted

LONGEST_JSON = 2**24
"""Most bytes of a file of metadata."""

MOST_FILES = 10_000
"""Most files of one split."""

_SHARD = re.compile(r".*?(?P<place>\d{5})-of-(?P<total>\d{5})(-\w+)?")
"""The name of one of several files of a split, as the hub has it, without its ending."""

Form = Literal["arrow", "parquet"]


@dataclass(frozen=True)
class Place:
    """The files of one split.

    Attributes:
        named: what the data set calls the split; empty if there are none.
        form: Arrow's stream format, or Parquet.
        files: in the order of their images.
        features: the columns by name, as dataset_info.json has them; empty if it says nothing.
        metadata: the files that all this was read from.
    """

    named: str
    form: Form
    files: tuple[Path, ...]
    features: Mapping[str, Any] = field(default_factory=dict)
    metadata: tuple[Path, ...] = ()


def is_data_set(path: Path) -> bool:
    """Whether a path is such a data set: by its metadata, or by Parquet files without others."""
    if path.is_file():
        return _is_parquet(path)
    if (path / "dataset_dict.json").is_file():
        return True
    if (path / "state.json").is_file() and (path / "dataset_info.json").is_file():
        return True
    return bool(_parquet_files(path))


def places(path: Path) -> dict[str, Place]:
    """The files of each split, by split; by `""` if there are none.

    Raises:
        InputError: metadata or files are missing or damaged, or splits can't be told apart.
    """
    if path.is_file():
        _check_shards([path])
        return {"": Place("", "parquet", (path,))}
    if (path / "dataset_dict.json").is_file():
        return _by_role(path, _of_dictionary(path))
    if (path / "state.json").is_file():
        return {"": _saved(path, "")}
    return _by_role(path, _of_parquet(path))


# -------------------------------------------------------------------------------------------- saved


def _of_dictionary(path: Path) -> list[Place]:
    """The splits of a saved DatasetDict."""
    names = _json(path / "dataset_dict.json").get("splits")
    if not isinstance(names, list) or not names:
        raise _damaged(path / "dataset_dict.json")
    return [_saved(path / _plain(path, name), name) for name in names]


def _saved(folder: Path, named: str) -> Place:
    """A saved Dataset."""
    state, about = folder / "state.json", folder / "dataset_info.json"
    content, features = _json(state), _json(about).get("features")
    if content.get("_indices_files"):
        raise InputError(
            f"data: {quoted(folder)} was saved by an old version of datasets, with an order of its "
            "own; load and save it again with a newer one"
        )
    listed = content.get("_data_files")
    if listed == []:
        raise InputError(
            f"data: {quoted(folder)} has no rows; save the data set again without this split"
        )
    if not isinstance(listed, list) or len(listed) > MOST_FILES:
        raise _damaged(state)
    names = [entry.get("filename") if isinstance(entry, dict) else None for entry in listed]
    files = tuple(folder / _plain(folder, name) for name in names)
    for file in files:
        if not file.is_file():
            raise InputError(f"data: {quoted(file)} is missing; save the data set again")
    return Place(
        named, "arrow", files, features if isinstance(features, dict) else {}, (state, about)
    )


def _plain(folder: Path, name: object) -> str:
    """A name of a file in a folder."""
    if not isinstance(name, str) or Path(name).name != name or "\0" in name or name == "..":
        raise InputError(
            f"data: {quoted(folder)} names the file {quoted(str(name))}, which points out of it; "
            "don't trust it, or save it again"
        )
    return name


def _json(path: Path) -> dict[str, Any]:
    """A file of metadata."""
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_JSON + 1)
        found = json.loads(content) if len(content) <= LONGEST_JSON else None
    except OSError as error:
        raise InputError(f"data: can't read {quoted(path)}: {error.strerror}") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _damaged(path)
    return found


def _damaged(path: Path) -> InputError:
    return InputError(f"data: {quoted(path)} is damaged; save the data set again")


# ------------------------------------------------------------------------------------------ parquet


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _parquet_files(path: Path) -> list[Path]:
    """The Parquet files of a folder, of `data` in it, or of folders named like splits in it."""
    found: list[Path] = []
    try:
        inner = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(".")]
        for entry in inner:
            if entry.is_file() and entry.suffix.lower() == ".parquet":
                found.append(entry)
            elif entry.is_dir():
                below = [file for file in sorted(entry.iterdir()) if file.name[0] != "."]
                if not below or any(file.suffix.lower() != ".parquet" for file in below):
                    return []  # some folders may be those of classes
                found += below
    except OSError:
        return []
    return found if len(found) <= MOST_FILES else []


def _of_parquet(path: Path) -> list[Place]:
    """The splits of Parquet files, as the hub names them: `data/train-00000-of-00002.parquet`.

    Raises:
        InputError: files are missing, or are of several data sets.
    """
    groups: dict[str, list[Path]] = {}
    for file in _parquet_files(path):
        named = file.stem.split("-")[0]
        if not role_of(named) and role_of(file.parent.name) and file.parent != path:
            named = file.parent.name
        groups.setdefault(named if role_of(named) else "", []).append(file)
    if len(groups) > 1 and "" in groups:
        names = [file.name for file in groups[""]]
        raise InputError(
            f"data: {quoted(path)} has {some('file', names, 'files')} whose split is not known; "
            "name them train-….parquet, test-….parquet and so on"
        )
    _check_one_set(path, groups)
    for files in groups.values():
        _check_shards(files)
    return [Place(named, "parquet", tuple(files)) for named, files in groups.items()]


def _check_one_set(path: Path, groups: Mapping[str, Sequence[Path]]) -> None:
    """Refuse folders that are data sets of their own, such as the hub's configurations.

    Raises:
        InputError: a split has files in several folders, or there are several folders that are not
            named like a split.
    """
    apart = {file.parent for files in groups.values() for file in files}
    sets = {folder for folder in apart if folder == path or not role_of(folder.name)}
    for folders in (sets, *({file.parent for file in files} for files in groups.values())):
        if len(folders) > 1:
            names = [str(folder) for folder in sorted(folders)]
            raise InputError(
                f"data: {quoted(path)} has Parquet files in {some('folder', names, 'folders')}, "
                "which may be different data sets; give one of them"
            )


def _check_shards(files: Sequence[Path]) -> None:
    """Refuse a split of which some files are not there.

    Raises:
        InputError: by their names, one is missing or too many.
    """
    found = {file: shard for file in files if (shard := _SHARD.fullmatch(file.stem))}
    if not found:
        return
    odd = [file for file in files if file not in found]
    totals = {int(shard["total"]) for shard in found.values()}
    places_ = sorted(int(shard["place"]) for shard in found.values())
    if odd or len(totals) > 1 or len(set(places_)) < len(places_):
        names = [file.name for file in files]
        raise InputError(
            f"data: {quoted(files[0].parent)} has {some('file', names, 'files')} that are not "
            "parts of one split; keep those that belong together"
        )
    (total,) = totals
    if missing := sorted(set(range(total)) - set(places_)):
        file, shard = next(iter(found.items()))
        name = f"{file.stem[: shard.start('place')]}{missing[0]:05d}-of-{total:05d}"
        raise InputError(
            f"data: {quoted(file.parent)} lacks {counted(len(missing), 'file')} of a split, such "
            f"as {quoted(name + file.suffix)}; fetch all of them"
        )


# ------------------------------------------------------------------------------------------- splits


def _by_role(path: Path, found: Sequence[Place]) -> dict[str, Place]:
    """The splits by their role; those of no known role are left out."""
    roles: dict[str, list[Place]] = {}
    for place in found:
        roles.setdefault(role_of(place.named), []).append(place)
    if len(found) == 1 and list(roles) in ([""], ["unlabelled"]):
        return {"": found[0]}
    roles.pop("unlabelled", None)
    roles.pop("", None)
    if evaluation := roles.pop("eval", None):
        roles.setdefault("val" if "test" in roles else "test", []).extend(evaluation)
    for role, places_ in roles.items():
        if len(places_) > 1:
            names = [place.named for place in places_]
            raise InputError(
                f"data: {quoted(path)} has {some('split', names, 'splits')} that may be {role}; "
                "save it with one of them"
            )
    if not roles:
        names = [place.named for place in found]
        raise InputError(
            f"data: {quoted(path)} has {some('split', names, 'splits')}; name them train and test"
        )
    return {role: places_[0] for role, places_ in roles.items()}
