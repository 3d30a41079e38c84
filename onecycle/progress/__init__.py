"""What long work reports its progress to: nothing, a log, or the running cell of a notebook.

`onecycle.cli.terminal` has the listeners for a terminal.
"""

from onecycle.progress.listener import SILENT, Log, Progress, Together
from onecycle.progress.notebook import IN_NOTEBOOKS

__all__ = ["IN_NOTEBOOKS", "SILENT", "Log", "Progress", "Together"]
