"""The engine's training step against a plain PyTorch loop on the same network, measured in turn.

    python benchmarks/engine_against_plain_loop.py                 batch 512, width 1: some minutes
    python benchmarks/engine_against_plain_loop.py --width 0.25    quicker

Both train the custom ResNet in the same precision and channels_last, in one process whose freed
memory is kept. The plain loop gets one ready batch again and again, and does forward, backward and
SGD with PyTorch's layers, nothing else. The engine does all that a training does: shuffle, gather,
normalise, crop, flip, cutout, set the rates, log every step. The two take turns, so that a busy
machine slows both.
"""

import argparse
import platform
import statistics
import tempfile
import time
from datetime import date

import torch
from torch.nn import functional as F

import onecycle
from onecycle import loop, runtime, training
from onecycle.config import Recipe
from onecycle.run_dir import RunDir


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=4, help="steps of a turn")
    parser.add_argument("--turns", type=int, default=6, help="turns of each")
    options = parser.parse_args()
    recipe = Recipe(
        data="shapes",
        train_limit=options.batch_size * options.steps,
        test_limit=10,
        width=options.width,
        batch_size=options.batch_size,
        epochs=options.turns + 1,
        nesterov=True,
        weight_decay=5e-4,
        head_scale=0.125,
        lr_max=0.1,
        lr_min=0.01,
        lr_final=0.01,
    )
    engine, plain = [], []
    job, _ = training.prepare(recipe)
    with tempfile.TemporaryDirectory() as runs, runtime.reused_memory():
        run = RunDir.create(runs, job.recipe)
        for turn in range(options.turns + 1):
            speeds = images_per_second_plain(recipe, options.steps), one_turn(job, run, turn)
            if turn:  # the first one warms up
                plain.append(speeds[0])
                engine.append(speeds[1])
    report(plain, engine, job.recipe)


def one_turn(job: loop.Training, run: RunDir, turn: int) -> float:
    """Images per second of one epoch of the engine, evaluation and checkpoint left out."""
    steps = job.batches.steps_per_epoch
    readings = loop.Readings(job, run, onecycle.Progress())
    job.model.train()
    started = time.perf_counter()
    for step in range(turn * steps, (turn + 1) * steps):
        loop.do_step(job, step, readings)
    return steps * job.recipe.batch_size / (time.perf_counter() - started)


def images_per_second_plain(recipe: Recipe, steps: int) -> float:
    """Images per second of the plain loop on one ready batch."""
    device = runtime.resolve_device("auto")
    precision = runtime.resolve_precision("auto", device)
    model = onecycle.build("custom-resnet", classes=10, width=recipe.width)
    model = model.to(device=device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    for layer in model.modules():
        if isinstance(
            layer, torch.nn.ReLU
        ):  # a hook has each layer run by itself, as PyTorch has it
            layer.register_forward_hook(lambda *_: None)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    batch = torch.randn(recipe.batch_size, 3, 32, 32, device=device)
    batch = batch.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (recipe.batch_size,), device=device)
    started = time.perf_counter()
    for _ in range(steps):
        with runtime.autocast(device, precision):
            loss = F.cross_entropy(model(batch), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
    return steps * recipe.batch_size / (time.perf_counter() - started)


def report(plain: list[float], engine: list[float], recipe: Recipe) -> None:
    ratios = [e / p for e, p in zip(engine, plain, strict=True)]
    print(f"date       {date.today()}, torch {torch.__version__}, {platform.platform()}")
    print(f"device     {recipe.device}, {runtime.cpu_model()}, {torch.get_num_threads()} threads")
    print(f"work       width {recipe.width:g}, batch {recipe.batch_size}, {recipe.precision}")
    for name, values in (("plain loop", plain), ("engine", engine)):
        spread = statistics.stdev(values)
        print(f"{name:10} {statistics.median(values):7.0f} images/s (spread {spread:.0f})")
    middle, spread = statistics.median(ratios), statistics.stdev(ratios)
    print(f"ratio      {middle:7.3f} (spread {spread:.3f}, n = {len(ratios)} turns)")


if __name__ == "__main__":
    main()
