"""What the trials gave: each one's figures, which of them are drawn, and their comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from onecycle.errors import InputError
from onecycle.run_dir import RunDir
from onecycle.run_dir.checking import to_json
from onecycle.run_dir.records import Result
from onecycle.trials.folder import TrialsFolder
from onecycle.trials.folds import CrossValidation
from onecycle.trials.grid import Trial
from onecycle.trials.manifest import Jobs

if TYPE_CHECKING:
    from onecycle.experiments import Comparison

Reports = Literal["auto", "none", "last", "all"]
"""Which trials are drawn: auto: the best by validation, or none; last: the last seed of each
combination; all."""

RESOLVED = ("epochs", "min_steps", "peak_epoch")
"""Settings that a run may resolve to a value of another trial."""

FIGURES = (
    "train_accuracy", "val_accuracy", "test_accuracy", "test_accuracy_tta", "total_seconds",
    "weights_sha256",
)  # fmt: skip
"""The keys of result.json that --json has for each trial."""


@dataclass(frozen=True)
class TrialResult:
    """What became of a trial.

    Attributes:
        name: its name.
        settings: what it has of the grid, by field of the recipe.
        seed: its seed.
        run: its run folder.
        result: the summary; None if it failed.
        message: why it failed, in one line; empty if it is finished.
    """

    name: str
    settings: dict[str, Any]
    seed: int
    run: Path
    result: Result | None
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        figures = {name: getattr(self.result, name) for name in FIGURES} if self.result else {}
        return {
            "name": self.name,
            "settings": self.settings,
            "seed": self.seed,
            "run": str(self.run),
            "state": "finished" if self.result else "failed",
            "message": self.message or None,
            **{name: figures.get(name) for name in FIGURES},
        }


@dataclass(frozen=True)
class Drawn:
    """Which trials have pictures and a report.

    Attributes:
        names: of the trials.
        why: how they were chosen, or why there are none.
    """

    names: tuple[str, ...]
    why: str


@dataclass(frozen=True, repr=False)
class Trials:
    """All trials of a folder, after they have ended. A notebook shows them as a table.

    Attributes:
        folder: where their run folders are.
        trials: each of them.
        jobs: how they shared the machine.
        drawn: which of them have pictures and a report.
        comparison: of those that are finished; None if there is none, and for folds.
        cross_validations: the folds of each combination and seed, joined; the best comes first.
        network: the name of a network of one's own that was given.
    """

    folder: Path
    trials: tuple[TrialResult, ...]
    jobs: Jobs | None
    drawn: Drawn
    comparison: "Comparison | None"
    cross_validations: tuple[CrossValidation, ...] = ()
    network: str | None = None

    @property
    def failed(self) -> list[TrialResult]:
        """Those that failed."""
        return [trial for trial in self.trials if trial.result is None]

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values; see docs/trials.md."""
        return {
            "folder": str(self.folder),
            "trials": [trial.to_json() for trial in self.trials],
            "failed": len(self.failed),
            "jobs": None if self.jobs is None else to_json(self.jobs),
            "reports": {"trials": list(self.drawn.names), "why": self.drawn.why},
            "comparison": None if self.comparison is None else self.comparison.to_json(),
            "cross_validations": [each.to_json() for each in self.cross_validations],
        }

    def __repr__(self) -> str:
        return f"<Trials: {len(self.trials)} in {self.folder}, {len(self.failed)} failed>"

    def _repr_markdown_(self) -> str:
        return repr(self) if self.comparison is None else self.comparison.to_markdown()


def gathered(
    place: TrialsFolder, trials: Sequence[Trial], failures: Mapping[str, str]
) -> tuple[TrialResult, ...]:
    """What became of each trial. `failures`: why some failed, by name."""
    values: dict[str, list[Any]] = {}
    for trial in trials:
        for name, value in trial.settings.items():
            values.setdefault(name, []).append(value)
    return tuple(_result(place, trial, values, failures.get(trial.name, "")) for trial in trials)


def _result(
    place: TrialsFolder, trial: Trial, values: Mapping[str, Sequence[Any]], message: str
) -> TrialResult:
    """What became of a trial. `values`: what each setting has in any of the trials."""
    run, result = place.run(trial.name), None
    try:
        if (result := RunDir(run).result()) is not None:
            _check_place(RunDir(run), trial, values)
    except InputError as error:
        result, message = None, str(error)
    if result is None and not message:
        message = "it has not finished"
    return TrialResult(trial.name, trial.settings, trial.seed, run, result, message)


def _check_place(run: RunDir, trial: Trial, values: Mapping[str, Sequence[Any]]) -> None:
    """Refuse a run that is that of another trial.

    A setting may be resolved in a run, so only one that has another trial's value counts.

    Raises:
        InputError: it is, or its recipe can't be read.
    """
    recipe = run.read_recipe()
    for name, value in {**trial.settings, "seed": trial.seed}.items():
        has = getattr(recipe, name)
        others = [has] if name == "seed" else values[name]
        if has != value and has in others and name not in RESOLVED and value != "auto":
            raise InputError(
                f"{run.path}: is the run of another trial ({name} {has}, not {value}); put the "
                "folders back in their places"
            )


def chosen(results: Sequence[TrialResult], reports: Reports, *, crossed: bool = False) -> Drawn:
    """Which trials are drawn. Nothing is ever chosen by the test split, nor among folds."""
    finished = [trial for trial in results if trial.result]
    if reports == "none" or not finished:
        return Drawn((), "none was asked for" if finished else "no trial is finished")
    if reports == "all":
        return Drawn(tuple(trial.name for trial in finished), "all trials")
    if reports == "last":
        last = {repr(trial.settings): trial.name for trial in finished}
        return Drawn(tuple(last.values()), "the last seed of each combination")
    if crossed:
        return Drawn((), "none is the best: each fold was trained and tested on other images")
    best = best_by_validation(finished)
    if best is None:
        return Drawn(
            (), "none is the best: there is no validation split (--val-fraction) to choose by"
        )
    return Drawn(
        (best.name,), "the best trial of the settings with the best mean validation accuracy"
    )


def best_by_validation(results: Sequence[TrialResult]) -> TrialResult | None:
    """The best trial of the settings with the best mean validation accuracy over seeds.

    None if a trial has no validation accuracy.
    """
    groups: dict[str, list[tuple[float, TrialResult]]] = {}
    for trial in results:
        if trial.result is None or trial.result.val_accuracy is None:
            return None
        accuracy = trial.result.val_accuracy
        groups.setdefault(repr(trial.settings), []).append((accuracy, trial))
    if not groups:
        return None
    means = {key: sum(a for a, _ in group) / len(group) for key, group in groups.items()}
    best = max(groups, key=lambda key: means[key])
    return max(groups[best], key=lambda pair: pair[0])[1]


def draw(place: TrialsFolder, drawn: Drawn) -> None:
    """Draw the plots and the report of the chosen trials, as far as they are missing."""
    if not drawn.names:
        return
    from onecycle import pictures  # matplotlib takes a second, and may not be needed
    from onecycle.report import write_report

    for name in drawn.names:
        run = RunDir(place.run(name))
        if not (run.path / "report.html").is_file():
            pictures.write_missing(run)
            write_report(run)


def compared(results: Sequence[TrialResult]) -> "Comparison | None":
    """The comparison of the finished trials; None if there are none."""
    runs = [trial.run for trial in results if trial.result]
    if not runs:
        return None
    from onecycle.experiments import compare  # a worker does not need SciPy

    return compare(runs)
