"""`run`: the table of contents of many trainings."""

import shlex
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from onecycle.config import Recipe
from onecycle.errors import Interrupted
from onecycle.progress import IN_NOTEBOOKS, Progress
from onecycle.training.signals import Signals, noted_signals
from onecycle.trials import engines
from onecycle.trials import manifest as manifests
from onecycle.trials.engine import Ended, Engine
from onecycle.trials.folder import TrialsFolder
from onecycle.trials.folds import across_folds, cross_validated
from onecycle.trials.grid import Grid, Trial, checked_grid, checked_seeds, trials_of
from onecycle.trials.jobs import Wanted
from onecycle.trials.listening import Listener, Overview, Passing, Standing, State, standing
from onecycle.trials.manifest import Manifest
from onecycle.trials.refusals import check, check_weights
from onecycle.trials.results import Reports, Trials, chosen, compared, draw, gathered
from onecycle.trials.source import Source
from onecycle.writing.numbers import counted

AGAIN = 2
"""How often a trial is tried again whose worker was killed."""

INTERVAL = 0.2
"""Seconds between two looks at the workers."""


def run(
    recipe: Recipe,
    grid: Grid | None = None,
    *,
    seeds: int | Sequence[int] = 3,
    one_at_a_time: bool = False,
    network: str | None = None,
    into: str | Path = "",
    jobs: Wanted = "auto",
    threads: int = 0,
    engine: engines.Name = "auto",
    address: str = "",
    slurm: Mapping[str, str] | None = None,
    reports: Reports = "auto",
    command: Sequence[str] = (),
    listener: Listener | None = None,
    progress: Progress = IN_NOTEBOOKS,
) -> Trials:
    """Train a recipe for every combination of a grid's values, with several seeds each.

    Called again with the same folder, it goes on: what is finished is kept.

    Args:
        recipe: what all trials have in common. If it has `folds`, each of them is a trial.
        grid: the values of each setting that varies, such as `{"cutout": [0, 8]}`.
        seeds: how many, from the recipe's seed on; or which.
        one_at_a_time: train the recipe as it is, and then with each value of the grid alone, in
            place of all combinations.
        network: the name of a network of your own, as in `train`. Processes can't get a function.
        into: the folder of the trials; empty: a new one under `trials`.
        jobs: trainings at once; auto: as many as are measured to be fastest.
        threads: CPU threads in all; 0: PyTorch's choice. On a cluster, those of each training.
        engine: what carries them out; auto: as before in this folder, else `local`.
        address: of the Ray cluster; empty: one that is started for them.
        slurm: options of sbatch by their long names, such as `{"partition": "gpu"}`.
        reports: which trials get pictures and a report; see `Reports`.
        command: the command line, for trials.json.
        listener: is told how the trials go; None: `progress` is.
        progress: listens.

    Raises:
        InputError: a value is refused, or the folder holds other trials. Nothing was trained.
        ModuleNotFoundError: the extra of the engine is not installed.
        TrainingError: the connection to the cluster is lost.
        Interrupted: SIGINT, SIGTERM or SIGHUP came. The work is saved, and another call goes on.
    """
    recipe, grid = across_folds(recipe, grid or {})
    grid = checked_grid(grid)
    if isinstance(seeds, int):
        seeds = range(recipe.seed, recipe.seed + seeds)
    seeds = checked_seeds(seeds)
    trials = trials_of(recipe, grid, seeds, one_at_a_time=one_at_a_time)
    carrier = engines.Asked(engine, address, slurm or {}, jobs, threads).settled(into)
    check(trials, network, here=carrier.engine == "local")
    check_weights(trials, into)
    place = TrialsFolder.at(into, recipe)
    asked = manifests.new(recipe, grid, seeds, network, tuple(command), one_at_a_time=one_at_a_time)
    again = command_to_go_on(place, network)
    with interrupted_until(again), place.driving(), noted_signals() as stop:
        place.hold(trial.name for trial in trials)
        found, failures = settled(place, asked, carrier), dict[str, str]()
        left = [trial for trial in trials if not place.finished(trial.name)]
        if listener is None:
            listener = Passing(progress, len(trials), len(trials) - len(left))
        listener.note(f"trials: {place.path}")
        if left:
            found, failures = carry_out(place, found, trials, left, carrier, listener, stop)
        listener.finish()
        results = gathered(place, trials, failures)
        crossed = recipe.folds if "fold" in grid else 0
        drawn = chosen(results, reports, crossed=bool(crossed))
        draw(place, drawn)
        return Trials(
            place.path,
            results,
            found.jobs,
            drawn,
            None if crossed else compared(results),
            cross_validated(place.path, results, crossed, reports) if crossed else (),
            network,
        )


