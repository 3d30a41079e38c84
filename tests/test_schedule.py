"""The schedule against PyTorch's OneCycleLR, at its knots, and as a scheduler in other loops."""

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
def test_every_step_of_the_reference_schedule_agrees_with_pytorch(anneal, three_phase):
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


def test_the_reference_peak():
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
def test_a_restored_schedule_goes_on_as_if_never_interrupted(kind, options, momentum, stop):
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


def test_groups_may_have_their_own_peaks():
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = torch.optim.SGD([{"params": [p]} for p in parameters], lr=0.1)
    OneCycle(groups, total_steps=5, peak_step=0, lr_max=[1.0, 2.0], lr_min=0.1)
    assert [group["lr"] for group in groups.param_groups] == [1.0, 2.0]
    with pytest.raises(InputError, match="lr_max: got 3 for 2 parameter groups"):
        OneCycle(groups, total_steps=5, peak_step=0, lr_max=[1.0, 2.0, 3.0], lr_min=0.1)


def test_momentum_cannot_be_cycled_where_there_is_none():
    plain = torch.optim.Adagrad([torch.nn.Parameter(torch.zeros(1))])
    with pytest.raises(InputError, match="neither momentum nor betas"):
        OneCycle(plain, total_steps=5, peak_step=1, lr_max=1, lr_min=0.1, cycle_momentum=True)


CYCLE = {"total_steps": 20, "peak_step": 5, "lr_min": 0.01, "lr_max": 0.1, "cycle_momentum": True}


def go(cycle, steps=1):
    for _ in range(steps):
        cycle.optimizer.step()
        cycle.step()


def rates_of(cycle):
    return [float(group["lr"]) for group in cycle.optimizer.param_groups]


def added(cycle, **options):
    parameter = torch.nn.Parameter(torch.zeros(1))
    cycle.optimizer.add_param_group({"params": [parameter], **options})


@pytest.mark.parametrize("at", [0, 3, 8, 19, 25])
@pytest.mark.parametrize("tensor", [False, True])
def test_a_group_added_later_keeps_its_ratio_to_the_largest_rate(at, tensor):
    cycle = OneCycle(optimizer(lr=torch.tensor(0.3) if tensor else 0.3, momentum=0.9), **CYCLE)
    go(cycle, at)
    largest = rates_of(cycle)[0]
    added(cycle, lr=0.5)
    assert cycle.get_last_lr() == pytest.approx([largest, 0.5])
    for step in range(at + 1, 30):
        go(cycle)
        expected = one_cycle(step, total_steps=20, peak_step=5, lr_min=0.01, lr_max=0.1)
        assert rates_of(cycle) == pytest.approx([expected, expected * 0.5 / largest], rel=1e-5)
        assert rates_of(cycle) == pytest.approx([float(lr) for lr in cycle.get_last_lr()])
        first, second = cycle.optimizer.param_groups
        assert first["momentum"] == second["momentum"]


@pytest.mark.parametrize("lr", [0.0, 0.3, torch.tensor(0.3)])
def test_a_group_added_without_a_rate_follows_the_group_with_the_largest(lr):
    """The optimizer's initial rate does not matter: the cycle has replaced it."""
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = torch.optim.SGD([{"params": [p]} for p in parameters], lr=lr, momentum=0.9)
    cycle = OneCycle(groups, total_steps=20, peak_step=5, lr_max=[0.1, 1.0], lr_min=[0.01, 0.02])
    go(cycle, 8)
    added(cycle)
    for _ in range(14):
        go(cycle)
        small, large, new = rates_of(cycle)
        assert new == large != small


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("stop", [6, 8, 12, 19])
def test_a_cycle_with_an_added_group_is_restored(order, stop):
    def whole():
        cycle = OneCycle(optimizer(momentum=0.9), **CYCLE)
        for step in range(22):
            if step == 7:
                added(cycle, lr=0.5)
            if step == stop:
                yield json.loads(json.dumps(cycle.state_dict()))
            go(cycle)
            if step >= stop:
                yield rates_of(cycle)

    saved, *expected = whole()
    cycle = OneCycle(optimizer(momentum=0.9), **CYCLE)
    if stop > 7 and order == "before":
        added(cycle, lr=0.5)
    cycle.load_state_dict(saved)
    if stop > 7 and order == "after":
        added(cycle, lr=0.2)  # the saved cycle counts, not the group's initial rate
    seen = []
    for step in range(stop, 22):
        if step == 7:
            added(cycle, lr=0.5)
        go(cycle)
        seen.append(rates_of(cycle))
    assert seen == expected


