"""What importing costs, and that every public name is there. (`make lint` holds the layers.)"""

import subprocess
import sys

import pytest

import onecycle


@pytest.mark.parametrize("module", ["onecycle", "onecycle.cli", "onecycle.recipes"])
def test_start_up_imports_nothing_heavy(module: str) -> None:
    heavy = "torch", "numpy", "scipy", "matplotlib", "PIL"
    assert imported_by(f"import {module}", heavy) == []


@pytest.mark.faults
def test_a_range_test_imports_nothing_that_draws() -> None:
    code = """
from onecycle import Recipe, find_lr, progress
find_lr(
    Recipe(data="shapes", image_size=16, train_limit=40, test_limit=10, width=0.05, batch_size=8,
           lr_steps=10, crop_padding=0, cutout=0, precision="fp32"),
    threads=1, progress=progress.SILENT,
)
"""
    assert imported_by(code, ("matplotlib", "jinja2")) == []


def imported_by(code: str, modules: tuple[str, ...]) -> list[str]:
    """Those of the modules that a process which ran the code has imported."""
    code = f"import sys\n{code}\nprint(*sorted(set({modules}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout.split()


@pytest.mark.parametrize("name", onecycle.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert name in dir(onecycle)
    public = getattr(onecycle, name)
    assert isinstance(public, dict) or public.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'one_cicle'"):
        _ = onecycle.one_cicle  # pyright: ignore[reportAttributeAccessIssue]
