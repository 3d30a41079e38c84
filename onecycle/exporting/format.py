"""What a format has to do: write a network, and run what was written as its reader would."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onecycle.exporting.answers import Answers
from onecycle.exporting.deployed import Deployable


@dataclass(frozen=True)
class Format:
    """A form of an exported network.

    Attributes:
        name: of its file or folder in a run's folder `export`.
        write: write it at the path; if it is a folder, it exists already.
        answers: of what lies at the path, to uint8 images N H W C.
        modules: what it needs besides the package's own requirements.
        is_folder: whether it is a folder.
    """

    name: str
    write: Callable[[Deployable, Path], None]
    answers: Callable[[Path, np.ndarray], Answers]
    modules: tuple[str, ...] = ()
    is_folder: bool = False
