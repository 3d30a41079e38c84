"""Many trainings of one recipe: a grid of settings times seeds, each trial an ordinary run.

`run` is the whole of it. A driver submits trials to an engine and polls; a worker is a process that
carries out one trial, which it finds from the folder and the trial's name alone.
"""

from onecycle.trials.driver import run
from onecycle.trials.engine import Ended, Engine
from onecycle.trials.folds import CrossValidation
from onecycle.trials.grid import Trial, trials_of
from onecycle.trials.listening import Listener
from onecycle.trials.manifest import Jobs, Manifest, Measurement
from onecycle.trials.results import TrialResult, Trials

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
