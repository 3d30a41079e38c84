"""Where a driver gets trials that are chosen while others run, and who gives some of them up."""

from onecycle.trials.grid import Trial
from onecycle.trials.listening import Standing


class Source:
    """Chooses trials as they are needed. This one has none, and gives none up."""

    @property
    def to_come(self) -> int:
        """How many more trials there will be, as far as is known."""
        return 0

    @property
    def seconds_left(self) -> float | None:
        """How long trials are still begun; None if their number decides."""
        return None

    def more(self) -> Trial | None:
        """A trial to begin now, which the folder's manifest has; None if there is none."""

    def is_hopeless(self, trial: Standing) -> bool:
        """Whether a running trial is given up. It is asked several times for an epoch."""
        return False

    def ended(self, trial: Standing, message: str) -> None:
        """A trial is finished, pruned, or failed with a message."""
