"""Signals that ask a training to stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Signals:
    """The signal that came, if any: SIGINT (2) or SIGTERM (15)."""

    signal_number: int | None = None


@contextmanager
def noted_signals() -> Iterator[Signals]:
    """Note SIGINT and SIGTERM instead of dying of them; a second SIGINT interrupts at once.

    Outside the main thread, where Python forbids signal handlers, nothing is noted.
    """
    noted = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return

    def note(number: int, _: object) -> None:
        if noted.signal_number and number == signal.SIGINT:
            raise KeyboardInterrupt
        noted.signal_number = number

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
