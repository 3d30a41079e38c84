"""The flags that are no part of a recipe, declared like the recipe's own settings."""

from dataclasses import dataclass
from typing import Any

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
        help="A run, to train by its recipe, or a TOML file. A flag beats it, and it beats RECIPE.")
    runs: str = _option("runs", metavar="DIR", path=True,
        help="Folder in which the run's own folder is made.")
    threads: int = _option(0, ge=0, le=1024,
        help="CPU threads; 0: PyTorch's choice.")
    mirror: str = _option("", metavar="URL,...",
        help="Addresses, with commas between them, to fetch CIFAR from instead of the usual ones.")
    no_report: bool = _option(False,
        help="Draw no plots and write no report.html at the end; `onecycle report` does so later.")
    plot: str = _option("", metavar="FILE", path=True,
        help="PNG file for the plot of the range test.")
    contact_sheet: str = _option("", metavar="FILE", path=True,
        help="PNG file for a picture with a row of example images for each class.")
    markdown: bool = _option(False,
        help="Print the tables as Markdown.")
    csv: bool = _option(False,
        help="Print the figures as CSV, a line for each recipe.")
    html: str = _option("", metavar="FILE", path=True,
        help="HTML file for a page with all of it: tables, curves, mistakes.")
    update: str = _option("", metavar="FILE", path=True,
        help="Markdown file whose marked tables are written again from their runs.")
    check: bool = _option(False,
        help="With --update: write nothing, and fail if a marked table is not up to date.")
    clean: bool = _option(False,
        help="Remove what the cache holds, instead; no images are named then.")
    keep_gb: float = _option(0.0, unit="GB", ge=0,
        help="What --clean leaves in the cache at most: the images that were used last.")
    verify: bool = _option(False,
        help="Train nothing new: replay the steps between two checkpoints, and compare each bit.")
    allow_differences: bool = _option(False,
        help="Go on although recipe, data, torch, threads or CPU differ; the run lists what did.")
    predictions: str = _option("", metavar="FILE", path=True,
        help="File for what the network says of each image: a table (.csv), or arrays (.npz).")
    ignore_unknown_classes: bool = _option(False,
        help="Leave images out whose class the run doesn't know, and count them.")
    quiet: bool = _option(False,
        help="Show no progress: only the result, and errors.")
    print_config: bool = _option(False,
        help="Print the resolved recipe as TOML; run nothing.")
    json: bool = _option(False,
        help="Print one JSON object on standard output; all else goes to standard error.")
    # fmt: on

    def __post_init__(self) -> None:
        for name, each in settings(Options).items():
            object.__setattr__(self, name, each.check(getattr(self, name), each.flag))
