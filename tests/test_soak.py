"""Many trainings in one process leave nothing behind."""

import json

from reliability import fault
from trained import Forks

SOAK = """
import gc, json, threading, warnings
from pathlib import Path
import matplotlib.pyplot as plt
from onecycle import config, training

warnings.simplefilter("error")
tiny = config.Recipe(
    data="shapes", image_size=16, train_limit=64, test_limit=20, width=0.125, epochs=1,
    batch_size=32, crop_padding=2, cutout=4, precision="fp32", lr_max=0.01, lr_min=0.001,
)

def one(index):
    pictures = index % 4 == 0
    training.train(config.override(tiny, seed=index), runs="runs", threads=1, report=pictures)

def figures_of_use():
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "memory": pages * os.sysconf("SC_PAGE_SIZE"),
        "threads": threading.active_count(),
        "tasks": len(os.listdir("/proc/self/task")),
        "files": len(os.listdir("/proc/self/fd")),
        "figures": len(plt.get_fignums()),
    }

uses = []
for index in range(200):
    one(index)
    if index % 20 == 19:
        uses.append(figures_of_use())
print(json.dumps(uses))
sys.exit(0)
"""

GROWTH = 12 * 2**20
"""Bytes by which the second hundred may grow; a leak of one run's images alone would be more."""


@fault("200 trainings in one process, every fourth with its plots and report")
def test_two_hundred_trainings_in_one_process_leave_nothing(forks: Forks) -> None:
    done = forks.run("--version", code=SOAK)
    assert (done.code, done.err) == (0, "")
    uses = json.loads(done.out)
    assert len(uses) == 10
    for name in ("threads", "tasks", "files", "figures"):
        assert {use[name] for use in uses} == {uses[0][name]}, uses
    assert uses[0]["figures"] == 0
    assert uses[-1]["memory"] - uses[4]["memory"] < GROWTH, [use["memory"] for use in uses]
