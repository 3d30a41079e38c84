"""The transforms for photos against Pillow, colorsys and theory, image by image."""

import colorsys
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from onecycle import runtime
from onecycle.config import Recipe, from_toml, override
from onecycle.data import transforms
from onecycle.data.batches import Batches, normalise
from onecycle.data.image_set import ImageSet
from onecycle.data.transforms import (
    ColourJitter,
    ResizedCrop,
    Rotation,
    TrivialAugment,
    colour,
    sampling,
)
from onecycle.data.transforms.trivial_augment import NAMES, STRENGTHS
from onecycle.errors import InputError

MEAN, STD = (0.48, 0.45, 0.41), (0.23, 0.25, 0.27)
STATISTICS = colour.Statistics(MEAN, STD)


def pictures(count: int, height: int = 20, width: int = 20, channels: int = 3) -> np.ndarray:
    """uint8 N H W C: noise made smooth, of which some is dark, some light, some of low contrast."""
    rng = np.random.default_rng(count + height)
    coarse = rng.uniform(0, 255, (count, height // 2 + 1, width // 2 + 1, channels))
    fine = np.kron(coarse, np.ones((1, 2, 2, 1)))[:, :height, :width]
    low, high = np.sort(rng.uniform(0, 255, (2, count, 1, 1, 1)), axis=0)
    return np.rint(low + (high - low) * fine / 255).astype(np.uint8)


def normalised(images: np.ndarray) -> Tensor:
    channels = images.shape[3]
    return normalise(
        torch.from_numpy(images), torch.tensor(MEAN[:channels]), torch.tensor(STD[:channels])
    )


def levels(images_BHWC: Tensor) -> np.ndarray:
    """Normalised images on the scale of 0 to 255."""
    channels = images_BHWC.shape[3]
    shown = images_BHWC * torch.tensor(STD[:channels]) + torch.tensor(MEAN[:channels])
    return (shown * 255).numpy()


def generator(seed: int = 0) -> torch.Generator:
    return runtime.generator(seed, "test")


# ------------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize(("height", "width"), [(20, 20), (16, 31)])
def test_a_rotation_is_pillows(height: int, width: int) -> None:
    """Where all four neighbours lie in the image; to 8 bits, in which Pillow rounds."""
    images = pictures(12, height, width)
    angles = Rotation(40.0).draw(12, (height, width), generator())
    turned = levels(Rotation(40.0).apply(normalised(images), angles))
    inside = np.full((height, width), 255, np.uint8)
    inside[[0, -1], :] = inside[:, [0, -1]] = 0
    for image, found, angle in zip(images, turned, angles[:, 0].tolist(), strict=True):
        expected = np.asarray(Image.fromarray(image).rotate(angle, Image.Resampling.BILINEAR))
        full = np.asarray(Image.fromarray(inside).rotate(angle, Image.Resampling.BILINEAR)) == 255
        assert full.sum() > height * width / 4
        assert np.abs(expected - found)[full].max() < 1.01


def test_what_a_rotation_brings_in_is_the_channel_mean() -> None:
    turned = Rotation(45.0).apply(torch.ones(1, 20, 20, 3), torch.tensor([[45.0]]))
    assert (turned[0, [0, 0, -1, -1], [0, -1, 0, -1]] == 0).all()
    assert (turned[0, 5:15, 5:15] == 1).all()
    assert torch.equal(
        Rotation(45.0).apply(normalised(pictures(3)), torch.zeros(3, 1)).round(decimals=3),
        normalised(pictures(3)).round(decimals=3),
    )


def test_angles_are_uniform_within_their_range() -> None:
    angles = Rotation(15.0).draw(100_000, (8, 8), generator())[:, 0].numpy()
    assert np.abs(angles).max() <= 15
    counts = np.histogram(angles, bins=20, range=(-15, 15))[0]
    assert ((counts - 5000) ** 2 / 5000).sum() < 20 + 5 * np.sqrt(40)


@pytest.mark.parametrize(("height", "width"), [(24, 24), (16, 30)])
def test_a_resized_crop_is_pillows(height: int, width: int) -> None:
    images = pictures(10, height, width)
    boxes = ResizedCrop(0.08).draw(10, (height, width), generator())
    found = levels(ResizedCrop(0.08).apply(normalised(images), boxes))
    for image, result, (top, left, high, wide) in zip(images, found, boxes.tolist(), strict=True):
        crop = image[top : top + high, left : left + wide].astype(np.float32)
        for channel in range(3):
            whole = Image.fromarray(crop[..., channel])
            expected = np.asarray(whole.resize((width, height), Image.Resampling.BILINEAR))
            assert np.abs(expected - result[..., channel]).max() < 0.01


@pytest.mark.parametrize("shape", [(32, 32), (20, 64), (64, 20), (10, 100)])
def test_boxes_have_the_published_areas_and_proportions(shape: tuple[int, int]) -> None:
    height, width = shape
    top, left, high, wide = ResizedCrop(0.25).draw(20_000, shape, generator()).T.numpy()
    assert (top >= 0).all() and (left >= 0).all()  # noqa: PT018
    assert (top + high <= height).all() and (left + wide <= width).all()  # noqa: PT018
    share, proportion = high * wide / (height * width), wide / high
    rounding = 1 / min(high.min(), wide.min())
    assert proportion.min() >= 3 / 4 * (1 - rounding)
    assert proportion.max() <= 4 / 3 * (1 + rounding)
    if shape == (32, 32):
        assert 0.25 * (1 - rounding) <= share.min() < 0.27
        assert share.max() > 0.98
        assert np.median(np.log(proportion)) == pytest.approx(0, abs=0.02)
        assert (share < 0.5).mean() == pytest.approx(0.37, abs=0.03)  # a third, but for the misfits
    if shape == (10, 100):  # no box fits: the largest in the middle
        assert {*zip(top.tolist(), left.tolist(), high.tolist(), wide.tolist(), strict=True)} == {
            (0, 43, 10, 13)
        }


def test_a_sampling_at_the_same_places_changes_nothing() -> None:
    batch = normalised(pictures(4, 17, 12))
    same = sampling.rotations(torch.zeros(4), 17, 12)
    torch.testing.assert_close(sampling.affine(batch, same), batch, atol=1e-5, rtol=0)
    whole = torch.tensor([[0, 0, 17, 12]] * 4)
    torch.testing.assert_close(sampling.boxes(batch, whole), batch, atol=1e-5, rtol=0)


# -------------------------------------------------------------------------------------- colours


ENHANCERS = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
}


@pytest.mark.parametrize(
    ("name", "channels"),
    [("brightness", 1), ("contrast", 1), *((name, 3) for name in ENHANCERS)],
)
def test_a_jitter_of_one_kind_is_pillows(name: str, channels: int) -> None:
    """To the rounding of Pillow: a level of the result, and half a one of what is blended."""
    images = pictures(12, channels=channels)
    statistics = colour.Statistics(MEAN[:channels], STD[:channels])
    jitter = ColourJitter(**{name: 0.9}, statistics=statistics)
    drawn = jitter.draw(12, (20, 20), generator())
    found = levels(jitter.apply(normalised(images), drawn))
    for image, result, row in zip(images, found, drawn.tolist(), strict=True):
        factor = row[list(ENHANCERS).index(name)]
        pixels = Image.fromarray(image[..., 0] if channels == 1 else image)
        expected = np.asarray(ENHANCERS[name](pixels).enhance(factor)).reshape(result.shape)
        assert np.abs(expected - result).max() < 1.6


def test_a_shift_of_the_hue_is_that_of_colorsys() -> None:
    images = pictures(6, 8, 8)
    images[0, 0] = 128  # grey, which has no hue
    jitter = ColourJitter(hue=0.5, statistics=STATISTICS)
    drawn = jitter.draw(6, (8, 8), generator())
    found = levels(jitter.apply(normalised(images), drawn)) / 255
    for image, result, shift in zip(images, found, drawn[:, 3].tolist(), strict=True):
        for row, column in itertools.product(range(8), range(8)):
            hue, saturation, value = colorsys.rgb_to_hsv(*(image[row, column] / 255))
            expected = colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value)
            np.testing.assert_allclose(result[row, column], expected, atol=1e-5)


