"""Does Grad-CAM point at what counts? Deletion over the whole test split of a trained run.

    python benchmarks/grad_cam_deletion.py RUN

A fifth of each image's pixels is blacked out, and the mean probability of the true class taken: the
fifth that the map of the true class puts first, the fifth that the map of another image puts first
(of the same shape, in a place by chance), and a fifth of scattered pixels by chance.
"""

import sys
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from onecycle.engine.state import Training, load_model
from onecycle.interpret import grad_cam
from onecycle.run_dir import RunDir
from onecycle.training import prepare

SHARE = 0.2
BATCH = 250


def without(batch_BCHW: Tensor, order_BHW: Tensor, black_C11: Tensor) -> Tensor:
    """The images with the first `SHARE` of the pixels, by falling order, black."""
    flat_BP = order_BHW.flatten(1)
    count = round(SHARE * flat_BP.shape[1])
    first_BP = flat_BP.argsort(1, descending=True)[:, :count]
    mask_BP = torch.zeros_like(flat_BP).scatter(1, first_BP, 1.0).bool()
    return torch.where(mask_BP.view_as(order_BHW)[:, None], black_C11, batch_BCHW)


def batches(training: Training) -> Iterator[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng(0)
    order_N = rng.permutation(len(training.test))
    for start in range(0, len(order_N), BATCH):
        part = order_N[start : start + BATCH]
        labels_B = torch.from_numpy(training.test.labels_N[part]).to(training.device)
        yield training.test_batch(part), labels_B


def scores(training: Training, stage: str) -> dict[str, float]:
    """Mean probability of the true class, by what was blacked out."""
    generator = torch.Generator().manual_seed(0)
    mean, std = torch.tensor(training.batches.mean), torch.tensor(training.batches.std)
    black_C11 = (-mean / std)[:, None, None].to(training.device)
    sums: dict[str, float] = {}
    for batch_BCHW, labels_B in batches(training):
        maps_BHW = grad_cam(training.model, batch_BCHW, labels_B, stage=stage)
        noise_BHW = torch.rand(maps_BHW.shape, generator=generator).to(maps_BHW.device)
        shown = {
            "nothing": batch_BCHW,
            "map": without(batch_BCHW, maps_BHW, black_C11),
            "map of another image": without(batch_BCHW, maps_BHW.roll(1, 0), black_C11),
            "scattered pixels": without(batch_BCHW, noise_BHW, black_C11),
        }
        for name, images_BCHW in shown.items():
            with torch.no_grad():
                shares_BK = training.model.eval()(images_BCHW).softmax(1)
            own_B = shares_BK.gather(1, labels_B[:, None])
            sums[name] = sums.get(name, 0.0) + float(own_B.sum())
    return {name: total / len(training.test) for name, total in sums.items()}


def main(folder: str) -> None:
    run = RunDir.open(folder)
    training, _ = prepare(run.read_recipe())
    checkpoint = run.newest_checkpoint()
    if checkpoint is None:
        sys.exit(f"{folder}: has no checkpoint")
    load_model(training.model, checkpoint.tensors)
    print(f"{len(training.test):,} test images, {SHARE:.0%} of the pixels blacked out")
    for stage in ("layer1", "layer2", "layer3"):
        found = scores(training, stage)
        print(
            f"{stage}: " + ", ".join(f"{name} {100 * value:.1f} %" for name, value in found.items())
        )


if __name__ == "__main__":
    main(sys.argv[1])
