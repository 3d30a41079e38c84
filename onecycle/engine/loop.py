"""The training loop and its single step.

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
from onecycle.engine import shared
from onecycle.engine.plan import AtStep, Place, Plan
from onecycle.engine.state import Training
from onecycle.errors import Interrupted, TrainingError
from onecycle.evaluate import Evaluation, fitted_temperature
from onecycle.progress import SILENT, Progress
from onecycle.run_dir import RunDir
from onecycle.run_dir.checking import to_json
from onecycle.run_dir.records import EpochRow, StepRow

GPU_READING_INTERVAL = 20
"""Steps between two readings of the losses from a GPU. Each reading makes the host wait."""


class Reading(NamedTuple):
    """The outcome of a step.

    Attributes:
        step: its index, from 0.
        lr, momentum: the values in the optimizer.
        loss, correct: mean cross-entropy and correct predictions before the update, on the device.
        images: number of images in the batch.
    """

    step: int
    lr: float
    momentum: float
    loss: Tensor
    correct: Tensor
    images: int


class Stop(Protocol):
    """How the loop learns that a signal asks it to stop. The loop saves first."""

    @property
    def signal_number(self) -> int | None: ...

    def at_once(self) -> AbstractContextManager[None]:
        """A context in which a signal raises Interrupted immediately."""
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
    class weights but not the L1 penalty. Both results are scalars on the device, taken
    before the update.

    With `micro_batch`, the batch goes through the network in parts of that size. Their gradients
    add up to the gradient of the mean over the whole batch. Each part has its own batch-norm
    statistics (ghost batch norm: Hoffer et al., 2017, "Train longer, generalize better"), so the
    result differs from that of the undivided batch.
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
    """The batch in even parts of about `micro_batch` images, each with its share of the mean loss.

    No part is a single image, because batch norm needs at least two.
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
    """Add a micro-batch's gradients. Returns its part of the mean loss, and its hits."""
    with runtime.autocast(batch_BCHW.device, recipe.precision):
        logits_BK = model(batch_BCHW).float()
    loss = share * optim.mean_loss(logits_BK, labels_B, recipe.label_smoothing, class_weights_K)
    loss.backward()
    return loss.detach(), (logits_BK.argmax(1) == labels_B).sum()


def step(training: Training, index: int, at: AtStep) -> Reading:
    """One step of a training: everything that affects its bits.

    The loop, the range test, the probes of a peak rate and the verification all go through here.
    A step depends only on the network, the optimizer, `index` and `at`.

    Args:
        training: its network and optimizer are updated.
        index: the step's number, from 0. It decides the images, their augmentation and dropout.
        at: the learning rate and momentum of the step.
    """
    optim.set_rates(training.optimizer, *at)
    runtime.seed_layers(training.batches.seed, index)
    batch_BCHW, labels_B = training.batches.cut(index)
    training.look_at(index, batch_BCHW)
    model, weights_K = training.model, training.class_weights_K
    if training.processes.count > 1:
        loss, correct = _shared_step(training, index, batch_BCHW, labels_B)
        images = len(training.batches.indices(index))
    else:
        loss, correct = train_step(
            model, training.optimizer, batch_BCHW, labels_B, training.recipe, weights_K
        )
        images = len(labels_B)
    training.look_at_rates()
    applied = optim.applied_rates(training.optimizer)
    return Reading(index, *applied, loss, correct, images)


def _shared_step(
    training: Training, index: int, batch_BCHW: Tensor, labels_B: Tensor
) -> tuple[Tensor, Tensor]:
    """`train_step` of a process among several, on its part of the global batch.

    The results are those of the whole batch. What layers draw follows from step and part.
    """
    model, optimizer, recipe = training.model, training.optimizer, training.recipe
    optimizer.zero_grad(set_to_none=True)
    losses, hits = [], []
    with shared.Exchange(training, index) as exchange:
        for part in shared.own_parts(training, index, batch_BCHW, labels_B):
            runtime.seed_layers(training.batches.seed, index, part.number)
            images = part.batch_BCHW, part.labels_B, part.share
            loss, correct = _backward(model, *images, recipe, training.class_weights_K)
            losses.append(loss)
            hits.append(correct)
        loss, correct = exchange.sums(losses, hits)
    if recipe.l1:
        (recipe.l1 * optim.l1_norm(model)).backward()
    optimizer.step()
    return loss, correct


