"""Charts drawn into the page from the run's records: they take its colours, and fit a phone.

What the plots folder has for a paper, white PNGs, is embedded only where a record is lacking.
"""

from collections.abc import Callable
from typing import Any

from onecycle import plots
from onecycle.plots.style import NARROW, WIDE
from onecycle.report.files import Files

Draw = Callable[[Files, float], plots.Figure | None]
"""Draws a chart for a page, at a width in inches; None where the record is lacking."""


def charts(files: Files) -> dict[str, dict[str, str]]:
    """SVG elements by the names of the plots, each at both widths."""
    found = {name: _at_both_widths(files, name, draw) for name, draw in DRAWN.items()}
    return {name: chart for name, chart in found.items() if chart is not None}


def _at_both_widths(files: Files, name: str, draw: Draw) -> dict[str, str] | None:
    """None where the record is lacking or is one of an earlier version, without all that it needs.

    The plot that was drawn then is shown in its place.
    """
    drawn = {}
    for size, width in (("wide", WIDE), ("narrow", NARROW)):
        try:
            figure = draw(files, width)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return None
        if figure is None:
            return None
        drawn[size] = plots.svg(figure, prefix=f"{name}-{size}-")
    return drawn


def _lr_range_test(files: Files, width: float) -> plots.Figure | None:
    found: Any = files.found
    if found is None or not {"chosen", "curve", "suggestions"} <= found.keys():
        return None
    if not {"lr_min", "lr_max"} <= found["chosen"].keys():
        return None
    chosen = (found["chosen"]["lr_min"], found["chosen"]["lr_max"])
    return plots.lr_range_test(found["curve"], found["suggestions"], chosen, page_width=width)


def _one_cycle(files: Files, width: float) -> plots.Figure | None:
    """Of the steps made so far."""
    first = files.epochs[0].get("step") if files.epochs else None
    if not files.steps or not first:
        return None
    rates = [row["lr"] for row in files.steps]
    return plots.one_cycle(
        rates,
        [row["momentum"] for row in files.steps],
        steps_per_epoch=max(1, first // files.epochs[0]["epoch"]),
        peak_step=rates.index(max(rates)),
        page_width=width,
    )


def _curves(files: Files, width: float) -> plots.Figure | None:
    rows: Any = files.epochs
    return plots.curves(rows, page_width=width) if rows else None


DRAWN: dict[str, Draw] = {
    "lr_range_test": _lr_range_test,
    "one_cycle": _one_cycle,
    "curves": _curves,
}
