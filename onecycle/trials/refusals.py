"""What is refused of trials before anything is written or trained."""

from collections.abc import Sequence
from pathlib import Path

from onecycle import models, runtime
from onecycle.data.refusals import BUILT_IN, no_such
from onecycle.errors import InputError
from onecycle.training import initial_weights
from onecycle.training.refusals import refuse_early
from onecycle.trials.grid import Trial
from onecycle.trials.worker import begun


def check(trials: Sequence[Trial], network: str | None, *, here: bool = True) -> None:
    """Refuse what can be refused without the images, before anything is trained.

    `here`: whether the trials run on this machine, so that its devices are known.

    Raises:
        InputError: a trial's network, device or transforms can't be used, or its images are not
            there.
    """
    for trial in trials:
        try:
            recipe, architecture = models.asked(trial.recipe, network)
            models.arguments(recipe, architecture)
            if here:
                device = runtime.resolve_device(recipe.device)
                runtime.resolve_precision(recipe.precision, device)
            refuse_early(recipe)
            if recipe.data not in BUILT_IN and not Path(recipe.data).exists():
                raise no_such(recipe.data)
        except InputError as error:
            raise InputError(f"{trial.name}: {error}" if trial.settings else str(error)) from None


def check_weights(trials: Sequence[Trial], into: str | Path) -> None:
    """Refuse initial weights that can't be read. A run that has begun needs them no more.

    Raises:
        InputError: there are none, or the file or folder has none.
    """
    new = [each for each in trials if not (into and begun(Path(into, each.name)))]
    for given in dict.fromkeys(trial.recipe.init_from for trial in new):
        if given:
            initial_weights.read(given)
