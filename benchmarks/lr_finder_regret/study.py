"""A problem from its grid to its regrets; every stage keeps what it found in files."""

import json
import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.lr_finder_regret import suggestions
from benchmarks.lr_finder_regret.analysis import fit
from benchmarks.lr_finder_regret.grid import grid
from benchmarks.lr_finder_regret.problems import Problem
from benchmarks.lr_finder_regret.proving import proof
from benchmarks.lr_finder_regret.report import Outcome
from benchmarks.lr_finder_regret.trainings import Bench, Store
from onecycle.lr_finder import LRCurve, suggest


def study(problem: Problem, *, cifar10: str, folder: Path) -> Outcome:
    """Everything on one problem."""
    torch.set_num_threads(1)
    name = problem.name.replace("/", "_").replace(" ", "-")
    store = Store(folder / f"{name}.jsonl")
    bench = Bench(problem, cifar10 if problem.data == "cifar10" else "shapes", store)
    grid(bench)
    found = _kept(folder / f"{name}.json", bench)
    curves = [LRCurve.from_json(curve) for curve in found["curves"]]
    rates = {method: s.lr for method, s in suggest(curves).suggestions.items()}
    rates["proven"] = proof(bench, rates["recommended"]).lr_max
    for peer in ("torch-lr-finder", "lightning"):
        rates[peer] = _median(found[peer])
    results = [result for result in bench.results() if result.epochs == problem.epochs]
    return Outcome(problem, results, fit(results), rates)


def _kept(path: Path, bench: Bench) -> Mapping[str, Any]:
    """The range tests of all libraries, from `path` where they have been run before."""
    if not path.exists():
        found = {
            "curves": [curve.to_json() for curve in suggestions.curves(bench)],
            "torch-lr-finder": suggestions.torch_lr_finder(bench),
            "lightning": suggestions.lightning(bench),
        }
        path.write_text(json.dumps(found))
    return json.loads(path.read_text())


def _median(rates: list[float]) -> float:
    """On the log axis."""
    return math.exp(statistics.median(math.log(rate) for rate in rates))
