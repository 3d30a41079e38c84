"""A worker: a process that carries out one trial, found from the folder and its name alone.

    python -m onecycle.trials.worker FOLDER NAME

It trains if there is no run yet, goes on with one that was cut off, and does nothing if it is
finished. It says at its end how that went, in a file beside the run.
"""

import os
import shutil
import signal
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path

from onecycle.errors import InputError, Interrupted, TrainingError
from onecycle.progress import SILENT
from onecycle.trials import manifest
from onecycle.trials.folder import Outcome, TrialsFolder
from onecycle.trials.grid import Trial

DONE, FAILED, BAD_INPUT = 0, 1, 2

GRACE = 60.0
"""Seconds to save and end after the driver is gone."""

UNBORN = {"recipe.toml", "network.json", "checkpoints", "plots", ".lock", ".owner"}
"""What a run folder may have before its environment.json is written, which comes last."""


def main(folder: str, name: str) -> int:
    """Carry out a trial; the process's exit code."""
    end_with_the_driver()
    place = TrialsFolder(Path(folder))
    try:
        with place.working_on(name):
            place.forget_outcome(name)
            try:
                carry_out(place, name)
            except Interrupted as stop:
                if stop.run:
                    place.note_outcome(name, Outcome(state="saved"))
                raise
            place.note_outcome(name, Outcome(state="finished"))
        return DONE
    except Interrupted as stop:
        return 128 + stop.signal_number
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        message = told(error)
        sys.stderr.write(f"{message}\n")
        with suppress(TrainingError, InputError):  # the disk is full, or a link is in the way
            place.note_outcome(name, Outcome(state="failed", message=message))
        return BAD_INPUT if isinstance(error, InputError) else FAILED


def carry_out(place: TrialsFolder, name: str) -> None:
    """Train, or go on where the trial's run was cut off.

    Raises:
        InputError: there is no such trial, its recipe or data can't be used, or a link is in the
            place of its run.
        TrainingError, Interrupted: as `training.train`.
    """
    found, trial = trial_in(place.path, name)
    from onecycle import training  # not before a mistake in the folder is told

    place.hold([name])
    run, threads = place.run(name), found.jobs.threads if found.jobs else 0
    if os.path.lexists(run) and not begun(run):
        remove_unborn(run)
    if os.path.lexists(run):
        training.resume(run, network=found.network, report=False, progress=SILENT)
        return
    training.train(
        trial.recipe,
        network=found.network,
        runs=place.path,
        name=name,
        threads=threads,
        report=False,
        command=sys.orig_argv,
        progress=SILENT,
    )


def trial_in(folder: Path, name: str) -> tuple[manifest.Manifest, Trial]:
    """The manifest of a folder, and the trial of that name.

    Raises:
        InputError: there is none.
    """
    found = manifest.read(folder)
    if found is None:
        raise InputError(f"'{folder}' has no {manifest.Manifest.FILE}; name a folder of trials")
    trial = next((trial for trial in found.trials() if trial.name == name), None)
    if trial is None:
        raise InputError(f"'{folder}' has no trial '{name}'")
    return found, trial


def begun(run: Path) -> bool:
    """Whether a run was recorded completely before it was cut off, so that it can go on."""
    return (run / "environment.json").is_file()


def remove_unborn(run: Path) -> None:
    """Remove a run folder that a kill left before anything was trained.

    Raises:
        InputError: it holds something else.
    """
    entries = [] if run.is_symlink() or not run.is_dir() else list(run.iterdir())
    strange = [
        entry.name
        for entry in entries
        if (entry.name not in UNBORN and not entry.name.endswith(".tmp"))
        or (entry.is_dir() and any(entry.iterdir()))
    ]
    if strange or run.is_symlink() or not run.is_dir():
        raise InputError(f"'{run}' is in the place of a trial's run; move it away")
    shutil.rmtree(run)


def told(error: BaseException) -> str:
    """Why a trial failed, in one line; what is unexpected also has its traceback in the log."""
    if isinstance(error, InputError | TrainingError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory; lower batch_size or width, or --jobs"
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}"
    if "can't allocate memory" in str(error):
        return "out of memory; lower batch_size or width, or --jobs"
    traceback.print_exception(error)
    first = next(iter(str(error).splitlines()), "")[:200]
    return f"unexpected {type(error).__name__}: {first}; the worker's log has more"


def end_with_the_driver() -> None:
    """Save and end when the driver is gone: standard input is a pipe that it holds open."""

    def wait() -> None:
        with suppress(OSError, ValueError):
            while os.read(0, 1024):
                pass
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(GRACE)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
