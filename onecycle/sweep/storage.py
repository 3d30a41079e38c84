"""The storage of a study: a SQLite file, or any database that Optuna knows.

Its address is as SQLAlchemy writes it: `postgresql://user:password@host/name`.
"""

import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from onecycle.errors import InputError, TrainingError
from onecycle.run_dir.folder import opened

if TYPE_CHECKING:
    import optuna

HIDDEN = "***"
"""In place of a password."""

ENDINGS = ("", "-journal", "-wal", "-shm")
"""Of the files that SQLite writes for one database."""

ATTEMPTS = 5
"""How often the tables are tried to be made, which another driver may be making."""


def address(storage: str, file: Path) -> str:
    """The address of the storage that is asked for, else of a SQLite file in the folder of a sweep.

    Raises:
        InputError: the password is missing, as it is never written down; or the file, or one that
            SQLite writes beside it, is a link.
    """
    if HIDDEN in storage:
        raise InputError(f"--storage: the password of '{storage}' is not kept; give the address")
    if storage:
        return storage
    with opened(file.parent) as folder:
        for ending in ENDINGS:
            folder.hold(f"{file.name}{ending}", stat.S_IFREG)
    return f"sqlite:///{file.parent.resolve() / file.name}"


def without_password(storage: str) -> str:
    """The address as it may be written down.

    Raises:
        InputError: it is none.
    """
    if not storage:
        return ""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(storage).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        raise InputError(
            f"--storage: '{storage}' is no address of a database; give one such as "
            "postgresql://user:password@host/name"
        ) from None


@contextmanager
def reachable() -> Iterator[None]:
    """A context in which an error of the storage is one line.

    Raises:
        TrainingError: the storage failed, for example because the connection was lost.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        told = str(error).splitlines()[0]
        raise TrainingError(
            f"the storage of the sweep can't be used any more: {told}; the runs are kept, so go on "
            "with the same command when it can"
        ) from None


def study_in(storage: str, name: str) -> "optuna.Study":
    """The study, which is new if there is none.

    Two drivers that begin at once both try to make the tables; the slower one tries again.
    """
    import optuna
    from sqlalchemy.exc import DBAPIError

    for left in reversed(range(ATTEMPTS)):
        try:
            return optuna.create_study(
                storage=storage,
                study_name=name,
                direction="maximize",
                load_if_exists=True,
            )
        except DBAPIError as error:
            if not left or not re.search("exist|duplicate|unique", str(error), re.IGNORECASE):
                raise
            time.sleep(1)
    raise AssertionError
