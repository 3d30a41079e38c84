"""The training steps of a range test: the standard one for pairs, or the user's own."""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from onecycle.errors import InputError, TrainingError
from onecycle.lr_finder.supply import Batch, Supply, as_pair, own_step

LossFunction = Callable[[Any, Any], Tensor]
Step = Callable[[int], float]
PAIR = "x, y", "loss_fn(model(x), y)"


class PairStep:
    """A training step on (input, target) pairs; returns the mean loss of its batches."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loss_fn: LossFunction | None,
        supply: Supply,
        accumulate: int,
        autocast: Callable[[], AbstractContextManager[Any]],
        scaler: "torch.amp.GradScaler | None",
    ) -> None:
        if loss_fn is None or supply.batches is None:
            raise InputError("range test: pass loss_fn and batches, or your own step function")
        if accumulate < 1:
            raise InputError(f"accumulate: {accumulate} is less than 1; pass the batches per step")
        _check_needs_no_closure(optimizer)
        self._model, self._optimizer, self._loss_fn = model, optimizer, loss_fn
        self._batches = iter(supply)
        self._accumulate, self._autocast, self._scaler = accumulate, autocast, scaler
        self._tried = False

    def __call__(self, index: int) -> float:
        self._optimizer.zero_grad()
        total = 0.0
        for _ in range(self._accumulate):
            batch = next(self._batches)
            with self._explained(batch):
                total += self._backward(batch)
        if math.isfinite(total):
            with self._explained(None, "optimizer.step()"):
                self._update()
            self._tried = True
        return total

    def _backward(self, batch: Batch) -> float:
        inputs, targets = batch
        with self._autocast():
            output = self._model(inputs)
            loss = self._loss_of(output, targets) / self._accumulate
        (self._scaler.scale(loss) if self._scaler is not None else loss).backward()
        return loss.item()

    def _loss_of(self, output: Any, targets: Any) -> Tensor:
        try:
            loss = self._loss_fn(output, targets)
        except _MISFITS as error:
            if self._tried or isinstance(output, Tensor):
                raise
            raise InputError(
                f"loss_fn: fails on the model's output, a {type(output).__name__} "
                f"({_in_words(error)}); pass it the part that it needs, "
                "loss_fn=lambda output, target: loss(output[0], target), or pass step=, e.g. "
                f"{own_step('x, y', 'loss_fn(model(x)[0], y)')}"
            ) from error
        return _checked(loss)

    def _update(self) -> None:
        if self._scaler is None:
            self._optimizer.step()
        else:
            self._scaler.step(self._optimizer)
            self._scaler.update()

    @contextmanager
    def _explained(self, batch: Batch | None, what: str = "the first batch") -> Iterator[None]:
        """Explain errors of the first step, which may come from a different kind of loop."""
        try:
            yield
        except _MISFITS as error:
            if self._tried or isinstance(error, _CLEAR):
                raise
            self._explain(error, batch, what)

    def _explain(self, error: Exception, batch: Batch | None, what: str) -> None:
        apart = _devices_apart(self._model, batch)
        if apart:
            moved = f"loss_fn(model(x.to({apart[1]!r})), y.to({apart[1]!r}))"
            raise InputError(
                f"batches: inputs are on {apart[0]}, the model is on {apart[1]}; move them, e.g. "
                f"batches=[(x.to({apart[1]!r}), y.to({apart[1]!r})) for x, y in batches], or pass "
                f"step=, e.g. {own_step('x, y', moved)}"
            ) from error
        hint = f"if your loop works differently, pass step=, e.g. {own_step(*PAIR)}"
        if isinstance(error, RuntimeError):  # PyTorch itself explains wrong shapes and types
            error.add_note(f"range test: {what} fails; {hint}")
            raise error
        raise InputError(f"range test: {what} fails ({_in_words(error)}); {hint}") from error


_MISFITS = (TypeError, ValueError, LookupError, AttributeError, AssertionError, RuntimeError)
_CLEAR = (InputError, TrainingError, torch.OutOfMemoryError)


def _in_words(error: Exception) -> str:
    return (
        f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160] if str(error) else ''}"
    )


def _devices_apart(model: nn.Module, batch: Batch | None) -> tuple[str, str] | None:
    """Devices of the input and of the model, if they differ."""
    homes = {str(parameter.device) for parameter in model.parameters()}
    if batch is None or not isinstance(batch[0], Tensor) or len(homes) != 1:
        return None
    home = homes.pop()
    return None if str(batch[0].device) == home else (str(batch[0].device), home)


def _checked(loss: Any) -> Tensor:
    """The loss, checked to be a single number with a gradient."""
    if not isinstance(loss, Tensor):
        raise InputError(
            f"loss_fn: it returned a {type(loss).__name__}, not a tensor; "
            f"return the loss itself, or pass step=, e.g. {own_step(*PAIR)}"
        )
    if loss.numel() != 1:
        raise InputError(
            f"loss_fn: it returned a tensor of shape {tuple(loss.shape)}, not one number; take the "
            "mean (reduction='mean'), or pass step=, e.g. "
            f"{own_step('x, y', 'loss_fn(model(x), y).mean()')}"
        )
    if not loss.requires_grad:
        raise InputError(
            "loss_fn: its loss doesn't depend on any trainable parameter; is something detached, "
            f"or under no_grad? If your loop works differently, pass step=, e.g. {own_step(*PAIR)}"
        )
    return loss


def _check_needs_no_closure(optimizer: Optimizer) -> None:
    """Reject optimizers such as LBFGS, which evaluate the loss themselves several times."""
    try:
        closure = inspect.signature(optimizer.step).parameters.get("closure")
    except (TypeError, ValueError):  # no signature to read
        return
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise InputError(
            f"optimizer: {type(optimizer).__name__}.step needs a closure; pass step=, e.g. "
            "def step(i): x, y = next(it); return optimizer.step(lambda: closure(x, y)), where "
            "closure(x, y) calls zero_grad, computes the loss, calls backward and returns the loss"
        )


def own(step: Callable[[int], Any]) -> Step:
    """The user's own step, with its result as a number.

    Raises:
        InputError: it can't be called with a step's number; when called: its result is not a loss.
    """
    if not callable(step):
        raise InputError(f"step: a {type(step).__name__} can't be called; pass {own_step(*PAIR)}")
    try:
        inspect.signature(step).bind(0)
    except TypeError:
        raise InputError(
            "step: it must take one argument, the number of the step; e.g. "
            "step=lambda i: train_step()"
        ) from None
    except ValueError:  # no signature to read
        pass
    return lambda index: loss_value(step(index))


def loss_value(loss: Any) -> float:
    """A loss as a float, from a number or a one-element tensor or array, with gradient or not.

    Raises:
        InputError: it is anything else.
    """
    if isinstance(loss, Tensor | np.ndarray | np.generic):
        count = loss.numel() if isinstance(loss, Tensor) else loss.size
        value = loss.detach().item() if count == 1 and isinstance(loss, Tensor) else loss
        if count == 1:
            value = value.item() if isinstance(value, np.ndarray | np.generic) else value
            if isinstance(value, bool | int | float):
                return float(value)
        what, remedy = f"values of shape {tuple(loss.shape)}", "return their mean, `loss.mean()`"
        raise InputError(f"step: it returned {what}, not its loss; {remedy}")
    if loss is not None and not isinstance(loss, str | bytes) and hasattr(loss, "__float__"):
        return float(loss)
    raise InputError(f"step: it returned {_returned(loss)}, e.g. {own_step(*PAIR)}")


def _returned(result: Any) -> str:
    if result is None:
        return "None, not its loss; end step= with `return loss`"
    if isinstance(result, dict):
        key = next((k for k in result if "loss" in str(k)), "loss")
        return f"a dict, not its loss; write step=lambda i: train_step(i)[{key!r}]"
    if isinstance(result, tuple | list):
        return f"a {type(result).__name__}, not its loss; write step=lambda i: train_step(i)[0]"
    return f"a {type(result).__name__}, not its loss; end step= with `return loss`"


def validated(
    step: Step,
    model: nn.Module,
    loss_fn: LossFunction | None,
    validation: Iterable[Batch],
    autocast: Callable[[], AbstractContextManager[Any]],
) -> Step:
    """`step`, but with the mean loss over the validation batches afterwards as its result."""
    if loss_fn is None:
        raise InputError("validation: its loss can't be measured without loss_fn; pass loss_fn")
    held_out = [as_pair(batch) for batch in validation]
    if not held_out:
        raise InputError("validation: no batches; give at least one")

    def measured(index: int) -> float:
        if not math.isfinite(step(index)):
            return math.nan
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        with torch.no_grad(), autocast():
            losses = [loss_value(loss_fn(model(inputs), targets)) for inputs, targets in held_out]
        for module, mode in modes:
            module.training = mode
        return sum(losses) / len(losses)

    return measured
