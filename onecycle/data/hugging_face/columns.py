"""Which columns hold the images and the labels, by the types that the data set states."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from onecycle.data.folder.messages import quoted, some
from onecycle.errors import InputError

IMAGES = ("image", "img", "images", "pixel_values")
LABELS = ("label", "labels", "fine_label", "class", "category", "target")
"""Usual names, the first of which decides if several columns have the right type."""


@dataclass(frozen=True)
class Columns:
    """The columns of a split.

    Attributes:
        image, label: their names.
        classes: names of the classes, if the labels are their numbers; None if they are texts, or
            numbers without names.
    """

    image: str
    label: str
    classes: tuple[str, ...] | None


def pyarrow() -> Any:
    """The library, which is imported when it is needed: it comes with the extra `datasets`.

    Raises:
        ModuleNotFoundError: it isn't installed.
    """
    return import_module("pyarrow")


def columns_of(path: Path, schema: Any, features: Mapping[str, Any]) -> Columns:
    """The columns of a file.

    Args:
        path: of the data set, for messages.
        schema: of the file, a `pyarrow.Schema`; what its metadata state of the columns comes first.
        features: the columns as dataset_info.json has them.

    Raises:
        InputError: there is no column of images or of labels, or several.
    """
    features = _stated(schema) or features
    typed = {
        name: feature.get("_type", "")
        for name in schema.names
        if isinstance(feature := features.get(name), dict)
    }
    images = [name for name in schema.names if typed.get(name) == "Image"]
    images = images or [name for name in schema.names if _may_be_image(schema.field(name).type)]
    labels = [name for name in schema.names if typed.get(name) == "ClassLabel"]
    labels = labels or [
        name for name in schema.names if name in LABELS and _may_be_label(schema.field(name).type)
    ]
    image = _one(path, schema, images, IMAGES, "images", "Image")
    label = _one(path, schema, labels, LABELS, "labels", "ClassLabel")
    if not _may_be_label(schema.field(label).type):
        raise InputError(
            f"data: the column {quoted(label)} of {quoted(path)} has several labels for each "
            "image, or none that are whole numbers or texts; one is needed"
        )
    if typed.get(label) != "ClassLabel":
        return Columns(image, label, None)
    return Columns(image, label, _names(path, label, features[label].get("names")))


def _stated(schema: Any) -> Mapping[str, Any]:
    """The columns as the file itself states them; empty if it doesn't."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _one(
    path: Path,
    schema: Any,
    found: list[str],
    usual: tuple[str, ...],
    what: str,
    kind: str,
) -> str:
    if len(found) == 1:
        return found[0]
    if named := [name for name in usual if name in found]:
        return named[0]
    if found:
        raise InputError(
            f"data: {quoted(path)} has {some('column', found, 'columns')} of {what}; keep one, "
            "with remove_columns"
        )
    raise InputError(
        f"data: {quoted(path)} has no column of {what}, only "
        f"{some('column', schema.names, 'columns')}; give one the type {kind}, with cast_column"
    )


def _names(path: Path, label: str, names: object) -> tuple[str, ...]:
    """The names of the classes."""
    texts = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    if (
        len(set(texts)) < len(texts)
        or not texts
        or texts != names
        or not all(map(str.strip, texts))
    ):
        raise InputError(
            f"data: the column {quoted(label)} of {quoted(path)} has no names of its classes, or "
            "one twice; give each class a name of its own"
        )
    return tuple(texts)


def _may_be_image(kind: Any) -> bool:
    pa = pyarrow()
    if pa.types.is_struct(kind):
        return any(_is_bytes(kind.field(i).type) for i in range(kind.num_fields))
    return _is_bytes(kind)


def _is_bytes(kind: Any) -> bool:
    pa = pyarrow()
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _may_be_label(kind: Any) -> bool:
    pa = pyarrow()
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return (
        pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    )
