"""Finding the learning rates of a training by range tests and probes."""

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor

from onecycle import runtime
from onecycle.config import Recipe, override
from onecycle.engine import loop
from onecycle.engine.plan import AtStep, Plan, momentum_at_peak, to_search
from onecycle.engine.state import Training
from onecycle.errors import InputError, Interrupted
from onecycle.lr_finder import LRCurve, LRFinding, Proof, lr_range_test, suggest
from onecycle.progress import Progress
from onecycle.run_dir import RunDir
from onecycle.run_dir.records import Method
from onecycle.training.preparation import fresh
from onecycle.training.probes import prove_lr_max, with_peak
from onecycle.training.signals import Signals

WHY: dict[Method, str] = {
    "recommended": "lr_max by 'recommended', from the last rate of the valley's floor",
    "safe": "lr_max by a safe rate for the optimizer, as the curve can't be trusted",
    "proven": "lr_max by short trainings on either side of the 'recommended' rate",
    "lr_min": "lr_min by 'lr_min', the rate at which the loss measurably starts to fall, "
    "kept between 1/1000 and 1/10 of lr_max",
}
"""How a rate was chosen, as text."""


def resolve_rates(training: Training, run: RunDir, stop: Signals, progress: Progress) -> Plan:
    """The training's plan. Rates that the recipe leaves open come from a range test.

    The resolved recipe is written to the run folder, and so is the record of the search.
    """
    recipe = training.recipe
    if to_search(recipe):
        recipe = _search(training, run, stop, progress)
        chosen = training.processes.from_first([recipe.lr_min, recipe.lr_max])
        recipe = override(recipe, lr_min=chosen[0], lr_max=chosen[1])
        progress.note(f"range test: lr_min {recipe.lr_min:.3g}, lr_max {recipe.lr_max:.3g}")
    plan = Plan.of(recipe, training.batches.steps_per_epoch)
    run.write_recipe(plan.recipe)
    return plan


def _search(training: Training, run: RunDir, stop: Signals, progress: Progress) -> Recipe:
    """The recipe with numbers for `lr_min` and `lr_max`. Their evidence is written to `run`."""
    asked, started = training.recipe, time.perf_counter()
    finding = trusted(asked, range_test(training, stop, progress))
    for warning in finding.warnings:
        progress.note(f"warning: range test: {warning}")
    evidence = None
    if asked.lr_max == "proven":
        seconds = (time.perf_counter() - started) / sum(map(len, finding.curves))
        evidence = prove_lr_max(training, finding, seconds, stop, progress)
    recipe = choose_rates(asked, finding, evidence.proof if evidence else None)
    by = _by(asked, finding)
    run.write_json(
        "lr_range_test.json",
        finding.to_json()
        | {
            "asked": {name: getattr(asked, name) for name in ("lr_min", "lr_max")},
            "chosen": {"lr_min": recipe.lr_min, "lr_max": recipe.lr_max},
            "by": by,
            "why": "; ".join(WHY[method] for method in by.values()),
            **({"proof": evidence.to_json()} if evidence else {}),
            "optimizer": finding.curves[0].optimizer,
            "seconds": time.perf_counter() - started,
        },
    )
    return recipe


def found_rates(run: RunDir) -> dict[str, Any] | None:
    """The rates that the run's range test chose; empty before the test has ended.

    None if its record is damaged.
    """
    try:
        found = run.range_test()
    except InputError:
        return None
    return {} if found is None or found.chosen is None else asdict(found.chosen)


def set_aside_if_damaged(run: RunDir) -> None:
    """Rename a damaged record of the range test, so that the run can finish."""
    if found_rates(run) is None:
        run.set_aside("lr_range_test.json")


def with_rates(recipe: Recipe, found: Mapping[str, float]) -> Recipe:
    """The recipe with the rates that were found, as far as there are any."""
    known = {name: found[name] for name in to_search(recipe) if name in found}
    recipe = override(recipe, **known)
    if recipe.lr_final == "auto" and recipe.lr_min != "auto":
        recipe = override(recipe, lr_final=recipe.lr_min)
    return recipe


def trusted(recipe: Recipe, finding: LRFinding) -> LRFinding:
    """The finding, with a safe peak rate if the reading is in doubt.

    If the recipe specifies the peak, the doubt does not matter: only the first rate is adapted.
    """
    if isinstance(recipe.lr_max, str) or not finding.doubts:
        return finding.made_safe()
    return replace(finding, lr_min=finding.lr_min_below(recipe.lr_max), warnings=())


def range_test(training: Training, stop: Signals, progress: Progress) -> LRFinding:
    """`lr_repeats` range tests with the training's own optimizer, batches and precision.

    The first one runs on the training's own network and leaves no trace. Further ones have another
    initialization and other batches.
    """
    curves = []
    for repeat in range(training.recipe.lr_repeats):
        trial, seed = training, training.recipe.seed
        if repeat:
            drawn = runtime.seed_of(seed, "range test initialization", repeat)
            trial = fresh(training, initialized_by=drawn)
        seed = runtime.seed_of(seed, "range test", repeat)
        curves.append(_one_range_test(trial, seed, stop, progress))
    return suggest(curves)


def _one_range_test(trial: Training, seed: int, stop: Signals, progress: Progress) -> LRCurve:
    recipe, batches = trial.recipe, replace(trial.batches, seed=seed)
    trial = replace(trial, batches=batches, audited=False)
    momentum = momentum_at_peak(recipe)  # beside the rate that is sought

    def step(index: int) -> Tensor:
        if stop.signal_number:
            raise Interrupted(stop.signal_number)
        lr = trial.optimizer.param_groups[0]["lr"]  # as the ramp has set it
        return loop.step(trial, index, AtStep(lr, momentum)).loss

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


def choose_rates(recipe: Recipe, finding: LRFinding, proof: Proof | None = None) -> Recipe:
    """The recipe with the rates that were found. A specified rate is kept and bounds the other."""
    if not isinstance(recipe.lr_max, str):
        return override(recipe, lr_min=min(finding.lr_min, recipe.lr_max))
    return with_peak(recipe, finding, proof.lr_max if proof else finding.lr_max)


def _by(recipe: Recipe, finding: LRFinding) -> dict[str, Method]:
    """The method by which each open rate was found."""
    found: dict[str, Method] = {}
    if recipe.lr_min == "auto":
        found["lr_min"] = "lr_min"
    if recipe.lr_max == "proven":
        found["lr_max"] = "proven"
    elif recipe.lr_max == "auto":
        found["lr_max"] = "recommended" if finding.replaced is None else "safe"
    return found
