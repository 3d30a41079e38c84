"""The loop of PyTorch's own tutorials, in fp32 or under bf16 autocast."""

from contextlib import nullcontext

import torch
from torch.nn import functional as F

from benchmarks.peers import torch_parts
from benchmarks.peers.turns import Turns
from benchmarks.peers.work import Setting, Work


def train(work: Work, setting: Setting, turns: Turns) -> None:
    torch_parts.prepare(work, setting, turns)
    model = torch_parts.network(work, setting)
    sgd, schedule = torch_parts.optimizer(model, work, setting)
    half = setting.precision == "bf16"
    precision = torch.autocast(work.device, dtype=torch.bfloat16) if half else nullcontext()
    for batch_BCHW, labels_B in torch_parts.loader(work, setting):
        batch_BCHW = batch_BCHW.to(work.device, non_blocking=True)
        batch_BCHW = torch_parts.ordered(batch_BCHW, setting)
        labels_B = labels_B.to(work.device, non_blocking=True)
        sgd.zero_grad()
        with precision:
            loss = F.cross_entropy(model(batch_BCHW), labels_B)
        loss.backward()
        sgd.step()
        schedule.step()
        turns.after_step(loss.detach(), len(labels_B))
