"""What a training works on, where it stands, and how both are kept in a checkpoint.

Shapes: B batch, C channels, H height, W width, K classes, N images.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from onecycle import optim
from onecycle.config import Recipe
from onecycle.data.batches import Batches, Images
from onecycle.data.image_set import ImageSet
from onecycle.engine.plan import Place, Plan
from onecycle.engine.replay import Replayed, is_replayed, replayed
from onecycle.engine.transform_check import Applied, applied_to, is_looked_at
from onecycle.errors import InputError
from onecycle.evaluate import Evaluation, predict
from onecycle.models import Architecture, freezing, heads
from onecycle.processes.group import SINGLE, Processes
from onecycle.run_dir import Checkpoint
from onecycle.run_dir.records import InitialWeights


@dataclass
class State:
    """Where a training stands, apart from its tensors. Everything else follows from the step.

    `loss_sum`, `correct` and `seen` cover the current epoch's batches so far. `total_seconds` is
    the time of earlier processes that worked on the run. `best_val_accuracy` is the best
    `Training.score` on the validation split. `audit` holds the measurements so far: `applied`, the
    counts of `transform_check.Applied`, and others of `run_dir.records.Measured`.
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
    audit: dict[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        """The point reached. An epoch is closed once its sums have been reset to 0."""
        return Place(self.step, closed=not self.seen)


@dataclass(frozen=True)
class Initial:
    """Weights that a training starts from, instead of those that its seed gives.

    Attributes:
        record: where they come from, and what was loaded.
        tensors: the loaded ones, by the network's names.
    """

    record: InitialWeights
    tensors: Mapping[str, Tensor]

    def apply(self, model: nn.Module) -> None:
        """Copy them into a network with such tensors; its others stay."""
        model.load_state_dict(dict(self.tensors), strict=False)


@dataclass
class Training:
    """Everything that a training works on.

    Attributes:
        recipe: everything but the rates is resolved. The rates are in a `Plan`.
        architecture: what the network is built by.
        model: the network that is trained.
        optimizer, batches: what it is trained with.
        test, val: the image sets on which it is evaluated.
        device: where it is trained.
        frozen: names of the modules that are not trained, and stay in eval mode.
        initial: the weights that it starts from; None: those of its seed, or it goes on from a
            checkpoint.
        state: where it stands.
        started: `time.perf_counter()` when the work began.
        audited: whether the transforms are measured for the audit.
        processes: those that train it together.
        unproven: whether the network has yet to show, in its first step among several processes,
            that these can merge what it keeps.
    """

    recipe: Recipe
    architecture: Architecture
    model: nn.Module
    optimizer: Optimizer
    batches: Batches
    test: ImageSet
    val: ImageSet | None
    device: torch.device
    frozen: tuple[str, ...] = ()
    initial: Initial | None = None
    state: State = field(default_factory=State)
    started: float = field(default_factory=time.perf_counter)
    audited: bool = True
    processes: Processes = SINGLE
    unproven: bool = True

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        return self.recipe.epochs * self.batches.steps_per_epoch

    @property
    def plan(self) -> Plan:
        """The plan, if the recipe's rates are numbers.

        Raises:
            InputError: a rate has yet to be found.
        """
        return Plan.of(self.recipe, self.batches.steps_per_epoch)

    @property
    def ends_epoch(self) -> bool:
        """Whether the latest step was the last of an epoch."""
        return self.state.step % self.batches.steps_per_epoch == 0

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated, shown and exported. It is the one that is trained."""
        return self.model

    @cached_property
    def _head(self) -> list[nn.Parameter]:
        """The parameters of the network's head."""
        name = heads.head_of(self.model, len(self.batches.train.classes))
        return list(self.model.get_submodule(name).parameters())

    def train_mode(self) -> None:
        """Put the network into training mode, except for what is frozen."""
        freezing.train(self.model, self.frozen)

    @cached_property
    def class_weights_K(self) -> Tensor | None:
        """Weight of each class in the loss, float32 on the device; None if all are equal.

        They follow from the recipe and the train split, so a resumed run has the same ones.
        """
        if self.recipe.class_weights == "none":
            return None
        weights_K = torch.from_numpy(self.batches.train.balanced_weights())
        return weights_K.to(self.device, torch.float32)

    def total_seconds(self) -> float:
        """Seconds since the command began, plus those of earlier processes on the same run."""
        return self.state.total_seconds + time.perf_counter() - self.started

    def look_at(self, step: int, batch_BCHW: Tensor) -> None:
        """On a few steps, measure for the audit how the images were really transformed."""
        if self.audited and is_looked_at(step, self.total_steps):
            so_far = Applied.from_json(self.state.audit.get("applied", {}))
            looked = applied_to(self.batches, step, batch_BCHW) if len(batch_BCHW) else Applied()
            for each in self.processes.gather(looked.to_json()):
                so_far += Applied.from_json(each)
            self.state.audit["applied"] = so_far.to_json()
            if is_replayed(self.batches.transforms):
                before = Replayed.from_json(self.state.audit.get("replayed", {}))
                made = replayed(self.batches, step, batch_BCHW) if len(batch_BCHW) else Replayed()
                for each in self.processes.gather(made.to_json()):
                    before += Replayed.from_json(each)
                self.state.audit["replayed"] = before.to_json()

    def look_at_rates(self) -> None:
        """For the audit, measure how many times another rate the head's is, from the optimizer."""
        if self.audited and self.recipe.head_lr_factor != 1:
            found = optim.lr_factors(self.optimizer, self._head)
            found += self.state.audit.get("head_lr_factors", [])
            if found:
                self.state.audit["head_lr_factors"] = [min(found), max(found)]

    def evaluate(self, image_set: ImageSet, *, mirrored: bool = False) -> Evaluation:
        """Evaluate the network on a set. The pixels of the set then stay on the device."""
        mean, std = self.batches.mean, self.batches.std
        logits_NK = predict(
            self.evaluated,
            image_set,
            mean=mean,
            std=std,
            device=self.device,
            precision=self.recipe.precision,
            mirrored=mirrored,
            images=self._images(image_set),
            processes=self.processes,
        )
        return Evaluation(logits_NK, image_set.labels_N)

    def _images(self, image_set: ImageSet) -> Images:
        """The set's pixels, ready to be cut into batches. They are moved to the device once."""
        return Images.of(image_set, self.device, self.batches.mean, self.batches.std)

    def test_batch(self, indices_B: np.ndarray) -> Tensor:
        """Images of the test split as the network takes them: float32 B C H W, not augmented."""
        return self._images(self.test).normalised(indices_B).permute(0, 3, 1, 2)

    def score(self, evaluation: Evaluation) -> float:
        """The figure by which networks are compared: accuracy, balanced if the loss is weighted."""
        balanced = self.recipe.class_weights == "balanced"
        return evaluation.balanced_accuracy if balanced else evaluation.accuracy

    def checkpoint_due(self, saved: float) -> bool:
        """Whether the last checkpoint, of the `time.perf_counter()` `saved`, is old enough."""
        seconds = 60 * self.recipe.checkpoint_minutes
        return 0 < seconds <= time.perf_counter() - saved

    @property
    def checkpoint_bytes(self) -> int:
        """Upper bound of a checkpoint's size in bytes: each value and its two moments."""
        return 3 * sum(tensor.nbytes for tensor in self.model.state_dict().values()) + 2**24

    def checkpoint(self) -> Checkpoint:
        """Everything needed to continue the training."""
        tensors = {f"model.{name}": t for name, t in self.model.state_dict().items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in values.items() if v is not None}
        state = asdict(self.state) | {"total_seconds": self.total_seconds()}
        return Checkpoint(self.state.step, tensors, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Return to the point at which `checkpoint` was taken."""
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
    """`tensor` in the memory order of its parameter, as fused optimizers require."""
    if not tensor.shape:  # a step counter
        return tensor
    if tensor.shape != parameter.shape:
        raise ValueError("of another network")
    return torch.empty_like(parameter, requires_grad=False).copy_(tensor)


def load_model(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy a checkpoint's `model.…` tensors into the model.

    Raises:
        InputError: they are not those of this network, by name, shape or type.
    """
    prefix, own = "model.", model.state_dict()
    given = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    fits = own.keys() == given.keys() and all(
        (given[name].shape, given[name].dtype) == (own[name].shape, own[name].dtype) for name in own
    )
    if not fits:
        raise InputError(
            "the checkpoint's tensors are not those of the network that recipe.toml describes; "
            "restore the recipe, or train again"
        )
    model.load_state_dict(given)
