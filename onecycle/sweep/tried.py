"""A trial of a study that ended, read from what Optuna keeps of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from onecycle.sweep.space import Point

if TYPE_CHECKING:
    import optuna

OWNER, POINT, WHY, SECONDS, BASELINE = "owner", "point", "why", "seconds", "baseline"
"""Names of what is kept with a trial. `baseline` marks the recipe itself, and is also the name of
what it reached, which is kept with the study."""


@dataclass(frozen=True)
class Tried:
    """A trial that ended.

    Attributes:
        number: of the trial in the study.
        point: its settings.
        state: `complete`, `pruned` or `failed`.
        accuracy: on the validation images (a fraction), of the last epoch that was seen; None if
            there was none.
        epochs: number of epochs that were seen.
        seconds: of its training.
        why: of a failed trial, the reason.
        is_recipe: whether it is the recipe itself.
    """

    number: int
    point: Point
    state: Literal["complete", "pruned", "failed"]
    accuracy: float | None
    epochs: int
    seconds: float = 0.0
    why: str = ""
    is_recipe: bool = False


def tried_of(frozen: "optuna.trial.FrozenTrial") -> Tried:
    """A trial as Optuna has it, which ended."""
    from optuna.trial import TrialState

    states: dict[TrialState, Literal["complete", "pruned", "failed"]] = {
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "pruned",
    }
    seen = frozen.intermediate_values
    last = seen[max(seen)] if seen else None
    complete = frozen.state == TrialState.COMPLETE
    return Tried(
        number=frozen.number,
        point=frozen.user_attrs.get(POINT, {}),
        state=states.get(frozen.state, "failed"),
        accuracy=frozen.value if complete else last,
        epochs=max(seen, default=0),
        seconds=frozen.user_attrs.get(SECONDS, 0.0),
        why=frozen.user_attrs.get(WHY, ""),
        is_recipe=BASELINE in frozen.user_attrs,
    )
