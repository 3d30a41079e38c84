"""The page: the template, filled with the content of every section."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from onecycle.audit.evidence import Evidence
from onecycle.report.calibration import calibration
from onecycle.report.card import card
from onecycle.report.charts import charts
from onecycle.report.embedding import DESCRIBED, embedded_plots
from onecycle.report.galleries import galleries
from onecycle.report.many import many
from onecycle.report.matrix import matrix
from onecycle.report.network import network
from onecycle.report.overview import overview
from onecycle.report.predicted import Predicted
from onecycle.report.range_test import learning_rate
from onecycle.report.training import training
from onecycle.run_dir import RunDir
from onecycle.writing.pages import ENVIRONMENT

# Read on import: the package may be upgraded during a long training.
TEMPLATE = ENVIRONMENT.get_template("report.html.j2")
PARTS = [ENVIRONMENT.get_template(name) for name in ENVIRONMENT.list_templates()]


def _source(name: str) -> str:
    assert ENVIRONMENT.loader
    source, _, _ = ENVIRONMENT.loader.get_source(ENVIRONMENT, name)
    return source


STYLE, SCRIPT = _source("report/style.css"), _source("report/script.js")


def write_report(run: RunDir) -> Path:
    """Write `report.html` into the run folder, using only that folder, and return its path.

    The report of an unfinished run shows the results so far and says so.

    Raises:
        InputError: a file of the run is damaged.
        TrainingError: the file can't be written.
    """
    page = TEMPLATE.render(content(Evidence(run)))
    run.write("report.html", page.encode("utf-8", "replace"))
    return run.path / "report.html"


def content(files: Evidence) -> dict[str, Any]:
    """Everything the template shows, as text."""
    return {
        **frame(),
        "plots": embedded_plots(files.run),
        "card": card(files),
        "network": network(files),
        **overview(files),
        **learning_rate(files),
        **training(files),
        **mistakes(Predicted.by(files)),
        "charts": charts(files),  # last, because it takes longest: damaged files are refused first
    }


def frame() -> dict[str, Any]:
    """What every page in this style has; that on folds sets some of it."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return {
        "style": STYLE,
        "script": SCRIPT,
        "script_hash": f"sha256-{digest}",
        "described": DESCRIBED,
        "plots": {},
        "charts": {},
        "samples": None,
        "tested": "test",
        "folds": 0,
        "fold_of": None,
    }


def mistakes(files: Predicted) -> dict[str, Any]:
    """The sections that show predictions: confusion, classes, mistakes, calibration."""
    return {
        "calibration": calibration(files),
        **matrix(files),
        **many(files),
        **galleries(files),
    }
