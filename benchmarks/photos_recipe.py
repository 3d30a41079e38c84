"""Which settings suit hundreds of photos? Candidates on several folders, judged on validation.

    python -m benchmarks.photos_recipe PHOTOS... --work FOLDER --result FILE [--candidates FILE]

Every candidate is a set of settings on top of a named recipe. Each is trained on every folder of
photos with several seeds. Of the training images a share is set apart by the recipe's `split_seed`,
the same for all candidates and seeds, and the figure is the accuracy on it after the last epoch.
The test images have no part in it: what is chosen here can be measured on them later, once.

Results are kept in --work, so a call that was stopped goes on where it was, and a candidate that is
added is trained alone. --candidates is a TOML file with a table of settings for each name.
"""

import argparse
import json
import platform
import statistics
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch

from onecycle import runtime, training
from onecycle.config import Recipe, override
from onecycle.progress import SILENT
from onecycle.recipes import named
from onecycle.run_dir import RunDir, write_atomically

Settings = Mapping[str, Any]

GENTLE = {"rotation": 10.0, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2}
"""Small changes of posture and light."""

CANDIDATES: dict[str, Settings] = {
    "as the recipe": {},
    "shares": {"crop_padding": 0.125, "cutout": 0.25},
    "resized crop": {"resized_crop": 0.35, "cutout": 0},
    "gentle": {"crop_padding": 0.125, "cutout": 0} | GENTLE,
    "resized crop, gentle": {"resized_crop": 0.35, "cutout": 0} | GENTLE,
    "TrivialAugment": {"crop_padding": 0.125, "cutout": 0, "trivial_augment": True},
    "resized crop, TrivialAugment": {"resized_crop": 0.35, "cutout": 0, "trivial_augment": True},
    "all": {"resized_crop": 0.35, "cutout": 0.25, "trivial_augment": True} | GENTLE,
}
"""Candidates where no file names others."""


@dataclass(frozen=True)
class Result:
    """What a training reached.

    Attributes:
        photos: name of the folder.
        candidate: its name.
        recipe: the settings asked for, complete, so that another candidate of this name is another.
        seed: of the training.
        val_accuracy: share of the validation images, after the last epoch.
        val_images, train_images: their numbers.
        seconds: of the whole training.
    """

    photos: str
    candidate: str
    recipe: dict[str, Any]
    seed: int
    val_accuracy: float
    val_images: int
    train_images: int
    seconds: float


def main() -> None:
    given = arguments()
    base = override(named(given.recipe).recipe, val_fraction=given.val_fraction)
    base = override(base, image_size=given.image_size, test_limit=given.test_limit)
    candidates = CANDIDATES
    if given.candidates:
        candidates = tomllib.loads(given.candidates.read_text(encoding="utf-8"))
    recipes = {name: override(base, **settings) for name, settings in candidates.items()}
    given.work.mkdir(parents=True, exist_ok=True)
    log = given.work / "results.jsonl"
    results = [
        trained(log, photos, name, override(recipe, data=str(photos), seed=seed), given)
        for seed in given.seeds  # so that a call that is stopped has compared all candidates
        for photos in given.photos
        for name, recipe in recipes.items()
    ]
    settings = {name: dict(changes) for name, changes in candidates.items()}
    write_atomically(given.result, written(results, settings, given).encode())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("photos", type=Path, nargs="+", help="folders of photos")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs and results")
    parser.add_argument("--result", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--candidates", type=Path, help="TOML file: a table of settings for each")
    parser.add_argument("--recipe", default="custom-resnet-8", help="what candidates build on")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--val-fraction", type=float, default=0.25)
    parser.add_argument(
        "--test-limit", type=int, default=16, help="test images of a run; none is looked at"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    if len({photos.name for photos in given.photos}) < len(given.photos):
        parser.error("two folders of photos have the same name; rename one")
    return given


# --------------------------------------------------------------------------------------- trainings


def trained(
    log: Path, photos: Path, name: str, recipe: Recipe, given: argparse.Namespace
) -> Result:
    """The result of a training: of an earlier call, if it had the same settings."""
    asked = json.loads(json.dumps(asdict(recipe)))
    for known in kept(log):
        if (known.photos, known.candidate, known.recipe) == (photos.name, name, asked):
            return known
    started = time.perf_counter()
    run = training.train(
        recipe, runs=given.work / "runs", threads=given.threads, progress=SILENT, report=False
    )
    labels = RunDir.open(run.path).load_arrays("predictions.npz")["val_labels"]
    result = Result(
        photos=photos.name,
        candidate=name,
        recipe=asked,
        seed=recipe.seed,
        val_accuracy=run.result["val_accuracy"],
        val_images=len(labels),
        train_images=run.result["train_images"],
        seconds=time.perf_counter() - started,
    )
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result)) + "\n")
    reached = f"{100 * result.val_accuracy:.1f} %"
    print(f"{photos.name}, {name}, seed {recipe.seed}: {reached}", flush=True)
    return result


