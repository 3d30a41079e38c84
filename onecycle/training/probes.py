"""`lr_max = proven`: short one-cycle trainings around the suggested peak, judged without test."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from onecycle.config import Recipe, override
from onecycle.data import stratified
from onecycle.data.image_set import ImageSet
from onecycle.engine import loop
from onecycle.engine.plan import Plan
from onecycle.engine.state import Training
from onecycle.errors import InputError, Interrupted
from onecycle.lr_finder import LRFinding, Proof, prove
from onecycle.lr_finder.proof import expected_cost
from onecycle.progress import Progress
from onecycle.training.preparation import fresh
from onecycle.training.signals import Signals
from onecycle.writing.numbers import counted

PROBE_SHARE = 0.5
"""Epochs of a probe, as a share of the training's epochs."""

JUDGED_SHARE = 0.1
"""Share of the training images that judge the probes if there is no validation split."""

FEW_JUDGES = 50
"""With fewer images than this, the probes' scores are mostly chance."""


@dataclass(frozen=True)
class Evidence:
    """A proof and its basis.

    Attributes:
        proof: the winner, and every probe's score: an accuracy in [0, 1].
        epochs, steps: of each probe.
        images: number of images that judged the probes, not used for their training.
    """

    proof: Proof
    epochs: int
    steps: int
    images: int

    def to_json(self) -> dict[str, Any]:
        """A JSON object: the proof's keys, and these."""
        rest = {key: value for key, value in asdict(self).items() if key != "proof"}
        return self.proof.to_json() | rest


def prove_lr_max(
    training: Training,
    finding: LRFinding,
    seconds_per_step: float,
    stop: Signals,
    progress: Progress,
) -> Evidence:
    """The best peak rate of short trainings, each from the training's own initial weights.

    Args:
        training: not begun. It is not changed.
        finding: of its range test: the peak rate to begin with, and the first rate below a peak.
        seconds_per_step: measured, for the estimate of the cost.
        stop: checked before each step.
        progress: listens.

    Raises:
        InputError: there are too few images to set some apart.
        TrainingError: every probe diverged.
        Interrupted: a signal came.
    """
    shorter = short(training)
    steps = shorter.total_steps
    images = len(_judges(shorter))
    cost = expected_cost(steps, seconds_per_step)
    balanced = shorter.recipe.class_weights == "balanced"
    judged = "balanced accuracy" if balanced else "accuracy"
    progress.note(
        f"proof of lr_max: {cost}, judged on {counted(images, 'image')} of the train split"
    )
    if images < FEW_JUDGES:
        progress.note(
            f"warning: {counted(images, 'image')}: too few to distinguish rates; give a larger "
            "--val-fraction, or --lr-max auto"
        )

    def score(lr: float) -> float | None:
        progress.start(f"probe at lr_max {lr:.2g}", steps)
        reached = probe(shorter, _plan(shorter, finding, lr), stop, progress)
        progress.finish()
        outcome = "diverged" if reached is None else f"{judged} {reached:.4f}"
        progress.note(f"probe at lr_max {lr:.3g}: {outcome}")
        return reached

    proof = prove(score, finding.lr_max)
    if not proof.bracketed:
        progress.note(
            "proof of lr_max: the best rate is the last one tried; one beyond it may be better"
        )
    return Evidence(proof, shorter.recipe.epochs, steps, images)


def short(training: Training) -> Training:
    """The training with fewer epochs, and with a validation split if it has none."""
    recipe = training.recipe
    epochs = max(1, round(recipe.epochs * PROBE_SHARE))
    peak_epoch = epochs * recipe.resolved_peak_epoch / recipe.epochs
    recipe = override(recipe, epochs=epochs, peak_epoch=peak_epoch)
    if training.val is not None:
        return replace(training, recipe=recipe)
    train = training.batches.train
    chosen_N = stratified(train.labels_N, JUDGED_SHARE, recipe.split_seed, "proof")
    if not chosen_N.any():
        raise InputError(
            f"lr_max: {counted(len(train), 'training image')}: too few to hold some out for "
            "the proof; give val_fraction, or lr_max auto"
        )
    batches = replace(training.batches, train=train.take(np.flatnonzero(~chosen_N)))
    val = train.take(np.flatnonzero(chosen_N))
    return replace(training, recipe=recipe, batches=batches, val=val)


def probe(training: Training, plan: Plan, stop: Signals, progress: Progress) -> float | None:
    """Train by `plan` from the beginning. The score on `val`; None if the loss is not finite."""
    trial = fresh(training)
    trial.train_mode()
    for index in range(plan.total_steps):
        if stop.signal_number:
            raise Interrupted(stop.signal_number)
        at = plan.at(index)
        loss = float(loop.step(trial, index, at).loss)
        if not math.isfinite(loss):
            return None
        progress.advance(1, loss=loss, lr=at.lr)
    evaluation = trial.evaluate(_judges(trial))
    return trial.score(evaluation) if math.isfinite(evaluation.loss) else None


def with_peak(recipe: Recipe, finding: LRFinding, lr_max: float) -> Recipe:
    """The recipe with this peak, and a number for its first rate."""
    lr_min = finding.lr_min_below(lr_max) if recipe.lr_min == "auto" else recipe.lr_min
    return override(recipe, lr_max=max(lr_max, lr_min), lr_min=lr_min)


def _plan(training: Training, finding: LRFinding, lr_max: float) -> Plan:
    """A probe's plan. A last rate above its peak is lowered to that."""
    final = training.recipe.lr_final
    recipe = with_peak(override(training.recipe, lr_final="auto"), finding, lr_max)
    if final != "auto" and recipe.lr_max != "auto":
        recipe = override(recipe, lr_final=min(final, recipe.lr_max))
    return Plan.of(recipe, training.batches.steps_per_epoch)


def _judges(training: Training) -> ImageSet:
    assert training.val is not None
    return training.val
