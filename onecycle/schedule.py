"""Learning rate and momentum as pure functions of the step.

The one-cycle policy: Smith and Topin, "Super-Convergence", 2018 (arXiv:1708.07120). The rate rises
from `lr_min` to `lr_max` at the peak step and falls to `lr_final`. With `lr_final = lr_min`, the
default, there is no annihilation phase. At equal settings all values are those of PyTorch's
`OneCycleLR`. Steps count from 0.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from onecycle.errors import InputError
from onecycle.writing.numbers import counted

Anneal = Literal["linear", "cosine"]


def peak_step(peak_epoch: float, steps_per_epoch: int) -> int:
    """The step that ends at `peak_epoch`: `round(peak_epoch * steps_per_epoch) - 1`, at least 0."""
    return max(0, round(peak_epoch * steps_per_epoch) - 1)


def one_cycle(
    step: int,
    *,
    total_steps: int,
    peak_step: int,
    lr_min: float,
    lr_max: float,
    lr_final: float | None = None,
    anneal: Anneal = "linear",
    three_phase: bool = False,
) -> float:
    """The learning rate at `step`.

    Args:
        step: from 0 to total_steps - 1; the last step's rate is kept beyond it.
        total_steps: steps of the cycle, at least 1.
        peak_step: the step at `lr_max`, in [0, total_steps - 1].
        lr_min: the rate at step 0.
        lr_max: the rate at the peak.
        lr_final: the rate at the last step; None: `lr_min`.
        anneal: shape of each slope: `linear`, or half a `cosine`.
        three_phase: fall to `lr_min` within as many steps as the rise took, then to `lr_final`.

    Raises:
        InputError: a negative step, or a peak that lies outside the cycle.
    """
    final = lr_min if lr_final is None else lr_final
    knots = [(0, lr_min), (peak_step, lr_max), (total_steps - 1, final)]
    if three_phase:
        knots.insert(2, (2 * peak_step, lr_min))
    return _between(step, knots, anneal)


def one_cycle_momentum(
    step: int,
    *,
    total_steps: int,
    peak_step: int,
    base_momentum: float,
    max_momentum: float,
    anneal: Anneal = "linear",
    three_phase: bool = False,
) -> float:
    """The cycled momentum at `step`: `max_momentum` at both ends, `base_momentum` at the peak.

    Args as for `one_cycle`. In a third phase the momentum stays at `max_momentum`.
    """
    knots = [(0, max_momentum), (peak_step, base_momentum), (total_steps - 1, max_momentum)]
    if three_phase:
        knots.insert(2, (2 * peak_step, max_momentum))
    return _between(step, knots, anneal)


def range_test_lr(
    step: int,
    *,
    steps: int,
    lr_start: float,
    lr_end: float,
    ramp: Literal["exponential", "linear"] = "exponential",
) -> float:
    """The rate at `step` of a range test of `steps` steps: `lr_start` first, `lr_end` last."""
    share = step / (steps - 1) if steps > 1 else 0.0
    if ramp == "linear":
        return lr_start + (lr_end - lr_start) * share
    return lr_start * (lr_end / lr_start) ** share


def _between(step: int, knots: list[tuple[int, float]], anneal: Anneal) -> float:
    """The value at `step` on slopes through the knots (step, value)."""
    if step < 0:
        raise InputError(f"step: {step} is negative; steps count from 0")
    places = [place for place, _ in knots]
    if places != sorted(places):
        what = "half of the cycle" if len(knots) > 3 else "the cycle"
        raise InputError(
            f"peak_step: {places[1]} lies outside {what} of {counted(places[-1] + 1, 'step')}; "
            "lower it"
        )
    for (left, start), (right, end) in pairwise(knots):
        if step <= right and right > left:
            return _slope(start, end, (step - left) / (right - left), anneal)
    return knots[-1][1] if step > knots[0][0] or len(set(places)) > 1 else knots[1][1]


def _slope(start: float, end: float, share: float, anneal: Anneal) -> float:
    """From `start` (share 0) to `end` (share 1)."""
    if anneal == "linear":
        return start + (end - start) * share
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def set_value(group: dict[str, Any], key: str, value: float) -> None:
    """Set a parameter group's `lr` or `momentum`; a tensor is filled in place.

    Compiled and captured steps read that very tensor; they would not see a new one.
    """
    if isinstance(group[key], Tensor):
        with torch.no_grad():
            group[key].fill_(value)
    else:
        group[key] = value


def set_momentum(group: dict[str, Any], momentum: float) -> None:
    """Set a parameter group's momentum, or its first beta if it has no momentum."""
    if "momentum" in group:
        set_value(group, "momentum", momentum)
    elif isinstance(group["betas"][0], Tensor):
        with torch.no_grad():
            group["betas"][0].fill_(momentum)
    else:
        group["betas"] = (momentum, *group["betas"][1:])


