"""The grid: trainings over peak rates in factors of 2, until the best is bracketed."""

from benchmarks.lr_finder_regret.trainings import Bench

STEP = 2.0
INSIDE = 2
"""Steps by which the best rate must lie inside the grid, on both sides."""
SEEDS = (0, 1, 2)
"""Of the trainings near the peak. Elsewhere the first alone."""


def bracket(bench: Bench) -> list[float]:
    """Extend the grid until its best, by the mean over its seeds, lies well inside."""
    low, high = -INSIDE, INSIDE
    while True:
        scores = {k: _mean(bench, rate(bench, k)) for k in range(low, high + 1)}
        best = max(scores, key=scores.__getitem__)
        if best - low >= INSIDE and high - best >= INSIDE:
            return [rate(bench, k) for k in range(low, high + 1)]
        low, high = min(low, best - INSIDE), max(high, best + INSIDE)


def _mean(bench: Bench, lr: float) -> float:
    """Mean accuracy of the trainings at `lr`; of the first seed's where there is none yet."""
    known = [r.accuracy for seed in SEEDS[1:] if (r := bench.known(lr, seed))]
    known.append(bench.result(lr, SEEDS[0]).accuracy)
    return sum(known) / len(known)


def rate(bench: Bench, k: int) -> float:
    """The k-th rate from the middle of the problem's grid."""
    return bench.problem.middle * STEP**k


def grid(bench: Bench) -> None:
    """Bracket the best, and repeat with further seeds where it may be, until that stays so."""
    while True:
        rates = bracket(bench)
        means = [_mean(bench, lr) for lr in rates]
        best = means.index(max(means))
        near = rates[best - INSIDE : best + INSIDE + 1]
        missing = [(lr, s) for lr in near for s in SEEDS if not bench.known(lr, s)]
        if not missing:
            return
        for lr, seed in missing:
            bench.result(lr, seed)
