"""The range test: no traces, the right rates, errors with remedies, suggestions on known curves."""

import math
from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from onecycle.errors import InputError, TrainingError
from onecycle.lr_finder import LRCurve, lr_range_test, smooth, suggest


def make(optimizer_class=torch.optim.SGD, **options):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.2), nn.Flatten(), nn.Linear(64, 3)
    )
    options = {"lr": 0.01} | options
    optimizer = optimizer_class(model.parameters(), **options)
    batches = [(torch.randn(8, 1, 6, 6), torch.randint(0, 3, (8,))) for _ in range(4)]
    return model, optimizer, batches


def everything(model, optimizer):
    """A deep copy of everything that a range test could change."""
    return deepcopy(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "modes": [module.training for module in model.modules()],
            "grads": [p.grad for p in model.parameters()],
            "rng": (torch.get_rng_state(), np.random.get_state()),  # noqa: NPY002
        }
    )


def assert_same(one, other):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, np.ndarray):
        assert np.array_equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    else:
        assert one == other


def train_a_little(model, optimizer, batches):
    for inputs, targets in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize(
    ("optimizer_class", "options"),
    [
        (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        (torch.optim.AdamW, {}),
        (torch.optim.RMSprop, {"momentum": 0.5}),
    ],
)
def test_no_trace_is_left(optimizer_class, options, trained):
    model, optimizer, batches = make(optimizer_class, **options)
    model[1].eval()  # a mode of its own must come back too
    if trained:
        train_a_little(model, optimizer, batches)
    before = everything(model, optimizer)
    identities = [id(group) for group in optimizer.param_groups]
    curve = lr_range_test(model, optimizer, F.cross_entropy, batches, steps=20)
    assert len(curve) > 5
    assert_same(before, everything(model, optimizer))
    assert identities == [id(group) for group in optimizer.param_groups]


def test_no_trace_is_left_after_an_exception():
    model, optimizer, batches = make(momentum=0.9)
    train_a_little(model, optimizer, batches)
    before = everything(model, optimizer)

    def failing(output, target):
        if torch.rand(1) < 0.2:
            raise OSError("a loader died")
        return F.cross_entropy(output, target)

    with pytest.raises(OSError, match="a loader died"):
        lr_range_test(model, optimizer, failing, batches, steps=500, lr_end=0.01)
    assert_same(before, everything(model, optimizer))


def test_training_afterwards_is_the_training_without_it():
    results = []
    for tested in (False, True):
        model, optimizer, batches = make(momentum=0.9)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
        if tested:
            lr_range_test(model, optimizer, F.cross_entropy, batches, steps=15)
        for _ in range(3):
            train_a_little(model, optimizer, batches)
            scheduler.step()
        results.append(everything(model, optimizer))
    assert_same(*results)


def test_groups_keep_their_ratio_and_the_largest_follows_the_ramp():
    model, _, _ = make()
    optimizer = torch.optim.SGD(
        [
            {"params": model[0].parameters(), "lr": 0.002},
            {"params": model[4].parameters(), "lr": 0.01},
        ]
    )
    seen = []

    def step(index):
        seen.append([group["lr"] for group in optimizer.param_groups])
        return 1.0

    curve = lr_range_test(model, optimizer, step=step, steps=5, lr_start=1e-4, lr_end=1.0)
    np.testing.assert_allclose(curve.lr, [1e-4, 1e-3, 1e-2, 1e-1, 1.0], rtol=1e-12)
    np.testing.assert_allclose(seen, [[0.2 * lr, lr] for lr in curve.lr], rtol=1e-12)


def test_accumulation_takes_the_mean_over_its_batches():
    """Two equal micro-batches must have the effect of one batch with both."""
    curves = []
    for accumulate in (1, 2):
        torch.manual_seed(0)
        model = nn.Linear(4, 2)
        inputs, targets = torch.randn(8, 4), torch.randint(0, 2, (8,))
        whole = [(inputs, targets)] * 2
        halves = [(inputs[:4], targets[:4]), (inputs[4:], targets[4:])]
        curves.append(
            lr_range_test(
                model,
                torch.optim.SGD(model.parameters(), lr=1),
                F.cross_entropy,
                whole if accumulate == 1 else halves,
                steps=10,
                accumulate=accumulate,
                lr_end=1.0,
            )
        )
    np.testing.assert_allclose(curves[0].loss, curves[1].loss, rtol=1e-5)


def test_validation_loss_is_that_after_the_step():
    model, optimizer, batches = make()
    curve = lr_range_test(
        model, optimizer, F.cross_entropy, batches, steps=6, validation=batches[:2],
        lr_start=1e-12, lr_end=1e-11,
    )  # fmt: skip
    model.eval()
    expected = np.mean([F.cross_entropy(model(x), y).item() for x, y in batches[:2]])
    np.testing.assert_allclose(curve.loss, expected, rtol=0.1)
    assert max(curve.loss) - min(curve.loss) < 0.2  # the batch norm's averages still move


def test_it_stops_when_the_loss_blows_up_and_at_the_first_that_is_not_finite():
    model, optimizer, _ = make()
    losses = [2.0] * 10 + [1.0] * 10 + [50.0] * 30
    curve = lr_range_test(model, optimizer, step=lambda i: losses[i], steps=50)
    assert curve.stopped == "diverged"
    assert 20 <= len(curve) <= 24
    losses = [2.0, 1.9, 1.8, math.nan, 1.7]
    curve = lr_range_test(model, optimizer, step=lambda i: losses[i], steps=5)
    assert (curve.stopped, len(curve)) == ("non-finite", 3)


def test_the_curve_records_the_number_of_inputs_per_step():
    model, optimizer, batches = make()
    test = partial(lr_range_test, model, optimizer, F.cross_entropy, batches, steps=3)
    size = len(batches[0][1])
    assert test().batch_size == size
    assert test(accumulate=2).batch_size == 2 * size
    assert test(batch_size=7).batch_size == 7
    assert lr_range_test(model, optimizer, step=lambda i: 1.0, steps=3).batch_size == 0


@pytest.mark.parametrize(
    ("batch_size", "adaptive", "factor"),
    [
        (512, False, 2.5),
        (4096, False, 2.5),
        (128, False, 2.5 / 4**0.75),
        (64, False, 2.5 / 8**0.75),
        (1, False, 2.5 / 8**0.75),
        (0, False, 1.0),
        (512, True, 0.85),
        (64, True, 0.85),
    ],
)
def test_the_recommended_rate_is_a_factor_times_the_end_of_the_floor(batch_size, adaptive, factor):
    curve = replace(
        curve_with_minimum_at(0.03, noise=0.02), batch_size=batch_size, adaptive=adaptive
    )
    assert not curve.is_flat
    found = suggest(curve)
    assert found.lr_max == pytest.approx(factor * curve.lr[curve.floor_end])


def test_no_rate_above_those_tried_is_recommended_if_the_loss_never_rose():
    """A short test at a small width: still falling at rate 10, where 25 would diverge."""
    lr = np.logspace(-7, 1, 100)
    loss = 2.3 - np.clip(np.log10(lr / 0.01), 0, None) / 3
    curve = LRCurve(tuple(lr), tuple(loss), stopped="completed", batch_size=512)
    assert curve.lr[curve.floor_end] == pytest.approx(10)
    assert suggest(curve).lr_max == pytest.approx(10)
    assert suggest(replace(curve, stopped="diverged")).lr_max == pytest.approx(25)


def test_on_a_flat_curve_the_batch_size_does_not_matter():
    lr = np.logspace(-7, 1, 100)
    loss = 2.3 + 0.01 * np.random.default_rng(0).normal(size=100) + 0.2 * (lr > 0.1)
    curve = LRCurve(tuple(lr), tuple(loss), batch_size=64)
    assert curve.is_flat
    assert suggest(curve).lr_max == pytest.approx(2.5 * curve.lr[curve.floor_end])
    assert suggest(replace(curve, batch_size=0)).lr_max == suggest(curve).lr_max


def test_over_repeats_the_recommended_rate_is_read_from_their_mean():
    curves = [curve_with_minimum_at(0.03, noise=0.05, seed=seed) for seed in range(5)]
    length = min(map(len, curves))
    losses = sum(np.array(curve.loss[:length]) for curve in curves) / 5
    mean = replace(curves[0], lr=curves[0].lr[:length], loss=tuple(losses))
    assert suggest(curves).lr_max == suggest(mean).lr_max
    low = curve_with_minimum_at(0.03)
    other = replace(low, lr=tuple(2 * rate for rate in low.lr))  # another ramp: no mean to read
    assert suggest([low, other]).lr_max == pytest.approx(2**0.5 * suggest(low).lr_max)


@pytest.mark.parametrize(
    ("name", "adaptive"),
    [
        ("SGD", False),
        ("ASGD", False),
        ("Adam", True),
        ("AdamW", True),
        ("NAdam", True),
        ("RMSprop", True),
        ("Adagrad", True),
        ("Adadelta", True),
    ],
)
def test_the_curve_records_whether_the_optimizer_is_adaptive(name, adaptive):
    model, _, batches = make()
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.1)
    curve = lr_range_test(model, optimizer, F.cross_entropy, batches, steps=3)
    assert curve.adaptive is adaptive
    assert LRCurve.from_json(curve.to_json()).adaptive is adaptive


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"batches": []}, InputError, "batches: none"),
        ({"batches": "one"}, InputError, "batches: only one"),
        ({"lr_start": 1.0, "lr_end": 0.1}, InputError, "lower lr_start or raise lr_end"),
        ({"lr_start": 0.0}, InputError, "0 < lr_start"),
        ({"steps": 1}, InputError, "steps: 1 is too few"),
        ({"frozen": True}, InputError, "model: all parameters are frozen"),
        ({"foreign": True}, InputError, "build it over model.parameters()"),
        ({"loss_fn": None}, InputError, "pass loss_fn and batches"),
        ({"nan": True}, TrainingError, "not finite at the first step"),
        ({"validation": []}, InputError, "validation: no batches"),
    ],
)
def test_input_that_cannot_work_is_refused_with_the_remedy(change, error, message):
    model, optimizer, batches = make()
    options = {"loss_fn": F.cross_entropy, "batches": batches, "steps": 10}
    if change.pop("frozen", False):
        model.requires_grad_(False)
    if change.pop("foreign", False):
        optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    if change.pop("nan", False):
        options["loss_fn"] = lambda output, target: output.sum() * math.nan
    if change.get("batches") == "one":
        change["batches"] = batches[:1]
    with pytest.raises(error, match=message.replace("(", r"\(").replace(")", r"\)")):
        lr_range_test(model, optimizer, **(options | change))


