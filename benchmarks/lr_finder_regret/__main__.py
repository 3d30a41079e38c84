"""How much accuracy do suggested learning rates cost? Two one-thread processes, about an hour.

    pip install -r benchmarks/lr_finder_regret/requirements.txt -c constraints.txt
    python -m benchmarks.lr_finder_regret --cifar10 FOLDER

FOLDER holds CIFAR-10 as class folders. A study that was stopped goes on where it stood.
"""

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.lr_finder_regret.problems import PROBLEMS
from benchmarks.lr_finder_regret.report import picture, tables
from benchmarks.lr_finder_regret.study import study
from onecycle import training


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


if __name__ == "__main__":
    main()
