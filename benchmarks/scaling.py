"""Does the speed hold: with more images, other batch sizes, fewer threads?

    python benchmarks/scaling.py                    some minutes, and 3 GB of disk for a while

Images: the same network on 10,000, 100,000 and 1,000,000 memory-mapped images (drawn shapes, the
first 10,000 over and over), with the memory that the process has for itself. Batches: the engine
from 32 to 2048 images a step, each beside a plain PyTorch loop over one ready batch, in turns.
Threads: 1 against 2. Forward: evaluation beside a bare forward pass in the same precision.
"""

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from onecycle import evaluate, models, optim, runtime, training
from onecycle.config import Recipe
from onecycle.data import shapes
from onecycle.data.image_set import ImageSet
from onecycle.engine import loop
from onecycle.engine.state import Training

DRAWN = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    print(f"machine  {runtime.cpu_model()}, {torch.get_num_threads()} threads")
    print(f"work     width {options.width:g}; medians over {options.turns} turns, with quartiles")
    with runtime.reused_memory():
        image_counts(options.width, options.turns)
        batch_sizes(options.width, options.turns)
        thread_counts(options.width, options.turns)
        forward(options.width, options.turns)


def job_of(width: float, batch_size: int, train: ImageSet | None = None) -> Training:
    recipe = Recipe(
        data="shapes", train_limit=max(2 * batch_size, 100), test_limit=2000, epochs=2, width=width,
        batch_size=batch_size, nesterov=True, weight_decay=5e-4, head_scale=0.125, lr_max=0.1,
        lr_min=0.01, lr_final=0.01,
    )  # fmt: skip
    job, _ = training.prepare(recipe)
    if train is not None:
        job = replace(job, batches=replace(job.batches, train=train))
    job.model.train()
    optim.set_rates(job.optimizer, 0.01, 0.9)
    return job


def speed(job: Training, images: int, first: int) -> float:
    """Images per second over steps of about `images` in all."""
    size = job.batches.batch_size
    steps = max(1, images // size)
    started = time.perf_counter()
    for step in range(first, first + steps):
        step %= job.batches.steps_per_epoch - 1  # not the last, which may be smaller
        batch_BCHW, labels_B = job.batches.cut(step)
        loop.train_step(job.model, job.optimizer, batch_BCHW, labels_B, job.recipe)[0].item()
    return steps * size / (time.perf_counter() - started)


def in_turns(works: dict[str, Callable[[int], float]], turns: int) -> dict[str, list[float]]:
    """Each work's speeds, turn by turn; the first turn warms up."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(turns + 1):
        for name, work in works.items():
            value = work(turn)
            if turn:
                found[name].append(value)
    return found


def line(name: str, values: list[float], base: list[float]) -> str:
    ratios = [one / two for one, two in zip(values, base, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return (
        f"  {name:>16} {statistics.median(values):8.0f} images/s   "
        f"ratio {middle:.2f} ({low:.2f} to {high:.2f})"
    )


def image_counts(width: float, turns: int) -> None:
    print("\nimages in the set, batch 512: speed, against 10,000 images; the process's own memory")
    drawn = shapes.draw(DRAWN, "train")
    with tempfile.TemporaryDirectory() as folder:
        jobs = {}
        for count in (10**4, 10**5, 10**6):
            jobs[count] = job_of(width, 512, mapped(drawn, count, Path(folder) / f"{count}.npy"))
        memory: dict[int, float] = {}

        def work(count: int) -> Callable[[int], float]:
            def run(turn: int) -> float:
                found = speed(jobs[count], 4096, turn * 8)
                memory[count] = own_megabytes()
                return found

            return run

        found = in_turns({f"{count:,}": work(count) for count in jobs}, turns)
        for (name, values), megabytes in zip(found.items(), memory.values(), strict=True):
            print(line(name, values, found["10,000"]), f"  {megabytes:5.0f} MB")


def mapped(drawn: ImageSet, count: int, path: Path) -> ImageSet:
    """`count` images in a file that is mapped into memory."""
    images_NHWC = np.lib.format.open_memmap(
        path, "w+", np.uint8, (count, *drawn.images_NHWC.shape[1:])
    )
    for start in range(0, count, DRAWN):
        images_NHWC[start : start + DRAWN] = drawn.images_NHWC
    del images_NHWC
    times = count // DRAWN
    return replace(
        drawn,
        images_NHWC=np.load(path, mmap_mode="r"),
        labels_N=np.tile(drawn.labels_N, times),
        names=drawn.names * times,
    )


def own_megabytes() -> float:
    """Memory of this process that is not a file's pages."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    found = re.search(r"RssAnon:\s+(\d+)", status.read_text())
    return int(found[1]) / 1e3 if found else float("nan")


def batch_sizes(width: float, turns: int) -> None:
    print("\nimages in a batch: the engine, against a plain loop in the same precision")
    for size in (32, 128, 512, 2048):
        job = job_of(width, size)
        images = max(2048, size)
        plain = plain_loop(job)
        works = {
            "plain": lambda turn, p=plain, n=images: p(n),
            "engine": lambda turn, j=job, n=images: speed(j, n, turn),
        }
        found = in_turns(works, turns)
        print(line(f"{size}", found["engine"], found["plain"]))


def plain_loop(job: Training) -> Callable[[int], float]:
    """Forward, backward and SGD by PyTorch's own layers on one ready batch; images per second."""
    model = models.build("custom-resnet", classes=10, width=job.recipe.width)
    model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    for layer in model.modules():
        if isinstance(layer, torch.nn.ReLU):  # a hook has each layer run by itself
            layer.register_forward_hook(lambda *_: None)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    size = job.batches.batch_size
    batch = torch.randn(size, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (size,))

    def run(images: int) -> float:
        steps = max(1, images // size)
        started = time.perf_counter()
        for _ in range(steps):
            with runtime.autocast(job.device, job.recipe.precision):
                loss = F.cross_entropy(model(batch), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
        return steps * size / (time.perf_counter() - started)

    return run


def thread_counts(width: float, turns: int) -> None:
    most = torch.get_num_threads()
    print(f"\nthreads, batch 512: {most}, against 1")
    job = job_of(width, 512)

    def work(threads: int) -> Callable[[int], float]:
        def run(turn: int) -> float:
            torch.set_num_threads(threads)
            return speed(job, 2048, turn)

        return run

    found = in_turns({"1": work(1), f"{most}": work(most)}, turns)
    torch.set_num_threads(most)
    print(line(f"{most}", found[f"{most}"], found["1"]))


def forward(width: float, turns: int) -> None:
    print("\nevaluation of 2,000 images, against a bare forward pass over as many ready ones")
    job = job_of(width, 512)
    job.model.eval()
    size = evaluate.BATCH_SIZE
    ready = torch.randn(size, 3, 32, 32).contiguous(memory_format=torch.channels_last)

    def bare(_: int) -> float:
        started = time.perf_counter()
        with torch.no_grad(), runtime.autocast(job.device, job.recipe.precision):
            for _ in range(2000 // size):
                job.model(ready).float()
        return 2000 / (time.perf_counter() - started)

    def evaluated(_: int) -> float:
        started = time.perf_counter()
        job.evaluate(job.test)
        return 2000 / (time.perf_counter() - started)

    found = in_turns({"forward": bare, "evaluation": evaluated}, turns)
    print(line("evaluation", found["evaluation"], found["forward"]))


if __name__ == "__main__":
    main()
