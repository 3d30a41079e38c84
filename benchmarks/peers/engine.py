"""onecycle's engine: all that a training does for a step, by the loop of `onecycle train`."""

import math
import tempfile

import torch

import onecycle
from benchmarks.peers.turns import Turns
from benchmarks.peers.work import (
    CUTOUT,
    FLIP,
    LR_MAX,
    LR_MIN,
    MOMENTUM,
    PADDING,
    PEAK_SHARE,
    WEIGHT_DECAY,
    Setting,
    Work,
    load,
)  # fmt: skip
from onecycle import Recipe, runtime, training
from onecycle.config import override
from onecycle.engine import loop
from onecycle.run_dir import RunDir


def recipe(work: Work, setting: Setting) -> Recipe:
    """The work as a recipe, with the overrides asked for."""
    images = len(load(work.folder).labels_N)
    epochs = math.ceil(work.total_steps / math.ceil(images / work.batch_size))
    plain = Recipe(
        data=work.data,
        train_limit=work.train_limit,
        test_limit=100,
        width=work.width,
        batch_size=work.batch_size,
        epochs=epochs,
        peak_epoch=PEAK_SHARE * epochs,
        lr_max=LR_MAX,
        lr_min=LR_MIN,
        lr_final=LR_MIN,
        momentum=MOMENTUM,
        nesterov=True,
        weight_decay=WEIGHT_DECAY,
        crop_padding=PADDING,
        flip=FLIP,
        cutout=CUTOUT,
        precision=setting.precision,
        device=work.device,
    )
    return override(plain, **work.overrides)


def train(work: Work, setting: Setting, turns: Turns) -> None:
    job, _ = training.prepare(recipe(work, setting), threads=setting.threads)
    turns.about = {"onecycle": onecycle.__version__, "threads": torch.get_num_threads()}
    if job.device.type == "cuda":
        turns.synchronize = torch.cuda.synchronize
    with tempfile.TemporaryDirectory() as runs, runtime.reused_memory():
        readings = loop.Readings(job, RunDir.create(runs, job.recipe), onecycle.Progress())
        plan = job.plan
        job.model.train()
        for index in range(plan.total_steps):
            reading = loop.step(job, index, plan.at(index))
            readings.add(reading)
            turns.after_step(reading.loss, reading.images)
