"""The training loop: every line a step one can point at.

Shapes: B batch, C channels, H height, W width, K classes.
"""

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from onecycle import optim, runtime
from onecycle.config import Recipe
from onecycle.errors import Interrupted, TrainingError
from onecycle.evaluate import Evaluation
from onecycle.progress import SILENT, Progress
from onecycle.run_dir import RunDir
from onecycle.state import Training

GPU_READING_INTERVAL = 20
"""Steps between reading losses back from a GPU, which makes the host wait for it."""


class Stop(Protocol):
    """Tells the loop that a signal asks it to stop. The loop saves first."""

    @property
    def signal_number(self) -> int | None: ...

    def at_once(self) -> AbstractContextManager[None]:
        """Inside, a signal raises Interrupted wherever the work is."""
        ...


def train_step(
    model: nn.Module,
    optimizer: Optimizer,
    batch_BCHW: Tensor,
    labels_B: Tensor,
    recipe: Recipe,
    class_weights_K: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One update. Returns the batch's mean cross-entropy and its number of correct predictions.

    The loss returned, which becomes the `train_loss` of the logs, includes label smoothing and
    class weights and leaves the L1 penalty out. Both results are scalars on the device, taken
    before the update.

    With `micro_batch`, the batch goes through the network in parts of that size, whose gradients
    add up to those of the mean over the whole batch. Each part is normalized by statistics of its
    own (ghost batch norm: Hoffer et al., 2017, "Train longer, generalize better"), so it is not
    the same computation as without.
    """
    optimizer.zero_grad(set_to_none=True)
    parts = _micro_batches(batch_BCHW, labels_B, recipe, class_weights_K)
    done = [_backward(model, *part, recipe, class_weights_K) for part in parts]
    losses, hits = zip(*done, strict=True)
    if recipe.l1:
        (recipe.l1 * optim.l1_norm(model)).backward()
    optimizer.step()
    return torch.stack(losses).sum(), torch.stack(hits).sum()


def _micro_batches(
    batch_BCHW: Tensor, labels_B: Tensor, recipe: Recipe, class_weights_K: Tensor | None
) -> Iterator[tuple[Tensor, Tensor, Tensor | float]]:
    """The batch in even parts of about `micro_batch` images, each with its share in the mean loss.

    No part is a single image, which has no statistics.
    """
    count = -(-len(labels_B) // recipe.micro_batch) if recipe.micro_batch else 1
    count = max(1, min(count, len(labels_B) // 2))
    weights_B = None if class_weights_K is None else class_weights_K[labels_B]
    start = 0
    for part_BCHW in batch_BCHW.tensor_split(count):
        stop = start + len(part_BCHW)
        if weights_B is None:
            share = (stop - start) / len(labels_B)
        else:
            share = weights_B[start:stop].sum() / weights_B.sum()
        yield part_BCHW, labels_B[start:stop], share
        start = stop


def _backward(
    model: nn.Module,
    batch_BCHW: Tensor,
    labels_B: Tensor,
    share: Tensor | float,
    recipe: Recipe,
    class_weights_K: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Add a micro-batch's gradients; its part of the mean loss, and its correct predictions."""
    with runtime.autocast(batch_BCHW.device, recipe.precision):
        logits_BK = model(batch_BCHW).float()
    loss = share * optim.mean_loss(logits_BK, labels_B, recipe.label_smoothing, class_weights_K)
    loss.backward()
    return loss.detach(), (logits_BK.argmax(1) == labels_B).sum()


def fit(training: Training, run: RunDir, stop: Stop, progress: Progress = SILENT) -> None:
    """Train from where `training.state` stands to the end, logging into `run`.

    A checkpoint is saved every `checkpoint_minutes`, at each epoch's end, and at once when `stop`
    names a signal. When it is saved changes nothing of what is computed. After the last step of an
    epoch a signal does not wait for the evaluation: that is done when the run goes on.

    Raises:
        TrainingError: the loss became non-finite.
        Interrupted: a signal asked to stop; the state has been saved.
    """
    state, batches = training.state, training.batches
    readings, saved = Readings(training, run, progress), time.perf_counter()
    training.model.train()
    if state.seen and state.step % batches.steps_per_epoch == 0:
        close_epoch(training, run, stop, progress)
    for step in range(state.step, training.total_steps):
        started = time.perf_counter()
        do_step(training, step, readings)
        ends_epoch = state.step % batches.steps_per_epoch == 0
        if ends_epoch:
            readings.flush()
        signal_number = stop.signal_number
        saves = bool(ends_epoch or signal_number or training.checkpoint_due(saved))
        if saves:
            readings.flush()
        state.train_seconds += time.perf_counter() - started
        if ends_epoch and not signal_number:
            close_epoch(training, run, stop, progress)
            signal_number = stop.signal_number
        elif saves:
            run.save_checkpoint(training.checkpoint())
        if saves:
            saved = time.perf_counter()
        if signal_number:
            raise Interrupted(signal_number, str(run.path))


def do_step(training: Training, step: int, readings: "Readings") -> None:
    """Everything that belongs to one step: rates, batch, update, readings."""
    lr, momentum = training.rates(step)
    optim.set_rates(training.optimizer, lr, momentum)
    runtime.seed_layers(training.recipe.seed, step)
    batch_BCHW, labels_B = training.batches.cut(step)
    training.look_at(step, batch_BCHW)
    model, weights_K = training.model, training.class_weights_K
    loss, correct = train_step(
        model, training.optimizer, batch_BCHW, labels_B, training.recipe, weights_K
    )
    readings.add(step, *optim.applied_rates(training.optimizer), loss, correct, len(labels_B))
    training.state.step = step + 1


def close_epoch(training: Training, run: RunDir, stop: Stop, progress: Progress) -> None:
    """Evaluate, write the epoch's row, and save.

    Raises:
        Interrupted: a signal came in the evaluation; the state before it has been saved.
    """
    state, started = training.state, time.perf_counter()
    try:
        with stop.at_once():
            test = training.evaluate(training.test)
            val = training.evaluate(training.val) if training.val else None
    except Interrupted:
        run.save_checkpoint(training.checkpoint())
        raise
    state.eval_seconds += time.perf_counter() - started
    row = _row(training, test, val)
    if test.accuracy > state.best_test_accuracy:
        state.best_test_accuracy, state.best_epoch = test.accuracy, int(row["epoch"])
    state.loss_sum, state.correct, state.seen = 0.0, 0, 0
    run.append("metrics.jsonl", row)
    if val and training.score(val) > state.best_val_accuracy:
        state.best_val_accuracy = training.score(val)
        run.save_best(training.checkpoint())
    run.save_checkpoint(training.checkpoint())
    progress.epoch(row)


def _row(training: Training, test: Evaluation, val: Evaluation | None) -> dict[str, float]:
    """The epoch's row of metrics.jsonl."""
    state = training.state
    lr, momentum = training.rates(state.step - 1)
    return {
        "epoch": state.step // training.batches.steps_per_epoch,
        "step": state.step,
        "lr": lr,
        "momentum": momentum,
        "train_loss": state.loss_sum / state.seen,
        "train_accuracy": state.correct / state.seen,
        **_figures("test", test),
        **(_figures("val", val) if val else {}),
        "seconds": state.train_seconds + state.eval_seconds,
    }


def _figures(split: str, evaluation: Evaluation) -> dict[str, float]:
    """A split's part of an epoch's row. Class weights are left out: each image counts once."""
    return {
        f"{split}_loss": evaluation.loss,
        f"{split}_accuracy": evaluation.accuracy,
        f"{split}_balanced_accuracy": evaluation.balanced_accuracy,
    }


class _Pending(NamedTuple):
    """A step's results, of which `loss` and `correct` are still on the device."""

    step: int
    lr: float
    momentum: float
    loss: Tensor
    correct: Tensor
    images: int


class Readings:
    """Losses and hits on their way from the device to the logs.

    Reading a number back makes the host wait for a GPU, so they are read in groups there; on a
    CPU each step is read at once.
    """

    def __init__(self, training: Training, run: RunDir, progress: Progress) -> None:
        self._training, self._run, self._progress = training, run, progress
        self._pending: list[_Pending] = []
        self._interval = 1 if training.device.type == "cpu" else GPU_READING_INTERVAL

    def add(
        self, step: int, lr: float, momentum: float, loss: Tensor, correct: Tensor, count: int
    ) -> None:
        """Take a step's results; they are read back when enough are pending."""
        self._pending.append(_Pending(step, lr, momentum, loss, correct, count))
        if len(self._pending) >= self._interval:
            self.flush()

    def flush(self) -> None:
        """Write what is pending to steps.jsonl, add it to the epoch's sums and report it."""
        if not self._pending:
            return
        losses = torch.stack([pending.loss for pending in self._pending]).tolist()
        hits = torch.stack([pending.correct for pending in self._pending]).tolist()
        for pending, loss, correct in zip(self._pending, losses, hits, strict=True):
            self._log(pending, loss)
            self._report(pending, loss, int(correct))
        self._pending.clear()

    def _log(self, pending: _Pending, loss: float) -> None:
        step, lr = pending.step, pending.lr
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became non-finite at step {step} (lr {lr:.3g}); try a lower lr_max"
                f"{', a lower l1' if self._training.recipe.l1 else ''} or precision fp32"
            )
        row = {"step": step, "lr": lr, "momentum": pending.momentum, "loss": loss}
        self._run.append("steps.jsonl", row)

    def _report(self, pending: _Pending, loss: float, correct: int) -> None:
        state = self._training.state
        state.loss_sum += loss * pending.images
        state.correct += correct
        state.seen += pending.images
        self._progress.advance(
            1,
            images=pending.images,
            step=pending.step + 1,
            epoch=(pending.step + 1) / self._training.batches.steps_per_epoch,
            loss=state.loss_sum / state.seen,
            accuracy=state.correct / state.seen,
            lr=pending.lr,
        )
