"""Which engine carries out the trials: what was asked for, and how it begins."""

import importlib.util
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from onecycle import runtime
from onecycle.config import Recipe
from onecycle.config.sizes import LARGEST_BATCH
from onecycle.data.refusals import BUILT_IN
from onecycle.errors import InputError
from onecycle.training.refusals import built_in
from onecycle.trials import manifest as manifests
from onecycle.trials import ray_engine, slurm_engine
from onecycle.trials.engine import Engine
from onecycle.trials.folder import TrialsFolder
from onecycle.trials.grid import Trial
from onecycle.trials.jobs import Wanted, decide
from onecycle.trials.listening import Listener
from onecycle.trials.local import LocalEngine
from onecycle.trials.manifest import Jobs, Manifest

Name = Literal["auto", "local", "ray", "slurm"]
"""auto: the one that the folder of the trials had before, else local."""

UNKNOWN_SIDE = 224
"""Height and width in pixels of images that are not looked at yet."""

MODULES = {"ray": "ray", "slurm": "submitit"}
"""What an engine needs beside this package."""


@dataclass(frozen=True)
class Asked:
    """The engine that was asked for, and how many trainings it has at once.

    Attributes:
        engine: its name.
        address: of the Ray cluster; empty: that of the folder, or one that is started.
        slurm: options of sbatch; empty: those of the folder.
        jobs: trainings at once.
        threads: CPU threads: in all on this machine, else of each training; 0: see docs/trials.md.
    """

    engine: Name = "auto"
    address: str = ""
    slurm: Mapping[str, str] = field(default_factory=dict)
    jobs: Wanted = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        if self.address and self.engine != "ray":
            raise InputError("--address: is for a Ray cluster; give --engine ray with it")
        if self.address.startswith("ray://"):
            raise InputError(
                "--address: Ray's client (ray://) is not supported; call this on a machine of the "
                "cluster, with HOST:PORT"
            )
        if self.slurm and self.engine != "slurm":
            raise InputError("--slurm: is for SLURM; give --engine slurm with it")
        slurm_engine.checked_options(self.slurm)

    def settled(self, into: str | Path) -> "Asked":
        """The engine as it will be, and what it needs; `into`: the folder that is asked for.

        Raises:
            InputError: this machine can't submit jobs.
            ModuleNotFoundError: the extra of the engine is not installed.
        """
        known = manifests.read(Path(into)) if into and Path(into).is_dir() else None
        if known is None or self.engine not in ("auto", known.engine):
            found = replace(self, engine="local" if self.engine == "auto" else self.engine)
        else:
            address, slurm = self.address or known.address, self.slurm or known.slurm
            found = replace(self, engine=known.engine, address=address, slurm=slurm)
        module = MODULES.get(found.engine)
        if module and importlib.util.find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named '{module}'", name=module)
        if found.engine == "slurm" and not shutil.which("sbatch"):
            raise InputError(
                "--engine slurm: there is no sbatch on this machine; call it where jobs are "
                "submitted, such as the cluster's login node"
            )
        return found

    def noted_in(self, found: Manifest) -> Manifest:
        """The manifest with this engine. Another engine decides anew how many trials at once."""
        assert self.engine != "auto"
        same = self.engine == found.engine
        return replace(
            found,
            engine=self.engine,
            address=self.address,
            slurm=dict(self.slurm),
            jobs=found.jobs if same else None,
        )


@contextmanager
def begun(
    place: TrialsFolder,
    found: Manifest,
    left: Sequence[Trial],
    asked: Asked,
    listener: Listener,
) -> Iterator[tuple[Engine, Manifest]]:
    """The engine of the trials, ready to take them, and the manifest with their number at once.

    Args:
        place: the folder of the trials.
        found: its manifest, with the engine.
        left: the trials that are not finished.
        asked: how many at once, and with how many threads.
        listener: is told what was measured.

    Raises:
        InputError: the engine can't be used as asked.
    """
    recipe, jobs = found.base(), asked.jobs
    threads = asked.threads or (found.jobs.threads if found.jobs else 0)
    if found.engine == "local":
        with LocalEngine(place, _sharing(place, found, left, asked, listener)) as engine:
            yield engine, replace(found, jobs=engine.jobs)
    elif found.engine == "ray":
        with ray_engine.RayEngine(place, found.address, needed(left, found.network)) as engine:
            engine.jobs = ray_engine.shared(engine.nodes, jobs, threads, recipe.device, len(left))
            yield engine, replace(found, jobs=engine.jobs)
    else:
        with slurm_engine.SlurmEngine(place, found.slurm, recipe.device) as engine:
            engine.jobs = slurm_engine.shared(jobs, threads, found.slurm, len(left))
            yield engine, replace(found, jobs=engine.jobs)


def _sharing(
    place: TrialsFolder,
    found: Manifest,
    left: Sequence[Trial],
    asked: Asked,
    listener: Listener,
) -> Jobs:
    """How the trials share this machine: as before, unless their number at once is asked for."""
    if found.jobs is not None and asked.jobs == "auto":
        return found.jobs
    threads = asked.threads or torch.get_num_threads()
    names = [trial.name for trial in largest_first(left)]
    return decide(asked.jobs, threads, gpus(found.base()), place, names, listener)


def largest_first(trials: Sequence[Trial]) -> list[Trial]:
    """The trials, those first whose steps take the most memory, as far as settings tell.

    That is by batch size, image size and width. Networks of other names are not compared.
    """

    def size(trial: Trial) -> float:
        recipe, known = trial.recipe, built_in(trial.recipe)
        side = recipe.image_size or (known.side if known else UNKNOWN_SIDE)
        batch = LARGEST_BATCH if recipe.batch_size == "auto" else int(recipe.batch_size)
        return batch * side**2 * recipe.width

    return sorted(trials, key=size, reverse=True)


def needed(trials: Sequence[Trial], network: str | None) -> list[Path]:
    """The files and folders that workers read beside the folder of the trials."""
    data = {trial.recipe.data for trial in trials} - set(BUILT_IN)
    weights = {trial.recipe.init_from for trial in trials if trial.recipe.init_from}
    code = {network.rpartition(":")[0]} if network and ".py:" in network else set[str]()
    return [Path.cwd(), *(Path(path) for path in sorted(data | weights | code))]


def gpus(recipe: Recipe) -> int:
    """How many GPUs of this machine the trials may use, each one at a time; 0 on the CPU."""
    device = runtime.resolve_device(recipe.device)
    if device.type != "cuda":
        return 1 if device.type == "mps" else 0
    return torch.cuda.device_count() if device.index is None else 1
