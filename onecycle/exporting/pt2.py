"""torch.export: one file, which PyTorch loads without the network's source."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from onecycle.exporting.answers import Answers, of_program
from onecycle.exporting.deployed import Deployable
from onecycle.exporting.format import Format

FACTS = "onecycle.json"
"""Name of the facts in the file; see `extra_files` of `torch.export.load`."""


def write(deployable: Deployable, path: Path) -> None:
    """Write the file at `path`."""
    program = torch.export.export(
        deployable.network,
        (deployable.example,),
        dynamic_shapes={"images": {0: torch.export.Dim("N")}},
    )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names the source by its path
    torch.export.save(program, path, extra_files={FACTS: json.dumps(asdict(deployable.facts))})


def answers(path: Path, images_NHWC: np.ndarray) -> Answers:
    """The answers of the program, loaded again."""
    return of_program(torch.export.load(path).module(), images_NHWC)


FORMAT = Format("model.pt2", write, answers)
