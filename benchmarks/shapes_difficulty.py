"""How fast the shapes are drawn, and how hard they are: for a linear model and a convolutional one.

    python benchmarks/shapes_difficulty.py                    all three, 3 seeds: some minutes
    python benchmarks/shapes_difficulty.py --seeds 0          drawing and the linear model alone
    python benchmarks/shapes_difficulty.py --lr-max 0.5       at a given rate, without range tests

The linear model is multinomial logistic regression on standardised pixels, fitted by L-BFGS on all
10,000 training images. Its L2 penalty is the best of a ladder by 2,000 of them held back; the test
images choose nothing. The convolutional model is the recipe `demo`, trained once per seed.

Shapes: N images, D values of an image, K classes.
"""

import argparse
import statistics
import tempfile
import time

import torch
from torch import Tensor
from torch.nn import functional as F

import onecycle
from onecycle.data import shapes

PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)
HELD_BACK = 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of the demo recipe")
    parser.add_argument("--lr-max", type=float, help="peak rate; default: found by range tests")
    options = parser.parse_args()

    print("| measured | result |\n|---|---|")
    train, test = draw()
    linear(train, test)
    convolutional(options.seeds, options.lr_max)


def draw() -> tuple[onecycle.ImageSet, onecycle.ImageSet]:
    """Draw the set, which NumPy does on one core, and print how long that took."""
    cpu, wall = time.process_time(), time.perf_counter()
    train, test = shapes.load()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    count = len(train) + len(test)
    print(f"| drawing {count:,} images | {wall:.2f} s ({cpu:.2f} s of one core) |", flush=True)
    return train, test


def linear(train: onecycle.ImageSet, test: onecycle.ImageSet) -> None:
    """Choose the penalty, fit on all training images, and print the test accuracy."""
    inputs_ND, labels_N = tensors(train)
    mean_D, std_D = inputs_ND.mean(dim=0), inputs_ND.std(dim=0)
    inputs_ND = (inputs_ND - mean_D) / std_D
    fitting, held = slice(0, -HELD_BACK), slice(-HELD_BACK, None)
    scores = {}
    for penalty in PENALTIES:
        weights = fit(inputs_ND[fitting], labels_N[fitting], penalty)
        scores[penalty] = accuracy(weights, inputs_ND[held], labels_N[held])
    best = max(scores, key=scores.__getitem__)
    weights = fit(inputs_ND, labels_N, best)
    test_ND, test_labels_N = tensors(test)
    reached = accuracy(weights, (test_ND - mean_D) / std_D, test_labels_N)
    seen = accuracy(weights, inputs_ND, labels_N)
    print(
        f"| linear model, L2 penalty {best:g} | test accuracy {reached:.3f} (train {seen:.3f}) |",
        flush=True,
    )


def tensors(images: onecycle.ImageSet) -> tuple[Tensor, Tensor]:
    inputs_ND = torch.from_numpy(images.images_NHWC).flatten(1).float() / 255
    return inputs_ND, torch.from_numpy(images.labels_N)


def fit(inputs_ND: Tensor, labels_N: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights K D and biases K that minimise cross-entropy + penalty * squared weights."""
    classes = len(shapes.CLASSES)
    weights_KD = torch.zeros(classes, inputs_ND.shape[1], requires_grad=True)
    biases_K = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights_KD, biases_K], max_iter=200, line_search_fn="strong_wolfe"
    )

    def objective() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(F.linear(inputs_ND, weights_KD, biases_K), labels_N)
        loss = loss + penalty * weights_KD.square().sum()
        loss.backward()
        return loss.item()

    optimizer.step(objective)
    return weights_KD.detach(), biases_K.detach()


def accuracy(weights: tuple[Tensor, Tensor], inputs_ND: Tensor, labels_N: Tensor) -> float:
    return float((F.linear(inputs_ND, *weights).argmax(dim=1) == labels_N).float().mean())


def convolutional(seeds: int, lr_max: float | None) -> None:
    """Train the demo recipe once per seed and print each test accuracy, mean and spread."""
    rates = {} if lr_max is None else {"lr_max": lr_max, "lr_min": lr_max / 10}
    reached = []
    for seed in range(seeds):
        recipe = onecycle.override(onecycle.named("demo").recipe, seed=seed, **rates)
        with tempfile.TemporaryDirectory() as runs:
            result = onecycle.train(recipe, runs=runs).result
        reached.append(result["test_accuracy"])
        print(
            f"| demo, seed {seed}, lr_max {result['lr_max']:.3g}, {result['precision']} | test "
            f"accuracy {reached[-1]:.4f} in {result['train_seconds']:.0f} s of training |",
            flush=True,
        )
    if seeds > 1:
        mean, spread = statistics.mean(reached), statistics.stdev(reached)
        print(f"| demo, mean ± standard deviation, n = {seeds} | {mean:.4f} ± {spread:.4f} |")


if __name__ == "__main__":
    main()
