"""The trainings behind docs/results.md, and the parts of it that `onecycle compare` can't write.

    python -m benchmarks.results train regularization-5000 --data cifar10-jpeg --work FOLDER
    python -m benchmarks.results page [--check]

`train` carries out a study. Finished runs are kept without weights in benchmarks/runs/STUDY, and a
run that is there is not trained again, so a study may be stopped at any time, and go on elsewhere.
A training that was stopped goes on from its checkpoint in --work, if that is still there. All
settings are trained with one seed before the next seed begins. `page` brings the tables of the page
up to date and draws its pictures.
"""

import argparse
import io
import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.keep_runs import keep
from onecycle import trials
from onecycle.config import Recipe, override
from onecycle.errors import Interrupted
from onecycle.experiments import compare, curves, rewrite, seeds
from onecycle.plots import Figure
from onecycle.progress import Log
from onecycle.recipes import named
from onecycle.run_dir import RunDir, write_atomically
from onecycle.statistics import mean_of
from onecycle.trials import manifest

HERE = Path(__file__).parent
KEPT, PAGE, IMAGES = HERE / "runs", HERE.parent / "docs" / "results.md", HERE / "images"

Grid = Mapping[str, Sequence[Any]]

REGULARIZATION: Grid = {
    "weight_decay": (5e-5, 5e-4, 5e-3),
    "l1": (1e-6, 1e-5, 1e-4),
    "dropout": (0.1, 0.3, 0.5),
    "label_smoothing": (0.1, 0.2),
    "cutout": (0, 16),
}
"""What is tried against overfitting, one setting at a time."""

HIGHER = 1.5
"""The brief's third trial has a peak that is higher by this factor."""


@dataclass(frozen=True)
class Study:
    """Trainings of a recipe, with one setting changed at a time.

    Attributes:
        recipe: as it is without a change, given the folder of all kept runs, since some of its
            settings may be what another study found to be best.
        seeds: of each training.
        grid: the values of each setting, given the same folder, since they may depend on what the
            recipe as it is has found.
    """

    recipe: Callable[[Path], Recipe]
    seeds: int
    grid: Callable[[Path], Grid] = lambda _: {}


def brief(**changes: Any) -> Callable[[Path], Recipe]:
    return lambda _: override(named("brief").recipe, **changes)


def of(name: str) -> Callable[[Path], Recipe]:
    return lambda _: named(name).recipe


def higher_peak(study: str) -> Callable[[Path], Grid]:
    """Cutout 16, and the peak that the recipe's first run has found, times `HIGHER`."""

    def grid(kept: Path) -> Grid:
        first = kept / study / "seed=0"
        if not first.is_dir():
            return {"cutout": (16,)}
        result = RunDir(first).result()
        assert result
        return {"cutout": (16,), "lr_max": (float(f"{HIGHER * result.lr_max:.3g}"),)}

    return grid


def together(study: str, **changes: Any) -> Callable[[Path], Recipe]:
    """The recipe of a study with the best value of the two settings that gain most in validation.

    Raises:
        SystemExit: the study is not finished, or fewer than two settings gain anything.
    """

    def recipe(kept: Path) -> Recipe:
        place = kept / study
        found = manifest.read(place)
        if found is None or len(found.seeds) < STUDIES[study].seeds:
            raise SystemExit(f"{study}: is not finished; train it first")
        reached: dict[str, list[float]] = {}
        for trial in found.trials():
            result = RunDir(place / trial.name).result()
            if result is None:
                raise SystemExit(f"{study}: {trial.name} is not finished; train it first")
            assert result.val_accuracy is not None
            reached.setdefault(json.dumps(trial.settings), []).append(result.val_accuracy)
        best = best_two({key: mean_of(values) for key, values in reached.items()})
        if len(best) < 2:
            raise SystemExit(f"{study}: fewer than two settings gain in validation accuracy")
        return override(found.base(), **best, **changes)

    return recipe


def best_two(reached: Mapping[str, float]) -> dict[str, Any]:
    """The best value of each of the two settings that gain most; fewer if fewer gain anything.

    `reached`: mean validation accuracy by the trial's settings as JSON, those of the recipe as it
    is among them.
    """
    best: dict[str, Any] = {}
    for key in sorted(reached, key=lambda each: -reached[each]):
        if reached[key] <= reached["{}"] or len(best) == 2:
            break
        for name, value in json.loads(key).items():
            best.setdefault(name, value)
    return best


QUARTER = {"width": 0.25}
APART = {"width": 0.25, "val_fraction": 0.1}

STUDIES: Mapping[str, Study] = {
    "brief": Study(brief(), 1, higher_peak("brief")),
    "brief-again": Study(brief(seed=1), 1),
    "custom-resnet-24": Study(of("custom-resnet-24"), 2),
    "custom-resnet-8": Study(of("custom-resnet-8"), 3),
    "brief-quarter": Study(brief(**QUARTER), 5, higher_peak("brief-quarter")),
    "brief-quarter-decay": Study(
        brief(**QUARTER, weight_decay=5e-4), 5, higher_peak("brief-quarter-decay")
    ),
    "regularization-5000": Study(
        brief(**APART, train_limit=5000, test_limit=2000), 3, lambda _: REGULARIZATION
    ),
    "regularization-5000-together": Study(together("regularization-5000"), 3),
    "regularization": Study(brief(**APART), 3, lambda _: REGULARIZATION),
    "regularization-together": Study(together("regularization"), 3),
    "regularization-full-width": Study(together("regularization", width=1.0, head_scale=1.0), 1),
}


