"""Checks of a listing: classes are on the right level, the same in all splits, and have images."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

from onecycle.data.folder import layout, walking
from onecycle.data.folder.messages import NAMED, quoted, some
from onecycle.data.image_set import BadImage, LeftOut
from onecycle.errors import InputError

if TYPE_CHECKING:
    from onecycle.data.folder.listing import File, Listing

_DATE = re.compile(r"(19|20)\d\d([-_. ]?\d\d){0,2}")
"""Folders of photos often have such names; classes don't."""

DEEPEST = 5
"""Most levels of folders above the right one that are searched."""

_SHARED = 2
"""If two classes share at least this many folder names, the classes are taken for splits."""


def check_classes(
    classes: Mapping[str, Sequence["File"]], folder: Path, split: str, left_out: LeftOut
) -> None:
    """Reject a folder without classes, with a single class, or with an empty class.

    Raises:
        InputError: it names the right folder, if there is one.
    """
    if not classes:
        raise InputError(
            f"data: {quoted(folder)} has no class folders{passed_over(left_out)}; put images in "
            f"{quoted(folder / '<class>')}"
        )
    empty = [label for label, files in classes.items() if not files]
    kinds = _kinds(left_out)
    if len(empty) == len(classes):
        raise InputError(f"data: {quoted(folder)} has class folders but no images in them{kinds}")
    if empty:
        raise InputError(
            f"data: {some('class', empty, 'classes')} in {quoted(folder)} without images{kinds}; "
            f"add some or remove the folder{_splits_within(folder, classes)}"
        )
    if len(classes) < 2 and split in ("", "train"):  # other splits are compared with train
        label = next(iter(classes))
        raise InputError(
            f"data: {quoted(folder)} has only the class {quoted(label)}"
            f"{passed_over(left_out)}; at least 2 are needed{_inner(folder, label, split)}"
        )


def _kinds(left_out: LeftOut) -> str:
    """The extensions of the files that are not images, in brackets."""
    endings = ", ".join(left_out.other_endings)
    return f" (other files: {endings})" if endings else ""


def passed_over(left_out: LeftOut) -> str:
    """The folders that were skipped because of their names, in brackets."""
    names = [*left_out.hidden_folder_names, *left_out.system_names]
    return f" (skipped: {', '.join(names)})" if names else ""


def _inner(folder: Path, label: str, split: str) -> str:
    """A hint for users who gave a parent folder of the right one."""
    while len(deeper := walking.folders(folder / label)) == 1:
        label = f"{label}/{deeper[0]}"
        if label.count("/") > DEEPEST:
            return ""
    if hint := _splits_within(folder, [label]):
        return hint
    if len(walking.folders(folder / label)) < 2:
        return ""
    if split:
        return f"; if its folders are the classes, move them into {quoted(folder)}"
    return f"; if its folders are the classes, give {quoted(folder / label)}"


def _splits_within(folder: Path, labels: Iterable[str]) -> str:
    """A hint if a class is a folder that contains splits."""
    for label in list(labels)[:20]:
        try:
            inner = layout.find(folder / label, walking.Passed()).named
        except InputError:
            continue
        if "train" in inner:
            named = " and ".join(quoted(name) for name in inner.values())
            return f"; {quoted(folder / label)} contains {named}, so give that folder"
    return ""


# ------------------------------------------------------------------------------------------- level