@given(
    values=st.lists(st.floats(-5, 5), min_size=1, max_size=40),
    weight=st.floats(0, 0.98),
)
def test_smoothing_is_the_weighted_mean_of_its_formula(values, weight):
    places = np.arange(len(values))
    weights = weight ** np.abs(places[:, None] - places[None, :])
    expected = weights @ np.array(values) / weights.sum(axis=1)
    np.testing.assert_allclose(smooth(values, weight), expected, atol=1e-9)


def test_smoothing_does_not_lag():
    """The smoothed minimum of a symmetric dip is the dip's; an average of the past alone lags."""
    dip = np.abs(np.arange(101) - 50.0)
    assert int(np.argmin(smooth(dip, 0.9))) == 50


def curve_with_minimum_at(rate: float, *, noise: float = 0.0, seed: int = 0) -> LRCurve:
    """A plateau, a fall around rate/10, a floor near `rate`, a rise beyond it."""
    lr = np.logspace(-7, 1, 120)
    x = np.log10(lr / rate)
    loss = 2.3 - 1.0 / (1 + np.exp(-4 * (x + 1))) + 3 * np.maximum(0, x) ** 2
    loss += noise * np.random.default_rng(seed).normal(size=len(lr))
    keep = loss < 6
    return LRCurve(tuple(lr[keep]), tuple(loss[keep]), "exponential", "diverged", 120)


