"""What the driver tells while the trials run: how far each of them is, and all together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from onecycle.errors import InputError
from onecycle.progress import Progress
from onecycle.run_dir.reader import Reader

State = Literal["waiting", "running", "finished", "failed", "pruned"]
"""What a trial does, or how it ended; pruned: it was given up, as it is worse than others."""


@dataclass(frozen=True)
class Standing:
    """How far a trial is, as its run folder says.

    Attributes:
        state: whether a worker is on it, and how it ended.
        name: of the trial.
        epoch: epochs done.
        epochs: of the whole training.
        accuracy: of the last epoch, in [0, 1]: of the validation split if there is one.
        split: whose accuracy it is, `val` or `test`; empty before the first epoch.
        seconds_left: None if it isn't known.
    """

    state: State
    name: str
    epoch: int = 0
    epochs: int = 0
    accuracy: float | None = None
    split: str = ""
    seconds_left: float | None = None

    @property
    def share(self) -> float:
        """How much of the work is done, in [0, 1]."""
        if self.state not in ("waiting", "running"):
            return 1.0
        return self.epoch / self.epochs if self.epochs else 0.0


@dataclass(frozen=True)
class Overview:
    """How far all trials are.

    Attributes:
        trials: each of them, in their order.
        seconds_left: None if it isn't known.
        to_come: how many more there will be, as far as is known.
    """

    trials: Sequence[Standing]
    seconds_left: float | None = None
    to_come: int = 0

    def count(self, state: State) -> int:
        """How many trials are in a state."""
        return sum(each.state == state for each in self.trials)

    @property
    def share(self) -> float:
        """How much of all work is done, in [0, 1]."""
        count = len(self.trials) + self.to_come
        return sum(each.share for each in self.trials) / count if count else 1.0


class Listener:
    """Is told how the trials go. This one shows nothing."""

    def note(self, line: str) -> None:
        """One line that the user should see."""

    def overview(self, now: Overview) -> None:
        """How far the trials are; it comes several times a second."""

    def ended(self, trial: Standing, told: str, now: Overview) -> None:
        """A trial has ended. `told`: why it failed; empty if it did not."""

    def finish(self) -> None:
        """All trials have ended."""


class Passing(Listener):
    """Passes it on to the `Progress` of a notebook or of another program."""

    def __init__(self, progress: Progress, trials: int, done: int) -> None:
        self._progress = progress
        progress.start("trials", trials, "trials")
        progress.advance(done)

    def note(self, line: str) -> None:
        """A note is a note."""
        self._progress.note(line)

    def ended(self, trial: Standing, told: str, now: Overview) -> None:
        """One more is done."""
        if told:
            self._progress.note(f"{trial.name}: failed: {told}")
        self._progress.advance(1)

    def finish(self) -> None:
        """The stage is done."""
        self._progress.finish()


def standing(run: Path, name: str, state: State, epochs: int) -> Standing:
    """How far a trial is, from its run's recipe.toml and metrics.jsonl.

    `epochs`: as far as is known before the run has resolved them.
    """
    reader = Reader(run)
    try:
        epochs = reader.read_recipe().epochs
        rows = reader.epochs()
    except InputError:  # not there yet
        rows = []
    if not rows:
        return Standing(state, name, 0, epochs)
    last = rows[-1]
    split = "test" if last.val_accuracy is None else "val"
    accuracy = last.test_accuracy if last.val_accuracy is None else last.val_accuracy
    left = (epochs - last.epoch) * last.seconds / last.epoch
    return Standing(state, name, last.epoch, epochs, accuracy, split, left)
