"""The folder of a sweep.

sweeps/<recipe>-<yyyymmdd-hhmmss>-<4 hex>/
sweep.json          what was asked for
study.db            Optuna's memory of the trials, unless --storage names another place
trials/             a folder of trials: the recipe, and each of the settings tried
final/              a folder of trials: winner and recipe, with the final seeds
best.toml           the winner, for --config
sweep.html          the page
"""

import stat
from pathlib import Path

from onecycle.config import Recipe
from onecycle.run_dir import new_name
from onecycle.run_dir.folder import opened
from onecycle.sweep.record import Asked
from onecycle.trials.folder import claim

STUDY, TRIALS, FINAL, BEST, PAGE = "study.db", "trials", "final", "best.toml", "sweep.html"


def at(into: str | Path, recipe: Recipe) -> Path:
    """The folder that is asked for, or a new one under `sweeps`; it is there afterwards.

    Raises:
        InputError: it can't be made, or holds something else, or a link in place of a folder.
    """
    path = Path(into or f"sweeps/{new_name(recipe)}")
    claim(path, "the folder of a sweep", Asked.FILE)
    with opened(path) as folder:
        for name in (TRIALS, FINAL):
            folder.hold(name, stat.S_IFDIR)
    return path