@pytest.mark.parametrize("rate", [1e-3, 0.03, 0.3])
@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_suggestions_on_a_known_curve(rate, noise):
    finding = suggest(curve_with_minimum_at(rate, noise=noise))
    rates = {name: suggestion.lr for name, suggestion in finding.suggestions.items()}
    curve = finding.curves[0]
    assert curve.lr[curve.minimum] == pytest.approx(rate, rel=0.9)
    assert rates["steepest"] == pytest.approx(rate / 10, rel=0.9)
    assert rates["minimum/10"] == pytest.approx(curve.lr[curve.minimum] / 10)
    assert rates["valley"] < curve.lr[curve.minimum]
    assert rate / 1000 < rates["lr_min"] < rate / 5
    assert finding.lr_min <= finding.lr_max / 10
    assert finding.lr_max == rates["recommended"]
    assert rates["slide"] < rates["steepest"]
    assert rates["slide"] > rate / 10 / 10 ** (8 / 119 * 15)  # within a window of the steepest
    assert max(rates.values()) > 3 * min(lr for name, lr in rates.items() if name != "lr_min")
    assert finding.warnings == finding.doubts == ()  # methods always lie apart: no news
    assert finding.made_safe() == finding


@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10))
def test_suggestions_do_not_depend_on_the_scale_of_the_loss(scale, shift):
    curve = curve_with_minimum_at(0.03)
    scaled = LRCurve(curve.lr, tuple(scale * (loss + shift) for loss in curve.loss))
    for name, suggestion in suggest(scaled).suggestions.items():
        assert suggestion.lr == pytest.approx(suggest(curve).suggestions[name].lr, rel=0.2), name


