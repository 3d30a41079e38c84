"""The memory of a search: which settings were tried, and what they reached.

Optuna chooses the settings and keeps the results in its storage, a SQLite file or any database that
it knows. Several drivers may work on one study. Each takes up its own trials again after a kill.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from zlib import crc32

from onecycle.config import Recipe, to_toml
from onecycle.errors import InputError
from onecycle.sweep.space import Point, Space

if TYPE_CHECKING:
    import optuna

Pruning = Literal["hyperband", "asha", "none"]
"""When a trial is given up before its end: by Hyperband (Li et al., 2018), by asynchronous
successive halving (ASHA; Li et al., 2020), or never."""

REDUCTION = 3
"""Of the trials that reach a rung, one in so many goes on: the value of both papers."""

OWNER, POINT, WHY, ASKED = "owner", "point", "why", "asked"
"""Names of what is kept with trials and with the study."""


@dataclass(frozen=True)
class Proposal:
    """Settings to try.

    Attributes:
        number: of the trial in the study, from 0.
        point: the settings.
    """

    number: int
    point: Point


@dataclass(frozen=True)
class Tried:
    """A trial that ended.

    Attributes:
        number: of the trial in the study.
        point: its settings.
        state: `complete`, `pruned` or `failed`.
        accuracy: on the validation images (a fraction), of the last epoch that was seen; None if
            there was none.
        epochs: number of epochs that were seen.
        why: of a failed trial, the reason.
    """

    number: int
    point: Point
    state: Literal["complete", "pruned", "failed"]
    accuracy: float | None
    epochs: int
    why: str = ""


class Study:
    """A study, opened by one driver."""

    def __init__(self, study: "optuna.Study", space: Space, owner: str) -> None:
        self._study, self._space, self._owner = study, space, owner
        self._open: dict[int, optuna.Trial] = {}

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
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                direction="maximize",
                load_if_exists=True,
                pruner=_pruner(pruning, recipe.epochs),
            )
            asked = {"space": repr(space), "recipe": to_toml(recipe), "pruning": pruning}
            _check_same(study, name, asked)
        except (SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, ValueError) as error:
            told = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"--storage: '{storage}' can't be used: {told}") from None
        study.sampler = optuna.samplers.TPESampler(seed=_seed(recipe, owner, len(study.trials)))
        if not study.trials:
            study.enqueue_trial(dict(space.nearest_to(recipe)), skip_if_exists=True)
        return cls(study, space, owner)

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
            yield Proposal(frozen.number, point)

    def is_hopeless(self, number: int, epoch: int, accuracy: float) -> bool:
        """Note what a trial reached after an epoch, and whether it should be given up.

        Args:
            number: of the trial, which is this driver's.
            epoch: how many epochs it has trained, from 1.
            accuracy: on the validation images, a fraction.
        """
        trial = self._open[number]
        trial.report(accuracy, epoch)
        return trial.should_prune()

    def complete(self, number: int, accuracy: float) -> None:
        """Note the validation accuracy (a fraction) that a trial ended with."""
        self._study.tell(self._open.pop(number), accuracy)

    def give_up(self, number: int) -> None:
        """Note that a trial was stopped, since `is_hopeless` said so."""
        import optuna

        self._study.tell(self._open.pop(number), state=optuna.trial.TrialState.PRUNED)

    def fail(self, number: int, why: str) -> None:
        """Note that a trial failed."""
        import optuna

        trial = self._open.pop(number)
        trial.set_user_attr(WHY, why)
        self._study.tell(trial, state=optuna.trial.TrialState.FAIL)

    @property
    def tried(self) -> list[Tried]:
        """All trials of the study that ended, of every driver, by number."""
        return [_tried(frozen) for frozen in self._study.trials if frozen.state.is_finished()]

    @property
    def best(self) -> Tried | None:
        """The completed trial with the highest validation accuracy; the earliest of equal ones."""
        complete = [tried for tried in self.tried if tried.state == "complete"]
        return max(complete, key=lambda tried: tried.accuracy or 0, default=None)

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
            return optuna.importance.get_param_importances(
                self._study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
            )
        except (RuntimeError, ValueError):  # all accuracies are equal
            return {}


LEAST_FOR_IMPORTANCES = 4


def _seed(recipe: Recipe, owner: str, trials: int) -> int:
    """A seed for the choices: other ones for each driver, and for one that is started again."""
    return crc32(f"{recipe.seed} {owner} {trials}".encode())


def _pruner(pruning: Pruning, epochs: int) -> Any:
    from optuna import pruners

    if pruning == "hyperband":
        return pruners.HyperbandPruner(
            min_resource=1, max_resource=epochs, reduction_factor=REDUCTION
        )
    if pruning == "asha":
        return pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION)
    return pruners.NopPruner()


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


def _tried(frozen: "optuna.trial.FrozenTrial") -> Tried:
    from optuna.trial import TrialState

    states: dict[TrialState, Literal["complete", "pruned", "failed"]] = {
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "pruned",
    }
    seen = frozen.intermediate_values
    last = seen[max(seen)] if seen else None
    complete = frozen.state == TrialState.COMPLETE
    return Tried(
        number=frozen.number,
        point=frozen.user_attrs.get(POINT, {}),
        state=states.get(frozen.state, "failed"),
        accuracy=frozen.value if complete else last,
        epochs=max(seen, default=0),
        why=frozen.user_attrs.get(WHY, ""),
    )
