"""A comparison as one self-contained HTML page, for offline use, phones, paper, light and dark."""

from collections.abc import Sequence
from typing import Any

from onecycle import plots
from onecycle.experiments import columns, tables
from onecycle.experiments.cells import percent
from onecycle.experiments.comparison import Comparison
from onecycle.experiments.tiles import thumbnails
from onecycle.writing import pages
from onecycle.writing.numbers import duration

MOST_IMAGES, MOST_WITHOUT = 60, 24
"""Most shared mistakes that the page shows with pictures, and without; --json names all."""
MOST_NAMES = 200
"""Most names of images that the page lists for each run."""

Section = dict[str, Any]


def to_html(comparison: Comparison) -> str:
    """The page, made from the run folders alone."""
    return pages.ENVIRONMENT.get_template("compare.html.j2").render(
        subject=tables.subject(comparison),
        recipes=tables.recipes(comparison),
        figures=tables.figures(comparison),
        differences=_verdict_first(tables.differences(comparison, comparison.pairs)),
        legend=columns.legend(comparison),
        notes=comparison.notes,
        left_out=[(run.path.name, run.reason) for run in comparison.left_out],
        seeds=plots.svg(seeds(comparison)),
        curves=[plots.svg(curves(comparison, [what])) for what in ("accuracy", "loss")],
        mistakes=_mistakes(comparison),
        mistakes_told=tables.mistakes_told(comparison),
        runs=_runs(comparison),
    )


def _verdict_first(table: tables.Table) -> tables.Table:
    """The same table with its last column moved next to the names, so that a phone shows it."""
    order = [0, len(table.headings) - 1, *range(1, len(table.headings) - 1)]
    return tables.Table(
        [table.headings[place] for place in order],
        [[row[place] for place in order] for row in table.rows],
        [table.numbers[place] for place in order],
    )


def curves(comparison: Comparison, measures: Sequence[str] = ("accuracy", "loss")) -> plots.Figure:
    """Test accuracy and loss of all groups, epoch by epoch."""
    epochs = {group.name: [run.rows for run in group.runs] for group in comparison.groups}
    return plots.compared(epochs, measures)


def seeds(comparison: Comparison) -> plots.Figure:
    """Test accuracy of all groups: a dot for each seed, the mean and its interval."""
    accuracies = {group.name: group.accuracy("test_accuracy") for group in comparison.groups}
    return plots.seeds(
        {group.name: group.values("test_accuracy") for group in comparison.groups},
        {name: accuracy.interval for name, accuracy in accuracies.items()},
    )


def _mistakes(comparison: Comparison) -> Section | None:
    """The images that all runs get wrong, with pictures if any, and each run's own mistakes."""
    found = comparison.mistakes
    if found is None:
        return None
    shown = found.everywhere[:MOST_IMAGES]
    tested = [run for run in comparison.runs if str(run.path) in found.only]
    pictures = thumbnails(tested, [mistake.name for mistake in shown])
    shown = shown if pictures else shown[:MOST_WITHOUT]
    counted = {
        str(run.path): (group.name, run) for group in comparison.groups for run in group.runs
    }
    return {
        "count": len(found.everywhere),
        "shown": [
            {
                "name": mistake.name,
                "told": f"{mistake.actual}, predicted {mistake.predicted}",
                "agreeing": f"by {mistake.agreeing} of {len(found.runs)} runs",
                "picture": pictures.get(mistake.name, ""),
            }
            for mistake in shown
        ],
        "only": [
            {
                "title": f"{name}, seed {run.seed}",
                "count": len(found.only[path]),
                "names": found.only[path][:MOST_NAMES],
            }
            for path, (name, run) in counted.items()
            if path in found.only
        ],
    }


def _runs(comparison: Comparison) -> list[list[str]]:
    """A row for each run: group, folder, seed, figures, rates."""
    return [
        [
            group.name,
            run.name,
            str(run.seed),
            *map(percent, (run.result.train_accuracy, run.result.test_accuracy)),
            f"{percent(run.result.best_test_accuracy)} in epoch {run.result.best_epoch}",
            f"{run.result.lr_min:.3g} to {run.result.lr_max:.3g}",
            duration(run.result.total_seconds),
        ]
        for group in comparison.groups
        for run in group.runs
    ]
