"""A table of images: a CSV file with the columns path, label and optionally split."""

import csv
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from onecycle.data import stand_ins
from onecycle.data.folder.checks import check_counts, check_same_classes
from onecycle.data.folder.layout import SPLITS
from onecycle.data.folder.listing import File, Listing
from onecycle.data.folder.messages import printable, quoted
from onecycle.errors import InputError

REQUIRED = ("path", "label")
CALLED = {
    "training": "train", "testing": "test", "valid": "val", "validation": "val", "dev": "val",
}  # fmt: skip
"""Other names of splits, in lower case."""

LONGEST_LINE = 2**16
"""Most characters in a line; a longer one can't be a row of such a table."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row, and the line where it begins."""

    line: int
    path: str
    label: str
    split: str


def read(path: Path) -> Listing:
    """The images listed in a table: first train, then val and test; otherwise in the table's order.

    The first line names the columns: `path`, relative to the table's folder or absolute; `label`;
    and optionally `split`: train, val or test, in every row or in none. Other columns are ignored.
    The file is UTF-8, with commas as separators and the usual quotes.

    Args:
        path: the table.

    Returns:
        The files, named as in the table; `missing` are those that don't exist.

    Raises:
        InputError: it is not such a table, or a row can't be used; the message names the line.
    """
    rows = _all_rows(path)
    if rows[0].split and not any(row.split == "train" for row in rows):
        raise InputError(
            f"data: {quoted(path)} has no rows with the split train; add some, or remove the split "
            "column to have a fifth of the images held out as test split"
        )
    _check_labels(path, rows)
    files, missing = _files(path, rows)
    listing = _listing(path, rows, files, missing)
    check_counts([*files, *(file for file, _ in missing)], test=listing.has_test)
    return listing


def read_labelled(path: Path) -> Listing:
    """The images of a table to evaluate a network on, as one set, in the table's order.

    If the rows have splits, the test split, else the val split, else the train split.

    Raises:
        InputError: it is not such a table, or a row can't be used; the message names the line.
    """
    rows = _all_rows(path)
    split = next(s for s in ("test", "val", "train", "") if any(row.split == s for row in rows))
    rows = [row for row in rows if row.split == split]
    return replace(_listing(path, rows, *_files(path, rows)), whole=True)


def paths_of(path: str | Path) -> list[Path]:
    """The images that a table lists, wherever they lie; none of anything but a table."""
    path = Path(path)
    if path.suffix.lower() != ".csv" or not path.is_file():
        return []
    return [path.parent / row.path for row in _rows(path)]


def _all_rows(path: Path) -> list[_Row]:
    """The rows, at least one; either all of them have a split or none."""
    rows = list(_rows(path))
    if not rows:
        raise InputError(f"data: {quoted(path)} has no rows below the header; add images")
    if any(row.split for row in rows):
        for row in rows:
            if not row.split:
                raise _wrong(
                    path, row.line, "has no split, but other rows have one; fill in all or none"
                )
    return rows


def _listing(
    path: Path, rows: list[_Row], files: list[File], missing: list[tuple[File, str]]
) -> Listing:
    found = {row.split for row in rows}
    named = tuple((split, split) for split in SPLITS if split in found)
    ordered = sorted(files, key=lambda file: SPLITS.index(file.split) if named else 0)  # pyright: ignore[reportArgumentType]
    classes = tuple(sorted({row.label for row in rows}))
    return Listing(path.parent, tuple(ordered), classes, missing=tuple(missing), named=named)


