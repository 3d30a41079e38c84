"""Keras 3 on PyTorch or JAX: a functional model, `compile` and `fit`.

The backend is chosen by KERAS_BACKEND, which the referee sets.
"""

import os
from typing import Any

import keras  # pyright: ignore[reportMissingImports]
import numpy as np

from benchmarks.peers.transforms import AugmentedImages
from benchmarks.peers.turns import Turns
from benchmarks.peers.work import (
    LR_MAX,
    LR_MIN,
    MOMENTUM,
    PEAK_SHARE,
    WEIGHT_DECAY,
    Setting,
    Work,
    load,
)  # fmt: skip


class Batches(keras.utils.PyDataset):
    """Shuffled batches of augmented images, in the layout that the network wants."""

    def __init__(self, work: Work, setting: Setting) -> None:
        processes = setting.workers > 1
        super().__init__(workers=max(1, setting.workers), use_multiprocessing=processes)
        self._dataset = AugmentedImages(load(work.folder), setting.transforms, work.epoch_images)
        self._order_N = np.random.default_rng(0).permutation(work.epoch_images)
        self._batch_size, self._channels_last = work.batch_size, setting.channels_last

    def __len__(self) -> int:
        return len(self._order_N) // self._batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        start = index * self._batch_size
        picked = self._order_N[start : start + self._batch_size].tolist()
        images, labels = zip(*(self._dataset.augmented(each) for each in picked), strict=True)
        batch_BHWC = np.stack(images)
        batch = batch_BHWC if self._channels_last else batch_BHWC.transpose(0, 3, 1, 2).copy()
        return batch, np.array(labels, dtype=np.int32)


class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """Linear up and down, per step."""

    def __init__(self, total_steps: int) -> None:
        self._total, self._peak = total_steps, PEAK_SHARE * total_steps

    def __call__(self, step: Any) -> Any:
        step = keras.ops.cast(step, "float32")
        up, down = step / self._peak, (self._total - step) / (self._total - self._peak)
        return LR_MIN + (LR_MAX - LR_MIN) * keras.ops.minimum(up, down)

    def get_config(self) -> dict[str, Any]:
        return {"total_steps": self._total}


class TakeTurns(keras.callbacks.Callback):
    """Keras tells the mean loss since the epoch began, from which each step's follows."""

    def __init__(self, turns: Turns, batch_size: int) -> None:
        super().__init__()
        self._turns, self._batch_size = turns, batch_size
        self._sum = 0.0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        loss_sum = float((logs or {})["loss"]) * (batch + 1)
        loss, self._sum = loss_sum - self._sum, loss_sum
        self._turns.after_step(loss, self._batch_size)


def conv_block(x: Any, channels: int, pool: bool = False) -> Any:
    axis = -1 if keras.config.image_data_format() == "channels_last" else 1
    x = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
    if pool:
        x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.BatchNormalization(axis=axis, momentum=0.9, epsilon=1e-5)(x)
    return keras.layers.ReLU()(x)


def network(shape: tuple[int, ...], classes: int, width: float) -> Any:
    """The custom ResNet: logits."""
    one, two, four, eight = (round(width * each) for each in (64, 128, 256, 512))
    inputs = keras.Input(shape)
    x = conv_block(conv_block(inputs, one), two, pool=True)
    x = keras.layers.add([x, conv_block(conv_block(x, two), two)])
    x = conv_block(conv_block(x, four, pool=True), eight, pool=True)
    x = keras.layers.add([x, conv_block(conv_block(x, eight), eight)])
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D(4)(x))
    return keras.Model(inputs, keras.layers.Dense(classes, dtype="float32")(x))


def train(work: Work, setting: Setting, turns: Turns) -> None:
    prepare(work, setting, turns)
    images = load(work.folder)
    height, width, channels = images.images_NHWC.shape[1:]
    shape = (height, width, channels) if setting.channels_last else (channels, height, width)
    model = network(shape, images.classes, work.width)
    model.compile(
        optimizer=keras.optimizers.SGD(
            OneCycle(work.total_steps), momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=True if setting.compiled else "auto",
    )
    turns.about["parameters"] = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    model.fit(Batches(work, setting), verbose=0, callbacks=[TakeTurns(turns, work.batch_size)])


def prepare(work: Work, setting: Setting, turns: Turns) -> None:
    """Seed, precision, layout, and what a turn waits for."""
    keras.utils.set_random_seed(0)
    layout = "channels_last" if setting.channels_last else "channels_first"
    keras.config.set_image_data_format(layout)
    if setting.precision == "bf16":
        keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    turns.about = {"keras": keras.__version__, "backend": keras.config.backend()}
    if os.environ["KERAS_BACKEND"] == "jax":
        _check_jax(work)
    else:
        _prepare_torch(work, setting, turns)


def _check_jax(work: Work) -> None:
    import jax  # pyright: ignore[reportMissingImports]

    wanted = {"cuda": "gpu"}.get(work.device, work.device)
    if jax.default_backend() != wanted:
        raise SystemExit(f"JAX runs on {jax.default_backend()}, not on {wanted}")


def _prepare_torch(work: Work, setting: Setting, turns: Turns) -> None:
    import torch

    if setting.threads:
        torch.set_num_threads(setting.threads)
    if work.device == "cuda":
        turns.synchronize = torch.cuda.synchronize
