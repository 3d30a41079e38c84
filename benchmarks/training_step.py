"""Where the time of a training step goes: by stage, and by layer against what the machine can do.

    python benchmarks/training_step.py                    batch 512, full width: two minutes
    python benchmarks/training_step.py --micro-batch 128

First the machine: the bf16 (or fp32) rate of a 4096 x 4096 x 4096 matrix product, and the bandwidth
of copying memory. Then the step, in turns with that product, so that both meet the same neighbours
and the same clock: its images per second and its share of the product's rate. Then its stages, and
the layers one by one: operations per second of each convolution, forward and backward, and bytes
per second of the passes between them.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from onecycle import optim, runtime, training
from onecycle.config import Recipe
from onecycle.engine import loop
from onecycle.engine.state import Training
from onecycle.kernels import state
from onecycle.models import fused
from onecycle.models.resnet import ConvBlock
from onecycle.models.summary import summarize

SIDE = 4096
"""Of the matrices whose product is the machine's rate."""


def main() -> None:
    options = arguments()
    job = prepared(options)
    with runtime.reused_memory():
        machine = Machine.measured(job.recipe.precision)
        machine.tell(job)
        whole_step(job, options.turns)
        stages(job, options.turns)
        layers(job, machine, options.turns)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--micro-batch", type=int, default=0)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--turns", type=int, default=12, help="repeats of everything")
    return parser.parse_args()


def prepared(options: argparse.Namespace) -> Training:
    recipe = Recipe(
        data="shapes", train_limit=2 * options.batch_size, test_limit=10, epochs=10,
        batch_size=options.batch_size, micro_batch=options.micro_batch, width=options.width,
        nesterov=True, weight_decay=5e-4, head_scale=0.125, lr_max=0.1, lr_min=0.01, lr_final=0.01,
    )  # fmt: skip
    job, _ = training.prepare(recipe)
    job.model.train()
    optim.set_rates(job.optimizer, 0.01, 0.9)
    return job


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def repeated(work: Callable[[], object], turns: int) -> list[float]:
    work()
    return [seconds(work) for _ in range(turns)]


@dataclass
class Machine:
    """What this machine does at best: operations and bytes per second, in giga."""

    product: float
    copy: float

    @classmethod
    def measured(cls, precision: str) -> "Machine":
        source = torch.ones(2**26)
        target = torch.empty_like(source)
        copy = min(repeated(lambda: target.copy_(source), 8))
        product = min(repeated(matrix_product(precision), 8))
        return cls(2 * SIDE**3 / product / 1e9, 2 * source.nbytes / copy / 1e9)

    def tell(self, job: Training) -> None:
        recipe = job.recipe
        threads = torch.get_num_threads()
        print(f"machine    {runtime.cpu_model()}, {threads} threads, torch {torch.__version__}")
        print(f"kernels    {state(job.device, recipe.precision)}")
        print(f"product    {self.product:.0f} GFLOP/s at best ({recipe.precision}, {SIDE}^3)")
        print(f"copy       {self.copy:.0f} GB/s at best, read and written")
        parts = f", micro-batches of {recipe.micro_batch}" if recipe.micro_batch else ""
        print(f"work       width {recipe.width:g}, batch {recipe.batch_size}{parts}")


def matrix_product(precision: str) -> Callable[[], Tensor]:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    one, two = torch.randn(SIDE, SIDE).to(dtype), torch.randn(SIDE, SIDE).to(dtype)
    return lambda: one @ two


def whole_step(job: Training, turns: int) -> None:
    """The step with everything, and the plain layers' step, each beside a matrix product."""
    product = matrix_product(job.recipe.precision)
    operations = operations_per_image(job) * job.batches.batch_size
    found: dict[str, list[float]] = {"engine": [], "layers": []}
    shares: dict[str, list[float]] = {"engine": [], "layers": []}
    for turn in range(turns + 1):
        for name in found:
            with layer_by_layer(job.model, on=name == "layers"):
                step = seconds(lambda: training_step(job, turn))  # noqa: B023 - called at once
            rate = 2 * SIDE**3 / seconds(product)
            if turn:
                found[name].append(job.batches.batch_size / step)
                shares[name].append(operations / step / rate)
    print("\nthe whole step, augmentation and optimizer included")
    for name, speeds in found.items():
        print(
            f"  {name:8} {statistics.median(speeds):5.0f} images/s (best {max(speeds):.0f}), "
            f"{statistics.median(shares[name]):4.0%} of the product's rate "
            f"(quartiles {quartiles(shares[name])})"
        )
    ratios = [one / two for one, two in zip(found["engine"], found["layers"], strict=True)]
    print(
        f"  ratio    {statistics.median(ratios):.2f} (quartiles {quartiles(ratios)}, n = {turns})"
    )


def quartiles(values: list[float]) -> str:
    low, _, high = statistics.quantiles(values, n=4)
    return f"{low:.2f} to {high:.2f}"


def training_step(job: Training, step: int) -> None:
    batch_BCHW, labels_B = job.batches.cut(step)
    loop.train_step(job.model, job.optimizer, batch_BCHW, labels_B, job.recipe)[0].item()


def operations_per_image(job: Training) -> float:
    """Forward, and twice as much backward; two per multiply-accumulate."""
    return 6.0 * summarize(job.model, job.batches.train.image_shape).macs


