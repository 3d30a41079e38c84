"""What every contender is asked to do, and how one of them is set. No torch: the referee reads it.

Shapes: N images, C channels, H height, W width.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

PADDING, FLIP, CUTOUT = 4, 0.5, 8
"""The brief's transforms: pixels of padding, probability of a mirror image, side of the square."""

MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
LR_MIN, LR_MAX = 0.001, 0.005
PEAK_SHARE = 0.2
"""The one-cycle policy: from `LR_MIN` to `LR_MAX` in this share of the steps, and back."""


@dataclass(frozen=True)
class Work:
    """One training, the same for all.

    Attributes:
        folder: where `save` left the images.
        data: the name or path from which onecycle itself loads the same images.
        train_limit: as in a recipe.
        batch_size: images per step.
        width: factor on the network's channel counts.
        device: cpu or cuda.
        total_steps: length of the cycle; a measurement sees its first few steps.
        overrides: recipe fields of onecycle alone, by name.
    """

    folder: str
    data: str = "shapes"
    train_limit: int = 0
    batch_size: int = 512
    width: float = 1.0
    device: str = "cpu"
    total_steps: int = 1000
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def epoch_images(self) -> int:
        """Images of a peer's epoch. The set is gone through again and again within it, so that no
        peer pays for starting its loader anew during a measurement."""
        return self.total_steps * self.batch_size


@dataclass(frozen=True)
class Setting:
    """How a contender is run. Those that have no such choice ignore it.

    Attributes:
        precision: bf16 is autocast, or its name in the framework.
        channels_last: memory order of images and weights.
        workers: processes (Keras: threads) that make batches; 0: none.
        transforms: `pil` as textbooks have them, or `numpy`, written for speed.
        threads: CPU threads for arithmetic; 0: the library's own choice.
        fused: SGD's fused implementation.
        compiled: torch.compile, or Keras's jit_compile.
        keeps_memory: glibc keeps freed memory for the next step, as onecycle has it do.
    """

    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    workers: int = 2
    transforms: Literal["pil", "numpy"] = "pil"
    threads: int = 0
    fused: bool = False
    compiled: bool = False
    keeps_memory: bool = False

    def text(self) -> str:
        """The setting in a few words."""
        words = [self.precision, "channels_last" if self.channels_last else "channels_first"]
        words.append(f"{self.workers} worker{'' if self.workers == 1 else 's'}")
        words.append({"pil": "PIL", "numpy": "NumPy"}[self.transforms])
        words += [f"{self.threads} thread{'' if self.threads == 1 else 's'}"] * bool(self.threads)
        words += ["fused SGD"] * self.fused + ["compiled"] * self.compiled
        words += ["memory kept"] * self.keeps_memory
        return ", ".join(words)


@dataclass(frozen=True)
class Images:
    """uint8 images N H W C, int64 labels N, and the channels' statistics, scaled to [0, 1]."""

    images_NHWC: np.ndarray
    labels_N: np.ndarray
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int


def save(folder: Path, images: Images) -> None:
    """Leave `images` where the contenders, each in a process of its own, find them."""
    np.save(folder / "images.npy", images.images_NHWC)
    np.save(folder / "labels.npy", images.labels_N)
    rest = {"mean": images.mean, "std": images.std, "classes": images.classes}
    (folder / "statistics.json").write_text(json.dumps(rest))


def load(folder: str | Path) -> Images:
    """What `save` left."""
    folder = Path(folder)
    rest = json.loads((folder / "statistics.json").read_text())
    return Images(
        np.load(folder / "images.npy"),
        np.load(folder / "labels.npy"),
        tuple(rest["mean"]),
        tuple(rest["std"]),
        rest["classes"],
    )


def to_json(value: Work | Setting) -> str:
    return json.dumps(asdict(value))
