"""Grad-CAM: which parts of an image speak for a class.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", 2017 (arXiv:1610.02391).

Shapes: B batch, C channels, H height, W width, K classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onecycle.errors import InputError
from onecycle.interpret.stages import chosen, with_stages
from onecycle.writing.numbers import counted


def grad_cam(
    model: nn.Module, batch_BCHW: Tensor, classes_B: Tensor | None = None, *, stage: str = ""
) -> Tensor:
    """Maps of what speaks for each image's class at `stage`: B H W, of the images' size.

    Each channel of the stage is weighted by the mean gradient of the class's logit with respect to
    it. Negative values of the weighted sum are set to 0, and the map is scaled to a maximum of 1
    and enlarged bilinearly. A map is all 0 if nothing at the stage speaks for the class. The whole
    batch takes one forward pass and one backward pass, down to the stage. The model, its mode and
    its gradients stay as they were.

    Args:
        model: any network in float32 that returns logits; it is run in eval mode.
        batch_BCHW: images as the network takes them, on its device.
        classes_B: int64, the class to explain for each image; None: the predicted one.
        stage: a name from `model.forward_features`, or the dotted path of a layer if the network
            has no such method; empty: the last stage whose height and width are above 1, and on
            which the logits depend.

    Returns:
        float32 in [0, 1], on the model's device.

    Raises:
        InputError: the stage is unknown or has no height and width, or a class is out of range.
    """
    # The images need a gradient, so that a stage has one even if all that is before it is frozen.
    logits_BK, stages = with_stages(model, batch_BCHW.detach().requires_grad_())
    last = stage or last_map(stages)
    features_BCHW = chosen(stages, last)
    scores_B = _scores(logits_BK, classes_B)
    maps = [features_BCHW] if stage else [out for out in stages.values() if _is_map(out)]
    for features_BCHW in reversed(maps):
        gradient_BCHW = _gradient(scores_B.sum(), features_BCHW)
        if gradient_BCHW is not None:
            break
    else:
        raise InputError(f"stage: the logits do not depend on '{last}'; name another one")
    weights_BC11 = gradient_BCHW.float().mean(dim=(2, 3), keepdim=True)
    maps_BHW = (weights_BC11 * features_BCHW.detach().float()).sum(1).clamp(min=0)
    largest_B = maps_BHW.amax(dim=(1, 2), keepdim=True)
    maps_BHW = maps_BHW / torch.where(largest_B > 0, largest_B, 1)
    size = batch_BCHW.shape[-2:]
    return F.interpolate(maps_BHW[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def _gradient(score: Tensor, features_BCHW: Tensor) -> Tensor | None:
    """The gradient B C H W of the score; None if it does not depend on the features."""
    if not features_BCHW.requires_grad:
        return None
    return torch.autograd.grad(score, features_BCHW, retain_graph=True, allow_unused=True)[0]


def last_map(stages: dict[str, Tensor]) -> str:
    """The name of the last stage whose output has a height and a width above 1.

    Raises:
        InputError: there is none.
    """
    maps = [name for name, out in stages.items() if _is_map(out)]
    if not maps:
        raise InputError("stage: no output of this network has a height and a width above 1")
    return maps[-1]


def _is_map(output: Tensor) -> bool:
    return output.ndim == 4 and min(output.shape[2:]) > 1


def _scores(logits_BK: Tensor, classes_B: Tensor | None) -> Tensor:
    """The logit of each image's class, B."""
    if classes_B is None:
        return logits_BK.amax(dim=1)
    count = logits_BK.shape[1]
    if len(classes_B) != len(logits_BK):
        images = counted(len(logits_BK), "image")
        raise InputError(f"classes: got {len(classes_B)} for {images}; give one for each image")
    if len(classes_B) and not 0 <= int(classes_B.min()) <= int(classes_B.max()) < count:
        raise InputError(f"classes: must be from 0 to {count - 1}")
    return logits_BK.gather(1, classes_B.to(logits_BK.device)[:, None])[:, 0]