def carry_out(
    place: TrialsFolder,
    found: Manifest,
    trials: Sequence[Trial],
    left: Sequence[Trial],
    carrier: engines.Asked,
    listener: Listener,
    stop: Signals,
    source: Source | None = None,
) -> tuple[Manifest, dict[str, str]]:
    """Have the manifest's engine carry out trials, and those that `source` adds.

    Args:
        place: the folder of the trials.
        found: its manifest, with the engine.
        trials: what is carried out; what is finished is only shown.
        left: trials to come, which decide how many run at once.
        carrier: how many at once, and with how many threads.
        listener: is told how they go.
        stop: a signal ends all workers.
        source: adds trials.

    Returns:
        The manifest with how many run at once, which is written; why trials failed, by name.
    """
    beginning = engines.begun(place, found, left, carrier, listener)
    with beginning as (engine, found), stop.deferred():
        manifests.write(place.path, found)
        driver = Driver(place, trials, engine, listener, source)
        driver.drive(stop)
        return found, driver.failures


def settled(place: TrialsFolder, asked: Manifest, engine: engines.Asked) -> Manifest:
    """The folder's manifest, with the trials that are new and the engine; it is written."""
    old = manifests.read(place.path)
    found = asked if old is None else manifests.extended(old, asked, place.path)
    found = engine.noted_in(found)
    if found != old:
        manifests.write(place.path, found)
    return found


@contextmanager
def interrupted_until(command: str) -> Iterator[None]:
    """A context in which an interruption names the command line that goes on with the work."""
    try:
        yield
    except Interrupted as stopped:
        raise Interrupted(stopped.signal_number, go_on=command) from None


def command_to_go_on(place: TrialsFolder, network: str | None) -> str:
    """The command line that goes on with the trials of a folder."""
    return f"onecycle trials --into {shlex.quote(str(place.path))}{flag_of_code(network)}"


def flag_of_code(network: str | None) -> str:
    """The flag that gives the code of a network again; empty if it is built in."""
    return f" --model {shlex.quote(network)}" if network and ":" in network else ""