def main() -> None:
    given = arguments()
    if given.command == "page":
        page(check=given.check)
        return
    try:
        train(given.study, given)
    except Interrupted as stop:
        print(f"{stop}; call it again to go on", file=sys.stderr)
        raise SystemExit(128 + stop.signal_number) from None


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="carry out a study, or go on with it")
    training.add_argument("study", choices=STUDIES)
    training.add_argument("--data", required=True, help="class folders, or cifar10")
    training.add_argument("--work", type=Path, required=True, help="folder of unfinished runs")
    training.add_argument("--kept", type=Path, default=KEPT, help="folder of the kept runs")
    training.add_argument("--jobs", type=int, default=0, help="trainings at once; 0: measured")
    training.add_argument("--seeds", type=int, default=0, help="at most so many; 0: all")
    writing = commands.add_parser("page", help="bring docs/results.md up to date")
    writing.add_argument("--check", action="store_true", help="only say whether it is")
    return parser.parse_args()


def train(name: str, given: argparse.Namespace) -> None:
    """Train what is left of a study, and keep every run that is finished.

    Raises:
        SystemExit: a training failed.
    """
    study, work, kept = STUDIES[name], given.work / name, given.kept / name
    recipe = override(study.recipe(given.kept), data=given.data)
    fetch(kept, work, given.data)
    begun = manifest.read(work) if work.is_dir() else None
    first, last = len(begun.seeds) if begun else 1, given.seeds or study.seeds
    for count in range(first, max(first, min(study.seeds, last)) + 1):
        while True:  # once more, where the recipe as it is decides what is tried besides
            grid = study.grid(given.kept)
            try:
                found = trials.run(
                    recipe,
                    grid,
                    seeds=count,
                    one_at_a_time=True,
                    into=work,
                    jobs=given.jobs or "auto",
                    reports="none",
                    progress=Log(partial(print, flush=True)),
                )
            finally:
                if list(work.glob("*/result.json")):
                    list(keep(work, kept))
            if found.failed:
                raise SystemExit(f"{found.failed[0].name}: {found.failed[0].message}")
            if study.grid(given.kept) == grid:
                break


def fetch(kept: Path, work: Path, data: str) -> None:
    """Put the kept runs of a study where they are missing among those that are worked on.

    `data`: where the images are on this machine, for trials.json.
    """
    for path in kept.iterdir() if kept.is_dir() else ():
        place = work / path.name
        if path.is_dir() and not (place / "result.json").is_file():
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(path, place)
    if found := manifest.read(kept) if kept.is_dir() else None:
        known = manifest.read(work) or found
        manifest.write(work, replace(known, recipe=known.recipe | {"data": data}))


# ----------------------------------------------------------------------------------------- the page

NORMS = re.compile(
    r"(<!-- weight norms: (?P<runs>[^\n]*?) -->\n)(?P<table>.*?)(?=<!-- end)", re.DOTALL
)
DRAWINGS = {"curves": curves, "seeds": seeds}
PICTURE = re.compile(
    rf"\(\.\./benchmarks/images/results_(?P<kind>{'|'.join(DRAWINGS)})_(?P<study>[\w-]+)\.png\)"
)


def page(*, check: bool) -> None:
    """Bring the page up to date, or only say whether it is.

    Pictures are drawn anew; with `check` it is enough that they are there.
    """
    before = PAGE.read_text(encoding="utf-8")
    after = before
    if "<!-- onecycle compare:" in before:
        _, after = rewrite(PAGE)
    after = NORMS.sub(lambda found: f"{found[1]}\n{norms(found['runs'].split())}\n\n", after)
    missing = []
    for kind, study in PICTURE.findall(after):
        place = IMAGES / f"results_{kind}_{study}.png"
        if not check:
            draw(kind, study, place)
        elif not place.is_file():
            missing.append(str(place))
    if check and (after != before or missing):
        raise SystemExit(
            f"{PAGE} is out of date; update it with: python -m benchmarks.results page"
        )
    if not check:
        write_atomically(PAGE, after.encode())


def norms(places: Sequence[str]) -> str:
    """A table of the norm of each layer's weights after training, a column for each run."""
    runs = [RunDir(PAGE.parent / place) for place in places]
    found = [run.measured().weight_norms or {} for run in runs]
    if without := [place for place, each in zip(places, found, strict=True) if not each]:
        raise SystemExit(f"{without[0]}: has no norms of weights in audit.json")
    names = [re.sub(r",?seed=\d+$", "", run.path.name) or "as it is" for run in runs]
    rows = [f"| layer | {' | '.join(names)} |", f"|---|{'---:|' * len(runs)}"]
    for layer in found[0]:
        cells = [f"{each[layer]:.1f}" if layer in each else "–" for each in found]
        rows.append(f"| {layer.removesuffix('.weight')} | {' | '.join(cells)} |")
    return "\n".join(rows)


def draw(kind: str, study: str, place: Path) -> None:
    """The curves of a study's runs over each other, or the accuracies of all its seeds.

    The recipe as it is comes first.
    """
    as_it_is = KEPT / study / "seed=0"
    found = compare(KEPT / study, baseline=as_it_is if as_it_is.is_dir() else "")
    write_atomically(place, compressed(DRAWINGS[kind](found)))


def compressed(figure: Figure) -> bytes:
    """A PNG of 128 colours."""
    file, smaller = io.BytesIO(), io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    picture = Image.open(file).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    picture.save(smaller, "png", optimize=True)
    return smaller.getvalue()


if __name__ == "__main__":
    main()
