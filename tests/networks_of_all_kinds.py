"""Networks of all kinds: those that are supported, and those that are refused, with what is said.

Each is a factory by itself. Its layers are few, so that it is built and trained in no time.
"""

import random

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Base(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, classes)

    def features(self, x):
        return F.relu(self.norm(self.conv(x)))

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))


class Plain(Base):
    pass


class Lenet(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 6, 5)
        self.fc = nn.Linear(6 * 12 * 12, classes)

    def forward(self, x):
        x = F.relu(self.conv(x))
        return self.fc(x.view(x.size(0), -1))


class StochasticDepth(Base):
    def forward(self, x):
        y = self.features(x)
        if self.training:
            y = y * (torch.rand(len(y), 1, 1, 1) < 0.8)
        return self.fc(F.dropout(y.mean((2, 3)), 0.3, self.training))


class GroupNorm(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3)
        self.norm = nn.GroupNorm(2, 8)
        self.fc = nn.Linear(8, classes)

    def forward(self, x):
        return self.fc(F.relu(self.norm(self.conv(x))).mean((2, 3)))


class TiedWeights(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.a = nn.Conv2d(channels, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 3, padding=1)
        self.c = nn.Conv2d(8, 8, 3, padding=1)
        self.c.weight = self.b.weight
        self.d = self.b
        self.fc = nn.Linear(8, classes)

    def forward(self, x):
        return self.fc(F.relu(self.d(self.c(self.b(self.a(x))))).mean((2, 3)))


class UnusedLayer(Base):
    def __init__(self, classes, channels):
        super().__init__(classes, channels)
        self.aux = nn.Conv2d(8, 3, 1)


class UnusedMap(Base):
    def __init__(self, classes, channels):
        super().__init__(classes, channels)
        self.aux = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        y = self.features(x)
        out = self.fc(y.mean((2, 3)))
        self.aux(y)
        return out


class FrozenLayer(Base):
    def __init__(self, classes, channels):
        super().__init__(classes, channels)
        self.conv.requires_grad_(False)


class FrozenBody(Base):
    def __init__(self, classes, channels):
        super().__init__(classes, channels)
        self.requires_grad_(False)
        self.fc.requires_grad_(True)


class TimmLike(Base):
    def forward_features(self, x):
        return self.features(x)

    def forward(self, x):
        return self.fc(self.forward_features(x).mean((2, 3)))


class NotCalled(Base):
    def forward_features(self, x):
        return {"a": x}


class Perceptron(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.fc = nn.Linear(channels * 256, classes)

    def forward(self, x):
        return self.fc(x.flatten(1))


class OneSize(Base):
    def forward(self, x):
        assert x.shape[2:] == (16, 16), "only 16 pixels"
        return super().forward(x)


class HeldTensor(Base):
    def __init__(self, classes, channels):
        super().__init__(classes, channels)
        self.scale = [torch.full((8,), 2.0)]

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)) * self.scale[0])


class ReadsValues(Base):
    def forward(self, x):
        y = self.features(x)
        return self.fc(y.mean((2, 3))) * (1.0 if y.sum().item() > -1e9 else 2.0)


class ZeroHead(Base):
    def __init__(self, classes, channels):
        super().__init__(classes, channels)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)


class Inplace(Base):
    def forward(self, x):
        x.sub_(0.1)
        return super().forward(x)


