"""A range test restores everything that a training step can change besides weights and momentum."""

import array
import contextlib
import copy
import random
import warnings
from collections import OrderedDict, defaultdict, deque
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from onecycle.lr_finder import lr_range_test, untouched

DRAWN = torch.Generator().manual_seed(5)


def pairs(count=6, size=8):
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(size, 5, generator=generator), torch.arange(size) % 3) for _ in range(count)
    ]


def ramped(model, optimizer=None, loss_fn=F.cross_entropy, batches=None, **options):
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    batches = pairs() if batches is None else batches
    return lr_range_test(model, optimizer, loss_fn, batches, **({"steps": 12} | options))


class Odd(nn.Module):
    """Changes itself in `forward`, by the function `change`."""

    def __init__(self, change):
        super().__init__()
        self.change = change
        self.lin = nn.Linear(5, 3)
        self.seen, self.history, self.table = 0, [1.0], {"a": [1]}
        self.order, self.recent, self.found = OrderedDict(x=1), deque([1, 2], maxlen=3), {1, 2}
        self.counts, self.raw = defaultdict(int), array.array("d", [1.0])
        self.moments, self.bits = np.zeros(3), bytearray(b"ab")
        self.register_buffer("scale", None)
        self.register_buffer("queue", torch.arange(5.0))
        self.register_buffer("hidden", torch.ones(2), persistent=False)
        self.plain, self.wide = torch.zeros(2), torch.zeros(1).expand(4)
        self.frozen = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.spare = nn.Parameter(torch.ones(2))

    def forward(self, x):
        self.change(self, x)
        return self.lin(x)


def count_everything(net, x):
    net.seen += 1
    net.history.append(x.sum().item())
    net.table.setdefault("a", []).append(2)
    net.table["new"] = net.table.pop("a")
    net.order[net.seen] = 1
    net.order.move_to_end("x")
    net.recent.append(net.seen)
    net.found.add(net.seen)
    net.counts["batches"] += 1
    net.raw[0] += 1
    net.moments += 1
    net.bits.extend(b"c")
    net.late = True


CHANGES = {
    "plain values and containers": count_everything,
    "a buffer that was None": lambda net, x: setattr(net, "scale", x.std(0)),
    "a buffer replaced": lambda net, x: setattr(net, "queue", torch.cat([net.queue, x[0]])),
    "a buffer resized in place": lambda net, x: net.queue.resize_(50).fill_(2.0),
    "a buffer converted": lambda net, x: setattr(net.queue, "data", net.queue.data.double()),
    "a buffer not saved": lambda net, x: net.hidden.add_(1),
    "a buffer deleted": lambda net, x: net._buffers.pop("hidden", None),
    "a buffer newly registered": lambda net, x: net.register_buffer(
        "born", x.clone(), persistent=False
    ),
    "a plain tensor": lambda net, x: net.plain.add_(1),
    "an expanded tensor": lambda net, x: setattr(net, "wide", net.wide + 1),
    "a tensor that enters the graph": lambda net, x: net.hidden.mul_(net.lin.weight.sum()),
    "a parameter replaced": lambda net, x: setattr(net, "spare", nn.Parameter(torch.zeros(4))),
    "a parameter removed": lambda net, x: setattr(net, "spare", None),
    "a parameter's memory replaced": lambda net, x: setattr(net.spare, "data", net.queue.data[:2]),
    "a parameter's memory released": lambda net, x: net.spare.untyped_storage().resize_(0),
    "a parameter's attribute": lambda net, x: setattr(net.spare, "note", 1),
    "a gradient": lambda net, x: setattr(net.frozen, "grad", torch.ones(1)),
    "a parameter thawed": lambda net, x: net.frozen.requires_grad_(True),
    "a parameter frozen": lambda net, x: net.spare.requires_grad_(False),
    "a submodule added": lambda net, x: net.add_module(
        f"extra{len(net._modules)}", nn.Linear(1, 1)
    ),
    "a hook added": lambda net, x: net.lin.register_forward_hook(lambda *_: None),
    "modes": lambda net, x: net.lin.eval(),
    "its class": lambda net, x: setattr(net, "__class__", Renamed),
}


class Renamed(Odd):
    pass


