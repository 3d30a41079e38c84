"""What saving checkpoints costs: its share of the training time at the default interval.

    python benchmarks/checkpoint_cost.py                      some trainings, two minutes
    python benchmarks/checkpoint_cost.py --folder /mnt/disk   on another disk

Of each recipe a piece is trained, and ten more checkpoints are saved at its end. A save is timed
with all that belongs to it: flushing and sealing the logs, copying and hashing the tensors,
flushing them to disk, renaming, removing the oldest. The cost at the default is a save's median
time over what passes between two saves: an epoch, or `checkpoint_minutes` where an epoch takes
longer.
"""

import argparse
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import torch

from onecycle import training
from onecycle.config import Recipe, override
from onecycle.config.sizes import batch_size_for
from onecycle.engine import loop
from onecycle.recipes import named
from onecycle.run_dir import Checkpoint, RunDir
from onecycle.training.signals import Signals

PIECES = {"demo": (10_000, 2), "custom-resnet-8": (50_000, 0)}
"""Training images of a whole epoch, and epochs of it that are trained; 0: a few steps."""

FEW_STEPS = 4


@dataclass
class Timed(RunDir):
    """A run folder that times what it saves."""

    path: Path
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.path)

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        started = time.perf_counter()
        super().save_checkpoint(checkpoint)
        self.seconds.append(time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", default=None, help="where the runs are written")
    options = parser.parse_args()
    machine = f"{platform.platform()}, {torch.get_num_threads()} threads"
    print(f"{date.today()}, torch {torch.__version__}, {machine}\n")
    print("recipe               MB   save s (worst)   epoch s   saves at the default   cost")
    for name in PIECES:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            print(measured(name, Path(folder)), flush=True)


def measured(name: str, folder: Path) -> str:
    """A row: the size and time of a save, and its share at the default interval."""
    images, epochs = PIECES[name]
    recipe = piece(named(name).recipe, images, epochs)
    job, _ = training.prepare(recipe)
    run = Timed(RunDir.create(folder, recipe).path)
    steps_per_epoch = -(-images // job.batches.batch_size)
    with run.lock():
        started = time.perf_counter()
        loop.fit(job, job.plan, run, Signals())
        spent = time.perf_counter() - started - sum(run.seconds)
        for _ in range(10):
            run.save_checkpoint(job.checkpoint())
    epoch_seconds = spent * steps_per_epoch / job.total_steps
    newest = run.path / "checkpoints" / f"step-{job.state.step:07d}"
    size = sum(file.stat().st_size for file in newest.iterdir()) / 1e6
    save = statistics.median(run.seconds)
    between = min(epoch_seconds, 60 * Recipe().checkpoint_minutes)
    when = "each epoch" if between == epoch_seconds else f"every {between / 60:g} min and epoch"
    return (
        f"{name:<18}{size:>5.1f}{save:>9.3f} ({max(run.seconds):.3f})"
        f"{epoch_seconds:>11.1f}{when:>22}{100 * save / between:>8.2f} %"
    )


def piece(recipe: Recipe, images: int, epochs: int) -> Recipe:
    """The recipe on drawn images, whole epochs or a few steps, at rates that need no range test."""
    rates = {"lr_max": 0.1, "lr_min": 0.01, "lr_final": 0.01, "data": "shapes", "test_limit": 100}
    batch_size = batch_size_for(images) if recipe.batch_size == "auto" else recipe.batch_size
    limit = images if epochs else batch_size * FEW_STEPS
    return override(
        recipe, epochs=max(1, epochs), batch_size=batch_size, train_limit=limit, **rates
    )


if __name__ == "__main__":
    main()
