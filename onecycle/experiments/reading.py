"""Finding, reading and checking the runs of a comparison, without PyTorch."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np

from onecycle.config import Recipe
from onecycle.errors import InputError
from onecycle.run_dir import RunDir
from onecycle.run_dir.checking import to_json
from onecycle.run_dir.records import Environment, EpochRow, RangeTest, Result
from onecycle.statistics import reliability
from onecycle.writing.numbers import counted

DEEPEST = 3
"""How many levels of folders below a given one are searched for runs."""


@dataclass(frozen=True)
class TestImages:
    """What a run predicted for the test images; N images.

    Attributes:
        names_N: text, one name for each image.
        labels_N: int64, actual classes.
        predicted_N: int64, predicted classes; the first one where two are equal.
        classes: names of the classes.
        calibration_error: expected calibration error, in [0, 1]; None if it was not computed.
    """

    __test__ = False  # pytest would take it for a test by its name

    names_N: np.ndarray
    labels_N: np.ndarray
    predicted_N: np.ndarray
    classes: tuple[str, ...]
    calibration_error: float | None = None

    @cached_property
    def wrong_N(self) -> np.ndarray:
        """Which predictions are wrong, bool."""
        return self.predicted_N != self.labels_N

    @cached_property
    def confusion_KK(self) -> np.ndarray:
        """The confusion matrix, int64: rows are actual classes, columns predicted ones."""
        counts_KK = np.zeros((len(self.classes), len(self.classes)), dtype=np.int64)
        np.add.at(counts_KK, (self.labels_N, self.predicted_N), 1)
        return counts_KK

    def same_labels(self, other: "TestImages") -> bool:
        """Whether `other` has the same classes and labels, in the same order."""
        return self.classes == other.classes and np.array_equal(self.labels_N, other.labels_N)

    def same_names(self, other: "TestImages") -> bool:
        """Whether `other` has the same names, in the same order."""
        return np.array_equal(self.names_N, other.names_N)

    def reordered(self, other: "TestImages") -> bool:
        """Whether `other` has the same names in another order."""
        return not self.same_names(other) and np.array_equal(
            np.sort(self.names_N), np.sort(other.names_N)
        )


@dataclass(frozen=True)
class FinishedRun:
    """A finished run.

    Attributes:
        path: its folder, as it was given.
        recipe: what recipe.toml holds.
        result: what result.json holds.
        environment: what environment.json holds.
        found: `auto` or `proven`, by `lr_min` and `lr_max`, for the rates that a range test found.
        epochs: the rows of metrics.jsonl.
        test: the predictions for the test images.
    """

    path: Path
    recipe: Recipe
    result: Result
    environment: Environment
    found: dict[str, str]
    epochs: list[EpochRow]
    test: TestImages

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    @property
    def rows(self) -> list[Mapping[str, float]]:
        """The rows of metrics.jsonl, in the form that a plot takes."""
        return [to_json(row) for row in self.epochs]

    def figure(self, name: str) -> float | None:
        """A figure of result.json, or `calibration_error`; None where the run has none."""
        of_predictions = name == "calibration_error"
        return self.test.calibration_error if of_predictions else getattr(self.result, name)

    @property
    def seed(self) -> int:
        """The seed of all random draws."""
        return self.recipe.seed

    @property
    def fingerprint(self) -> str:
        """What identifies the images, labels and classes of all splits."""
        return self.result.data_fingerprint

    @property
    def started(self) -> datetime:
        """When it began; where that isn't known, when it ended."""
        return _time(self.environment.started) or self.finished

    @property
    def finished(self) -> datetime:
        """When it ended; the start of 1970 where that isn't known."""
        return _time(self.result.finished) or datetime.fromtimestamp(0).astimezone()


def _time(text: str | None) -> datetime | None:
    """A time in ISO 8601; None if it isn't one."""
    try:
        return datetime.fromisoformat(text).astimezone() if text else None
    except (ValueError, OverflowError):  # a year that local time has not
        return None


