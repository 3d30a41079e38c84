"""The schedule against PyTorch's OneCycleLR, at its knots, and as a scheduler in foreign loops."""

import json
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import OneCycleLR

from onecycle import schedule
from onecycle.errors import InputError
from onecycle.schedule import OneCycle, one_cycle, one_cycle_momentum

STEPS, PEAK = 24 * 98, 489


def optimizer(kind=torch.optim.SGD, **options):
    parameter = torch.nn.Parameter(torch.zeros(2))
    return kind([parameter], **({"lr": 0.1} | options))


@pytest.mark.parametrize("anneal", ["linear", "cosine"])
@pytest.mark.parametrize("three_phase", [False, True])
def test_every_step_of_the_brief_agrees_with_pytorch(anneal, three_phase):
    theirs = optimizer(momentum=0.9)
    scheduler = OneCycleLR(
        theirs, max_lr=0.4, total_steps=STEPS, pct_start=(PEAK + 1) / STEPS,
        anneal_strategy="cos" if anneal == "cosine" else "linear", div_factor=25,
        final_div_factor=1e4, base_momentum=0.85, max_momentum=0.95, three_phase=three_phase,
    )  # fmt: skip
    ours = optimizer(momentum=0.9)
    cycle = {
        "total_steps": STEPS, "peak_step": PEAK, "anneal": anneal, "three_phase": three_phase
    }  # fmt: skip
    rates = {"lr_min": 0.4 / 25, "lr_max": 0.4, "lr_final": 0.4 / 25e4}
    mine = OneCycle(ours, **cycle, **rates, cycle_momentum=True)
    for step in range(STEPS):
        group, own = theirs.param_groups[0], ours.param_groups[0]
        assert abs(one_cycle(step, **cycle, **rates) - group["lr"]) <= 1e-12 * 0.4
        momentum = one_cycle_momentum(step, **cycle, base_momentum=0.85, max_momentum=0.95)
        assert abs(momentum - group["momentum"]) <= 1e-12
        assert (own["lr"], own["momentum"]) == (one_cycle(step, **cycle, **rates), momentum)
        for scheduler_, optimizer_ in ((scheduler, theirs), (mine, ours)):
            if step < STEPS - 1:
                optimizer_.step()
                scheduler_.step()


def test_the_briefs_peak():
    assert schedule.peak_step(5, 98) == PEAK
    cycle = {"total_steps": STEPS, "peak_step": PEAK, "lr_min": 0.01, "lr_max": 0.4}
    assert one_cycle(0, **cycle) == 0.01
    assert one_cycle(PEAK, **cycle) == 0.4
    assert one_cycle(STEPS - 1, **cycle) == pytest.approx(0.01, rel=1e-12)  # no annihilation
    assert one_cycle(10**6, **cycle) == pytest.approx(
        one_cycle(STEPS - 1, **cycle)
    )  # kept beyond the end


@given(
    total=st.integers(1, 300),
    place=st.floats(0, 1),
    anneal=st.sampled_from(["linear", "cosine"]),
    rates=st.tuples(st.floats(1e-6, 1), st.floats(1, 10), st.floats(0, 1)),
)
def test_it_rises_to_the_peak_and_falls_to_the_end(total, place, anneal, rates):
    peak = round(place * (total - 1))
    low, high, final = rates
    values = [
        one_cycle(
            step,
            total_steps=total,
            peak_step=peak,
            lr_min=low,
            lr_max=high,
            lr_final=final,
            anneal=anneal,
        )
        for step in range(total)
    ]
    slack = 1e-12 * high
    assert values[peak] == pytest.approx(high if total > 1 else values[0])
    assert all(a <= b + slack for a, b in pairwise(values[: peak + 1]))
    assert all(a >= b - slack for a, b in pairwise(values[peak:]))
    if peak > 0:
        assert values[0] == pytest.approx(low)
    if peak < total - 1:
        assert values[-1] == pytest.approx(final)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peak_step": 10}, "peak_step: 10 lies outside the cycle of 10 steps"),
        ({"peak_step": 5, "three_phase": True}, "outside half of the cycle"),
        ({"peak_step": -1}, "peak_step: -1 lies outside"),
        ({"step": -1}, "step: -1 is negative"),
    ],
)
def test_a_peak_outside_the_cycle_is_refused(change, message):
    values = {"step": 3, "total_steps": 10, "peak_step": 3, "lr_min": 0.1, "lr_max": 1} | change
    with pytest.raises(InputError, match=message):
        one_cycle(values.pop("step"), **values)


@given(steps=st.integers(2, 60), ramp=st.sampled_from(["exponential", "linear"]))
def test_the_ramp_has_even_steps_on_its_own_axis(steps, ramp):
    rates = [
        schedule.range_test_lr(i, steps=steps, lr_start=1e-3, lr_end=10.0, ramp=ramp)
        for i in range(steps)
    ]
    assert rates[0] == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(10.0)
    pairs = list(pairwise(rates))
    moves = [b / a for a, b in pairs] if ramp == "exponential" else [b - a for a, b in pairs]
    assert moves == pytest.approx([moves[0]] * len(moves))


OPTIMIZERS = [
    (torch.optim.SGD, {"momentum": 0.9}, lambda group: group["momentum"]),
    (torch.optim.AdamW, {}, lambda group: group["betas"][0]),
]


@pytest.mark.parametrize(("kind", "options", "momentum"), OPTIMIZERS)
@pytest.mark.parametrize("stop", range(0, 14, 3))
def test_restoring_goes_on_as_if_nothing_had_happened(kind, options, momentum, stop):
    cycle = {
        "total_steps": 12, "peak_step": 3, "lr_max": 1.0, "lr_min": 0.1, "cycle_momentum": True
    }  # fmt: skip

    def readings(scheduler, count):
        seen = []
        for _ in range(count):
            group = scheduler.optimizer.param_groups[0]
            seen.append((group["lr"], momentum(group), scheduler.get_last_lr()))
            scheduler.optimizer.step()
            scheduler.step()
        return seen

    whole = readings(OneCycle(optimizer(kind, **options), **cycle), 14)
    first = OneCycle(optimizer(kind, **options), **cycle)
    before = readings(first, stop)
    saved = json.loads(json.dumps(first.state_dict()))
    second = OneCycle(optimizer(kind, **options), **cycle)
    second.load_state_dict(saved)
    assert before + readings(second, 14 - stop) == whole


def test_groups_may_have_peaks_of_their_own():
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = torch.optim.SGD([{"params": [p]} for p in parameters], lr=0.1)
    OneCycle(groups, total_steps=5, peak_step=0, lr_max=[1.0, 2.0], lr_min=0.1)
    assert [group["lr"] for group in groups.param_groups] == [1.0, 2.0]
    with pytest.raises(InputError, match="lr_max: 3 given for 2 parameter groups"):
        OneCycle(groups, total_steps=5, peak_step=0, lr_max=[1.0, 2.0, 3.0], lr_min=0.1)


def test_momentum_cannot_be_cycled_where_there_is_none():
    plain = torch.optim.Adagrad([torch.nn.Parameter(torch.zeros(1))])
    with pytest.raises(InputError, match="neither momentum nor betas"):
        OneCycle(plain, total_steps=5, peak_step=1, lr_max=1, lr_min=0.1, cycle_momentum=True)