class OneCycle(LRScheduler):
    """The one-cycle policy as a PyTorch scheduler, for training loops of your own.

    Call `step()` once after each `optimizer.step()`. Each parameter group may have its own peak.
    After the last step the final rate is kept, so a loop that runs longer does not fail. Loading a
    state sets the optimizer's rates at once. Rates and momenta that are tensors are filled in
    place.

    A group that is added later joins at the next `step()`. If it has its own rate, it keeps that
    rate's ratio to the largest of the others at that moment. If its rate is the optimizer's
    default, it gets the rates of the group with the largest rate.

    Args:
        optimizer: its groups must have `momentum` or `betas` if the momentum is cycled.
        total_steps: steps of the cycle, at least 1.
        peak_step: the step (from 0) at `lr_max`; see the function `peak_step`.
        lr_max: the rate at the peak, or one for each parameter group.
        lr_min: the rate at step 0, or one for each parameter group.
        lr_final: the rate at the last step, or one for each group; None: `lr_min`.
        anneal, three_phase: as for `one_cycle`.
        cycle_momentum: cycle the momentum (Adam: the first beta) opposite to the rate.
        base_momentum, max_momentum: as for `one_cycle_momentum`.

    Raises:
        InputError: the peak lies outside the cycle, or a list has not one rate for each group.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        total_steps: int,
        peak_step: int,
        lr_max: float | Sequence[float],
        lr_min: float | Sequence[float],
        lr_final: float | Sequence[float] | None = None,
        anneal: Anneal = "linear",
        three_phase: bool = False,
        cycle_momentum: bool = False,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
    ) -> None:
        if total_steps < 1:
            raise InputError(f"total_steps: {total_steps} is not at least 1")
        groups = len(optimizer.param_groups)
        self._added: list[int] = []
        _part_shared_rates(optimizer)
        self._rates: list[tuple[float, float, float]] = list(
            zip(
                _per_group("lr_min", lr_min, groups),
                _per_group("lr_max", lr_max, groups),
                _per_group("lr_final", lr_min if lr_final is None else lr_final, groups),
                strict=True,
            )
        )
        self._cycle: dict[str, Any] = {
            "total_steps": total_steps,
            "peak_step": peak_step,
            "anneal": anneal,
            "three_phase": three_phase,
        }
        self._momenta = (base_momentum, max_momentum) if cycle_momentum else None
        if cycle_momentum and not {"momentum", "betas"} & set(optimizer.param_groups[0]):
            raise InputError(
                "cycle_momentum: the optimizer has neither momentum nor betas; leave it out"
            )
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The rate of each parameter group at the current step."""
        self._join_new_groups()
        return [self._lr(rates) for rates in self._rates[: len(self.optimizer.param_groups)]]

    def get_last_lr(self) -> list[float | Tensor]:
        """The rate of each parameter group at the last step; of later groups, their own rate."""
        new = self.optimizer.param_groups[len(self._last_lr) :]
        return [*self._last_lr, *(float(group["lr"]) for group in new)]

    def step(self, epoch: int | None = None) -> None:
        """Advance to the next step: set every group's rate and, if cycled, its momentum."""
        super().step(epoch)
        self._set_momentum()

    def state_dict(self) -> dict[str, Any]:
        """The position in the cycle, and `added`: index and rates of each group added later.

        Everything else is passed to the constructor again.
        """
        self._join_new_groups()
        added = [[place, *self._rates[place]] for place in self._added]
        return {"step": self.last_epoch} | ({"added": added} if added else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to a saved position, and set the optimizer's rates and momentum accordingly.

        Groups that were added before the state was saved may be added before or after this call.
        Groups that the state doesn't know join as if they were added now.
        """
        self._join_new_groups()
        for place, low, high, final in state_dict.get("added", ()):
            if place > len(self._rates):
                raise InputError(
                    f"state_dict: its group {place} was added to {place} others, but the optimizer "
                    f"has {len(self._rates)}; build it with the same groups, then load"
                )
            self._added = sorted({*self._added, place})
            self._rates[place : place + 1] = [(low, high, final)]
        self.last_epoch = int(state_dict["step"])
        rates = self.get_lr()
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            set_value(group, "lr", lr)
        self._last_lr: list[float | Tensor] = [*rates]
        self._set_momentum()

    def _lr(self, rates: tuple[float, float, float]) -> float:
        low, high, final = rates
        return one_cycle(self.last_epoch, lr_min=low, lr_max=high, lr_final=final, **self._cycle)

    def _join_new_groups(self) -> None:
        """Set rates for the groups that were added to the optimizer since the last call."""
        groups = self.optimizer.param_groups
        if len(groups) <= len(self._rates):
            return
        known = len(self._rates)
        leader = max(range(known), key=lambda place: float(groups[place]["lr"]))
        for place in range(known, len(groups)):
            ratio = self._ratio(groups[place], groups[leader])
            low, high, final = self._rates[leader]
            self._rates.append((ratio * low, ratio * high, ratio * final))
            self._added.append(place)
        _part_shared_rates(self.optimizer)

    def _ratio(self, new: dict[str, Any], leader: dict[str, Any]) -> float:
        """A new group's rate over the leading group's; 1 if it has the optimizer's default."""
        default, largest = self.optimizer.defaults.get("lr"), float(leader["lr"])
        if new["lr"] is default or (default is not None and float(new["lr"]) == float(default)):
            return 1.0
        return float(new["lr"]) / largest if largest > 0 else 1.0

    def _set_momentum(self) -> None:
        if self._momenta is None:
            return
        base, largest = self._momenta
        momentum = one_cycle_momentum(
            self.last_epoch, base_momentum=base, max_momentum=largest, **self._cycle
        )
        for group in self.optimizer.param_groups:
            set_momentum(group, momentum)


def _part_shared_rates(optimizer: Optimizer) -> None:
    """Give each group its own rate tensor where several share that of the defaults."""
    seen: set[int] = set()
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor) and id(group["lr"]) in seen:
            group["lr"] = group["lr"].clone()
        seen.add(id(group["lr"]))


def _per_group(name: str, value: float | Sequence[float], groups: int) -> list[float]:
    values = [float(v) for v in value] if isinstance(value, Sequence) else [float(value)] * groups
    if len(values) != groups:
        raise InputError(
            f"{name}: got {len(values)} for {counted(groups, 'parameter group')}; give one for each"
        )
    return values
