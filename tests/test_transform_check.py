"""What was done to images, read from their pixels, against the draws that did it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from onecycle.audit.transforms import Visible
from onecycle.data.transforms import Crop, Cutout, Flip
from onecycle.engine.transform_check import MOST, Applied, applied, images_to_look_at, is_looked_at


def images(count: int, height: int = 16, width: int = 16, seed: int = 0) -> Tensor:
    """Noise, of which no part looks like another, and nothing like the blank of a border."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, height, width, 3, generator=generator) + 0.2
    return noise * torch.where(torch.rand(noise.shape, generator=generator) < 0.5, -1, 1)


def augmented(originals: Tensor, padding: int, flip: float, cutout: int, seed: int = 0):
    """The batch B C H W, and each transform's draws."""
    shape = (originals.shape[1], originals.shape[2])
    batch, draws = originals, []
    for transform in (Crop(padding), Flip(flip), Cutout(cutout)):
        generator = torch.Generator().manual_seed(seed)
        draws.append(transform.draw(len(originals), shape, generator))
        batch = transform.apply(batch, draws[-1])
    return batch.permute(0, 3, 1, 2), draws


@settings(max_examples=15)
@given(
    padding=st.integers(0, 4), flip=st.sampled_from([0.0, 0.3, 1.0]), width=st.integers(12, 18),
    cutout=st.sampled_from([0, 5]), seed=st.integers(0, 1000), half=st.booleans(),
)  # fmt: skip
def test_counts_are_those_of_the_draws(padding, flip, cutout, width, seed, half):
    originals = images(24, 16, width, seed)
    batch, (shifts, flips, _) = augmented(originals, padding, flip, cutout, seed)
    found = applied(originals, batch.bfloat16() if half else batch, padding)
    moves = (shifts - padding).abs().amax(1)
    moved = moves > 0
    assert found.images == found.decided == 24
    assert (found.shifted, found.flipped) == (int(moved.sum()), int(flips.sum()))
    assert found.farthest == int(moves.max())
    assert found.cut == (24 if cutout else 0)
    assert 0 <= found.cut_pixels <= 24 * cutout**2
    assert found.untouched == (0 if cutout else int((~moved & ~flips[:, 0]).sum()))
    assert found.unexplained == found.wrong_size == 0


def test_a_cut_square_is_measured_to_the_pixel():
    originals = images(10)
    batch, _ = augmented(originals, 0, 0.0, 6)
    assert applied(originals, batch, 0).cut_pixels == 10 * 36


def test_images_that_look_the_same_either_way_decide_nothing():
    flat = torch.full((4, 16, 16, 3), 0.7)
    batch, _ = augmented(flat, 2, 0.5, 0)
    assert applied(flat, batch, 2).decided == 0
    mirrored = torch.cat([images(4, 16, 8), images(4, 16, 8).flip(2)], 2)
    assert applied(mirrored, mirrored.permute(0, 3, 1, 2), 0).decided == 0


def test_other_changes_and_other_sizes_are_seen():
    originals = images(6)
    brighter = (originals + 0.2).permute(0, 3, 1, 2)
    assert applied(originals, brighter, 2).unexplained == 6
    framed = F.pad(originals, (0, 0, 3, 3, 3, 3)).permute(0, 3, 1, 2)  # a crop of all of it
    found = applied(originals, framed, 2)
    assert (found.wrong_size, found.shifted, found.untouched) == (6, 0, 6)


def test_counts_add_up():
    total = Applied(images=2, shifted=1, farthest=3) + Applied(images=5, shifted=2, farthest=1)
    assert (total.images, total.shifted, total.farthest) == (7, 3, 3)
    assert Applied(**total.to_json()) == total


@pytest.mark.parametrize(("total", "looked"), [(1, 1), (7, 7), (10, 10), (98, 10), (2352, 10)])
def test_a_few_batches_are_looked_at_all_over_the_training(total, looked):
    steps = [step for step in range(total) if is_looked_at(step, total)]
    assert len(steps) == looked
    assert steps[0] == 0
    assert np.diff(steps).tolist() == [max(1, total // 10)] * (looked - 1)


def test_large_images_are_fewer():
    assert images_to_look_at((32, 32, 3), 4) == MOST
    assert images_to_look_at((224, 224, 3), 28) == 2


@pytest.mark.parametrize(("side", "padding"), [(1, 4), (2, 4), (2, 8), (8, 8), (4, 2)])
def test_squares_that_the_crop_hides_are_expected_as_often_as_they_are_drawn(side, padding):
    count, visible = 4000, Visible.of((16, 12), side, padding)
    white = torch.ones(count, 16, 12, 1)
    (cropped, _), (cut, _) = (augmented(white, padding, 0.5, each) for each in (0, side))
    seen_B = (cropped - cut).sum((1, 2, 3))
    assert float((seen_B > 0).float().mean()) == pytest.approx(visible.share, abs=0.03)
    assert float(seen_B[seen_B > 0].mean()) == pytest.approx(visible.pixels, rel=0.04)