def test_the_four_changes_come_in_their_order_and_draw_for_themselves() -> None:
    every = ColourJitter(
        brightness=0.4, contrast=0.3, saturation=0.2, hue=0.1, statistics=STATISTICS
    )
    batch, drawn = normalised(pictures(9)), every.draw(9, (20, 20), generator())
    one_by_one = batch
    for index, name in enumerate(("brightness", "contrast", "saturation", "hue")):
        one = ColourJitter(**{name: getattr(every, name)}, statistics=STATISTICS)
        assert torch.equal(one.draw(9, (20, 20), generator())[:, index], drawn[:, index])
        one_by_one = one.apply(one_by_one, drawn)
    torch.testing.assert_close(every.apply(batch, drawn), one_by_one, atol=1e-5, rtol=0)
    factors = every.draw(50_000, (8, 8), generator()).numpy()
    np.testing.assert_allclose(factors.min(0), [0.6, 0.7, 0.8, -0.1], atol=1e-3)
    np.testing.assert_allclose(factors.max(0), [1.4, 1.3, 1.2, 0.1], atol=1e-3)


# ------------------------------------------------------------------------------- TrivialAugment


def affine_by_pillow(image: Image.Image, values: tuple[float, ...]) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, values, Image.Resampling.BILINEAR, fillcolor=0
    )


