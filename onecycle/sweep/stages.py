"""The stages of a search: settings are tried; then winner and recipe are trained and compared."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onecycle.config import Recipe, override, to_toml
from onecycle.errors import TrainingError
from onecycle.run_dir import write_atomically
from onecycle.sweep import folder as folders
from onecycle.sweep.proposing import Proposals
from onecycle.sweep.record import Asked
from onecycle.sweep.result import Sweep
from onecycle.sweep.space import Space
from onecycle.sweep.study import RECIPE, Study
from onecycle.sweep.tried import Tried
from onecycle.training.signals import Signals
from onecycle.trials import engines
from onecycle.trials import manifest as manifests
from onecycle.trials.driver import carry_out, flag_of_code
from onecycle.trials.folder import TrialsFolder
from onecycle.trials.grid import Trial, added_trial
from onecycle.trials.listening import Listener
from onecycle.trials.manifest import Jobs, Manifest
from onecycle.writing.numbers import counted

if TYPE_CHECKING:
    from onecycle.experiments import Comparison

MANY = 64
"""In place of a number of trials that isn't known, to choose how many run at once."""


@dataclass(frozen=True)
class Stages:
    """What the stages of a search share.

    Attributes:
        path: the folder of the sweep.
        asked: what it was asked for.
        study: its memory.
        space: what is searched.
        listener: is told how the trials go.
        stop: a signal ends all workers.
    """

    path: Path
    asked: Asked
    study: Study
    space: Space
    listener: Listener
    stop: Signals

    def try_settings(
        self, place: TrialsFolder, source: Proposals, carrier: engines.Asked
    ) -> Jobs | None:
        """Carry out all trials of the search; how they shared the machine."""
        first = source.more()
        found = manifests.known(place.path)
        if first is None:
            return found.jobs
        to_come = source.to_come if source.seconds_left is None else MANY
        left = [first] * (1 + to_come)
        found, _ = carry_out(place, found, [first], left, carrier, self.listener, self.stop, source)
        return found.jobs

    def conclude(self, shared: Jobs | None) -> Sweep:
        """Train winner and recipe with the final seeds, compare them, and write the page.

        `shared`: how the trials shared the machine.

        Raises:
            TrainingError: one of these trainings failed.
        """
        sweep = self._found()
        if sweep.best is not None and not sweep.waiting_for:
            if sweep.found_better and shared:
                comparison = self._compared(sweep.best, shared)
                sweep = replace(sweep, comparison=comparison)
            assert sweep.winner
            write_atomically(self.path / folders.BEST, to_toml(sweep.winner).encode())
        self.listener.finish()
        from onecycle.sweep.page import to_html

        write_atomically(self.path / folders.PAGE, to_html(sweep).encode("utf-8", "replace"))
        return sweep

    def _found(self) -> Sweep:
        """What the search has found, before winner and recipe are compared."""
        others, best, recipe = self.study.with_others, self.study.best, self.asked.base()
        return Sweep(
            folder=self.path,
            recipe=recipe,
            space=self.space,
            tried=tuple(self.study.tried),
            baseline=self.study.baseline,
            importances=self.study.importances(),
            best=best,
            winner=None if best is None else _winner(recipe, best),
            comparison=None,
            waiting_for=others,
            network=self.asked.network,
        )

    def _compared(self, best: Tried, shared: Jobs) -> "Comparison":
        """The comparison of the best settings and the recipe, trained with the final seeds.

        Raises:
            TrainingError: one of these trainings failed.
        """
        from onecycle.experiments import compare

        seeds = counted(self.asked.final_seeds, "seed")
        self.listener.note(
            f"best: trial {best.number}; training it and the recipe on all of train, {seeds} each"
        )
        searched = manifests.known(self.path / folders.TRIALS)
        carrier = engines.Asked(searched.engine, searched.address, searched.slurm)
        place, found, trials = self._final_trials(best, carrier)
        found = replace(found, jobs=shared)
        manifests.write(place.path, found)
        with place.driving():
            left = [trial for trial in trials if not place.finished(trial.name)]
            failures: Mapping[str, str] = {}
            if left:
                _, failures = carry_out(
                    place, found, trials, left, carrier, self.listener, self.stop
                )
        if failures:
            name, why = next(iter(failures.items()))
            again = command_to_go_on(self.path, self.asked)
            raise TrainingError(f"{name}: a final training failed: {why}; try again with: {again}")
        return compare([place.run(trial.name) for trial in trials])

    def _final_trials(
        self, best: Tried, carrier: engines.Asked
    ) -> tuple[TrialsFolder, Manifest, list[Trial]]:
        """The folder of the final trainings, its manifest and its trials, by seed."""
        recipe = self.asked.base()
        recipe = override(recipe, **_whole(recipe))
        place = TrialsFolder.at(self.path / folders.FINAL, recipe)
        found, trials = with_engine(place, recipe, self.asked, carrier), list[Trial]()
        for seed in range(recipe.seed, recipe.seed + self.asked.final_seeds):
            winner = {**best.point, **_named(recipe)}
            for name, point in ((f"trial-{best.number:04d}", winner), (RECIPE, {})):
                called, settings = f"{name},seed={seed}", {**point, "seed": seed}
                found = found.with_trial(called, settings)
                trials.append(added_trial(recipe, called, settings))
        return place, found, trials


def with_engine(
    place: TrialsFolder, recipe: Recipe, asked: Asked, carrier: engines.Asked
) -> Manifest:
    """The manifest of a folder of trials, with the engine that carries them out; it is written.

    Raises:
        InputError: a run or a file of its workers is a link.
    """
    found = manifests.read(place.path)
    found = found or manifests.new(recipe, {}, (), asked.network, tuple(asked.command))
    found = carrier.noted_in(found)
    place.hold(trial.name for trial in found.trials())
    manifests.write(place.path, found)
    return found


def command_to_go_on(path: Path, asked: Asked) -> str:
    """The command line that goes on with the sweep of a folder."""
    storage = " --storage URL" if "***" in asked.storage else ""
    code = flag_of_code(asked.network)
    return f"onecycle sweep --into {shlex.quote(str(path))}{storage}{code}"


def _winner(recipe: Recipe, best: Tried) -> Recipe:
    """The recipe with the best settings and a name of its own, on all of the train split."""
    return override(recipe, **best.point, **_named(recipe), **_whole(recipe))


def _named(recipe: Recipe) -> dict[str, Any]:
    """The change with which the winner has a name of its own."""
    return {"recipe": f"{recipe.recipe}-winner"}


def _whole(recipe: Recipe) -> dict[str, Any]:
    """The changes with which nothing is set apart for validation."""
    return {"val_fraction": 0.0} if recipe.val_fraction else {}
