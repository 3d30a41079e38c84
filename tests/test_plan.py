"""From what was asked to what will be done; points of a training; pixels that are moved once."""

import dataclasses
import gc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onecycle import training
from onecycle.config import Recipe, override, to_toml
from onecycle.data import shapes
from onecycle.data.batches import Images
from onecycle.engine import loop
from onecycle.engine.plan import Place, Plan, to_search
from onecycle.errors import InputError
from onecycle.run_dir import RunDir
from onecycle.training.preparation import fresh
from onecycle.training.signals import Signals

TINY = Recipe(
    data="shapes", train_limit=200, test_limit=40, width=0.0625, epochs=2, batch_size=50,
    lr_max=0.1, lr_min=0.01, precision="fp32",
)  # fmt: skip
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({"lr_max": "auto"}, "lr_max: 'auto'"),
        ({"lr_max": "proven", "lr_min": "auto"}, "lr_max: 'proven'"),
        ({"lr_min": "auto"}, "lr_min: 'auto'"),
    ],
)
def test_no_word_becomes_a_plan(words, named):
    with pytest.raises(InputError, match=named):
        Plan.of(override(TINY, **words), 4)
    assert set(to_search(override(TINY, **words))) == words.keys()


def test_the_recipe_of_a_plan_makes_the_same_plan():
    plan = Plan.of(TINY, 4)
    assert plan.recipe.lr_final == plan.lr_final == TINY.lr_min
    assert Plan.of(plan.recipe, 4) == plan
    assert '"auto"' not in "".join(
        line for line in to_toml(plan.recipe).splitlines() if line.startswith("lr_f")
    )


@given(
    epochs=st.integers(1, 5), per_epoch=st.integers(2, 9), share=st.floats(0.1, 0.9),
    high=st.floats(0.01, 1), low=st.floats(0, 0.01),
)  # fmt: skip
def test_a_plan_starts_peaks_and_ends_where_it_says(epochs, per_epoch, share, high, low):
    recipe = override(
        TINY, epochs=epochs, peak_epoch=share * epochs, lr_max=high, lr_min=low, lr_final=low / 2
    )
    plan = Plan.of(recipe, per_epoch)
    rates = [plan.at(step).lr for step in range(plan.total_steps)]
    assert plan.total_steps == epochs * per_epoch == plan.end.step
    assert max(rates) == rates[plan.peak_step] == pytest.approx(high)
    assert plan.peak_step == 0 or rates[0] == low
    assert plan.peak_step == plan.total_steps - 1 or rates[-1] == pytest.approx(low / 2, abs=1e-15)
    assert {plan.at(step).momentum for step in range(plan.total_steps)} == {recipe.momentum}


class Folder(RunDir):
    """Keeps no checkpoints."""

    def save_checkpoint(self, checkpoint) -> None:
        pass


def places(per_epoch: int, epochs: int) -> list[Place]:
    """All points of a training, in their order."""
    found = [Place(0, closed=True)]
    for step in range(1, per_epoch * epochs + 1):
        found.append(Place(step, closed=False))
        if step % per_epoch == 0:
            found.append(Place(step, closed=True))
    return found


def test_a_training_stops_at_any_point_and_goes_on_from_there(tmp_path):
    """Point by point, or in one go: the same rows, the same weights."""
    whole, parts = (training.prepare(TINY)[0] for _ in range(2))
    folders = [Folder(RunDir.create(tmp_path, TINY).path) for _ in range(2)]
    with folders[0].lock():
        loop.fit(whole, whole.plan, folders[0], Signals())
    points = places(4, 2)
    assert points == sorted(points)
    assert points[-1] == parts.plan.end
    with folders[1].lock():
        for point in points:
            loop.fit(parts, parts.plan, folders[1], Signals(), until=point)
            assert parts.state.place == point
            assert len(folders[1].read_rows("steps.jsonl")) == point.step
            closed = (point.step + point.closed - 1) // 4
            assert len(folders[1].read_rows("metrics.jsonl")) == closed
    steps = [folder.read_rows("steps.jsonl") for folder in folders]
    assert steps[0] == steps[1]
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, parts.model.state_dict()[name]), name


def test_a_fresh_training_is_the_training_at_its_beginning():
    begun = training.prepare(TINY)[0]
    plan = begun.plan
    losses = [loop.step(begun, index, plan.at(index)).loss.item() for index in range(3)]
    again = fresh(begun)
    assert [loop.step(again, index, plan.at(index)).loss.item() for index in range(3)] == losses
    other = fresh(begun, initialized_by=7)
    assert loop.step(other, 0, plan.at(0)).loss.item() != losses[0]
    assert begun.state.audit.get("applied")
    assert not again.state.audit, "the audit is of the training alone"


# ----------------------------------------------------------------------------- pixels on the device


def test_a_set_is_moved_once_however_often_it_is_used():
    begun = training.prepare(TINY)[0]
    again = fresh(begun)
    reseeded = dataclasses.replace(begun.batches, seed=9)
    assert begun.batches.images is again.batches.images is reseeded.images
    assert begun._images(begun.test) is again._images(again.test)


def test_another_set_in_the_place_of_one_that_is_gone_is_not_taken_for_it():
    """Python gives a new object the address of a dead one: ids are no identity."""
    seen = set()
    for brightness in range(20):
        drawn = shapes.draw(10, "test")
        pixels = np.full_like(drawn.images_NHWC, brightness)
        image_set = dataclasses.replace(drawn, images_NHWC=pixels)
        images = Images.of(image_set, CPU, (0.0,) * 3, (1.0,) * 3)
        shown = images.normalised(np.arange(1)).mean().item()
        assert shown == pytest.approx(brightness / 255, abs=1e-6)
        seen.add(id(image_set))
        del image_set, drawn
    assert len(seen) < 20, "no address came twice: the test shows nothing"


def test_a_set_that_nobody_holds_is_let_go():
    image_set = shapes.draw(10, "test")
    images = weakref.ref(Images.of(image_set, CPU, (0.0,) * 3, (1.0,) * 3))
    assert images() is not None
    del image_set
    gc.collect()
    assert images() is None
