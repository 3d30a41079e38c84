"""The LR range test: train while the rate rises, record the loss, and restore everything.

Smith, "Cyclical Learning Rates for Training Neural Networks", 2017 (arXiv:1506.01186).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from onecycle import optim
from onecycle.errors import InputError, TrainingError
from onecycle.lr_finder.curve import LRCurve
from onecycle.lr_finder.steps import LossFunction, PairStep, Step, own, validated
from onecycle.lr_finder.supply import Batch, Supply
from onecycle.lr_finder.untouched import untouched
from onecycle.progress import IN_NOTEBOOKS, Progress
from onecycle.schedule import range_test_lr, set_value
from onecycle.writing.numbers import in_full

_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType, partial)
DIVERGENCE = 3.0
"""The ramp stops once the loss exceeds its minimum by this multiple of its drop from the start."""


def lr_range_test(
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: LossFunction | None = None,
    batches: Iterable[Batch] | None = None,
    *,
    step: Callable[[int], Tensor | float] | None = None,
    steps: int = 100,
    lr_start: float = 1e-7,
    lr_end: float = 10.0,
    ramp: Literal["exponential", "linear"] = "exponential",
    accumulate: int = 1,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    scaler: "torch.amp.GradScaler | None" = None,
    validation: Iterable[Batch] | None = None,
    batch_size: int = 0,
    others: Sequence[Any] = (),
    progress: Progress = IN_NOTEBOOKS,
) -> LRCurve:
    """The loss at each of `steps` rising rates, measured with the training's own optimizer.

    Pass either `loss_fn` and `batches`, or your own `step`. Everything is restored, also after an
    exception: see `untouched`. (Batches taken from an iterator are gone; pass a DataLoader or a
    list, which start over. Counters of your own objects are restored only if they are in
    `others`.)

    Args:
        model: any network; it is trained in its current mode (train or eval).
        optimizer: any optimizer over the model's parameters. The largest rate among its groups
            follows the ramp, and the others keep their ratio to it.
        loss_fn: `(output, target) -> scalar`. If the loss has a state, it is restored.
        batches: `(input, target)` pairs on the model's device; started over when they run out.
        step: `step(i)` does the i-th training step (forward, backward, update) and returns its
            loss: a number, or a tensor or array of one element. Use it for any loop that does not
            fit `loss_fn` and `batches`. Models, optimizers, schedulers, loaders and random
            generators that it refers to are restored, too.
        steps: steps of the ramp, at least 2.
        lr_start, lr_end: first and last rate, 0 < lr_start < lr_end.
        ramp: `exponential`, or `linear`.
        accumulate: batches per step; the loss is their mean.
        autocast: makes the context for forward passes, e.g. `lambda: torch.autocast("cuda")`.
        scaler: scales the loss for float16.
        validation: a list of batches; the curve then has their mean loss after each step instead
            of the training loss.
        batch_size: inputs per step, which the recommended rate depends on; 0: count the targets in
            `batches`. With `step` it is not known unless you pass it.
        others: further objects that a step changes and that must be fully restored: an EMA, a
            dict of tensors, your own object with a counter.
        progress: receives progress reports.

    Returns:
        The curve, cut before the first loss that is not finite, and after a blow-up.

    Raises:
        InputError: arguments that can't work, with the remedy.
        TrainingError: the loss is not finite at the very first step.
    """
    _check(model, optimizer, lr_start, lr_end, steps)
    supply = Supply(batches)
    if step is None:
        do = PairStep(model, optimizer, loss_fn, supply, accumulate, autocast, scaler)
    else:
        do = own(step)
    whole = [scaler, *others]
    seen_by = {"step": step, "batches": batches, "validation": validation}
    if isinstance(loss_fn, _FUNCTIONS):
        seen_by["loss_fn"] = loss_fn
    else:
        whole.append(loss_fn)
    with untouched(model, optimizer, *whole, seen_by=seen_by):
        try:
            if validation is not None:
                do = validated(do, model, loss_fn, validation, autocast)
            curve = _curve(do, optimizer, steps, lr_start, lr_end, ramp, progress)
        finally:
            supply.close()
    return replace(curve, batch_size=batch_size or supply.largest * accumulate)


def _curve(
    step: Step,
    optimizer: Optimizer,
    steps: int,
    lr_start: float,
    lr_end: float,
    ramp: Literal["exponential", "linear"],
    progress: Progress,
) -> LRCurve:
    """The curve of the ramp, up to where it stopped."""
    lrs = [
        range_test_lr(index, steps=steps, lr_start=lr_start, lr_end=lr_end, ramp=ramp)
        for index in range(steps)
    ]
    progress.start("range test", steps)
    losses, stopped = _climb(step, optimizer, lrs, progress)
    progress.finish()
    _check_losses(losses, stopped, lr_start)
    return LRCurve(
        tuple(lrs[: len(losses)]),
        tuple(losses),
        ramp,
        stopped,
        steps,
        adaptive=_is_adaptive(optimizer),
        optimizer=optim.settings(optimizer),
    )


def _climb(
    step: Step,
    optimizer: Optimizer,
    lrs: list[float],
    progress: Progress,
) -> tuple[list[float], str]:
    """The loss at each of the rising rates, and why the ramp stopped."""
    losses: list[float] = []
    ratios, watch = _ratios(optimizer), _Divergence()
    for index, lr in enumerate(lrs):
        _set_lr(optimizer, lr, ratios)
        try:
            loss = step(index)
        except StopIteration:
            return losses, "out of batches"
        if not math.isfinite(loss):
            return losses, "non-finite"
        losses.append(loss)
        progress.advance(1, loss=loss, lr=lr)
        if watch.diverged(loss):
            return losses, "diverged"
    return losses, "completed"


def _check_losses(losses: list[float], stopped: str, lr_start: float) -> None:
    """Reject losses that don't make a curve."""
    if not losses and stopped == "non-finite":
        raise TrainingError(
            f"range test: the loss is not finite at the first step (lr {in_full(lr_start)}); "
            "check the inputs, the targets and the loss for NaN"
        )
    if len(losses) < 2:
        raise InputError(
            f"batches: {len(losses)} gave a loss, but a range test needs at least 2; give more"
        )


