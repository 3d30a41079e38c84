"""The main job: load, build, find the rates, fit, evaluate, save; then draw pictures and report."""

import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from onecycle import examples, models, runtime
from onecycle.config import Recipe
from onecycle.config.names import unknown_name
from onecycle.data import Splits
from onecycle.engine import loop
from onecycle.engine.plan import Plan
from onecycle.engine.shared import saved_if_lost
from onecycle.engine.state import Training
from onecycle.errors import InputError
from onecycle.inference.network import record as record_network
from onecycle.processes.group import Processes
from onecycle.processes.joining import joined
from onecycle.progress import IN_NOTEBOOKS, SILENT, Log, Progress, Together
from onecycle.run_dir import Checkpoint, RunDir
from onecycle.run_dir.checking import from_json, to_json
from onecycle.run_dir.elsewhere import RunElsewhere
from onecycle.run_dir.records import Result
from onecycle.training import reproducibility
from onecycle.training.before import describe, find_lr
from onecycle.training.cautions import note_drift, note_few_images, note_few_steps, note_sizes
from onecycle.training.evaluating import evaluate_run
from onecycle.training.initial_weights import note_initial_weights
from onecycle.training.measurements import (
    compare_processes,
    note_failures,
    note_start,
    write_audit,
)
from onecycle.training.peak_search import resolve_rates, set_aside_if_damaged
from onecycle.training.preparation import note_uneven_classes, prepare
from onecycle.training.results import summary_of, validation, weights_sha256
from onecycle.training.resuming import checkpoint_for_all, restore, take_up
from onecycle.training.run import Run
from onecycle.training.sharing import compare
from onecycle.training.signals import Signals, noted_signals
from onecycle.training.verifying import Verification, verify

LogName = Literal["none", "tensorboard"]
"""Where a run is logged besides its own folder."""

Listening = Callable[[RunDir], AbstractContextManager[Progress]]
"""Opens a listener on a run, and closes it at the end."""


def train(
    recipe: Recipe,
    *,
    network: models.Network | None = None,
    runs: str | Path = "runs",
    name: str = "",
    threads: int = 0,
    report: bool = True,
    log: LogName = "none",
    command: Sequence[str] = (),
    started: float | None = None,
    progress: Progress = IN_NOTEBOOKS,
) -> Run:
    """Train as `recipe` says, and write a run folder under `runs`.

    Args:
        recipe: what to do. `auto` values are resolved and written to the run's recipe.toml.
        network: a network of your own, in place of the recipe's: a function or class that makes
            it, or its name, `FILE.py:FUNCTION` or `MODULE:FUNCTION`; see docs/networks.md. If the
            recipe names code, it is run only if it is given here too.
        runs: folder in which the run's own folder is made.
        name: of the run's own folder, which must be new; empty: from the recipe and the time.
        threads: CPU threads; 0: PyTorch's choice.
        report: draw the plots and write report.html. If not, `onecycle report` can do so later.
        log: where to log besides the run folder: `tensorboard` (extra `onecycle[tensorboard]`)
            writes event files into the run's folder `tensorboard`.
        command: the command line, for environment.json.
        started: `time.perf_counter()` when the command began, for `total_seconds`.
        progress: listens.

    Raises:
        InputError: the recipe or the data can't be used.
        TrainingError: the loss became non-finite.
        Interrupted: SIGINT, SIGTERM or SIGHUP came. The work is saved, and `resume` continues it.
    """
    started = time.perf_counter() if started is None else started
    listening = _listening(log)
    with joined() as processes:
        if processes.owns_run:
            RunDir.check_place(runs, recipe)
        progress = progress if processes.owns_run else SILENT
        recipe, architecture = models.asked(recipe, network)
        training, splits = prepare(
            recipe, architecture, threads=threads, progress=progress, processes=processes
        )
        training.started = started
        compare(training, splits)
        run = _created(runs, name, training, splits, command)
        return _carry_out(training, splits, run, progress, report, listening, asked=recipe)


def _created(
    runs: str | Path, name: str, training: Training, splits: Splits, command: Sequence[str]
) -> RunDir:
    """The new run folder, described by its first files. Process 0 makes it."""
    processes, run = training.processes, None
    if processes.owns_run:
        run = RunDir.create(runs, training.recipe, name)
        run.write_recipe(training.recipe)
        record_network(run, training)
        reproducibility.record(run, training, splits, command)
    processes.run = str(run.path) if run else ""
    processes.run = processes.from_first(processes.run)
    return run or RunElsewhere(Path(processes.run))


def resume(
    run: str | Path,
    *,
    data: str | None = None,
    network: models.Network | None = None,
    threads: int = 0,
    report: bool = True,
    log: LogName = "none",
    allow_differences: bool = False,
    progress: Progress = IN_NOTEBOOKS,
) -> Run:
    """Continue a stopped run from its newest checkpoint. A finished run is returned as it is.

    The result has the same bits as that of a run that was never stopped. Whatever would change them
    (an edited recipe, other images, another version of torch, number of threads or CPU model) is
    refused, or allowed and recorded.

    Args:
        run: its folder.
        data: where its images are, if they have moved. recipe.toml does not change.
        network: the code of its network, if it is not built in: a function or class that makes it,
            or its name, `FILE.py:FUNCTION` or `MODULE:FUNCTION`.
        threads: CPU threads; 0: as many as the run has used so far.
        report: draw the plots and write report.html. If not, `onecycle report` can do so later.
        log: as in `train`. The curves begin with the run, even if it was begun without.
        allow_differences: continue despite differences. environment.json and result.json list them.
        progress: listens.

    Raises:
        InputError: not a run folder, something differs, every checkpoint is damaged, or another
            process works on it.
        TrainingError, Interrupted: as in `train`.
    """
    started = time.perf_counter()
    listening = _listening(log)
    with joined() as processes:
        processes.run = str(run)
        progress = progress if processes.owns_run else SILENT
        folder = RunDir.open(run) if processes.owns_run else RunElsewhere(Path(run))
        result = _result_for_all(folder, processes)
        if result:
            progress.note(
                f"{folder.path} is already finished; there is nothing left to train"
                f"{_missing(folder)}"
            )
            return Run(folder.path, result)
        with folder.lock():
            begun = processes.owns_run and folder.has_checkpoints()
            training, splits, allowed = take_up(
                folder,
                threads,
                allow_differences,
                progress,
                data,
                network,
                from_start=not begun,
                processes=processes,
            )
            training.started = started
            checkpoint = _checkpoint_for_all(training, folder, progress)
            if checkpoint is not None:
                restore(training, checkpoint, folder, allowed)
            if processes.owns_run:
                set_aside_if_damaged(folder)
                reproducibility.record_resumption(folder, training, splits, allowed)
                folder.cut_back(checkpoint)
            return _carry_out(training, splits, folder, progress, report, listening)