def test_a_state_with_fewer_groups_loads_and_one_with_other_groups_is_refused():
    cycle = OneCycle(optimizer(momentum=0.9), **CYCLE)
    go(cycle, 8)
    fewer = cycle.state_dict()
    assert fewer == {"step": 8}
    added(cycle, lr=0.5)
    go(cycle, 3)
    seen = rates_of(cycle)
    cycle.load_state_dict(fewer)
    go(cycle, 3)
    assert rates_of(cycle) == pytest.approx(seen)
    other = {"step": 8, "added": [[2, 0.1, 0.2, 0.1]]}
    with pytest.raises(
        InputError, match="its group 2 was added to 2 others, but the optimizer has 1"
    ):
        OneCycle(optimizer(momentum=0.9), **CYCLE).load_state_dict(other)


TENSORS = [
    (torch.optim.SGD, {"momentum": 0.9}),
    (torch.optim.SGD, {"momentum": 0.9, "foreach": True}),
    (torch.optim.SGD, {"momentum": 0.9, "fused": True}),
    (torch.optim.Adam, {"capturable": False}),
    (torch.optim.Adam, {"foreach": False, "betas": (torch.tensor(0.9), torch.tensor(0.99))}),
    (torch.optim.AdamW, {"fused": True}),
]


@pytest.mark.parametrize(("kind", "options"), TENSORS)
def test_tensor_values_are_filled_in_place_and_train_as_numbers_do(kind, options):
    def run(lr, options):
        made = optimizer(kind, lr=lr, **options)
        parameter = made.param_groups[0]["params"][0]
        cycle = OneCycle(made, **CYCLE)
        for step in range(25):
            parameter.grad = torch.tensor([1.0, -2.0 * step])
            if step == 9:
                cycle.load_state_dict(cycle.state_dict())
            made.step()
            cycle.step()
        return made, parameter

    lr = torch.tensor(0.1)
    filled, ours = run(lr, options)
    group = filled.param_groups[0]
    assert group["lr"] is lr
    assert lr.item() == pytest.approx(0.01)
    if "betas" in options:
        assert group["betas"][0] is options["betas"][0]
        assert group["betas"][0].item() == pytest.approx(0.95)
    plain = {k: tuple(map(float, v)) if k == "betas" else v for k, v in options.items()}
    _, expected = run(0.1, plain)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_groups_that_share_a_rate_tensor_get_their_own_rates():
    """All groups take the optimizer's rate; if that is a tensor, they share it."""
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    shared = torch.tensor(0.1)
    groups = torch.optim.SGD([{"params": [p]} for p in parameters], lr=shared)
    cycle = OneCycle(groups, total_steps=5, peak_step=2, lr_max=[1.0, 2.0], lr_min=[0.1, 0.2])
    assert rates_of(cycle) == pytest.approx([0.1, 0.2])
    go(cycle, 2)
    assert rates_of(cycle) == pytest.approx([1.0, 2.0])
    assert groups.param_groups[0]["lr"] is shared


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_step_sees_each_new_rate_without_being_compiled_again():
    parameter, lr, compiled = torch.nn.Parameter(torch.zeros(2)), torch.tensor(0.1), []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph

    made = torch.optim.SGD([parameter], lr=lr, foreach=True)
    cycle = OneCycle(made, total_steps=8, peak_step=3, lr_min=0.01, lr_max=0.1)
    step, moves = torch.compile(made.step, backend=backend), []
    for _ in range(6):
        parameter.grad, before = torch.ones(2), parameter.detach().clone()
        step()
        moves.append((before - parameter.detach())[0].item())
        cycle.step()
    expected = [one_cycle(i, total_steps=8, peak_step=3, lr_min=0.01, lr_max=0.1) for i in range(6)]
    assert moves == pytest.approx(expected, rel=1e-4)
    assert len(compiled) <= 2
