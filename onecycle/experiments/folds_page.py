"""A cross-validation as one self-contained HTML page, in the style of a run's report."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from onecycle import recipes
from onecycle.evaluate import Evaluation
from onecycle.experiments.folds import RESOLVED, Folded
from onecycle.experiments.folds_pictures import gathered
from onecycle.experiments.reading import FinishedRun
from onecycle.report import formats, page
from onecycle.report.matrix import bar
from onecycle.report.overview import Rows, fields_of, subtitle
from onecycle.report.predicted import Predicted
from onecycle.writing.numbers import counted
from onecycle.writing.pages import ENVIRONMENT

TEMPLATE = ENVIRONMENT.get_template("folds.html.j2")


def to_html(folded: Folded, settings: str = "") -> str:
    """The page, made from the run folders alone; `settings`: as in `Folded.write_report`."""
    evaluation = Evaluation(folded.logits_NK, folded.labels_N)
    examples, missing = gathered(folded, evaluation)
    classes, names = list(folded.classes), folded.names_N.tolist()
    return TEMPLATE.render(
        page.frame()
        | page.mistakes(Predicted(evaluation, None, classes, names, examples))
        | _recipe(folded)
        | {
            "finished": True,
            "tested": "held-out",
            "folds": len(folded.runs),
            "fold_of": folded.fold_N.tolist(),
            "settings": settings,
            "time": formats.time(max(folded.runs, key=lambda run: run.finished).result.finished),
            "tiles": _tiles(folded, evaluation),
            "rows": [_fold(folded, fold) for fold in range(len(folded.runs))],
            "missing": [(fold, folded.runs[fold].name, why) for fold, why in missing.items()],
            "trainings": [_training(run) for run in folded.runs],
        }
    )


def _recipe(folded: Folded) -> dict[str, Any]:
    """The recipe of all folds, as the page's head and its last section show it."""
    recipe, fields = folded.runs[0].recipe, _fields(folded)
    return {
        "recipe_name": recipe.recipe,
        "subtitle": subtitle(recipe),
        "fields": fields,
        "changes": [field for field in fields if field["kind"]],
        "named": recipe.recipe in recipes.RECIPES,
    }


def _tiles(folded: Folded, evaluation: Evaluation) -> Rows:
    """The figures over all images, the accuracy first."""
    right, count = int(folded.right_N.sum()), len(folded.right_N)
    by_fold = folded.accuracies
    lowest, highest = int(np.argmin(by_fold)), int(np.argmax(by_fold))
    runs = [run.result for run in folded.runs]
    train = float(np.mean([run.train_accuracy for run in runs]))
    interval = f"95 % interval {formats.wilson(right, count)}, n = {counted(count, 'image')}"
    time = formats.duration(sum(run.total_seconds for run in runs))
    tiles = [
        ("Accuracy", formats.percent(folded.accuracy), interval),
        ("Lowest fold", formats.percent(by_fold[lowest]), f"fold {lowest}"),
        ("Highest fold", formats.percent(by_fold[highest]), f"fold {highest}"),
        _balanced(evaluation) or ("Wrong", f"{count - right:,}", "of the held-out images"),
        ("Held-out loss", formats.loss(evaluation.loss), "cross-entropy in nats"),
        ("Train accuracy", formats.percent(train), "mean over folds; last epoch, augmented images"),
        ("Time", time, f"of {counted(len(runs), 'training')} in all"),
    ]
    return [{"name": name, "value": value, "note": note} for name, value, note in tiles]


def _balanced(evaluation: Evaluation) -> tuple[str, str, str] | None:
    """The balanced accuracy; None where it is the accuracy, as classes have equally many images."""
    counts_K = evaluation.class_counts_2K[0]
    smallest, largest = int(counts_K.min()), int(counts_K.max())
    if smallest == largest:
        return None
    note = f"mean over classes of {smallest:,} to {counted(largest, 'image')}"
    return "Balanced accuracy", formats.percent(evaluation.balanced_accuracy), note


def _fold(folded: Folded, fold: int) -> dict[str, Any]:
    """A fold's accuracy, with the bar that shows it."""
    right_N = folded.right_N[folded.fold_N == fold]
    return {"name": f"fold {fold}", **bar(int(right_N.sum()), len(right_N))}


def _training(run: FinishedRun) -> list[str]:
    """What differs between the trainings: fold, folder, figures, rates."""
    result = run.result
    return [
        f"fold {run.recipe.fold}",
        run.name,
        f"{result.train_images:,}" if result.train_images else "",
        formats.percent(result.train_accuracy),
        formats.loss(result.test_loss),
        f"{formats.rate(result.lr_min)} to {formats.rate(result.lr_max)}",
        formats.duration(result.total_seconds),
    ]


def _fields(folded: Folded) -> Rows:
    """The recipe's fields, with the range of those that were resolved in each fold."""
    fields = fields_of(folded.runs[0].recipe)
    for field in fields:
        if field["name"] in RESOLVED:
            field["here"] = _over(
                [getattr(run.recipe, field["name"]) for run in folded.runs], field["here"]
            )
        elif field["name"] == "fold":
            field["here"] = "each"
    return fields


def _over(values: Sequence[Any], first: str) -> str:
    """The values that a setting has in the folds; `first`: that of the first fold as text."""
    if all(value == values[0] for value in values):
        return first
    if all(isinstance(value, int | float) for value in values):
        return f"{formats.value(min(values))} to {formats.value(max(values))}"
    return "measured in each fold"