def test_noise_moves_the_recommendation_by_less_than_a_factor_of_two():
    rates = [suggest(curve_with_minimum_at(0.03, noise=0.05, seed=s)).lr_max for s in range(30)]
    assert max(rates) / min(rates) < 4
    assert np.quantile(rates, 0.9) / np.quantile(rates, 0.1) < 2


def test_a_flat_curve_is_read_where_it_begins_to_rise():
    """Too few steps to learn anything: the lowest point is chance, but the rise is not."""
    lr, found = np.logspace(-7, 1, 100), []
    for seed in range(50):
        noise = np.random.default_rng(seed).normal(0, 0.018, 100)
        loss = 2.31 + 0.04 * np.maximum(0, np.log10(lr / 0.1)) + noise
        finding = suggest(LRCurve(tuple(lr), tuple(loss), "exponential", "completed", 100))
        found.append(finding.lr_max)
        assert finding.warnings, seed
    assert np.mean([0.01 < rate < 5 for rate in found]) >= 0.9
    assert min(found) > 1e-3


def flat_then_blown_up(seed: int, *, back: float, fall: float = 0.0) -> LRCurve:
    """Too few steps to learn anything; a blow-up at 0.7, and a loss at `back` from 3 on.

    Like those of a small network with scaled logits; a `fall` is what its first steps gain.
    """
    lr, random = np.logspace(-4, 1, 100), np.random.default_rng(seed)
    loss = 2.31 - fall * np.clip(np.log10(lr / 1e-4), 0, 1) + random.normal(0, 0.02, 100)
    blown_up = (lr > 0.7) & (lr < 3)
    loss[blown_up] += random.exponential(0.15, blown_up.sum())
    loss[lr >= 3] += back
    return LRCurve(tuple(lr), tuple(loss), stopped="completed", planned=100, batch_size=128)