@dataclass(frozen=True)
class LeftOut:
    """A run that can't be compared: its folder as given, and the reason in one sentence."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: left out: {self.reason}"


MOST_LOGITS = 2**20
"""Logits that are turned into confidence at a time: 8 MiB."""


def read_runs(places: Sequence[str | Path]) -> tuple[list[FinishedRun], list[LeftOut]]:
    """All runs in the places that are given, and those that can't be compared.

    Args:
        places: run folders, or folders with runs in them, up to three levels down. The runs of one
            place are sorted by the time at which they began.

    Raises:
        InputError: a place is missing, or has no runs.
    """
    runs: list[FinishedRun] = []
    left_out: list[LeftOut] = []
    seen: set[Path] = set()
    for place in places:
        paths = [path for path in run_folders(place) if path.resolve() not in seen]
        seen |= {path.resolve() for path in paths}
        read = [read_run(path) for path in paths]
        left_out += [run for run in read if isinstance(run, LeftOut)]
        finished = [run for run in read if isinstance(run, FinishedRun)]
        runs += sorted(finished, key=lambda run: (run.started, run.finished))
    return runs, left_out


def run_folders(place: str | Path) -> list[Path]:
    """The run folders in `place`, sorted; itself, if it is one.

    Raises:
        InputError: there is no such folder, or no run in it.
    """
    place = Path(place)
    try:
        if not place.is_dir():
            what = f"'{place}' is a file" if place.exists() else f"there is no folder '{place}'"
            raise InputError(f"run: {what}; name a run or a folder of runs")
        found = sorted(_walk(place, DEEPEST))
    except OSError as error:
        reason = f"can't look into '{place}': {error.strerror}"
        raise InputError(f"run: {reason}; name a run or a folder of runs") from None
    if not found:
        raise InputError(f"run: there are no runs in '{place}'; name a run or a folder of runs")
    return found


def _walk(folder: Path, levels: int) -> Iterator[Path]:
    if (folder / "recipe.toml").is_file():
        yield folder
    elif levels:
        with os.scandir(folder) as entries:
            below = [Path(e.path) for e in entries if e.is_dir() and not e.name.startswith(".")]
        for entry in below:
            yield from _walk(entry, levels - 1)


def read_run(path: Path) -> FinishedRun | LeftOut:
    """The run in `path`, if it has finished and its files are intact."""
    folder = RunDir(path)
    try:
        recipe, result = folder.read_recipe(), folder.result()
        epochs = folder.epochs()
        if result is None:
            done = f"{len(epochs)} of {counted(recipe.epochs, 'epoch')}"
            return LeftOut(path, f"it has not finished ({done}); onecycle resume continues it")
        environment = folder.environment()
        found = _found(folder.range_test())
        test = _test_images(folder, result)
    except InputError as error:
        return LeftOut(path, str(error).removeprefix(f"{path}{os.sep}"))
    return FinishedRun(path, recipe, result, environment, found, epochs, test)


def _found(range_test: RangeTest | None) -> dict[str, str]:
    """Which rates the range test found, and the word that asked for it."""
    asked = {} if range_test is None else range_test.asked
    return {name: word for name, word in asked.items() if isinstance(word, str)}


def _test_images(folder: RunDir, result: Result) -> TestImages:
    """The predictions, checked against result.json."""
    path = folder.path / "predictions.npz"
    arrays = folder.predictions("names", "classes")
    if arrays is None:
        raise InputError(f"{path}: is missing; resume the run, or train again")
    classes = tuple(map(str, arrays["classes"].tolist()))
    logits_NK, labels_N = arrays["logits"], arrays["labels"]
    predicted_N = logits_NK.argmax(axis=1)
    found = reliability(_confidence(logits_NK), predicted_N == labels_N)
    test = TestImages(arrays["names"], labels_N, predicted_N, classes, found.error)
    if len(labels_N) != result.test_images:
        raise InputError(
            f"{path}: contradicts the number of test images in result.json; train again"
        )
    if abs(1 - test.wrong_N.mean() - result.test_accuracy) > 1e-6:
        raise InputError(f"{path}: contradicts the accuracy in result.json; train again")
    return test


def same_test(first: FinishedRun, second: FinishedRun) -> bool:
    """Whether two runs were tested on the same images, in the same order.

    They were if classes and labels agree, and either the names or the data do. Images that were
    moved have other names; names in another order are those of other images.
    """
    if not first.test.same_labels(second.test):
        return False
    same_data = first.fingerprint == second.fingerprint and not first.test.reordered(second.test)
    return same_data or first.test.same_names(second.test)


def without_strangers(runs: Sequence[FinishedRun]) -> tuple[list[FinishedRun], list[LeftOut]]:
    """The runs whose test images are those of their data, and the others.

    Runs with the same fingerprint were tested on the same images. Where predictions say otherwise,
    those that most of these runs agree on count; of equally many, the first.
    """
    by_data: dict[str, list[list[FinishedRun]]] = {}
    for run in runs:
        kinds = by_data.setdefault(run.fingerprint, [])
        same = next((kind for kind in kinds if same_test(kind[0], run)), None)
        if same is None:
            kinds.append([run])
        else:
            same.append(run)
    usual = {data: max(kinds, key=len) for data, kinds in by_data.items()}
    kept = {id(run) for kind in usual.values() for run in kind}
    left_out = [
        LeftOut(
            run.path,
            f"predictions.npz: its test images are not those of {usual[run.fingerprint][0].name}, "
            "though both runs name the same data; train again",
        )
        for run in runs
        if id(run) not in kept
    ]
    return [run for run in runs if id(run) in kept], left_out


def _confidence(logits_NK: np.ndarray) -> np.ndarray:
    """The softmax of each image's largest logit, in (0, 1], float64, some images at a time.

    That is `Evaluation.confidence_N`, whose module needs PyTorch.
    """
    parts = np.array_split(logits_NK, 1 + logits_NK.size // MOST_LOGITS)
    return np.concatenate(
        [1 / np.exp(p.astype(np.float64) - p.max(axis=1, keepdims=True)).sum(axis=1) for p in parts]
    )
