"""Whether what was written answers as the run's network does: the numbers, and the refusals.

Shapes: N images, K classes.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from onecycle import runtime
from onecycle.data import ImageSet
from onecycle.errors import TrainingError
from onecycle.exporting.answers import Answers, of_program
from onecycle.exporting.deployed import Deployable
from onecycle.exporting.format import Format
from onecycle.exporting.int8 import Comparison
from onecycle.run_dir import package_versions
from onecycle.writing.numbers import counted

IMAGES = 256
"""Test images that are compared, spread over the split; all, if there are fewer."""

MOST_DIFFERENCE = 1e-3
"""Largest allowed difference in a probability."""

MOST_OTHERS = 1e-3
"""Largest allowed share of images with another class."""


@dataclass(frozen=True)
class Agreement:
    """How far two answers to the same images are apart.

    Attributes:
        images: number of images.
        largest_difference: the largest difference in a probability.
        equal_classes: number of images with the same most probable class.
    """

    images: int
    largest_difference: float
    equal_classes: int

    @classmethod
    def of(cls, one: Answers, other: Answers) -> "Agreement":
        """The agreement of two answers. A probability that is not a number counts as 1 off."""
        apart_NK = np.abs(one.probabilities_NK - other.probabilities_NK)
        return cls(
            len(apart_NK),
            float(np.nan_to_num(apart_NK, nan=1.0).max()),
            int((one.logits_NK.argmax(1) == other.logits_NK.argmax(1)).sum()),
        )

    @property
    def close(self) -> bool:
        """Whether the differences are as small as rounding makes them."""
        others = self.images - self.equal_classes
        return self.largest_difference <= MOST_DIFFERENCE and others <= MOST_OTHERS * self.images


@dataclass(frozen=True, kw_only=True)
class Check:
    """What the check file holds.

    Attributes:
        format: of the export.
        files: SHA-256 of each exported file, by name.
        network: agreement of the float32 file with the run's network in PyTorch, in float32.
        run: agreement of the same file with the run's predictions.npz; None without them.
        run_precision: arithmetic of the run, `fp32` or `bf16`.
        quantized: figures of an int8 file; None otherwise.
        versions: of the packages that took part.
        cpu, threads: on which the check ran.
    """

    format: str
    files: dict[str, str]
    network: Agreement
    run: Agreement | None = None
    run_precision: str
    quantized: Comparison | None = None
    versions: dict[str, str]
    cpu: str
    threads: int


def checked(name: str, form: Format, deployable: Deployable, path: Path, test: ImageSet) -> Check:
    """The check of what lies at `path`, without its files.

    Args:
        name: of the format.
        form: the format.
        deployable: what was written.
        path: where.
        test: the run's test split.

    Raises:
        TrainingError: what was written answers differently than the network.
    """
    picked = np.linspace(0, len(test) - 1, min(IMAGES, len(test))).round().astype(np.int64)
    images_NHWC = test.images_NHWC[picked]
    found = form.answers(path, images_NHWC)
    agreement = Agreement.of(found, of_program(deployable.network, images_NHWC))
    if not agreement.close:
        images = counted(agreement.images, "test image")
        others = agreement.images - agreement.equal_classes
        raise TrainingError(
            f"export: the exported network does not answer like the run's own on {images}: the "
            f"largest difference in probability is {agreement.largest_difference:.2g}, and "
            f"{others:,} have another class; nothing was written"
        )
    extra = {each: import_module(each).__version__ for each in form.modules}
    return Check(
        format=name,
        files={},
        network=agreement,
        run=_with_run(found, deployable, picked),
        run_precision=deployable.environment.precision or deployable.result.precision,
        versions=package_versions() | extra,
        cpu=runtime.cpu_model(),
        threads=torch.get_num_threads(),
    )


def _with_run(found: Answers, deployable: Deployable, picked: np.ndarray) -> Agreement | None:
    """The agreement with the logits that the run saved, if it saved any."""
    if deployable.of_run_NK is None:
        return None
    logits_NK = deployable.of_run_NK[picked].astype(np.float64) / deployable.facts.temperature
    shares_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
    shares_NK /= shares_NK.sum(axis=1, keepdims=True)
    return Agreement.of(found, Answers(logits_NK, shares_NK))
