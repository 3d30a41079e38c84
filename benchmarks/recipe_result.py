"""A recipe's result file, with its pictures, from finished runs of it that differ in their seed.

    python -m benchmarks.recipe_result runs/r8 --result benchmarks/custom-resnet-8_cpu_202611.md \\
        --data-name "CIFAR-10" --command "onecycle train custom-resnet-8 --data cifar10"

The file has a row for each seed; range test, epochs and pictures are those of the first.
"""

import argparse
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.wrapping import wrapped
from onecycle.experiments.cells import count_text
from onecycle.experiments.reading import FinishedRun, read_runs
from onecycle.report.formats import wilson
from onecycle.run_dir import RunDir, write_atomically
from onecycle.statistics import mean_interval

PICTURES = {
    "lr_range_test": "Loss over the learning rate",
    "one_cycle": "The cycle",
    "curves": "Loss and accuracy per epoch",
    "confusion": "Confusion matrix",
    "misclassified": "The twenty most confidently wrong",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("runs", type=Path, help="folder of the runs")
    parser.add_argument("--result", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--data-name", required=True, help="what the file calls the images")
    parser.add_argument("--command", required=True, help="that trained them, as a reader would")
    given = parser.parse_args()
    runs, left_out = read_runs([given.runs])
    for run in left_out:
        print(f"left out: {run}")
    runs.sort(key=lambda run: run.seed)
    stem = given.result.stem.split("_cpu_")[0]
    images = given.result.parent / "images"
    for name in PICTURES:
        shutil.copyfile(runs[0].path / "plots" / f"{name}.png", images / f"{stem}_{name}.png")
    parts = [
        f"# `{runs[0].recipe.recipe}`, width {runs[0].recipe.width:g}",
        f"Data: **{given.data_name}**. n = {len(runs)}: {seeds(runs)}.",
        f"    {given.command}",
        summary(runs),
        facts(runs[0]),
        *details(RunDir(runs[0].path), runs[0].seed, stem),
    ]
    write_atomically(given.result, (wrapped("\n\n".join(parts)) + "\n").encode())


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def seeds(runs: Sequence[FinishedRun]) -> str:
    numbers = ", ".join(str(run.seed) for run in runs)
    return f"seed {numbers}" if len(runs) == 1 else f"seeds {numbers}"


def summary(runs: Sequence[FinishedRun]) -> str:
    """A row for each run, and their mean."""
    lines = [
        "| seed | test accuracy | train accuracy | test loss | rates | images/s | minutes |",
        "|---:|---:|---:|---:|---|---:|---:|",
    ]
    for run in runs:
        row = run.result
        lines.append(
            f"| {run.seed} | {percent(row.test_accuracy)} | {percent(row.train_accuracy)} "
            f"| {row.test_loss:.4f} | {row.lr_min:.2g} → {row.lr_max:.3g} "
            f"→ {row.lr_final:.2g} | {row.images_per_second:.0f} "
            f"| {row.total_seconds / 60:.1f} |"
        )
    accuracies = [run.result.test_accuracy for run in runs]
    if len(runs) == 1:
        images = runs[0].result.test_images
        told = wilson(round(accuracies[0] * images), images)
        words = f"One run, so no spread over seeds. Over the {images:,} test images: {told} (95 %)."
    else:
        mean, spread = statistics.fmean(accuracies), statistics.stdev(accuracies)
        words = f"Test accuracy {percent(mean)} ± {percent(spread)}"
        if interval := mean_interval(accuracies):
            words += f", 95 % interval {percent(interval.low)} to {percent(interval.high)}"
        words += "."
    return (
        "\n".join(lines)
        + f"\n\n**{words}** Last epoch, no test-time augmentation. Images/s are those of training "
        "alone, minutes are everything, range test included."
    )


def facts(run: FinishedRun) -> str:
    row, environment = run.result, run.environment
    kernels = environment.kernels.implementation if environment.kernels else "unknown"
    commit = environment.git.commit[:10] if environment.git else "unknown"
    rows = {
        "parameters": f"{row.parameters:,}",
        "machine": f"{environment.device_name}, {count_text(environment.threads or 0, 'thread')}",
        "arithmetic": f"{row.precision}, kernels {kernels}, torch {row.torch}",
        "memory": f"{(row.peak_memory_bytes or 0) / 1e9:.1f} GB at the peak",
        "when": f"{row.finished[:10]}, commit {commit}",
        "data fingerprint": f"`{row.data_fingerprint}`",
        "weights SHA-256": f"`{row.weights_sha256[:16]}…`",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {is_} |" for name, is_ in rows.items())])


def details(run: RunDir, seed: int, stem: str) -> list[str]:
    """Range test, epochs and pictures of one run."""
    picture = {name: f"![{text}](images/{stem}_{name}.png)" for name, text in PICTURES.items()}
    return [
        f"## Range test of seed {seed}",
        range_test(run),
        picture["lr_range_test"],
        f"## Training of seed {seed}",
        epochs(run),
        picture["one_cycle"],
        picture["curves"],
        f"## Mistakes of seed {seed}",
        picture["confusion"],
        picture["misclassified"],
    ]


def range_test(run: RunDir) -> str:
    found = run.range_test()
    if found is None or found.curve is None:
        return "None: the rates were given."
    lines = [f"{len(found.curve.lr)} steps, {found.seconds or 0:.0f} s: {found.why}.", ""]
    lines += ["| method | rate |", "|---|---:|"]
    lines += [f"| {name} | {each.lr:.3g} |" for name, each in found.suggestions.items()]
    return "\n".join(lines)


def epochs(run: RunDir) -> str:
    lines = [
        "| epoch | rate at its end | train loss | train accuracy | test loss | test accuracy | s |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in run.epochs():
        lines.append(
            f"| {row.epoch} | {row.lr:.4f} | {row.train_loss:.4f} "
            f"| {percent(row.train_accuracy)} | {row.test_loss:.4f} "
            f"| {percent(row.test_accuracy)} | {row.seconds:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
