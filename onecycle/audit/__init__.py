"""The audit of a run: what was really done and reported, against what was asked for.

Each line compares a number that was measured, in the training's own pixels and optimizer or
recomputed from its files by other code than that which made it, with the recipe.
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
"""Each part of the audit to the function that gives its lines."""


NOT_MEASURED = "not measured: the run is of an earlier version"
NOT_YET = "not measured yet"
"""What is found where a run has no numbers; those of a run that goes on may still come."""


def audit(run: RunDir | Evidence) -> dict[str, list[Line]]:
    """All lines by section, from the run folder alone, of a finished run or not.

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
