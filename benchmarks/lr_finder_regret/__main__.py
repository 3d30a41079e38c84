"""How much accuracy do suggested learning rates cost? Two one-thread processes, about an hour.

    pip install -r benchmarks/lr_finder_regret/requirements.txt -c constraints.txt
    python -m benchmarks.lr_finder_regret --cifar10 FOLDER

FOLDER holds CIFAR-10 as class folders. A study that was stopped goes on where it stood.
"""

import argparse
import json
import math
import multiprocessing
import statistics
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.lr_finder_regret import suggestions
from benchmarks.lr_finder_regret.analysis import fit
from benchmarks.lr_finder_regret.grid import grid
from benchmarks.lr_finder_regret.problems import PROBLEMS, Problem
from benchmarks.lr_finder_regret.proving import proof
from benchmarks.lr_finder_regret.report import Outcome, picture, tables
from benchmarks.lr_finder_regret.trainings import Bench, Store
from onecycle import training
from onecycle.lr_finder import LRCurve, suggest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cifar10", required=True, help="folder of CIFAR-10 as class folders")
    parser.add_argument("--work", type=Path, default=Path("regret"), help="where results are kept")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    training.prepare(PROBLEMS[0].recipe(options.cifar10))  # decode once, before the processes start
    work = partial(study, cifar10=options.cifar10, folder=options.work)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, mp_context=context) as pool:
        outcomes = list(pool.map(work, PROBLEMS))
    (options.work / "regret.md").write_text(tables(outcomes))
    picture(outcomes, options.work / "regret.png")
    seconds = sum(result.seconds for outcome in outcomes for result in outcome.results)
    print(f"{options.work}/regret.md, {options.work}/regret.png; grids: {seconds / 60:.0f} CPU min")


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


if __name__ == "__main__":
    main()
