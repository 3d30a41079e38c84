"""`search`: the table of contents of a sweep."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from onecycle import models, runtime
from onecycle.config import Recipe, override
from onecycle.data import splits_of
from onecycle.errors import InputError
from onecycle.progress import IN_NOTEBOOKS, Progress
from onecycle.sweep import folder as folders
from onecycle.sweep import record
from onecycle.sweep import storage as storages
from onecycle.sweep.proposing import Proposals
from onecycle.sweep.pruning import Pruning
from onecycle.sweep.record import Asked
from onecycle.sweep.result import Sweep
from onecycle.sweep.space import Space, space_of
from onecycle.sweep.stages import Stages, command_to_go_on, with_engine
from onecycle.sweep.storage import reachable
from onecycle.sweep.study import RECIPE, Study
from onecycle.training.signals import noted_signals
from onecycle.trials import engines
from onecycle.trials.driver import interrupted_until
from onecycle.trials.folder import TrialsFolder
from onecycle.trials.grid import Trial
from onecycle.trials.jobs import Wanted
from onecycle.trials.listening import Listener, Passing
from onecycle.trials.refusals import check
from onecycle.writing.numbers import in_full

FINAL_SEEDS = 3
"""With fewer, a difference can't be told from chance."""


def search(
    recipe: Recipe,
    space: Mapping[str, Any],
    *,
    trials: int | None = None,
    minutes: float | None = None,
    final_seeds: int = FINAL_SEEDS,
    pruning: Pruning = "hyperband",
    storage: str = "",
    study: str = "",
    network: str | None = None,
    into: str | Path = "",
    jobs: Wanted = "auto",
    threads: int = 0,
    engine: engines.Name = "auto",
    address: str = "",
    slurm: Mapping[str, str] | None = None,
    command: Sequence[str] = (),
    listener: Listener | None = None,
    progress: Progress = IN_NOTEBOOKS,
) -> Sweep:
    """Search for better settings of a recipe, judged by its validation images alone.

    Then winner and recipe are trained on all of the train split with several seeds, and compared on
    the test split. Called again with the same folder, it goes on.

    Args:
        recipe: where the search begins. It sets validation images apart.
        space: a table for each setting that is searched, as in `space.read_tables`.
        trials: how many settings are tried besides the recipe's own, by all drivers together.
        minutes: how long new trials are begun by this call; those that run are finished.
        final_seeds: how many, from the recipe's seed on.
        pruning: when a trial is given up before its end.
        storage: address of a database, as Optuna takes it; empty: a SQLite file in the folder.
        study: name of the study in the storage; empty: the recipe's name.
        network: the name of a network of your own, as in `train`.
        into: the folder of the sweep; empty: a new one under `sweeps`.
        jobs, threads, engine, address, slurm: as in `trials.run`.
        command: the command line, for sweep.json.
        listener: is told how the trials go; None: `progress` is.
        progress: listens.

    Raises:
        InputError: a value is refused, or the folder holds another sweep. Nothing was trained.
        ModuleNotFoundError: the extra `sweep` is not installed.
        TrainingError: the storage is lost, or a final training failed.
        Interrupted: SIGINT, SIGTERM or SIGHUP came. The work is saved, and another call goes on.
    """
    import_module("optuna")  # an extra; if it is missing, that is told before anything is written
    _check_end(trials, minutes)
    _check_recipe(recipe)
    searched = space_of(space, recipe)
    carrier = engines.Asked(engine, address, slurm or {}, jobs, threads)
    carrier = carrier.settled(Path(into) / folders.TRIALS if into else "")
    here = carrier.engine == "local"
    check([Trial(RECIPE, {}, recipe.seed, recipe)], network, here=here)
    _check_values(searched, network, here=here)
    limited = _without_test_images(recipe, progress)
    asked = Asked.new(
        recipe,
        space,
        network=network,
        study=study or recipe.recipe,
        storage=storage,
        pruning=pruning,
        trials=trials,
        minutes=minutes,
        final_seeds=final_seeds,
        command=command,
    )
    if storage:  # one that can't be used is told before anything is written
        with reachable():
            database = storages.address(storage, Path())
            Study.opened(database, asked.study, searched, recipe, pruning, asked.owner)
    path = folders.at(into, recipe)
    asked = _agreed(asked, path)
    place = TrialsFolder.at(path / folders.TRIALS, limited)
    again = command_to_go_on(path, asked)
    with interrupted_until(again), place.driving(), noted_signals() as stop, reachable():
        with_engine(place, limited, asked, carrier)
        database = storages.address(storage, path / folders.STUDY)
        known = Study.opened(database, asked.study, searched, recipe, pruning, asked.owner)
        record.write(path, asked)
        seconds = None if minutes is None else 60 * minutes
        source = Proposals(known, searched, place, trials=trials, seconds=seconds)
        listener = listener or Passing(progress, source.to_come + 1, 0)
        listener.note(f"sweep: {path}")
        stages = Stages(path, asked, known, searched, listener, stop)
        shared = stages.try_settings(place, source, carrier)
        return stages.conclude(shared)


# ---------------------------------------------------------------------------------------- refusals


def _check_values(searched: Space, network: str | None, *, here: bool) -> None:
    """Refuse networks and devices that no trial could have.

    `here`: whether the trials run on this machine, so that its devices are known.

    Raises:
        InputError: there is none of that name, or the code of a network is not the one asked for.
    """
    for dimension in searched:
        for value in map(str, dimension.values):
            if dimension.name == "model" and value != network:
                models.architecture(value)
            elif dimension.name == "device" and here:
                runtime.resolve_device(value)


def _check_end(trials: int | None, minutes: float | None) -> None:
    if trials is None and minutes is None:
        raise InputError("sweep: has no end; give --trials N or --minutes M")
    if trials is not None and not 1 <= trials <= record.MOST:
        raise InputError(f"--trials: {trials} is out of range; give 1 to {record.MOST}")
    if minutes is not None and not 0 < minutes <= record.MOST:
        raise InputError(f"--minutes: {in_full(minutes)} is out of range; give a number above 0")


def _check_recipe(recipe: Recipe) -> None:
    if recipe.folds:
        raise InputError("folds: a sweep judges by validation images, not by folds; set it to 0")


def _without_test_images(recipe: Recipe, progress: Progress) -> Recipe:
    """The recipe of the trials, which say nothing about the test split.

    A run needs test images. With one of each class, it has no test accuracy to speak of.

    Raises:
        InputError: the images can't be used, or none are set apart for validation.
    """
    images = splits_of(recipe, progress)
    if images.val is None:
        raise InputError("val_fraction: is 0, but a sweep judges by validation images; give 0.1")
    return override(recipe, test_limit=min(len(images.train.classes), len(images.test)))


def _agreed(asked: Asked, path: Path) -> Asked:
    before = record.read(path)
    return asked if before is None else asked.agreed(before, path)
