"""The study's result: a Markdown file with the regrets, and a picture of the curves."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullFormatter

from benchmarks.lr_finder_regret.analysis import Fit
from benchmarks.lr_finder_regret.problems import Problem
from benchmarks.lr_finder_regret.trainings import Result

METHODS = (
    "proven", "recommended", "steepest", "valley", "slide", "minimum/10",
    "torch-lr-finder", "lightning",
)  # fmt: skip
SHOWN = ("recommended", "proven", "torch-lr-finder", "lightning")


@dataclass(frozen=True)
class Outcome:
    """What the study found on a problem: its trainings, its curve, and the suggested rates."""

    problem: Problem
    results: Sequence[Result]
    fit: Fit
    rates: Mapping[str, float]

    def regret(self, method: str) -> float:
        """Points lost by that method; beyond the grid, those at the grid's end."""
        return self.fit.regret(self.rates[method])

    def is_beyond(self, method: str) -> bool:
        """Whether the rate lies outside the grid, so that the regret is at least that."""
        return not self.fit.lr[0] <= self.rates[method] <= self.fit.lr[-1]


def tables(outcomes: Sequence[Outcome]) -> str:
    """Best rates, suggestions, regrets, and their summary, as Markdown."""
    parts = ["## The best rates", _best(outcomes), "## What was suggested", _rates(outcomes)]
    parts += ["## Regret, in points of validation accuracy", _regrets(outcomes)]
    for title, chosen in (
        ("All problems", outcomes),
        ("The problems kept aside", [o for o in outcomes if o.problem.held_out]),
    ):
        parts += [f"### {title}", _summary(chosen)]
    return "\n\n".join(parts) + "\n"


def picture(outcomes: Sequence[Outcome], path: Path) -> None:
    """The trainings, the curve and the suggestions of every problem."""
    figure, axes = plt.subplots(
        3, -(-len(outcomes) // 3), figsize=(15, 9.5), sharey=False, layout="constrained"
    )
    colours = dict(zip(SHOWN, ("#0b7285", "#2b8a3e", "#e8590c", "#9c36b5"), strict=True))
    for axis, outcome in zip(axes.flat, outcomes, strict=False):
        curve = outcome.fit
        low, high = np.quantile(curve.samples_SL, [0.05, 0.95], axis=0)
        axis.fill_between(curve.lr, low, high, color="#ced4da")
        axis.plot(curve.lr, curve.accuracy, color="#343a40", linewidth=1.5)
        axis.plot(
            [r.lr for r in outcome.results], [100 * r.accuracy for r in outcome.results],
            "o", color="#343a40", markersize=3,
        )  # fmt: skip
        for method, colour in colours.items():
            axis.axvline(outcome.rates[method], color=colour, linewidth=1.5, label=method)
        axis.set(xscale="log", title=outcome.problem.name + _aside(outcome))
        axis.set_xlim(curve.lr[0] / 30, curve.lr[-1] * 30)  # a suggestion further off is not seen
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.2)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[len(outcomes) :]:
        axis.set_axis_off()
    for axis in axes[-1]:
        axis.set_xlabel("peak rate of the cycle")
    for row in axes:
        row[0].set_ylabel("validation accuracy, %")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _aside(outcome: Outcome) -> str:
    return " *" if outcome.problem.held_out else ""


def _best(outcomes: Sequence[Outcome]) -> str:
    rows = []
    for outcome in outcomes:
        curve = outcome.fit
        low, high = curve.best_interval
        rows.append([
            outcome.problem.name + _aside(outcome), str(outcome.problem.epochs),
            f"{curve.best:.2g}", f"{low:.2g} to {high:.2g}", f"{curve.accuracy.max():.1f}",
            f"{curve.noise:.2f}", str(len(outcome.results)),
        ])  # fmt: skip
    heads = ["problem", "epochs", "best", "90 % interval", "accuracy, %", "noise", "trainings"]
    return _table(heads, rows)


def _rates(outcomes: Sequence[Outcome]) -> str:
    return _table(
        ["problem", "best", *METHODS],
        [
            [o.problem.name + _aside(o), f"{o.fit.best:.2g}"]
            + [f"{o.rates[method]:.2g}" for method in METHODS]
            for o in outcomes
        ],
    )


def _regrets(outcomes: Sequence[Outcome]) -> str:
    return _table(
        ["problem", *METHODS],
        [
            [o.problem.name + _aside(o)]
            + [f"{'≥ ' if o.is_beyond(m) else ''}{o.regret(m):.2f}" for m in METHODS]
            for o in outcomes
        ],
    )


def _summary(outcomes: Sequence[Outcome]) -> str:
    rows = []
    for method in METHODS:
        regrets = [outcome.regret(method) for outcome in outcomes]
        rows.append([method, f"{statistics.median(regrets):.2f}", f"{max(regrets):.2f}"])
    return _table(["method", "median", "worst"], rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
