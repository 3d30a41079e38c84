"""Where a sweep's driver gets its trials: from the study, which is told how each of them goes."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from onecycle.errors import InputError
from onecycle.run_dir import RunDir
from onecycle.run_dir.reader import Reader
from onecycle.run_dir.records import EpochRow
from onecycle.sweep.space import Space
from onecycle.sweep.study import RECIPE, Proposal, Study
from onecycle.trials import manifest as manifests
from onecycle.trials.folder import TrialsFolder
from onecycle.trials.grid import Trial, added_trial
from onecycle.trials.listening import Standing
from onecycle.trials.source import Source

MOST_REFUSED = 200
"""So many points in a row that the recipe refuses end the sweep: the space must be wrong."""


class Proposals(Source):
    """Asks the study for settings as long as more trials may begin.

    The first trial is the recipe as it is. What its run made of `auto` is told to the study, so
    that the search starts from there.
    """

    def __init__(
        self,
        study: Study,
        space: Space,
        place: TrialsFolder,
        *,
        trials: int | None,
        seconds: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args as in `search`; `seconds`: how long trials are begun."""
        self._study, self._space, self._place = study, space, place
        self._most, self._clock = trials, clock
        self._deadline = None if seconds is None else clock() + seconds
        self._manifest = manifests.known(place.path)
        self._base = self._manifest.base()
        self._begun: Iterator[Proposal] = iter(list(study.begun()))
        self._numbers: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self._wants_recipe = study.baseline is None

    @property
    def to_come(self) -> int:
        """How many more trials may begin, if their number decides."""
        return 0 if self._most is None else max(0, self._most - self._study.count)

    @property
    def seconds_left(self) -> float | None:
        """How long trials are still begun."""
        return None if self._deadline is None else max(0.0, self._deadline - self._clock())

    def more(self) -> Trial | None:
        """The recipe, a trial that a kill has cut off, or new settings.

        Raises:
            InputError: hundreds of settings in a row don't fit the recipe.
        """
        if self._wants_recipe:
            self._wants_recipe = False
            trial = self._added(RECIPE, {})
            if not self._ended_unseen(trial):
                return trial
        refusal = ""
        for _ in range(MOST_REFUSED):
            proposal = next(self._begun, None)
            if proposal is None:
                if not self._may_begin():
                    return None
                proposal = self._study.ask()
            name = f"trial-{proposal.number:04d}"
            self._numbers[name], self._seen[name] = proposal.number, 0
            try:
                trial = self._added(name, proposal.point)
            except InputError as error:
                refusal = str(error)
                self._study.fail(self._numbers.pop(name), refusal)
                continue
            if not self._ended_unseen(trial):
                return trial
        raise InputError(
            f"--space: hardly any point fits the recipe ({MOST_REFUSED} were refused one after "
            f"the other); the last one: {refusal}"
        )

    def _ended_unseen(self, trial: Trial) -> bool:
        """Whether a trial was finished after its driver was killed; the study is told now."""
        if not self._place.finished(trial.name):
            return False
        epochs = len(self._rows(trial.name))
        self.ended(Standing("finished", trial.name, epochs, epochs), "")
        return True

    def is_hopeless(self, trial: Standing) -> bool:
        """Whether the study gives the trial up, after an epoch that is new."""
        self._study.sign()
        number = self._numbers.get(trial.name)
        if number is None or trial.epoch <= self._seen[trial.name]:
            return False
        for row in self._rows(trial.name)[self._seen[trial.name] :]:
            self._seen[trial.name] = row.epoch
            accuracy = row.val_accuracy
            if accuracy is not None and self._study.is_hopeless(number, row.epoch, accuracy):
                return row.epoch < trial.epochs
        return False

    def ended(self, trial: Standing, message: str) -> None:
        """Tell the study how the trial ended."""
        rows = self._rows(trial.name)
        seconds = rows[-1].seconds if rows else 0.0
        if trial.name == RECIPE:
            self._tell_baseline(trial, seconds)
            return
        number = self._numbers.pop(trial.name)
        if trial.state == "finished":
            accuracy = _val_accuracy(self._place, trial.name)
            self._study.complete(number, accuracy, seconds, max(row.epoch for row in rows))
        elif trial.state == "pruned":
            self._study.give_up(number, seconds)
            RunDir(self._place.run(trial.name)).remove_checkpoints()
        else:
            self._study.fail(number, message, seconds)

    def _tell_baseline(self, trial: Standing, seconds: float) -> None:
        """Tell the study what the recipe itself reached, and to begin there."""
        if trial.state != "finished":
            return
        resolved = Reader(self._place.run(RECIPE)).read_recipe()
        accuracy = _val_accuracy(self._place, RECIPE)
        self._study.start_from(self._space.nearest_to(resolved), accuracy, trial.epochs, seconds)

    def _added(self, name: str, settings: Mapping[str, Any]) -> Trial:
        """The trial, of which the folder's manifest knows from now on."""
        trial = added_trial(self._base, name, settings)
        self._place.hold([name])
        if name not in self._manifest.added:
            # The driver writes how the machine is shared into it, after the first trial is there.
            self._manifest = manifests.read(self._place.path) or self._manifest
            self._manifest = self._manifest.with_trial(name, settings)
            manifests.write(self._place.path, self._manifest)
        return trial

    def _may_begin(self) -> bool:
        left = self.seconds_left
        return (self._most is None or self.to_come > 0) and (left is None or left > 0)

    def _rows(self, name: str) -> list[EpochRow]:
        try:
            return Reader(self._place.run(name)).epochs()
        except InputError:
            return []


def _val_accuracy(place: TrialsFolder, name: str) -> float:
    result = RunDir(place.run(name)).result()
    assert result
    assert result.val_accuracy is not None
    return result.val_accuracy
