"""Keep what `onecycle compare` reads of finished runs, without their weights.

    python -m benchmarks.keep_runs trials/study --into benchmarks/runs/study

Every finished run below the folder is copied to the same place below --into; a single run gets a
folder of its name there. A run that is there with the same result stays as it is. trials.json comes
too, so that `onecycle trials --into` can go on there: finished trials are not trained again. Left
out are checkpoints, pictures, steps and the images of the report. Logits are rounded to seven bits,
which makes them less than half as large; each image's predicted class stays the same. Of an
absolute path only the last part is kept.
"""

import argparse
import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from onecycle.config import override, to_toml
from onecycle.errors import InputError
from onecycle.experiments.reading import FinishedRun, read_run, run_folders
from onecycle.run_dir import RunDir, write_atomically
from onecycle.writing.numbers import counted

RECORDS = (
    "environment.json", "network.json", "lr_range_test.json", "metrics.jsonl", "audit.json",
    "result.json",
)  # fmt: skip
"""The files that are kept besides recipe.toml and predictions.npz; result.json comes last, since a
run that has it counts as finished."""

ARRAYS = ("logits", "labels", "names", "classes")
"""What is kept of predictions.npz."""

DROPPED_BITS = 17
"""Of the 24 bits of a float32's significand."""

MOST_BYTES = 20_000_000
"""Of all that is kept in benchmarks/runs."""

UNFINISHED = ".keeping"
"""Ending of the folder in which a copy is made."""

FOLDERS = re.compile(r"(?:(?<=^)|(?<==))/(?:[^/]*/)*")
"""The folders of an absolute path, alone or after `=`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="a run, or a folder of runs or trials")
    parser.add_argument("--into", type=Path, required=True, help="where they are kept")
    given = parser.parse_args()
    try:
        kept = list(keep(given.folder, given.into))
    except InputError as error:
        raise SystemExit(f"keep_runs: {error}") from None
    print(f"{counted(len(kept), 'run')} kept; {size(given.into) / 1e6:.1f} MB in {given.into}")


def size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def keep(folder: Path, into: Path) -> Iterator[Path]:
    """Copy the finished runs of a folder; the place of each copy.

    Raises:
        InputError: there are no runs; the two folders overlap; a run's place has something else.
    """
    here, there = folder.resolve(), into.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise InputError(f"--into: '{into}' and '{folder}' are in each other; name another folder")
    for path in run_folders(folder):
        run = read_run(path)
        if not isinstance(run, FinishedRun):
            print(f"left out: {run}")
            continue
        place = into / (path.relative_to(folder) if path != folder else here.name)
        if not is_kept(run, place):
            keep_run(run, place)
        yield place
    manifest = folder / "trials.json"
    if manifest.is_file():
        kept = read_json(manifest)
        kept.pop("jobs", None)  # how they shared one machine
        write_json(into / manifest.name, kept)


def is_kept(run: FinishedRun, place: Path) -> bool:
    """Whether the run is in its place, with the same result.

    Raises:
        InputError: there is something else, which would be lost.
    """
    if place.is_symlink() or (place.exists() and not (place / "recipe.toml").is_file()):
        raise InputError(f"'{place}' is not a run; remove it, or name another --into")
    try:
        return RunDir(place).result() == replace(run.result, data=without_folders(run.result.data))
    except InputError:
        return False


def keep_run(run: FinishedRun, place: Path) -> None:
    """Copy one run, complete or not at all."""
    partial = place.with_name(place.name + UNFINISHED)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    recipe = override(run.recipe, **without_folders(asdict(run.recipe)))
    write_atomically(partial / "recipe.toml", to_toml(recipe).encode())
    arrays = RunDir(run.path).load_arrays("predictions.npz")
    arrays = {name: arrays[name] for name in ARRAYS}
    file = io.BytesIO()
    logits_NK = rounded(arrays["logits"])
    np.savez_compressed(file, allow_pickle=False, **(arrays | {"logits": logits_NK}))
    write_atomically(partial / "predictions.npz", file.getvalue())
    for name in RECORDS:
        if not (run.path / name).is_file():
            continue
        if name.endswith(".json"):
            write_json(partial / name, read_json(run.path / name))
        else:
            shutil.copyfile(run.path / name, partial / name)
    shutil.rmtree(place, ignore_errors=True)
    partial.replace(place)


def rounded(logits_NK: np.ndarray) -> np.ndarray:
    """Logits with zeros in the last bits; a row whose first largest logit would move stays exact.

    Shapes: N images, K classes.
    """
    half, mask = 1 << (DROPPED_BITS - 1), ~np.uint32((1 << DROPPED_BITS) - 1)
    bits = np.ascontiguousarray(logits_NK, dtype=np.float32).view(np.uint32)
    found_NK = ((bits + np.uint32(half)) & mask).view(np.float32)
    moved_N = found_NK.argmax(axis=1) != logits_NK.argmax(axis=1)
    found_NK[moved_N] = logits_NK[moved_N]
    return found_NK


def without_folders(value: Any) -> Any:
    """The value with only the last part of each absolute path in it."""
    if isinstance(value, dict):
        return {name: without_folders(each) for name, each in value.items()}
    if isinstance(value, list):
        return [without_folders(each) for each in value]
    return FOLDERS.sub("", value) if isinstance(value, str) else value


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    text = json.dumps(without_folders(value), ensure_ascii=False, separators=(",", ":"))
    write_atomically(path, f"{text}\n".encode())


if __name__ == "__main__":
    main()
