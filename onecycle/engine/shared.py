"""The part of a step that several processes share: who takes which images, and their sums.

The global batch is cut into parts, as `micro_batch` cuts that of one process, and each process
takes some of them. Losses and gradients are divided by counts of the global batch, so their sums
over the processes are those of one process. Each part has its own batch-norm statistics, and the
running ones move part by part, in the order of the parts.

Shapes: B batch, C channels, H height, W width, K classes, F all that is summed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from onecycle.engine.state import Training
from onecycle.errors import InputError, ProcessLost
from onecycle.models.synchronized import SyncBatchNorm
from onecycle.run_dir import RunDir


class Part(NamedTuple):
    """A part of the global batch.

    Attributes:
        number: which one of all parts, from 0.
        batch_BCHW, labels_B: its images and labels.
        share: of the global mean loss.
    """

    number: int
    batch_BCHW: Tensor
    labels_B: Tensor
    share: Tensor | float


def own_parts(
    training: Training, step: int, batch_BCHW: Tensor, labels_B: Tensor
) -> Iterator[Part]:
    """The parts that this process takes.

    Args:
        training: has the batches.
        step: the step's index.
        batch_BCHW, labels_B: what `Batches.cut` gave this process.
    """
    batches, weights_K = training.batches, training.class_weights_K
    bounds = batches.bounds(step)
    total: Tensor | float = float(bounds[-1])
    if weights_K is not None:
        all_B = torch.from_numpy(batches.train.labels_N[batches.indices(step)])
        total = weights_K[all_B.to(weights_K.device)].sum()
    mine = batches.own(len(bounds) - 1)
    first = bounds[mine.start]
    for number in mine:
        part = slice(bounds[number] - first, bounds[number + 1] - first)
        weight = float(part.stop - part.start)
        if weights_K is not None:
            weight = weights_K[labels_B[part]].sum()
        yield Part(number, batch_BCHW[part], labels_B[part], weight / total)


class Exchange:
    """The sums of a step over all processes, in one exchange.

    It is a context for the passes through the network: if another process is lost, the running
    statistics are again those before the step.
    """

    def __init__(self, training: Training, step: int) -> None:
        batches = training.batches
        count = len(batches.bounds(step)) - 1
        own = batches.own(count)
        self._training = training
        self._all_norms = [
            _Norm(name, norm, count, own)
            for name, norm in training.model.named_modules()
            if isinstance(norm, _BatchNorm) and _is_moved(norm)
        ]
        self._norms = [norm for norm in self._all_norms if not norm.shared]
        self._others = _other_buffers(training.model) if training.unproven else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        if problem[0] is not None:
            for norm in self._all_norms:
                norm.restore()

    def sums(self, losses: Sequence[Tensor], hits: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Loss and hits of the global batch. All gradients and running statistics are its too.

        Args:
            losses, hits: of this process's parts.

        Raises:
            ProcessLost: another process is gone.
            InputError: the network keeps something that can't be merged.
        """
        training = self._training
        if training.unproven:
            self._prove()
        parameters = [p for p in training.model.parameters() if p.requires_grad]
        zero = torch.zeros((), device=training.device)
        present = [float(p.grad is not None) for p in parameters]
        pieces = [
            *(_dense(torch.zeros_like(p) if p.grad is None else p.grad, p) for p in parameters),
            *(moved for norm in self._norms for moved in norm.moved()),
            torch.tensor(present, device=training.device),
            torch.stack([sum(losses, zero), sum(hits, zero)]),
            training.processes.votes(training.device),
        ]
        flat_F = torch.cat([piece.reshape(-1).float() for piece in pieces])
        training.processes.sum_(flat_F)
        found = [
            part.view(piece.shape)
            for part, piece in zip(
                flat_F.split([piece.numel() for piece in pieces]), pieces, strict=True
            )
        ]
        _set_gradients(parameters, found, found[-3])
        moved = iter(found[len(parameters) : -3])
        for norm in self._norms:
            norm.merge(next(moved), next(moved))
        training.processes.heed(found[-1])
        loss, correct = found[-2]
        return loss, correct.round().long()

    def _prove(self) -> None:
        """Refuse, in the first step, what the processes would keep differently.

        Raises:
            InputError: naming it.
        """
        self._training.unproven = False
        for name, before in self._others.items():
            if not torch.equal(before, self._training.model.get_buffer(name)):
                raise InputError(
                    f"model: '{name}' changes in training and is no running statistic of a batch "
                    "norm, so several processes can't merge it; train in one process"
                )
        for norm in self._norms:
            norm.prove()


