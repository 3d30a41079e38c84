"""The Trainer of Hugging Face transformers, without clipping, logs, bars and checkpoints."""

import tempfile
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (  # pyright: ignore[reportMissingImports]
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.peers import torch_parts
from benchmarks.peers.turns import Turns
from benchmarks.peers.work import Setting, Work


class WithLoss(nn.Module):
    """The Trainer wants the loss from the network. Counts what it is given."""

    def __init__(self, work: Work, setting: Setting) -> None:
        super().__init__()
        self.model = torch_parts.network(work, setting)
        self._setting = setting
        self.loss: Tensor | None = None
        self.images = 0

    def forward(self, pixel_values: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits_BK = self.model(torch_parts.ordered(pixel_values, self._setting))
        loss = F.cross_entropy(logits_BK, labels)
        self.loss, self.images = loss.detach(), len(labels)
        return {"loss": loss, "logits": logits_BK}


class TakeTurns(TrainerCallback):
    def __init__(self, turns: Turns, model: WithLoss) -> None:
        self._turns, self._model = turns, model

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._turns.after_step(self._model.loss, self._model.images)


def collate(pairs: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
    return {
        "pixel_values": torch.stack([image for image, _ in pairs]),
        "labels": torch.tensor([label for _, label in pairs]),
    }


def train(work: Work, setting: Setting, turns: Turns) -> None:
    torch_parts.prepare(work, setting, turns)
    model = WithLoss(work, setting)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            use_cpu=work.device == "cpu",
            bf16=setting.precision == "bf16",
            per_device_train_batch_size=work.batch_size,
            max_steps=work.total_steps,
            max_grad_norm=0.0,
            dataloader_num_workers=setting.workers,
            dataloader_persistent_workers=setting.workers > 0,
            dataloader_drop_last=True,
            remove_unused_columns=False,
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            data_collator=collate,
            train_dataset=torch_parts.dataset(work, setting),
            optimizers=torch_parts.optimizer(model, work, setting),
            callbacks=[TakeTurns(turns, model)],
        )
        trainer.train()
