"""A run's network in forms that other programs run, each checked before it is handed over.

Shapes: N images, H height, W width, C channels, K classes.
"""

import importlib
import io
import json
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

from onecycle import models, runtime
from onecycle.config.names import unknown_name
from onecycle.errors import InputError, Interrupted, TrainingError
from onecycle.exporting.check import Agreement, Check, checked
from onecycle.exporting.deployed import Facts, gather
from onecycle.exporting.format import Format
from onecycle.exporting.formats import FORMATS
from onecycle.exporting.int8 import Comparison, quantized
from onecycle.exporting.place import Place, sha256
from onecycle.inference.network import LAST, load_network
from onecycle.progress import IN_NOTEBOOKS, Progress
from onecycle.run_dir import RunDir
from onecycle.run_dir.checking import to_json
from onecycle.run_dir.records import Result
from onecycle.training.evaluating import own_splits

__all__ = ["DEFAULT", "FORMATS", "Agreement", "Check", "Comparison", "Exported", "export"]

DEFAULT = "onnx"
"""The format that is written if none is named."""


@dataclass(frozen=True)
class Exported:
    """An exported network.

    Attributes:
        path: the file or folder.
        facts: what it says about itself.
        check: how it was checked; this is also in its check file.
    """

    path: Path
    facts: Facts
    check: Check


def export(
    run: str | Path,
    *,
    format: str = DEFAULT,
    int8: bool = False,
    output: str | Path | None = None,
    data: str | None = None,
    network: models.Network | None = None,
    checkpoint: str = LAST,
    allow_drop: float = 1.0,
    threads: int = 0,
    progress: Progress = IN_NOTEBOOKS,
) -> Exported:
    """Write a run's network in a form that other programs run, after checking what it answers.

    The network takes uint8 images N H W C of the size of the training, with any N; normalisation
    is inside. It gives logits and probabilities, float32 N K. Up to 256 test images go through what
    was written, and their probabilities and classes are compared with those of the run's network
    in PyTorch, in float32.

    Args:
        run: the folder of a finished run.
        format: `onnx`; `pt2`, the file of torch.export; or `safetensors`, a folder with weights,
            configuration, the network in plain PyTorch, and a model card.
        int8: for `onnx`: weights and activations in 8 bits, with ranges from training images.
            Both forms are measured on the whole test split.
        output: where to write; None: into the folder `export` of the run.
        data: where the run's images are, if they have moved.
        network: the code of the run's network, if it is not built in: a function or class that
            makes it, or its name, `FILE.py:FUNCTION` or `MODULE:FUNCTION`.
        checkpoint: `last`, or `best`: that of the epoch with the highest validation accuracy.
        allow_drop: largest drop in test accuracy by `int8`, in percentage points.
        threads: CPU threads; 0: PyTorch's choice.
        progress: listens.

    Raises:
        InputError: not a finished run, its images are missing or others, `output` exists and is no
            unchanged export, or an argument has no such value.
        TrainingError: the exported network answers differently, int8 loses more than `allow_drop`,
            or it can't be written. Then nothing is.
        ModuleNotFoundError: a package of the extra `export` is missing.
    """
    folder, form = RunDir.open(run), _form(format, int8)
    place = Place.of(folder, form, output)
    result = _finished(folder)
    for module in form.modules:
        importlib.import_module(module)
    runtime.set_threads(threads)
    trained = load_network(folder, progress=progress, checkpoint=checkpoint, network=network)
    splits = own_splits(folder, folder.read_recipe(), progress, data)
    deployable = gather(folder, result, trained, splits.test, checkpoint)
    facts = deployable.facts
    progress.start("exporting", 3 if int8 else 2, "stages")
    with tempfile.TemporaryDirectory(prefix="onecycle-") as aside:
        made = Path(aside) / "made"
        made.mkdir()
        target = made if form.is_folder else made / place.path.name
        written = Path(aside) / "float32.onnx" if int8 else target
        with _one_line(format):
            form.write(deployable, written)
            progress.advance()
            found = checked(format, form, deployable, written, splits.test)
        progress.advance()
        if int8:
            facts, comparison = quantized(written, target, facts, splits, result.seed, allow_drop)
            found = replace(found, quantized=comparison)
            progress.advance()
        found = replace(found, files={each.name: sha256(each) for each in sorted(made.iterdir())})
        (made / place.check).write_text(json.dumps(to_json(found), indent=2) + "\n", "utf-8")
        place.fill(made)
    progress.finish()
    return Exported(place.path, facts, found)


@contextmanager
def _one_line(format: str) -> Iterator[None]:
    """Turn what an exporter, or a program that reads its file, says of a network into one line.

    What they print besides is dropped: it may be the whole graph.

    Raises:
        TrainingError: the network can't be written in this format.
    """
    try:
        with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            yield
    except (InputError, TrainingError, Interrupted, ImportError, MemoryError, OSError):
        raise
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__:
            cause = cause.__cause__
        lines = str(cause).strip().splitlines() or [""]
        raise TrainingError(
            f"export: the network can't be written as {format}: {type(cause).__name__}: "
            f"{lines[0]}; nothing was written"
        ) from None


def _form(name: str, int8: bool) -> Format:
    """The format called `name`.

    Raises:
        InputError: there is none, or it has no int8.
    """
    if name not in FORMATS:
        raise InputError(unknown_name("format", name, FORMATS))
    if int8 and name != DEFAULT:
        raise InputError(f"int8: is for format onnx, not {name}; leave out one of them")
    return replace(FORMATS[name], name="model.int8.onnx") if int8 else FORMATS[name]


def _finished(run: RunDir) -> Result:
    """The figures of a finished run.

    Raises:
        InputError: it is unfinished.
    """
    result = run.result()
    if result is None:
        words = shlex.quote(str(run.path))
        raise InputError(f"{run.path}: is unfinished; go on with: onecycle resume {words}")
    return result
