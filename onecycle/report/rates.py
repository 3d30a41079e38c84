"""The section on the learning rate: what the range test said, and how the peak was proven."""

from collections.abc import Mapping
from typing import Any

from onecycle.nouns import counted
from onecycle.report import words
from onecycle.report.files import Files


def learning_rate(files: Files) -> dict[str, Any]:
    """The rates, the range test's suggestions and the probes."""
    return {
        "finding": _finding(files.found),
        "proof": _proof((files.found or {}).get("proof")),
        "rates": {name: words.rate(getattr(files.recipe, name)) for name in ("lr_min", "lr_max")},
    }


def _finding(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the range test said; `spread` when seeds gave more than one rate."""
    if found is None:
        return None
    suggestions = found.get("suggestions", {})
    return {
        "why": found.get("why", ""),
        "warnings": found.get("warnings", []),
        "spread": any(rate["low"] < rate["high"] for rate in suggestions.values()),
        "suggestions": [
            {"name": name, **{key: words.rate(value) for key, value in rate.items()}}
            for name, rate in suggestions.items()
        ],
    }


def _proof(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The probes of a proven peak rate, the winner marked; None where there were none."""
    if found is None:
        return None
    return {
        "length": f"{counted(found['epochs'], 'epoch')} ({counted(found['steps'], 'step')})",
        "images": counted(found["images"], "image"),
        "bracketed": found["bracketed"],
        "lr_max": words.rate(found["lr_max"]),
        "probes": [
            {
                "lr": words.rate(probe["lr"]),
                "score": "diverged" if probe["score"] is None else words.percent(probe["score"]),
                "best": probe["lr"] == found["best"],
            }
            for probe in found["probes"]
        ],
    }
