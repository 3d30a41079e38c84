"""The figures of a run: arrays in, matplotlib figures out. No decisions and no torch.

Figures are made without pyplot, so they leave no global state. A notebook shows a figure that is
the last expression of a cell.
"""

from onecycle.plots import _matplotlib as _matplotlib  # isort: skip - before all that imports it

from matplotlib.figure import Figure

from onecycle.plots.compared import compared
from onecycle.plots.explained import explained
from onecycle.plots.images import augmented_samples, misclassified
from onecycle.plots.learning import curves
from onecycle.plots.matrix import confusion
from onecycle.plots.range_test import lr_range_test
from onecycle.plots.rankings import rankings
from onecycle.plots.schedule import one_cycle
from onecycle.plots.search import search_course, search_importances, search_slice
from onecycle.plots.seeds import seeds
from onecycle.plots.sheets import contact_sheet, predicted_sheet
from onecycle.plots.style import png, save, svg

__all__ = [
    "Figure",
    "augmented_samples",
    "compared",
    "confusion",
    "contact_sheet",
    "curves",
    "explained",
    "lr_range_test",
    "misclassified",
    "one_cycle",
    "png",
    "predicted_sheet",
    "rankings",
    "save",
    "search_course",
    "search_importances",
    "search_slice",
    "seeds",
    "svg",
]
