"""A table of images: a CSV file with the columns path, label and, if wanted, split."""

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
from onecycle.data.folder.words import printable, quoted
from onecycle.errors import InputError

REQUIRED = ("path", "label")
CALLED = {
    "training": "train", "testing": "test", "valid": "val", "validation": "val", "dev": "val",
}  # fmt: skip
"""Other words for splits, in lower case."""

LONGEST_LINE = 2**16
"""Characters; a longer line is no row of such a table."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row, and the line on which it begins."""

    line: int
    path: str
    label: str
    split: str


def read(path: Path) -> Listing:
    """The images that a table names, those of train first, then val and test, else in its order.

    Its first line names the columns: `path`, relative to the table's folder or absolute; `label`;
    and, if it is there, `split`: train, val or test, in every row or in none. Other columns are
    passed over. It is UTF-8, separated by commas, quoted as usual.

    Args:
        path: the table.

    Returns:
        The files, named as in the table; `missing` are those that are not there.

    Raises:
        InputError: it is no such table, or a row can't be used; the message names the line.
    """
    rows = _all_rows(path)
    if rows[0].split and not any(row.split == "train" for row in rows):
        raise InputError(
            f"data: {quoted(path)} has no rows with the split train; add some, or leave the split "
            "away to have a fifth set apart to test"
        )
    _check_labels(path, rows)
    files, missing = _files(path, rows)
    listing = _listing(path, rows, files, missing)
    check_counts([*files, *(file for file, _ in missing)], test=listing.has_test)
    return listing


def read_labelled(path: Path) -> Listing:
    """The images of a table that are there to be classified, as one set, in its order.

    Where the rows have splits, those of test; without such, of val; else of train.

    Raises:
        InputError: it is no such table, or a row can't be used; the message names the line.
    """
    rows = _all_rows(path)
    split = next(s for s in ("test", "val", "train", "") if any(row.split == s for row in rows))
    rows = [row for row in rows if row.split == split]
    return replace(_listing(path, rows, *_files(path, rows)), whole=True)


def _all_rows(path: Path) -> list[_Row]:
    """The rows, of which there is one at least; splits are told in all or in none."""
    rows = list(_rows(path))
    if not rows:
        raise InputError(f"data: {quoted(path)} has no rows below the header; add images")
    if any(row.split for row in rows):
        for row in rows:
            if not row.split:
                raise _wrong(
                    path, row.line, "has no split, but others have; give it or none at all"
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
            remedy = "put quotation marks around commas"
            raise _wrong(path, line, f"{had}, and the header {len(header)}; {remedy}")
        if fields:
            yield _row(path, line, fields, columns)


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The line on which each record begins, and its fields; none of a blank line."""
    reader = csv.reader(_lines(path), strict=True)
    line = 1
    try:
        for fields in reader:
            yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
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
            raise _wrong(path, 1, f"has {names.count(name)} columns {name}; leave one")
    return {name: names.index(name) for name in (*REQUIRED, "split") if name in names}


def _row(path: Path, line: int, fields: list[str], columns: dict[str, int]) -> _Row:
    told = {name: fields[place] for name, place in columns.items()}
    label, split = told["label"].strip(), told.get("split", "").strip().casefold()
    if not told["path"].strip():
        raise _wrong(path, line, "has no path; give one or remove the line")
    if "\0" in told["path"]:
        raise _wrong(path, line, "has a path with a zero byte, which no file has")
    if not label:
        raise _wrong(path, line, "has no label; give one or remove the line")
    split = CALLED.get(split, split)
    if split not in ("", *SPLITS):
        raise _wrong(path, line, f"has the split '{printable(split)}'; give train, val or test")
    return _Row(line, told["path"], label, split)


def _check_labels(path: Path, rows: list[_Row]) -> None:
    """There are two labels at least, all of them in every split."""
    labels = {row.label for row in rows}
    if len(labels) < 2:
        raise InputError(
            f"data: {quoted(path)} has the one label {quoted(*labels)}; at least 2 are needed"
        )
    if rows[0].split:
        found = {split: {row.label for row in rows if row.split == split} for split in SPLITS}
        check_same_classes({split: labels for split, labels in found.items() if labels})


def _files(path: Path, rows: list[_Row]) -> tuple[list[File], list[tuple[File, str]]]:
    """The files that are there; and those that are not, with the reason."""
    files, missing = [], []
    known: dict[str, int] = {}
    for row in rows:
        place = os.path.normpath(os.path.join(path.parent, row.path))
        if place in known:
            raise _wrong(
                path,
                row.line,
                f"has {quoted(row.path)} again, after line {known[place]}; leave one",
            )
        known[place] = row.line
        file, reason = _file(path.parent, row)
        if reason:
            missing.append((file, f"{reason} (line {row.line})"))
        else:
            files.append(file)
    return files, missing


def _file(folder: Path, row: _Row) -> tuple[File, str]:
    """The file of a row; and why it can't be used, or nothing."""
    try:
        told = os.stat(os.path.join(folder, row.path))
    except OSError as error:
        reason = error.strerror or str(error)
        return File(row.path, row.split, row.label, 0, (0, 0)), reason
    reason = "" if stat.S_ISREG(told.st_mode) else "it is no file"
    return File.of(row.path, row.split, row.label, told), reason


def _wrong(path: Path, line: int, what: str) -> InputError:
    return InputError(f"data: {quoted(path)}, line {line}: {what}")
