"""The section on the learning rate: the range test's result, and how the peak was proven."""

from typing import Any

from onecycle.audit.evidence import Evidence
from onecycle.report import formats
from onecycle.run_dir.checking import to_json
from onecycle.run_dir.records import Proof, RangeTest
from onecycle.writing.numbers import counted


def learning_rate(files: Evidence) -> dict[str, Any]:
    """The rates, the range test's suggestions and the probes."""
    return {
        "finding": _finding(files.search),
        "proof": _proof(files.search.proof if files.search else None),
        "rates": {name: formats.rate(getattr(files.recipe, name)) for name in ("lr_min", "lr_max")},
    }


def _finding(found: RangeTest | None) -> dict[str, Any] | None:
    """The range test's result; `spread` when different seeds gave different rates."""
    if found is None:
        return None
    return {
        "why": found.why,
        "warnings": found.warnings,
        "spread": any(rate.low < rate.high for rate in found.suggestions.values()),
        "suggestions": [
            {"name": name, **{key: formats.rate(value) for key, value in to_json(rate).items()}}
            for name, rate in found.suggestions.items()
        ],
    }


def _proof(found: Proof | None) -> dict[str, Any] | None:
    """The probes of a proven peak rate, with the winner marked; None where there were none."""
    if found is None:
        return None
    return {
        "length": f"{counted(found.epochs, 'epoch')} ({counted(found.steps, 'step')})",
        "images": counted(found.images, "image"),
        "bracketed": found.bracketed,
        "lr_max": formats.rate(found.lr_max),
        "probes": [
            {
                "lr": formats.rate(probe.lr),
                "score": "diverged" if probe.score is None else formats.percent(probe.score),
                "best": probe.lr == found.best,
            }
            for probe in found.probes
        ],
    }
