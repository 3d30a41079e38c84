"""Decoding a folder of images over all cores against a plain loop over Pillow in one process.

    python benchmarks/folder_decoding.py cifar10-jpeg                  all of its images
    python benchmarks/folder_decoding.py cifar10-jpeg --limit 3000     quicker

The plain loop opens every file, converts it to RGB and stores it in one array in memory. onecycle
lists the folder, decodes into its cache on disk, seals it with a checksum, and opens it again. The
two take turns, each beginning every other turn, so that a busy machine slows both. All files are
read once before, so that neither waits for the disk.
"""

import argparse
import csv
import os
import platform
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from onecycle import runtime
from onecycle.data import folder
from onecycle.data.folder import workers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="train/<class>/* and test/<class>/*, of one size")
    parser.add_argument("--limit", type=int, default=0, help="about as many images; 0: all")
    parser.add_argument("--turns", type=int, default=3, help="turns of each")
    options = parser.parse_args()
    files = sorted(path for path in options.folder.glob("*/*/*") if path.is_file())
    files = files[:: max(1, len(files) // options.limit)] if options.limit else files
    for path in files:
        path.read_bytes()
    plain, ours = [], []
    with tempfile.TemporaryDirectory() as scratch:
        source = table(files, Path(scratch)) if options.limit else options.folder
        for turn in range(options.turns):
            sides = [(plain, lambda: plain_loop(files)), (ours, lambda: onecycle_once(source))]
            for seconds, work in sides if turn % 2 == 0 else reversed(sides):
                began = time.perf_counter()
                work()
                seconds.append(time.perf_counter() - began)
                print(f"turn {turn + 1}: {work_name(seconds is ours)} {seconds[-1]:.2f} s")
    report(len(files), plain, ours)


def table(files: list[Path], scratch: Path) -> Path:
    """A table of the files, for measuring some of them only."""
    path = scratch / "some.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "split"])
        rows.writerows([name.absolute(), name.parts[-2], name.parts[-3]] for name in files)
    return path


def plain_loop(files: list[Path]) -> np.ndarray:
    """All images in one array, as anybody would write it."""
    with Image.open(files[0]) as image:
        width, height = image.size
    images_NHWC = np.empty((len(files), height, width, 3), dtype=np.uint8)
    for index, path in enumerate(files):
        with Image.open(path) as image:
            images_NHWC[index] = np.asarray(image.convert("RGB"))
    return images_NHWC


def onecycle_once(source: Path) -> None:
    """Decode into a cache of its own."""
    with tempfile.TemporaryDirectory() as cache:
        folder.load(source, cache_dir=Path(cache))


def work_name(ours: bool) -> str:
    return "onecycle" if ours else "plain loop"


def report(count: int, plain: list[float], ours: list[float]) -> None:
    ratios = [p / o for p, o in zip(plain, ours, strict=True)]
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    versions = f"Pillow {PIL.__version__}, NumPy {np.__version__}, {platform.platform()}"
    print(f"date       {date.today()}, {versions}")
    print(f"device     {runtime.cpu_model()}, {workers.cores()} cores, load at the end {load}")
    print(f"work       {count:,} images, {len(ratios)} turns of each")
    for ours_too, seconds in ((False, plain), (True, ours)):
        speeds = [count / each for each in seconds]
        spread = f"{min(speeds):,.0f} to {max(speeds):,.0f}"
        print(
            f"{work_name(ours_too):10} {statistics.median(seconds):7.2f} s, "
            f"{statistics.median(speeds):,.0f} images/s ({spread})"
        )
    middle = statistics.median(ratios)
    print(f"ratio      {middle:7.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
