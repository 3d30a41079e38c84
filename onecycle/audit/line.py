"""A line of the audit."""

from dataclasses import dataclass

from onecycle.writing import numbers


@dataclass(frozen=True)
class Line:
    """One thing that was asked for, and what was measured.

    Attributes:
        name: what is checked.
        asked: what the recipe asks for, in words.
        found: what was measured, with its number; empty where a run has no numbers.
        passed: None where it could not be measured; `found` says why.
    """

    name: str
    asked: str
    found: str
    passed: bool | None

    def __post_init__(self) -> None:
        if self.passed is not None:  # NumPy's and SciPy's truths are not `True` and `False`
            object.__setattr__(self, "passed", bool(self.passed))


def unknown(name: str, asked: str, found: str = "") -> Line:
    """A line for what could not be measured; `found` says why, or is empty without numbers."""
    return Line(name, asked, found, None)


def percent(share: float) -> str:
    """A share to one decimal."""
    return numbers.percent(share, 1)