def by_pillow(name: str, image: Image.Image, share: float, sign: int) -> Image.Image:
    """The published table, with Pillow's own operations. `share` of the largest strength."""
    signed, height, width = share * sign, image.size[1], image.size[0]
    operations = {
        "identity": lambda: image,
        "shear x": lambda: affine_by_pillow(image, (1, 0.99 * signed, 0, 0, 1, 0)),
        "shear y": lambda: affine_by_pillow(image, (1, 0, 0, 0.99 * signed, 1, 0)),
        "translate x": lambda: affine_by_pillow(image, (1, 0, min(32, width) * signed, 0, 1, 0)),
        "translate y": lambda: affine_by_pillow(image, (1, 0, 0, 0, 1, min(32, height) * signed)),
        "rotate": lambda: image.rotate(135 * signed, Image.Resampling.BILINEAR),
        "brightness": lambda: ImageEnhance.Brightness(image).enhance(1 + 0.99 * signed),
        "colour": lambda: ImageEnhance.Color(image).enhance(1 + 0.99 * signed),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(1 + 0.99 * signed),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(1 + 0.99 * signed),
        "posterize": lambda: ImageOps.posterize(image, 8 - round(6 * share)),
        "solarize": lambda: ImageOps.solarize(image, 255 - 255 * share),
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
    }
    return operations[name]()


EXACT = ("identity", "posterize", "equalize")


@pytest.mark.parametrize("name", NAMES)
def test_an_operation_is_pillows(name: str) -> None:
    """Geometry where all neighbours lie within the image; others to a level or two of rounding."""
    images = pictures(2 * STRENGTHS, 24, 18)
    kinds = torch.full((2 * STRENGTHS,), NAMES.index(name))
    strength, sign = torch.arange(2 * STRENGTHS) % STRENGTHS, torch.tensor([-1, 1])
    sign = sign.repeat_interleave(STRENGTHS)
    drawn = torch.stack([kinds, strength, sign], 1)
    found = levels(TrivialAugment(STATISTICS).apply(normalised(images), drawn))
    tolerance = 0.01 if name in EXACT else 2.1
    compared = 0
    for image, result, (_, step, direction) in zip(images, found, drawn.tolist(), strict=True):
        share = step / (STRENGTHS - 1)
        expected = np.asarray(by_pillow(name, Image.fromarray(image), share, direction))
        valid = np.full((24, 18), 255, np.uint8)
        if name in NAMES[1:6]:
            valid[[0, -1], :] = valid[:, [0, -1]] = 0
            valid = np.asarray(by_pillow(name, Image.fromarray(valid), share, direction))
        full = valid == 255
        compared += full.sum()
        assert np.abs(expected - result)[full].max(initial=0) < tolerance
    assert compared > 0.2 * images[..., 0].size


@pytest.mark.parametrize("name", ["equalize", "autocontrast", "contrast"])
def test_an_image_of_one_colour_or_of_two_stays_in_range(name: str) -> None:
    images = np.stack([np.full((8, 8, 3), 77, np.uint8), np.zeros((8, 8, 3), np.uint8)])
    images[1, 0] = 255
    drawn = torch.tensor([[NAMES.index(name), 30, 1]] * 2)
    found = levels(TrivialAugment(STATISTICS).apply(normalised(images), drawn))
    for image, result in zip(images, found, strict=True):
        expected = np.asarray(by_pillow(name, Image.fromarray(image), 1.0, 1))
        assert np.abs(expected - result).max() < 1.1


def test_every_operation_strength_and_direction_is_equally_likely() -> None:
    drawn = TrivialAugment(STATISTICS).draw(200_000, (8, 8), generator()).numpy()
    for column, values in enumerate((np.arange(14), np.arange(31), np.array([-1, 1]))):
        found, counts = np.unique(drawn[:, column], return_counts=True)
        assert np.array_equal(found, values)
        cells, each = len(values), len(drawn) / len(values)
        assert ((counts - each) ** 2 / each).sum() < cells + 5 * np.sqrt(2 * cells)


