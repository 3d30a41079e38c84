"""What carries out trials: the contract between the driver and an engine.

An engine starts a worker for each trial, somewhere where the folder of the trials can be reached.
How far a trial is, and how it ended, is read from that folder and not asked of the engine.
"""

from typing import NamedTuple, Protocol


class Ended(NamedTuple):
    """A worker that has ended.

    Attributes:
        name: of its trial.
        code: its exit code, or minus the signal that killed it; None if it isn't known.
    """

    name: str
    code: int | None


class Engine(Protocol):
    """Starts workers, and notices when they end."""

    @property
    def free(self) -> int:
        """How many more trials it can begin now."""
        ...

    def submit(self, name: str) -> None:
        """Start a worker for a trial, and return at once."""
        ...

    def poll(self) -> list[Ended]:
        """The workers that have ended since the last call."""
        ...

    def cancel(self, name: str) -> None:
        """Ask a trial's worker to save and end; `poll` tells when it has. Nothing if none runs."""
        ...

    def stop(self) -> None:
        """Ask all workers to save and end, and wait for that; a worker that doesn't is killed."""
        ...

    def close(self) -> None:
        """End what still runs, at once."""
        ...
