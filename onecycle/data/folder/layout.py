"""Find the folders that contain the class folders: the user's folder, or those of its splits.

A split is recognised by its name (`train`, `Training`, `seg_test`, `valid_data`) and by its
structure: it contains folders, and those of the other splits have the same names. A class may also
be called `train`: it contains images, or lies next to folders that do.
"""

import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from onecycle.data.folder import walking
from onecycle.data.folder.messages import quoted, some
from onecycle.data.folder.walking import Passed
from onecycle.errors import InputError

Split = Literal["train", "val", "test"]

SPLITS: tuple[Split, ...] = ("train", "val", "test")
"""The splits, in the order of their images."""

_ROLES = {
    "train": r"train(?:ing)?",
    "val": r"val|valid(?:ation)?|dev(?:el(?:opment)?)?",
    "test": r"test(?:ing)?",
    "eval": r"eval(?:uation)?",  # the test split; if there is one, the validation split
    "unlabelled": r"unlabell?ed|pred(?:ict(?:ion)?s?)?|submissions?",
}
_ROLE = re.compile(
    "|".join(f"(?P<{role}>{words})" for role, words in _ROLES.items()), re.IGNORECASE
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_]+")
_MORE = re.compile(r"(?:sets?|data|imgs?|images?|splits?)$", re.IGNORECASE)
_AROUND = frozenset("class classes data dataset images image imgs img photos pictures".split())
"""Names of a folder between a split and its class folders."""

_DEEPEST = 3
"""Most levels of folders between a split and its class folders."""


@dataclass(frozen=True)
class Layout:
    """The location of the class folders.

    Attributes:
        folders: their parent folder, by split; under `""` if there are no splits.
        named: the name of each split's folder in the root.
    """

    folders: Mapping[str, Path]
    named: Mapping[str, str]


@dataclass(frozen=True)
class _Look:
    """A folder: where its class folders are, their names, and whether it contains images."""

    path: Path
    classes: frozenset[str]
    images: bool


def role_of(name: str) -> str:
    """The role that a folder's name implies: a split, `eval`, `unlabelled`, or none.

    One word of the name must imply it, in any case, and no other word a different role.
    """
    found = {
        role.lastgroup or ""
        for word in _WORD.findall(name)
        if (role := _ROLE.fullmatch(word) or _ROLE.fullmatch(_MORE.sub("", word)))
    }
    return found.pop() if len(found) == 1 else ""


def find(root: Path, passed: Passed) -> Layout:
    """Find the class folders of `root`. Entries next to the splits are noted in `passed`.

    Raises:
        InputError: a split has no class folders, or two folders match the same split.
    """
    within = Passed()
    found = walking.entries(root, within)
    siblings = [entry.name for entry, status in found if stat.S_ISDIR(status.st_mode)]
    looks = {name: _look(root / name) for name in siblings if role_of(name)}
    named = _splits_among(root, siblings, looks)
    if not named:
        return Layout({"": root}, {})
    passed.hidden += within.hidden
    passed.dead += within.dead
    passed.hidden_folders += within.hidden_folders
    passed.systems += within.systems
    passed.runs += within.runs
    for entry, status in found:
        if not stat.S_ISDIR(status.st_mode):
            passed.file(entry.name)
    _note_rest(set(siblings) - set(named.values()), looks, passed)
    return Layout({split: looks[name].path for split, name in named.items()}, named)


def _look(folder: Path) -> _Look:
    """The folder's classes, or those of its only folder if that has its name or a general one."""
    look = _glance(folder)
    for _ in range(_DEEPEST):
        if look.images or len(look.classes) != 1:
            break
        (inner,) = look.classes
        if not _is_around(inner, look.path.name):
            break
        look = _glance(look.path / inner)
    return look


def _glance(folder: Path) -> _Look:
    found = walking.entries(folder, Passed())
    inner = frozenset(entry.name for entry, status in found if stat.S_ISDIR(status.st_mode))
    return _Look(
        folder, inner, any(walking.is_image(entry.name, status) for entry, status in found)
    )


def _is_around(inner: str, outer: str) -> bool:
    return inner.casefold() in _AROUND or role_of(inner) == role_of(outer) != ""


# ---------------------------------------------------------------------------------------- decision


