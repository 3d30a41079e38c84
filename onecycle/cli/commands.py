"""The commands: each calls one function of the package and shows what it returns."""

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from onecycle.cli.call import Call, write
from onecycle.cli.command import Command
from onecycle.cli.compare import compare
from onecycle.cli.data import data
from onecycle.cli.export import export
from onecycle.cli.models import models
from onecycle.cli.predict import predict
from onecycle.cli.resolving import resolved
from onecycle.cli.sweep import sweep
from onecycle.cli.trials import trials
from onecycle.config import Recipe, to_toml
from onecycle.config.declaring import Setting
from onecycle.errors import TrainingError
from onecycle.recipes import RECIPES

if TYPE_CHECKING:
    from onecycle.training import Run


def on_a_recipe(work: Callable[[Call, Recipe], None]) -> Callable[[Call], None]:
    """A command that works on a recipe, or prints it if asked to."""

    def command(call: Call) -> None:
        recipe = resolved(call)
        if call.options.print_config:
            call.answer(asdict(recipe), lambda: write(to_toml(recipe)))
        else:
            work(call, recipe)

    return command


def recipes(call: Call) -> None:
    """List the named recipes. JSON: `recipes`, each with its fields and its evidence."""
    rows = []
    for name, entry in RECIPES.items():
        evidence = asdict(entry)
        rows.append({"name": name} | evidence | {"recipe": evidence["recipe"]})

    def show() -> None:
        from onecycle.cli import screens

        screens.recipes(rows)

    call.answer({"recipes": rows}, show)


def summary(call: Call, recipe: Recipe) -> None:
    """Describe the network. JSON: `parameters`, `macs`, `layers`."""
    from onecycle.cli import screens
    from onecycle.training import describe

    found = asdict(describe(recipe, network=call.network))
    call.answer(found, lambda: screens.summary(f"{recipe.model} ({recipe.recipe})", found))


def find_lr(call: Call, recipe: Recipe) -> None:
    """Run the range test. JSON: `lr_min`, `lr_max`, `suggestions`, `curve` and more."""
    plot = call.place("plot")
    with call.progress() as progress:
        from onecycle.cli import screens
        from onecycle.training import find_lr

        finding = find_lr(
            recipe, network=call.network, threads=call.options.threads, progress=progress
        )
    if plot:
        from onecycle import pictures, plots

        plots.save(pictures.range_test(finding), plot)
    found = finding.to_json()
    call.answer(found, lambda: screens.found_rates(found, call.options.plot))


def train(call: Call, recipe: Recipe) -> None:
    """Train. JSON: what result.json holds, and `run`, the folder."""
    with call.progress() as progress:
        from onecycle.training import train

        run = train(
            recipe,
            network=call.network,
            runs=call.options.runs,
            threads=call.options.threads,
            report=not call.options.no_report,
            log=call.options.log,
            command=call.command_line,
            started=call.started,
            progress=progress,
        )
    _answer_run(call, run)


def resume(call: Call) -> None:
    """Go on with a run. JSON: as of `train`; with --verify: what `Verification` holds."""
    if call.options.verify:
        verify(call)
        return
    with call.progress() as progress:
        from onecycle.training import resume

        run = resume(
            call.operand,
            data=call.given.values.get("data"),
            network=call.network,
            threads=call.options.threads,
            report=not call.options.no_report,
            log=call.options.log,
            allow_differences=call.options.allow_differences,
            progress=progress,
        )
    _answer_run(call, run)


def verify(call: Call) -> None:
    """Replay the end of a run.

    Raises:
        TrainingError: the replay differs.
    """
    with call.progress() as progress:
        from onecycle.training import verify

        found = verify(
            call.operand,
            data=call.given.values.get("data"),
            network=call.network,
            threads=call.options.threads,
            progress=progress,
        )
    told = (
        f"{found.run}: trained {_steps(found.from_step, found.to_step - 1)} again; every rate, "
        f"loss and figure and all {found.tensors} tensors are bit-identical\n"
    )
    if found.equal or call.options.json:
        call.answer(asdict(found) | {"equal": found.equal}, lambda: write(told))
    if not found.equal:
        raise TrainingError(f"{found.run}: the replay differs: {found.told}")


def _steps(first: int, last: int) -> str:
    """`steps 4 to 7`, or `step 4`."""
    return f"step {first}" if first == last else f"steps {first} to {last}"


def _answer_run(call: Call, run: "Run") -> None:
    from onecycle.cli import screens

    found = {**run.result, "run": str(run.path)}
    call.answer(found, lambda: screens.trained(run.path, run.record))