def _checkpoint_for_all(training: Training, run: RunDir, progress: Progress) -> Checkpoint | None:
    """The checkpoint to go on from, which process 0 reads; None if none was saved yet."""
    found = None
    if training.processes.owns_run:
        found = run.checkpoint_to_go_on_from(progress, training.checkpoint_bytes)
    return checkpoint_for_all(found, training.processes)


def _result_for_all(run: RunDir, processes: Processes) -> Result | None:
    """The result of a finished run, which process 0 reads; None while it is unfinished."""
    found = run.result() if processes.owns_run else None
    if processes.count == 1:
        return found
    value = processes.from_first(found and to_json(found))
    return None if value is None else from_json(value, Result)


def _carry_out(
    training: Training,
    splits: Splits,
    run: RunDir,
    progress: Progress,
    report: bool,
    listening: Listening,
    asked: Recipe | None = None,
) -> Run:
    """Find the rates if necessary, fit, evaluate, save; then draw pictures and report, if wanted.

    `asked`: the recipe before its `auto` values were resolved; None if it had none.
    """
    processes = training.processes
    draw = _drawing() if report and processes.owns_run else None
    with (
        run.lock(),
        run.log() as write,
        listening(run) if processes.owns_run else nullcontext(SILENT) as elsewhere,
        noted_signals(str(run.path), processes) as stop,
        runtime.reused_memory(),
    ):
        progress = Together(Log(write), elsewhere, progress)
        progress.note(f"run folder: {run.path}")
        if training.state.step == 0:
            note_initial_weights(training, progress)
            note_sizes(asked or training.recipe, training, progress)
            note_few_steps(training, progress)
            note_few_images(training, progress)
            note_uneven_classes(training, progress)
        plan = resolve_rates(training, run, stop, progress)
        note_start(training)
        progress.start("training", plan.total_steps)
        progress.advance(training.state.step)
        with stop.deferred(), saved_if_lost(training, run):
            loop.fit(training, plan, run, stop, progress)
        progress.finish()
        result = _save(training, plan, splits, run, progress)
        stop.finished = True
        processes.part()
        stop.heed()
        if processes.owns_run:
            note_failures(run, progress)
            note_drift(result, progress)
        if draw:
            draw(run, stop, progress)
        return Run(run.path, result)


def _save(
    training: Training, plan: Plan, splits: Splits, run: RunDir, progress: Progress
) -> Result:
    """Evaluate, and write everything that is known about the training. Returns the summary.

    Pictures and report are drawn from these files, now or later.
    """
    progress.start("evaluating", 1, "stage")
    evaluation = training.evaluate(training.test)
    val = training.evaluate(training.val) if training.val else None
    mirrored = training.evaluate(training.test, mirrored=True) if training.recipe.tta else None
    compare_processes(training)
    if not training.processes.owns_run:
        return from_json(training.processes.from_first(), Result)
    run.save_arrays(
        "predictions.npz",
        logits=evaluation.logits_NK,
        labels=evaluation.labels_N,
        names=np.array(training.test.names),
        classes=np.array(training.test.classes),
        **validation(val),
    )
    write_audit(training, splits, run, progress)
    run.save_arrays("examples.npz", **examples.gather(training, evaluation))
    result = summary_of(training, plan, splits, evaluation, mirrored, run)
    run.write_record(result)  # last: its presence means that the training is finished
    training.processes.from_first(to_json(result))
    progress.finish()
    return result


def _listening(log: str) -> Listening:
    """How `log` listens to a run. What it needs is imported now, before anything is written.

    Raises:
        InputError: there is no such log.
        ModuleNotFoundError: its extra is not installed.
    """
    if log == "none":
        return lambda run: nullcontext(SILENT)
    if log == "tensorboard":
        from onecycle.training.tensorboard import tensorboard

        return tensorboard
    raise InputError(unknown_name("log", log, get_args(LogName)))


def _drawing() -> Callable[[RunDir, Signals, Progress], None]:
    """The function that draws pictures and report.

    It is imported when a training begins. At its end, the package may have been upgraded. It is not
    imported with this module, because a range test needs no matplotlib.
    """
    from onecycle.training.drawing import draw

    return draw


def _missing(run: RunDir) -> str:
    """A hint if a finished run has no pictures and report yet; otherwise empty."""
    if (run.path / "report.html").is_file():
        return ""
    return f"; draw its pictures and report with: onecycle report {shlex.quote(str(run.path))}"


__all__ = [
    "Run",
    "Verification",
    "describe",
    "evaluate_run",
    "find_lr",
    "prepare",
    "resume",
    "train",
    "verify",
    "weights_sha256",
]
