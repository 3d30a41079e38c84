"""`onecycle export`: write a run's network in a form that other programs run."""

from typing import TYPE_CHECKING

from onecycle.cli.call import Call

if TYPE_CHECKING:
    from onecycle.exporting import Agreement, Comparison, Exported


def export(call: Call) -> None:
    """Export a run. JSON: `run`, `output`, `facts`, what it says about itself, and `check`."""
    options = call.options
    with call.progress() as progress:
        from onecycle.exporting import DEFAULT, export
        from onecycle.run_dir.checking import to_json

        made = export(
            call.operand,
            format=options.format or DEFAULT,
            int8=options.int8,
            output=options.output or None,
            data=call.given.values.get("data"),
            network=call.network,
            checkpoint=options.checkpoint,
            allow_drop=options.allow_drop,
            threads=options.threads,
            progress=progress,
        )
    found = {"run": call.operand, "output": str(made.path)}
    found |= {"facts": to_json(made.facts), "check": to_json(made.check)}
    call.answer(found, lambda: _show(call.operand, made))


def _show(run: str, made: "Exported") -> None:
    """Where it is, what it reaches, and how far its answers are from those of the network."""
    from onecycle.cli.screens import print_pairs
    from onecycle.writing.numbers import amount, counted, percent

    facts, check, path = made.facts, made.check, made.path
    files = list(path.iterdir()) if path.is_dir() else [path]
    size = amount(sum(file.stat().st_size for file in files))
    low, high = (percent(share) for share in facts.test_accuracy_interval)
    accuracy, images = percent(facts.test_accuracy), counted(facts.test_images, "image")
    form = "float32 " if check.quantized else ""  # that form is compared
    pairs = {
        "written": f"{path} ({size})",
        "test accuracy": f"{accuracy} of {images} (95 % interval {low} to {high})",
        f"{form}against PyTorch": _told(check.network),
    }
    if check.run:
        told = f"{_told(check.run)}; the run computed in {check.run_precision}"
        pairs[f"{form}against the run"] = told
    if check.quantized:
        pairs |= _rows(check.quantized)
    print_pairs(f"{run} as {check.format}", pairs)


def _told(found: "Agreement") -> str:
    """`probabilities within 6.0e-07, 256 of 256 test images with the same class`."""
    from onecycle.writing.numbers import counted

    images = counted(found.images, "test image")
    return (
        f"probabilities within {found.largest_difference:.1e}, {found.equal_classes:,} of "
        f"{images} with the same class"
    )


def _rows(found: "Comparison") -> dict[str, str]:
    """Accuracy and speed of both forms."""
    from onecycle.writing.numbers import percent

    return {
        name: f"{percent(each.test_accuracy)} at {each.images_per_second:,.0f} images/s"
        for name, each in (("float32", found.float32), ("int8", found.int8))
    }