def evaluate(call: Call) -> None:
    """Evaluate a run. JSON: `test_accuracy`, `test_loss` and more, see docs/data.md."""
    predictions = call.place("predictions")
    with call.progress() as progress:
        from onecycle.cli import evaluation
        from onecycle.training import evaluate_run

        result = evaluate_run(
            call.operand,
            data=call.given.values.get("data"),
            network=call.network,
            ignore_unknown_classes=call.options.ignore_unknown_classes,
            predictions=predictions,
            checkpoint=call.options.checkpoint,
            threads=call.options.threads,
            progress=progress,
        )
    if predictions:
        result["predictions"] = str(predictions)
    call.answer(result, lambda: evaluation.evaluated(result))


def report(call: Call) -> None:
    """Write a run's report, and draw the plots that it lacks.

    JSON: `run`, `report`, the file, `drawn`, the plots drawn, and `audit`, its lines by section.
    """
    from onecycle import pictures
    from onecycle.audit import audit
    from onecycle.report import write_report
    from onecycle.run_dir import RunDir

    run = RunDir.open(call.operand)
    drawn = pictures.write_missing(run)
    path = str(write_report(run))
    lines = {name: [asdict(line) for line in found] for name, found in audit(run).items()}
    found = {"run": call.operand, "report": path, "drawn": drawn, "audit": lines}
    call.answer(found, lambda: write(f"{path}\n"))


# ----------------------------------------------------------------------------------- the table


_RECIPE = {"RECIPE": "Name of a recipe, see `onecycle recipes`; optional with --config."}
_RUN = {"RUN": "Folder of a run."}
_CODE = {"model": "Code of the run's network; only then is it run."}


def _all(_: Setting) -> bool:
    return True


def _place_of_images(setting: Setting) -> bool:
    return setting.name == "data"


def _code_of_network(setting: Setting) -> bool:
    return setting.name == "model"


def _of_a_run(setting: Setting) -> bool:
    return _place_of_images(setting) or _code_of_network(setting)


def _choice_of_images(setting: Setting) -> bool:
    return setting.decides == "images" and not _place_of_images(setting)


_COMMON = (
    "data", "epochs", "batch_size", "lr_max", "image_size", "width", "cutout", "seed", "runs",
    "threads",
)  # fmt: skip
"""Ten flags that most trainings need no more than."""

