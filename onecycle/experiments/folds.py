"""Cross-validation: the held-out parts of the runs of all folds, joined to one set of predictions.

Shapes: N images, K classes.
"""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from onecycle.errors import InputError
from onecycle.experiments.reading import FinishedRun, read_runs
from onecycle.run_dir import RunDir, write_atomically
from onecycle.statistics import Interval, wilson
from onecycle.writing.numbers import counted

RESOLVED = ("lr_min", "lr_max", "lr_final", "lr_steps", "batch_size", "epochs", "mean", "std")
"""Settings that `auto` may resolve to other numbers in each fold."""


@dataclass(frozen=True)
class Folded:
    """The predictions for all images, each by the network that did not train on it.

    Attributes:
        runs: one for each fold, by fold.
        logits_NK: float32.
        labels_N: int64, actual classes.
        names_N: text, the name of each image; sorted.
        fold_N: int64, the fold in which an image was held out.
        place_N: int64, its place among the test images of that fold's run.
        classes: names of the classes.
    """

    runs: tuple[FinishedRun, ...]
    logits_NK: np.ndarray
    labels_N: np.ndarray
    names_N: np.ndarray
    fold_N: np.ndarray
    place_N: np.ndarray
    classes: tuple[str, ...]

    @cached_property
    def right_N(self) -> np.ndarray:
        """Which predictions are right, bool."""
        return self.logits_NK.argmax(axis=1) == self.labels_N

    @property
    def accuracy(self) -> float:
        """The share of all images that is right."""
        return float(self.right_N.mean())

    @property
    def interval(self) -> Interval:
        """Of the accuracy at 95 %, over the images (Wilson).

        The networks of the folds share most of their training images, so the accuracies of the
        folds are not independent, and no interval over them is exact (Bengio and Grandvalet, 2004).
        """
        return wilson(int(self.right_N.sum()), len(self.right_N))

    @property
    def accuracies(self) -> tuple[float, ...]:
        """The accuracy of each fold."""
        folds = range(len(self.runs))
        return tuple(float(self.right_N[self.fold_N == fold].mean()) for fold in folds)

    def write(self, path: str | Path) -> None:
        """Write an .npz file with the arrays of a run's predictions.npz, and `folds`.

        Raises:
            TrainingError: it can't be written.
        """
        content = io.BytesIO()
        np.savez_compressed(
            content,
            logits=self.logits_NK,
            labels=self.labels_N,
            names=self.names_N,
            classes=np.array(self.classes),
            folds=self.fold_N,
        )
        write_atomically(Path(path), content.getvalue())

    def write_report(self, path: str | Path, settings: str = "") -> None:
        """Write a page on the mistakes of all folds: one HTML file, in the style of a run's report.

        Args:
            path: of the page; a link there is replaced.
            settings: what tells this cross-validation from others of the recipe, for the title.

        Raises:
            TrainingError: it can't be written.
        """
        from onecycle.experiments.folds_page import to_html  # PyTorch and matplotlib take a second

        text = to_html(self, settings)
        write_atomically(Path(path), text.encode("utf-8", "replace"))


def join_folds(places: Sequence[str | Path]) -> Folded:
    """The runs of all folds of one recipe and seed, as one set of predictions.

    Args:
        places: run folders, or folders with runs in them.

    Raises:
        InputError: a fold is missing or there twice, a run is not of a cross-validation or differs
            in more than its fold, or an image is held out twice.
    """
    runs, left_out = read_runs(places)
    if left_out:
        raise InputError(f"folds: {left_out[0]}")
    return joined(runs)


def joined(runs: Sequence[FinishedRun]) -> Folded:
    """As `join_folds`, of runs that have been read."""
    _check_one_recipe(runs)
    by_fold = {run.recipe.fold: run for run in runs}
    folds = runs[0].recipe.folds
    if len(by_fold) < len(runs):
        twice = next(f for f in by_fold if sum(run.recipe.fold == f for run in runs) > 1)
        raise InputError(f"folds: fold {twice} is there twice; name one run of it")
    if missing := [str(fold) for fold in range(folds) if fold not in by_fold]:
        what = "fold" if len(missing) == 1 else "folds"
        raise InputError(f"folds: {what} {', '.join(missing)} of {folds} missing; train the rest")
    ordered = tuple(by_fold[fold] for fold in range(folds))
    parts = [_predictions(run) for run in ordered]
    names_N = np.concatenate([part["names"] for part in parts])
    order_N = np.argsort(names_N, kind="stable")
    _check_once(names_N[order_N])
    sizes = [len(part["names"]) for part in parts]
    return Folded(
        ordered,
        np.concatenate([part["logits"] for part in parts])[order_N],
        np.concatenate([part["labels"] for part in parts])[order_N],
        names_N[order_N],
        np.repeat(np.arange(folds), sizes)[order_N],
        np.concatenate([np.arange(size) for size in sizes])[order_N],
        ordered[0].test.classes,
    )


def _check_one_recipe(runs: Sequence[FinishedRun]) -> None:
    if not runs:
        raise InputError("folds: there are no runs")
    first, left = runs[0], ("fold", *RESOLVED)
    for run in runs:
        if not run.recipe.folds:
            raise InputError(f"folds: {run.path} is not of a cross-validation; train with --folds")
        if differing := _differing(asdict(first.recipe), asdict(run.recipe), left):
            raise InputError(
                f"folds: {first.path} and {run.path} differ in {differing}; join runs of one recipe"
            )
        if run.test.classes != first.test.classes:
            raise InputError(f"folds: {first.path} and {run.path} have different classes")


def _differing(one: dict[str, Any], other: dict[str, Any], left: Sequence[str]) -> str:
    """The first setting in which two recipes differ; empty if there is none."""
    return next((name for name in one if name not in left and one[name] != other[name]), "")


def _predictions(run: FinishedRun) -> dict[str, np.ndarray]:
    found = RunDir(run.path).predictions("names", "classes")
    if found is None:
        raise InputError(f"folds: {run.path / 'predictions.npz'} is missing; train again")
    return found


def _check_once(names_N: np.ndarray) -> None:
    """Refuse an image that is held out in two folds: then the folds are not of the same images."""
    twice_N = names_N[1:] == names_N[:-1]
    if twice_N.any():
        name = names_N[1:][twice_N][0]
        raise InputError(
            f"folds: {counted(int(twice_N.sum()), 'image')} held out twice, such as '{name}'; the "
            "runs are not of the same images"
        )
