"""The flags that are not settings of a recipe, declared in the same way."""

from dataclasses import dataclass
from typing import Any, Literal

from onecycle.config.declaring import setting, settings


def _option(default: Any, help: str, **more: Any) -> Any:
    return setting(default, help=help, group="", **more)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a command is asked for besides its recipe.

    Raises:
        InputError: on construction, when a value is out of its range.
    """

    # fmt: off
    config: str = _option("", metavar="RUN|FILE", path=True,
        help="A run whose recipe to use, or a TOML file. It overrides RECIPE; flags override it.")
    runs: str = _option("runs", metavar="DIR", path=True,
        help="Folder in which the run's own folder is made.")
    threads: int = _option(0, ge=0, le=1024,
        help="CPU threads; 0: PyTorch's choice.")
    mirror: str = _option("", metavar="URL,...",
        help="Addresses to fetch CIFAR from instead of the usual ones, separated by commas.")
    no_report: bool = _option(False,
        help="Draw no plots and write no report.html at the end; `onecycle report` does so later.")
    into: str = _option("", metavar="DIR", path=True,
        help="Folder of the trials: a new one, or one to go on with or add to.")
    seeds: str = _option("", metavar="N|A,B,...",
        help="How many seeds, from the recipe's own on, or which ones; 3 if not given.")
    one_at_a_time: bool = _option(False,
        help="Train the recipe, and then each value alone, in place of all combinations.")
    jobs: str = _option("auto", metavar="N|auto",
        help="Trainings at once; auto: as many as are measured to be fastest; on a GPU one each.")
    reports: Literal["auto", "none", "last", "all"] = _option("auto",
        help="Trials to draw: the best by validation (auto), the last seed of each combination.")
    engine: Literal["auto", "local", "ray", "slurm"] = _option("auto",
        help="What trains: processes here (local), a Ray cluster, or SLURM; auto: as before in "
        "this folder, else local.")
    address: str = _option("", metavar="HOST:PORT",
        help="With --engine ray: the Ray cluster. Without it, one is started on this machine.")
    slurm: str = _option("", metavar="KEY=VALUE,...",
        help="With --engine slurm: options of sbatch, as in partition=gpu,time=4:00:00,gpus=1.")
    space: str = _option("", metavar="FILE", path=True,
        help="TOML file with a table for each setting that is searched.")
    trials: int = _option(0, ge=0, le=100_000, metavar="N",
        help="How many settings are tried besides the recipe's own.")
    minutes: float = _option(0.0, ge=0, le=100_000, unit="minutes",
        help="How long new trials are begun; those that run are finished.")
    final_seeds: int = _option(3, ge=1, le=100, unit="seeds",
        help="Seeds with which winner and recipe are trained and compared in the end.")
    pruning: Literal["hyperband", "asha", "none"] = _option("hyperband",
        help="How trials that are worse than others are given up before their end.")
    storage: str = _option("", metavar="URL",
        help="Database that several drivers share; a SQLite file in the folder if not given.")
    study: str = _option("", metavar="NAME",
        help="Name of the study in the storage; the recipe's if not given.")
    log: Literal["none", "tensorboard"] = _option("none",
        help="Log elsewhere too: TensorBoard's event files, in the run folder, as it trains.")
    plot: str = _option("", metavar="FILE", path=True,
        help="PNG file for the plot of the range test.")
    contact_sheet: str = _option("", metavar="FILE", path=True,
        help="PNG file for a picture with a row of example images for each class.")
    baseline: str = _option("", metavar="NAME|RUN",
        help="Compare each recipe with this one, or with that of a run, in place of all pairs.")
    columns: str = _option("", metavar="NAME,...",
        help="Columns of the table: n, train, test, interval, val, balanced, tta, gap, loss, ece, "
        "peak, best, time, speed.")
    markdown: bool = _option(False,
        help="Print the tables as Markdown.")
    csv: bool = _option(False,
        help="Print the figures as CSV, one line per recipe.")
    html: str = _option("", metavar="FILE", path=True,
        help="HTML file for a page with the tables, curves and mistakes.")
    update: str = _option("", metavar="FILE", path=True,
        help="Markdown file whose marked tables are updated from their runs.")
    check: bool = _option(False,
        help="With --update: write nothing, and fail if a marked table is out of date.")
    clean: bool = _option(False,
        help="Empty the cache instead; name no images.")
    keep_gb: float = _option(0.0, unit="GB", ge=0,
        help="How much --clean keeps at most: the most recently used images.")
    verify: bool = _option(False,
        help="Only replay the steps between two checkpoints, and compare every bit.")
    allow_differences: bool = _option(False,
        help="Go on even if recipe, data, torch, threads or CPU differ; the run lists what did.")
    checkpoint: Literal["last", "best"] = _option("last",
        help="Weights to use: of the last step, or of the epoch with the best validation accuracy.")
    topk: int = _option(5, ge=1, unit="classes",
        help="Number of the most probable classes in each row.")
    probabilities: Literal["auto", "calibrated", "raw"] = _option("auto",
        help="Calibrated on the run's validation split, or raw; auto: calibrated if there is one.")
    logits: bool = _option(False,
        help="Add the logits of all classes to each row.")
    copy_to: str = _option("", metavar="DIR", path=True,
        help="Folder for copies of the images, in one folder per predicted class.")
    link: bool = _option(False,
        help="With --copy-to: make symbolic links instead of copies.")
    grad_cam: str = _option("", metavar="DIR", path=True,
        help="Folder for a picture of each image with what speaks for the predicted class.")
    predictions: str = _option("", metavar="FILE", path=True,
        help="File for the prediction of each image: a table (.csv) or arrays (.npz).")
    format: str = _option("", metavar="FORMAT",
        help="Format of what is written.")
    int8: bool = _option(False,
        help="Weights and activations in 8 bits (onnx only).")
    allow_drop: float = _option(1.0, unit="points", ge=0, le=100,
        help="Largest drop in test accuracy by --int8.")
    output: str = _option("", metavar="PATH", path=True,
        help="Where to write.")
    ignore_unknown_classes: bool = _option(False,
        help="Leave out images whose class the run doesn't know, and count them.")
    quiet: bool = _option(False,
        help="Show only the result and errors, no progress.")
    print_config: bool = _option(False,
        help="Print the resolved recipe as TOML; run nothing.")
    json: bool = _option(False,
        help="Print one JSON object on standard output; the rest goes to standard error.")
    # fmt: on

    def __post_init__(self) -> None:
        for name, each in settings(Options).items():
            object.__setattr__(self, name, each.check(getattr(self, name), each.flag))