COMMANDS = {
    "recipes": Command(
        recipes, "list the recipes, with expected accuracy and time", options=("json",)
    ),
    "models": Command(models, "list the networks that are built in", options=("json",)),
    "summary": Command(
        on_a_recipe(summary),
        "show the network's layers, parameters, receptive fields",
        "RECIPE",
        _RECIPE,
        ("config", "print_config", "json"),
        _all,
    ),
    "data": Command(
        data,
        "load and check images: classes, statistics, duplicates",
        "NAME|PATH",
        {
            "NAME|PATH": "`shapes`, `cifar10`, `cifar100`, or the path of class folders, of an "
            "archive of them (.zip, .tar.gz), of a table of images (.csv), of arrays (.npz), "
            "of a saved Hugging Face data set or of a CIFAR archive."
        },
        ("contact_sheet", "clean", "keep_gb", "mirror", "quiet", "json"),
        _choice_of_images,
    ),
    "find-lr": Command(
        on_a_recipe(find_lr),
        "run the learning rate range test alone",
        "RECIPE",
        _RECIPE,
        ("config", "threads", "mirror", "plot", "quiet", "print_config", "json"),
        _all,
    ),
    "train": Command(
        on_a_recipe(train),
        "find the rates, train, and write a run folder",
        "RECIPE",
        _RECIPE,
        (
            "config",
            "runs",
            "threads",
            "no_report",
            "log",
            "mirror",
            "quiet",
            "print_config",
            "json",
        ),
        _all,
        examples=(
            "train demo",
            "train custom-resnet-8 --data photos --image-size 32",
            "train --config runs/demo-20260131-120000-1a2b --seed 1 --epochs 10",
        ),
        common=_COMMON,
    ),
    "trials": Command(
        trials,
        "train a grid of settings, with several seeds each",
        "RECIPE F=A,B",
        {
            "RECIPE F=A,B": "Name of a recipe, optional with --config; then settings with "
            "the values to try, as in cutout=0,8: all combinations are trained. Without any of "
            "them, the trials of --into go on.",
            "threads": "CPU threads in all; 0: PyTorch's choice. With Ray and SLURM those of each "
            "training.",
        },
        (
            "seeds",
            "into",
            "jobs",
            "reports",
            "engine",
            "address",
            "slurm",
            "config",
            "threads",
            "mirror",
            "quiet",
            "print_config",
            "json",
        ),
        _all,
        many=True,
        examples=(
            "trials demo cutout=0,8,16 --seeds 5",
            "trials demo width=0.25,0.5 optimizer=sgd,adamw --val-fraction 0.1",
            "trials --into trials/demo-20260131-120000-1a2b",
        ),
        common=("seeds", "into", "jobs", "threads", "reports", "data", "val_fraction", "epochs"),
    ),
    "sweep": Command(
        sweep,
        "search for better settings of a recipe",
        "RECIPE",
        {
            "RECIPE": "Name of a recipe, optional with --config. Without it, the sweep of --into "
            "goes on.",
            "into": "Folder of the sweep: a new one, or one to go on with.",
            "threads": "CPU threads in all; 0: PyTorch's choice.",
        },
        (
            "space",
            "trials",
            "minutes",
            "final_seeds",
            "pruning",
            "storage",
            "study",
            "into",
            "jobs",
            "engine",
            "address",
            "slurm",
            "config",
            "threads",
            "mirror",
            "quiet",
            "print_config",
            "json",
        ),
        _all,
        examples=(
            "sweep demo --space space.toml --trials 30 --val-fraction 0.1",
            "sweep demo --space space.toml --minutes 20 --val-fraction 0.2",
            "sweep --into sweeps/demo-20260131-120000-1a2b",
        ),
        common=(
            "space",
            "trials",
            "minutes",
            "val_fraction",
            "final_seeds",
            "into",
            "jobs",
            "threads",
            "data",
            "epochs",
        ),
    ),
    "resume": Command(
        resume,
        "go on with a stopped run, or verify that a run repeats",
        "RUN",
        _RUN
        | {
            **_CODE,
            "threads": "CPU threads; 0: as many as the run used.",
            "data": "Where the run's images are, if they have moved.",
        },
        ("verify", "allow_differences", "threads", "no_report", "log", "mirror", "quiet", "json"),
        _of_a_run,
    ),
    "evaluate": Command(
        evaluate,
        "measure a run's network on its test split or other data",
        "RUN",
        _RUN
        | {
            **_CODE,
            "data": "Other labelled images: a built-in set, or a path. Classes are matched by "
            "name. If the set has splits, only its test split is used.",
        },
        (
            "checkpoint",
            "predictions",
            "ignore_unknown_classes",
            "threads",
            "mirror",
            "quiet",
            "json",
        ),
        _of_a_run,
        examples=(
            "evaluate runs/demo-20260131-120000-1a2b",
            "evaluate runs/demo-20260131-120000-1a2b --data photos",
        ),
    ),
    "export": Command(
        export,
        "write a run's network in a form that other programs run",
        "RUN",
        _RUN
        | {
            **_CODE,
            "format": "onnx (default), pt2 (the file of torch.export), or safetensors (a folder "
            "with a model card).",
            "output": "File or folder to write, instead of RUN/export/...",
            "data": "Where the run's images are, if they have moved.",
        },
        (
            "format",
            "int8",
            "allow_drop",
            "output",
            "checkpoint",
            "threads",
            "mirror",
            "quiet",
            "json",
        ),
        _of_a_run,
    ),
    "predict": Command(
        predict,
        "classify images with a trained network",
        "RUN PATH...",
        {
            "RUN PATH...": "Folder of a finished run, or an exported ONNX file; then images, "
            "folders, tables (.csv) with a column path, or - for a list of paths on standard "
            "input.",
            **_CODE,
            "format": "table (default), csv, json, or jsonl, an object on each line; also by the "
            "ending of --output.",
            "output": "File for the rows, instead of standard output.",
            "contact_sheet": "PNG file for a picture of the least confident images of each class.",
        },
        (
            "topk",
            "format",
            "output",
            "probabilities",
            "logits",
            "copy_to",
            "link",
            "contact_sheet",
            "grad_cam",
            "checkpoint",
            "threads",
            "quiet",
            "json",
        ),
        _code_of_network,
        many=True,
        examples=(
            "predict runs/demo-20260131-120000-1a2b photos",
            "predict model.onnx photos --output predictions.csv",
        ),
    ),
    "report": Command(
        report,
        "write a run's report again, and draw missing plots",
        "RUN",
        _RUN,
        ("json",),
    ),
    "compare": Command(
        compare,
        "show which recipe is better, and whether it may be chance",
        "RUN...",
        {
            "RUN...": "Folders of runs, or folders with runs in them; runs that differ only in "
            "the seed count as one recipe. Optional with --update."
        },
        ("markdown", "csv", "html", "update", "check", "json"),
        many=True,
    ),
}
