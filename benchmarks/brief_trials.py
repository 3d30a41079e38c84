"""The brief's three trials, three seeds each, at a quarter of the width and 8 epochs.

    python -m benchmarks.brief_trials --data ./cifar10 --runs runs/trials \
        --result benchmarks/brief_trials_cpu_202611.md

One range test finds the rates for all, so that each trial differs from the baseline in one thing.
Runs that are finished are kept and one that was stopped goes on, so the command can be given again;
with `--most 1` it stops after one more run. The result file is written once all runs are there.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import onecycle
from benchmarks.wrapping import wrapped
from onecycle import plots
from onecycle.experiments import Comparison, compare, curves
from onecycle.experiments.cells import count_text
from onecycle.run_dir import RunDir, write_atomically

HIGHER = 3.5e-2 / 2.3e-2
"""The brief's higher peak rate over its first one."""
TRIALS = ("cutout-8", "cutout-16", "higher-lr")


def main() -> None:
    given = arguments()
    baseline = baseline_of(given.data, given.runs, given.epochs, given.width)
    trials = {
        "cutout-8": baseline,
        "cutout-16": onecycle.override(baseline, cutout=16),
        "higher-lr": onecycle.override(baseline, lr_max=float(baseline.lr_max) * HIGHER),
    }
    missing = [  # seed by seed, so that a stop leaves all trials with as many
        (name, onecycle.override(trials[name], recipe=name, seed=seed))
        for seed in range(given.seeds)
        for name in TRIALS
        if not any(run.finished for run in runs_of(given.runs / name, seed))
    ]
    for name, recipe in missing[: given.most or None]:
        train(recipe, given.runs / name)
    if given.most and given.most < len(missing):
        print(f"{len(missing) - given.most} runs are missing; give the command again")
        return
    comparison = compare([given.runs / name for name in TRIALS])
    print(comparison.to_markdown())
    if given.result:
        write_result(comparison, given.result, command_of(given), given.data_name or given.data)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", required=True, help="class folders, or cifar10")
    parser.add_argument("--data-name", default="", help="what the result file calls them")
    parser.add_argument("--runs", type=Path, default=Path("runs/trials"))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--most", type=int, default=0, help="runs to train now; 0: all")
    parser.add_argument("--result", type=Path, help="Markdown file to write")
    return parser.parse_args()


def baseline_of(data: str, runs: Path, epochs: int, width: float) -> onecycle.Recipe:
    """The brief's recipe with rates that are found once and kept beside the runs."""
    file = runs / "baseline.toml"
    if file.exists():
        return onecycle.read_recipe(file)
    brief = onecycle.named("brief").recipe
    recipe = onecycle.override(brief, data=data, epochs=epochs, width=width)
    found = onecycle.find_lr(recipe)
    recipe = onecycle.override(recipe, lr_max=found.lr_max, lr_min=found.lr_min)
    runs.mkdir(parents=True, exist_ok=True)
    write_atomically(file, onecycle.to_toml(recipe).encode())
    return recipe


def runs_of(folder: Path, seed: int) -> Iterator[RunDir]:
    """The runs of a trial with this seed, finished or not."""
    for path in sorted(folder.glob("*/recipe.toml")):
        run = RunDir(path.parent)
        if run.read_recipe().seed == seed:
            yield run


def train(recipe: onecycle.Recipe, folder: Path) -> None:
    """Train, or go on where it was stopped."""
    begun = next(runs_of(folder, recipe.seed), None)
    run = onecycle.resume(begun.path) if begun else onecycle.train(recipe, runs=folder)
    figures = run.result
    print(
        f"{recipe.recipe}, seed {recipe.seed}: test accuracy {figures['test_accuracy']:.2%}, "
        f"{figures['total_seconds'] / 60:.1f} min",
        flush=True,
    )


def command_of(given: argparse.Namespace) -> str:
    """The command, with places that a reader has too."""
    place = f"./{Path(given.data).name}" if Path(given.data).exists() else given.data
    return (
        f"python -m benchmarks.brief_trials --data {place}"
        f" --epochs {given.epochs} --width {given.width:g} --seeds {given.seeds}"
    )


def write_result(comparison: Comparison, path: Path, command: str, data: str) -> None:
    """The result file and its picture, from the run folders alone."""
    picture = path.parent / "images" / f"{path.stem}.png"
    plots.save(curves(comparison), picture)
    run, runs = comparison.runs[0], comparison.runs
    facts = run.environment
    days = sorted(run.result.finished[:10] for run in runs)
    text = RESULT.format(
        n=comparison.groups[0].n,
        width=run.recipe.width,
        epochs=run.recipe.epochs,
        data=data,
        command=command,
        machine=f"{facts.device_name}, {count_text(facts.threads or 0, 'thread')}",
        precision=run.result.precision,
        torch=run.result.torch,
        when=" to ".join(dict.fromkeys((days[0], days[-1]))),
        tables=comparison.to_markdown(),
        picture=picture.name,
    )
    write_atomically(path, wrapped(text).encode())


RESULT = """\
# The brief's three trials

The brief reported one run each: cutout 8 at 88.9 %, cutout 16 at 88.94 %, and a higher peak rate at
89.17 %. It left open whether that is more than chance. Here each trial has {n} seeds, by the recipe
`brief` at {width:g} of the width and {epochs} epochs, on {data}. cutout-8 is the
baseline; its rates were found once and serve all three.

    {command}

{machine}, {precision}, torch {torch}, {when}.

{tables}
![Test accuracy and loss of the three trials, epoch by epoch](images/{picture})
"""


if __name__ == "__main__":
    main()
