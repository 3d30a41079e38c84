"""Cross-validation by trials: a training for each fold, and one figure for all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onecycle.config import Recipe, override
from onecycle.errors import InputError
from onecycle.statistics import Interval
from onecycle.trials.grid import AXIS, name_of

if TYPE_CHECKING:
    from onecycle.experiments import Folded
    from onecycle.trials.results import Reports, TrialResult


def across_folds(
    recipe: Recipe, grid: Mapping[str, Sequence[Any]], *, chosen: bool = False
) -> tuple[Recipe, dict[str, Sequence[Any]]]:
    """The recipe without a fold, and the grid with folds: the recipe's if chosen, else all of them.

    Args:
        recipe: what all trials have in common.
        grid: the values of each setting that varies; it may choose folds itself.
        chosen: whether the recipe's fold is meant, even if it is 0; another one always is.

    Raises:
        InputError: the number of folds varies in the grid.
    """
    if "folds" in grid:
        raise InputError("folds: can't vary, since the trials are joined over them; give --folds K")
    if not recipe.folds:
        return recipe, dict(grid)
    all_or_one = (recipe.fold,) if chosen or recipe.fold else tuple(range(recipe.folds))
    return override(recipe, fold=0), {**grid, AXIS: grid.get(AXIS, all_or_one)}


@dataclass(frozen=True)
class CrossValidation:
    """The trainings of all folds of the same settings and seed, as one.

    Attributes:
        settings: what they have of the grid, besides the fold.
        seed: their seed.
        images: how many there are; each was held out once.
        accuracy: share of the images that were classified right when held out.
        interval: of the accuracy, at 95 %, over the images (Wilson).
        by_fold: the accuracy of each fold.
        predictions: the file with the predictions of all images.
        folded: those predictions.
        report: the page on the mistakes of all folds; None if none was asked for.
    """

    settings: dict[str, Any]
    seed: int
    images: int
    accuracy: float
    interval: Interval
    by_fold: tuple[float, ...]
    predictions: Path
    folded: "Folded" = field(repr=False, compare=False)
    report: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "settings": self.settings,
            "seed": self.seed,
            "images": self.images,
            "accuracy": self.accuracy,
            "low": self.interval.low,
            "high": self.interval.high,
            "by_fold": list(self.by_fold),
            "predictions": str(self.predictions),
            "report": None if self.report is None else str(self.report),
        }


def cross_validated(
    folder: Path, results: Sequence["TrialResult"], folds: int, reports: "Reports" = "none"
) -> tuple[CrossValidation, ...]:
    """Join the folds of the same settings and seed, where all are finished; the best comes first.

    The predictions are written into `folder`: predictions.npz, or one file for each combination.
    So are the pages: report.html, or one for each combination. With `last`, only that of the last
    seed is drawn, and with `none`, none.

    Raises:
        InputError: runs are damaged, or not of the same images.
        TrainingError: a file can't be written.
    """
    groups: dict[str, list[TrialResult]] = {}
    for trial in results:
        groups.setdefault(name_of(_without_fold(trial) | {"seed": trial.seed}), []).append(trial)
    single = len(groups) == 1
    found = [
        _joined(folder / ("predictions.npz" if single else f"predictions-{name}.npz"), trials)
        for name, trials in groups.items()
        if len(trials) == folds and all(trial.result for trial in trials)
    ]
    return tuple(sorted(_drawn(found, reports), key=lambda each: -each.accuracy))


def _drawn(found: Sequence[CrossValidation], reports: "Reports") -> list[CrossValidation]:
    """The same, with their pages. Nothing is chosen by its accuracy, as all are of test images."""
    if reports == "none" or not found:
        return list(found)
    last = {repr(each.settings): each.seed for each in found}
    drawn = []
    for each in found:
        page = None
        if reports != "last" or each.seed == last[repr(each.settings)]:
            stem = each.predictions.stem.replace("predictions", "report", 1)
            page = each.predictions.with_name(f"{stem}.html")
            settings = name_of(each.settings) if each.settings else ""
            each.folded.write_report(page, settings)
        drawn.append(replace(each, report=page))
    return drawn


def _joined(path: Path, trials: Sequence["TrialResult"]) -> CrossValidation:
    from onecycle.experiments import join_folds  # a worker does not need SciPy

    folded = join_folds([trial.run for trial in trials])
    folded.write(path)
    return CrossValidation(
        _without_fold(trials[0]),
        trials[0].seed,
        len(folded.labels_N),
        folded.accuracy,
        folded.interval,
        folded.accuracies,
        path,
        folded,
    )


def _without_fold(trial: "TrialResult") -> dict[str, Any]:
    return {name: value for name, value in trial.settings.items() if name != AXIS}
