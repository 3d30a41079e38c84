"""Signals that ask a training to stop: Ctrl-C, `kill`, a terminal that was closed."""

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from onecycle.errors import Interrupted

NUMBERS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""SIGHUP comes when a terminal is closed. Windows has none."""


class _Stopped(BaseException):
    """A signal came. No `except Exception` of a library takes it for an error of its own."""


@dataclass
class Signals:
    """The signal that came, if any, and what becomes of the work then.

    Outside of `deferred`, a signal ends the work at once, wherever it is. Files are written beside
    their place and renamed, so nothing half-done is left.

    Attributes:
        signal_number: SIGINT (2), SIGTERM (15) or SIGHUP (1); None: none came.
        run: the folder of the run at work, if there is one.
        finished: whether that run's training is finished and saved.
    """

    signal_number: int | None = None
    run: str | None = None
    finished: bool = False
    _at_once: bool = field(default=True, repr=False)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a signal is only noted: who works there looks for it, and saves first."""
        before, self._at_once = self._at_once, False
        try:
            yield
        finally:
            self._at_once = before
        self.heed()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within `deferred`: inside this, a signal ends the work at once again.

        Raises:
            Interrupted: one came, now or before.
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

        What a signal raises is lost where Python runs a finalizer, so it is asked for now and then.
        """
        if self.signal_number and self._at_once:
            raise _Stopped

    def came(self, number: int, _: object = None) -> None:
        """The handler: the first signal counts; a second Ctrl-C ends even what is deferred."""
        if self.signal_number is None:
            self.signal_number = number
            self.heed()
        elif number == signal.SIGINT:
            raise _Stopped

    def _interrupted(self) -> Interrupted:
        assert self.signal_number
        return Interrupted(self.signal_number, self.run, finished=self.finished)


@contextmanager
def noted_signals(run: str | None = None) -> Iterator[Signals]:
    """Have SIGINT, SIGTERM and SIGHUP end the work inside well, as `Signals` says.

    A signal that is ignored stays ignored: `nohup` does so with SIGHUP, a shell with SIGINT for
    what it starts in the background. Outside the main thread, where Python forbids signal handlers,
    nothing is noted.

    Args:
        run: the folder of the run at work, for `Interrupted`.

    Raises:
        Interrupted: a signal came.
    """
    noted, before = Signals(run=run), {}
    try:
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.getsignal(number) for number in NUMBERS}
            for number in _heeded(before):
                signal.signal(number, noted.came)
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
    """The signals that are not ignored, nor handled by other than Python."""
    return [n for n, handler in handlers.items() if handler not in (signal.SIG_IGN, None)]
