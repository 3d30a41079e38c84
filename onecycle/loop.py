"""The training loop: every line a step one can point at.

Shapes: B batch, C channels, H height, W width, K classes.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from onecycle import optim, runtime, schedule
from onecycle.config import Recipe
from onecycle.data.batches import Batches, Images
from onecycle.data.image_set import ImageSet
from onecycle.errors import Interrupted, TrainingError
from onecycle.evaluate import Evaluation, predict
from onecycle.progress import SILENT, Progress
from onecycle.run_dir import Checkpoint, RunDir

GPU_READING_INTERVAL = 20
"""Steps between reading losses back from a GPU, which makes the host wait for it."""


class Stop(Protocol):
    """Tells the loop that a signal asks it to stop."""

    @property
    def signal_number(self) -> int | None: ...


@dataclass
class State:
    """Where a training stands, apart from its tensors. Everything else follows from the step.

    `loss_sum`, `correct` and `seen` are over the current epoch's batches so far. `total_seconds`
    are those of the processes before this one that worked on the run. `best_val_accuracy` is the
    best `Training.score` on the validation split.
    """

    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    total_seconds: float = 0.0
    best_test_accuracy: float = -1.0
    best_epoch: int = 0
    best_val_accuracy: float = -1.0


@dataclass
class Training:
    """All that a training works on, resolved: no `auto` is left in its recipe."""

    recipe: Recipe
    model: nn.Module
    optimizer: Optimizer
    batches: Batches
    test: ImageSet
    val: ImageSet | None
    device: torch.device
    state: State = field(default_factory=State)
    started: float = field(default_factory=time.perf_counter)
    _on_device: dict[int, Images] = field(default_factory=dict, repr=False)

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        return self.recipe.epochs * self.batches.steps_per_epoch

    @property
    def peak_step(self) -> int:
        """The step (0-based) at which the rate peaks."""
        return schedule.peak_step(self.recipe.resolved_peak_epoch, self.batches.steps_per_epoch)

    @cached_property
    def class_weights_K(self) -> Tensor | None:
        """Weight of each class in the loss, float32 on the device; None where all count the same.

        A function of the recipe and the train split, so a resumed run has the same ones.
        """
        if self.recipe.class_weights == "none":
            return None
        weights_K = torch.from_numpy(self.batches.train.balanced_weights())
        return weights_K.to(self.device, torch.float32)

    def total_seconds(self) -> float:
        """Time since the command began, with that of earlier processes on the same run."""
        return self.state.total_seconds + time.perf_counter() - self.started

    def rates(self, step: int) -> tuple[float, float]:
        """Learning rate and momentum of `step`."""
        return rates(self.recipe, step, self.batches.steps_per_epoch)

    def evaluate(self, image_set: ImageSet, *, mirrored: bool = False) -> Evaluation:
        """The model's evaluation on a set, whose pixels stay on the device from then on."""
        mean, std = self.batches.mean, self.batches.std
        images = self._on_device.setdefault(
            id(image_set), Images(image_set.images_NHWC, self.device, mean, std)
        )
        logits_NK = predict(
            self.model,
            image_set,
            mean=mean,
            std=std,
            device=self.device,
            precision=self.recipe.precision,
            mirrored=mirrored,
            images=images,
        )
        return Evaluation(logits_NK, image_set.labels_N)

    def score(self, evaluation: Evaluation) -> float:
        """The figure that tells a better network: accuracy, the balanced one if the loss is."""
        balanced = self.recipe.class_weights == "balanced"
        return evaluation.balanced_accuracy if balanced else evaluation.accuracy

    def checkpoint_due(self, saved: float) -> bool:
        """Whether the last checkpoint, at the `time.perf_counter()` `saved`, is old enough."""
        seconds = 60 * self.recipe.checkpoint_minutes
        return 0 < seconds <= time.perf_counter() - saved

    def checkpoint(self) -> Checkpoint:
        """Everything that going on needs."""
        tensors = {f"model.{name}": t for name, t in self.model.state_dict().items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in values.items() if v is not None}
        state = asdict(self.state) | {"total_seconds": self.total_seconds()}
        return Checkpoint(self.state.step, tensors, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where `checkpoint` was taken."""
        load_model(self.model, checkpoint.tensors)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        optimizer_state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in checkpoint.tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".", 2)
                laid_out = _laid_out_like(parameters[int(index)], tensor)
                optimizer_state.setdefault(int(index), {})[key] = laid_out
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": optimizer_state, "param_groups": groups})
        self.state = State(**checkpoint.state)


def _laid_out_like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """`tensor` in the memory order of its parameter, which fused optimizers take for granted."""
    if tensor.shape != parameter.shape:  # a step counter
        return tensor
    return torch.empty_like(parameter, requires_grad=False).copy_(tensor)


def load_model(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy a checkpoint's `model.…` tensors into the model."""
    prefix = "model."
    model.load_state_dict(
        {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    )


def rates(recipe: Recipe, step: int, steps_per_epoch: int) -> tuple[float, float]:
    """The resolved recipe's learning rate and momentum at `step` (0-based)."""
    cycle: dict[str, Any] = {
        "total_steps": recipe.epochs * steps_per_epoch,
        "peak_step": schedule.peak_step(recipe.resolved_peak_epoch, steps_per_epoch),
        "anneal": recipe.anneal,
        "three_phase": recipe.three_phase,
    }
    lr = schedule.one_cycle(
        step,
        lr_min=recipe.lr_min,  # pyright: ignore[reportArgumentType] - resolved: a number
        lr_max=recipe.lr_max,  # pyright: ignore[reportArgumentType]
        lr_final=recipe.lr_final,  # pyright: ignore[reportArgumentType]
        **cycle,
    )
    if not recipe.cycle_momentum:
        return lr, recipe.momentum
    momentum = schedule.one_cycle_momentum(
        step, base_momentum=recipe.base_momentum, max_momentum=recipe.max_momentum, **cycle
    )
    return lr, momentum


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
    """
    with runtime.autocast(batch_BCHW.device, recipe.precision):
        logits_BK = model(batch_BCHW).float()
    loss = optim.mean_loss(logits_BK, labels_B, recipe.label_smoothing, class_weights_K)
    objective = loss + recipe.l1 * optim.l1_norm(model) if recipe.l1 else loss
    optimizer.zero_grad(set_to_none=True)
    objective.backward()
    optimizer.step()
    return loss.detach(), (logits_BK.argmax(1) == labels_B).sum()


def fit(training: Training, run: RunDir, stop: Stop, progress: Progress = SILENT) -> None:
    """Train from where `training.state` stands to the end, logging into `run`.

    A checkpoint is saved every `checkpoint_minutes`, at each epoch's end, and at once when `stop`
    names a signal. When it is saved changes nothing of what is computed.

    Raises:
        TrainingError: the loss became non-finite.
        Interrupted: a signal asked to stop; the state has been saved.
    """
    state, batches = training.state, training.batches
    readings, saved = Readings(training, run, progress), time.perf_counter()
    training.model.train()
    for step in range(state.step, training.total_steps):
        started = time.perf_counter()
        do_step(training, step, readings)
        ends_epoch = state.step % batches.steps_per_epoch == 0
        signal_number = stop.signal_number
        saves = bool(ends_epoch or signal_number or training.checkpoint_due(saved))
        if saves:
            readings.flush()
        state.train_seconds += time.perf_counter() - started
        if ends_epoch:
            close_epoch(training, run, progress)
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
    model, weights_K = training.model, training.class_weights_K
    loss, correct = train_step(
        model, training.optimizer, batch_BCHW, labels_B, training.recipe, weights_K
    )
    readings.add(step, lr, momentum, loss, correct, len(labels_B))
    training.state.step = step + 1


def close_epoch(training: Training, run: RunDir, progress: Progress) -> None:
    """Evaluate, write the epoch's row, and save."""
    state = training.state
    lr, momentum = training.rates(state.step - 1)
    started = time.perf_counter()
    test = training.evaluate(training.test)
    val = training.evaluate(training.val) if training.val else None
    state.eval_seconds += time.perf_counter() - started
    row: dict[str, float] = {
        "epoch": state.step // training.batches.steps_per_epoch,
        "step": state.step,
        "lr": lr,
        "momentum": momentum,
        "train_loss": state.loss_sum / state.seen,
        "train_accuracy": state.correct / state.seen,
        **_figures("test", test),
        **(_figures("val", val) if val else {}),
    }
    row["seconds"] = state.train_seconds + state.eval_seconds
    if test.accuracy > state.best_test_accuracy:
        state.best_test_accuracy, state.best_epoch = test.accuracy, int(row["epoch"])
    state.loss_sum, state.correct, state.seen = 0.0, 0, 0
    run.append("metrics.jsonl", row)
    if val and training.score(val) > state.best_val_accuracy:
        state.best_val_accuracy = training.score(val)
        run.save_best(training.checkpoint())
    run.save_checkpoint(training.checkpoint())
    progress.epoch(row)


def _figures(split: str, evaluation: Evaluation) -> dict[str, float]:
    """A split's part of an epoch's row. Class weights are left out: each image counts once."""
    return {
        f"{split}_loss": evaluation.loss,
        f"{split}_accuracy": evaluation.accuracy,
        f"{split}_balanced_accuracy": evaluation.balanced_accuracy,
    }


class Readings:
    """Losses and hits on their way from the device to the logs.

    Reading a number back makes the host wait for a GPU, so they are read in groups there; on a
    CPU each step is read at once.
    """

    def __init__(self, training: Training, run: RunDir, progress: Progress) -> None:
        self._training, self._run, self._progress = training, run, progress
        self._pending: list[tuple[int, float, float, Tensor, Tensor, int]] = []
        self._interval = 1 if training.device.type == "cpu" else GPU_READING_INTERVAL

    def add(
        self, step: int, lr: float, momentum: float, loss: Tensor, correct: Tensor, count: int
    ) -> None:
        """Take a step's results; they are read back when enough are pending."""
        self._pending.append((step, lr, momentum, loss, correct, count))
        if len(self._pending) >= self._interval:
            self.flush()

    def flush(self) -> None:
        """Write what is pending to steps.jsonl, add it to the epoch's sums and report it."""
        if not self._pending:
            return
        losses = torch.stack([entry[3] for entry in self._pending]).tolist()
        hits = torch.stack([entry[4] for entry in self._pending]).tolist()
        state = self._training.state
        for (step, lr, momentum, _, _, count), loss, correct in zip(
            self._pending, losses, hits, strict=True
        ):
            if not math.isfinite(loss):
                self._refuse(step, lr)
            self._run.append(
                "steps.jsonl", {"step": step, "lr": lr, "momentum": momentum, "loss": loss}
            )
            state.loss_sum += loss * count
            state.correct += int(correct)
            state.seen += count
            self._progress.advance(
                1,
                images=count,
                step=step + 1,
                epoch=(step + 1) / self._training.batches.steps_per_epoch,
                loss=state.loss_sum / state.seen,
                accuracy=state.correct / state.seen,
                lr=lr,
            )
        self._pending.clear()

    def _refuse(self, step: int, lr: float) -> None:
        raise TrainingError(
            f"the loss became non-finite at step {step} (lr {lr:.3g}); try a lower lr_max"
            f"{', a lower l1' if self._training.recipe.l1 else ''} or precision fp32"
        )
