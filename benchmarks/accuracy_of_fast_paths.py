"""What the faster arithmetic does to the accuracy: the same trainings on each path, paired by seed.

    python benchmarks/accuracy_of_fast_paths.py                          shapes, 5 seeds
    python benchmarks/accuracy_of_fast_paths.py --data DIR --recipe custom-resnet-8 \
        --epochs 3 --width 0.25 --seeds 2                                any other data

Three paths: PyTorch's layers one by one, the compiled kernels, and the compiled kernels with
micro-batches of a quarter of the batch (ghost batch norm: different work, not only another order
of sums). All train at the same given rates, so that a range test can't make the difference.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from scipy import stats

PATHS: dict[str, tuple[str, int]] = {
    "layers": ("off", 1),
    "kernels": ("auto", 1),
    "micro-batches": ("auto", 4),
}
"""Name: `ONECYCLE_KERNELS`, and parts of a batch."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr-max", type=float, default=0.2)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--paths", nargs="+", choices=PATHS, default=list(PATHS))
    options = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {path: [] for path in options.paths}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for path in found:
            found[path].append(train(options, path, seed))
            print(f"seed {seed} {path:14} {found[path][-1]}", file=sys.stderr, flush=True)
    for figure in ("test_accuracy", "train_loss"):
        report(figure, {path: [run[figure] for run in runs] for path, runs in found.items()})


def train(options: argparse.Namespace, path: str, seed: int) -> dict[str, float]:
    """One training in a process of its own; its result."""
    kernels, parts = PATHS[path]
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "-m", "onecycle", "train", options.recipe, "--json", "--quiet"]
        settings = {
            "data": options.data,
            "epochs": options.epochs,
            "width": options.width,
            "batch-size": options.batch_size,
            "micro-batch": options.batch_size // parts if parts > 1 else 0,
            "lr-max": options.lr_max,
            "lr-min": options.lr_max / 20,
            "seed": seed,
            "runs": Path(runs),
        }
        flags = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        environment = os.environ | {"ONECYCLE_KERNELS": kernels}
        done = subprocess.run([*command, *flags], env=environment, capture_output=True, check=False)
        if done.returncode:
            sys.exit(done.stderr.decode())
        result = json.loads(done.stdout)
    return {name: result[name] for name in ("test_accuracy", "train_loss", "images_per_second")}


def report(figure: str, found: dict[str, list[float]]) -> None:
    """Each path's mean and spread, and the paired difference to the layers with its interval."""
    print(f"\n{figure}, n = {len(next(iter(found.values())))} seeds")
    for path, values in found.items():
        mean, spread = statistics.fmean(values), statistics.stdev(values)
        line = f"  {path:14} {mean:.4f} +- {spread:.4f}"
        if path != "layers" and "layers" in found:
            pairs = [one - two for one, two in zip(values, found["layers"], strict=True)]
            low, high = interval(pairs)
            line += f"   difference {statistics.fmean(pairs):+.4f}, 95 % [{low:+.4f}, {high:+.4f}]"
        print(line)


def interval(values: list[float]) -> tuple[float, float]:
    """95 % interval of the mean, by Student's t."""
    scale = statistics.stdev(values) / len(values) ** 0.5
    half = float(stats.t.ppf(0.975, len(values) - 1)) * scale
    mean = statistics.fmean(values)
    return mean - half, mean + half


if __name__ == "__main__":
    main()
