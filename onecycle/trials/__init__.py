"""Many trainings of one recipe: a grid of settings times seeds, each trial an ordinary run.

`run` is the whole of it. A driver submits trials to an engine and polls; a worker is a process that
carries out one trial, which it finds from the folder and the trial's name alone.

The public names are imported on first use: the processes that hold workers on a cluster need none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onecycle.trials.driver import run
    from onecycle.trials.engine import Ended, Engine
    from onecycle.trials.folds import CrossValidation
    from onecycle.trials.grid import Trial, trials_of
    from onecycle.trials.listening import Listener
    from onecycle.trials.manifest import Jobs, Manifest, Measurement
    from onecycle.trials.results import TrialResult, Trials

_HOME = {
    "CrossValidation": "folds",
    "Ended": "engine",
    "Engine": "engine",
    "Jobs": "manifest",
    "Listener": "listening",
    "Manifest": "manifest",
    "Measurement": "manifest",
    "Trial": "grid",
    "TrialResult": "results",
    "Trials": "results",
    "run": "driver",
    "trials_of": "grid",
}

__all__ = [
    "CrossValidation",
    "Ended",
    "Engine",
    "Jobs",
    "Listener",
    "Manifest",
    "Measurement",
    "Trial",
    "TrialResult",
    "Trials",
    "run",
    "trials_of",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'onecycle.trials' has no attribute '{name}'")
    return getattr(import_module(f"onecycle.trials.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
