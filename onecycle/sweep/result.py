"""What a sweep found."""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onecycle.config import Recipe
from onecycle.sweep.space import Space
from onecycle.sweep.study import RECIPE
from onecycle.sweep.tried import Tried
from onecycle.writing.numbers import counted, percent

if TYPE_CHECKING:
    from onecycle.experiments import Comparison


@dataclass(frozen=True, repr=False)
class Sweep:
    """A sweep after its trials have ended.

    Attributes:
        folder: of the sweep.
        recipe: what its trials built on.
        space: what was searched.
        tried: every trial that ended, of all drivers.
        baseline: validation accuracy of the recipe itself; None if its training failed.
        importances: how much of the variance of the accuracies each setting explains.
        best: the trial with the best validation accuracy; None if none was completed.
        winner: the recipe with the best settings, as it was trained in the end.
        comparison: of winner and recipe on the test split; None as long as others still search.
        waiting_for: trials that other drivers are at.
        network: the name of a network of one's own that was given.
    """

    folder: Path
    recipe: Recipe
    space: Space
    tried: tuple[Tried, ...]
    baseline: float | None
    importances: dict[str, float]
    best: Tried | None
    winner: Recipe | None
    comparison: "Comparison | None"
    waiting_for: int = 0
    network: str | None = None

    @property
    def page(self) -> Path:
        """The page with everything the sweep found."""
        return self.folder / "sweep.html"

    @property
    def found_better(self) -> bool:
        """Whether the best trial is better on validation than the recipe itself."""
        if self.best is None or self.best.is_recipe:
            return False
        return self.baseline is None or (self.best.accuracy or 0) > self.baseline

    @cached_property
    def verdict(self) -> str:
        """Whether the winner is better than its recipe on the test split, in a sentence."""
        if self.best is None:
            return "No trial was completed."
        if not self.found_better:
            return "No settings were better on validation than those of the recipe."
        if self.comparison is None:
            others = counted(self.waiting_for, "trial")
            return f"Other drivers are still at {others}, so the winner is not known yet."
        return _on_the_test_split(self.comparison)

    @property
    def seconds(self) -> float:
        """Of all trials together."""
        return sum(each.seconds for each in self.tried)

    def count(self, state: str) -> int:
        """How many trials ended so."""
        return sum(each.state == state for each in self.tried)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values; see docs/sweep.md."""
        return {
            "folder": str(self.folder),
            "page": str(self.page),
            "space": list(self.space.names),
            "trials": [asdict(each) for each in self.tried],
            "complete": self.count("complete"),
            "pruned": self.count("pruned"),
            "failed": self.count("failed"),
            "seconds": self.seconds,
            "baseline": self.baseline,
            "best": None if self.best is None else asdict(self.best),
            "importances": self.importances,
            "winner": None if self.winner is None else asdict(self.winner),
            "verdict": self.verdict,
            "waiting_for": self.waiting_for,
            "comparison": None if self.comparison is None else self.comparison.to_json(),
        }

    def __repr__(self) -> str:
        return f"<Sweep: {counted(len(self.tried), 'trial')} in {self.folder}>"

    def _repr_markdown_(self) -> str:
        table = "" if self.comparison is None else f"\n\n{self.comparison.to_markdown()}"
        return f"{self.verdict}{table}"


def _on_the_test_split(comparison: "Comparison") -> str:
    """Whether the winner is better than its recipe there, with the accuracies of both."""
    recipe, winner = sorted(
        comparison.groups, key=lambda group: not group.runs[0].path.name.startswith(f"{RECIPE},")
    )
    accuracies = [percent(group.mean("test_accuracy")) for group in (winner, recipe)]
    told = f"{accuracies[0]} against {accuracies[1]} test accuracy over {counted(recipe.n, 'seed')}"
    pair = comparison.pairs[0]
    if pair.distinguishable is None:
        return f"Winner and recipe: {told}, which can't be tested ({pair.reason})."
    if not pair.distinguishable:
        return f"Winner and recipe can't be told apart on the test split: {told}."
    better = (pair.second if pair.difference > 0 else pair.first) == winner.letter
    return f"The winner is {'better' if better else 'worse'} than the recipe: {told}."
