"""onecycle: image classifiers trained the fast way, with found rates and figures that hold.

The public names below are imported on first use (PEP 562), so that `import onecycle` is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onecycle import plots, sweep, trials
    from onecycle.config import Recipe, from_toml, override, read_recipe, to_toml
    from onecycle.data import load_splits
    from onecycle.data.describe import DataDescription, describe_data
    from onecycle.data.image_set import ImageSet, Splits
    from onecycle.errors import InputError, Interrupted, TrainingError
    from onecycle.evaluate import Evaluation, predict
    from onecycle.experiments import Comparison, compare
    from onecycle.exporting import Exported, export
    from onecycle.inference import Classifier, Predictions, load
    from onecycle.interpret import grad_cam, most_confidently_wrong
    from onecycle.lr_finder import LRCurve, LRFinding, lr_range_test, suggest
    from onecycle.models import build
    from onecycle.models.summary import summarize
    from onecycle.progress import Progress
    from onecycle.recipes import RECIPES, named
    from onecycle.schedule import OneCycle, one_cycle, one_cycle_momentum
    from onecycle.training import (
        Run,
        Verification,
        describe,
        evaluate_run,
        find_lr,
        resume,
        train,
        verify,
    )

__version__ = "0.1.0"

_HOME = {
    "Classifier": "inference",
    "Comparison": "experiments",
    "DataDescription": "data.describe",
    "Evaluation": "evaluate",
    "Exported": "exporting",
    "ImageSet": "data.image_set",
    "InputError": "errors",
    "Interrupted": "errors",
    "LRCurve": "lr_finder",
    "LRFinding": "lr_finder",
    "OneCycle": "schedule",
    "Predictions": "inference",
    "Progress": "progress",
    "RECIPES": "recipes",
    "Recipe": "config",
    "Run": "training",
    "Splits": "data.image_set",
    "TrainingError": "errors",
    "Verification": "training",
    "build": "models",
    "compare": "experiments",
    "describe": "training",
    "describe_data": "data.describe",
    "evaluate_run": "training",
    "export": "exporting",
    "find_lr": "training",
    "from_toml": "config",
    "grad_cam": "interpret",
    "load": "inference",
    "load_splits": "data",
    "lr_range_test": "lr_finder",
    "most_confidently_wrong": "interpret",
    "named": "recipes",
    "one_cycle": "schedule",
    "one_cycle_momentum": "schedule",
    "override": "config",
    "plots": "",
    "predict": "evaluate",
    "read_recipe": "config",
    "resume": "training",
    "suggest": "lr_finder",
    "summarize": "models.summary",
    "to_toml": "config",
    "sweep": "",
    "train": "training",
    "trials": "",
    "verify": "training",
}

__all__ = [
    "RECIPES",
    "Classifier",
    "Comparison",
    "DataDescription",
    "Evaluation",
    "Exported",
    "ImageSet",
    "InputError",
    "Interrupted",
    "LRCurve",
    "LRFinding",
    "OneCycle",
    "Predictions",
    "Progress",
    "Recipe",
    "Run",
    "Splits",
    "TrainingError",
    "Verification",
    "build",
    "compare",
    "describe",
    "describe_data",
    "evaluate_run",
    "export",
    "find_lr",
    "from_toml",
    "grad_cam",
    "load",
    "load_splits",
    "lr_range_test",
    "most_confidently_wrong",
    "named",
    "one_cycle",
    "one_cycle_momentum",
    "override",
    "plots",
    "predict",
    "read_recipe",
    "resume",
    "suggest",
    "summarize",
    "sweep",
    "to_toml",
    "train",
    "trials",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'onecycle' has no attribute '{name}'")
    home = _HOME[name]
    if not home:
        return import_module(f"onecycle.{name}")
    return getattr(import_module(f"onecycle.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
