"""The audit of a run: what was really done and reported, against what was asked for.

Each line compares a number that was measured, in the training's own pixels and optimizer or
recomputed from its files by other code than that which made it, with the recipe.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from onecycle.audit import figures, origins, rates, search, transforms
from onecycle.audit.evidence import Evidence
from onecycle.audit.line import NOT_MEASURED, Line
from onecycle.run_dir import RunDir

SECTIONS = {
    "Transforms": transforms.lines,
    "Rates": rates.lines,
    "Range test": search.lines,
    "Figures": figures.lines,
    "Repeating it": origins.lines,
}
"""Each part of the audit to the function that gives its lines."""


def audit(run: RunDir, result: Mapping[str, Any] | None = None) -> dict[str, list[Line]]:
    """All lines by section, from the run folder alone.

    Args:
        run: the run folder, of a finished run or not.
        result: what result.json is about to hold, since it is written last; None: what it holds.

    Raises:
        InputError: a file of the run is damaged.
    """
    evidence = Evidence(run, result)
    sections = {name: lines(evidence) for name, lines in SECTIONS.items()}
    if evidence.result is not None:
        return sections
    return {name: [_not_yet(line) for line in lines] for name, lines in sections.items()}


def _not_yet(line: Line) -> Line:
    """A line of a run that goes on: what it has no numbers for may still come."""
    return replace(line, found="not measured yet") if line.found == NOT_MEASURED else line


def failures(sections: Mapping[str, list[Line]]) -> list[Line]:
    """The lines that fail."""
    return [
        line
        for lines in sections.values()
        for line in lines
        if line.passed is not None and not line.passed
    ]


__all__ = ["Line", "audit", "failures"]
