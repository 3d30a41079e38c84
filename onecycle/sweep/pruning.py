"""When a trial is given up before its end."""

import math
from typing import Any, Literal

Pruning = Literal["hyperband", "asha", "none"]
"""When a trial is given up before its end: by Hyperband (Li et al., 2018), by asynchronous
successive halving (ASHA; Li et al., 2020), or never."""

EARLIEST = 0.25
"""Share of the epochs before which no trial is given up. Before, the rate climbs to its peak, most
accuracies are near chance, and they say little about the end."""

REDUCTION = 3
"""Of the trials that reach a rung, one in so many goes on: the value of both papers."""


def pruner(pruning: Pruning, epochs: int) -> Any:
    """What gives trials up; nothing does as long as the recipe's `epochs` are unknown (0)."""
    from optuna import pruners

    earliest = max(1, math.ceil(EARLIEST * epochs))
    if pruning == "none" or not epochs:
        return pruners.NopPruner()
    if pruning == "asha":
        return pruners.SuccessiveHalvingPruner(min_resource=earliest, reduction_factor=REDUCTION)
    return pruners.HyperbandPruner(
        min_resource=earliest, max_resource=epochs, reduction_factor=REDUCTION
    )
