"""Groups: runs whose recipes differ only in the seed, and the differences between groups."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal

import numpy as np

from onecycle.config import PEAK_SHARE, Recipe
from onecycle.config.declaring import Decides, deciding, settings
from onecycle.experiments.cells import list_text, value_text, value_texts
from onecycle.experiments.reading import FinishedRun
from onecycle.recipes import RECIPES
from onecycle.statistics import Interval, mean_interval, mean_of, wilson

Figure = Literal[
    "train_accuracy", "test_accuracy", "best_test_accuracy", "val_accuracy",
    "test_balanced_accuracy", "test_accuracy_tta", "test_loss", "calibration_error", "lr_max",
    "total_seconds", "images_per_second",
]  # fmt: skip
"""The figures of result.json that are compared, and one that is computed from the predictions."""
DECISIVE: tuple[Decides, ...] = ("training", "network", "statistics")
"""What distinguishes groups, besides the images, which the fingerprint represents."""
ABSENT = "–"
"""Shown for a field that has no effect in a group."""
LONGEST_NAME = 32
"""Maximum length of a group's name, in characters."""


@dataclass(frozen=True)
class Accuracy:
    """An accuracy of a group.

    Attributes:
        mean: over the runs, in [0, 1].
        std: standard deviation over the runs (n - 1); None for a single run.
        interval: at 95 %: Student's over the runs, Wilson's over the test images for a single one;
            None where there are neither, and where all seeds gave the same accuracy.
        over: what the interval was computed over, `seeds` or `images`; empty without an interval.
    """

    mean: float
    std: float | None
    interval: Interval | None
    over: str


@dataclass(frozen=True)
class Group:
    """Runs of one recipe that differ in the seed.

    Attributes:
        letter: A, B, C …: the group's short name, for programs.
        name: what people call it: its recipe's name, or else what sets it off from the others.
        runs: one for each seed.
        settings: what decides a result, except the seed, by field of the recipe.
        differences: the fields in which the groups differ, as text.
        name_tells_all: whether the name tells all of them to a reader who knows the recipe.
    """

    letter: str
    name: str
    runs: tuple[FinishedRun, ...]
    settings: dict[str, Any]
    differences: dict[str, str]
    name_tells_all: bool = False

    @property
    def n(self) -> int:
        """The number of runs, which equals the number of seeds."""
        return len(self.runs)

    @property
    def recipe_names(self) -> str:
        """The names of the runs' recipes."""
        return _recipe_names(self.runs)

    def values(self, name: Figure) -> list[float]:
        """A figure of each run that has it."""
        found = (run.figure(name) for run in self.runs)
        return [float(value) for value in found if value is not None]

    def mean(self, name: Figure) -> float:
        """The mean of a figure."""
        return mean_of(self.values(name))

    def accuracy(self, name: Figure) -> Accuracy:
        """The accuracy called `name`, over all runs."""
        values = self.values(name)
        mean = mean_of(values)
        if len(values) > 1:
            found = mean_interval(values)
            if found is None:
                return Accuracy(mean, 0.0, None, "")
            interval = Interval(max(found.low, 0.0), min(found.high, 1.0))
            return Accuracy(mean, float(np.std(values, ddof=1)), interval, "seeds")
        if name != "test_accuracy":  # a run doesn't record the number of images of the others
            return Accuracy(mean, None, None, "")
        right_N = ~self.runs[0].test.wrong_N
        return Accuracy(mean, None, wilson(int(right_N.sum()), len(right_N)), "images")


def group_runs(runs: Sequence[FinishedRun]) -> tuple[list[Group], list[str]]:
    """The groups in the order of their first runs, and a note for each with repeated seeds.

    Runs with the same recipe and seed are not independent trials, so only the newest counts.
    """
    kinds: dict[str, list[FinishedRun]] = {}
    for run in runs:
        kinds.setdefault(repr(settings_of(run)), []).append(run)
    letters = [_letter(index) for index in range(len(kinds))]
    told = _differences([members[0] for members in kinds.values()])
    chosen = [_newest_of_each_seed(members) for members in kinds.values()]
    names, telling = _names([kept for kept, _ in chosen], letters, told)
    groups = [
        Group(letter, name, kept, settings_of(kept[0]), differences, telling)
        for letter, name, (kept, _), differences in zip(letters, names, chosen, told, strict=True)
    ]
    notes = [
        f"{name}: several runs have the same seed ({list_text([str(seed) for seed in repeated])}); "
        "only the newest of them counts"
        for name, (_, repeated) in zip(names, chosen, strict=True)
        if repeated
    ]
    return groups, notes


def _names(
    runs: Sequence[Sequence[FinishedRun]], letters: Sequence[str], told: Sequence[dict[str, str]]
) -> tuple[list[str], bool]:
    """The groups' names, and whether they tell all settings in which the groups differ.

    They are the recipes' names, else what differs, else the recipe's name and a letter. If several
    settings differ, a name has only those that differ from the named recipe, and a group that
    differs in none is called by the recipe. A recipe's name may have any length. Differences that
    would make a long name are left to the table of recipes.
    """
    recipes = [_recipe_names(members) for members in runs]
    if len(set(recipes)) == len(recipes):
        return recipes, len(recipes) == 1
    shown = [
        {n: v for n, v in values.items() if v != ABSENT and n != "fingerprint"} for values in told
    ]
    usual = [_usual(members, shown) for members in runs]
    names = [
        ", ".join(f"{n} {v}" for n, v in values.items() if own.get(n) != v) or recipe
        for values, own, recipe in zip(shown, usual, recipes, strict=True)
    ]
    if len(set(names)) == len(names) and all(
        name in recipes or len(name) <= LONGEST_NAME for name in names
    ):
        return names, True
    return [_lettered(name, letter) for name, letter in zip(recipes, letters, strict=True)], False


