"""Read labels and images from Arrow and Parquet files with pyarrow, some rows at a time.

pyarrow only reads: no script of a data set is run, nothing is unpickled, nothing is fetched.
"""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from onecycle.data import stand_ins
from onecycle.data.folder.messages import quoted
from onecycle.data.hugging_face.columns import Columns, columns_of, pyarrow
from onecycle.data.hugging_face.places import Place
from onecycle.errors import InputError

ROWS = 64
"""Rows of a Parquet file that are read at a time."""


def schema_columns(path: Path, place: Place) -> Columns:
    """The columns of a split; those of all its files are the same.

    Raises:
        InputError: a file is damaged, or there are no such columns.
    """
    found = None
    for file in place.files:
        with _errors_named(file):
            schema = _schema(file, place.form)
        columns = columns_of(path, schema, place.features)
        if found not in (None, columns):
            raise InputError(
                f"data: {quoted(file)} has other columns or classes than the file before it; save "
                "the data set again"
            )
        found = columns
    if found is None:
        raise InputError(f"data: {quoted(path)} has no files; save the data set again")
    return found


def labels(place: Place, columns: Columns) -> Generator[int | str | None, None, None]:
    """The labels of a split, as they are stored; None where one is missing."""
    for batch in _batches(place, columns.label):
        yield from batch.column(0).to_pylist()


def images(place: Place, columns: Columns) -> Generator[Any, None, None]:
    """The images of a split: the bytes of a file, or its path; None where there is neither."""
    pa = pyarrow()
    for batch in _batches(place, columns.image):
        column: Any = batch.column(0)
        if not pa.types.is_struct(column.type):
            yield from map(_value, column)
            continue
        names = [column.type.field(i).name for i in range(column.type.num_fields)]
        fields = dict(zip(names, column.flatten(), strict=True))
        for row in range(len(column)):
            found = [_value(fields[name][row]) for name in ("bytes", "path") if name in fields]
            yield next((value for value in found if value is not None), None)


def _value(scalar: Any) -> Any:
    pa = pyarrow()
    if not scalar.is_valid:
        return None
    kind = scalar.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return scalar.as_py() if text else scalar.as_buffer()


def _batches(place: Place, column: str) -> Iterator[Any]:
    """One column of all files, checked, some rows at a time."""
    for file in place.files:
        with _errors_named(file), closing(_of_file(file, place.form, column)) as batches:
            for batch in batches:
                batch.validate(full=True)
                yield batch


def _of_file(file: Path, form: str, column: str) -> Generator[Any, None, None]:
    pa = pyarrow()
    if form == "parquet":
        with _parquet(file) as opened:
            yield from opened.iter_batches(batch_size=ROWS, columns=[column], use_threads=False)
        return
    with pa.memory_map(str(file)) as content, pa.ipc.open_stream(content) as reader:
        for batch in reader:
            yield batch.select([column])


def _schema(file: Path, form: str) -> Any:
    pa = pyarrow()
    if form == "parquet":
        with _parquet(file) as opened:
            return opened.schema_arrow
    with pa.memory_map(str(file)) as content, pa.ipc.open_stream(content) as reader:
        return reader.schema


def _parquet(file: Path) -> Any:
    return import_module("pyarrow.parquet").ParquetFile(file, memory_map=True, pre_buffer=False)


@contextmanager
def _errors_named(file: Path) -> Iterator[None]:
    """Turn every error of pyarrow into one line that names the file."""
    pa = pyarrow()
    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, MemoryError) as error:
        with file.open("rb") as opened:
            stand_in = stand_ins.known(opened.read(stand_ins.HEAD))
        if stand_in:
            raise InputError(f"data: {quoted(file)} {stand_in}") from None
        reason = " ".join(str(error).split())[:120]
        shown = f" ({reason})" if reason and reason.isprintable() else ""
        raise InputError(
            f"data: {quoted(file)} is damaged or cut off{shown}; save the data set again"
        ) from None
