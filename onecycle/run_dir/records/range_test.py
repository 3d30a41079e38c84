"""The record of the range test: lr_range_test.json."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from onecycle.run_dir.checking import NULLABLE
from onecycle.run_dir.records.base import Count, Number, Recorded, Seconds, Setting, Share


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A method's suggestion: the median, and the range over repeats."""

    lr: Number
    low: Number
    high: Number


@dataclass(frozen=True, kw_only=True)
class Band:
    """The median of the range test's curves, for the plot."""

    lr: list[Number]
    loss: list[float]
    smoothed: list[float]
    searched: tuple[Number, Number] | None = None
    low: list[float] | None = None
    high: list[float] | None = None


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One range test's curve; see `lr_finder.LRCurve`."""

    lr: list[Number]
    loss: list[float]
    ramp: Literal["exponential", "linear"]
    stopped: str
    planned: Count
    adaptive: bool = False
    batch_size: Count = 0
    optimizer: dict[str, Any] = field(default_factory=dict)
    smoothed: list[float] | None = None


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A short training. Its score is None if it diverged."""

    lr: Number
    score: Share | None


@dataclass(frozen=True, kw_only=True)
class Proof:
    """The short trainings that proved a peak rate, and the images that judged them."""

    lr_max: Number
    best: Number
    probes: list[Probe]
    bracketed: bool
    epochs: Count
    steps: Count
    images: Count


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Rates that a range test has chosen."""

    lr_min: Number
    lr_max: Number


BOTH = {"lr_min": "auto", "lr_max": "auto"}
"""The request in a run of an older version, which did not record it."""

Method = Literal["recommended", "safe", "proven", "lr_min"]
"""How a rate was found."""


@dataclass(frozen=True, kw_only=True)
class RangeTest(Recorded):
    """lr_range_test.json: the outcome of the range test.

    Attributes:
        lr_min, lr_max: the rates that it recommends.
        asked: the two rates in the recipe: numbers, or `auto` or `proven`.
        chosen: the rates that the training used.
        by: the method by which each rate was found.
        why: the same as text.
    """

    FILE: ClassVar = "lr_range_test.json"

    lr_min: Number | None = None
    lr_max: Number | None = None
    suggestions: dict[str, Suggestion] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    replaced: Number | None = field(default=None, metadata=NULLABLE)
    curve: Band | None = None
    curves: list[Curve] = field(default_factory=list)
    asked: dict[str, float | str] = field(default_factory=lambda: dict(BOTH))
    chosen: Rates | None = None
    by: dict[str, Method] = field(default_factory=dict)
    why: str = ""
    proof: Proof | None = field(default=None, metadata=NULLABLE)
    optimizer: dict[str, Setting] | None = None
    seconds: Seconds | None = None

    @classmethod
    def upgraded(cls, value: Any) -> Any:
        """The first versions gave the method for each rate only as text."""
        if not isinstance(value, dict) or "by" in value or not isinstance(value.get("why"), str):
            return value
        methods = {"lr_max": "proven" if value.get("proof") else "recommended", "lr_min": "lr_min"}
        by = {name: method for name, method in methods.items() if f"{name} by" in value["why"]}
        return value | {"by": by}
