"""The problems of the study: networks, optimizers, batch sizes and images that differ.

Shapes: B batch, C channels, H height, W width, D features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from onecycle import runtime
from onecycle.config import Recipe
from onecycle.models.resnet import CustomResNet

SIDE = 16
"""Height and width in pixels of all images, so that a training takes seconds."""
CLASSES = 10


@dataclass(frozen=True)
class Problem:
    """One training whose best peak rate is sought.

    Attributes:
        network: a key of `NETWORKS`.
        optimizer: `sgd` (momentum 0.9, Nesterov) or `adamw`.
        batch_size: images in a batch.
        data: `cifar10` or `shapes`.
        epochs: of a training.
        middle: a rate near which the grid begins; it grows from there until the best is bracketed.
        held_out: not looked at while the methods were made.
    """

    network: str
    optimizer: str
    batch_size: int
    data: str
    epochs: int
    middle: float
    held_out: bool = False

    @property
    def name(self) -> str:
        return f"{self.network} {self.optimizer} {self.batch_size} {self.data}"

    def recipe(self, data: str) -> Recipe:
        """Everything but the rates and the seed. `data`: where the images are."""
        return Recipe(
            recipe="regret",
            data=data,
            image_size=SIDE,
            train_limit=12_000,
            test_limit=100,  # never looked at
            val_fraction=1 / 3,
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer=self.optimizer,  # pyright: ignore[reportArgumentType] - checked by Recipe
            nesterov=self.optimizer == "sgd",
            weight_decay=5e-4 if self.optimizer == "sgd" else 0.01,
            crop_padding=2,
            cutout=4,
            lr_repeats=3,
        )


PROBLEMS = (
    Problem("brief/4", "sgd", 512, "cifar10", 12, 0.1),
    Problem("resnet/8", "sgd", 512, "cifar10", 16, 0.8),
    Problem("resnet/8", "sgd", 64, "shapes", 10, 0.2),
    Problem("resnet/4", "adamw", 512, "cifar10", 10, 0.02),
    Problem("vgg", "sgd", 64, "cifar10", 10, 0.02),
    Problem("vgg", "sgd", 512, "cifar10", 20, 0.05),
    Problem("mlp", "sgd", 512, "cifar10", 24, 0.1),
    Problem("mlp", "adamw", 64, "shapes", 12, 0.002),
    Problem("vit", "adamw", 512, "cifar10", 16, 0.004),
    Problem("resnet/4", "sgd", 64, "cifar10", 8, 0.1),
    Problem("vit", "adamw", 64, "shapes", 10, 0.002),
    Problem("mlp", "sgd", 64, "cifar10", 12, 0.02),
    Problem("vgg", "adamw", 512, "cifar10", 16, 0.002),
    Problem("mlp", "adamw", 512, "cifar10", 24, 0.002, held_out=True),
    Problem("resnet/8", "sgd", 64, "cifar10", 10, 0.2, held_out=True),
)


def network(problem: Problem, seed: int) -> nn.Module:
    """The problem's network, initialized by `seed`."""
    with runtime.preserved_rng():
        torch.manual_seed(runtime.seed_of(seed, "init"))
        return NETWORKS[problem.network]()


def vgg() -> nn.Module:
    """Six plain convolutions without norms or shortcuts (after Simonyan and Zisserman, 2015)."""
    layers: list[nn.Module] = []
    for channels_in, channels_out in ((3, 24), (24, 48), (48, 96)):
        layers += [nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(channels_out, channels_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(96 * (SIDE // 8) ** 2, CLASSES)]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):  # He et al., 2015
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
    return nn.Sequential(*layers)


def mlp() -> nn.Module:
    """Two hidden layers on the flattened image."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(3 * SIDE**2, 256), nn.ReLU(),
        nn.Linear(256, 256), nn.ReLU(),
        nn.Linear(256, CLASSES),
    )  # fmt: skip


class SmallViT(nn.Module):
    """A vision transformer: patches of 4 x 4, four pre-norm blocks of 64 features, mean pooling.

    After Dosovitskiy et al., 2021.
    """

    def __init__(self, features: int = 64, depth: int = 4, heads: int = 4, patch: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, features, patch, stride=patch)
        self.position = nn.Parameter(0.02 * torch.randn((SIDE // patch) ** 2, features))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                features, heads, 4 * features, dropout=0.0, activation="gelu",
                batch_first=True, norm_first=True,
            )
            for _ in range(depth)
        )  # fmt: skip
        self.norm = nn.LayerNorm(features)
        self.head = nn.Linear(features, CLASSES)

    def forward(self, batch_BCHW: Tensor) -> Tensor:
        tokens_BTD = self.patches(batch_BCHW).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            tokens_BTD = block(tokens_BTD)
        return self.head(self.norm(tokens_BTD).mean(dim=1))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "brief/4": partial(CustomResNet, classes=CLASSES, width=1 / 4),
    "resnet/8": partial(CustomResNet, classes=CLASSES, width=1 / 8, head_scale=0.125),
    "resnet/4": partial(CustomResNet, classes=CLASSES, width=1 / 4, head_scale=0.125),
    "vgg": vgg,
    "mlp": mlp,
    "vit": SmallViT,
}