@contextmanager
def layer_by_layer(model: nn.Module, *, on: bool) -> Iterator[None]:
    """Let each layer run by itself, as PyTorch has it: a hook on a layer makes its block do so."""
    relus = [layer for layer in model.modules() if isinstance(layer, nn.ReLU)] if on else []
    hooks = [relu.register_forward_hook(lambda *_: None) for relu in relus]
    yield
    for hook in hooks:
        hook.remove()


def stages(job: Training, turns: int) -> None:
    recipe, model = job.recipe, job.model
    batch_BCHW, labels_B = job.batches.cut(0)
    times: dict[str, list[float]] = {}

    def note(name: str, started: float) -> float:
        now = time.perf_counter()
        times.setdefault(name, []).append(now - started)
        return now

    for turn in range(turns + 1):
        at = time.perf_counter()
        batch_BCHW, labels_B = job.batches.cut(turn)
        at = note("gather, augment, normalise", at)
        with runtime.autocast(job.device, recipe.precision):
            logits_BK = model(batch_BCHW).float()
        at = note("forward", at)
        loss = optim.mean_loss(logits_BK, labels_B)
        loss.backward()
        at = note("backward", at)
        job.optimizer.step()
        job.optimizer.zero_grad(set_to_none=True)
        at = note("optimizer", at)
        loss.item()
        (logits_BK.argmax(1) == labels_B).sum().item()
        note("readings", at)
    total = sum(statistics.median(values[1:]) for values in times.values())
    print("\nstages (of one batch, no micro-batches), medians")
    for name, values in times.items():
        median = statistics.median(values[1:])
        print(f"  {name:28} {median * 1e3:8.1f} ms {median / total:6.1%}")


def layers(job: Training, machine: Machine, turns: int) -> None:
    """Every block's convolution and what follows it, forward and backward, by themselves."""
    size = job.recipe.micro_batch or job.batches.batch_size
    print(f"\nlayers, {size} images, best of {turns}: convolutions in GFLOP/s and of the product's")
    print("rate, the passes after them in GB/s (each byte read or written counted once)")
    print("  block                 conv forward    conv backward   rest forward   rest backward")
    for name, block, batch_BCHW in blocks(job, size):
        kernels = fused.kernels_for(block, batch_BCHW)
        if kernels is None:
            print(f"  {name:20} is left to PyTorch's layers")
            continue
        print(f"  {name:20} {measured(block, batch_BCHW, kernels, machine, turns)}")


def blocks(job: Training, size: int) -> Iterator[tuple[str, ConvBlock, Tensor]]:
    """Each block with an input of its shape, in the training's precision."""
    found: list[tuple[str, ConvBlock, Tensor]] = []

    def recorder(name: str, block: ConvBlock) -> RemovableHandle:
        return block.register_forward_pre_hook(
            lambda _, inputs: found.append((name, block, inputs[0].detach()))
        )

    named = job.model.named_modules()
    hooks = [recorder(name, block) for name, block in named if isinstance(block, ConvBlock)]
    height, width, channels = job.batches.train.image_shape
    batch_BCHW = torch.randn(size, channels, height, width)
    with runtime.autocast(job.device, job.recipe.precision):
        job.model(batch_BCHW.contiguous(memory_format=torch.channels_last))
    for hook in hooks:
        hook.remove()
    yield from found


def measured(
    block: ConvBlock, batch_BCHW: Tensor, kernels: fused.Kernels, machine: Machine, turns: int
) -> str:
    batch_BCHW = batch_BCHW.to(kernels.dtype).requires_grad_(batch_BCHW.shape[1] > 3)
    low = torch.autocast("cpu", dtype=torch.bfloat16, enabled=kernels.dtype == torch.bfloat16)
    with low:
        forward = min(repeated(lambda: fused.conv3x3(batch_BCHW, block.conv, kernels), turns))
        before = fused.conv3x3(batch_BCHW, block.conv, kernels)
        wanted = [t for t in (batch_BCHW, block.conv.weight) if t.requires_grad]
        gradient = torch.randn_like(before)
        backward = gradients(before, wanted, gradient, turns)
        before = before.detach().requires_grad_()
        rest = min(repeated(lambda: norm_relu(before, block, kernels), turns))
        after = norm_relu(before, block, kernels)
        rest_back = gradients(after, [before], torch.randn_like(after), turns)
    flops = 2 * before.numel() * block.conv.weight[0].numel()
    whole, pooled = before.nbytes, after.nbytes
    # Forward: read for the sums, read and write to normalize; pooling reads the whole and writes
    # the maximum and its place. Backward: gradient and input twice, and the input's gradient.
    places = pooled // after.element_size() if block.pools else 0
    read = 3 * pooled + (whole + pooled + places if block.pools else 0)
    written = 4 * pooled + whole + places
    return (
        f"{flops / forward / 1e9:6.0f} {flops / forward / 1e9 / machine.product:5.0%}"
        f"{flops * len(wanted) / backward / 1e9:10.0f} "
        f"{flops * len(wanted) / backward / 1e9 / machine.product:5.0%}"
        f"{read / rest / 1e9:9.0f} {rest * 1e3:5.1f} ms{written / rest_back / 1e9:8.0f} "
        f"{rest_back * 1e3:5.1f} ms"
    )


def norm_relu(before: Tensor, block: ConvBlock, kernels: fused.Kernels) -> Tensor:
    return fused.norm_relu(before, block.norm, kernels, pool=block.pools)


def gradients(output: Tensor, inputs: list[Tensor], gradient: Tensor, turns: int) -> float:
    def work() -> None:
        torch.autograd.grad(output, inputs, gradient, retain_graph=True)

    return min(repeated(work, turns))


if __name__ == "__main__":
    main()
