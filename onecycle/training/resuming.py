"""Preparing a run to be resumed: the same training as before, or a list of differences."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from onecycle import models
from onecycle.config import Recipe, from_toml, to_toml
from onecycle.data import Splits
from onecycle.engine.state import Training
from onecycle.errors import InputError
from onecycle.models import Network
from onecycle.processes.group import SINGLE, Processes
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
    freely,
    note_differences,
    note_unknown_source,
    recorded_processes,
    recorded_threads,
    refuse,
)
from onecycle.training.sharing import compare

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
    processes: Processes = SINGLE,
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
        processes: those that go on with it together. Process 0 reads the run folder for all.

    Raises:
        InputError: something differs and is not allowed to, or the recipe or data can't be used.
    """
    recipe, asked = Recipe(), _Asked(threads=threads)
    if processes.owns_run:
        recipe, asked = _asked(run, threads, data, from_start, progress, processes)
    if processes.count > 1:
        recipe = from_toml(processes.from_first(to_toml(recipe)))
        asked = _Asked(**processes.from_first(asdict(asked)))
    architecture = models.architecture(recipe.model, network)
    training, splits = prepare(
        recipe,
        architecture,
        source=asked.source,
        weights=asked.weights,
        threads=asked.threads,
        progress=progress,
        processes=processes,
    )
    compare(training, splits)
    if not processes.owns_run:
        return training, splits, []
    differing = differences(run, training, splits)
    if differing and not allow_differences and not freely(differing):
        raise refuse(run, differing)
    note_differences(differing, progress)
    note_unknown_source(run, training, progress)
    return training, splits, differing


@dataclass(frozen=True)
class _Asked:
    """What a run says about its next process: threads, and where images and weights are.

    `weights`: None if none are needed.
    """

    threads: int
    source: str | None = None
    weights: str | None = None


def _asked(
    run: RunDir,
    threads: int,
    data: str | None,
    from_start: bool,
    progress: Progress,
    processes: Processes,
) -> tuple[Recipe, _Asked]:
    """What the run folder says for all processes. Other threads suit another number of them."""
    found = found_rates(run)
    if found is None:
        progress.note(f"{run.path / 'lr_range_test.json'}: is damaged")
    recipe = with_rates(run.read_recipe(), found or {})
    if recorded_processes(run) == processes.count:
        threads = threads or recorded_threads(run)
    source = images_of(run, recipe, data)
    return recipe, _Asked(threads, source, place_of(run, recipe) if from_start else None)


def checkpoint_for_all(checkpoint: Checkpoint | None, processes: Processes) -> Checkpoint | None:
    """The checkpoint of process 0, which reads the run folder; None if it has none."""
    if processes.count == 1:
        return checkpoint
    about = checkpoint and {"step": checkpoint.step, "state": checkpoint.state}
    about = processes.from_first(about)
    if about is None:
        return None
    import safetensors.torch

    content = b"" if checkpoint is None else safetensors.torch.save(dict(checkpoint.tensors))
    content = processes.bytes_from_first(content)
    return checkpoint or Checkpoint(about["step"], safetensors.torch.load(content), about["state"])


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
