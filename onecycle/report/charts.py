"""Charts drawn into the page from the run's records: they use its colours and fit a phone.

The PNGs of the plots folder, made for papers, are embedded only where a record is missing.
"""

from collections.abc import Callable

from onecycle import pictures, plots
from onecycle.audit.evidence import Evidence
from onecycle.plots.style import NARROW, WIDE

Draw = Callable[[Evidence, float], plots.Figure | None]
"""Draws a chart for a page, at a width in inches; None where the record is missing."""


def charts(files: Evidence) -> dict[str, dict[str, str]]:
    """SVG elements by plot name, each at both widths."""
    found = {name: _at_both_widths(files, name, draw) for name, draw in DRAWN.items()}
    return {name: chart for name, chart in found.items() if chart is not None}


def _at_both_widths(files: Evidence, name: str, draw: Draw) -> dict[str, str] | None:
    """None where the record is missing, or is of an earlier version and incomplete.

    The page then shows the plot from the plots folder.
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


DRAWN: dict[str, Draw] = {
    "lr_range_test": pictures.searched,
    "one_cycle": pictures.one_cycle,
    "curves": pictures.learned,
}
