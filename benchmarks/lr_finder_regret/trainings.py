"""One-cycle trainings of a problem, and the store that keeps what they reached."""

import json
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.lr_finder_regret.problems import CLASSES, Problem, network
from onecycle import optim, runtime, training
from onecycle.config import override
from onecycle.engine import loop
from onecycle.engine.state import State, Training

LOW_SHARE = 100.0
"""A cycle rises from its peak rate over this, and falls back to it."""


@dataclass(frozen=True)
class Result:
    """What a training at peak rate `lr` reached on the validation split.

    `seconds` are those of one CPU thread. A training whose loss becomes non-finite ends at chance.
    """

    problem: str
    epochs: float
    lr: float
    seed: int
    accuracy: float
    loss: float
    seconds: float


class Store:
    """Results in a file, one JSON object a line, so that a study that was stopped goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.results = [Result(**json.loads(line)) for line in lines]

    def find(self, problem: str, epochs: float, lr: float, seed: int) -> Result | None:
        """The result of that training, if it has been run."""
        for result in self.results:
            same = (result.problem, result.epochs, result.seed) == (problem, epochs, seed)
            if same and math.isclose(result.lr, lr, rel_tol=1e-6):
                return result
        return None

    def add(self, result: Result) -> None:
        """Keep a result, in the file at once."""
        self.results.append(result)
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")


class Bench:
    """The images of a problem, and trainings on them.

    Args:
        problem: what is trained.
        data: where its images are.
        store: keeps the results.
    """

    def __init__(self, problem: Problem, data: str, store: Store) -> None:
        self.problem, self._store = problem, store
        self._job, _ = training.prepare(problem.recipe(data), threads=1)

    def training(self, lr: float, seed: int, epochs: int = 0) -> Training:
        """A training that may begin, of the problem's own length or `epochs`."""
        recipe = override(
            self._job.recipe,
            lr_max=lr,
            lr_min=lr / LOW_SHARE,
            lr_final=lr / LOW_SHARE,
            seed=seed,
            epochs=epochs or self.problem.epochs,
        )
        model = runtime.placed(network(self.problem, seed), self._job.device)
        return replace(
            self._job,
            recipe=recipe,
            model=model,
            optimizer=optim.build(model, recipe),
            batches=replace(self._job.batches, seed=seed),
            state=State(),
            audited=False,
        )

    def result(self, lr: float, seed: int, epochs: int = 0) -> Result:
        """What the training reaches, from the store where it has been run before."""
        epochs = epochs or self.problem.epochs
        known = self._store.find(self.problem.name, epochs, lr, seed)
        if known is None:
            known = self._run(lr, seed, epochs)
            self._store.add(known)
        return known

    def known(self, lr: float, seed: int) -> Result | None:
        """The result of that training of the problem's own length, if it has been run."""
        return self._store.find(self.problem.name, self.problem.epochs, lr, seed)

    def results(self) -> list[Result]:
        """Those of the problem so far."""
        return [r for r in self._store.results if r.problem == self.problem.name]

    def _run(self, lr: float, seed: int, epochs: int) -> Result:
        job = self.training(lr, seed, epochs)
        started = time.thread_time()
        reached = _fit(job)
        return Result(self.problem.name, epochs, lr, seed, *reached, time.thread_time() - started)


def _fit(job: Training) -> tuple[float, float]:
    """Validation accuracy and loss after the whole cycle."""
    plan = job.plan
    job.model.train()
    for index in range(plan.total_steps):
        if not math.isfinite(float(loop.step(job, index, plan.at(index)).loss)):
            return 1 / CLASSES, math.log(CLASSES)
    assert job.val is not None
    evaluation = job.evaluate(job.val)
    if not math.isfinite(evaluation.loss):
        return 1 / CLASSES, math.log(CLASSES)
    return evaluation.accuracy, evaluation.loss