def record(thing):
    """Everything in a module, including the identity of its tensors and modules."""
    kept = []
    for module in thing.modules():
        kept.append((id(module), type(module), list(vars(module))))
        for name, value in vars(module).items():
            if isinstance(value, dict):
                kept.append((name, [(k, id(v)) for k, v in value.items()], copied(value)))
            elif not isinstance(value, torch.Tensor):
                kept.append((name, id(value), copied(value)))
            else:
                kept.append((name, copied(value)))
    return kept


def copied(value):
    if isinstance(value, torch.Tensor):
        flags = value.requires_grad, value.is_leaf, dict(vars(value))
        place = id(value), value.untyped_storage()._cdata, tuple(value.shape), value.dtype
        gradient = copied(value.grad) if value.is_leaf and value.grad is not None else None
        return (*place, value.tolist(), flags, gradient)
    if isinstance(value, np.ndarray | array.array):
        return list(value)
    if isinstance(value, dict):
        return [(k, copied(v)) for k, v in value.items()]
    if isinstance(value, list | deque):
        return [copied(v) for v in value]
    return value if isinstance(value, int | float | str | set | bytearray | tuple) else id(value)


@pytest.mark.parametrize("what", CHANGES)
def test_what_a_module_does_to_itself_is_undone(what):
    model = Odd(CHANGES[what])
    model.lin.weight.grad = torch.ones(3, 5)
    before = copy.copy(record(model))
    snapshot = [copy.deepcopy(entry) for entry in before]
    optimizer = torch.optim.SGD(model.lin.parameters(), lr=0.1)
    curve = ramped(model, optimizer, steps=3)
    assert len(curve) == 3
    assert record(model) == snapshot


def test_parameters_that_only_the_optimizer_has_are_restored():
    """Only one of backbone and head is passed, and a plain tensor belongs to neither."""
    back, head, shift = nn.Linear(5, 8), nn.Linear(8, 3), torch.zeros(3, requires_grad=True)
    groups = [{"params": back.parameters(), "lr": 0.01}, {"params": [*head.parameters(), shift]}]
    optimizer = torch.optim.Adam(groups, lr=0.1)
    back.weight.grad = gradient = torch.ones(8, 5)
    data = pairs()

    def step(index):
        x, y = data[index % len(data)]
        optimizer.zero_grad()
        loss = F.cross_entropy(head(back(x).relu()) + shift, y)
        loss.backward()
        optimizer.step()
        return loss

    held = [*back.parameters(), *head.parameters(), shift]
    before = [p.detach().clone() for p in held]
    lr_range_test(head, optimizer, step=step, steps=20)
    assert all(torch.equal(p, b) for p, b in zip(held, before, strict=True))
    assert back.weight.grad is gradient
    assert not optimizer.state


@pytest.mark.parametrize("stop", [lambda: None])
def test_objects_that_an_own_step_refers_to_are_restored(stop):
    """A generator and a critic with their own optimizers, an average, a schedule, random draws."""
    torch.manual_seed(0)
    critic, maker = nn.Linear(5, 1), nn.Linear(2, 5)
    of_critic, of_maker = (torch.optim.Adam(net.parameters(), lr=0.01) for net in (critic, maker))
    schedule = torch.optim.lr_scheduler.StepLR(of_maker, 2)
    average = torch.optim.swa_utils.AveragedModel(maker)
    noise, numbers, words = (
        torch.Generator().manual_seed(1), np.random.default_rng(2), random.Random(3)
    )  # fmt: skip
    nets = {"critic": critic}

    def update_maker():
        of_maker.zero_grad()
        loss = -nets["critic"](maker(torch.randn(4, 2, generator=noise))).mean()
        loss.backward()
        of_maker.step()
        schedule.step()
        average.update_parameters(maker)
        return loss

    def step(index):
        of_critic.zero_grad()
        made = maker(torch.randn(4, 2, generator=DRAWN)).detach() + numbers.normal()
        (critic(made).square().mean() * words.random()).backward()
        of_critic.step()
        loss = update_maker().square()
        if index == 4:
            stop()
        return loss

    def state():
        optimizers = [o.state_dict() for o in (of_critic, of_maker)]
        nets = [m.state_dict() for m in (critic, maker, average)]
        draws = [noise.get_state(), DRAWN.get_state(), numbers.bit_generator.state]
        return copy.deepcopy([*optimizers, *nets, schedule.state_dict(), draws, words.getstate()])

    before = state()
    with contextlib.suppress(KeyboardInterrupt):
        lr_range_test(critic, of_critic, step=step, steps=6)
    assert not of_maker.state
    same(before, state())


