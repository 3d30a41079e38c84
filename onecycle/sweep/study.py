"""The memory of a search: which settings were tried, and what they reached.

Optuna chooses the settings and keeps the results in its storage, a SQLite file or any database that
it knows. Several drivers may work on one study. Each takes up its own trials again after a kill.
"""

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

from onecycle.config import Recipe, to_toml
from onecycle.errors import InputError
from onecycle.sweep.pruning import Pruning, pruner
from onecycle.sweep.space import Dimension, Point, Space
from onecycle.sweep.storage import study_in, without_password
from onecycle.sweep.tried import BASELINE, OWNER, POINT, SECONDS, WHY, Tried, tried_of

if TYPE_CHECKING:
    import optuna

RECIPE = "recipe"
"""Name of the recipe's own trial."""

ASKED, EPOCHS, SEEN = "asked", "epochs", "seen "
"""Names of what is kept with the study. Each driver has its own `seen`."""

SIGN, PATIENCE = 30.0, 180.0
"""Seconds between two signs of life of a driver, and without one until it counts as gone."""


@dataclass(frozen=True)
class Proposal:
    """Settings to try.

    Attributes:
        number: of the trial in the study, from 0.
        point: the settings.
        epochs: how many epochs were noted before a driver that was killed.
    """

    number: int
    point: Point
    epochs: int = 0


