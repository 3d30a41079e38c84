"""Whether PyTorch does more than compute: modes, levels, transforms, tracing, compiling."""

import torch
from torch import overrides
from torch.autograd import forward_ad
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import is_in_torch_dispatch_mode


def active() -> bool:
    """Whether anything must see, replace or differentiate the single operations.

    `torch.device` as a context, or as the default device, only decides where new tensors go.
    """
    return (
        torch.compiler.is_compiling()  # first, so that nothing below is compiled
        or is_in_torch_dispatch_mode()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        or (torch._C._len_torch_function_stack() > 0 and _has_function_mode())
    )


def _has_function_mode() -> bool:
    modes = overrides._get_current_function_mode_stack()
    return any(type(mode) is not DeviceContext for mode in modes)