def same(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True) if isinstance(
        one, torch.Tensor
    ) else None
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            same(left, right)
    elif not isinstance(one, torch.Tensor):
        assert one == other or one is other


class Centers(nn.Module):
    """A loss that learns, and counts."""

    def __init__(self):
        super().__init__()
        self.centers = nn.Parameter(torch.zeros(3, 3))
        self.register_buffer("mean", torch.zeros(()))
        self.calls = 0

    def forward(self, output, target):
        self.calls += 1
        self.mean.mul_(0.9).add_(output.detach().mean())
        return (output - self.centers[target]).square().mean()


class RunningLoss:
    """A loss with a state that is not a module."""

    def __init__(self):
        self.scale, self.weights = 1.0, torch.ones(3)

    def __call__(self, output, target):
        self.scale *= 0.9
        self.weights += 1
        return F.cross_entropy(output, target, self.weights) * self.scale


@pytest.mark.parametrize("inside", [False, True])
def test_the_state_of_a_loss_is_restored(inside):
    model, loss, running = nn.Linear(5, 3), Centers(), RunningLoss()
    optimizer = torch.optim.SGD([*model.parameters(), *loss.parameters()], lr=0.1)
    before = copy.deepcopy(loss.state_dict())
    ramped(model, optimizer, (lambda o, t: loss(o, t)) if inside else loss)
    same(before, loss.state_dict())
    assert loss.calls == 0
    ramped(model, optimizer, running)
    assert (running.scale, running.weights.tolist()) == (1.0, [1.0] * 3)


class Outside(nn.Module):
    """Its state is not in Python attributes."""

    STORE = {}  # noqa: RUF012 - a store of the class, on purpose

    def get_extra_state(self):
        return {
            "seen": self.STORE.get("seen", 0),
            "mean": torch.tensor(self.STORE.get("mean", 0.0)),
        }

    def set_extra_state(self, state):
        self.STORE.update(seen=state["seen"], mean=state["mean"].item())

    def forward(self, x):
        self.STORE["seen"] = self.STORE.get("seen", 0) + 1
        self.STORE["mean"] = x.mean().item()
        return x


def test_extra_state_is_restored():
    model = nn.Sequential(Outside(), nn.Linear(5, 3))
    before = copy.deepcopy(model.state_dict())
    ramped(model)
    same(before, model.state_dict())


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_parametrized_layers_are_restored(wrap):
    torch.manual_seed(0)
    model = nn.Sequential(wrap(nn.Linear(5, 4)), nn.ReLU(), nn.Linear(4, 3))
    before = copy.deepcopy(model.state_dict())
    ramped(model)
    same(before, model.state_dict())


def trained_after(tested, build):
    torch.manual_seed(0)
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    if tested:
        assert len(ramped(model, optimizer)) > 2
    for x, y in pairs():
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.state_dict(), type(model[0]).__name__


def test_lazy_layers_are_lazy_again_and_train_as_without_the_test():
    def build():
        return nn.Sequential(nn.LazyLinear(6), nn.LazyBatchNorm1d(), nn.Linear(6, 3))

    model = build()
    ramped(model)
    assert type(model[0]) is nn.LazyLinear
    assert model[0].has_uninitialized_params()
    same(trained_after(False, build), trained_after(True, build))


def test_torchscript_is_restored():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = torch.jit.script(nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3)))
    before = copy.deepcopy({k: v.clone() for k, v in model.state_dict().items()})
    ramped(model)
    same(before, {**model.state_dict()})


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_network_is_restored():
    inner = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3))
    before = copy.deepcopy(inner.state_dict())
    ramped(torch.compile(inner, backend="eager"), steps=3)
    same(before, inner.state_dict())


class Ahead(torch.optim.Optimizer):
    """Wraps another optimizer, with its own slow weights and counter (like Lookahead)."""

    def __init__(self, base):
        self.base, self.count, self.slow = base, 0, {}
        super().__init__(base.param_groups, {})
        self.param_groups = base.param_groups

    def step(self, closure=None):
        self.count += 1
        for group in self.param_groups:
            group["looked"] = self.count
            for p in group["params"]:
                self.slow.setdefault(p, p.detach().clone()).lerp_(p.detach(), 0.5)
        self.defaults["count"] = self.count
        return self.base.step(closure)