def check_level(
    classes: Mapping[str, Sequence["File"]], starts: Mapping[str, str], folder: Path
) -> None:
    """Reject classes that contain folders with the same names: these are the classes, or splits.

    Args:
        classes: the files by class.
        starts: the prefix of the names of a class's files.
        folder: the parent folder of the classes.

    Raises:
        InputError: it names the folders and the possible layouts.
    """
    inner = {label: _folders_of(files, starts[label]) for label, files in classes.items()}
    counts = Counter(name for names in inner.values() for name in names)
    shared = {name for name, count in counts.items() if count > 1}
    alike = [
        label
        for label, names in inner.items()
        if len(names & shared) >= _SHARED and 2 * len(names & shared) >= len(names)
    ]
    if len(alike) < 2:
        return
    common = sorted(name for name in shared if any(name in inner[label] for label in alike))
    common.sort(key=lambda name: layout.role_of(name) != "train")
    named = ", ".join(map(quoted, common[:NAMED])) + (", …" if len(common) > NAMED else "")
    held = (
        f"{some('folder', alike, 'folders')} in {quoted(folder)} contain folders of the same names "
        f"({named})"
    )
    if any(layout.role_of(name) for name in common):
        raise InputError(
            f"data: {held}; give one of them, or put the splits above the classes: "
            f"{quoted(folder / common[0] / alike[0])}"
        )
    raise InputError(
        f"data: {held}; if those are the classes, name their parent folders train and test "
        f"({quoted(folder / 'train' / common[0] / '<image>')}); if not, put the images of each "
        f"class directly into its folder ({quoted(folder / alike[0] / '<image>')})"
    )


def _folders_of(files: Iterable["File"], start: str) -> set[str]:
    """The folders with images in a class's folder; none if that folder has images itself."""
    found = set()
    for file in files:
        name, slash, _ = file.name[len(start) + 1 :].partition("/")
        if not slash:
            return set()
        if not _DATE.fullmatch(name):
            found.add(name)
    return found


# ------------------------------------------------------------------------------------------ splits


def check_same_classes(splits: Mapping[str, Collection[str]]) -> None:
    """Reject splits with different classes.

    Args:
        splits: the classes of each split, including train.

    Raises:
        InputError: it names the missing classes.
    """
    train = splits["train"]
    for split, classes in splits.items():
        for here, there, where, elsewhere in (
            (train, classes, "train", split),
            (classes, train, split, "train"),
        ):
            if lone := sorted(set(here) - set(there)):
                alike = [label for label in there if _plain(label) == _plain(lone[0])]
                hint = f" ({alike[0]!a} there, {lone[0]!a} here)" if alike else ""
                raise InputError(
                    f"data: {some('class', lone, 'classes')} in {where} but not in "
                    f"{elsewhere}{hint}; both need the same classes"
                )


def _plain(label: str) -> str:
    """A label without the differences between spellings of the same word."""
    return normalize("NFKC", label).casefold().strip()


def check_counts(files: Iterable["File"], *, test: bool) -> None:
    """Reject a class with too few images to train and test on.

    Args:
        files: all files.
        test: whether there is a test split, so that none has to be held out.

    Raises:
        InputError: it names the classes with a single image, if one has to be held out.
    """
    if test:
        return
    counts = Counter(file.label for file in files if file.split in ("", "train"))
    if short := sorted(label for label, count in counts.items() if count < 2):
        raise InputError(
            f"data: {some('class', short, 'classes')} with a single image, but training and "
            "testing need one each; add images"
        )


# ------------------------------------------------------------------------------------- bad images


def refuse_bad(bad: Sequence[BadImage]) -> None:
    """Reject unreadable images, if there are any.

    Raises:
        InputError: it names the first images and gives their number.
    """
    if bad:
        names = [image.name for image in bad]
        raise InputError(
            f"data: can't read {some('image', names, 'images')}: {bad[0].reason}; repair or "
            "remove them, or leave unreadable images out with --on-bad-image skip"
        )


def good_files(listing: "Listing", bad: Sequence[BadImage]) -> "list[File]":
    """The files without the bad ones.

    Raises:
        InputError: a class has lost all its images, or all but one where two are needed; or no
            image to evaluate on is left.
    """
    reasons = {image.name: image.reason for image in bad}
    files = [file for file in listing.files if file.name not in reasons]
    gone = [*listing.files, *(file for file, _ in listing.missing)]
    if listing.whole:
        if gone and not files:
            raise InputError(
                f"data: no image can be read; {quoted(gone[0].name)}: {reasons[gone[0].name]}"
            )
        return files
    left = {(file.split, file.label) for file in files}
    for file in gone:
        if (file.split, file.label) not in left:
            where = f" in {file.split}" if file.split else ""
            raise InputError(
                f"data: class {quoted(file.label)} is left without images{where}: can't read "
                f"{quoted(file.name)}: {reasons[file.name]}; repair or add some"
            )
    check_counts(files, test=listing.has_test)
    return files
