"""The parts that all trainers on PyTorch share: network, loader, SGD and the one-cycle policy."""

import random
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader

from benchmarks.peers.network import PlainResNet
from benchmarks.peers.transforms import AugmentedImages
from benchmarks.peers.turns import Turns
from benchmarks.peers.work import (
    LR_MAX,
    LR_MIN,
    MOMENTUM,
    PEAK_SHARE,
    WEIGHT_DECAY,
    Setting,
    Work,
    load,
)  # fmt: skip


def prepare(work: Work, setting: Setting, turns: Turns) -> None:
    """Threads, seed, and what a turn waits for."""
    torch.manual_seed(0)
    random.seed(0)
    if setting.threads:
        torch.set_num_threads(setting.threads)
    if work.device == "cuda":
        turns.synchronize = torch.cuda.synchronize
    turns.about = {"torch": torch.__version__, "threads": torch.get_num_threads()}


def network(work: Work, setting: Setting) -> nn.Module:
    """The plain network on its device, in the setting's memory order, compiled if asked for."""
    classes, channels = _sizes(work)
    model = PlainResNet(classes, channels, work.width).to(work.device)
    if setting.channels_last:
        model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    model.train()
    return torch.compile(model) if setting.compiled else model  # pyright: ignore[reportReturnType]


def _sizes(work: Work) -> tuple[int, int]:
    images = load(work.folder)
    return images.classes, len(images.mean)


def dataset(work: Work, setting: Setting) -> AugmentedImages:
    return AugmentedImages(load(work.folder), setting.transforms, work.epoch_images)


def loader(work: Work, setting: Setting) -> DataLoader[Any]:
    """Shuffled batches; workers stay between epochs, and memory is pinned for a GPU."""
    return DataLoader(
        dataset(work, setting),  # pyright: ignore[reportArgumentType] - it has the two methods
        batch_size=work.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=setting.workers,
        persistent_workers=setting.workers > 0,
        pin_memory=work.device == "cuda",
    )


def ordered(batch_BCHW: Tensor, setting: Setting) -> Tensor:
    """The batch in the setting's memory order."""
    order = torch.channels_last if setting.channels_last else torch.contiguous_format
    return batch_BCHW.contiguous(memory_format=order)


def optimizer(model: nn.Module, work: Work, setting: Setting) -> tuple[SGD, OneCycleLR]:
    """SGD with Nesterov momentum, and its rate, which changes after every batch."""
    sgd = SGD(
        model.parameters(),
        lr=LR_MIN,
        momentum=MOMENTUM,
        nesterov=True,
        weight_decay=WEIGHT_DECAY,
        fused=setting.fused or None,
    )
    schedule = OneCycleLR(
        sgd,
        max_lr=LR_MAX,
        total_steps=work.total_steps,
        pct_start=PEAK_SHARE,
        anneal_strategy="linear",
        cycle_momentum=False,
        div_factor=LR_MAX / LR_MIN,
        final_div_factor=1.0,
    )
    return sgd, schedule
