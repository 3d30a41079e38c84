"""Comparing runs: which recipe is better, by how much, and whether chance explains the difference.

It needs only the run folders, not PyTorch.
"""

from onecycle.experiments.comparison import Comparison, compare
from onecycle.experiments.folds import Folded, join_folds
from onecycle.experiments.groups import Accuracy, Group
from onecycle.experiments.marked import Marked, find_marked, rewrite
from onecycle.experiments.mistakes import Mistake, Mistakes
from onecycle.experiments.page import curves, seeds, to_html
from onecycle.experiments.pairs import Pair
from onecycle.experiments.reading import FinishedRun
from onecycle.statistics import Interval

__all__ = [
    "Accuracy",
    "Comparison",
    "FinishedRun",
    "Folded",
    "Group",
    "Interval",
    "Marked",
    "Mistake",
    "Mistakes",
    "Pair",
    "compare",
    "curves",
    "find_marked",
    "join_folds",
    "rewrite",
    "seeds",
    "to_html",
]
