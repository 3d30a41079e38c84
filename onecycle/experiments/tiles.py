"""Pictures of the test images in the runs' examples.npz, ready for a page."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from onecycle.errors import InputError
from onecycle.experiments.reading import FinishedRun
from onecycle.run_dir import RunDir


def thumbnails(runs: Sequence[FinishedRun], names: Sequence[str]) -> dict[str, str]:
    """PNGs in base64 of the named test images, for those that any run keeps."""
    wanted, found = set(names), {}
    for run in runs:
        if not wanted - found.keys():
            break
        for name, image_HWC in _kept(run).items():
            if name in wanted and name not in found:
                found[name] = _png(image_HWC)
    return found


def _kept(run: FinishedRun) -> dict[str, np.ndarray]:
    """The images that a run keeps, uint8 H W C, by name; empty if it has no examples.npz."""
    try:
        found = RunDir(run.path).example_images(len(run.test.names_N))
    except InputError:  # damaged: the page does without pictures
        found = None
    if found is None:
        return {}
    indices_E, images_EHWC = found
    return dict(zip(run.test.names_N[indices_E].tolist(), images_EHWC, strict=True))


def _png(image_HWC: np.ndarray) -> str:
    file = io.BytesIO()
    pixels = image_HWC[..., 0] if image_HWC.shape[2] == 1 else image_HWC
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
