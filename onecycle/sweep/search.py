"""`search`: the table of contents of a sweep."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from onecycle.config import Recipe, override, to_toml
from onecycle.data import splits_of
from onecycle.errors import InputError, Interrupted, TrainingError
from onecycle.progress import IN_NOTEBOOKS, Progress
from onecycle.run_dir import write_atomically
from onecycle.sweep import folder as folders
from onecycle.sweep import record
from onecycle.sweep import storage as storages
from onecycle.sweep.proposing import Proposals
from onecycle.sweep.record import Asked
from onecycle.sweep.result import Sweep
from onecycle.sweep.space import Space, space_of
from onecycle.sweep.storage import without_password
from onecycle.sweep.study import RECIPE, Pruning, Study, Tried, reachable
from onecycle.training.signals import Signals, noted_signals
from onecycle.trials import engines
from onecycle.trials import manifest as manifests
from onecycle.trials.driver import carry_out, check
from onecycle.trials.folder import TrialsFolder
from onecycle.trials.grid import Trial, added_trial
from onecycle.trials.jobs import Wanted
from onecycle.trials.listening import Listener, Passing
from onecycle.trials.manifest import Jobs, Manifest
from onecycle.writing.numbers import counted

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
    carrier = engines.Asked(engine, address, slurm or {})
    carrier = carrier.settled(Path(into) / folders.TRIALS if into else "")
    check([Trial(RECIPE, {}, recipe.seed, recipe)], network, here=carrier.engine == "local")
    limited = _without_test_images(recipe, progress)
    asked = Asked.new(
        recipe,
        {name: dict(table) for name, table in space.items()},
        network=network,
        study=study or recipe.recipe,
        storage=without_password(storage),
        pruning=pruning,
        trials=trials,
        minutes=minutes,
        final_seeds=final_seeds,
        command=[without_password(word) if word == storage else word for word in command],
    )
    path = folders.at(into, recipe)
    asked = _agreed(asked, path)
    place = TrialsFolder.at(path / folders.TRIALS, limited)
    try:
        with place.driving(), noted_signals() as stop, reachable():
            _note_engine(place, limited, asked, carrier)
            known = Study.opened(
                storages.address(storage, path / folders.STUDY),
                asked.study, searched, recipe, pruning, asked.owner,
            )  # fmt: skip
            record.write(path, asked)
            source = Proposals(
                known, searched, place, trials=trials,
                seconds=None if minutes is None else 60 * minutes,
            )  # fmt: skip
            told = listener or Passing(progress, source.to_come + 1, 0)
            told.note(f"sweep: {path}")
            shared = _tried(place, source, jobs, threads, told, stop)
            return _concluded(path, asked, known, searched, shared, told, stop)
    except Interrupted as stopped:
        raise Interrupted(stopped.signal_number, go_on=command_to_go_on(path, asked)) from None


def command_to_go_on(path: Path, asked: Asked) -> str:
    """The command line that goes on with the sweep of a folder."""
    code = (
        f" --model {shlex.quote(asked.network)}" if asked.network and ":" in asked.network else ""
    )
    storage = " --storage URL" if "***" in asked.storage else ""
    return f"onecycle sweep --into {shlex.quote(str(path))}{storage}{code}"


# ---------------------------------------------------------------------------------------- refusals


def _check_end(trials: int | None, minutes: float | None) -> None:
    if trials is None and minutes is None:
        raise InputError("sweep: has no end; give --trials N or --minutes M")
    if trials is not None and not 1 <= trials <= record.MOST:
        raise InputError(f"--trials: {trials} is out of range; give 1 to {record.MOST}")
    if minutes is not None and not 0 < minutes <= record.MOST:
        raise InputError(f"--minutes: {minutes:g} is out of range; give a number above 0")


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


def _note_engine(
    place: TrialsFolder, recipe: Recipe, asked: Asked, carrier: engines.Asked
) -> Manifest:
    """The manifest of a folder of trials, with the engine that carries them out; it is written."""
    found = manifests.read(place.path)
    found = found or manifests.new(recipe, {}, (), asked.network, tuple(asked.command))
    found = carrier.noted_in(found)
    manifests.write(place.path, found)
    return found


# ------------------------------------------------------------------------------------------ stages


def _tried(
    place: TrialsFolder,
    source: Proposals,
    jobs: Wanted,
    threads: int,
    listener: Listener,
    stop: Signals,
) -> Jobs | None:
    """Carry out all trials of the search; how they shared the machine."""
    first = source.more()
    found = _manifest(place)
    if first is None:
        return found.jobs
    to_come = source.to_come if source.seconds_left is None else MANY
    left = [first] * (1 + to_come)
    found, _ = carry_out(
        place, found, [first], left, listener, stop, jobs=jobs, threads=threads, source=source
    )
    return found.jobs


MANY = 64
"""In place of a number of trials that isn't known, to choose how many run at once."""