@pytest.mark.parametrize("back", [0.0, -0.03, -0.1])
def test_a_flat_curve_is_not_read_to_the_right_of_a_blow_up(back):
    found = [flat_then_blown_up(seed, back=back) for seed in range(50)]
    turns = [curve.lr[curve.turn - 1] for curve in found]
    assert np.mean([0.3 < turn < 3 for turn in turns]) >= 0.9
    assert np.mean([suggest(curve).lr_max < 5 for curve in found]) >= 0.9


def test_a_fall_of_a_hundredth_is_not_a_valley():
    """It is measurable but comes from settling the logits, so its last rate is not a peak."""
    found = [flat_then_blown_up(seed, back=0.0, fall=0.03) for seed in range(50)]
    assert all(curve.is_flat for curve in found)
    assert np.mean([0.3 < suggest(curve).lr_max < 5 for curve in found]) >= 0.9
    clear = [flat_then_blown_up(seed, back=0.0, fall=0.15) for seed in range(50)]
    assert not any(curve.is_flat for curve in clear)


def test_readings_stay_left_of_the_blow_up_even_if_the_loss_falls_again():
    """A network that the ramp broke may give a low loss again; that is not a valley."""
    curve = curve_with_minimum_at(0.03)
    tail = tuple(np.logspace(math.log10(curve.lr[-1] * 1.1), 2, 30))
    broken = LRCurve(curve.lr + tail, curve.loss + (0.9,) * 30, "exponential", "completed", 150)
    assert broken.lr[broken.minimum] == pytest.approx(0.03, rel=0.9)
    assert all(s.lr < 1 for s in suggest(broken).suggestions.values())


TWO_LOWS = (
    3.70, 3.67, 3.73, 3.84, 3.77, 3.68, 3.71, 3.67, 3.68, 3.71, 3.76, 3.80, 3.66, 3.72, 3.76, 3.63,
    3.75, 3.72, 3.69, 3.76, 3.63, 3.65, 3.70, 3.59, 3.54, 3.53, 3.52, 3.50, 3.42, 3.38, 3.30, 3.15,
    3.11, 3.00, 2.92, 2.73, 2.69, 2.60, 2.57, 2.57, 2.45, 2.45, 2.50, 2.47, 2.38, 2.51, 2.46, 2.47,
    2.40, 2.50, 2.65, 2.71, 2.86, 2.77, 2.63, 2.64, 2.67, 2.62, 2.65, 2.72, 2.42, 2.57, 2.53, 2.21,
    2.49, 2.37, 2.31, 2.32, 2.39, 2.39, 2.24, 2.72, 2.81, 3.48, 4.41, 4.36, 5.22, 5.58, 4.86, 4.40,
    5.90, 8.04, 7.61, 6.29, 6.02, 5.00, 3.12, 2.41, 3.08, 2.55, 2.49, 2.51, 2.39, 2.37, 2.51, 2.53,
    2.44, 2.36, 2.70, 4.14,
)  # fmt: skip
"""Losses of a ramp from 1e-7 to 10: `brief`, width 0.25, label smoothing 0.1, 5,000 images."""


