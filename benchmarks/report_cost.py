"""What the plots and the report of a run cost: seconds of each part, and the file's size.

    python benchmarks/report_cost.py RUN

RUN is the folder of a finished run whose data is at hand; nothing in it is changed but
report.html and the plots, which are drawn again.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

from onecycle import examples, pictures
from onecycle.engine.state import load_model
from onecycle.report import write_report
from onecycle.run_dir import RunDir
from onecycle.training import prepare


def timed(name: str, work: Callable[[], Any]) -> Any:
    """What `work` returns; prints how long it took."""
    started = time.perf_counter()
    found = work()
    print(f"{name:34}{time.perf_counter() - started:7.2f} s")
    return found


def main(folder: str) -> None:
    run = RunDir.open(folder)
    training, _ = prepare(run.read_recipe())
    checkpoint = run.newest_checkpoint()
    if checkpoint is None:
        sys.exit(f"{folder}: has no checkpoint")
    load_model(training.model, checkpoint.tensors)
    evaluation = timed("evaluation, not counted below", lambda: training.evaluate(training.test))
    started = time.perf_counter()
    shown = timed("thumbnails, Grad-CAM, fields", lambda: examples.gather(training, evaluation))
    timed("examples.npz", lambda: run.save_arrays("examples.npz", **shown))
    timed("six plots", lambda: pictures.write(run))
    path = timed("report.html", lambda: write_report(run))
    print(f"{'together':34}{time.perf_counter() - started:7.2f} s")
    print(f"report.html: {path.stat().st_size / 1e6:.2f} MB, {len(training.test):,} test images")


if __name__ == "__main__":
    main(sys.argv[1])