def _set_gradients(
    parameters: Sequence[nn.Parameter], sums: Sequence[Tensor], present: Tensor
) -> None:
    """Give each parameter its sum; one that no process has a gradient for stays without."""
    missing = [p.grad is None for p in parameters]
    wanted = present.tolist() if any(missing) else [1.0] * len(parameters)
    for parameter, total, count in zip(parameters, sums, wanted, strict=False):
        if count:
            if parameter.grad is None:
                parameter.grad = torch.empty_like(parameter)
            _dense(parameter.grad, parameter).copy_(total)


def _dense(tensor: Tensor, parameter: Tensor) -> Tensor:
    """A gradient's values in the memory order of its parameter."""
    last = parameter.ndim == 4 and parameter.is_contiguous(memory_format=torch.channels_last)
    return tensor.permute(0, 2, 3, 1) if last else tensor


# --------------------------------------------------------------------------- running statistics


class _Norm:
    """The running statistics of a batch norm in a step.

    Part by part, `r` becomes `keep * r + (1 - keep) * s`, `s` being the part's statistic. A process
    knows that of its own parts: what they added is `r - keep**own * r0`. Later parts shrink it.
    """

    def __init__(self, name: str, norm: _BatchNorm, count: int, own: range) -> None:
        self._name, self._norm, self._count, self._own = name, norm, count, own
        self._before = [buffer.clone() for buffer in _statistics(norm)]
        self._tracked = norm.num_batches_tracked.clone()  # pyright: ignore[reportOptionalMemberAccess]

    @property
    def shared(self) -> bool:
        """Whether all processes have the same statistics without merging them."""
        return isinstance(self._norm, SyncBatchNorm)

    def restore(self) -> None:
        """The statistics before the step."""
        with torch.no_grad():
            for buffer, before in zip(_statistics(self._norm), self._before, strict=True):
                buffer.copy_(before)
            self._norm.num_batches_tracked.copy_(self._tracked)  # pyright: ignore

    def prove(self) -> None:
        """Refuse a norm that does not run once in each pass.

        Raises:
            InputError: naming it.
        """
        runs = int(self._norm.num_batches_tracked - self._tracked)  # pyright: ignore
        if runs != len(self._own):
            raise InputError(
                f"model: batch norm '{self._name}' runs {runs} times in {len(self._own)} passes, "
                "so several processes can't merge its statistics; train in one process"
            )

    @torch.no_grad()
    def moved(self) -> list[Tensor]:
        """What this process's parts have added to mean and variance, seen after the last part."""
        kept = self._kept(len(self._own), 0)
        later = self._kept(self._count - self._own.stop, len(self._own))
        return [
            (later * (now.double() - kept * before.double())).float()
            for now, before in zip(_statistics(self._norm), self._before, strict=True)
        ]

    @torch.no_grad()
    def merge(self, *added: Tensor) -> None:
        """Set what all parts together give.

        Args:
            added: the sums of `moved` over all processes.
        """
        kept = self._kept(self._count, 0)
        pairs = zip(_statistics(self._norm), self._before, added, strict=True)
        for buffer, before, sum_C in pairs:
            buffer.copy_(kept * before.double() + sum_C.double())
        self._norm.num_batches_tracked.copy_(self._tracked + self._count)  # pyright: ignore

    def _kept(self, parts: int, after: int) -> float:
        """The factor by which so many parts shrink what was there.

        `after`: how many parts there have been before. It matters to a plain average only.
        """
        momentum = self._norm.momentum
        if momentum is not None:
            return (1 - momentum) ** parts
        there = int(self._tracked) + after
        return there / (there + parts) if there + parts else 0.0


def _is_moved(norm: _BatchNorm) -> bool:
    """Whether a step moves its running statistics."""
    return norm.training and norm.track_running_stats and norm.running_mean is not None


def _statistics(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


def _other_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the buffers that are not of a batch norm."""
    norms = {name for name, norm in model.named_modules() if isinstance(norm, _BatchNorm)}
    return {
        name: buffer.clone()
        for name, buffer in model.named_buffers()
        if name.rpartition(".")[0] not in norms
    }


# ------------------------------------------------------------------------------------- when lost


@contextmanager
def saved_if_lost(training: Training, run: RunDir) -> Iterator[None]:
    """Save what is done when another process is lost: the state after the last whole step.

    A GPU may wait for the lost process forever, so nothing is read from one.
    """
    try:
        yield
    except ProcessLost:
        if training.device.type == "cpu" and training.state.step:
            run.save_checkpoint(training.checkpoint())
        raise
