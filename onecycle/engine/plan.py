"""What a training will do: a recipe with a number for every rate.

A `Recipe` is what was asked for, and may say `auto` or `proven`. A `Plan` is what will be done,
with durations in steps. `Plan.of` turns the one into the other.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from onecycle import schedule
from onecycle.config import Recipe, override
from onecycle.errors import InputError

SEARCHED = ("lr_max", "lr_min")
"""The rates that a range test can find."""


class AtStep(NamedTuple):
    """Everything that changes from step to step.

    Attributes:
        lr: learning rate, above 0.
        momentum: SGD's, or AdamW's first beta, in [0, 1).
    """

    lr: float
    momentum: float


class Place(NamedTuple):
    """A point of a training. An earlier point is less than a later one.

    Attributes:
        step: optimizer steps done.
        closed: whether the evaluation after an epoch's last step is done. Within an epoch it is
            False.
    """

    step: int
    closed: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What will be done at each step of a training.

    Attributes:
        recipe: the resolved recipe, as recipe.toml records it. It gives the same plan again.
        steps_per_epoch: batches in an epoch.
        lr_min, lr_max, lr_final: rates at the first step, at the peak, at the last step.
    """

    recipe: Recipe
    steps_per_epoch: int
    lr_min: float
    lr_max: float
    lr_final: float

    @classmethod
    def of(cls, recipe: Recipe, steps_per_epoch: int) -> "Plan":
        """The plan of a recipe whose rates are numbers. If `lr_final` is `auto`, it is `lr_min`.

        Raises:
            InputError: a rate has yet to be found by a range test.
        """
        lr_max, lr_min = recipe.lr_max, recipe.lr_min
        if isinstance(lr_max, str) or isinstance(lr_min, str):
            name = to_search(recipe)[0]
            raise InputError(f"{name}: '{getattr(recipe, name)}' is not a number yet; give one")
        final = lr_min if isinstance(recipe.lr_final, str) else recipe.lr_final
        return cls(
            recipe=override(recipe, lr_final=final),
            steps_per_epoch=steps_per_epoch,
            lr_min=lr_min,
            lr_max=lr_max,
            lr_final=final,
        )

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        return self.recipe.epochs * self.steps_per_epoch

    @property
    def peak_step(self) -> int:
        """The step (0-based) at which the rate peaks."""
        return schedule.peak_step(self.recipe.resolved_peak_epoch, self.steps_per_epoch)

    @property
    def end(self) -> Place:
        """The end of the training: the last epoch is evaluated."""
        return Place(self.total_steps, closed=True)

    def at(self, step: int) -> AtStep:
        """The settings of `step` (from 0): a pure function, so steps can come in any order."""
        recipe, cycle = self.recipe, self._cycle
        lr = schedule.one_cycle(
            step, lr_min=self.lr_min, lr_max=self.lr_max, lr_final=self.lr_final, **cycle
        )
        if not recipe.cycle_momentum:
            return AtStep(lr, recipe.momentum)
        base, largest = recipe.base_momentum, recipe.max_momentum
        momentum = schedule.one_cycle_momentum(
            step, base_momentum=base, max_momentum=largest, **cycle
        )
        return AtStep(lr, momentum)

    @property
    def _cycle(self) -> dict[str, Any]:
        return {
            "total_steps": self.total_steps,
            "peak_step": self.peak_step,
            "anneal": self.recipe.anneal,
            "three_phase": self.recipe.three_phase,
        }


def to_search(recipe: Recipe) -> tuple[str, ...]:
    """Of `lr_max` and `lr_min`, in this order, those that are left to a range test."""
    return tuple(name for name in SEARCHED if isinstance(getattr(recipe, name), str))


def momentum_at_peak(recipe: Recipe) -> float:
    """The momentum at the peak rate, in [0, 1)."""
    return recipe.base_momentum if recipe.cycle_momentum else recipe.momentum
