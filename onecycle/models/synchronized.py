"""Batch norm whose statistics are those of all processes' images.

PyTorch's SyncBatchNorm refuses tensors on the CPU.

Shapes: B batch, C channels, R all other axes in a row.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from onecycle.errors import InputError
from onecycle.processes.group import SINGLE, Processes

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _Together:
    """The processes whose images count. A network holds no reference to them, so it can be copied.

    `processes`: those of the latest network that was given shared norms.
    """

    processes: Processes = SINGLE


class SyncBatchNorm(_BatchNorm):
    """A batch norm that, in training, takes mean and variance over all processes.

    Each process must run it equally often, and with one image or more. The moments are summed in
    float64 by one exchange forward and one backward.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        """The normalised batch, in the type of `input`: B C or B C R…"""
        if not self.training:
            return super().forward(input)
        values = input.float()
        others = [axis for axis in range(input.ndim) if axis != 1]
        variance_C, mean_C = torch.var_mean(values, others, correction=0)
        rows = values.numel() // values.shape[1]
        mean_C, variance_C = mean_C.double(), variance_C.double()
        own = [mean_C * rows, (variance_C + mean_C**2) * rows, torch.full_like(mean_C, rows)]
        first_C, second_C, rows_C = _Sum.apply(torch.stack(own))
        mean_C = first_C / rows_C
        variance_C = second_C / rows_C - mean_C**2
        self._move(mean_C.detach(), variance_C.detach(), rows_C.detach())
        shape = [1, -1] + [1] * (input.ndim - 2)
        scale_C = torch.rsqrt(variance_C.clamp(min=0) + self.eps).float()
        output = (values - mean_C.float().view(shape)) * scale_C.view(shape)
        if self.affine:
            output = output * self.weight.view(shape) + self.bias.view(shape)
        return output.to(input.dtype)

    @torch.no_grad()
    def _move(self, mean_C: Tensor, variance_C: Tensor, rows_C: Tensor) -> None:
        """Update the running statistics, the variance unbiased."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = self.momentum
        if share is None:
            share = 1 / int(self.num_batches_tracked)
        self.running_mean.lerp_(mean_C.float(), share)
        unbiased_C = variance_C * (rows_C / (rows_C - 1).clamp(min=1))
        self.running_var.lerp_(unbiased_C.float(), share)


class _Sum(torch.autograd.Function):
    """The sum over all processes. Its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        return _Together.processes.sum_(own.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Together.processes.sum_(gradients[0].clone().contiguous())


def synchronize(model: nn.Module, processes: Processes) -> None:
    """Replace all batch norms of a network by those over all processes. Weights and names stay.

    Raises:
        InputError: one is of a class of its own.
    """
    _Together.processes = processes
    for path, module in list(model.named_modules()):
        for name, child in list(module.named_children()):
            if not isinstance(child, _BatchNorm):
                continue
            if type(child) not in NORMS:
                raise InputError(
                    f"sync_batch_norm: '{'.'.join(filter(None, (path, name)))}' is a "
                    f"{type(child).__name__}, not PyTorch's batch norm; leave it off"
                )
            setattr(module, name, _synchronized(child))


def _synchronized(norm: _BatchNorm) -> SyncBatchNorm:
    shared = SyncBatchNorm(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
    )
    shared._parameters, shared._buffers = norm._parameters, norm._buffers
    shared.training = norm.training
    return shared
