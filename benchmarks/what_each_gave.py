"""What each of the engine's ways of saving time gives: the step with all of them, and without one.

    python -m benchmarks.what_each_gave        batch 512, full width: three minutes

All variants take turns on the same training, so that a busy machine slows all of them. Page faults
are counted by the kernel (of the operating system) and do not depend on the neighbours.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from unittest.mock import patch

import torch

from benchmarks.training_step import layer_by_layer, prepared, training_step
from onecycle import loop, runtime
from onecycle.models import fused

Variant = Callable[[loop.Training], AbstractContextManager[None]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--turns", type=int, default=8)
    options = parser.parse_args()
    options.micro_batch = 0
    job = prepared(options)
    print(f"machine  {runtime.cpu_model()}, {torch.get_num_threads()} threads")
    print(f"work     width {options.width:g}, batch {options.batch_size}, {job.recipe.precision}")
    speeds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    faults: dict[str, list[int]] = {name: [] for name in VARIANTS}
    for turn in range(options.turns + 1):
        for name, variant in VARIANTS.items():
            with variant(job):
                training_step(job, turn)  # settles the memory
                before, started = page_faults(), time.perf_counter()
                training_step(job, turn)
                speed = options.batch_size / (time.perf_counter() - started)
            if turn:
                speeds[name].append(speed)
                faults[name].append(page_faults() - before)
    for name, found in speeds.items():
        ratios = [one / two for one, two in zip(found, speeds["all"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"{name:34} {statistics.median(found):5.0f} images/s, against all {middle:.2f} "
            f"({low:.2f} to {high:.2f}), {statistics.median(faults[name]):8,.0f} page faults a step"
        )


def page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


@contextmanager
def all_of_them(_: loop.Training) -> Iterator[None]:
    with runtime.reused_memory():
        yield


@contextmanager
def without_kernels(job: loop.Training) -> Iterator[None]:
    with runtime.reused_memory(), layer_by_layer(job.model, on=True):
        yield


@contextmanager
def without_products(_: loop.Training) -> Iterator[None]:
    with (
        runtime.reused_memory(),
        patch.object(fused, "SMALL_MAP", 0),
        patch.object(fused, "SMALL_MAP_BACKWARD", 0),
    ):
        yield


def without_memory(_: loop.Training) -> AbstractContextManager[None]:
    return nullcontext()


@contextmanager
def without_any(job: loop.Training) -> Iterator[None]:
    with layer_by_layer(job.model, on=True):
        yield


VARIANTS: dict[str, Variant] = {
    "all": all_of_them,
    "without kernels and products": without_kernels,
    "without products for small maps": without_products,
    "without reused memory": without_memory,
    "without any (PyTorch's layers)": without_any,
}

if __name__ == "__main__":
    main()
