"""What `onecycle predict` writes: a format is a class that gives the text of each row."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onecycle.inference.classifier import Predictions
from onecycle.inference.stream import Batch
from onecycle.writing.names import printable
from onecycle.writing.numbers import percent


@dataclass(frozen=True)
class Wanted:
    """What each row has.

    Attributes:
        classes: names of all classes.
        topk: number of the most probable classes.
        logits: whether it has the logits of all classes.
        about: figures for the whole: `model`, `checkpoint`, `probabilities`, `temperature`.
    """

    classes: tuple[str, ...]
    topk: int
    logits: bool
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A file: what was predicted, or why it can't be read.

    Attributes:
        path: of the file, as the user named it.
        top: the most probable classes with their probabilities, in falling order.
        logits: of all classes, in their order, if wanted.
        error: why the file can't be read; empty if it can.
        written: files that were made of it, by their columns.
    """

    path: str
    top: tuple[tuple[str, float], ...] = ()
    logits: tuple[float, ...] = ()
    error: str = ""
    written: Mapping[str, str] = field(default_factory=dict)


def rows(
    batch: Batch, wanted: Wanted, written: Mapping[str, Sequence[str]] | None = None
) -> Iterator[Row]:
    """A row for each file of a batch, in order.

    Args:
        batch: the files with their predictions.
        wanted: what each row has.
        written: for each column the files made of the readable images; empty where there is none.
    """
    predictions: Predictions = batch.predictions
    found = zip(predictions.top(wanted.topk), predictions.logits_NK, strict=True)
    files = {column: iter(paths) for column, paths in (written or {}).items()}
    for place, source in enumerate(batch.sources):
        if place in batch.bad:
            yield Row(source.name, error=batch.bad[place])
            continue
        top, logits_K = next(found)
        logits = tuple(logits_K.tolist()) if wanted.logits else ()
        made = {column: path for column, paths in files.items() if (path := next(paths))}
        yield Row(source.name, tuple(top), logits, written=made)


class Format:
    """The text of rows.

    Args:
        wanted: what each row has.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted

    def start(self) -> str:
        """What comes before the rows."""
        return ""

    def row(self, row: Row) -> str:
        """A row."""
        raise NotImplementedError

    def end(self) -> str:
        """What comes after the rows."""
        return ""


class Table(Format):
    """For people: a line for each file."""

    def row(self, row: Row) -> str:
        path = printable(row.path)
        if row.error:
            return f"{path}  unreadable: {printable(row.error)}\n"
        named = ", ".join(f"{printable(name)} {percent(share)}" for name, share in row.top)
        logits = "".join(f" {value:.4g}" for value in row.logits)
        return f"{path}  {named}{'  logits' + logits if logits else ''}\n"


class Csv(Format):
    """A table for spreadsheets."""

    def start(self) -> str:
        places = ["", *(f"_{place}" for place in range(2, self.wanted.topk + 1))]
        pairs = [name + place for place in places for name in ("predicted", "confidence")]
        logits = [f"logit:{name}" for name in self.wanted.classes] if self.wanted.logits else []
        return _line(["path", *pairs, "error", *logits])

    def row(self, row: Row) -> str:
        pairs = [text for name, share in row.top for text in (name, f"{share:.6f}")]
        empty = [""] * (2 * self.wanted.topk - len(pairs))
        logits = list(map(_shortest, row.logits))
        if self.wanted.logits and row.error:
            logits = [""] * len(self.wanted.classes)
        return _line([row.path, *pairs, *empty, row.error, *logits])


class JsonLines(Format):
    """An object for each file, one per line."""

    def row(self, row: Row) -> str:
        return f"{_json(_object(row))}\n"


class Json(Format):
    """One object; its `images` are written as they come."""

    def __init__(self, wanted: Wanted) -> None:
        super().__init__(wanted)
        self._count = self._unreadable = 0

    def start(self) -> str:
        about = dict(self.wanted.about) | {"classes": list(self.wanted.classes)}
        lines = (f"  {_json(name)}: {_json(value)},\n" for name, value in about.items())
        return f'{{\n{"".join(lines)}  "images": ['

    def row(self, row: Row) -> str:
        comma = "," if self._count else ""
        self._count += 1
        self._unreadable += bool(row.error)
        return f"{comma}\n    {_json(_object(row))}"

    def end(self) -> str:
        counts = {"image_count": self._count, "unreadable_count": self._unreadable}
        more = "".join(f",\n  {_json(name)}: {value}" for name, value in counts.items())
        return f"\n  ]{more}\n}}\n"


FORMATS: dict[str, type[Format]] = {
    "table": Table,
    "csv": Csv,
    "json": Json,
    "jsonl": JsonLines,
}
"""Every format, by its name; the name is also its file's extension, except that of `table`."""


def _object(row: Row) -> dict[str, Any]:
    if row.error:
        return {"path": row.path, "error": row.error}
    name, share = row.top[0]
    found: dict[str, Any] = {
        "path": row.path,
        "predicted": name,
        "confidence": share,
        "top": [{"class": name, "probability": share} for name, share in row.top],
        **row.written,
    }
    if row.logits:
        found["logits"] = [float(_shortest(value)) for value in row.logits]
    return found


def _shortest(value: float) -> str:
    """The shortest text that gives the same float32."""
    return str(np.float32(value))


def _line(fields: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(fields)
    return text.getvalue()


def _json(value: object) -> str:
    """JSON on one line. Bytes of a file name that are not text become JSON's escapes."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