def _manifest(place: TrialsFolder) -> Manifest:
    found = manifests.read(place.path)
    assert found
    return found


def _concluded(
    path: Path,
    asked: Asked,
    known: Study,
    space: Space,
    shared: Jobs | None,
    listener: Listener,
    stop: Signals,
) -> Sweep:
    """Train winner and recipe with the final seeds, compare them, and write the page."""
    others, best, recipe = known.with_others, known.best, asked.base()
    sweep = Sweep(
        folder=path,
        recipe=recipe,
        space=space,
        tried=tuple(known.tried),
        baseline=known.baseline,
        importances=known.importances(),
        best=best,
        winner=None
        if best is None
        else override(recipe, **best.point, **_named(recipe), **_whole(recipe)),
        comparison=None,
        waiting_for=others,
        network=asked.network,
    )
    if best is not None and not others:
        if sweep.found_better and shared:
            listener.note(
                f"best: trial {best.number}; training it and the recipe on all of train, "
                f"{counted(asked.final_seeds, 'seed')} each"
            )
            sweep = replace(sweep, comparison=_final(path, asked, best, shared, listener, stop))
        assert sweep.winner
        write_atomically(path / folders.BEST, to_toml(sweep.winner).encode())
    listener.finish()
    from onecycle.sweep.page import to_html

    write_atomically(path / folders.PAGE, to_html(sweep).encode("utf-8", "replace"))
    return sweep


def _winner(recipe: Recipe, best: Tried) -> Recipe:
    """The recipe with the best settings and a name of its own, on all of the train split."""
    return override(recipe, **best.point, **_named(recipe), **_whole(recipe))


def _named(recipe: Recipe) -> dict[str, Any]:
    """The change with which the winner has a name of its own."""
    return {"recipe": f"{recipe.recipe}-winner"}


def _whole(recipe: Recipe) -> dict[str, Any]:
    """The changes with which nothing is set apart for validation."""
    return {"val_fraction": 0.0} if recipe.val_fraction else {}


def _final(
    path: Path, asked: Asked, best: Tried, shared: Jobs, listener: Listener, stop: Signals
) -> Any:
    """The comparison of the best settings and the recipe, trained with several seeds.

    Raises:
        TrainingError: one of these trainings failed.
    """
    from onecycle.experiments import compare

    recipe = asked.base()
    recipe = override(recipe, **_whole(recipe))
    searched = _manifest(TrialsFolder(path / folders.TRIALS))
    carrier = engines.Asked(searched.engine, searched.address, searched.slurm)
    place = TrialsFolder.at(path / folders.FINAL, recipe)
    found = replace(_note_engine(place, recipe, asked, carrier), jobs=shared)
    trials = []
    for seed in range(recipe.seed, recipe.seed + asked.final_seeds):
        winner = {**best.point, **_named(recipe)}
        for name, point in ((f"trial-{best.number:04d}", winner), (RECIPE, {})):
            called, settings = f"{name},seed={seed}", {**point, "seed": seed}
            found = found.with_trial(called, settings)
            trials.append(added_trial(recipe, called, settings))
    manifests.write(place.path, found)
    with place.driving():
        left = [trial for trial in trials if not place.finished(trial.name)]
        _, failures = carry_out(place, found, trials, left, listener, stop) if left else (None, {})
    if failures:
        name, why = next(iter(failures.items()))
        again = command_to_go_on(path, asked)
        raise TrainingError(f"{name}: a final training failed: {why}; try again with: {again}")
    return compare([place.run(trial.name) for trial in trials])
