"""The errors that users read: one line each, which names the cause and the remedy."""


class InputError(ValueError):
    """A mistake in the user's input: an option, a file, a folder, an image. Exit code 2."""


class TrainingError(RuntimeError):
    """The work itself failed, for example because the loss is not finite. Exit code 1."""


class ProcessLost(TrainingError):
    """Another process of the same training is gone, so that nothing can be exchanged with it."""


class KernelsUnavailable(RuntimeError):
    """The reason why the compiled kernels can't be used here; PyTorch's operations are used."""


class StaleError(RuntimeError):
    """A file that is generated from runs does not match them. Exit code 1."""


class Interrupted(Exception):
    """The work was stopped by a signal after a clean save. Exit code 128 + the signal's number.

    Attributes:
        signal_number: the signal: 1 (SIGHUP), 2 (SIGINT) or 15 (SIGTERM).
        run: the folder of the run that can be resumed, or None if there is none yet.
        finished: whether that run's training is finished and saved, so that only its pictures and
            its report are missing.
        go_on: the command line that goes on with the work, if that is not `onecycle resume`.
    """

    def __init__(
        self,
        signal_number: int,
        run: str | None = None,
        *,
        finished: bool = False,
        go_on: str = "",
    ) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number
        self.run = run
        self.finished = finished
        self.go_on = go_on
