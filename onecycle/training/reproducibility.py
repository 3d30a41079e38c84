"""What a run's bits depend on, kept in environment.json, and what differs when it is resumed."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import torch

from onecycle import runtime
from onecycle.config import Recipe, override
from onecycle.config.declaring import settings
from onecycle.data import BUILT_IN, Splits
from onecycle.engine.state import Training
from onecycle.errors import InputError
from onecycle.progress import Progress
from onecycle.run_dir import RunDir, environment, package_versions
from onecycle.run_dir.files import damaged
from onecycle.run_dir.provenance import kernels_used
from onecycle.run_dir.records import Difference, Kernels, Resumption
from onecycle.training.peak_search import found_rates, with_rates

RATES = ("lr_min", "lr_max", "lr_final")
"""Fields that may have been words when the run began, and have been resolved since."""

SOURCE = "network source"
"""What differs if the code of a network of the user's own has changed."""

LISTED = 6
"""Largest number of differences that a message names. It counts the others."""


def record(run: RunDir, training: Training, splits: Splits, command: Sequence[str]) -> None:
    """Write environment.json: where the run began, on which machine, with which recipe."""
    device, precision = str(training.device), training.recipe.precision
    run.write_record(
        replace(
            environment(command, device, precision, torch.get_num_threads()),
            processes=training.processes.count,
            data_fingerprint=splits.fingerprint,
            data_given=training.recipe.data,
            data_path=_path(splits),
            data_left_out=splits.left_out.to_json(),
            initial_weights=training.initial and training.initial.record,
            source_sha256=_source(training),
            recipe=asdict(training.recipe),
        )
    )


def _source(training: Training) -> str | None:
    """The hash of the network's source; empty if it can't be known; None if it is built in."""
    architecture = training.architecture
    return None if architecture.built_in else architecture.source_sha256


def _path(splits: Splits) -> str | None:
    """The absolute path of the images; None for a built-in set.

    Links in the path stay links, so a link that is changed later is followed.
    """
    return None if splits.source in BUILT_IN else os.path.abspath(splits.source)


def recorded_processes(run: RunDir) -> int:
    """The number of processes that have trained the run so far."""
    return _recorded(run)["processes"]


def freely(found: Sequence[Difference]) -> bool:
    """Whether a run goes on despite these differences without being told to.

    With another number of processes, sums have another order, and other threads belong to it.
    """
    names = {difference.what for difference in found}
    return "processes" in names and names <= {"processes", "threads"}


def recorded_threads(run: RunDir) -> int:
    """The number of CPU threads that the run has used; 0 if it isn't known."""
    return _recorded(run).get("threads") or 0


def differences(run: RunDir, training: Training, splits: Splits) -> list[Difference]:
    """What has changed since the run began, recipe first. Unrecorded facts are skipped."""
    recorded = _recorded(run, type(training.recipe))
    now = _facts(training, splits)
    return [
        Difference(what=what, was=recorded[what], now=now[what])
        for what in now
        if what in recorded and recorded[what] != now[what]
    ]


def record_resumption(
    run: RunDir, training: Training, splits: Splits, allowed: Sequence[Difference]
) -> None:
    """Record in environment.json that the run continues despite these differences."""
    known = run.environment()
    entry = Resumption(
        time=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        step=training.state.step,
        allowed_differences=list(allowed),
    )
    place = {"data_given": training.recipe.data, "data_path": _path(splits)}
    run.write_record(replace(known, **place, resumed=[*(known.resumed or []), entry]))


def note_unknown_source(run: RunDir, training: Training, progress: Progress) -> None:
    """Report that the source of the network's code can't be compared."""
    recorded = run.environment().source_sha256
    if not training.architecture.built_in and not (recorded and _source(training)):
        progress.note(
            f"{SOURCE}: of '{training.recipe.model}' can't be found, so it can't be compared"
        )