def test_a_batch_of_many_operations_is_each_image_by_itself() -> None:
    batch, trivial = normalised(pictures(40)), TrivialAugment(STATISTICS)
    drawn = trivial.draw(40, (20, 20), generator())
    before = batch.clone()
    together = trivial.apply(batch, drawn)
    assert torch.equal(batch, before)
    for index in range(40):
        alone = trivial.apply(batch[index : index + 1], drawn[index : index + 1])
        torch.testing.assert_close(alone[0], together[index], atol=1e-5, rtol=0)


# -------------------------------------------------------------------------------------- together


ALL: dict[str, Any] = {
    "crop_padding": 0, "resized_crop": 0.3, "rotation": 10.0, "brightness": 0.3, "contrast": 0.2,
    "saturation": 0.2, "hue": 0.05, "trivial_augment": True, "cutout": 4,
}  # fmt: skip


def batches(rank: int = 0, world_size: int = 1, **changes: Any) -> Batches:
    images = pictures(64)
    train = ImageSet(images, np.zeros(64, np.int64), ("a", "b"), ("",) * 64)
    recipe = Recipe(**ALL | {"mean": MEAN, "std": STD} | changes)
    return Batches(
        train=train, batch_size=32, seed=3, mean=MEAN, std=STD, transforms=transforms.of(recipe),
        device=torch.device("cpu"), rank=rank, world_size=world_size,
    )  # fmt: skip


def test_the_order_of_all() -> None:
    names = [each.name for each in transforms.of(Recipe(**ALL))]
    assert names == [
        "resized crop", "flip", "rotation", "colour jitter", "TrivialAugment", "cutout",
    ]  # fmt: skip


def test_ranks_together_cut_the_batch_of_one_process() -> None:
    whole, labels = batches().cut(1)
    parts = [batches(rank, 3).cut(1)[0] for rank in range(3)]
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=0)
    assert whole.shape == (32, 3, 20, 20)
    assert whole.is_contiguous(memory_format=torch.channels_last)
    shown = levels(whole.permute(0, 2, 3, 1))
    assert -0.01 < shown.min() < 5
    assert 250 < shown.max() < 255.01
    assert len(labels) == 32


@pytest.mark.parametrize("name", ["rotation", "trivial_augment", "brightness", "resized_crop"])
def test_switching_one_off_leaves_the_draws_of_the_others_alone(name: str) -> None:
    off: dict[str, Any] = {name: name != "trivial_augment" and 0.0}
    every = dict(zip((t.name for t in batches().transforms), batches().draws(5), strict=True))
    fewer = batches(**off)
    for transform, drawn in zip(fewer.transforms, fewer.draws(5), strict=True):
        if transform.name == "colour jitter" and name == "brightness":
            assert torch.equal(drawn[:, 1:], every[transform.name][:, 1:])
        else:
            assert torch.equal(drawn, every[transform.name])


@pytest.mark.parametrize("name", ["saturation", "hue"])
def test_grey_images_have_no_colours_to_change(name: str) -> None:
    jitter = ColourJitter(**{name: 0.1}, statistics=STATISTICS)
    with pytest.raises(InputError, match=f"{name}: the images have no colours to change; set it"):
        jitter.check(8, 8, 1)
    for channels in (3, None):  # not known before the images are
        jitter.check(8, 8, channels)
    ColourJitter(brightness=0.1, contrast=0.1, statistics=STATISTICS).check(8, 8, 1)


def test_trivial_augment_takes_grey_images() -> None:
    batch = normalised(pictures(28, channels=1))
    trivial = TrivialAugment(colour.Statistics(MEAN[:1], STD[:1]))
    drawn = torch.stack([torch.arange(28) % 14, torch.full((28,), 20), torch.ones(28).long()], 1)
    found = levels(trivial.apply(batch, drawn))
    for image, result, (kind, _, _) in zip(levels(batch), found, drawn.tolist(), strict=True):
        same = np.abs(image - result).max() < 0.01
        assert same == (NAMES[kind] in ("identity", "colour")) or NAMES[kind] == "autocontrast"


def test_one_crop_takes_the_place_of_the_other() -> None:
    assert Recipe(resized_crop=0.3).crop_padding == 0
    assert override(Recipe(), resized_crop=0.3).crop_padding == 0
    assert from_toml("resized_crop = 0.3").crop_padding == 0
    assert override(Recipe(), resized_crop=0.0).crop_padding == Recipe().crop_padding == 4
    for change in ({"resized_crop": 0.3, "crop_padding": 4}, {"crop_padding": 0.1}):
        with pytest.raises(InputError, match="crop_padding: resized_crop crops already; set one"):
            override(Recipe(resized_crop=0.5), **change)
