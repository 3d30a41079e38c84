"""The check of a network of the user's own, before it is trained on any image.

Each thing that would fail later, or break a promise without a word, is one line. Everything is
found by what the network does on a few images of the size of the training: nothing is guessed from
the names of its layers.

Shapes: B batch, C channels, H height, W width, K classes.
"""

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onecycle import runtime
from onecycle.errors import InputError
from onecycle.models.architecture import Architecture
from onecycle.models.summary import summarize
from onecycle.writing.numbers import counted

IMAGES = 3
"""Images of a batch: few, and more than batch norm needs."""

RATE = 1e-3
"""Of the steps of plain gradient descent between two checks of what a network keeps."""

CLOSE = 1e-3
"""Largest relative difference in an image's logits that another batch may make: by rounding."""

Make = Callable[[], nn.Module]
"""Builds the network anew, always with the same weights."""

Run = Callable[[nn.Module, Tensor], Any]
"""Runs a network on a copy of a batch, in the precision of the training."""


def check(
    architecture: Architecture,
    make: Make,
    shape: tuple[int, int, int],
    classes: int,
    precision: str = "fp32",
) -> None:
    """Refuse a network that can't be trained, evaluated or resumed as promised.

    The global random state does not change.

    Args:
        architecture: the user's code.
        make: builds the network on the CPU, with the weights of the training's seed.
        shape: height, width and channels of the images.
        classes: K.
        precision: `fp32` or `bf16`, in which it is run.

    Raises:
        InputError: the network can't be used; the message says why, and what to do.
    """
    height, width, channels = shape
    draw = torch.Generator().manual_seed(0)
    images_BHWC = torch.randn(IMAGES, height, width, channels, generator=draw)
    batch_BCHW = images_BHWC.permute(0, 3, 1, 2)  # in memory as the batches of a training

    def run(model: nn.Module, batch_BCHW: Tensor) -> Any:
        with runtime.autocast(torch.device("cpu"), precision):
            try:
                return model(batch_BCHW.clone())
            except Exception as error:
                size = f"{height} x {width} pixels with {counted(channels, 'channel')}"
                error.add_note(f"(given images of {size})")
                raise

    with runtime.preserved_rng(), architecture.running():
        _check_tensors(_made(make, 0), _made(make, 1))
        worn = _check_training(make, run, batch_BCHW, classes)
        _check_evaluation(worn, run, batch_BCHW)
        _check_copy(worn, shape)


def _refusal(told: str) -> InputError:
    return InputError(f"model: the network {told}")


# ------------------------------------------------------------------------------- its tensors


def _check_tensors(one: nn.Module, other: nn.Module) -> None:
    """Parameters are float32 and some are trained; what is saved are tensors; the seed decides."""
    for name, parameter in one.named_parameters():
        if parameter.dtype != torch.float32:
            kind = str(parameter.dtype).removeprefix("torch.")
            raise _refusal(f"has parameters in {kind} ('{name}'); make it with .float()")
        if parameter.device.type != "cpu":
            raise _refusal(
                f"has parameters on {parameter.device} ('{name}'); leave the device to --device"
            )
    if not any(parameter.requires_grad for parameter in one.parameters()):
        raise _refusal("has no parameter that is trained; set requires_grad on one of them")
    saved, again = one.state_dict(), other.state_dict()
    for name, value in saved.items():
        if not isinstance(value, Tensor):
            raise _refusal(
                f"keeps '{name}' in its state_dict, which is no tensor; only tensors can be saved"
            )
        if name not in again or not _equal(value, again[name]):
            raise _refusal(
                f"has other initial weights each time ('{name}'); draw them with torch, whose seed "
                "is set before the factory is called"
            )


# ------------------------------------------------------------------------------- its answer


def _check_answer(found: Any, count: int, classes: int) -> None:
    """It has given logits B K with a gradient, in train mode."""
    wanted = f"return {count} x {classes} logits, a row for each image"
    if not isinstance(found, Tensor):
        raise _refusal(
            f"returns {_described(found)}; return the logits alone, for example by a wrapper"
        )
    if tuple(found.shape) != (count, classes):
        shape = " x ".join(map(str, found.shape)) or "a single number"
        raise _refusal(f"returns {shape} for {count} images of {classes} classes; {wanted}")
    if not found.is_floating_point():
        raise _refusal(f"returns {str(found.dtype).removeprefix('torch.')}; {wanted}")
    if not found.requires_grad:
        raise _refusal("returns logits without a gradient; leave out detach() and no_grad()")
    if not bool(torch.isfinite(found).all()):
        raise _refusal(
            "returns logits that are not finite for images of mean 0; look at its initialization"
        )