def _is_adaptive(optimizer: Optimizer) -> bool:
    """Whether updates are scaled by past gradients: if so, PyTorch's have `betas` or `eps`."""
    return any(key in group for group in optimizer.param_groups for key in ("betas", "eps"))


class _Divergence:
    """Detects, step by step, that the loss has blown up.

    The loss is averaged over the past (bias-corrected, weight 0.8). It has blown up when it exceeds
    its minimum by `DIVERGENCE` times its drop from the start, and by at least the size of the
    starting loss. Both are relative, so the unit of the loss does not matter.
    """

    def __init__(self) -> None:
        self._sum = self._weight = 0.0
        self._start: float | None = None
        self._lowest = math.inf

    def diverged(self, loss: float) -> bool:
        self._sum, self._weight = loss + 0.8 * self._sum, 1 + 0.8 * self._weight
        average = self._sum / self._weight
        if self._start is None:
            self._start = average
        self._lowest = min(self._lowest, average)
        room = max(DIVERGENCE * (self._start - self._lowest), abs(self._start))
        return average > self._lowest + room


def _ratios(optimizer: Optimizer) -> list[float]:
    """Each group's rate as a share of the largest; all 1 when no rate is set yet."""
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    largest = max(rates)
    return [rate / largest if largest > 0 else 1.0 for rate in rates]


def _set_lr(optimizer: Optimizer, lr: float, ratios: list[float]) -> None:
    for group, ratio in zip(optimizer.param_groups, ratios, strict=False):  # a step may add groups
        set_value(group, "lr", lr * ratio)


def _check(
    model: nn.Module, optimizer: Optimizer, lr_start: float, lr_end: float, steps: int
) -> None:
    if not 0 < lr_start < lr_end < math.inf:
        raise InputError(
            f"range test: needs 0 < lr_start < lr_end, got {in_full(lr_start)} and "
            f"{in_full(lr_end)}; lower lr_start or raise lr_end"
        )
    if steps < 2:
        raise InputError(f"steps: {steps} is too few for a range test; give at least 2")
    if any(p.is_meta for p in model.parameters()):
        raise InputError(
            "model: its parameters are on the meta device and have no values; give them memory "
            "with model.to_empty(device='cpu') and initialize them, then build the optimizer; "
            "step= can't train them either"
        )
    if any(group.get("lr") is None for group in optimizer.param_groups):
        raise InputError("optimizer: a group has no rate ('lr'); set one, e.g. lr=0.1")
    trainable = {id(p) for p in model.parameters() if p.requires_grad}
    if not trainable:
        raise InputError("model: all parameters are frozen; set requires_grad on some of them")
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not trainable & held:
        raise InputError(
            "optimizer: it has none of the model's trainable parameters; "
            "build it over model.parameters()"
        )
