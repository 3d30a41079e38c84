"""sweep.json: what a sweep was asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self
from uuid import uuid4

from onecycle.config import Recipe, override
from onecycle.errors import InputError
from onecycle.run_dir import package_versions
from onecycle.run_dir.checking import Within
from onecycle.run_dir.record_files import read_record, write_record
from onecycle.run_dir.records.base import Recorded
from onecycle.sweep.pruning import Pruning
from onecycle.sweep.space import Space, space_of
from onecycle.sweep.storage import without_password

MOST = 100_000
"""Largest number of trials, and of minutes: more is likely a mistake."""


@dataclass(frozen=True, kw_only=True)
class Asked(Recorded):
    """What a sweep was asked for; its driver goes on with nothing else.

    Attributes:
        recipe: what the trials build on, by field.
        network: the code of the network that was given with `--model`; None: a built-in one.
        space: a table for each setting that is searched.
        study: name of the study in the storage.
        storage: address of the storage, without its password; empty: study.db in the folder.
        pruning: when a trial is given up.
        trials: how many there are in all; None: time decides.
        minutes: how long a call begins trials; None: their number decides.
        final_seeds: seeds with which winner and recipe are trained in the end.
        owner: name of this folder's driver in the storage.
        versions: of the packages when the folder was made.
        command: the command line that made it.
        created: when, ISO 8601.
    """

    FILE: ClassVar = "sweep.json"

    recipe: dict[str, Any]
    network: str | None = None
    space: dict[str, Any]
    study: str
    storage: str
    pruning: Pruning
    trials: Annotated[int, Within(1, MOST)] | None = None
    minutes: Annotated[float, Within(0, MOST)] | None = None
    final_seeds: Annotated[int, Within(1, 100)]
    owner: str
    versions: dict[str, str]
    command: list[str]
    created: str

    @classmethod
    def new(
        cls,
        recipe: Recipe,
        space: Mapping[str, Any],
        *,
        storage: str,
        command: Sequence[str],
        **asked: Any,
    ) -> Self:
        """What a new folder is for. Passwords are left out.

        Raises:
            InputError: the storage is no address.
        """
        return cls(
            recipe=asdict(recipe),
            space={name: dict(table) for name, table in space.items()},
            storage=without_password(storage),
            command=[without_password(word) if word == storage else word for word in command],
            owner=uuid4().hex[:8],
            versions=package_versions(),
            created=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
            **asked,
        )

    def base(self) -> Recipe:
        """The recipe that the trials build on."""
        return override(Recipe(), **self.recipe)

    def searched(self) -> Space:
        """The space, checked against the recipe."""
        return space_of(self.space, self.base())

    def agreed(self, before: "Asked", folder: Path) -> Self:
        """This, as a call that goes on with the sweep of a folder.

        Raises:
            InputError: the folder has another sweep.
        """
        for what in ("recipe", "space", "network", "study", "storage", "pruning", "final_seeds"):
            if getattr(self, what) != getattr(before, what):
                raise InputError(
                    f"--into: the sweep in '{folder}' was begun with another {what}; give the "
                    f"same, or go on with: onecycle sweep --into {folder}"
                )
        known = {n: getattr(before, n) for n in ("owner", "versions", "command", "created")}
        return replace(self, **known)


def read(folder: Path) -> Asked | None:
    """The record in a folder; None if there is none.

    Raises:
        InputError: it is damaged.
    """
    return read_record(folder, Asked, check=Asked.searched)


def write(folder: Path, asked: Asked) -> None:
    """Write sweep.json, complete or not at all."""
    write_record(folder, asked)
