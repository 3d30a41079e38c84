"""Do the defaults serve someone with 300 photos? Against the best flags of a grid, n = 5.

    python -m benchmarks.small_folder --images FOLDER --work FOLDER --result FILE

From train/<class> and test/<class> of 32 x 32 images in --images, 100 of each of three classes are
cut by seed and enlarged to odd sizes: class folders as a phone or a colleague would leave them, of
which the program sets a fifth apart to test. Flags are chosen on validation images from the rest of
the train split; what counts is the accuracy on the test split, which nothing was chosen on.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from onecycle import runtime, training
from onecycle.config import Recipe, override
from onecycle.data import Splits, load_splits
from onecycle.engine import loop
from onecycle.engine.state import Training
from onecycle.progress import SILENT
from onecycle.recipes import named
from onecycle.run_dir import write_atomically
from onecycle.statistics import mean_interval
from onecycle.training.peak_search import choose_rates, range_test, with_rates
from onecycle.training.signals import Signals

CLASSES = ("automobile", "cat", "deer")
PHOTOS, VALIDATION = 100, 500
"""Images of each class in the folder, and of those that flags are chosen on."""
SIDES = 200, 500
"""Smallest and largest side in pixels of an enlarged image; width and height are drawn apart."""
SEEDS = (0, 1, 2, 3, 4)

DEFAULTS = "the defaults"
EXPLORED = """\
The rule was made on other photos: birds, frogs and ships, one seed, the same 240 to train and
1,500 to judge. In batches of 32 at a peak of 0.1, 8 epochs reached 66.0 %, 24 71.9 %, 60 70.0 %
and 120 75.4 %; at 60 epochs, peaks of 0.02, 0.05 and 0.2 reached 72.9, 73.1 and 73.6 %, batches
of 16 75.0 % and of 64 72.8 %. So the number of passes counts most, the peak hardly from 0.02 to
0.2, and the batch size little."""
"""How the rule came about, for the result file."""
BEFORE = "--batch-size 512 --epochs 8"
"""What the recipe was before sizes followed the images."""
LR_SHARE = 20.0
"""A cycle by hand begins and ends at its peak rate over this."""
GRID = ((16, 60, 0.1), (32, 120, 0.1), (32, 60, 0.1), (32, 60, 0.03))
"""Batch size, epochs and lr_max of flags set by hand."""


@dataclass(frozen=True)
class Result:
    """What a training reached; accuracies are shares."""

    flags: str
    seed: int
    batch_size: int
    epochs: int
    steps: int
    lr_max: float
    val_accuracy: float
    test_accuracy: float
    train_images: int
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=Path, required=True, help="train and test class folders")
    parser.add_argument("--work", type=Path, required=True, help="folder for photos and results")
    parser.add_argument("--result", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--data-name", default="CIFAR-10, JPEG-75 copy")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="to train in this call")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    make_held_out(given.images, given.work / "held-out")
    held_out = load_splits(str(given.work / "held-out"), image_size=32)
    log = given.work / f"width-{given.width:g}.jsonl"
    known = {(r.flags, r.seed): r for r in kept(log)}
    for seed in given.seeds:
        photos = make_photos(given.images, given.work / f"photos-{seed}", seed)
        for flags, recipe in recipes(str(photos), given.width, seed):
            if (flags, seed) not in known:
                known[flags, seed] = result = trained(flags, recipe, held_out, given.threads)
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(result)) + "\n")
    wanted = {flags for flags, _ in recipes("", given.width, 0)}
    results = [result for result in kept(log) if result.flags in wanted]  # of other calls too
    write_atomically(given.result, written(results, given.width, given.data_name).encode())


def kept(log: Path) -> list[Result]:
    """The results of an earlier call that was stopped."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return [Result(**json.loads(line)) for line in lines]


# ------------------------------------------------------------------------------------------ photos


def make_photos(images: Path, folder: Path, seed: int) -> Path:
    """Class folders of enlarged images, chosen by `seed` among those not used for validation."""
    for label in CLASSES:
        files = ordered(images / "train" / label)[VALIDATION:]
        random = np.random.default_rng([seed, CLASSES.index(label)])
        chosen = [files[i] for i in random.permutation(len(files))[:PHOTOS]]
        enlarge(chosen, folder / label, seed)
    return folder


def make_held_out(images: Path, folder: Path) -> None:
    """Validation images as `train`, and the test split as `test`."""
    for label in CLASSES:
        enlarge(ordered(images / "train" / label)[:VALIDATION], folder / "train" / label, 0)
        enlarge(sorted((images / "test" / label).iterdir()), folder / "test" / label, 0)


def ordered(folder: Path) -> list[Path]:
    """Its files in an order of no meaning that is always the same."""
    files = sorted(folder.iterdir())
    return [files[i] for i in np.random.default_rng(0).permutation(len(files))]


def enlarge(files: Sequence[Path], folder: Path, seed: int) -> None:
    """The images as JPEGs of odd sizes, if the folder isn't there yet."""
    if folder.exists():
        return
    folder.mkdir(parents=True)
    random = np.random.default_rng([seed, len(files)])
    for file, (width, height) in zip(
        files, random.integers(SIDES[0], SIDES[1] + 1, (len(files), 2)).tolist(), strict=True
    ):
        with Image.open(file) as image:
            large = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        large.save(folder / f"{file.stem}.jpg", quality=90)


# --------------------------------------------------------------------------------------- trainings


