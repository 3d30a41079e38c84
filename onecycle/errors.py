"""The errors that a user is meant to read: one line each, naming the thing and the remedy."""


class InputError(ValueError):
    """A mistake in what the user gave: an option, a file, a folder, an image. Exit code 2."""


class TrainingError(RuntimeError):
    """The work itself failed, for instance with a non-finite loss. Exit code 1."""


class KernelsUnavailable(RuntimeError):
    """The compiled kernels can't serve here, and why, in a few words. PyTorch's operations do."""


class StaleError(RuntimeError):
    """A file that is written from runs does not say what they say. Exit code 1."""


class Interrupted(Exception):
    """The work was stopped by a signal after a clean save. Exit code 128 + the signal's number.

    Attributes:
        signal_number: the signal: 1 (SIGHUP), 2 (SIGINT) or 15 (SIGTERM).
        run: the folder of the run that can be resumed, or None when there is none yet.
        finished: whether that run's training is finished and saved; only its pictures and its
            report are missing then.
    """

    def __init__(
        self, signal_number: int, run: str | None = None, *, finished: bool = False
    ) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number
        self.run = run
        self.finished = finished
