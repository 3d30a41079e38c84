"""trials.json: what the trials of a folder are."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from onecycle.config import Recipe, override
from onecycle.errors import InputError
from onecycle.run_dir import package_versions
from onecycle.run_dir.checking import Within
from onecycle.run_dir.record_files import read_record, write_record
from onecycle.run_dir.records.base import Count, Number, Recorded
from onecycle.trials.grid import Trial, added_trial, trials_of
from onecycle.writing.numbers import counted

Some = Annotated[int, Within(1, 100_000)]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """How fast so many trainings at once were, all together.

    Attributes:
        jobs: trainings at once.
        threads: CPU threads of each.
        images_per_second: of all of them; None if one of them failed.
    """

    jobs: Some
    threads: Some
    images_per_second: Number | None = None


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """How the trials share the machine.

    Attributes:
        jobs: trainings at once.
        threads: CPU threads of each.
        devices: GPUs, of which each training gets one; 0: none.
        measured: the ways that were tried; empty if nothing was measured.
    """

    jobs: Some
    threads: Some
    devices: Count = 0
    measured: list[Measurement] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Manifest(Recorded):
    """trials.json: a worker needs nothing else to carry out a trial.

    Attributes:
        recipe: what all trials have in common, by field.
        network: the code of the network that was given with `--model`; None: a built-in one.
        grid: the values of each setting that varies.
        seeds: of each combination; empty: there are only added trials.
        one_at_a_time: each value of the grid alone, in place of all combinations.
        added: trials outside of the grid: the settings of each, which may have a seed, by its name.
        jobs: how the trials share the machine; None until it is decided.
        engine: what carries them out.
        address: of the Ray cluster; empty: one that is started for them.
        slurm: the options of sbatch that were given.
        versions: of the packages when the folder was made.
        command: the command line that made it.
        created: when, ISO 8601.
    """

    FILE: ClassVar = "trials.json"

    recipe: dict[str, Any]
    network: str | None = None
    grid: dict[str, list[Any]]
    seeds: list[Count]
    one_at_a_time: bool = False
    added: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: Jobs | None = None
    engine: Literal["local", "ray", "slurm"] = "local"
    address: str = ""
    slurm: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str]
    command: list[str]
    created: str

    def base(self) -> Recipe:
        """The recipe that all trials have in common."""
        return override(Recipe(), **self.recipe)

    def trials(self) -> tuple[Trial, ...]:
        """All trials, in their order: those of the grid, then those that were added."""
        base = self.base()
        grid, seeds, alone = self.grid, self.seeds, self.one_at_a_time
        found = trials_of(base, grid, seeds, one_at_a_time=alone) if seeds else ()
        return (*found, *(added_trial(base, *each) for each in self.added.items()))

    def with_trial(self, name: str, settings: Mapping[str, Any]) -> "Manifest":
        """The manifest with one more trial outside of the grid."""
        return replace(self, added=self.added | {name: dict(settings)})


def new(
    recipe: Recipe,
    grid: dict[str, tuple[Any, ...]],
    seeds: tuple[int, ...],
    network: str | None,
    command: tuple[str, ...],
    *,
    one_at_a_time: bool = False,
) -> Manifest:
    """The manifest of a new folder."""
    return Manifest(
        recipe=asdict(recipe),
        network=network,
        grid={name: list(values) for name, values in grid.items()},
        seeds=list(seeds),
        one_at_a_time=one_at_a_time,
        versions=package_versions(),
        command=list(command),
        created=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
    )


def extended(old: Manifest, asked: Manifest, path: Path) -> Manifest:
    """The manifest after its folder is asked for again: what is there, and trials that are new.

    Raises:
        InputError: the folder has trials that were not asked for, or others of the same name.
    """
    if old.added:
        raise InputError(
            f"--into: the trials in '{path}' are those of a sweep; go on with: onecycle sweep "
            f"--into {path.parent}"
        )
    if old.grid and asked.grid and old.one_at_a_time != asked.one_at_a_time:
        begun, do = ("with", "give it") if old.one_at_a_time else ("without", "leave it out")
        raise InputError(
            f"--one-at-a-time: the trials in '{path}' were begun {begun} it; {do}, or name another "
            "folder"
        )
    before = {trial.name: trial.recipe for trial in old.trials()}
    now = {trial.name: trial.recipe for trial in asked.trials()}
    if lost := [name for name in before if name not in now]:
        more = f" and {counted(len(lost) - 1, 'other')}" if len(lost) > 1 else ""
        raise InputError(
            f"--into: '{path}' has trials that this grid lacks ({lost[0]}{more}); give the same "
            "grid and seeds, or more of them, or name another folder"
        )
    for name, recipe in before.items():
        if changed := [n for n, v in asdict(recipe).items() if getattr(now[name], n) != v]:
            raise InputError(
                f"--into: the trials in '{path}' have another {changed[0]} "
                f"({getattr(recipe, changed[0])}); give the same recipe, or name another folder"
            )
    return replace(
        old,
        grid=asked.grid,
        seeds=asked.seeds,
        one_at_a_time=asked.one_at_a_time,
        network=asked.network,
    )


def read(folder: Path) -> Manifest | None:
    """The manifest in a folder; None if there is none.

    Raises:
        InputError: it is damaged.
    """
    return read_record(folder, Manifest, check=Manifest.trials)


def known(folder: Path) -> Manifest:
    """The manifest in a folder that has one."""
    found = read(folder)
    assert found
    return found


def write(folder: Path, manifest: Manifest) -> None:
    """Write trials.json, complete or not at all."""
    write_record(folder, manifest)
