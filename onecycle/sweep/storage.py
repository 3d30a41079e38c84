"""Addresses of storages, as SQLAlchemy writes them: `postgresql://user:password@host/name`."""

from pathlib import Path

from onecycle.errors import InputError

HIDDEN = "***"
"""In place of a password."""


def address(storage: str, file: Path) -> str:
    """The address of the storage that is asked for, else of a SQLite file.

    Raises:
        InputError: the password is missing, as it is never written down.
    """
    if HIDDEN in storage:
        raise InputError(f"--storage: the password of '{storage}' is not kept; give the address")
    return storage or f"sqlite:///{file.resolve()}"


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
