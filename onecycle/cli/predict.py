"""`onecycle predict`: classify images, and write a row for each."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from onecycle.cli.call import Call, write, write_rows
from onecycle.config.declaring import spelled
from onecycle.config.names import unknown_name
from onecycle.errors import InputError, TrainingError
from onecycle.progress import SILENT, Progress
from onecycle.writing.numbers import counted
from onecycle.writing.outputs import refuse_read

if TYPE_CHECKING:
    from onecycle.inference import Classifier
    from onecycle.inference.destination import Destination
    from onecycle.inference.formats import Format
    from onecycle.inference.sources import Source
    from onecycle.inference.takers import Taker


def predict(call: Call) -> None:
    """Classify images. JSON: see docs/predict.md.

    Raises:
        TrainingError: an image can't be read; all others have been classified.
    """
    model, paths = _operands(call)
    reads = [*paths, *([model] if os.path.isfile(model) else [])]
    output, kind = call.place("output", reads), _format(call)
    sheet = call.place("contact_sheet", reads, picture=True)
    written = {"--output": output, "--contact-sheet": sheet}
    # Threads that spin while they wait would take the cores from the processes that decode.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported
    on_screen = output is None and sys.stdout.isatty()
    rows = sys.stdout  # during the work, what a network of the user's own prints goes elsewhere
    with call.progress() as progress:
        from onecycle import runtime
        from onecycle.inference import load

        runtime.set_threads(call.options.threads)
        sources, total = _sources(paths, written, progress)
        classifier = load(
            model,
            network=call.network,
            checkpoint=call.options.checkpoint,
            progress=progress,
        )
        takers = _takers(call, paths, sheet, classifier)
        started = time.perf_counter()
        # Rows on a terminal are progress enough, and a live line would run through them.
        shown = SILENT if on_screen else progress
        with runtime.reused_memory(), _writer(output, rows) as put:
            form = _made(call, kind, classifier, model)
            count, unreadable = _classify(classifier, sources, total, form, takers, put, shown)
        seconds = time.perf_counter() - started
        progress.note(f"{counted(count, 'image')} in {seconds:.3g} s, {count / seconds:,.0f} "
                      "images/s")  # fmt: skip
    if output and not call.options.quiet:
        write(f"{output}\n")
    if unreadable:
        images = counted(unreadable, "image")
        raise TrainingError(f"{images} of {count:,} can't be read; the rows say why")


def _operands(call: Call) -> tuple[str, tuple[str, ...]]:
    """The model, and the paths of the images.

    Raises:
        InputError: no path is given, or standard input and others.
    """
    model, *paths = call.given.operands
    if not paths:
        raise InputError("predict: needs PATH... after the run; see onecycle predict --help")
    if "-" in paths and len(paths) > 1:
        raise InputError("-: the list on standard input stands alone; leave out the other paths")
    return model, tuple(paths)


ENDINGS = {"": "table", ".txt": "table", ".csv": "csv", ".json": "json", ".jsonl": "jsonl"}
"""The format of a file by the ending of its name."""


def _format(call: Call) -> str:
    """The format: as given, else by the ending of the output file, else a table.

    Raises:
        InputError: it is unknown, `--json` contradicts it, or the ending is unknown.
    """
    options = call.options
    asked = options.format or ("json" if options.json else "")
    if options.json and asked != "json":
        raise InputError(f"--json: can't be combined with --format {asked}; give one")
    if asked:
        if asked not in ENDINGS.values():
            raise InputError(unknown_name("format", asked, set(ENDINGS.values())))
        return asked
    ending = Path(options.output).suffix.lower()
    if ending not in ENDINGS:
        raise InputError(
            f"--output: '{options.output}' has an unknown ending; name a .csv, .json, .jsonl or "
            ".txt file, or give --format"
        )
    return ENDINGS[ending]


def _sources(
    paths: tuple[str, ...], written: Mapping[str, Path | None], progress: Progress
) -> "tuple[Iterable[Source | None], int | None]":
    """The images, and their number; None if it is not known, as on standard input.

    `written`: the files that will be written, by their flags.

    Raises:
        InputError: such a file is one of the images. On standard input, when that image comes.
    """
    from onecycle.inference import sources

    def apart(source: "Source | None") -> "Source | None":
        for flag, path in written.items():
            if source and path:
                refuse_read(flag, path, [source.path])
        return source

    if paths == (sources.STANDARD_INPUT,):
        return map(apart, sources.on_standard_input()), None
    found = [*map(apart, sources.listed(paths, progress))]
    return found, len(found)


def _made(call: Call, kind: str, classifier: "Classifier", model: str) -> "Format":
    """The format that writes the rows.

    Raises:
        InputError: calibrated probabilities are asked for, but there is no temperature.
    """
    from onecycle.inference.formats import FORMATS, Wanted

    asked = call.options.probabilities
    if asked == "calibrated" and classifier.temperature is None:
        raise InputError(
            f"--probabilities: {model} has no validation split to calibrate them by; choose raw, "
            "or train with --val-fraction"
        )
    if asked == "raw":
        classifier.temperature = None
    about: dict[str, Any] = {
        "model": model,
        "checkpoint": call.options.checkpoint,
        "probabilities": "raw" if classifier.temperature is None else "calibrated",
        "temperature": classifier.temperature or 1.0,
    }
    topk = min(call.options.topk, len(classifier.classes))
    wanted = Wanted(classifier.classes, topk, call.options.logits, about)
    return FORMATS[kind](wanted)


def _takers(
    call: Call, paths: tuple[str, ...], sheet: Path | None, classifier: "Classifier"
) -> "list[Taker]":
    """Those that the flags ask for.

    Raises:
        InputError: a folder or file can't be used, or a flag needs another one, or a run.
    """
    options, takers = call.options, []
    if options.link and not options.copy_to:
        raise InputError("--link: needs --copy-to DIR; give both")
    if options.copy_to:
        from onecycle.inference.copies import Copies

        folder = _destination(call, "copy_to", paths)
        takers.append(Copies(folder, classifier.classes, link=options.link))
    if options.grad_cam:
        from onecycle.inference.overlays import Overlays

        takers.append(Overlays(_destination(call, "grad_cam", paths), classifier))
    if sheet:
        from onecycle.inference.sheet import Sheet

        takers.append(Sheet(sheet, classifier.preprocess))
    return takers


def _destination(call: Call, option: str, paths: tuple[str, ...]) -> "Destination":
    """The folder that an option names.

    Raises:
        InputError: it is a file, its parent folder is missing, or it is in one of the `paths`.
    """
    from onecycle.inference.destination import Destination

    name, flag = getattr(call.options, option), spelled(option)
    if os.path.lexists(name) and not os.path.isdir(name):
        raise InputError(f"{flag}: '{name}' is a file; name a folder")
    if not Path(name).parent.is_dir():
        raise InputError(f"{flag}: there is no folder '{Path(name).parent}'; make it first")
    _refuse_inside(flag, name, paths)
    return Destination(Path(name))


def _refuse_inside(flag: str, name: str, paths: tuple[str, ...]) -> None:
    """Refuse to write pictures into a folder that is being read.

    Raises:
        InputError: `name` is in one of the `paths`.
    """
    from onecycle.inference.destination import Destination

    for path in paths:
        if os.path.isdir(path) and Destination(Path(path)).contains(name):
            raise InputError(
                f"{flag}: '{name}' is in '{path}', so the next prediction would read it too; name "
                "a place elsewhere"
            )


@contextmanager
def _writer(output: Path | None, stream: TextIO) -> "Iterator[Callable[[str], object]]":
    """What writes text to `stream`, or to a file that is whole or missing afterwards."""
    if output is None:
        yield lambda text: write_rows(text, stream)
        return
    from onecycle.run_dir.files import beside

    with beside(output.parent, output.name) as file:
        yield lambda text: file.write(text.encode("utf-8", "surrogateescape"))


def _classify(
    classifier: "Classifier",
    sources: "Iterable[Source | None]",
    total: int | None,
    form: "Format",
    takers: "Sequence[Taker]",
    put: Callable[[str], object],
    progress: Progress,
) -> tuple[int, int]:
    """Write a row for each image. The number of images, and of unreadable ones."""
    from onecycle.inference.formats import rows
    from onecycle.inference.preprocessing import FEW
    from onecycle.inference.stream import classified

    count = unreadable = 0
    progress.start("classifying", total or 0, "images")
    put(form.start())
    for batch in classified(classifier, sources, few=total is not None and total <= FEW):
        written = {taker.column: files for taker in takers if (files := taker.take(batch))}
        put("".join(form.row(row) for row in rows(batch, form.wanted, written)))
        count += len(batch.sources)
        unreadable += len(batch.bad)
        progress.advance(len(batch.sources), images=len(batch.sources))
    for taker in takers:
        taker.finish()
    put(form.end())
    return count, unreadable
