"""Which tensors of a file belong to which of a network: by name and shape.

Programs put different prefixes before the same names. All that are usual are tried, and those
under which most parameters fit are taken.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onecycle.errors import InputError
from onecycle.writing.names import printable
from onecycle.writing.numbers import counted, percent

PREFIXES = (
    "module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder.", "ema_model.",
)  # fmt: skip
"""What programs put before the names of a network's tensors."""

LEAST = 0.5
"""Share of a network's parameters, those of its head aside, that must fit."""

NAMED = 3
"""Number of names that a message lists."""

Naming = Callable[[str], str]
"""The name that a tensor of the network should have in the file."""


@dataclass(frozen=True)
class Fitting:
    """The tensors of a file that fit a network, and what is left of both.

    Attributes:
        loaded: by the network's names, with its types.
        left_out: names in the file of tensors that are not used, those of the network first.
        new: names in the network of tensors that stay as they were initialized.
        new_head: why the head is new; empty if it was loaded.
    """

    loaded: Mapping[str, Tensor]
    left_out: tuple[str, ...]
    new: tuple[str, ...]
    new_head: str = ""

    def apply(self, model: nn.Module) -> None:
        """Copy the loaded tensors into the network that they fit."""
        model.load_state_dict(dict(self.loaded), strict=False)


def fit(
    model: nn.Module, tensors: Mapping[str, Tensor], head: str, *, without_head: str = ""
) -> Fitting:
    """The tensors that fit the network by name and shape.

    The head is taken as a whole: if one of its tensors does not fit, all of them are new.

    Args:
        model: the network.
        tensors: by name, from a file.
        head: dotted name of the network's head.
        without_head: why the head must be new, whether it fits or not; empty: it need not.

    Raises:
        InputError: less than half of the parameters outside the head fit, or a value that fits is
            not finite.
    """
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    in_head = {name for name in own if not head or name.startswith(f"{head}.")}
    counts = {name: p.numel() for name, p in model.named_parameters() if name not in in_head}

    def fitting(naming: Naming) -> list[str]:
        return [name for name in own if _fits(own[name], tensors.get(naming(name)))]

    def score(naming: Naming) -> tuple[int, int]:
        found = fitting(naming)
        return sum(counts.get(name, 0) for name in found), len(found)

    naming = max(_namings(own, tensors), key=score)
    found = set(fitting(naming))
    why = without_head or ("" if in_head <= found else _why_new(own, tensors, in_head, naming))
    found -= in_head if why else set()
    _check_share(counts, found, own, tensors, naming)
    loaded = {name: _as(own[name], tensors[naming(name)]) for name in own if name in found}
    _check_finite(loaded)
    used = {naming(name) for name in found}
    order = dict.fromkeys([*map(naming, own), *sorted(tensors)])
    return Fitting(
        loaded=loaded,
        left_out=tuple(name for name in order if name in tensors and name not in used),
        new=tuple(name for name in own if name not in found),
        new_head=why,
    )


def _namings(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Iterator[Naming]:
    """All namings that may be meant. The first is that names are the same."""
    here = ["", *(prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in own))]
    there = dict.fromkeys(before for name in tensors for before in _prefixes(name))
    for ours in here:
        for theirs in there or [""]:
            yield _replacing(ours, theirs)
    if (underscored := _underscored(own, tensors)) is not None:
        yield underscored


def _prefixes(name: str) -> list[str]:
    """The beginnings of a name that consist of usual prefixes, the empty one first."""
    found, rest = [""], name
    while prefix := next((each for each in PREFIXES if rest.startswith(each)), ""):
        rest = rest.removeprefix(prefix)
        found.append(found[-1] + prefix)
    return found


def _replacing(ours: str, theirs: str) -> Naming:
    return lambda name: theirs + name.removeprefix(ours)


def _underscored(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Naming | None:
    """The naming of `onecycle export --format safetensors`: dots between modules are underscores.

    None if two names would be the same.
    """
    theirs = {name.replace(".", "_"): name for name in tensors}
    if len(theirs) < len(tensors) or len({name.replace(".", "_") for name in own}) < len(own):
        return None
    return lambda name: theirs.get(name.replace(".", "_"), "")


def _fits(own: Tensor, given: Tensor | None) -> bool:
    return (
        given is not None
        and given.layout == torch.strided
        and given.device.type == "cpu"
        and given.shape == own.shape
        and given.is_floating_point() == own.is_floating_point()
        and given.is_complex() == own.is_complex()
    )


def _as(own: Tensor, given: Tensor) -> Tensor:
    """A copy in the network's type, which shares no memory with the file."""
    return given.detach().to(own.dtype, copy=True).contiguous()


def _why_new(
    own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], in_head: set[str], naming: Naming
) -> str:
    """Why the head can't be loaded."""
    for name in sorted(in_head, key=lambda name: -own[name].ndim):
        given = tensors.get(naming(name))
        if given is not None and given.shape != own[name].shape:
            if given.shape[1:] == own[name].shape[1:] and given.ndim:
                return f"{counted(len(given), 'class', 'classes')} there, {len(own[name])} here"
            return f"shape {_shape(given)} there, {_shape(own[name])} here"
    return "it is not in there"


def _check_share(
    counts: Mapping[str, int],
    found: set[str],
    own: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    naming: Naming,
) -> None:
    """Refuse weights of another network, or of this one in another size."""
    fitting, every = sum(counts[name] for name in counts if name in found), sum(counts.values())
    if fitting >= LEAST * every:
        return
    missing = [name for name in counts if name not in found]
    told = ", ".join(
        _misfit(name, own[name], tensors.get(naming(name))) for name in missing[:NAMED]
    )
    more = f", and {len(missing) - NAMED:,} more" if len(missing) > NAMED else ""
    share = percent(fitting / every if every else 0.0, 0)
    named = [name for name in counts if naming(name) in tensors]
    alike = [name for name in named if tensors[naming(name)].shape == own[name].shape]
    if sum(counts[name] for name in alike) >= LEAST * every:
        whose = "this network in a form that can't be loaded; save plain tensors of float32"
    elif sum(counts[name] for name in named) >= LEAST * every:
        whose = "this network in another size; give the width that they were trained with"
    else:
        whose = "another network"
    first = next(iter(tensors), "")
    raise InputError(
        f"init_from: only {share} of the network's parameters fit (the head aside), so these are "
        f"weights of {whose}; not fitting: {told}{more}; names there begin with "
        f"'{printable(first)[:80]}'"
    )


def _misfit(name: str, own: Tensor, given: Tensor | None) -> str:
    if given is None:
        return f"{name} (not there)"
    if given.shape == own.shape:
        return f"{name} ({_kind(given)} there, {_kind(own)} here)"
    return f"{name} ({_shape(given)} there, {_shape(own)} here)"


def _kind(tensor: Tensor) -> str:
    """What a tensor is made of, such as `float32`, `sparse float32` or `float32 without values`."""
    layout = "" if tensor.layout == torch.strided else "sparse "
    values = " without values" if tensor.device.type == "meta" else ""
    return f"{layout}{str(tensor.dtype).removeprefix('torch.')}{values}"


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "one value"


def _check_finite(loaded: Mapping[str, Tensor]) -> None:
    """Refuse weights that a training, or a damage to the file, has ruined."""
    for name, tensor in loaded.items():
        if not tensor.is_floating_point():
            continue
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(
                f"init_from: '{name}' has values that are not finite; give other weights"
            )
        if name.rpartition(".")[2] == "running_var" and bool((tensor < 0).any()):
            raise InputError(
                f"init_from: '{name}' has variances below 0; give other weights, or get them again"
            )
