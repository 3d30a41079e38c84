"""Finding the learning rates of a training by range tests of its own."""

import time
from dataclasses import replace
from typing import Any

from torch import Tensor

from onecycle import loop, optim, runtime
from onecycle.config import Recipe, override
from onecycle.errors import Interrupted
from onecycle.loop import Training
from onecycle.lr_finder import LRCurve, LRFinding, lr_range_test, suggest
from onecycle.progress import Progress
from onecycle.run_dir import RunDir
from onecycle.training.preparation import build, placed
from onecycle.training.signals import Signals


def resolve_rates(training: Training, run: RunDir, stop: Signals, progress: Progress) -> Recipe:
    """The recipe with numbers for its rates, found by a range test where they are `auto`."""
    recipe = training.recipe
    if "auto" in (recipe.lr_max, recipe.lr_min):
        started = time.perf_counter()
        finding = range_test(training, stop, progress)
        for warning in finding.warnings:
            progress.note(f"range test: {warning}")
        recipe = choose_rates(recipe, finding)
        run.write_json(
            "lr_range_test.json",
            finding.to_json()
            | {
                "chosen": {"lr_min": recipe.lr_min, "lr_max": recipe.lr_max},
                "why": _why(training.recipe),
                "optimizer": _optimizer_settings(training),
                "seconds": time.perf_counter() - started,
            },
        )
        progress.note(f"range test: lr_min {recipe.lr_min:.3g}, lr_max {recipe.lr_max:.3g}")
    if recipe.lr_final == "auto":
        recipe = override(recipe, lr_final=recipe.lr_min)
    run.write_recipe(recipe)
    return recipe


def range_test(training: Training, stop: Signals, progress: Progress) -> LRFinding:
    """`lr_repeats` range tests with the training's own optimizer, batches and precision.

    The first runs on the training's own network and leaves no trace; further ones draw another
    initialization and other batches.
    """
    curves = []
    for repeat in range(training.recipe.lr_repeats):
        trial = training if repeat == 0 else _sibling(training, repeat)
        seed = runtime.seed_of(training.recipe.seed, "range test", repeat)
        curves.append(_one_range_test(trial, seed, stop, progress))
    return suggest(curves)


def _one_range_test(trial: Training, seed: int, stop: Signals, progress: Progress) -> LRCurve:
    recipe, batches = trial.recipe, replace(trial.batches, seed=seed)
    # The momentum that goes with the peak, where the rate that is sought will stand.
    momentum = recipe.base_momentum if recipe.cycle_momentum else recipe.momentum

    def step(index: int) -> Tensor:
        if stop.signal_number:
            raise Interrupted(stop.signal_number)
        runtime.seed_layers(seed, index)
        for group in trial.optimizer.param_groups:
            optim.set_rates(trial.optimizer, group["lr"], momentum)
        return loop.train_step(trial.model, trial.optimizer, *batches.cut(index), recipe)[0]

    return lr_range_test(
        trial.model,
        trial.optimizer,
        step=step,
        steps=recipe.lr_steps,
        lr_start=recipe.lr_start,
        lr_end=recipe.lr_end,
        progress=progress,
    )


def _sibling(training: Training, repeat: int) -> Training:
    """The same training with another initialization."""
    recipe = training.recipe
    channels = training.batches.train.image_shape[2]
    seed = runtime.seed_of(recipe.seed, "range test initialization", repeat)
    model = build(recipe, channels, len(training.batches.train.classes), seed=seed)
    model = placed(model, training.device)
    return replace(training, model=model, optimizer=optim.build(model, recipe))


def choose_rates(recipe: Recipe, finding: LRFinding) -> Recipe:
    """The recipe with found rates in place of `auto`; a given one is kept and bounds the other."""
    lr_max = finding.lr_max if recipe.lr_max == "auto" else recipe.lr_max
    lr_min = min(finding.lr_min, lr_max) if recipe.lr_min == "auto" else recipe.lr_min
    return override(recipe, lr_max=max(lr_max, lr_min), lr_min=lr_min)


def _why(recipe: Recipe) -> str:
    """How the two rates were chosen, in one sentence."""
    found = [name for name in ("lr_min", "lr_max") if getattr(recipe, name) == "auto"]
    methods = {
        "lr_max": "lr_max by 'recommended', twice the last rate of the valley's floor",
        "lr_min": "lr_min by 'lr_min', the rate at which the loss measurably starts to fall, "
        "kept between 1/1000 and 1/10 of lr_max",
    }
    return "; ".join(methods[name] for name in found)


def _optimizer_settings(training: Training) -> dict[str, Any]:
    group = training.optimizer.param_groups[0]
    wanted = ("momentum", "nesterov", "weight_decay", "betas", "eps", "dampening")
    return {"name": type(training.optimizer).__name__} | {
        key: list(group[key]) if isinstance(group[key], tuple) else group[key]
        for key in wanted
        if key in group
    }
