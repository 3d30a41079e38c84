"""The folder of a sweep.

sweeps/<recipe>-<yyyymmdd-hhmmss>-<4 hex>/
sweep.json          what was asked for
study.db            Optuna's memory of the trials, unless --storage names another place
trials/             a folder of trials: the recipe, and each of the settings tried
final/              a folder of trials: winner and recipe, with the final seeds
best.toml           the winner, for --config
sweep.html          the page
"""

import os
from datetime import datetime
from pathlib import Path

from onecycle.config import Recipe
from onecycle.errors import InputError
from onecycle.sweep.record import Asked

STUDY, TRIALS, FINAL, BEST, PAGE = "study.db", "trials", "final", "best.toml", "sweep.html"


def at(into: str | Path, recipe: Recipe) -> Path:
    """The folder that is asked for, or a new one under `sweeps`; it is there afterwards.

    Raises:
        InputError: it can't be made, or holds something else.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = Path(into or f"sweeps/{recipe.recipe}-{stamp}-{os.urandom(2).hex()}")
    try:
        path.mkdir(parents=True, exist_ok=True)
        entries = {entry.name for entry in path.iterdir()}
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"--into: can't make a folder at '{path}': {reason}; name another folder"
        ) from None
    if entries and Asked.FILE not in entries:
        raise InputError(
            f"--into: '{path}' is not the folder of a sweep (it has no {Asked.FILE}), and not "
            "empty; name another folder"
        )
    return path