def _described(found: Any) -> str:
    """`a tuple of 2`, `a dict of 'logits', 'aux'`, `nothing`."""
    if found is None:
        return "nothing"
    if isinstance(found, Mapping):
        return f"a {type(found).__name__} of {', '.join(map(repr, list(found)[:5]))}"
    size = f" of {len(found)}" if isinstance(found, tuple | list) else ""
    return f"a {type(found).__name__}{size}"


def _check_evaluation(model: nn.Module, run: Run, batch_BCHW: Tensor) -> None:
    """In eval mode it gives the same answer twice, and to each image whatever else is there."""
    model.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        _seed(1)
        first_BK: Tensor = run(model, batch_BCHW).float().clone()
        _seed(2)
        again_BK: Tensor = run(model, batch_BCHW).float()
        others_BCHW = torch.cat([batch_BCHW[:1], 1 - 2 * batch_BCHW[1:]])
        beside_BK: Tensor = run(model, others_BCHW).float()
    if not _equal(first_BK, again_BK):
        raise _refusal(
            "gives another answer each time in eval mode, as with dropout that stays on; drop out "
            "only in training: F.dropout(x, p, self.training)"
        )
    for name, tensor in model.state_dict().items():
        if not _equal(tensor, before[name]):
            raise _refusal(f"changes '{name}' in eval mode; change it only if self.training")
    spread = float(first_BK.abs().max()) or 1.0
    if float((beside_BK[0] - first_BK[0]).abs().max()) > CLOSE * spread:
        raise _refusal(
            "gives an image another answer if other images are beside it, in eval mode too; use "
            "running statistics (track_running_stats), or those of each image"
        )


# --------------------------------------------------------------------- what it draws and keeps


def _check_training(make: Make, run: Run, batch_BCHW: Tensor, classes: int) -> nn.Module:
    """A step gives logits, the same for the same seed; and a resumed training goes on the same.

    For that, the state_dict of a network that was trained and evaluated is loaded into a new one,
    and both take the next step. Returns the one that was trained.
    """
    labels_B = torch.arange(len(batch_BCHW)) % classes

    def step(model: nn.Module, seed: int) -> list[Tensor | None]:
        _seed(seed, others=len(runs))
        runs.append(seed)
        logits_BK = run(model, batch_BCHW)
        _check_answer(logits_BK, len(batch_BCHW), classes)
        return _updated(model, logits_BK, labels_B)

    runs: list[int] = []
    worn, other, fresh = (_made(make, seed).train() for seed in range(3))
    if not _same(step(worn, 0), step(other, 0)):
        raise _refusal(
            "gives another loss or gradient for the same seed, as with draws from random or "
            "numpy; draw with torch, whose seed is set before each step"
        )
    step(worn, 1)
    with torch.no_grad():
        run(worn.eval(), batch_BCHW)
    worn.train()
    try:
        fresh.load_state_dict({name: each.clone() for name, each in worn.state_dict().items()})
    except (RuntimeError, KeyError) as error:
        told = str(error).strip().splitlines()[-1].strip()
        raise _refusal(f"has a state_dict that a new one can't load after a step: {told}") from None
    if not _same(step(worn, 2), step(fresh, 2)):
        raise _refusal(
            "keeps something from step to step that is not in its state_dict, so a resumed "
            "training would differ; keep it in a buffer (register_buffer)"
        )
    return worn


def _check_copy(model: nn.Module, shape: tuple[int, int, int]) -> None:
    """A copy of it can be made, and its layers can be listed, as the report does."""
    try:
        summarize(model, shape)
    except Exception as error:
        told = next(iter(str(error).splitlines()), type(error).__name__)
        raise _refusal(
            f"can't be copied: {told}; keep no tensors of a pass in it, or detach() them"
        ) from None


def _updated(model: nn.Module, logits_BK: Tensor, labels_B: Tensor) -> list[Tensor | None]:
    """The loss and the gradients of a step of gradient descent, which then is taken."""
    parameters = [each for each in model.parameters() if each.requires_grad]
    loss = F.cross_entropy(logits_BK.float(), labels_B)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter -= RATE * gradient
    return [loss.detach(), *gradients]


def _made(make: Make, seed: int) -> nn.Module:
    """A new network. Draws that are not PyTorch's begin elsewhere each time."""
    _seed(0, others=seed)
    return make()


def _seed(seed: int, others: int | None = None) -> None:
    """Seed PyTorch, and Python and NumPy differently: their draws are nobody's promise."""
    torch.manual_seed(seed)
    others = seed + 1 if others is None else others
    random.seed(others)
    np.random.seed(others)  # noqa: NPY002


def _same(one: list[Tensor | None], other: list[Tensor | None]) -> bool:
    """Whether two steps have the same bits."""
    pairs = zip(one, other, strict=True)
    return all(a is b if a is None or b is None else _equal(a, b) for a, b in pairs)


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same; NaN equals NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())
