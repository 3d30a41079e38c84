"""One self-contained HTML file from a run folder: for any browser, offline, on paper."""

from onecycle.report.page import write_report
from onecycle.report.pictures import PLOTS
from onecycle.report.words import wilson

__all__ = ["PLOTS", "wilson", "write_report"]