def test_the_floor_goes_on_where_the_loss_comes_back_after_a_bump():
    """Read at the first low, this curve gives 0.0019, and the training ends 15 points lower."""
    lr = tuple(np.logspace(-7, 1, 100).tolist())
    curve = LRCurve(lr, TWO_LOWS, planned=100, batch_size=512)
    assert curve.lr[curve.minimum] == pytest.approx(5.2e-4, rel=0.05)
    assert 0.007 < curve.lr[curve.floor_end] < 0.015
    assert 0.015 < suggest(curve).lr_max < 0.04  # other seeds: 0.03
    assert suggest(curve).doubts == ()


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize(
    ("height", "depth", "goes_on"),
    [
        (0.15, 0.02, True),
        (0.15, -0.02, True),  # the second low is lower: it is the minimum itself
        (0.15, 0.12, False),  # the loss does not come back
        (0.90, 0.04, False),  # a network that the ramp has broken, and that starts again
    ],
)
def test_only_a_small_bump_is_part_of_the_floor(height, depth, goes_on, noise):
    """A low near 0.001, a bump of this height, and a second low near 0.02, at this depth."""
    lr = np.logspace(-6, 0.5, 130)
    x = np.log10(lr)
    loss = 3.3 - 1 / (1 + np.exp(-6 * (x + 4)))
    loss += height * np.exp(-(((x + 2.4) / 0.2) ** 2))
    loss += depth / (1 + np.exp(-12 * (x + 2.3))) + 8 * np.maximum(0, x + 1.2) ** 2
    loss += noise * np.random.default_rng(0).normal(size=len(lr))
    curve = LRCurve(tuple(lr), tuple(loss), "exponential", "completed", 130, batch_size=512)
    assert not curve.is_flat
    found = curve.lr[curve.floor_end]
    assert 0.01 < found < 0.1 if goes_on else found < 0.005


@given(
    losses=st.lists(st.floats(0, 100), min_size=2, max_size=60),
    ramp=st.sampled_from(["exponential", "linear"]),
)
def test_every_curve_gives_a_finding(losses, ramp):
    lr = tuple(np.logspace(-5, 0, len(losses)))
    finding = suggest(LRCurve(lr, tuple(losses), ramp, "completed", 60))
    rates = [finding.lr_min, finding.lr_max] + [s.lr for s in finding.suggestions.values()]
    assert all(math.isfinite(rate) and rate > 0 for rate in rates)


def test_curves_with_little_information_give_a_warning():
    lr = tuple(np.logspace(-7, 1, 100))
    falling = suggest(LRCurve(lr, tuple(np.linspace(3, 1, 100)), "exponential", "completed", 100))
    assert any("still falling at the last rate" in line for line in falling.warnings)
    noise = np.random.default_rng(0).normal(2.3, 0.02, 100)
    flat = suggest(LRCurve(lr, tuple(noise), "exponential", "completed", 100))
    assert any("hardly fell" in line for line in flat.warnings)
    short = suggest(LRCurve(lr[:3], (2.0, 1.5, 1.0), "exponential", "non-finite", 100))
    assert any("only 3 points" in line for line in short.warnings)


def test_repeats_give_median_and_range_and_disagreement_is_named():
    curves = [curve_with_minimum_at(rate) for rate in (0.01, 0.03, 0.3)]
    finding = suggest(curves)
    for name in ("steepest", "valley", "slide", "minimum/10", "lr_min"):
        each = sorted(suggest(curve).suggestions[name].lr for curve in curves)
        found = finding.suggestions[name]
        assert (found.low, found.lr, found.high) == pytest.approx(tuple(each))
    each = sorted(suggest(curve).lr_max for curve in curves)
    recommended = finding.suggestions["recommended"]
    assert (recommended.low, recommended.high) == pytest.approx((each[0], each[-1]))
    assert recommended.low <= recommended.lr <= recommended.high
    assert any("seeds disagree on 'recommended'" in line for line in finding.warnings)
    band = finding.band()
    assert np.all(np.array(band["low"]) <= band["smoothed"])
    assert np.all(np.array(band["high"]) >= band["smoothed"])
    lowest, highest = band["searched"]
    assert lowest == curves[0].lr[0]
    assert 0.3 < highest < 0.3 * 30  # past the last valley, short of its blow-up
    assert all(
        s.high <= highest for name, s in finding.suggestions.items() if name != "recommended"
    )


def test_curves_go_to_json_and_back():
    curve = curve_with_minimum_at(0.03, noise=0.01)
    assert LRCurve.from_json(curve.to_json()) == curve
    with pytest.raises(InputError, match="not a result of LRCurve"):
        LRCurve.from_json({"lr": [1]})
    with pytest.raises(InputError, match="finite"):
        LRCurve((1.0, 2.0), (1.0, math.nan))
