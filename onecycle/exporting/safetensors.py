"""A folder to hand over: weights, configuration, the network in plain PyTorch, and a model card.

The check runs it in a process of its own, in which onecycle can't be imported.
"""

import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from onecycle.errors import TrainingError
from onecycle.exporting import card, plain
from onecycle.exporting.answers import BATCH_SIZE, Answers
from onecycle.exporting.deployed import Deployable
from onecycle.exporting.format import Format
from onecycle.run_dir.files import encode_json

PROGRAM = """
import sys
sys.modules["onecycle"] = None  # as where it is not installed
sys.path.insert(0, sys.argv[1])
import numpy, torch
from network import Network
from safetensors.torch import load_file

torch.set_num_threads(int(sys.argv[4]))
network = Network().eval()
network.load_state_dict(load_file(f"{sys.argv[1]}/model.safetensors"))
images = torch.from_numpy(numpy.load(sys.argv[2]))
with torch.no_grad():
    parts = [network(batch) for batch in images.split(int(sys.argv[5]))]
logits, probabilities = (torch.cat(each).numpy() for each in zip(*parts))
numpy.savez(sys.argv[3], logits=logits, probabilities=probabilities)
"""


def write(deployable: Deployable, folder: Path) -> None:
    """Write the files into `folder`."""
    source, tensors = plain.written(deployable)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}  # some may be tied
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    about = {"network": deployable.about.name, "arguments": deployable.about.arguments}
    config = folder / "config.json"
    config.write_bytes(encode_json(asdict(deployable.facts) | about, config, indent=2) + b"\n")
    (folder / "network.py").write_text(source, encoding="utf-8")
    (folder / "README.md").write_bytes(card.written(deployable).encode("utf-8", "backslashreplace"))


def answers(folder: Path, images_NHWC: np.ndarray) -> Answers:
    """The answers of the folder's network, in a process without onecycle.

    Raises:
        TrainingError: it can't be run.
    """
    with tempfile.TemporaryDirectory(prefix="onecycle-") as work:
        images, found = Path(work) / "images.npy", Path(work) / "found.npz"
        np.save(images, images_NHWC)
        words = map(str, (folder, images, found, torch.get_num_threads(), BATCH_SIZE))
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *words],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            check=False,
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise TrainingError(
                f"export: the network does not run in plain PyTorch ({reason}); use --format onnx"
            )
        with np.load(found) as arrays:
            return Answers(arrays["logits"], arrays["probabilities"])


FORMAT = Format("safetensors", write, answers, is_folder=True)