def _rows(path: Path) -> Iterator[_Row]:
    """The rows, checked one by one."""
    with path.open("rb") as file:
        head = file.read(stand_ins.HEAD)
    if head and (named := stand_ins.known(head)):
        raise InputError(f"data: {quoted(path)} {named}")
    records = _records(path)
    _, header = next(records, (0, []))
    if not header:
        raise InputError(f"data: {quoted(path)} has no header; begin with the line path,label")
    columns = _columns(path, header)
    for line, fields in records:
        if len(fields) not in (0, len(header)):
            had = f"has {len(fields)} field{'s' if len(fields) > 1 else ''}"
            remedy = "put fields with commas in quotation marks"
            raise _wrong(path, line, f"{had}, but the header has {len(header)}; {remedy}")
        if fields:
            yield _row(path, line, fields, columns)


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The line where each record begins, and its fields: none if the line is blank."""
    reader = csv.reader(_lines(path), strict=True)
    line = 1
    try:
        for fields in reader:
            yield line, fields if len(fields) > 1 or any(map(str.strip, fields)) else []
            line = reader.line_num + 1
    except csv.Error as error:
        if "new-line character" in str(error):
            remedy = "save it with line ends of Unix or Windows"
            raise _wrong(path, line, f"has the line ends of old Macs; {remedy}") from None
        raise _wrong(path, line, f"{error}; check its quotation marks") from None


def _lines(path: Path) -> Iterator[str]:
    """The lines as text."""
    with path.open("rb") as file:
        for number in range(1, 2**63):
            line = file.readline(LONGEST_LINE)
            if not line:
                return
            if len(line) == LONGEST_LINE:
                raise _wrong(path, number, "is too long for a table of images")
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise _wrong(path, number, "is not UTF-8 text; save the table as UTF-8") from None


def _columns(path: Path, header: list[str]) -> dict[str, int]:
    """Where the columns are, by name."""
    names = [name.strip().casefold() for name in header]
    for name in REQUIRED:
        if name not in names:
            raise _wrong(path, 1, f"has no column {name}; begin with the line path,label")
    for name in (*REQUIRED, "split"):
        if names.count(name) > 1:
            raise _wrong(path, 1, f"has {names.count(name)} columns {name}; keep one")
    return {name: names.index(name) for name in (*REQUIRED, "split") if name in names}


def _row(path: Path, line: int, fields: list[str], columns: dict[str, int]) -> _Row:
    values = {name: fields[place] for name, place in columns.items()}
    label, split = values["label"].strip(), values.get("split", "").strip().casefold()
    if not values["path"].strip():
        raise _wrong(path, line, "has no path; give one or remove the line")
    if "\0" in values["path"]:
        raise _wrong(path, line, "has a path with a zero byte; remove it")
    if not label:
        raise _wrong(path, line, "has no label; give one or remove the line")
    split = CALLED.get(split, split)
    if split not in ("", *SPLITS):
        raise _wrong(path, line, f"has the split '{printable(split)}'; give train, val or test")
    return _Row(line, values["path"], label, split)


def _check_labels(path: Path, rows: list[_Row]) -> None:
    """Check that there are at least two labels, and that every split has all of them."""
    labels = {row.label for row in rows}
    if len(labels) < 2:
        raise InputError(
            f"data: {quoted(path)} has only the label {quoted(*labels)}; at least 2 are needed"
        )
    if rows[0].split:
        found = {split: {row.label for row in rows if row.split == split} for split in SPLITS}
        check_same_classes({split: labels for split, labels in found.items() if labels})


def _files(path: Path, rows: list[_Row]) -> tuple[list[File], list[tuple[File, str]]]:
    """The files that can be used; and those that can't, with the reason."""
    files, missing = [], []
    known: dict[str, int] = {}
    for row in rows:
        place = os.path.normpath(os.path.join(path.parent, row.path))
        if place in known:
            raise _wrong(
                path,
                row.line,
                f"has {quoted(row.path)} again, after line {known[place]}; keep one",
            )
        known[place] = row.line
        file, reason = _file(path.parent, row)
        if reason:
            missing.append((file, f"{reason} (line {row.line})"))
        else:
            files.append(file)
    return files, missing


def _file(folder: Path, row: _Row) -> tuple[File, str]:
    """The file of a row, and the reason if it can't be used."""
    try:
        status = os.stat(os.path.join(folder, row.path))
    except OSError as error:
        reason = error.strerror or str(error)
        return File(row.path, row.split, row.label, 0, (0, 0)), reason
    reason = "" if stat.S_ISREG(status.st_mode) else "it is not a file"
    return File.of(row.path, row.split, row.label, status), reason


def _wrong(path: Path, line: int, what: str) -> InputError:
    return InputError(f"data: {quoted(path)}, line {line}: {what}")
