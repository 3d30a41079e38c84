"""Pictures and report of a finished training, drawn from its folder alone."""

from onecycle import pictures
from onecycle.progress import Progress
from onecycle.report import write_report
from onecycle.run_dir import RunDir
from onecycle.training.signals import Signals


def draw(run: RunDir, stop: Signals, progress: Progress) -> None:
    """Draw all plots and write report.html. A signal can end it between two files."""
    progress.start("drawing plots and report", 1, "stage")
    for name in pictures.write(run):
        progress.picture(run.plots / f"{name}.png")
    stop.heed()
    write_report(run)
    progress.finish()
