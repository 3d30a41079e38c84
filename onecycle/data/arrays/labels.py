"""Labels of arrays: whole numbers or texts, mapped to names of classes. N images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from onecycle.data.folder.messages import quoted
from onecycle.errors import InputError
from onecycle.writing.numbers import counted

LONGEST = 200
"""Most characters in the name of a class."""


def check(path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype, images: int) -> None:
    """Reject labels that are not one whole number or text for each image.

    Args:
        path, name: of the file and the array, for messages.
        shape, dtype: of the array: `N` or `N 1`, integers, booleans or texts.
        images: N.

    Raises:
        InputError: it names the remedy.
    """
    shown = f"data: {quoted(name)} in {quoted(path)}"
    if len(shape) == 2 and shape[1] > 1:
        raise InputError(
            f"{shown} has {counted(shape[1], 'label')} for each image, but one is needed; if they "
            f"are 0 except for one, save {name}.argmax(axis=1)"
        )
    if len(shape) not in (1, 2) or shape[1:] not in ((), (1,)):
        raise InputError(f"{shown} has the shape {shape}; one label for each image is needed")
    if shape[0] != images:
        raise InputError(
            f"{shown} has {counted(shape[0], 'label')} for {counted(images, 'image')}; each needs "
            "one"
        )
    if dtype.kind not in "biuUS":
        raise InputError(
            f"{shown} is of type {dtype.name}; save whole numbers, with "
            f"{name}.astype('int64'), or texts"
        )
    if dtype.kind in "US" and dtype.itemsize > 4 * LONGEST:
        raise InputError(
            f"{shown} has a label of more than {counted(LONGEST, 'character')}; shorten it"
        )


def names_of(path: Path, name: str, values: np.ndarray) -> list[str]:
    """Names of classes, from an array of texts.

    Raises:
        InputError: they are not texts, or are empty, or the same for two classes.
    """
    shown = f"data: {quoted(name)} in {quoted(path)}"
    if values.ndim != 1 or values.dtype.kind not in "US":
        raise InputError(f"{shown} must be the names of the classes, one text for each class")
    found = _texts(shown, values)
    if len(set(found)) < len(found):
        raise InputError(f"{shown} has a name twice; give each class its own")
    return found


def named(
    path: Path, labels: Mapping[str, np.ndarray], names: Sequence[str] | None
) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """The class of each image by name, and the classes in their order.

    Texts are the names, in the order of `names`, or else in code point order. Whole numbers are
    indices of `names`, or else are their own names, in their order.

    Args:
        path: for messages.
        labels: those of each array, checked.
        names: of the classes, if the file has any.

    Raises:
        InputError: a label is none of `names` or of their indices, or some labels are texts and
            others numbers.
    """
    flat = {name: values.reshape(-1) for name, values in labels.items()}
    kinds = {values.dtype.kind in "US" for values in flat.values()}
    if len(kinds) > 1:
        raise InputError(
            f"data: {quoted(path)} has labels that are texts and labels that are numbers; save "
            "all alike"
        )
    if kinds == {True}:
        texts = {
            name: _texts(f"data: {quoted(name)} in {quoted(path)}", values)
            for name, values in flat.items()
        }
        every = sorted({text for found in texts.values() for text in found})
        if names is not None and (unknown := [text for text in every if text not in names]):
            raise InputError(
                f"data: {quoted(path)} has the label {quoted(unknown[0])}, which is not among its "
                "names of classes; correct one of them"
            )
        return texts, tuple(every if names is None else names)
    numbers = sorted({int(n) for values in flat.values() for n in np.unique(values)})
    if names is None:
        known = {number: str(number) for number in numbers}
    else:
        known = dict(enumerate(names))
        if beyond := [number for number in numbers if number not in known]:
            raise InputError(
                f"data: {quoted(path)} has the label {beyond[0]}, but names for classes from 0 to "
                f"{len(names) - 1} only; correct one of them"
            )
    found = {name: [known[int(n)] for n in values] for name, values in flat.items()}
    return found, tuple(known.values())


def _texts(shown: str, values: np.ndarray) -> list[str]:
    try:
        found = [text.decode() if isinstance(text, bytes) else str(text) for text in values]
        for text in found:
            text.encode()
    except (UnicodeError, ValueError):
        raise InputError(f"{shown} has texts that are not Unicode; save them again") from None
    found = [text.strip() for text in found]
    if not all(found):
        raise InputError(f"{shown} has an empty text; name every class")
    return found