class Attention(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.proj = nn.Conv2d(channels, 16, 4, 4)
        self.attn = nn.MultiheadAttention(16, 2, batch_first=True)
        self.fc = nn.Linear(16, classes)
        self.cls = nn.Parameter(torch.zeros(1, 1, 16))

    def forward(self, x):
        t = self.proj(x).flatten(2).transpose(1, 2)
        t = torch.cat([self.cls.expand(len(t), -1, -1), t], 1)
        return self.fc(self.attn(t, t, t)[0][:, 0])


class WeightNorm(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(channels, 8, 3))
        self.fc = nn.Linear(8, classes)

    def forward(self, x):
        return self.fc(F.relu(self.conv(x)).mean((2, 3)))


class CountsInBuffer(Base):
    def __init__(self, classes, channels):
        super().__init__(classes, channels)
        self.register_buffer("n", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        if self.training:
            self.n += 1
        return super().forward(x) / (1 + 0.1 * self.n)


class HalfLogits(Base):
    def forward(self, x):
        return super().forward(x).bfloat16()


class Tuple(Base):
    def forward(self, x):
        y = super().forward(x)
        return y, y


class Dict(Base):
    def forward(self, x):
        return {"logits": super().forward(x)}


class Nothing(Base):
    def forward(self, x):
        super().forward(x)


class FewClasses(Base):
    def forward(self, x):
        return super().forward(x)[:, :3]


class Labels(Base):
    def forward(self, x):
        return super().forward(x).argmax(1)


class Detached(Base):
    def forward(self, x):
        return super().forward(x).detach()


class NotFinite(Base):
    def forward(self, x):
        return super().forward(x) / 0


class Lazy(Base):
    def __init__(self, classes, channels):
        super().__init__(classes, channels)
        self.fc = nn.LazyLinear(classes)


class Double(Base):
    def __init__(self, classes, channels):
        super().__init__(classes, channels)
        self.double()


class NothingTrained(Base):
    def __init__(self, classes, channels):
        super().__init__(classes, channels)
        self.requires_grad_(False)


class AlwaysDropping(Base):
    def forward(self, x):
        return self.fc(F.dropout(self.features(x).mean((2, 3)), 0.5))


class BatchStatistics(Base):
    def __init__(self, classes, channels):
        super().__init__(classes, channels)
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)


class NumpyDraws(Base):
    def forward(self, x):
        return super().forward(x) * float(np.random.rand() if self.training else 1)  # noqa: NPY002


class PythonDraws(Base):
    def forward(self, x):
        return super().forward(x) * (random.random() if self.training else 1)


class PythonCounter(Base):
    n = 0

    def forward(self, x):
        if self.training:
            self.n += 1
        return super().forward(x) / (1 + 0.1 * self.n)


class HiddenBuffer(Base):
    def __init__(self, classes, channels):
        super().__init__(classes, channels)
        self.register_buffer("m", torch.zeros(8), persistent=False)

    def forward(self, x):
        y = self.features(x).mean((2, 3))
        if self.training:
            self.m = 0.9 * self.m + y.mean(0).detach()
        return self.fc(y - self.m)


class NumpyWeights(Base):
    def __init__(self, classes, channels):
        super().__init__(classes, channels)
        with torch.no_grad():
            self.fc.weight.copy_(torch.from_numpy(np.random.randn(classes, 8)))  # noqa: NPY002


class ExtraState(Base):
    def get_extra_state(self):
        return {"x": 1}

    def set_extra_state(self, s):
        pass


class Raises(Base):
    def forward(self, x):
        raise ValueError("no")


class KeepsFeatures(Base):
    def forward(self, x):
        self.kept = self.features(x)
        return self.fc(self.kept.mean((2, 3)))


class WrongShapes(Base):
    def forward(self, x):
        return self.fc(self.features(x).mean(3))


class CountsInEval(Base):
    def __init__(self, classes, channels):
        super().__init__(classes, channels)
        self.register_buffer("n", torch.zeros(()))

    def forward(self, x):
        self.n += 1
        return super().forward(x)


class TwoInputs(Base):
    def forward(self, x, y):
        return super().forward(x)


SUPPORTED = (
    Plain, Lenet, StochasticDepth, GroupNorm, TiedWeights, UnusedLayer, UnusedMap, FrozenLayer,
    FrozenBody, TimmLike, NotCalled, Perceptron, OneSize, HeldTensor, ReadsValues, ZeroHead,
    Inplace, Attention, WeightNorm, CountsInBuffer, HalfLogits, KeepsFeatures,
)  # fmt: skip

REFUSED = {
    Tuple: "returns a tuple of 2; return the logits alone",
    Dict: "returns a dict of 'logits'; return the logits alone",
    Nothing: "returns nothing",
    FewClasses: "returns 3 x 3 for 3 images of 10 classes",
    Labels: "returns 3 for 3 images of 10 classes",
    Detached: "without a gradient",
    NotFinite: "not finite",
    Lazy: r"lazy parameters \('fc.weight'\)",
    Double: r"parameters in float64 \('conv.weight'\)",
    NothingTrained: "no parameter that is trained",
    AlwaysDropping: "another answer each time in eval mode, as with dropout",
    BatchStatistics: "another answer if other images are beside it",
    NumpyDraws: "another loss or gradient for the same seed",
    PythonDraws: "another loss or gradient for the same seed",
    PythonCounter: "not in its state_dict",
    HiddenBuffer: "not in its state_dict",
    NumpyWeights: r"other initial weights each time \('fc.weight'\)",
    ExtraState: "keeps '_extra_state' in its state_dict, which is no tensor",
    CountsInEval: "changes 'n' in eval mode",
    Raises: r"networks_of_all_kinds.py, line \d+: ValueError: no",
    WrongShapes: r"networks_of_all_kinds.py, line \d+: RuntimeError: mat1 and mat2",
    TwoInputs: "TypeError: .* missing 1 required positional argument",
}