def fit(
    training: Training,
    plan: Plan,
    run: RunDir,
    stop: Stop,
    progress: Progress = SILENT,
    *,
    until: Place | None = None,
) -> None:
    """Train from `training.state` to `until` (by default the end), and log into `run`.

    A checkpoint is saved every `checkpoint_minutes`, at each epoch's end, and immediately when
    `stop` names a signal. The time of saving does not affect the result. If a signal comes in the
    last step of an epoch, the epoch is evaluated when the run is resumed.

    Raises:
        TrainingError: the loss became non-finite.
        Interrupted: a signal asked to stop; the state has been saved.
    """
    state, saved, until = training.state, time.perf_counter(), until or plan.end
    readings = Readings(training, run, progress)
    training.train_mode()
    while state.place < until:
        if training.ends_epoch and state.seen:
            close_epoch(training, plan, run, stop, progress)
            saved, signal_number = time.perf_counter(), stop.signal_number
        else:
            started = time.perf_counter()
            reading = step(training, state.step, plan.at(state.step))
            state.step += 1
            readings.add(reading)
            signal_number = stop.signal_number
            due = training.checkpoint_due(saved) and not training.ends_epoch
            if signal_number or due or training.ends_epoch:
                readings.flush()
            state.train_seconds += time.perf_counter() - started
            if signal_number or due:
                run.save_checkpoint(training.checkpoint())
                saved = time.perf_counter()
        if signal_number:
            raise Interrupted(signal_number, str(run.path))
    readings.flush()


def close_epoch(
    training: Training, plan: Plan, run: RunDir, stop: Stop, progress: Progress
) -> None:
    """Evaluate, write the epoch's row, and save.

    Raises:
        Interrupted: a signal came during the evaluation; the state before it has been saved.
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
    row = _row(training, plan, test, val)
    if test.accuracy > state.best_test_accuracy:
        state.best_test_accuracy, state.best_epoch = test.accuracy, row.epoch
    state.loss_sum, state.correct, state.seen = 0.0, 0, 0
    run.append_row(row)
    if val and training.score(val) > state.best_val_accuracy:
        state.best_val_accuracy = training.score(val)
        run.save_best(training.checkpoint(), temperature=fitted_temperature(val))
    run.save_checkpoint(training.checkpoint())
    progress.epoch(to_json(row))


def _row(training: Training, plan: Plan, test: Evaluation, val: Evaluation | None) -> EpochRow:
    """The epoch's row of metrics.jsonl."""
    state = training.state
    lr, momentum = plan.at(state.step - 1)
    return EpochRow(
        epoch=state.step // training.batches.steps_per_epoch,
        step=state.step,
        lr=lr,
        momentum=momentum,
        train_loss=state.loss_sum / state.seen,
        train_accuracy=state.correct / state.seen,
        test_loss=test.loss,  # without class weights: each image counts once
        test_accuracy=test.accuracy,
        test_balanced_accuracy=test.balanced_accuracy,
        val_loss=val and val.loss,
        val_accuracy=val and val.accuracy,
        val_balanced_accuracy=val and val.balanced_accuracy,
        seconds=state.train_seconds + state.eval_seconds,
    )


class Readings:
    """Losses and correct predictions on their way from the device to the logs.

    Reading a number back from a GPU makes the host wait, so readings are collected there. On a
    CPU each step is read immediately.
    """

    def __init__(self, training: Training, run: RunDir, progress: Progress) -> None:
        self._training, self._run, self._progress = training, run, progress
        self._pending: list[Reading] = []
        self._interval = 1 if training.device.type == "cpu" else GPU_READING_INTERVAL

    def add(self, reading: Reading) -> None:
        """Add a step's reading. It is read back once enough are pending."""
        self._pending.append(reading)
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

    def _log(self, pending: Reading, loss: float) -> None:
        step, lr = pending.step, pending.lr
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became non-finite at step {step} (lr {lr:.3g}); try a lower lr_max"
                f"{', a lower l1' if self._training.recipe.l1 else ''} or precision fp32"
            )
        row = StepRow(step=step, lr=lr, momentum=pending.momentum, loss=loss)
        self._run.append_row(row)
        self._progress.step(to_json(row))

    def _report(self, pending: Reading, loss: float, correct: int) -> None:
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
