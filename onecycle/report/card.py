"""The audit card: each line with what was asked, what was measured, and whether they agree."""

from typing import Any

from onecycle.audit import audit
from onecycle.audit.evidence import Evidence
from onecycle.writing.numbers import counted

STATES = {True: "pass", False: "fail", None: "open"}
WORDS = {"pass": "holds", "fail": "fails", "open": "not measured"}


def card(files: Evidence) -> dict[str, Any]:
    """The sections with their lines, the overall state, and a verdict in words."""
    sections = {
        name: [
            {
                "name": line.name,
                "asked": line.asked,
                "found": line.found,
                "state": STATES[line.passed],
                "word": WORDS[STATES[line.passed]],
            }
            for line in lines
        ]
        for name, lines in audit(files).items()
        if lines
    }
    states = [line["state"] for lines in sections.values() for line in lines]
    counts = {state: states.count(state) for state in WORDS}
    return {
        "sections": sections,
        "state": "fail" if counts["fail"] else "open" if counts["open"] else "pass",
        "verdict": _verdict(counts),
    }


def _verdict(counts: dict[str, int]) -> str:
    measured = counts["pass"] + counts["fail"]
    words = f"{counts['pass']} of {counted(measured, 'line')} hold"
    if counts["fail"]:
        words += f", {counts['fail']} fail{'s' if counts['fail'] == 1 else ''}"
    return words + (f"; {counts['open']} could not be measured" if counts["open"] else "")
