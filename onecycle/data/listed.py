"""Lists of images that have numbers instead of files: those of arrays and of saved data sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onecycle.data.folder.checks import check_counts, check_same_classes
from onecycle.data.folder.layout import SPLITS
from onecycle.data.folder.listing import File, Listing
from onecycle.data.folder.messages import quoted
from onecycle.data.image_set import LeftOut
from onecycle.errors import InputError


@dataclass(frozen=True)
class Part:
    """The images of one split.

    Attributes:
        named: what the source calls it.
        labels: the class of each image, by name.
        sizes: bytes of each image; empty if not known.
    """

    named: str
    labels: Sequence[str]
    sizes: Sequence[int] = ()


def chosen(splits: Sequence[str], whole: bool) -> list[str]:
    """The splits to read, in the order of their images: all; or if `whole`, the one to evaluate on.

    Args:
        splits: `train`, `val` and `test`, as far as there are any; or only `""`.
        whole: whether the images form one set: test, else val, else train.
    """
    if whole:
        return [next(split for split in ("test", "val", "train", "") if split in splits)]
    return [split for split in ("", *SPLITS) if split in splits]


def listing(
    source: Path,
    root: Path,
    parts: Mapping[str, Part],
    classes: Sequence[str],
    left_out: LeftOut,
    *,
    whole: bool,
) -> Listing:
    """The list of images, named by split and number: `train/00042`, or `00042` without splits.

    Args:
        source: for messages.
        root: the folder of the files of these names, if there are any.
        parts: by split, in the order of their images.
        classes: all classes, in their order.
        left_out: what is in no split.
        whole: whether they form one set, from which none are held out.

    Raises:
        InputError: there is no train split, fewer than two classes, splits with different classes,
            or a class with a single image where one has to be held out.
    """
    files = [
        File(name(split, index), split, label, part.sizes[index] if part.sizes else 0, (0, 0))
        for split, part in parts.items()
        for index, label in enumerate(part.labels)
    ]
    present = {file.label for file in files}
    classes = tuple(label for label in classes if label in present)
    named = tuple((split, part.named) for split, part in parts.items() if split)
    if not whole:
        _check(source, parts, classes)
        check_counts(files, test="test" in parts)
    return Listing(root, tuple(files), classes, left_out, named=named, whole=whole)


def name(split: str, index: int) -> str:
    """The name of the image of that number in a split."""
    return f"{split}/{index:05d}" if split else f"{index:05d}"


def _check(source: Path, parts: Mapping[str, Part], classes: Sequence[str]) -> None:
    if "" not in parts and "train" not in parts:
        held = " and ".join(quoted(part.named) for part in parts.values())
        raise InputError(
            f"data: {quoted(source)} contains {held}, but no images to train on; name their split "
            "train"
        )
    if len(classes) < 2:
        only = f"only the class {quoted(classes[0])}" if classes else "no images"
        raise InputError(f"data: {quoted(source)} has {only}; at least 2 classes are needed")
    if "" not in parts:
        check_same_classes({split: set(part.labels) for split, part in parts.items()})
