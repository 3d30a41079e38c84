"""A network in an ONNX file that `onecycle export` wrote, run by onnxruntime."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from onecycle.errors import InputError
from onecycle.inference.classifier import Classifier
from onecycle.run_dir.checking import Misfit, from_json
from onecycle.run_dir.records import Network

INPUT, LOGITS = "images", "logits"


class OnnxClassifier(Classifier):
    """The network in an ONNX file.

    Args:
        path: of the file.

    Raises:
        InputError: it can't be read, or `onecycle export` did not write it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._session = _session(path)
        about, temperature = _described(path, self._session)
        super().__init__(about, str(path), temperature)
        self._check_shapes()

    def _logits(self, images_BHWC: np.ndarray) -> np.ndarray:
        return np.asarray(self._session.run([LOGITS], {INPUT: images_BHWC})[0])

    def _check_shapes(self) -> None:
        """Check that the network takes and gives what the metadata say.

        Raises:
            InputError: it does not.
        """
        takes = {each.name: (each.type, *each.shape[1:]) for each in self._session.get_inputs()}
        gives = {each.name: (each.type, *each.shape[1:]) for each in self._session.get_outputs()}
        form = self.preprocess.form.shape
        fits = gives.get(LOGITS) == ("tensor(float)", len(self.classes))
        if not fits or takes != {INPUT: ("tensor(uint8)", *form)}:
            raise InputError(
                f"{self._path}: its network is not of the form that its metadata give; export the "
                "run again"
            )

    def __reduce__(self) -> tuple[type["OnnxClassifier"], tuple[Path]]:
        return OnnxClassifier, (self._path.absolute(),)


def _session(path: Path) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise InputError(f"there is no file '{path}'; check the path")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common class but this
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: can't be run by onnxruntime: {reason}") from None


def _described(path: Path, session: onnxruntime.InferenceSession) -> tuple[Network, float | None]:
    """The network as the metadata of the file describe it, and its temperature.

    Raises:
        InputError: `onecycle export` did not write them.
    """
    found = session.get_modelmeta().custom_metadata_map
    try:
        values: dict[str, Any] = {
            name: json.loads(found[name])
            for name in ("classes", "channels", "image_size", "mean", "std", "temperature")
        }
        values["size"] = values.pop("image_size")
        temperature = float(values.pop("temperature"))
        if not 0.01 <= temperature <= 100:
            raise ValueError("a temperature")
        name = {"name": "onnx", "arguments": {}, "resize": found["resize"]}
        about = from_json(values | name, Network)
    except (KeyError, ValueError, TypeError, Misfit) as error:
        raise InputError(
            f"{path}: was not written by onecycle export (its metadata lack {error}); export the "
            "run again"
        ) from None
    return about, None if temperature == 1.0 else temperature
