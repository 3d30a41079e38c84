"""Weights from files: what is read, what fits, and what is refused in one line."""

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from onecycle import models
from onecycle.errors import InputError
from onecycle.models import weights

HEAD = "linear"


def network(classes: int = 4, channels: int = 3, seed: int = 0) -> nn.Module:
    return models.build("custom-resnet", classes=classes, channels=channels, width=0.05, seed=seed)


def saved_by(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def saved_without_checksums(tensors: dict[str, torch.Tensor], path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(tensors, path)
    finally:
        torch.serialization.set_crc32_options(True)
    with zipfile.ZipFile(path) as file:
        assert not any(entry.CRC for entry in file.infolist())


WAYS = {
    "safetensors": lambda tensors, path: save_file(tensors, path),
    "zip": lambda tensors, path: torch.save(tensors, path),
    "of PyTorch before 1.6": lambda tensors, path: torch.save(
        tensors, path, _use_new_zipfile_serialization=False
    ),
    "without checksums": lambda tensors, path: saved_without_checksums(tensors, path),
    "under state_dict": lambda tensors, path: torch.save(
        {"epoch": 3, "state_dict": OrderedDict(tensors), "best": 0.5}, path
    ),
    "under model and state_dict": lambda tensors, path: torch.save(
        {"model": {"state_dict": tensors}, "optimizer": {"state": {0: torch.ones(2)}}}, path
    ),
    "under model_state_dict": lambda tensors, path: torch.save(
        {"model_state_dict": tensors, "loss": torch.tensor(1.0)}, path
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_files_give_back_their_tensors(way, tmp_path):
    tensors, path = saved_by(network()), tmp_path / "weights.bin"
    WAYS[way](tensors, path)
    kind, found = weights.read(path)
    assert kind == ("safetensors" if way == "safetensors" else "pytorch")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def written(content: bytes):
    return lambda path: path.write_bytes(content)


def zip_with(change, compression=zipfile.ZIP_STORED):
    """A file of torch.save with its pickle changed."""

    def write(path):
        memory = io.BytesIO()
        torch.save({"a": torch.ones(4, 4), "b": torch.ones(4)}, memory)
        with zipfile.ZipFile(memory) as old, zipfile.ZipFile(path, "w", compression) as new:
            for name in old.namelist():
                content = old.read(name)
                new.writestr(name, change(content) if name.endswith("data.pkl") else content)

    return write


def larger(content: bytes) -> bytes:
    """Declares 20 GB for a storage of 16 numbers."""
    assert content.count(b"K\x10t") == 1
    return content.replace(b"K\x10t", b"\x8a\x05" + (5 * 10**9).to_bytes(5, "little") + b"t")


def old_and_larger(path):
    memory = io.BytesIO()
    torch.save({"a": torch.ones(4, 4)}, memory, _use_new_zipfile_serialization=False)
    number = b"\x8a\x05" + (5 * 10**9).to_bytes(5, "little")
    assert memory.getvalue().count(b"K\x10Nt") == 1
    path.write_bytes(memory.getvalue().replace(b"K\x10Nt", number + b"Nt"))


def cut(write, end: int):
    def cut_off(path):
        write(path)
        path.write_bytes(path.read_bytes()[:end])

    return cut_off


def npz(**arrays: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def flipped(path: Path) -> None:
    """One bit of a weight is another."""
    torch.save({"a": torch.ones(9)}, path)
    content = path.read_bytes()
    place = content.index(torch.ones(9).numpy().tobytes())
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


def safetensors_of(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


UNUSABLE = {
    "a whole network": (lambda path: torch.save(nn.Linear(2, 2), path), "more than tensors"),
    "code": (lambda path: torch.save({"a": Harmful()}, path), "more than tensors"),
    "code in a bare pickle": (written(pickle.dumps(Harmful())), "more than tensors|damaged"),
    "a list": (lambda path: torch.save([torch.ones(2)], path), "a list, not a state dict"),
    "a tensor": (lambda path: torch.save(torch.ones(2), path), "a Tensor, not a state dict"),
    "no tensors": (lambda path: torch.save({"epoch": 3}, path), "no tensors, not a state dict"),
    "20 GB in a zip": (zip_with(larger), "damaged"),
    "20 GB in an old file": (old_and_larger, "damaged"),
    "a compressed zip": (zip_with(bytes, zipfile.ZIP_DEFLATED), "compressed"),
    "a truncated zip": (cut(lambda path: torch.save({"a": torch.ones(9)}, path), -90), "damaged"),
    "a truncated old file": (
        cut(lambda path: torch.save(
            {"a": torch.ones(9)}, path, _use_new_zipfile_serialization=False), -9),
        "damaged",
    ),
    "a flipped bit": (flipped, r"damaged or incomplete \(Bad CRC-32"),
    "arrays of NumPy": (
        lambda path: path.write_bytes(npz(a=np.ones(4))),
        "it is an .npz file of NumPy; save the weights with torch.save",
    ),
    "another zip": (lambda path: zipfile.ZipFile(path, "w").writestr("a.txt", "a"), "damaged"),
    "truncated safetensors": (
        cut(lambda path: save_file({"a": torch.ones(9)}, path), -9), "damaged",
    ),
    "20 GB in safetensors": (
        written(safetensors_of(
            b'{"a":{"dtype":"F32","shape":[5000000000],"data_offsets":[0,20000000000]}}')),
        "damaged",
    ),
    "a long header": (written(struct.pack("<Q", 2**40) + b"{" + bytes(99)), "damaged"),
    "text": (written(b"not weights at all, only text"), "neither a safetensors file nor"),
    "nothing": (written(b""), "neither a safetensors file nor"),
    "a folder": (lambda path: path.mkdir(), "is not a file"),
    "a pipe": (os.mkfifo, "is not a file"),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNUSABLE)
def test_what_is_no_file_of_weights_is_refused_in_one_line_and_runs_no_code(
    kind, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    write, message = UNUSABLE[kind]
    write(path)
    with pytest.raises(InputError, match=message) as refused:
        weights.read(path)
    assert str(refused.value).startswith("init_from: ")
    assert "\n" not in str(refused.value)
    assert str(refused.value).isprintable()
    assert not (tmp_path / "executed").exists()


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="can't be read: No such file"):
        weights.read(tmp_path / "weights.pth")


RENAMED = {
    "as they are": lambda name: name,
    "of DataParallel": lambda name: f"module.{name}",
    "of torch.compile in Lightning": lambda name: f"model._orig_mod.{name}",
    "of an export": lambda name: "_".join(name.split(".")[:-1]) + "." + name.split(".")[-1],
}


@pytest.mark.parametrize("kind", RENAMED)
def test_names_are_understood_with_usual_prefixes_and_those_of_exports(kind):
    there, model = network(seed=1), network()
    tensors = {RENAMED[kind](name): tensor for name, tensor in saved_by(there).items()}
    found = weights.fit(model, tensors, HEAD)
    assert (found.left_out, found.new, found.new_head) == ((), (), "")
    found.apply(model)
    for name, tensor in there.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


def test_a_network_that_wraps_another_finds_its_names_without_the_wrapper():
    wrapped = nn.ModuleDict({"model": network()})
    found = weights.fit(wrapped, saved_by(network(seed=1)), "model.linear")
    assert not found.new


def test_names_that_would_be_the_same_with_underscores_are_not_guessed():
    model = nn.Sequential(
        OrderedDict(a_b=nn.Linear(3, 3), a=nn.Sequential(OrderedDict(b=nn.Linear(3, 3))))
    )
    tensors = {name.replace(".", "_"): t for name, t in saved_by(model).items()}
    with pytest.raises(InputError, match="weights of another network"):
        weights.fit(model, tensors, "a.b")


def test_a_head_for_other_classes_stays_new_and_everything_else_is_loaded():
    model, there = network(classes=4), network(classes=7, seed=1)
    before = saved_by(model)
    found = weights.fit(model, saved_by(there), HEAD)
    assert found.new == found.left_out == ("linear.weight", "linear.bias")
    assert found.new_head == "7 classes there, 4 here"
    found.apply(model)
    for name, tensor in model.state_dict().items():
        expected = before if name.startswith("linear") else there.state_dict()
        assert torch.equal(tensor, expected[name]), name


def test_a_head_is_new_on_demand():
    found = weights.fit(network(), saved_by(network(seed=1)), HEAD, without_head="other classes")
    assert found.new == ("linear.weight", "linear.bias")
    assert found.new_head == "other classes"


def test_a_stem_for_other_channels_stays_new():
    found = weights.fit(network(channels=1), saved_by(network()), HEAD)
    assert found.new == ("prep.conv.weight",)
    assert found.left_out == ("prep.conv.weight",)


def test_types_become_the_networks_and_memory_its_own():
    model, tensors = network(), saved_by(network(seed=1))
    halves = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    found = weights.fit(model, halves, HEAD)
    assert all(
        tensor.dtype == model.state_dict()[name].dtype for name, tensor in found.loaded.items()
    )
    assert not found.new
    same = weights.fit(model, tensors, HEAD).loaded
    assert all(same[name].data_ptr() != tensors[name].data_ptr() for name in same)


@pytest.mark.parametrize("left", [True, False])
def test_at_least_half_of_the_parameters_must_fit(left):
    """Of 2 x 4 x 4 and 4 parameters besides the head: with half of them it is enough."""
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4), nn.Linear(4, 2))
    tensors = saved_by(model)
    del tensors["0.weight"]
    if not left:
        del tensors["1.bias"], tensors["1.weight"]
        tensors["1.weight"] = torch.ones(3, 3)
        with pytest.raises(InputError) as refused:
            weights.fit(model, tensors, "2")
        assert str(refused.value).startswith(
            "init_from: only 0 % of the network's parameters fit (the head aside), so these are "
            "weights of another network; not fitting: 0.weight (not there), 1.weight (3×3 there, "
            "4×4 here), 1.bias (not there); names there begin with '2.weight'"
        )
        return
    assert weights.fit(model, tensors, "2").new == ("0.weight",)


def test_values_that_are_not_finite_are_refused():
    tensors = saved_by(network())
    tensors["layer2.norm.running_var"][3] = float("nan")
    with pytest.raises(
        InputError, match="'layer2.norm.running_var' has values that are not finite"
    ):
        weights.fit(network(), tensors, HEAD)


def test_tensors_of_other_kinds_do_not_fit():
    tensors = saved_by(network())
    tensors["prep.conv.weight"] = tensors["prep.conv.weight"].to_sparse()
    tensors["prep.norm.weight"] = tensors["prep.norm.weight"].long()
    tensors["prep.norm.bias"] = tensors["prep.norm.bias"].to("meta")
    found = weights.fit(network(), tensors, HEAD)
    assert set(found.new) == {"prep.conv.weight", "prep.norm.weight", "prep.norm.bias"}


def test_variances_below_zero_are_refused():
    tensors = saved_by(network())
    tensors["layer2.norm.running_var"][3] = -0.5
    with pytest.raises(InputError, match=r"'layer2.norm.running_var' has variances below 0"):
        weights.fit(network(), tensors, HEAD)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensor: tensor.to_sparse(), "sparse float32 there, float32 here"),
        (lambda tensor: tensor.to(torch.complex64), "complex64 there, float32 here"),
        (lambda tensor: tensor.to("meta"), "float32 without values there, float32 here"),
        (lambda tensor: (100 * tensor).to(torch.int8), "int8 there, float32 here"),
    ],
)
def test_another_form_of_the_same_weights_is_named(change, told):
    tensors = {name: change(tensor) for name, tensor in saved_by(network()).items()}
    with pytest.raises(InputError) as refused:
        weights.fit(network(), tensors, HEAD)
    assert f"prep.conv.weight ({told})" in str(refused.value)
    assert "this network in a form that can't be loaded; save plain tensors of float32" in str(
        refused.value
    )