def _splits_among(root: Path, siblings: list[str], looks: Mapping[str, _Look]) -> dict[str, str]:
    """The folder of each split, by split; empty if the folders of `root` are classes."""
    roles = _roles(name for name in looks if looks[name].classes)
    bare = _roles(name for name in looks if looks[name].images and not looks[name].classes)
    others = [name for name in siblings if name not in looks]
    if "train" not in roles and {"val", "test"} & (bare.keys() | roles.keys()):
        _check_not_bare(root, bare, others)
    if not roles or not _meant_as_splits(root, roles, bare, others, looks):
        return {}
    _check_filled(root, looks, roles)
    return {split: _the_one(root, split, roles[split]) for split in SPLITS if split in roles}


def _roles(names: Iterable[str]) -> dict[str, list[str]]:
    """Folders by the role that their names imply."""
    roles: dict[str, list[str]] = {}
    for name in names:
        roles.setdefault(role_of(name), []).append(name)
    roles.pop("unlabelled", None)
    if evaluation := roles.pop("eval", None):
        split = "val" if "test" in roles else "test"
        roles.setdefault(split, evaluation)
    return roles


def _meant_as_splits(
    root: Path,
    roles: Mapping[str, list[str]],
    bare: Mapping[str, list[str]],
    others: list[str],
    looks: Mapping[str, _Look],
) -> bool:
    """Whether folders that have names of splits and contain folders are splits, not classes."""
    if not others or (len(roles) > 1 and _all_plain(roles)):
        return True
    if len(roles) > 1:
        kinds = [set().union(*(looks[name].classes for name in names)) for names in roles.values()]
        return any(one & other for i, one in enumerate(kinds) for other in kinds[:i])
    if "train" not in roles:
        return False
    unlabelled = bare.get("test", []) + bare.get("val", [])
    if any(_ROLE.fullmatch(name) for name in unlabelled):
        return True
    return not any(_has_images(root / name) for name in others)


def _has_images(folder: Path) -> bool:
    return any(True for _ in walking.images_below(str(folder), Passed()))


def _all_plain(roles: Mapping[str, list[str]]) -> bool:
    """Whether each split has a folder whose name is a single word."""
    return all(any(_strangeness(name, split) < 2 for name in roles[split]) for split in roles)


def _check_filled(root: Path, looks: Mapping[str, _Look], roles: Mapping[str, list[str]]) -> None:
    """Reject an empty split: its images may have been forgotten."""
    for name, look in looks.items():
        empty = not look.classes and not look.images and _ROLE.fullmatch(name)
        if empty and role_of(name) in {"train", "val", "test"} - roles.keys():
            raise InputError(
                f"data: {quoted(root / name)} has neither class folders nor images; put some in, "
                "or remove it"
            )


def _check_not_bare(root: Path, bare: Mapping[str, list[str]], others: list[str]) -> None:
    """Reject a train folder that contains images directly, if there is a test folder too."""
    if "train" not in bare:
        return
    if others and not _all_plain(bare):
        return
    names = sorted(name for names in bare.values() for name in names)
    place = quoted(root / bare["train"][0] / "<class>")
    raise InputError(
        f"data: {some('folder', names, 'folders')} in {quoted(root)} "
        f"ha{'s' if len(names) == 1 else 've'} images but no class folders; put them into {place}, "
        "or list them in a table of images (.csv) with the columns path and label"
    )


def _the_one(root: Path, split: str, names: list[str]) -> str:
    """The folder of a split: the one with its exact name, else with a single word, else another."""
    ranked = sorted(names, key=lambda name: _strangeness(name, split))
    if len(ranked) > 1 and len({_strangeness(name, split) for name in ranked[:2]}) == 1:
        raise InputError(
            f"data: {quoted(root)} has {some('folder', ranked, 'folders')} that may be the {split} "
            f"split; rename one of them to {split}, or move the others away"
        )
    return ranked[0]


def _strangeness(name: str, split: str) -> int:
    return 0 if name == split else 1 if _ROLE.fullmatch(name) else 2


def _note_rest(names: set[str], looks: Mapping[str, _Look], passed: Passed) -> None:
    """Count the folders next to those of the splits."""
    unlabelled = []
    for name in sorted(names):
        look = looks.get(name)
        if look and look.images and not look.classes:
            unlabelled.append(name)
        else:
            passed.other_folders[name] += 1
    passed.unlabelled = tuple(unlabelled)
