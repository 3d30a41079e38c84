"""Signals that ask a training to stop: Ctrl-C, `kill`, a terminal that was closed."""

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from onecycle.errors import Interrupted
from onecycle.processes.group import SINGLE, Processes

NUMBERS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""SIGHUP comes when a terminal is closed. Windows has none."""


class _Stopped(BaseException):
    """A signal came. It is not an `Exception`, so that no library catches it as an error."""


@dataclass
class Signals:
    """The signal that came, if any, and how it ends the work.

    Outside `deferred`, a signal ends the work immediately. Each file is written under another name
    and then renamed, so nothing is left half-written.

    Attributes:
        signal_number: SIGINT (2), SIGTERM (15) or SIGHUP (1); None if none came.
        run: the folder of the current run, if there is one.
        finished: whether that run's training is finished and saved.
    """

    signal_number: int | None = None
    run: str | None = None
    finished: bool = False
    _at_once: bool = field(default=True, repr=False)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A context in which a signal is only recorded, so that the work can save first."""
        before, self._at_once = self._at_once, False
        try:
            yield
        finally:
            self._at_once = before
        self.heed()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A context within `deferred` in which a signal ends the work immediately.

        Raises:
            Interrupted: a signal came, now or before.
        """
        before, self._at_once = self._at_once, True
        try:
            self.heed()
            yield
        except _Stopped:
            raise self._interrupted() from None
        finally:
            self._at_once = before

    def heed(self) -> None:
        """End the work if a signal has come and is not deferred.

        An exception that a signal raises in a finalizer is lost, so this is called now and then.
        """
        if self.signal_number and self._at_once:
            raise _Stopped

    def came(self, number: int, _: object = None) -> None:
        """The handler. The first signal counts. A second Ctrl-C ends even deferred work."""
        if self.signal_number is None:
            self.signal_number = number
            self.heed()
        elif number == signal.SIGINT:
            raise _Stopped

    def _interrupted(self) -> Interrupted:
        assert self.signal_number
        return Interrupted(self.signal_number, self.run, finished=self.finished)


@contextmanager
def noted_signals(run: str | None = None, processes: Processes = SINGLE) -> Iterator[Signals]:
    """A context in which SIGINT, SIGTERM and SIGHUP end the work cleanly, as `Signals` describes.

    An ignored signal stays ignored: `nohup` ignores SIGHUP, and a shell ignores SIGINT for jobs in
    the background. Outside the main thread, Python allows no signal handlers, so nothing happens.

    Args:
        run: the folder of the current run, for `Interrupted`.
        processes: those that work together. A signal then takes effect in all of them at the same
            point of the work.

    Raises:
        Interrupted: a signal came.
    """
    noted, before = Signals(run=run), {}
    handler = noted.came
    if processes.count > 1:
        processes.agreed, handler = noted.came, processes.hear
    try:
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.getsignal(number) for number in NUMBERS}
            for number in _heeded(before):
                signal.signal(number, handler)
        yield noted
    except _Stopped:
        raise noted._interrupted() from None
    except Interrupted as stop:
        if stop.run or run is None:
            raise
        raise Interrupted(stop.signal_number, run, finished=noted.finished) from None
    finally:
        noted._at_once = False
        for number in _heeded(before):
            signal.signal(number, before[number])


def _heeded(handlers: Mapping[int, object]) -> list[int]:
    """The signals that are not ignored and have a handler that Python knows."""
    return [n for n, handler in handlers.items() if handler not in (signal.SIG_IGN, None)]