class Study:
    """A study, opened by one driver."""

    def __init__(self, study: "optuna.Study", space: Space, owner: str, pruning: Pruning) -> None:
        self._study, self._space, self._owner = study, space, owner
        self._pruning: Pruning = pruning
        self._open: dict[int, optuna.Trial] = {}
        self._noted: dict[int, int] = {}
        self._signed = 0.0

    @classmethod
    def opened(
        cls, storage: str, name: str, space: Space, recipe: Recipe, pruning: Pruning, owner: str
    ) -> "Study":
        """Open or make a study.

        Args:
            storage: address of the storage, as Optuna and SQLAlchemy write them.
            name: of the study in the storage.
            space: what is searched.
            recipe: what the trials build on. The first trial has its values, as far as the space
                has them.
            pruning: when a trial is given up.
            owner: name of this driver, which it has again when it is started again.

        Raises:
            InputError: the storage can't be used, or the study there has another space or recipe.
        """
        import optuna
        from sqlalchemy.exc import SQLAlchemyError

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            study = study_in(storage, name)
            asked = {"space": repr(space), "recipe": to_toml(recipe), "pruning": pruning}
            _check_same(study, name, asked)
        except (SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, ValueError) as error:
            told = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"--storage: '{without_password(storage)}' can't be used: {told}"
            ) from None
        study.sampler = optuna.samplers.TPESampler(
            seed=_seed(recipe, owner, len(study.trials)),
            constant_liar=True,  # trials that run count as bad, so that no two try the same
        )
        found = cls(study, space, owner, pruning)
        found._prune_from_now()
        return found

    @property
    def baseline(self) -> float | None:
        """Validation accuracy of the recipe itself; None as long as it isn't known."""
        return self._study.user_attrs.get(BASELINE)

    def start_from(self, point: Point, accuracy: float, epochs: int, seconds: float) -> None:
        """Note what the recipe itself reached, and search from there.

        Args:
            point: its settings. If some are missing that the space has, a trial with the others is
                the next one.
            accuracy: on the validation images, a fraction.
            epochs: how many it trained.
            seconds: of its training.
        """
        if self.baseline is not None:
            return
        import optuna

        if not self._space.is_complete(point):
            self._study.enqueue_trial(dict(point), skip_if_exists=True)
        else:
            used = [each for each in self._space if each.name in point]
            self._study.add_trial(
                optuna.create_trial(
                    value=accuracy,
                    params=dict(point),
                    distributions={each.name: _distribution(each) for each in used},
                    intermediate_values={epochs: accuracy},
                    user_attrs={POINT: dict(point), SECONDS: seconds, BASELINE: True},
                )
            )
        self._study.set_user_attr(EPOCHS, epochs)
        self._study.set_user_attr(BASELINE, accuracy)
        self._prune_from_now()

    def _prune_from_now(self) -> None:
        """Give trials up from now on, if the recipe's own training says how many epochs there are.

        The recipe may leave them to `min_steps`.
        """
        self._study.pruner = pruner(self._pruning, self._study.user_attrs.get(EPOCHS, 0))

    def ask(self) -> Proposal:
        """New settings to try. The trial is this driver's until it is told how it ended."""
        trial = self._study.ask()
        trial.set_user_attr(OWNER, self._owner)
        point = self._space.suggested(trial)
        trial.set_user_attr(POINT, dict(point))
        self._open[trial.number] = trial
        return Proposal(trial.number, point)

    def begun(self) -> Iterator[Proposal]:
        """This driver's trials that have not ended: those that a kill has cut off.

        One that was cut off before it had all its settings is ended as failed.
        """
        import optuna

        for frozen in self._study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            if frozen.user_attrs.get(OWNER) != self._owner:
                continue
            point = frozen.user_attrs.get(POINT)
            if point is None:
                self._study.tell(frozen.number, state=optuna.trial.TrialState.FAIL)
                continue
            self._open[frozen.number] = optuna.Trial(self._study, frozen._trial_id)
            epochs = max(frozen.intermediate_values, default=0)
            self._noted[frozen.number] = epochs
            yield Proposal(frozen.number, point, epochs)

    def is_hopeless(self, number: int, epoch: int, accuracy: float) -> bool:
        """Note what a trial reached after an epoch, and whether it should be given up.

        Args:
            number: of the trial, which is this driver's.
            epoch: how many epochs it has trained, from 1.
            accuracy: on the validation images, a fraction.
        """
        self._note(number, epoch, accuracy)
        return self._open[number].should_prune()

    def _note(self, number: int, epoch: int, accuracy: float) -> None:
        if epoch > self._noted.get(number, 0):
            self._open[number].report(accuracy, epoch)
            self._noted[number] = epoch

    def complete(self, number: int, accuracy: float, seconds: float = 0.0, epochs: int = 0) -> None:
        """Note the validation accuracy (a fraction) that a trial ended with.

        `seconds` and `epochs`: of its training; 0: not known.
        """
        if epochs:
            self._note(number, epochs, accuracy)
        trial = self._open.pop(number)
        trial.set_user_attr(SECONDS, seconds)
        self._study.tell(trial, accuracy)

    def give_up(self, number: int, seconds: float = 0.0) -> None:
        """Note that a trial was stopped, since `is_hopeless` said so."""
        import optuna

        trial = self._open.pop(number)
        trial.set_user_attr(SECONDS, seconds)
        self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)

    def fail(self, number: int, why: str, seconds: float = 0.0) -> None:
        """Note that a trial failed."""
        import optuna

        trial = self._open.pop(number)
        trial.set_user_attr(WHY, why)
        trial.set_user_attr(SECONDS, seconds)
        self._study.tell(trial, state=optuna.trial.TrialState.FAIL)

    def sign(self) -> None:
        """Give a sign of life, which other drivers see; a recent one is enough."""
        now = time.time()
        if now - self._signed >= SIGN:
            self._study.set_user_attr(SEEN + self._owner, now)
            self._signed = now

    @property
    def count(self) -> int:
        """How many settings were tried or begun, by all drivers, besides the recipe's own.

        One that has no owner, since its driver was killed while it asked, is nobody's.
        """
        return sum(
            frozen.state.name != "WAITING"
            and BASELINE not in frozen.user_attrs
            and (OWNER in frozen.user_attrs or frozen.state.is_finished())
            for frozen in self._frozen()
        )

    @property
    def with_others(self) -> int:
        """How many trials other drivers are at, as far as these have given signs of life."""
        seen, now = self._study.user_attrs, time.time()
        owners = [
            frozen.user_attrs.get(OWNER, "")
            for frozen in self._frozen()
            if frozen.state.name == "RUNNING"
        ]
        return sum(
            owner != self._owner and now - seen.get(SEEN + owner, 0.0) < PATIENCE
            for owner in owners
        )

    def _frozen(self) -> "list[optuna.trial.FrozenTrial]":
        return self._study.get_trials(deepcopy=False)

    @property
    def tried(self) -> list[Tried]:
        """All trials of the study that ended, of every driver, by number."""
        return [tried_of(frozen) for frozen in self._study.trials if frozen.state.is_finished()]

    @property
    def best(self) -> Tried | None:
        """The completed trial with the highest validation accuracy.

        Of equal ones it is the recipe itself, else the earliest.
        """
        complete = [tried for tried in self.tried if tried.state == "complete"]
        return max(complete, key=lambda t: (t.accuracy or 0, t.is_recipe), default=None)

    def importances(self) -> dict[str, float]:
        """How much of the variance of the accuracies each setting explains; they sum to 1.

        By PED-ANOVA (Watanabe et al., 2023): how differently the values of the better trials are
        spread from those of all. Empty with fewer than four completed trials.
        """
        complete = [tried for tried in self.tried if tried.state == "complete"]
        if len(complete) < LEAST_FOR_IMPORTANCES:
            return {}
        import optuna

        try:
            with warnings.catch_warnings():  # it warns of few trials; the page says so too
                warnings.simplefilter("ignore")
                return optuna.importance.get_param_importances(
                    self._study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
                )
        except (RuntimeError, ValueError):  # all accuracies are equal
            return {}


LEAST_FOR_IMPORTANCES = 4


def _seed(recipe: Recipe, owner: str, trials: int) -> int:
    """A seed for the choices: other ones for each driver, and for one that is started again."""
    return crc32(f"{recipe.seed} {owner} {trials}".encode())


def _distribution(of: Dimension) -> "optuna.distributions.BaseDistribution":
    from optuna import distributions

    if of.values:
        return distributions.CategoricalDistribution(of.values)
    if of.whole:
        step = int(of.step) or 1
        return distributions.IntDistribution(int(of.low), int(of.high), log=of.log, step=step)
    return distributions.FloatDistribution(of.low, of.high, log=of.log, step=of.step or None)


def _check_same(study: "optuna.Study", name: str, asked: dict[str, str]) -> None:
    known = study.user_attrs.get(ASKED)
    if known is None:
        study.set_user_attr(ASKED, asked)
        return
    for what, value in asked.items():
        if known.get(what) != value:
            raise InputError(
                f"the study '{name}' in the storage was begun with another {what}; "
                "give the same, or another --into or --storage"
            )
