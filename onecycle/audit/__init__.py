"""The audit of a run: compares what was done and reported with what was asked for.

Each line compares a measured number with the recipe. The number was read from the training's pixels
and optimizer, or is recomputed from its files by separate code.
"""

from collections.abc import Mapping
from dataclasses import replace

from onecycle.audit import cycle, metrics, origins, range_test, transforms
from onecycle.audit.evidence import Evidence
from onecycle.audit.line import Line
from onecycle.run_dir import RunDir

SECTIONS = {
    "Transforms": transforms.lines,
    "Rates": cycle.lines,
    "Range test": range_test.lines,
    "Figures": metrics.lines,
    "Repeating it": origins.lines,
}
"""The function that returns the lines of each section."""


NOT_MEASURED = "not measured: the run is of an earlier version"
NOT_YET = "not measured yet"
"""Shown where a run has no numbers; an unfinished run may still get them."""


def audit(run: RunDir | Evidence) -> dict[str, list[Line]]:
    """All lines by section, read from the folder of a finished or unfinished run.

    Raises:
        InputError: a file of the run is damaged.
    """
    evidence = run if isinstance(run, Evidence) else Evidence(run)
    lacking = NOT_YET if evidence.result is None else NOT_MEASURED
    return {
        name: [line if line.found else replace(line, found=lacking) for line in lines(evidence)]
        for name, lines in SECTIONS.items()
    }


def failures(sections: Mapping[str, list[Line]]) -> list[Line]:
    """The lines that fail."""
    return [
        line
        for lines in sections.values()
        for line in lines
        if line.passed is not None and not line.passed
    ]


__all__ = ["Line", "audit", "failures"]
