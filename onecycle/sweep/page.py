"""A sweep as one self-contained HTML page, in the style of a comparison's."""

from collections.abc import Sequence
from typing import Any

from onecycle import plots
from onecycle.experiments import columns, tables
from onecycle.experiments.tables import Table
from onecycle.plots.search import Point
from onecycle.sweep.result import Sweep
from onecycle.sweep.space import Dimension
from onecycle.sweep.tried import Tried
from onecycle.writing import pages
from onecycle.writing.numbers import counted, duration, in_full, percent

MOST_ROWS = 200
"""Trials that the page lists, the best ones; --json has all."""


def to_html(sweep: Sweep) -> str:
    """The page."""
    points = _points(sweep, sweep.tried)
    compared = sweep.comparison
    return pages.ENVIRONMENT.get_template("sweep.html.j2").render(
        subject=subject(sweep),
        verdict=sweep.verdict,
        settings=settings(sweep),
        figures=tables.figures(compared) if compared else None,
        differences=tables.differences(compared, compared.pairs) if compared else None,
        legend=columns.legend(compared) if compared else "",
        notes=compared.notes if compared else [],
        seeds=plots.svg(_seeds(sweep), prefix="seeds-") if compared else "",
        course=plots.svg(plots.search_course(points, sweep.baseline), prefix="course-"),
        importances=plots.svg(plots.search_importances(sweep.importances), prefix="importances-")
        if sweep.importances
        else "",
        slices=[(each.name, _slice(sweep, each)) for each in sweep.space],
        cost=cost(sweep),
        trials=trials(sweep, MOST_ROWS),
        hidden=max(0, len(sweep.tried) - MOST_ROWS),
    )


def subject(sweep: Sweep) -> str:
    """`20 trials of demo over 3 settings, on shapes`."""
    return (
        f"{counted(len(sweep.tried), 'trial')} of {sweep.recipe.recipe} over "
        f"{counted(len(sweep.space), 'setting')}, on {sweep.recipe.data}"
    )


def settings(sweep: Sweep) -> Table:
    """A row for each setting that was searched: the recipe's value and the best trial's."""
    best = sweep.best.point if sweep.best else {}
    rows = [
        [
            each.name,
            shown(getattr(sweep.recipe, each.name)),
            shown(best[each.name]) if each.name in best else "not in use",
            _range(each),
        ]
        for each in sweep.space
    ]
    return Table(["", "recipe", "best trial", "searched"], rows, [False, True, True, False])


def cost(sweep: Sweep) -> Table:
    """A row for each way a trial can end: how many, their epochs and time."""
    rows = []
    for state in ("complete", "pruned", "failed"):
        some = [each for each in sweep.tried if each.state == state]
        if some:
            epochs = sum(each.epochs for each in some)
            rows.append(
                [state, str(len(some)), f"{epochs:,}", duration(sum(t.seconds for t in some))]
            )
    return Table(["", "trials", "epochs", "time"], rows, [False, True, True, True])


def trials(sweep: Sweep, most: int) -> Table:
    """A row for each of the best trials."""
    ranked = sorted(
        sweep.tried,
        key=lambda t: (t.state != "complete", t.state == "failed", -(t.accuracy or 0), t.number),
    )
    rows = [
        [
            _name(each),
            each.state,
            "" if each.accuracy is None else percent(each.accuracy, unit=""),
            str(each.epochs),
            *(shown(each.point[n]) if n in each.point else "" for n in sweep.space.names),
        ]
        for each in ranked[:most]
    ]
    headings = ["", "state", "val %", "epochs", *sweep.space.names]
    return Table(headings, rows, [False, False, True, True] + [True] * len(sweep.space))


def shown(value: Any) -> str:
    """A setting's value with four digits, which best.toml has in full."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _name(trial: Tried) -> str:
    return "recipe" if trial.is_recipe else f"trial {trial.number}"


def _range(dimension: Dimension) -> str:
    """`0.01 to 0.5, logarithmic`, or the values."""
    if dimension.values:
        told = ", ".join(map(shown, dimension.values))
    else:
        told = f"{in_full(dimension.low)} to {in_full(dimension.high)}"
        told += ", logarithmic" if dimension.log else ""
        told += f", in steps of {in_full(dimension.step)}" if dimension.step else ""
    when = " and ".join(
        f"{name} is {' or '.join(map(shown, values))}" for name, values in dimension.when.items()
    )
    return f"{told}; when {when}" if when else told


def _points(sweep: Sweep, some: Sequence[Tried]) -> list[Point]:
    best = sweep.best.number if sweep.best else -1
    return [
        Point(each.number, each.accuracy, each.state == "complete", each.number == best)
        for each in some
        if each.accuracy is not None
    ]


def _slice(sweep: Sweep, dimension: Dimension) -> str:
    """The chart of one setting."""
    some = [t for t in sweep.tried if dimension.name in t.point and t.accuracy is not None]
    values: list[Any] = [each.point[dimension.name] for each in some]
    if dimension.values:
        values = [shown(value) for value in values]
    figure = plots.search_slice(
        dimension.name,
        values,
        _points(sweep, some),
        log=dimension.log,
        among=[shown(value) for value in dimension.values],
    )
    return plots.svg(figure, prefix=f"slice-{dimension.name}-")


def _seeds(sweep: Sweep) -> plots.Figure:
    from onecycle.experiments import page

    assert sweep.comparison
    return page.seeds(sweep.comparison)