def _usual(runs: Sequence[FinishedRun], shown: Sequence[dict[str, str]]) -> dict[str, str]:
    """The settings that a group's name need not tell, as text, by field.

    They are those of the named recipe. For a recipe that is the user's own, they are what more than
    half of the groups have. There are none if only one setting differs: then it makes the names.
    """
    if len({name for values in shown for name in values}) < 2:
        return {}
    known = RECIPES.get(_recipe_names(runs))
    if known is None:
        counts = Counter(pair for values in shown for pair in values.items())
        return dict(pair for pair, count in counts.items() if 2 * count > len(shown))
    found = {n: v for n in ("lr_min", "lr_max") if (v := getattr(known.recipe, n)) == "auto"}
    own = {name: getattr(known.recipe, name) for name in settings(Recipe)}
    return {name: value_text(value) for name, value in own.items()} | dict.fromkeys(found, "found")


def _lettered(recipe: str, letter: str) -> str:
    return f"{recipe} {letter}"


def _recipe_names(runs: Sequence[FinishedRun]) -> str:
    return " / ".join(dict.fromkeys(run.recipe.recipe for run in runs))


def settings_of(run: FinishedRun) -> dict[str, Any]:
    """What decides a run's result, except the seed, by field.

    The fingerprint replaces the path of the data, the hash of its source that of a network's code,
    and the hash of the loaded weights the path to them. The way a rate was found replaces a rate
    that was found. `lr_min` replaces a last rate that equals the first. The range test's settings
    count only if one was run.
    """
    shown = deciding(type(run.recipe), *DECISIVE, *(("rates",) if run.found else ()))
    values = {"data": run.fingerprint} | {name: getattr(run.recipe, name) for name in shown}
    if source := run.environment.source_sha256:
        values |= {"model": _place(run.recipe.model), "network source": source[:8]}
    if weights := run.environment.initial_weights:
        values["init_from"] = weights.sha256
    if values["lr_final"] == values["lr_min"]:
        values["lr_final"] = "lr_min"
    words = {"auto": "found", "proven": "proven"}
    values |= {name: words.get(word, word) for name, word in run.found.items()}
    share = run.recipe.resolved_peak_epoch / run.recipe.epochs
    return values | ({"peak_epoch": "auto"} if math.isclose(share, PEAK_SHARE) else {})


def _differences(runs: Sequence[FinishedRun]) -> list[dict[str, str]]:
    """For each run, the fields in which not all runs are equal, as text."""
    decisive = [settings_of(run) for run in runs]
    names = dict.fromkeys(name for values in decisive for name in values)
    differing = [n for n in names if len({repr(v[n]) for v in decisive if n in v}) > 1]
    told: list[dict[str, str]] = [{} for _ in runs]
    if "data" in differing:
        of_data = ("data", *deciding(type(runs[0].recipe), "statistics"))
        differing = [name for name in differing if name not in of_data]
        told = _data_differences(runs)
    for name in differing:
        _tell(told, name, [values.get(name, ABSENT) for values in decisive])
    if "init_from" in differing:
        for differences, shown in zip(told, _weights(runs), strict=True):
            differences["init_from"] = shown
    return told


def _weights(runs: Sequence[FinishedRun]) -> list[str]:
    """For each run, the name of the weights it started from; with their hash if not unique."""
    names = [value_text(_place(run.recipe.init_from)) for run in runs]
    found = [run.environment.initial_weights for run in runs]
    hashes = [weights.sha256[:8] if weights else "" for weights in found]
    if len(set(names)) == len(set(hashes)) == len(set(zip(names, hashes, strict=True))):
        return names
    return [f"{n} {sha}" if sha else n for n, sha in zip(names, hashes, strict=True)]


def _data_differences(runs: Sequence[FinishedRun]) -> list[dict[str, str]]:
    """For each run, the fields that selected different images, or else the fingerprint."""
    recipes = [run.recipe for run in runs]
    differing = [
        name
        for name in deciding(type(recipes[0]), "images")
        if any(getattr(recipe, name) != getattr(recipes[0], name) for recipe in recipes)
    ]
    told: list[dict[str, str]] = [{} for _ in runs]
    for name in differing:
        _tell(told, name, [_place(getattr(recipe, name)) for recipe in recipes])
    if len({tuple(values.items()) for values in told}) < len({run.fingerprint for run in runs}):
        for values, run in zip(told, runs, strict=True):
            values["fingerprint"] = run.fingerprint
    return told


def _tell(told: Sequence[dict[str, str]], name: str, values: Sequence[Any]) -> None:
    """Add a field to what is told of each run."""
    for differences, text in zip(told, value_texts(values), strict=True):
        differences[name] = text


def _place(value: Any) -> Any:
    """The last part of a path: the place of the data is not a difference."""
    return (Path(value).name or value) if isinstance(value, str) else value


def _newest_of_each_seed(
    runs: Sequence[FinishedRun],
) -> tuple[tuple[FinishedRun, ...], list[int]]:
    """The newest run of each seed, by seed; and the repeated seeds."""
    by_seed: dict[int, list[FinishedRun]] = {}
    for run in runs:
        by_seed.setdefault(run.seed, []).append(run)
    kept = tuple(max(by_seed[seed], key=lambda run: run.finished) for seed in sorted(by_seed))
    return kept, [seed for seed, same in sorted(by_seed.items()) if len(same) > 1]


def _letter(index: int) -> str:
    """A, B, … Z, AA, AB, …"""
    before, place = divmod(index, len(ascii_uppercase))
    return (_letter(before - 1) if before else "") + ascii_uppercase[place]
