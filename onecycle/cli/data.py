"""`onecycle data`: describe images, draw their contact sheet, or clean the cache."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from onecycle.cli.call import Call, with_listed
from onecycle.config import Recipe, override
from onecycle.config.declaring import spelled
from onecycle.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from onecycle.data import Splits

GB = 10**9


def data(call: Call) -> None:
    """Describe images. JSON: see docs/data.md."""
    if call.options.clean:
        clean(call)
        return
    if call.options.keep_gb:
        raise InputError("--keep-gb: needs --clean; give both")
    if not call.operand:
        raise InputError("data: needs NAME|PATH; see onecycle data --help")
    sheet = call.place("contact_sheet", with_listed(call.operand), picture=True)
    with call.progress() as progress:
        from onecycle.cli import screens
        from onecycle.data import splits_of
        from onecycle.data.describe import describe_data
        from onecycle.data.folder.messages import left_out_text

        splits = splits_of(override(Recipe(data=call.operand), **call.given.values), progress)
        found = describe_data(splits, progress=progress).to_json()
        left_out = left_out_text(splits.left_out) if splits.left_out else ""
        if sheet:
            _draw(splits, sheet)
            found["contact_sheet"] = str(sheet)
    call.answer(found, lambda: screens.data(found, left_out))


def _draw(splits: "Splits", path: "Path") -> None:
    """The contact sheet of the train split."""
    from onecycle import plots
    from onecycle.data.class_examples import examples_of_classes

    train = splits.train
    figure = plots.contact_sheet(
        train.images_NHWC,
        examples_of_classes(train),
        train.classes,
        train.class_counts(),
        splits.source,
    )
    plots.save(figure, path)


def clean(call: Call) -> None:
    """Remove what the cache holds. JSON: what `cache.clean` returns."""
    if call.operand:
        raise InputError(f"--clean: empties the whole cache; leave out '{call.operand}'")
    others = [*call.given.values, *(["contact_sheet"] if call.options.contact_sheet else [])]
    if others:
        raise InputError(
            f"--clean: can be combined only with --keep-gb; leave out {spelled(others[0])}"
        )
    from onecycle.cli import screens
    from onecycle.data import cache

    removed = asdict(cache.clean(keep_bytes=round(GB * call.options.keep_gb)))
    call.answer(removed, lambda: screens.cleaned(removed))
