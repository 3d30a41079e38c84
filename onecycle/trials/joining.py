"""Joining the folds in a folder of trials again, without a training."""

from pathlib import Path

from onecycle.errors import InputError
from onecycle.trials import manifest as manifests
from onecycle.trials.driver import command_to_go_on
from onecycle.trials.folder import TrialsFolder
from onecycle.trials.folds import AXIS, CrossValidation, cross_validated
from onecycle.trials.results import gathered
from onecycle.writing.numbers import counted


def joined_again(folder: Path) -> tuple[CrossValidation, ...]:
    """The cross-validations in a folder of trials, with their predictions and pages written again.

    Raises:
        InputError: it has no trials of folds, no cross-validation is complete, or a file is
            damaged.
        TrainingError: a file can't be written.
    """
    manifest, place = manifests.read(folder), TrialsFolder(folder)
    if manifest is None or AXIS not in manifest.grid:
        raise InputError(
            f"report: '{folder}' is a folder of trials; name one of its runs, or see onecycle "
            "compare"
        )
    folds = manifest.base().folds
    results = gathered(place, manifest.trials(), {})
    found = cross_validated(folder, results, folds, "all")
    if missing := sorted(set(range(folds)) - set(manifest.grid[AXIS])):
        raise InputError(
            f"report: '{folder}' has no complete cross-validation: of {folds} folds it lacks "
            f"{', '.join(map(str, missing))}; give the command that began it, with all folds"
        )
    if not found:
        done = sum(trial.result is not None for trial in results)
        raise InputError(
            f"report: '{folder}' has no complete cross-validation ({done} of "
            f"{counted(len(results), 'training')} finished); go on with: "
            f"{command_to_go_on(place, manifest.network)}"
        )
    return found
