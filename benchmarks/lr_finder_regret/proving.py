"""`proven` on a problem: the engine's search, over trainings of half the epochs."""

from benchmarks.lr_finder_regret.grid import SEEDS
from benchmarks.lr_finder_regret.problems import CLASSES
from benchmarks.lr_finder_regret.trainings import Bench
from onecycle.lr_finder import Proof, prove
from onecycle.training.probes import PROBE_SHARE


def proof(bench: Bench, start: float) -> Proof:
    """The winner of probes around `start`, judged on the validation split as in the engine."""
    epochs = max(1, round(bench.problem.epochs * PROBE_SHARE))

    def score(lr: float) -> float | None:
        accuracy = bench.result(lr, SEEDS[0], epochs).accuracy
        return accuracy if accuracy != 1 / CLASSES else None  # at chance: it diverged

    return prove(score, start)
