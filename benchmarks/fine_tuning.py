"""Does it help to start from the weights of other classes? Few images of two classes, n = 5.

    python -m benchmarks.fine_tuning --images FOLDER --work FOLDER --result FILE

--images holds train/<class> and test/<class> of 32 x 32 images. A network is trained on all classes
but two. Then the same recipe is trained on a few images of those two, from scratch and from these
weights. How to start from them (frozen stages, a slower body) is chosen on validation images from
the rest of the train split. What counts is the accuracy on the test split, which nothing was chosen
on. All seeds see the same images: the spread is that of the training alone.

Runs that are finished are kept in --work, so a call that was stopped can be given again.
"""

import argparse
import csv
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.wrapping import wrapped
from onecycle import runtime, training
from onecycle.config import Recipe, override
from onecycle.experiments import Comparison, Pair, compare
from onecycle.progress import SILENT
from onecycle.recipes import named
from onecycle.run_dir import RunDir, write_atomically
from onecycle.writing.numbers import counted

OTHER = ("cat", "dog")
"""The classes that the first network does not see."""

COUNTS = (25, 100, 400)
"""Training images of each of the two classes."""

VALIDATION = 500
"""Images of each of the two classes on which settings are chosen."""

SEEDS, CHOOSING_SEEDS = (0, 1, 2, 3, 4), (5, 6)
"""Seeds of the trainings that count, and of those on which settings are chosen."""

SCRATCH, PLAIN = "from scratch", "--init-from"

WAYS: Mapping[str, Mapping[str, Any]] = {
    PLAIN: {},
    "--init-from --head-lr-factor 10": {"head_lr_factor": 10.0},
    "--init-from --freeze prep,layer1": {"freeze": "prep,layer1"},
    "--init-from --freeze prep,layer1 --head-lr-factor 10": {
        "freeze": "prep,layer1",
        "head_lr_factor": 10.0,
    },
    "--init-from --freeze body": {"freeze": "body"},
}
"""How to start from weights: the choice. The first is the recipe as it is."""


@dataclass(frozen=True)
class Work:
    """What a call was asked for.

    Attributes:
        images: train and test class folders.
        folder: of tables and runs.
        other: the two classes.
        recipe: of all trainings, but for their data, seeds and weights.
        counts, seeds, choosing_seeds: as the constants.
        validation: images of each class on which settings are chosen.
        base_limit, test_limit: images of the first training, and test images of each class; 0: all.
        threads: of each training.
    """

    images: Path
    folder: Path
    other: tuple[str, ...]
    recipe: Recipe
    counts: tuple[int, ...]
    seeds: tuple[int, ...]
    choosing_seeds: tuple[int, ...]
    validation: int
    base_limit: int
    test_limit: int
    threads: int


@dataclass(frozen=True)
class Outcome:
    """What was found for one number of images.

    Attributes:
        count: training images of each class.
        chosen: the way with the highest mean accuracy on validation images.
        validation: that accuracy of every way and from scratch, in percent.
        names: of the groups of the comparison, in its order.
        comparison: of from scratch, the recipe as it is from weights, and the chosen way.
    """

    count: int
    chosen: str
    validation: Mapping[str, float]
    names: tuple[str, ...]
    comparison: Comparison


def main() -> None:
    work, result, data_name = _asked()
    base = trained(work, "base", base_recipe(work))
    outcomes = [outcome(work, base, count) for count in work.counts]
    write_atomically(result, wrapped(written(work, base, outcomes, data_name)).encode())


