"""Lightning: a LightningModule and a Trainer stripped of logging, bars and checkpoints."""

from typing import Any

import lightning  # pyright: ignore[reportMissingImports]
import torch
from torch.nn import functional as F

from benchmarks.peers import torch_parts
from benchmarks.peers.turns import Turns
from benchmarks.peers.work import Setting, Work


class Module(lightning.LightningModule):
    def __init__(self, work: Work, setting: Setting) -> None:
        super().__init__()
        self.model = torch_parts.network(work, setting)
        self._work, self._setting = work, setting

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        batch_BCHW, labels_B = batch
        logits_BK = self.model(torch_parts.ordered(batch_BCHW, self._setting))
        return F.cross_entropy(logits_BK, labels_B)

    def configure_optimizers(self) -> Any:
        sgd, schedule = torch_parts.optimizer(self.model, self._work, self._setting)
        return [sgd], [{"scheduler": schedule, "interval": "step"}]


class TakeTurns(lightning.Callback):
    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, _: int):
        self._turns.after_step(outputs["loss"].detach(), len(batch[1]))


def train(work: Work, setting: Setting, turns: Turns) -> None:
    torch_parts.prepare(work, setting, turns)
    turns.about["lightning"] = lightning.__version__
    trainer = lightning.Trainer(
        accelerator=work.device,
        devices=1,
        precision="bf16-mixed" if setting.precision == "bf16" else "32-true",
        max_steps=work.total_steps,
        callbacks=[TakeTurns(turns)],
        barebones=True,  # no logger, bar, summary, sanity check or checkpoint
    )
    trainer.fit(Module(work, setting), torch_parts.loader(work, setting))
