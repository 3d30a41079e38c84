"""Finding the learning rates of a training by range tests of its own."""

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from torch import Tensor

from onecycle import loop, optim, runtime
from onecycle.config import Recipe, override
from onecycle.errors import InputError, Interrupted
from onecycle.lr_finder import LRCurve, LRFinding, Proof, lr_range_test, suggest
from onecycle.progress import Progress
from onecycle.run_dir import RunDir
from onecycle.state import Training
from onecycle.training.preparation import build, placed
from onecycle.training.proving import prove_lr_max
from onecycle.training.signals import Signals

Method = Literal["recommended", "safe", "proven", "lr_min"]

WHY: dict[Method, str] = {
    "recommended": "lr_max by 'recommended', from the last rate of the valley's floor",
    "safe": "lr_max by a safe rate for the optimizer, as the curve can't be trusted",
    "proven": "lr_max by short trainings on either side of the 'recommended' rate",
    "lr_min": "lr_min by 'lr_min', the rate at which the loss measurably starts to fall, "
    "kept between 1/1000 and 1/10 of lr_max",
}
"""How a rate was chosen, in words."""


def resolve_rates(training: Training, run: RunDir, stop: Signals, progress: Progress) -> Recipe:
    """The recipe with numbers for its rates, found by a range test where they are `auto`."""
    recipe = training.recipe
    if isinstance(recipe.lr_max, str) or recipe.lr_min == "auto":
        started = time.perf_counter()
        finding = trusted(recipe, range_test(training, stop, progress))
        for warning in finding.warnings:
            progress.note(f"warning: range test: {warning}")
        evidence = None
        if recipe.lr_max == "proven":
            seconds = (time.perf_counter() - started) / sum(map(len, finding.curves))
            evidence = prove_lr_max(
                training, finding.lr_max, partial(_with_peak, finding), seconds, stop, progress
            )
        recipe = choose_rates(recipe, finding, evidence.proof if evidence else None)
        run.write_json(
            "lr_range_test.json",
            finding.to_json()
            | {
                "asked": {name: getattr(training.recipe, name) for name in ("lr_min", "lr_max")},
                "chosen": {"lr_min": recipe.lr_min, "lr_max": recipe.lr_max},
                "by": (by := _by(training.recipe, finding)),
                "why": "; ".join(WHY[method] for method in by.values()),
                **({"proof": evidence.to_json()} if evidence else {}),
                "optimizer": finding.curves[0].optimizer,
                "seconds": time.perf_counter() - started,
            },
        )
        progress.note(f"range test: lr_min {recipe.lr_min:.3g}, lr_max {recipe.lr_max:.3g}")
    recipe = _with_final(recipe)
    run.write_recipe(recipe)
    return recipe


def found_rates(run: RunDir) -> dict[str, Any] | None:
    """The rates that the run's range test has chosen; empty before its end.

    None where its record is damaged.
    """
    try:
        return dict((run.range_test() or {}).get("chosen", {}))
    except InputError:
        return None


def set_aside_if_damaged(run: RunDir) -> None:
    """Give a record of the range test that can't be read another name, so that a run can end."""
    if found_rates(run) is None:
        run.set_aside("lr_range_test.json")


def with_rates(recipe: Recipe, found: Mapping[str, float]) -> Recipe:
    """The recipe with found rates in place of words, as far as there are any."""
    words = [name for name in ("lr_max", "lr_min") if isinstance(getattr(recipe, name), str)]
    recipe = override(recipe, **{name: found[name] for name in words if name in found})
    return recipe if recipe.lr_min == "auto" else _with_final(recipe)


def trusted(recipe: Recipe, finding: LRFinding) -> LRFinding:
    """The finding with a safe peak rate where the reading is in doubt.

    Where the recipe gives the peak, the doubt matters to nobody: the first rate is kept near it.
    """
    if isinstance(recipe.lr_max, str) or not finding.doubts:
        return finding.made_safe()
    return replace(finding, lr_min=finding.lr_min_below(recipe.lr_max), warnings=())


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
        batch_BCHW, labels_B = batches.cut(index)
        weights_K = trial.class_weights_K
        return loop.train_step(
            trial.model, trial.optimizer, batch_BCHW, labels_B, recipe, weights_K
        )[0]

    return lr_range_test(
        trial.model,
        trial.optimizer,
        step=step,
        steps=int(recipe.lr_steps),
        lr_start=recipe.lr_start,
        lr_end=recipe.lr_end,
        batch_size=batches.batch_size,
        progress=progress,
    )


def _sibling(training: Training, repeat: int) -> Training:
    """The same training with another initialization."""
    recipe = training.recipe
    channels = training.batches.train.image_shape[2]
    seed = runtime.seed_of(recipe.seed, "range test initialization", repeat)
    model = build(recipe, channels, len(training.batches.train.classes), seed=seed)
    model = placed(model, training.device, compiled=recipe.compile)
    return replace(training, model=model, optimizer=optim.build(model, recipe))


def choose_rates(recipe: Recipe, finding: LRFinding, proof: Proof | None = None) -> Recipe:
    """The recipe with found rates in place of words; a given one is kept and bounds the other."""
    if not isinstance(recipe.lr_max, str):
        return override(recipe, lr_min=min(finding.lr_min, recipe.lr_max))
    lr_max = proof.lr_max if proof else finding.lr_max
    lr_min = finding.lr_min_below(lr_max) if recipe.lr_min == "auto" else recipe.lr_min
    return override(recipe, lr_max=max(lr_max, lr_min), lr_min=lr_min)


def _with_peak(finding: LRFinding, recipe: Recipe, lr_max: float) -> Recipe:
    """The recipe of a probe at `lr_max`, every rate a number."""
    lr_min = finding.lr_min_below(lr_max) if recipe.lr_min == "auto" else recipe.lr_min
    lr_max = max(lr_max, lr_min)
    lr_final = recipe.lr_final if recipe.lr_final == "auto" else min(recipe.lr_final, lr_max)
    return _with_final(override(recipe, lr_max=lr_max, lr_min=lr_min, lr_final=lr_final))


def _with_final(recipe: Recipe) -> Recipe:
    """The recipe with `lr_min` for the last rate where none is given."""
    return override(recipe, lr_final=recipe.lr_min) if recipe.lr_final == "auto" else recipe


def _by(recipe: Recipe, finding: LRFinding) -> dict[str, Method]:
    """How each rate was found that the recipe left open."""
    found: dict[str, Method] = {}
    if recipe.lr_min == "auto":
        found["lr_min"] = "lr_min"
    if recipe.lr_max == "proven":
        found["lr_max"] = "proven"
    elif recipe.lr_max == "auto":
        found["lr_max"] = "recommended" if finding.replaced is None else "safe"
    return found