def _asked() -> tuple[Work, Path, str]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=Path, required=True, help="train and test class folders")
    parser.add_argument("--work", type=Path, required=True, help="folder for tables and runs")
    parser.add_argument("--result", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--data-name", default="CIFAR-10, JPEG-75 copy")
    parser.add_argument("--other", nargs=2, default=OTHER, help="the two classes")
    parser.add_argument("--recipe", default="custom-resnet-8")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--choosing-seeds", type=int, nargs="+", default=CHOOSING_SEEDS)
    parser.add_argument("--validation", type=int, default=VALIDATION, help="images of each class")
    parser.add_argument("--threads", type=int, default=0, help="of each training; 0: all")
    small = parser.add_argument_group("to try it")
    small.add_argument("--epochs", type=int, default=0, help="of each training; 0: the recipe's")
    small.add_argument("--base-limit", type=int, default=0, help="images of the first training")
    small.add_argument("--test-limit", type=int, default=0, help="test images of each class")
    given = parser.parse_args()
    recipe = override(named(given.recipe).recipe, image_size=32, width=given.width)
    recipe = override(recipe, epochs=given.epochs) if given.epochs else recipe
    work = Work(
        images=given.images.absolute(),
        folder=given.work.absolute(),
        other=tuple(given.other),
        recipe=recipe,
        counts=tuple(given.counts),
        seeds=tuple(given.seeds),
        choosing_seeds=tuple(given.choosing_seeds),
        validation=given.validation,
        base_limit=given.base_limit,
        test_limit=given.test_limit,
        threads=given.threads,
    )
    return work, given.result, given.data_name


# --------------------------------------------------------------------------------------- trainings


def base_recipe(work: Work) -> Recipe:
    """The training on all classes but two, of which the weights come."""
    names = sorted(path.name for path in (work.images / "train").iterdir())
    rows = {
        split: {
            name: ordered(work.images / split / name)[: limit or None]
            for name in names
            if name not in work.other
        }
        for split, limit in (
            ("train", work.base_limit and max(2, work.base_limit // (len(names) - 2))),
            ("test", work.test_limit),
        )
    }
    return override(work.recipe, data=str(table(work.folder / "base.csv", rows)))


def outcome(work: Work, base: Path, count: int) -> Outcome:
    """Choose a way on validation images, and train with it for the test images."""
    images = {name: ordered(work.images / "train" / name) for name in work.other}
    train = {name: files[work.validation :][:count] for name, files in images.items()}
    judges = {name: files[: work.validation] for name, files in images.items()}
    test = {name: ordered(work.images / "test" / name) for name in work.other}
    test = {name: files[: work.test_limit or None] for name, files in test.items()}
    choosing, judged = (
        override(work.recipe, data=str(table(work.folder / f"{kind}-{count}.csv", rows)))
        for kind, rows in (
            ("choosing", {"train": train, "test": judges}),
            ("test", {"train": train, "test": test}),
        )
    )
    validation = {
        way: statistics.fmean(
            accuracy(trained(work, f"choosing-{count}", _started(recipe, base, way), seed))
            for seed in work.choosing_seeds
        )
        for recipe in [choosing]
        for way in (SCRATCH, *WAYS)
    }
    chosen = max(WAYS, key=lambda way: validation[way])
    names = tuple(dict.fromkeys((SCRATCH, PLAIN, chosen)))
    runs = [
        trained(work, f"test-{count}", _started(judged, base, way), seed)
        for way in names
        for seed in work.seeds
    ]
    return Outcome(count, chosen, validation, names, compare(runs))


def _started(recipe: Recipe, base: Path, way: str) -> Recipe:
    return recipe if way == SCRATCH else override(recipe, init_from=str(base), **WAYS[way])


def trained(work: Work, kind: str, recipe: Recipe, seed: int = 0) -> Path:
    """The finished run of a recipe and a seed; one of an earlier call is kept or resumed."""
    way = f"{recipe.freeze or 'none'}-{recipe.head_lr_factor:g}" if recipe.init_from else "scratch"
    runs = work.folder / "runs" / kind / way / str(seed)
    runs.mkdir(parents=True, exist_ok=True)
    begun = sorted(path for path in runs.iterdir() if (path / "recipe.toml").is_file())
    if begun and RunDir.open(begun[-1]).result():
        return begun[-1]
    print(f"{kind}, {way}, seed {seed}", flush=True)
    if begun:
        return training.resume(begun[-1], report=False, progress=SILENT).path
    recipe = override(recipe, seed=seed)
    done = training.train(recipe, runs=runs, threads=work.threads, report=False, progress=SILENT)
    return done.path


def accuracy(run: Path) -> float:
    """The test accuracy of a run, in percent."""
    result = RunDir.open(run).result()
    assert result is not None
    return 100 * result.test_accuracy


def ordered(folder: Path) -> list[Path]:
    """Its files in an order of no meaning that is always the same."""
    files = sorted(folder.iterdir())
    return [files[i] for i in np.random.default_rng(0).permutation(len(files))]


def table(path: Path, rows: Mapping[str, Mapping[str, Sequence[Path]]]) -> Path:
    """Write a table of images: by split, the files of each class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split"))
        for split, classes in rows.items():
            for name, files in classes.items():
                writer.writerows((file, name, split) for file in files)
    return path


# ------------------------------------------------------------------------------------------ result


def written(work: Work, base: Path, outcomes: Sequence[Outcome], data_name: str) -> str:
    """The result file: a row for each way and number of images, and the verdicts."""
    result, recipe = RunDir.open(base).result(), work.recipe
    assert result is not None
    seeds = f"n = {len(work.seeds)}"
    lines = [
        f"# Fine-tuning to two other classes, {date.today():%Y-%m}",
        "",
        f"Data: **{data_name}**. `onecycle train {recipe.recipe} --width {recipe.width:g}` was "
        f"trained on {result.train_images:,} images of all classes but {work.other[0]} and "
        f"{work.other[1]}, and reached {accuracy(base):.2f} % on their test images. Then the same "
        f"recipe was trained on a few images of those two, from scratch and from these weights. "
        f"{seeds}: seeds of the training, on the same images.",
        "",
        f"The way to start was chosen on {work.validation} validation images of each class, with "
        f"{counted(len(work.choosing_seeds), 'other seed')}. Test images had no part in it.",
        "",
        f"    {command(work)}",
        "",
        f"Measured on {date.today():%Y-%m-%d}, {runtime.cpu_model()}, Python "
        f"{platform.python_version()}, torch {torch.__version__}.",
        "",
        "| images of each class | weights | test accuracy, % | 95 % interval | s |",
        "|---:|---|---:|---:|---:|",
        *(row for each in outcomes for row in _rows(each)),
        "",
        "`FILE` stands for the run on the other classes. Seconds are of a whole command, range "
        "test included, on a busy machine.",
        "",
        "Verdicts of `onecycle compare`, corrected for the comparisons at each number of images:",
        "",
        *(f"- {line}" for each in outcomes for line in _verdicts(each)),
        "",
        "What the choice was made on, validation accuracy in %:",
        "",
        f"| way | {' | '.join(f'{each.count} images' for each in outcomes)} |",
        f"|---|{'---:|' * len(outcomes)}",
        *(_choice(way, outcomes) for way in (SCRATCH, *WAYS)),
    ]
    return "\n".join(lines) + "\n"


def command(work: Work) -> str:
    """The command that gives this file, with what differs from its defaults."""
    words = ["python -m benchmarks.fine_tuning --images FOLDER --work FOLDER --result FILE"]
    if work.threads:
        words.append(f"--threads {work.threads}")
    if work.counts != COUNTS:
        words.append(f"--counts {' '.join(map(str, work.counts))}")
    return " ".join(words)


def _rows(found: Outcome) -> list[str]:
    rows = []
    for name, group in zip(found.names, found.comparison.groups, strict=True):
        reached = [100 * value for value in group.values("test_accuracy")]
        spread = f" ± {statistics.stdev(reached):.2f}" if len(reached) > 1 else ""
        interval = group.accuracy("test_accuracy").interval
        low, high = (f"{100 * each:.2f}" for each in interval) if interval else ("–", "–")
        seconds = statistics.fmean(run.result.total_seconds for run in group.runs)
        rows.append(
            f"| {found.count} | {_shown(name)}{' (chosen)' if name == found.chosen else ''} "
            f"| {statistics.fmean(reached):.2f}{spread} | {low} to {high} | {seconds:.0f} |"
        )
    return rows


def _verdicts(found: Outcome) -> list[str]:
    names = dict(zip((group.letter for group in found.comparison.groups), found.names, strict=True))
    return [
        f"{found.count} images: {_shown(names[pair.second])} against {_shown(names[pair.first])}: "
        f"{100 * pair.difference:+.2f} points{_tested(pair)}"
        for pair in found.comparison.pairs
    ]


def _tested(pair: Pair) -> str:
    """The verdict, with the interval and p value behind it."""
    if pair.p_holm is None or pair.interval_holm is None:
        return f", {pair.reason or 'not tested'}"
    low, high = (100 * each for each in pair.interval_holm)
    verdict = "distinguishable" if pair.distinguishable else "not distinguishable"
    return f", {low:+.2f} to {high:+.2f}; {pair.test}'s p = {pair.p_holm:.2g}: {verdict}"


def _choice(way: str, outcomes: Sequence[Outcome]) -> str:
    cells = (
        f"**{each.validation[way]:.2f}**" if way == each.chosen else f"{each.validation[way]:.2f}"
        for each in outcomes
    )
    return f"| {_shown(way)} | {' | '.join(cells)} |"


def _shown(way: str) -> str:
    return way if way == SCRATCH else f"`{way.replace('--init-from', '--init-from FILE')}`"


if __name__ == "__main__":
    main()
