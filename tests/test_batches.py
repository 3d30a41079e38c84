"""Batches are a function of the step: complete epochs, no dependence on history, exact slices."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onecycle.data.batches import Batches
from onecycle.data.image_set import ImageSet
from onecycle.data.transforms import Crop, Cutout, Flip
from onecycle.errors import InputError


def make(count: int = 70, batch_size: int = 16, **changes) -> Batches:
    rng = np.random.default_rng(0)
    train = ImageSet(
        rng.integers(0, 256, (count, 12, 10, 3), dtype=np.uint8),
        rng.integers(0, 4, count),
        ("a", "b", "c", "d"),
        tuple(str(i) for i in range(count)),
    )
    options = {
        "train": train, "batch_size": batch_size, "seed": 5, "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.3, 0.4), "transforms": (Crop(2), Flip(0.5), Cutout(4)),
        "device": torch.device("cpu"),
    }  # fmt: skip
    return Batches(**(options | changes))


@given(count=st.integers(2, 200), batch_size=st.integers(2, 64), epoch=st.integers(0, 5))
def test_each_epoch_visits_every_image_once(count, batch_size, epoch):
    batches = make(count, batch_size)
    steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
    visited = np.concatenate([batches.indices(step) for step in steps])
    assert sorted(visited) == list(range(count))


@given(count=st.integers(2, 200), batch_size=st.integers(2, 64))
def test_only_a_single_image_left_over_changes_the_steps_of_an_epoch(count, batch_size):
    batches = make(count, batch_size)
    sizes = [len(batches.indices(step)) for step in range(batches.steps_per_epoch)]
    expected = [batch_size] * (count // batch_size) + [count % batch_size]
    if expected[-1] == 0:
        expected.pop()
    if expected[-1] == 1:
        expected[-2:] = [batch_size + 1]
    assert sizes == expected
    assert min(sizes) >= 2


def test_epochs_and_seeds_differ_in_order():
    batches = make()
    first, second = batches.indices(0), batches.indices(batches.steps_per_epoch)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, replace(batches, seed=6).indices(0))


def test_a_step_does_not_depend_on_what_came_before():
    batches = make()
    forwards = [batches.cut(step)[0] for step in range(12)]
    backwards = [make().cut(step)[0] for step in reversed(range(12))][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert torch.equal(one, other)


def test_labels_belong_to_their_images():
    batches = make(transforms=())
    batch, labels = batches.cut(3)
    for image, label, index in zip(batch, labels, batches.indices(3), strict=True):
        pixels = image.permute(1, 2, 0) * torch.tensor(batches.std) + torch.tensor(batches.mean)
        assert np.array_equal(np.rint(pixels.numpy() * 255), batches.train.images_NHWC[index])
        assert label == batches.train.labels_N[index]


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_ranks_together_see_what_one_process_sees(world_size):
    whole = make()
    for step in (0, 2, 4):  # step 4 is the short one
        parts = [replace(whole, rank=r, world_size=world_size).cut(step) for r in range(world_size)]
        batch, labels = whole.cut(step)
        assert torch.equal(torch.cat([part[0] for part in parts]), batch)
        assert torch.equal(torch.cat([part[1] for part in parts]), labels)


def test_batches_come_in_channels_last_order():
    batch, _ = make().cut(0)
    assert batch.shape == (16, 3, 12, 10)
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_memory_mapped_images_give_the_same_batches(tmp_path):
    batches = make()
    np.save(tmp_path / "images.npy", batches.train.images_NHWC)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    other = make(train=replace(batches.train, images_NHWC=mapped))
    assert torch.equal(batches.cut(1)[0], other.cut(1)[0])


def test_a_cutout_larger_than_the_image_is_refused():
    with pytest.raises(InputError, match=r"cutout: 11 is larger than the image \(12 x 10 pixels\)"):
        make(transforms=(Cutout(11),))
