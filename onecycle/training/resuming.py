"""Preparing a run to be resumed: the same training as before, or a list of differences."""

from collections.abc import Sequence

from onecycle import models
from onecycle.data import Splits
from onecycle.engine.state import Training
from onecycle.errors import InputError
from onecycle.models import Network
from onecycle.progress import Progress
from onecycle.run_dir import Checkpoint, RunDir
from onecycle.run_dir.checking import Misfit, from_json
from onecycle.run_dir.files import damaged
from onecycle.run_dir.records import Difference, TrainingState
from onecycle.run_dir.sources import images_of
from onecycle.training.initial_weights import place_of
from onecycle.training.peak_search import found_rates, with_rates
from onecycle.training.preparation import prepare
from onecycle.training.reproducibility import (
    differences,
    note_differences,
    note_unknown_source,
    recorded_threads,
    refuse,
)

GROUPING = ("optimizer", "freeze", "head_lr_factor")
"""Settings that decide what a checkpoint's state of the optimizer belongs to."""


def take_up(
    run: RunDir,
    threads: int,
    allow_differences: bool,
    progress: Progress,
    data: str | None = None,
    network: Network | None = None,
    *,
    from_start: bool = False,
) -> tuple[Training, Splits, list[Difference]]:
    """The run's training at its beginning, its images, and what has changed.

    Args:
        run: its folder.
        threads: CPU threads; 0: as many as the run has used so far.
        allow_differences: list what differs instead of refusing it.
        progress: listens.
        data: where the images are; None: in the same place as before.
        network: the code of the run's network, if it is not built in.
        from_start: no checkpoint will be restored, so the weights to start from are read.

    Raises:
        InputError: something differs and is not allowed to, or the recipe or data can't be used.
    """
    found = found_rates(run)
    if found is None:
        progress.note(f"{run.path / 'lr_range_test.json'}: is damaged")
    recipe = with_rates(run.read_recipe(), found or {})
    threads = threads or recorded_threads(run)
    source = images_of(run, recipe, data)
    architecture = models.architecture(recipe.model, network)
    training, splits = prepare(
        recipe,
        architecture,
        source=source,
        weights=place_of(run, recipe) if from_start else None,
        threads=threads,
        progress=progress,
    )
    differing = differences(run, training, splits)
    if differing and not allow_differences:
        raise refuse(run, differing)
    note_differences(differing, progress)
    note_unknown_source(run, training, progress)
    return training, splits, differing


def restore(
    training: Training, checkpoint: Checkpoint, run: RunDir, allowed: Sequence[Difference] = ()
) -> None:
    """Bring the training to the point at which the checkpoint was taken.

    Raises:
        InputError: it is of another network, another optimizer or a longer training.
    """
    try:
        from_json(checkpoint.state, TrainingState)
        if checkpoint.state.get("step") != checkpoint.step:
            raise Misfit("'step' contradicts the name of its folder")
    except Misfit as misfit:
        path = run.path / "checkpoints" / f"step-{checkpoint.step:07d}" / "state.json"
        raise damaged(path, misfit) from None
    fits = all(difference.what not in GROUPING for difference in allowed)
    fits = fits and checkpoint.step <= training.total_steps
    try:
        if fits:
            training.restore(checkpoint)
    except (RuntimeError, ValueError, KeyError, IndexError, TypeError):
        fits = False
    if not fits:
        raise InputError(
            f"{run.path}: the checkpoint of step {checkpoint.step} is not of the training that "
            "recipe.toml describes; restore the recipe, or train again"
        )
