"""The contenders, how a newcomer would run each, and what is tried to make it faster."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.peers.work import Setting

OURS = "onecycle"


@dataclass(frozen=True)
class Contender:
    """A trainer.

    Attributes:
        label: its name in the table.
        module: its program, in this folder.
        default: as its documentation or a textbook would have it.
        start: where the search for its best setting starts: what should be fast.
        tried: one factor after the other, the values tried besides the start's; see `search`.
        environment: variables of its process.
        slow: so slow on a CPU that it is measured only when named.
    """

    label: str
    module: str
    default: Setting
    start: Setting | None = None
    tried: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    slow: bool = False


TEXTBOOK = Setting()
QUICK = Setting(precision="bf16", channels_last=True, workers=1, transforms="numpy", fused=True)

ALL_FACTORS = {
    "workers": (0, 2),
    "transforms": ("pil",),
    "threads": (1,),
    "channels_last": (False,),
    "fused": (False,),
    "precision": ("fp32",),
    "compiled": (True,),
    "keeps_memory": (True,),
}
IN_FRAMEWORKS = {
    "workers": (0, 2),
    "channels_last": (False,),
    "compiled": (True,),
    "keeps_memory": (True,),
}
IN_KERAS = {
    "channels_last": (False,),
    "precision": ("bf16",),
    "workers": (2,),
    "keeps_memory": (True,),
}

KERAS_DEFAULT = Setting(channels_last=True, workers=1)
KERAS_QUICK = replace(KERAS_DEFAULT, transforms="numpy")

CONTENDERS = {
    "textbook": Contender(
        "PyTorch, textbook loop, fp32 NCHW",
        "textbook",
        TEXTBOOK,
        replace(QUICK, precision="fp32", channels_last=False),
        {"workers": (0, 2), "compiled": (True,), "keeps_memory": (True,)},
    ),
    "bf16": Contender(
        "PyTorch, the same with bf16 and channels_last",
        "textbook",
        replace(TEXTBOOK, precision="bf16", channels_last=True),
        QUICK,
        ALL_FACTORS,
    ),
    "lightning": Contender("Lightning", "lightning_loop", TEXTBOOK, QUICK, IN_FRAMEWORKS),
    "accelerate": Contender("Accelerate", "accelerate_loop", TEXTBOOK, QUICK, IN_FRAMEWORKS),
    "transformers": Contender(
        "transformers Trainer", "transformers_loop", TEXTBOOK, QUICK, IN_FRAMEWORKS
    ),
    "keras-torch": Contender(
        "Keras on PyTorch",
        "keras_loop",
        KERAS_DEFAULT,
        KERAS_QUICK,
        IN_KERAS | {"compiled": (True,)},
        {"KERAS_BACKEND": "torch"},
    ),
    "keras-jax": Contender(
        "Keras on JAX",
        "keras_loop",
        KERAS_DEFAULT,
        KERAS_QUICK,
        IN_KERAS,  # compiled always
        {"KERAS_BACKEND": "jax"},
        slow=True,
    ),
    OURS: Contender("onecycle", "engine", replace(QUICK, workers=0)),
    "onecycle-fp32": Contender(
        "onecycle, fp32", "engine", replace(QUICK, workers=0, precision="fp32")
    ),
}

ALIKE = ("transformers", "bf16")
"""Whose best setting those take that start a search alike and have none of their own."""


def found_path(device: str) -> Path:
    """Where the settings that were found best on a kind of device are kept."""
    return Path(__file__).with_name(f"best_{device}.json")


def best_settings(device: str) -> dict[str, Setting]:
    """Of each contender that has a choice, the best setting found.

    Where none was searched for: that of another trainer made of the same parts (`ALIKE`), else
    where a search would start.
    """
    found = {name: Setting(**entry["best"]) for name, entry in read_found(device).items()}
    best = {}
    for name, contender in CONTENDERS.items():
        if contender.start:
            alike = (found[each] for each in ALIKE if each in found and contender.start == QUICK)
            best[name] = found.get(name) or next(alike, contender.start)
    return best


def read_found(device: str) -> dict[str, Any]:
    """What searches left: by contender `best`, `tried`, `date`, `machine`."""
    path = found_path(device)
    return json.loads(path.read_text()) if path.exists() else {}


def write_found(device: str, name: str, entry: dict[str, Any]) -> None:
    """Keep what a search found for a contender, beside what is known of the others."""
    found = read_found(device) | {name: entry}
    ordered = {each: found[each] for each in CONTENDERS if each in found}
    found_path(device).write_text(json.dumps(ordered, indent=1) + "\n")


def as_entry(setting: Setting) -> dict[str, Any]:
    return asdict(setting)
