"""Pictures of test images that runs keep in examples.npz, ready for a page."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from onecycle.errors import InputError
from onecycle.experiments.reading import FinishedRun
from onecycle.run_dir import RunDir


def thumbnails(runs: Sequence[FinishedRun], names: Sequence[str]) -> dict[str, str]:
    """PNG as base64 of those of the named test images that any of the runs keeps."""
    wanted, found = set(names), {}
    for run in runs:
        if not wanted - found.keys():
            break
        for name, image_HWC in _kept(run).items():
            if name in wanted and name not in found:
                found[name] = _png(image_HWC)
    return found


def _kept(run: FinishedRun) -> dict[str, np.ndarray]:
    """The images that a run keeps, uint8 H W C, by name; none where it has no such file."""
    try:
        arrays = RunDir(run.path).load_arrays("examples.npz")
    except InputError:  # missing or damaged: a page does well without pictures
        return {}
    if not {"indices", "images"} <= arrays.keys():
        return {}
    indices_M, images_MHWC = arrays["indices"], arrays["images"]
    fit = images_MHWC.ndim == 4 and images_MHWC.dtype == np.uint8
    fit = fit and indices_M.shape == images_MHWC.shape[:1] and indices_M.dtype.kind in "iu"
    names_N = run.test.names_N
    if not fit or any(not 0 <= index < len(names_N) for index in indices_M):
        return {}
    return dict(zip(names_N[indices_M].tolist(), images_MHWC, strict=True))


def _png(image_HWC: np.ndarray) -> str:
    file = io.BytesIO()
    pixels = image_HWC[..., 0] if image_HWC.shape[2] == 1 else image_HWC
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