def kept(log: Path) -> list[Result]:
    """The results of earlier calls. A last line that was cut short is left out."""
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.exists() else []
    return [Result(**json.loads(line)) for line in lines if line.endswith("\n")]


# ------------------------------------------------------------------------------------------ result


def written(
    results: Sequence[Result], settings: Mapping[str, Settings], given: argparse.Namespace
) -> str:
    """The result file: a row for each candidate, the best first."""
    folders = list(dict.fromkeys(result.photos for result in results))
    rows = {n: {each: accuracies(results, n, each) for each in folders} for n in settings}
    means = {name: statistics.fmean(map(statistics.fmean, rows[name].values())) for name in rows}
    ranked = sorted(means, key=lambda name: -means[name])
    counts = {r.photos: f"{r.train_images} and {r.val_images}" for r in results}
    lines = [
        f"# Settings for hundreds of photos, {date.today():%Y-%m}",
        "",
        f"`onecycle train {given.recipe} --image-size {given.image_size} --val-fraction "
        f"{given.val_fraction:g}`, with the settings of each row.",
        "Accuracy on the validation images after the last epoch, in %: mean ± standard deviation",
        f"over n = {len(given.seeds)} seeds. The test images were not looked at. Images to train "
        "and to validate:",
        "",
        *(f"- {photos}: {count}" for photos, count in counts.items()),
        "",
        f"Measured on {date.today():%Y-%m-%d}, {runtime.cpu_model()}, threads: {given.threads}, "
        f"Python {platform.python_version()}, torch {torch.__version__}.",
        "",
        f"| candidate | {' | '.join(folders)} | mean | n | s |",
        f"|---|{'---:|' * (len(folders) + 3)}",
    ]
    for name in ranked:
        seconds = statistics.fmean(r.seconds for r in results if r.candidate == name)
        cells = " | ".join(map(spread, rows[name].values()))
        lines.append(
            f"| {bold(name, name == ranked[0])} | {cells} | {100 * means[name]:.1f} "
            f"| {len(given.seeds)} | {seconds:.0f} |"
        )
    lines += ["", "The best on validation images is in bold. The settings:", ""]
    lines += [f"- {name}: {told(settings[name])}" for name in ranked]
    return "\n".join(lines) + "\n"


def accuracies(results: Sequence[Result], name: str, photos: str) -> list[float]:
    return [r.val_accuracy for r in results if (r.candidate, r.photos) == (name, photos)]


def told(settings: Settings) -> str:
    return ", ".join(f"`{name} = {json.dumps(v)}`" for name, v in settings.items()) or "none"


def bold(text: str, is_bold: bool) -> str:
    return f"**{text}**" if is_bold else text


def spread(shares: Sequence[float]) -> str:
    """Mean and standard deviation in percent."""
    mean = f"{100 * statistics.fmean(shares):.1f}"
    return f"{mean} ± {100 * statistics.stdev(shares):.1f}" if len(shares) > 1 else mean


if __name__ == "__main__":
    main()
