"""Progress in the output of a notebook's cell, shown by default.

IPython's own display handles show the text once and then replace it. So it needs no widgets,
looks the same in Jupyter, Colab and editors, and its last state is stored with the notebook.
"""

import sys
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from onecycle.progress.listener import SILENT, Progress
from onecycle.progress.stage import LiveProgress, duration, header, live_line, table_row

WORTH_A_LINE = 1.0
"""Seconds that a stage must last to leave a line when it is done."""

COLUMNS = 100
"""Columns of the live line."""


class NotebookProgress(LiveProgress):
    """The text of one cell: a line for each note and epoch, and below them a live line."""

    interval = 0.5

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []
        self._handle: Any = None

    def epoch(self, row: Mapping[str, float]) -> None:
        if not self._has_header:
            self._has_header = True
            self._lines += header(row)
        self._lines.append(table_row(row))
        now = perf_counter()
        if self._stages:
            self._stages[-1].pause_over(now)
        self._draw(now)

    def finish(self) -> None:
        if not self._stages:
            return
        stage, now = self._stages.pop(), perf_counter()
        if now - stage.began >= WORTH_A_LINE:
            self._lines.append(f"{stage.title}: done in {duration(now - stage.began)}")
        self._has_header = False  # later epochs belong to another training
        self._draw(now)

    def note(self, line: str) -> None:
        self._lines.append(line)
        self._draw(perf_counter())

    def _draw(self, now: float) -> None:
        self._drawn = now
        live = [live_line(self._stages[-1], now, COLUMNS).plain] if self._stages else []
        text = "\n".join([*self._lines, *live])
        if self._handle is None and text:
            from IPython.display import display

            self._handle = display({"text/plain": text}, raw=True, display_id=True)
        elif self._handle is not None:
            self._handle.update({"text/plain": text}, raw=True)


class InNotebooks(Progress):
    """Shows progress in the cell that is running, and is silent outside notebooks."""

    def __init__(self) -> None:
        self._cell: int | None = None
        self._listener: Progress = SILENT

    def start(self, title: str, total: int, unit: str = "steps") -> None:
        self._current().start(title, total, unit)

    def advance(self, count: int = 1, **figures: float) -> None:
        self._current().advance(count, **figures)

    def epoch(self, row: Mapping[str, float]) -> None:
        self._current().epoch(row)

    def finish(self) -> None:
        self._current().finish()

    def note(self, line: str) -> None:
        self._current().note(line)

    def _current(self) -> Progress:
        """The listener of the running cell; each cell has its own."""
        cell = _running_cell()
        if cell is None:
            return SILENT
        if cell != self._cell:
            self._cell, self._listener = cell, NotebookProgress()
        return self._listener


def _running_cell() -> int | None:
    """The number of the cell that is running in this process's notebook; None if there is none."""
    ipython = sys.modules.get("IPython")  # a notebook has imported it already
    shell: Any = ipython.get_ipython() if ipython is not None else None
    return shell.execution_count if hasattr(shell, "kernel") else None


IN_NOTEBOOKS = InNotebooks()
"""The default listener of long work: shown in notebooks, silent elsewhere."""
