"""The table of commands. Each calls one function of the package and shows what it returns."""

from onecycle.cli.command import Command
from onecycle.cli.compare import compare
from onecycle.cli.data import data
from onecycle.cli.evaluate import evaluate
from onecycle.cli.export import export
from onecycle.cli.models import models
from onecycle.cli.predict import predict
from onecycle.cli.recipes import find_lr, on_a_recipe, recipes, summary
from onecycle.cli.report import report
from onecycle.cli.sweep import sweep
from onecycle.cli.training import resume, train
from onecycle.cli.trials import trials
from onecycle.config.declaring import Setting

_OF_RECIPE = ("config", "print_config", "json")
_WORK = ("threads", "mirror", "quiet", "json")
_MANY = ("into", "jobs", "engine", "address", "slurm")
"""Options of commands that take a recipe, that work on images, and that carry out many trainings.
Their order does not matter: the help has that of `Options`."""

_SEARCH = ("space", "trials", "minutes", "final_seeds", "pruning", "storage", "study")
"""Options that say how to search."""

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

_COMMON_IN_TRIALS = (
    "seeds", "one_at_a_time", "into", "jobs", "threads", "reports", "data", "val_fraction",
    "epochs",
)  # fmt: skip

_COMMON_IN_SEARCH = (
    "space", "trials", "minutes", "val_fraction", "final_seeds", "into", "jobs", "threads", "data",
    "epochs",
)  # fmt: skip

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
        _OF_RECIPE,
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
        (*_OF_RECIPE, *_WORK, "plot"),
        _all,
    ),
    "train": Command(
        on_a_recipe(train),
        "find the rates, train, and write a run folder",
        "RECIPE",
        _RECIPE,
        (*_OF_RECIPE, *_WORK, "runs", "no_report", "log"),
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
        (*_OF_RECIPE, *_WORK, *_MANY, "seeds", "one_at_a_time", "reports"),
        _all,
        many=True,
        examples=(
            "trials demo cutout=0,8,16 --seeds 5",
            "trials demo width=0.25,0.5 optimizer=sgd,adamw --val-fraction 0.1",
            "trials demo dropout=0.1,0.3 l1=1e-6,1e-5 --one-at-a-time",
            "trials --into trials/demo-20260131-120000-1a2b",
        ),
        common=_COMMON_IN_TRIALS,
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
        (*_OF_RECIPE, *_WORK, *_MANY, *_SEARCH),
        _all,
        examples=(
            "sweep demo --space space.toml --trials 30 --val-fraction 0.1",
            "sweep demo --space space.toml --minutes 20 --val-fraction 0.2",
            "sweep --into sweeps/demo-20260131-120000-1a2b",
        ),
        common=_COMMON_IN_SEARCH,
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
        (*_WORK, "verify", "allow_differences", "no_report", "log"),
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
        (*_WORK, "checkpoint", "predictions", "ignore_unknown_classes"),
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
        (*_WORK, "format", "int8", "allow_drop", "output", "checkpoint"),
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
        {"RUN": "Folder of a run; or of trials with --folds, to join their folds again."},
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
        ("baseline", "columns", "markdown", "csv", "html", "update", "check", "json"),
        many=True,
    ),
}
