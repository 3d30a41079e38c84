"""Hugging Face Accelerate: the textbook loop with its five lines changed."""

from accelerate import Accelerator  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F

from benchmarks.peers import torch_parts
from benchmarks.peers.turns import Turns
from benchmarks.peers.work import Setting, Work


def train(work: Work, setting: Setting, turns: Turns) -> None:
    torch_parts.prepare(work, setting, turns)
    half = setting.precision == "bf16"
    accelerator = Accelerator(mixed_precision="bf16" if half else "no", cpu=work.device == "cpu")
    model = torch_parts.network(work, setting)
    sgd, schedule = torch_parts.optimizer(model, work, setting)
    loader = torch_parts.loader(work, setting)
    model, sgd, loader, schedule = accelerator.prepare(model, sgd, loader, schedule)
    for batch_BCHW, labels_B in loader:
        batch_BCHW = torch_parts.ordered(batch_BCHW, setting)
        sgd.zero_grad()
        with accelerator.autocast():
            loss = F.cross_entropy(model(batch_BCHW), labels_B)
        accelerator.backward(loss)
        sgd.step()
        schedule.step()
        turns.after_step(loss.detach(), len(labels_B))