def refuse(run: RunDir, found: Sequence[Difference]) -> InputError:
    """The error for a run that would not continue as it began."""
    few = "; ".join(map(_told, found[:LISTED]))
    more = f"; and {len(found) - LISTED} more" if len(found) > LISTED else ""
    return InputError(
        f"{run.path}: the result would differ from that of an unbroken run: {few}{more}. Restore "
        "it, or go on with --allow-differences, which the run records"
    )


def note_differences(found: Sequence[Difference], progress: Progress) -> None:
    """Report what differs."""
    for difference in found:
        progress.note(f"different since the run began: {_told(difference)}")


def allowed_differences(run: RunDir) -> list[Difference]:
    """All differences that were allowed when the run was resumed, each with its `step`."""
    return [
        replace(difference, step=entry.step)
        for entry in run.environment().resumed or []
        for difference in entry.allowed_differences
    ]


def _facts(training: Training, splits: Splits) -> dict[str, Any]:
    """Everything that the bits depend on, by name."""
    on_gpu = training.device.type == "cuda"
    return {
        **_influential(training.recipe),
        "data_fingerprint": splits.fingerprint,
        "torch": package_versions()["torch"],
        "threads": torch.get_num_threads(),
        "processes": training.processes.count,
        "cpu": runtime.cpu_model(),
        **_initial_weights(training),
        "kernels": kernels_used(training.device, training.recipe.precision),
        **({SOURCE: source} if (source := _source(training)) else {}),
        **({"device_name": torch.cuda.get_device_name(training.device)} if on_gpu else {}),
    }


def _initial_weights(training: Training) -> dict[str, str | None]:
    """SHA-256 of the loaded weights; nothing if a checkpoint has made them unnecessary."""
    if training.initial:
        return {"initial_weights": training.initial.record.sha256}
    return {} if training.recipe.init_from else {"initial_weights": None}


def _recorded(run: RunDir, kind: type[Recipe] = Recipe) -> dict[str, Any]:
    """The recorded facts: those of the beginning, updated by the differences allowed since."""
    known = run.environment()
    facts = {
        "data_fingerprint": known.data_fingerprint,
        "torch": known.versions.get("torch"),
        "threads": known.threads,
        "processes": known.processes or 1,
        "cpu": known.cpu,
        "kernels": known.kernels,
        "device_name": known.device_name,
        "initial_weights": known.initial_weights and known.initial_weights.sha256,
        SOURCE: known.source_sha256 or None,
    }
    facts = {name: value for name, value in facts.items() if value is not None}
    if known.recipe is not None:
        facts |= _recorded_recipe(run, known.recipe, kind)
    return facts | {change.what: change.now for change in allowed_differences(run)}


def _recorded_recipe(run: RunDir, given: Mapping[str, Any], kind: type[Recipe]) -> dict[str, Any]:
    """The recipe that the run began with, and the rates found since.

    If the record of the rates is damaged, they can't be compared.
    """
    try:
        recipe = override(kind(), **{k: v for k, v in given.items() if k in settings(kind)})
    except InputError as error:
        raise damaged(run.path / "environment.json", f"'recipe': {error}") from None
    found = found_rates(run)
    known = _influential(recipe if found is None else with_rates(recipe, found))
    return {k: v for k, v in known.items() if found is not None or k not in RATES}


def _influential(recipe: Recipe) -> dict[str, Any]:
    """The settings that change the bits, in the form that JSON gives back."""
    known = settings(type(recipe))
    values = {name: getattr(recipe, name) for name in known if known[name].changes_bits}
    return json.loads(json.dumps(values))


def _told(difference: Difference) -> str:
    if difference.what == SOURCE:
        return f"{SOURCE} has changed (SHA-256 {difference.was:.8}, now {difference.now:.8})"
    was, now = _shown(difference.was), _shown(difference.now)
    return f"{difference.what} was {was} and is now {now}"


def _shown(value: Any) -> str:
    if isinstance(value, Kernels):
        return str(value)
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