def test_an_optimizer_with_more_than_groups_and_state_is_restored():
    model = nn.Linear(5, 3)
    base = torch.optim.Adam(model.parameters(), lr=0.1)
    optimizer = Ahead(base)
    ramped(model, optimizer)
    assert (optimizer.count, optimizer.slow, optimizer.defaults) == (0, {}, {})
    assert not base.state
    assert "looked" not in base.param_groups[0]
    assert base.param_groups[0]["lr"] == 0.1


def test_a_group_that_a_step_adds_is_removed_again():
    model, late = nn.Linear(5, 3), nn.Linear(5, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    groups = optimizer.param_groups

    def step(index):
        if index == 2:
            optimizer.add_param_group({"params": late.parameters(), "lr": 0.7})
        return 1.0

    lr_range_test(model, optimizer, step=step, steps=5)
    assert optimizer.param_groups is groups
    assert len(groups) == 1


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
def test_a_tensor_rate_stays_the_same_tensor(kind):
    model, lr, seen = nn.Linear(5, 3), torch.tensor(0.1), []
    optimizer = kind(model.parameters(), lr=lr)
    loss = lambda o, t: seen.append(lr.item()) or F.cross_entropy(o, t)  # noqa: E731
    curve = ramped(model, optimizer, loss)
    assert seen == pytest.approx(curve.lr, rel=1e-6)
    assert optimizer.param_groups[0]["lr"] is lr
    assert lr.item() == pytest.approx(0.1)


def test_the_scaler_is_restored():
    model, scaler = nn.Linear(5, 3), torch.amp.GradScaler("cpu", init_scale=8.0)
    ramped(model, scaler=scaler)
    assert (scaler._scale, scaler._init_scale, dict(scaler._per_optimizer_states)) == (
        None,
        8.0,
        {},
    )


def test_further_objects_are_restored_on_request():
    class Trainer:
        def __init__(self, net):
            self.net, self.count = net, 0
            self.shadow = {n: p.detach().clone() for n, p in net.named_parameters()}
            self.optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

        def step(self, index):
            self.count += 1
            x, y = pairs()[index % 6]
            self.optimizer.zero_grad()
            F.cross_entropy(self.net(x), y).backward()
            self.optimizer.step()
            for name, p in self.net.named_parameters():
                self.shadow[name].lerp_(p.detach(), 0.5)
            return 1.0

    trainer = Trainer(nn.Linear(5, 3))
    before = copy.deepcopy(trainer.shadow)
    test = {"step": trainer.step, "steps": 4}
    lr_range_test(trainer.net, trainer.optimizer, **test, others=[trainer])
    same(before, trainer.shadow)
    assert trainer.count == 0
    lr_range_test(trainer.net, trainer.optimizer, **test)
    assert trainer.count == 4  # the documented limit: one's own counters go on


class Stepper:
    """A step as a method or as an object; its attributes have the objects that it trains."""

    def __init__(self):
        self.nets = {"back": nn.Linear(5, 4), "head": nn.Linear(4, 3)}
        held = [p for net in self.nets.values() for p in net.parameters()]
        self.optimizers = [torch.optim.SGD(held[:2], lr=0.1), torch.optim.SGD(held[2:], lr=0.1)]

    def step(self, index, scale=1.0):
        x, y = pairs()[index % 6]
        loss = F.cross_entropy(self.nets["head"](self.nets["back"](x)), y) * scale
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    __call__ = step


@pytest.mark.parametrize(
    "form",
    [lambda s: s, lambda s: s.step, lambda s: partial(s.step, scale=2.0), lambda s: lambda i: s(i)],
)
def test_a_step_of_any_form_is_searched(form):
    stepper = Stepper()
    back, head = stepper.nets["back"], stepper.nets["head"]
    before = copy.deepcopy(back.state_dict())
    lr_range_test(head, stepper.optimizers[1], step=form(stepper), steps=4)
    same(before, back.state_dict())


class Noisy(Dataset):
    """Draws from its own generators, and counts."""

    def __init__(self):
        self.torch, self.new = torch.Generator().manual_seed(1), np.random.default_rng(2)
        self.old, self.python = np.random.RandomState(3), random.Random(4)
        self.calls, self.weights = 0, torch.ones(40)

    def __len__(self):
        return 40

    def __getitem__(self, index):
        self.calls += 1
        self.weights[index] += 1
        x = torch.randn(5, generator=self.torch) + self.new.normal() + self.old.rand()
        return x + self.python.random(), index % 3


def seeded():
    return torch.Generator().manual_seed(7)


LOADERS = {
    "shuffle": lambda d: DataLoader(d, 8, shuffle=True, generator=seeded()),
    "sampler": lambda d: DataLoader(d, 8, sampler=RandomSampler(d, generator=seeded())),
    "subset": lambda d: DataLoader(d, 8, sampler=SubsetRandomSampler(range(30), seeded())),
    "weighted": lambda d: DataLoader(
        d, 8, sampler=WeightedRandomSampler([1.0] * 40, 40, generator=seeded())
    ),
    "batches": lambda d: DataLoader(
        d, batch_sampler=BatchSampler(RandomSampler(d, generator=seeded()), 8, False)
    ),
    "split": lambda d: DataLoader(torch.utils.data.random_split(d, [30, 10], seeded())[0], 8),
    "wrapped": lambda d: [next(iter(DataLoader(d, 8)))] * 3,
}


def run_of(loader):
    return [(x.tolist(), y.tolist()) for x, y in loader]


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("as_validation", [False, True])
def test_a_loader_gives_the_same_batches_as_without_the_test(kind, as_validation):
    runs = []
    for tested in (False, True):
        loader = LOADERS[kind](Noisy())
        if tested:
            validation = {"batches": pairs(), "validation": loader} if as_validation else {}
            ramped(nn.Linear(5, 3), **({"batches": loader} | validation))
        runs.append(run_of(loader))
    assert runs[0] == runs[1]


def test_counters_of_data_sets_and_samplers_are_restored():
    data = Noisy()
    sampler = DistributedSampler(data, num_replicas=2, rank=0, seed=3)
    loader = DataLoader(data, 4, sampler=sampler)
    model = nn.Linear(5, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(index):
        sampler.set_epoch(sampler.epoch + 1)
        x, y = next(iter(loader))
        return F.cross_entropy(model(x), y)

    lr_range_test(model, optimizer, step=step, steps=4)
    assert (sampler.epoch, data.calls, data.weights.sum().item()) == (0, 0, 40)


def test_large_data_is_not_copied_and_a_change_to_it_is_reported():
    class Large(Noisy):
        def __init__(self):
            super().__init__()
            self.large = torch.zeros(300_000)

    data, model = Large(), nn.Linear(5, 3)
    ramped(model, batches=DataLoader(data, 8))

    def step(index):
        data.large.add_(1)
        return 1.0

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.warns(UserWarning, match=r"could not restore step: data.large \(changed"):
        lr_range_test(model, optimizer, step=step, steps=3)


class Stubborn(nn.Module):
    """Resizes an array in place, which can't be undone."""

    def __init__(self):
        super().__init__()
        self.lin, self.sizes = nn.Linear(5, 3), np.zeros(3)

    def forward(self, x):
        self.sizes.resize(7, refcheck=False)
        return self.lin(x)


def resized_for_good():
    model = nn.Sequential(Stubborn())
    before = copy.deepcopy(model[0].lin.state_dict())
    ramped(model)
    same(before, model[0].lin.state_dict())


def test_what_cannot_be_restored_is_named_after_everything_else_is_restored():
    with pytest.warns(UserWarning, match=r"model.0.sizes \(its shape became \(7,\)\); load it"):
        resized_for_good()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_an_interrupted_step_leaves_no_trace(error):
    model = Odd(count_everything)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    before = copy.deepcopy(model.state_dict()), model.seen

    def step(index):
        x, y = pairs()[0]
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        if index == 3:
            raise error
        return 1.0

    with pytest.raises(error):
        lr_range_test(model, optimizer, step=step)
    same(before, (model.state_dict(), model.seen))
    assert not optimizer.state


def test_ctrl_c_while_restoring_waits_for_the_end(monkeypatch):
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before, stopped = copy.deepcopy(model.state_dict()), []
    copy_ = torch.Tensor.copy_

    def interrupted(*args):
        if not stopped:
            stopped.append(True)
            raise KeyboardInterrupt
        return copy_(*args)

    with pytest.raises(KeyboardInterrupt), untouched(model, optimizer):  # noqa: PT012
        model[0].weight.data.fill_(3.0)
        model[1].weight.data.fill_(3.0)
        monkeypatch.setattr(torch.Tensor, "copy_", interrupted)
    assert stopped
    same(before, model.state_dict())


def test_only_one_copy_is_made():
    model = nn.Linear(1000, 500)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    copies = []
    clone = torch.Tensor.clone
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch.Tensor, "clone", lambda t, **k: copies.append(t.numel()) or clone(t, **k)
        )
        with untouched(model, optimizer, seen_by={"step": lambda i: model(i), "model": model}):
            assert sum(copies) == sum(p.numel() for p in model.parameters())


def test_read_only_memory_is_not_written_to(tmp_path):
    """Weights in a file opened read-only: a write would end the process."""
    path = tmp_path / "weights.bin"
    path.write_bytes(np.arange(15, dtype=np.float32).tobytes())
    array_of_file = np.memmap(path, np.float32, "r", shape=(3, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        weight = torch.from_numpy(array_of_file)
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 3))
    model[1].weight = nn.Parameter(weight, requires_grad=False)
    ramped(model)


def workers_of(loader):
    return [w.pid for w in loader._iterator._workers] if loader._iterator else None


class Counting(IterableDataset):
    def __iter__(self):
        for index in range(40):
            yield torch.randn(5), index % 3


def test_workers_end_with_the_test_and_persistent_ones_continue_their_epoch():
    multiprocessing = torch.multiprocessing
    data = TensorDataset(torch.randn(40, 5), torch.arange(40) % 3)
    loader = DataLoader(data, 4, num_workers=1, persistent_workers=True)
    epoch = iter(loader)
    first, before = next(epoch)[1].tolist(), workers_of(loader)
    ramped(nn.Linear(5, 3), batches=loader)
    assert workers_of(loader) == before
    assert [child.pid for child in multiprocessing.active_children()] == before
    rest = [y for _, labels in epoch for y in labels.tolist()]
    assert first + rest == [index % 3 for index in range(40)]
    loader._iterator._shutdown_workers()
    endless = DataLoader(Counting(), 4, num_workers=1)
    with pytest.raises(OSError, match="stop"):
        ramped(nn.Linear(5, 3), loss_fn=failing_later(), batches=endless)
    assert multiprocessing.active_children() == []


def failing_later():
    calls = []

    def loss(output, target):
        calls.append(1)
        if len(calls) > 3:
            raise OSError("stop")
        return F.cross_entropy(output, target)

    return loss


def test_an_iterable_is_started_on_demand_and_ended():
    starts, ends = [], []

    class Stream:
        def __iter__(self):
            starts.append(1)
            try:
                yield from pairs(10)
            finally:
                ends.append(1)

    model = nn.Linear(5, 3)
    for steps, expected in ((40, 4), (41, 5), (10, 1)):
        starts.clear()
        ends.clear()
        ramped(model, batches=Stream(), steps=steps, lr_end=0.1)
        assert (len(starts), len(ends)) == (expected, expected)


def test_an_iterator_ends_the_curve_and_stays_usable():
    def generate():
        yield from pairs(9)

    given = generate()
    curve = ramped(nn.Linear(5, 3), batches=given, steps=5, lr_end=0.1)
    assert (len(curve), curve.stopped) == (5, "completed")
    assert len(list(given)) == 4
    curve = ramped(nn.Linear(5, 3), batches=generate(), steps=20, lr_end=0.1)
    assert (len(curve), curve.stopped) == (9, "out of batches")

    class Once:
        def __init__(self):
            self.left = iter(pairs(7))

        def __iter__(self):
            return self.left

    assert ramped(nn.Linear(5, 3), batches=Once(), steps=20, lr_end=0.1).stopped == (
        "out of batches"
    )


def test_validation_keeps_the_mode_of_each_module():
    modes = []
    model = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3))
    model[1].eval()

    def loss(output, target):
        modes.append((model.training, model[1].training))
        return F.cross_entropy(output, target)

    ramped(model, loss_fn=loss, validation=pairs(1), steps=3)
    assert modes == [(True, False), (False, False)] * 3
