"""Augmentation against brute-force versions per image, and against theory on real batches."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onecycle import runtime, training
from onecycle.config import Recipe, to_toml
from onecycle.data import transforms
from onecycle.data.batches import Batches, normalise
from onecycle.data.image_set import ImageSet
from onecycle.data.transforms import Crop, Cutout, Flip

SIDES = st.integers(8, 20)


def images(count: int, height: int, width: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, height, width, channels, generator=generator)


@given(height=SIDES, width=SIDES, padding=st.integers(0, 6), seed=st.integers(0, 1000))
def test_crop_is_the_shifted_image_within_zeros(height, width, padding, seed):
    batch = images(5, height, width, seed=seed)
    shifts = Crop(padding).draw(5, (height, width), runtime.generator(seed, "test"))
    cropped = Crop(padding).apply(batch, shifts)
    for image, result, (row, column) in zip(batch, cropped, shifts.tolist(), strict=True):
        padded = np.pad(image.numpy(), ((padding, padding), (padding, padding), (0, 0)))
        expected = padded[row : row + height, column : column + width]
        assert np.array_equal(result.numpy(), expected)


def test_flip_mirrors_only_the_marked_images():
    batch = images(4, 6, 7)
    flipped = Flip(0.5).apply(batch, torch.tensor([[True], [False], [True], [False]]))
    assert np.array_equal(flipped[0], np.fliplr(batch[0]))
    assert np.array_equal(flipped[1], batch[1])
    assert np.array_equal(flipped[2], np.fliplr(batch[2]))


@given(height=SIDES, width=SIDES, side=st.integers(0, 8), seed=st.integers(0, 1000))
def test_cutout_clears_exactly_one_whole_square(height, width, side, seed):
    batch = images(6, height, width, seed=seed)
    corners = Cutout(side).draw(6, (height, width), runtime.generator(seed, "test"))
    cut = Cutout(side).apply(batch, corners)
    for image, result, (row, column) in zip(batch, cut, corners.tolist(), strict=True):
        expected = image.numpy().copy()
        expected[row : row + side, column : column + side] = 0
        assert np.array_equal(result.numpy(), expected)
        assert (result == 0).all(dim=2).sum() == side * side


def test_every_crop_position_and_every_square_is_equally_likely():
    drawn = [
        each.draw(200_000, (12, 10), runtime.generator(0, "test"))
        for each in (Crop(2), Flip(0.3), Cutout(4))
    ]
    shifts = np.bincount((drawn[0][:, 0] * 5 + drawn[0][:, 1]).numpy())
    corners = np.bincount((drawn[2][:, 0] * 7 + drawn[2][:, 1]).numpy())
    for counts, cells in ((shifts, 25), (corners, 63)):
        assert len(counts) == cells
        chi_squared = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
        assert chi_squared < cells + 5 * np.sqrt(2 * cells)
    assert drawn[1].float().mean().item() == pytest.approx(0.3, abs=0.005)


def test_switching_one_transform_off_leaves_the_other_draws_alone():
    def drawn(**changes) -> dict[str, torch.Tensor]:
        recipe = Recipe(**{"crop_padding": 4, "flip": 0.5, "cutout": 8} | changes)
        return {
            each.name: each.draw(50, (32, 32), runtime.generator(3, each.stream))
            for each in transforms.of(recipe)
        }

    assert torch.equal(drawn()["flip"], drawn(cutout=0, crop_padding=0)["flip"])
    assert torch.equal(drawn()["crop"], drawn(flip=0)["crop"])
    assert torch.equal(drawn()["cutout"], drawn(flip=0, crop_padding=0)["cutout"])


def test_the_draws_are_those_of_older_versions():
    """Five numbers for each image of the stream `augment`, in this order, whatever is on."""
    recipe, shape = Recipe(crop_padding=3, flip=0.4, cutout=5), (20, 30)
    generator = torch.Generator().manual_seed(runtime.seed_of(7, "augment", 12))
    five = torch.rand(40, 5, generator=generator, dtype=torch.float64).numpy()
    expected = {
        "crop": np.floor(five[:, 0:2] * 7),
        "flip": five[:, 2:3] < 0.4,
        "cutout": np.floor(five[:, 3:5] * (20 - 5 + 1, 30 - 5 + 1)),
    }
    for each in transforms.of(recipe):
        found = each.draw(40, shape, runtime.generator(7, each.stream, 12))
        assert np.array_equal(found.numpy(), expected.pop(each.name))
    assert not expected


@pytest.mark.parametrize("channels", [1, 3])
def test_normalise_agrees_with_the_formula(channels):
    pixels = torch.randint(0, 256, (3, 5, 4, channels), dtype=torch.uint8)
    mean, std = torch.rand(channels), torch.rand(channels) + 0.1
    expected = (pixels.double() / 255 - mean.double()) / std.double()
    normalised = normalise(pixels, mean, std)
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
        transforms=(Crop(2), Flip(0.5), Cutout(5)), device=torch.device("cpu"),
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


def test_shares_of_the_side_train_as_their_pixels():
    """The recipe that a run records holds pixels, as if they had been given."""
    size = {"data": "shapes", "train_limit": 20, "test_limit": 10, "image_size": 16}
    shares, pixels = (
        training.prepare(Recipe(**size, crop_padding=padding, cutout=cutout))[0]
        for padding, cutout in ((0.125, 0.25), (2, 4))
    )
    assert to_toml(shares.recipe) == to_toml(pixels.recipe)
    assert torch.equal(shares.batches.cut(1)[0], pixels.batches.cut(1)[0])
