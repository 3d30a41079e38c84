"""Turn a run folder into one self-contained HTML file: for any browser, offline, printable."""

from onecycle.report.embedding import PLOTS
from onecycle.report.formats import wilson
from onecycle.report.page import write_report

__all__ = ["PLOTS", "wilson", "write_report"]
