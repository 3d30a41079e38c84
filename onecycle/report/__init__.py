"""One self-contained HTML file from a run folder: for any browser, offline, on paper."""

from onecycle.report.embedding import PLOTS
from onecycle.report.formats import wilson
from onecycle.report.page import write_report

__all__ = ["PLOTS", "wilson", "write_report"]
