"""The named recipes, each with what it needs and what it reached."""

from dataclasses import dataclass

from onecycle.config import Recipe, override
from onecycle.config.names import unknown_name
from onecycle.errors import InputError


@dataclass(frozen=True, kw_only=True)
class NamedRecipe:
    """A recipe and the evidence for it.

    Attributes:
        recipe: every field's value.
        summary: what it is, in one line.
        device: what it was measured on.
        minutes: wall time of a whole run there, or None where not measured.
        accuracy: mean test accuracy (a fraction) over `n` runs, or None where not measured.
        spread: standard deviation of the test accuracy over the runs; None below two runs.
        n: runs measured.
        measured_on: the data that the accuracy was measured on.
    """

    recipe: Recipe
    summary: str
    device: str = ""
    minutes: float | None = None
    accuracy: float | None = None
    spread: float | None = None
    n: int = 0
    measured_on: str = ""


DEMO = NamedRecipe(
    recipe=Recipe(
        recipe="demo",
        data="shapes",
        width=0.25,
        head_scale=0.125,
        epochs=5,
        min_steps=384,  # fewer than on the drawn shapes, so that a minute stays one
        batch_size=128,
        nesterov=True,
        weight_decay=5e-4,
    ),
    summary="a quarter-width network on drawn shapes: the whole program in about a minute",
    device="2 CPU cores (Intel Xeon, AMX bf16)",
    minutes=0.6,
    accuracy=0.958,
    spread=0.008,
    n=5,
    measured_on="shapes",
)

BRIEF = NamedRecipe(
    recipe=Recipe(recipe="brief", data="cifar10"),
    summary="the brief to the letter: 24 epochs, SGD, no regularization, rates found",
)

CUSTOM_RESNET_24 = NamedRecipe(
    recipe=Recipe(
        recipe="custom-resnet-24",
        data="cifar10",
        nesterov=True,
        weight_decay=5e-4,
        head_scale=0.125,
    ),
    summary="the brief's 24 epochs with Nesterov momentum, weight decay and scaled logits",
    device="2 busy CPU cores (AMD EPYC, AVX-512 bf16)",
    minutes=66,
    accuracy=0.9077,
    n=1,
    measured_on="CIFAR-10, JPEG-75 copy",
)

CUSTOM_RESNET_8 = NamedRecipe(
    recipe=Recipe(
        recipe="custom-resnet-8",
        data="cifar10",
        epochs=8,
        min_steps="auto",
        nesterov=True,
        weight_decay=5e-4,
        head_scale=0.125,
    ),
    summary="the brief's network in 8 epochs, otherwise like custom-resnet-24",
    device="2 CPU cores (AMD EPYC, AVX-512 bf16)",
    minutes=56,
    accuracy=0.8751,
    n=1,
    measured_on="CIFAR-10, JPEG-75 copy",
)

PHOTOS = NamedRecipe(
    # The transforms are the best of those in benchmarks/photos_recipe_cpu_202611.md.
    recipe=override(
        CUSTOM_RESNET_8.recipe,
        min_steps="auto",
        recipe="photos",
        data="photos",
        image_size=64,
        width=0.25,
        crop_padding=0.125,
        cutout=0.25,
    ),
    summary="for hundreds of your own photos: a quarter-width network at 64 pixels",
    device="1 busy core (AMD EPYC, AVX-512 bf16)",
    minutes=5.6,
    accuracy=0.7406,
    spread=0.0074,
    n=5,
    measured_on="300 photos of cats and dogs",
)

EIGHT_EPOCHS = Recipe(data="cifar10", epochs=8, min_steps="auto", nesterov=True, weight_decay=5e-4)
"""What the recipes of 8 epochs for residual networks share."""

ADAMW_EIGHT_EPOCHS = override(
    EIGHT_EPOCHS,
    min_steps="auto",
    nesterov=False,
    optimizer="adamw",
    weight_decay=0.05,
    label_smoothing=0.1,
    lr_end=1.0,
)
"""What those for AdamW share. Its rates are lower than SGD's, so the range test ends earlier."""

RESNET18_8 = NamedRecipe(
    recipe=override(EIGHT_EPOCHS, recipe="resnet18-8", model="resnet18"),
    summary="ResNet-18 in 8 epochs, with the stem for small images",
    device="2 busy CPU cores (Intel Xeon, AMX bf16)",
    minutes=47,
    accuracy=0.8182,
    n=1,
    measured_on="CIFAR-10, JPEG-75 copy",
)

RESNET34_8 = NamedRecipe(
    recipe=override(EIGHT_EPOCHS, recipe="resnet34-8", model="resnet34"),
    summary="ResNet-34 in 8 epochs, with the stem for small images",
    device="2 busy CPU cores (Intel Xeon, AMX bf16)",
    minutes=76,
    accuracy=0.8041,
    n=1,
    measured_on="CIFAR-10, JPEG-75 copy",
)

WIDE_RESNET_8 = NamedRecipe(
    recipe=override(EIGHT_EPOCHS, recipe="wide-resnet-8", model="wide-resnet-16-4"),
    summary="a wide residual network of 16 layers, four times as wide, in 8 epochs",
    device="2 CPU cores (Intel Xeon, AMX bf16)",
    minutes=34,
    accuracy=0.8423,
    n=1,
    measured_on="CIFAR-10, JPEG-75 copy",
)

CONVNEXT_8 = NamedRecipe(
    recipe=override(ADAMW_EIGHT_EPOCHS, recipe="convnext-8", model="small-convnext"),
    summary="a small ConvNeXt in 8 epochs, with AdamW",
    device="2 busy CPU cores (AMD EPYC, AVX2, fp32)",
    minutes=90,
    accuracy=0.6877,
    n=1,
    measured_on="CIFAR-10, JPEG-75 copy",
)

VIT_8 = NamedRecipe(
    # The range test's 9e-3 lies below where the loss blows up, but attention then learns little.
    recipe=override(ADAMW_EIGHT_EPOCHS, recipe="vit-8", model="small-vit", lr_max=2e-3),
    summary="a small vision transformer in 8 epochs, with AdamW",
    device="2 CPU cores (AMD EPYC, AVX-512 bf16)",
    minutes=25,
    accuracy=0.5820,
    n=1,
    measured_on="CIFAR-10, JPEG-75 copy",
)

RECIPES: dict[str, NamedRecipe] = {
    named.recipe.recipe: named
    for named in (
        DEMO,
        BRIEF,
        CUSTOM_RESNET_8,
        CUSTOM_RESNET_24,
        PHOTOS,
        RESNET18_8,
        RESNET34_8,
        WIDE_RESNET_8,
        CONVNEXT_8,
        VIT_8,
    )
}
"""All named recipes, by name."""


def named(name: str) -> NamedRecipe:
    """The recipe called `name`.

    Raises:
        InputError: there is none; the message has the nearest name.
    """
    if name not in RECIPES:
        raise InputError(unknown_name("recipe", name, RECIPES))
    return RECIPES[name]