class Driver:
    """Gives trials to an engine until all have ended.

    It knows only what the run folders and the engine say, so it may be killed and started again.
    """

    def __init__(
        self,
        place: TrialsFolder,
        trials: Sequence[Trial],
        engine: Engine,
        listener: Listener,
        source: Source | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place, self._trials, self._engine = place, list(trials), engine
        self._listener, self._clock = listener, clock
        self._source, self._pruned = source or Source(), set[str]()
        self._state: dict[str, State] = {
            t.name: "finished" if place.finished(t.name) else "waiting" for t in trials
        }
        self._waiting = deque(name for name, state in self._state.items() if state == "waiting")
        self._deaths: dict[str, int] = {}
        self._had: dict[str, set[str]] = {}
        self._ended: dict[str, Standing] = {}
        self.failures: dict[str, str] = {}
        self._began, self._share = clock(), 1.0
        self._share = self.now().share

    def drive(self, stop: Signals) -> None:
        """Until all trials have ended, or a signal came and the workers have saved."""
        while True:
            if stop.signal_number:
                self._engine.stop()
                return
            for ended in self._engine.poll():
                self._end(ended)
            while self._engine.free > 0 and (name := self._next()):
                self._place.forget_outcome(name)
                self._had[name] = self._place.checkpoints(name)
                self._engine.submit(name)
                self._state[name] = "running"
            if "running" not in self._state.values():
                return
            now = self.now()
            self._prune(now)
            self._listener.overview(now)
            time.sleep(INTERVAL)

    def _next(self) -> str:
        """The trial to begin now: one that waits, or a new one; empty if there is none."""
        if self._waiting:
            return self._waiting.popleft()
        trial = self._source.more()
        if trial is None:
            return ""
        self._trials.append(trial)
        return trial.name

    def _prune(self, now: Overview) -> None:
        """End the workers of trials that are given up."""
        for trial in now.trials:
            runs = trial.state == "running" and trial.name not in self._pruned
            if runs and self._source.is_hopeless(trial):
                self._pruned.add(trial.name)
                self._engine.cancel(trial.name)

    def _end(self, ended: Ended) -> None:
        """Note how a worker ended: its trial is finished, failed, or tried again."""
        name, outcome = ended.name, self._place.outcome(ended.name)
        if self._place.finished(name):
            self._close(name, "finished", "")
        elif name in self._pruned:
            self._close(name, "pruned", "")
        elif outcome and outcome.state == "failed":
            self._close(name, "failed", outcome.message)
        elif ended.code is not None and 0 <= ended.code < 128:
            told = f"its worker ended with code {ended.code} and could not say why"
            self._close(name, "failed", f"{told}; see {self._place.log(name)}")
        elif outcome and outcome.state == "saved" and self._got_on(name):
            self._again(name, "its worker was asked to end and has saved; it goes on from there")
        elif self._deaths.get(name, 0) < AGAIN:
            self._deaths[name] = self._deaths.get(name, 0) + 1
            self._again(name, f"{_killed(ended.code)}; it goes on where it was saved")
        else:
            times = counted(AGAIN + 1, "time")
            told = f"{_killed(ended.code)}, {times} in all; is there enough memory?"
            self._close(name, "failed", told)

    def _got_on(self, name: str) -> bool:
        """Whether a trial's last worker saved more than the one before it."""
        return self._place.checkpoints(name) != self._had[name]

    def _again(self, name: str, told: str) -> None:
        self._state[name] = "waiting"
        self._waiting.appendleft(name)
        self._listener.note(f"{name}: {told}")

    def _close(self, name: str, state: State, message: str) -> None:
        self._state[name] = state
        if message:
            self.failures[name] = message
        now = self.now()
        trial = next(each for each in now.trials if each.name == name)
        self._source.ended(trial, message)
        self._listener.ended(trial, message, now)

    def now(self) -> Overview:
        """How far the trials are. Those that have ended are read once."""
        trials = [self._standing(trial) for trial in self._trials]
        found = Overview(trials, to_come=self._source.to_come)
        left = self._source.seconds_left
        return replace(found, seconds_left=self._left(found.share) if left is None else left)

    def _standing(self, trial: Trial) -> Standing:
        name, state = trial.name, self._state[trial.name]
        if state == "waiting":
            return Standing(state, name, 0, trial.recipe.epochs)
        if name in self._ended:
            return self._ended[name]
        found = standing(self._place.run(name), name, state, trial.recipe.epochs)
        if state != "running":
            found = self._ended[name] = replace(found, seconds_left=None)
        return found

    def _left(self, share: float) -> float | None:
        """Seconds left for all, at the speed since this driver began."""
        if share <= self._share or share >= 1:
            return None
        return (self._clock() - self._began) * (1 - share) / (share - self._share)


def _killed(code: int | None) -> str:
    """`its process was killed (signal 9)`."""
    if code is None:
        return "its process is gone"
    return f"its process was killed (signal {-code if code < 0 else code - 128})"
