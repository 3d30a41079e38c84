"""The convolutions on AMX against oneDNN's, layer by layer, in turns.

    python -m benchmarks.convolutions                     batch 512, full width: half a minute
    python -m benchmarks.convolutions --batch-size 32

For each layer of the custom ResNet after the first: the gradient of its weights, its forward pass
and the gradient of its input, in GFLOP/s of the products that a plain convolution takes (ours
leaves those beyond the border out), and how many times as fast ours is, turn by turn.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from onecycle import runtime
from onecycle.kernels import amx
from onecycle.models.resnet import BASE_CHANNELS

Work = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--turns", type=int, default=10)
    options = parser.parse_args()
    convolutions = amx.find()
    if isinstance(convolutions, str):
        print(f"nothing to measure: {convolutions}")
        return
    print(f"machine  {runtime.cpu_model()}, {torch.get_num_threads()} threads")
    print(f"work     width {options.width:g}, batch {options.batch_size}, {options.turns} turns")
    print("\nlayer                work                  oneDNN    ours   ratio (quartiles)")
    prep, one, two, three = (round(options.width * base) for base in BASE_CHANNELS)
    with runtime.reused_memory():
        for inputs, outputs, side in (
            (prep, one, 32), (one, one, 16), (one, two, 16), (two, three, 8), (three, three, 4)
        ):  # fmt: skip
            operations = 2 * 9 * inputs * outputs * side**2 * options.batch_size
            for name, pair in works(convolutions, options.batch_size, inputs, outputs, side):
                layer = f"{inputs} to {outputs}, {side} x {side}"
                print(f"{layer:20} {name:20} {compared(*pair, operations, options.turns)}")


def works(
    convolutions: amx.Convolutions, batch: int, inputs: int, outputs: int, side: int
) -> list[tuple[str, tuple[Work, Work]]]:
    """Each computation by its name, oneDNN's and ours."""
    x = activations(batch, inputs, side)
    gradient, weight = activations(batch, outputs, side), activations(outputs, inputs, 3)
    return [
        (
            "gradient of weights",
            (
                lambda: backward(gradient, x, weight, of_weight=True),
                lambda: convolutions.weight_gradient(x, gradient),
            ),
        ),
        (
            "forward",
            (lambda: F.conv2d(x, weight, padding=1), lambda: convolutions.convolve(x, weight)),
        ),
        (
            "gradient of input",
            (
                lambda: backward(gradient, x, weight, of_weight=False),
                lambda: convolutions.convolve(gradient, weight, mirrored=True),
            ),
        ),
    ]


def activations(batch: int, channels: int, side: int) -> Tensor:
    values = torch.randn(batch, channels, side, side)
    return values.to(torch.bfloat16, memory_format=torch.channels_last)


def backward(gradient: Tensor, x: Tensor, weight: Tensor, *, of_weight: bool) -> object:
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1,
        [not of_weight, of_weight, False],
    )  # fmt: skip


def compared(theirs: Work, ours: Work, operations: int, turns: int) -> str:
    pairs = [(seconds(theirs), seconds(ours)) for _ in range(turns + 1)][1:]
    rates = [operations / statistics.median(times) / 1e9 for times in zip(*pairs, strict=True)]
    low, middle, high = statistics.quantiles([one / two for one, two in pairs], n=4)
    return f"{rates[0]:8.0f}{rates[1]:8.0f} {middle:7.2f} ({low:.2f} to {high:.2f})"


def seconds(work: Work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
