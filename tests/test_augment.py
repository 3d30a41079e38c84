"""Augmentation against brute-force versions per image, and against theory on real batches."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onecycle import runtime
from onecycle.data import augment
from onecycle.data.batches import Batches
from onecycle.data.image_set import ImageSet

SIDES = st.integers(8, 20)


def images(count: int, height: int, width: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, height, width, channels, generator=generator)


@given(height=SIDES, width=SIDES, padding=st.integers(0, 6), seed=st.integers(0, 1000))
def test_crop_is_the_shifted_image_within_zeros(height, width, padding, seed):
    batch = images(5, height, width, seed=seed)
    draws = augment.draw(
        5, (height, width), crop_padding=padding, flip=0, cutout=0,
        generator=runtime.generator(seed, "test"),
    )  # fmt: skip
    cropped = augment.random_crop(batch, draws.shifts_B2, padding)
    for image, result, (row, column) in zip(batch, cropped, draws.shifts_B2.tolist(), strict=True):
        padded = np.pad(image.numpy(), ((padding, padding), (padding, padding), (0, 0)))
        expected = padded[row : row + height, column : column + width]
        assert np.array_equal(result.numpy(), expected)


def test_flip_mirrors_only_the_marked_images():
    batch = images(4, 6, 7)
    flipped = augment.random_flip(batch, torch.tensor([True, False, True, False]))
    assert np.array_equal(flipped[0], np.fliplr(batch[0]))
    assert np.array_equal(flipped[1], batch[1])
    assert np.array_equal(flipped[2], np.fliplr(batch[2]))


@given(height=SIDES, width=SIDES, side=st.integers(0, 8), seed=st.integers(0, 1000))
def test_cutout_clears_exactly_one_whole_square(height, width, side, seed):
    batch = images(6, height, width, seed=seed)
    draws = augment.draw(
        6, (height, width), crop_padding=0, flip=0, cutout=side,
        generator=runtime.generator(seed, "test"),
    )  # fmt: skip
    cut = augment.cut_out(batch, draws.corners_B2, side)
    for image, result, (row, column) in zip(batch, cut, draws.corners_B2.tolist(), strict=True):
        expected = image.numpy().copy()
        expected[row : row + side, column : column + side] = 0
        assert np.array_equal(result.numpy(), expected)
        assert (result == 0).all(dim=2).sum() == side * side


def test_every_crop_position_and_every_square_is_equally_likely():
    draws = augment.draw(
        200_000, (12, 10), crop_padding=2, flip=0.3, cutout=4,
        generator=runtime.generator(0, "test"),
    )  # fmt: skip
    shifts = np.bincount((draws.shifts_B2[:, 0] * 5 + draws.shifts_B2[:, 1]).numpy())
    corners = np.bincount((draws.corners_B2[:, 0] * 7 + draws.corners_B2[:, 1]).numpy())
    for counts, cells in ((shifts, 25), (corners, 63)):
        assert len(counts) == cells
        chi_squared = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
        assert chi_squared < cells + 5 * np.sqrt(2 * cells)
    assert draws.flips_B.float().mean().item() == pytest.approx(0.3, abs=0.005)


def test_switching_one_transform_off_leaves_the_other_draws_alone():
    def drawn(**changes):
        options = {"crop_padding": 4, "flip": 0.5, "cutout": 8} | changes
        return augment.draw(50, (32, 32), generator=runtime.generator(3, "test"), **options)

    assert torch.equal(drawn().flips_B, drawn(cutout=0, crop_padding=0).flips_B)
    assert torch.equal(drawn().shifts_B2, drawn(flip=0).shifts_B2)
    assert torch.equal(drawn().corners_B2, drawn(flip=0, crop_padding=0).corners_B2)


@pytest.mark.parametrize("channels", [1, 3])
def test_normalise_agrees_with_the_formula(channels):
    pixels = torch.randint(0, 256, (3, 5, 4, channels), dtype=torch.uint8)
    mean, std = torch.rand(channels), torch.rand(channels) + 0.1
    expected = (pixels.double() / 255 - mean.double()) / std.double()
    normalised = augment.normalise(pixels, mean, std)
    assert normalised.dtype == torch.float32
    torch.testing.assert_close(normalised.double(), expected, atol=1e-5, rtol=1e-5)


def test_real_batches_shift_flip_and_cut_as_often_as_theory_says():
    """What was really done is read off the pixels, whose values tell where they came from."""
    count, side = 4096, 16
    coordinates = np.arange(256).clip(1).astype(np.uint8).reshape(side, side)
    pixels = np.broadcast_to(coordinates[None, :, :, None], (count, side, side, 1))
    train = ImageSet(pixels, np.zeros(count, np.int64), ("a", "b"), ("",) * count)
    batches = Batches(
        train=train, batch_size=512, seed=1, mean=(0.0,), std=(1.0,),
        crop_padding=2, flip=0.5, cutout=5, device=torch.device("cpu"),
    )  # fmt: skip
    shifted = flipped = cut = 0
    for step in range(batches.steps_per_epoch):
        batch, _ = batches.cut(step)
        for image in np.rint(batch.numpy()[:, 0] * 255).astype(int):
            cut += int((image == 0).sum() >= 25)
            inner = image[2:-2, 2:-2]  # the border may be padding
            row, column = np.argwhere((inner[:, :-1] > 1) & (inner[:, 1:] > 1))[0] + 2
            mirrored = image[row, column] > image[row, column + 1]
            flipped += mirrored
            upright = np.fliplr(image) if mirrored else image
            row, column = np.argwhere(upright > 1)[0]
            shifted += (row, column) != divmod(upright[row, column], side)
    for hits, share in ((shifted, 1 - 1 / 25), (flipped, 0.5)):
        assert abs(hits / count - share) < 5 * np.sqrt(share * (1 - share) / count)
    assert cut == count
