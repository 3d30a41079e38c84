"""What each method suggests for a problem: ours, torch-lr-finder's and Lightning's."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from benchmarks.lr_finder_regret.trainings import Bench
from onecycle import optim, runtime
from onecycle.engine import loop
from onecycle.engine.plan import AtStep, momentum_at_peak
from onecycle.engine.state import Training
from onecycle.lr_finder import LRCurve, lr_range_test

REPEATS = 3
"""Range tests of every library, each from another initialization and with other batches."""

PEER_START = 1e-7
"""The optimizer's rate when torch-lr-finder begins, as in its documentation."""


def curves(bench: Bench) -> list[LRCurve]:
    """Our range tests, as `onecycle find-lr` runs them."""
    return [_curve(bench, seed) for seed in range(REPEATS)]


def _curve(bench: Bench, seed: int) -> LRCurve:
    trial = _trial(bench, seed)
    recipe = trial.recipe

    def step(index: int) -> Tensor:
        lr = trial.optimizer.param_groups[0]["lr"]
        return loop.step(trial, index, AtStep(lr, momentum_at_peak(trial.recipe))).loss

    trial.model.train()
    return lr_range_test(
        trial.model,
        trial.optimizer,
        step=step,
        steps=int(recipe.lr_steps),
        lr_start=recipe.lr_start,
        lr_end=recipe.lr_end,
        batch_size=trial.batches.batch_size,
    )


def torch_lr_finder(bench: Bench) -> list[float]:
    """The suggestions of torch-lr-finder (github.com/davidtvs/pytorch-lr-finder), its defaults."""
    from torch_lr_finder import LRFinder  # pyright: ignore[reportMissingImports]

    found = []
    for seed in range(REPEATS):
        trial = _trial(bench, seed, lr=PEER_START)
        finder = LRFinder(trial.model, trial.optimizer, nn.CrossEntropyLoss(), device="cpu")
        with _quiet():
            finder.range_test(_loader(trial), end_lr=10, num_iter=100)
            found.append(float(finder.plot(suggest_lr=True)[1]))
    return found


def lightning(bench: Bench) -> list[float]:
    """The suggestions of Lightning's tuner, its defaults."""
    import lightning as L  # pyright: ignore[reportMissingImports]
    from lightning.pytorch.tuner import Tuner  # pyright: ignore[reportMissingImports]

    class Module(L.LightningModule):
        def __init__(self, trial: Training) -> None:
            super().__init__()
            self.trial, self.network, self.lr = trial, trial.model, PEER_START

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            return F.cross_entropy(self.network(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            for group in self.trial.optimizer.param_groups:
                group["lr"] = self.lr
            return self.trial.optimizer

    found = []
    for seed in range(REPEATS):
        trial = _trial(bench, seed)
        with _quiet(), tempfile.TemporaryDirectory() as folder:
            trainer = L.Trainer(
                accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=1000,
                enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
            )  # fmt: skip
            finder = Tuner(trainer).lr_find(Module(trial), _loader(trial))
            suggestion = finder.suggestion() if finder else None
        if suggestion is not None:
            found.append(float(suggestion))
    return found


def _trial(bench: Bench, seed: int, lr: float = 0.0) -> Training:
    """A training apart from the grid's, its optimizer at `lr` and the recipe's momentum."""
    trial = bench.training(1.0, runtime.seed_of(seed, "range test") % 2**31)
    optim.set_rates(trial.optimizer, lr, momentum_at_peak(trial.recipe))
    return trial


class _Steps(Dataset[tuple[Tensor, Tensor]]):
    """The training's own batches, ready made, as other libraries want them."""

    def __init__(self, trial: Training, steps: int) -> None:
        self._batches, self._steps = trial.batches, steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index >= self._steps:
            raise IndexError(index)
        return self._batches.cut(index)


def _loader(trial: Training) -> DataLoader[tuple[Tensor, Tensor]]:
    return DataLoader(_Steps(trial, int(trial.recipe.lr_steps)), batch_size=None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' own figures, bars and advice off the screen."""
    import matplotlib

    matplotlib.use("agg")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        with contextlib.redirect_stderr(io.StringIO()):
            yield