def recipes(photos: str, width: float, seed: int) -> Iterator[tuple[str, Recipe]]:
    """Every contender, with its flags."""
    recipe = override(
        named("custom-resnet-8").recipe, data=photos, image_size=32, width=width, seed=seed
    )
    yield DEFAULTS, recipe
    for batch_size, epochs, lr_max in GRID:
        low = lr_max / LR_SHARE
        by_hand = override(
            recipe, batch_size=batch_size, epochs=epochs, lr_max=lr_max, lr_min=low, lr_final=low
        )
        yield f"--batch-size {batch_size} --epochs {epochs} --lr-max {lr_max:g}", by_hand
    yield BEFORE, override(recipe, batch_size=512, epochs=8, lr_steps=100)


def trained(flags: str, recipe: Recipe, held_out: Splits, threads: int) -> Result:
    """The accuracies after a whole training, its range test included where it needs one."""
    started = time.perf_counter()
    job, _ = training.prepare(recipe, threads=threads)
    with runtime.reused_memory():
        if job.recipe.lr_max == "auto":
            found = choose_rates(job.recipe, range_test(job, Signals(), SILENT).made_safe())
            job.recipe = with_rates(found, {})
        fit(job)
        seconds = time.perf_counter() - started
        val, test = job.evaluate(held_out.train), job.evaluate(held_out.test)
    return Result(
        flags,
        recipe.seed,
        job.batches.batch_size,
        job.recipe.epochs,
        job.total_steps,
        float(job.recipe.lr_max),
        val.accuracy,
        test.accuracy,
        len(job.batches.train),
        seconds,
    )


def fit(job: Training) -> None:
    """All steps, without the evaluations and files of a run."""
    plan = job.plan
    job.model.train()
    for index in range(plan.total_steps):
        loop.step(job, index, plan.at(index))


# ------------------------------------------------------------------------------------------ result


def written(results: Sequence[Result], width: float, data_name: str) -> str:
    """The result file: each contender's figures, and the defaults against the best by hand."""
    by_flags: dict[str, list[Result]] = {}
    for result in sorted(results, key=lambda result: result.seed):
        by_flags.setdefault(result.flags, []).append(result)
    seeds = len(by_flags[DEFAULTS])
    before = by_flags.pop(BEFORE, [])
    by_flags = {flags: rows for flags, rows in by_flags.items() if len(rows) == seeds}
    by_hand = [flags for flags in by_flags if flags != DEFAULTS]
    best = max(by_hand, key=lambda flags: statistics.fmean(r.val_accuracy for r in by_flags[flags]))
    lines = [
        f"# Three hundred photos: the defaults against flags set by hand, {date.today():%Y-%m}",
        "",
        f"`onecycle train custom-resnet-8 --data photos --image-size 32`, width {width:g}. Data: "
        f"**{data_name}**, classes {', '.join(CLASSES)}: {PHOTOS} images of each, enlarged to "
        f"sides of {SIDES[0]} to {SIDES[1]} pixels, of which the program trains on "
        f"{results[0].train_images}. n = {seeds}: seeds 0 to {seeds - 1}, each with photos of its "
        f"own. Chosen on {VALIDATION} validation images of each class; the test split has 1,000.",
        "",
        "    python -m benchmarks.small_folder --images FOLDER --work FOLDER --result FILE "
        f"--width {width:g}",
        "",
        f"Measured on {date.today():%Y-%m-%d}, {runtime.cpu_model()}, one thread, "
        f"Python "
        f"{platform.python_version()}, torch {torch.__version__}.",
        "",
        "| flags | batch | epochs | steps | peak rate | validation, % | test, % | s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *(row(flags, rows, flags == best) for flags, rows in by_flags.items()),
        "",
        "The best by hand on validation images is in bold. Seconds are of a busy machine.",
        "",
        EXPLORED,
        "",
        against(by_flags[DEFAULTS], by_flags[best], "the best flags by hand"),
    ]
    if before:
        tests = ", ".join(f"{100 * result.test_accuracy:.1f}" for result in before)
        lines += [
            "",
            f"The recipe as it was, `{BEFORE}`, with the rates of its range test: {tests} % "
            f"(seeds {', '.join(str(result.seed) for result in before)}); chance is "
            f"{100 / len(CLASSES):.1f} %.",
        ]
    return "\n".join(lines) + "\n"


def row(flags: str, rows: Sequence[Result], is_best: bool) -> str:
    mark = "**" if is_best else ""
    lrs = sorted({f"{result.lr_max:.2g}" for result in rows}, key=float)
    val, test = ([100 * getattr(r, f"{s}_accuracy") for r in rows] for s in ("val", "test"))
    return (
        f"| {mark}{flags}{mark} | {rows[0].batch_size} | {rows[0].epochs} | {rows[0].steps} "
        f"| {lrs[0] if len(lrs) == 1 else f'{lrs[0]} to {lrs[-1]}'} | {spread(val)} "
        f"| {spread(test)} | {statistics.fmean(r.seconds for r in rows):.0f} |"
    )


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over the seeds."""
    if len(values) < 2:
        return f"{values[0]:.1f}"
    return f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f}"


def against(one: Sequence[Result], other: Sequence[Result], name: str) -> str:
    """The paired difference in test accuracy, in points."""
    points = [100 * (a.test_accuracy - b.test_accuracy) for a, b in zip(one, other, strict=True)]
    if len(points) < 2:
        return f"The defaults less {name}: {points[0]:+.2f} points, one seed."
    interval = mean_interval(points)
    told = f"95 % interval {interval[0]:+.2f} to {interval[1]:+.2f}; " if interval else ""
    each = ", ".join(f"{value:+.1f}" for value in points)
    return (
        f"**The defaults less {name}: {statistics.fmean(points):+.2f} points of test accuracy** "
        f"(paired, {told}by seed {each})."
    )


if __name__ == "__main__":
    main()
