"""What importing costs, and that every public name is there. (`make lint` holds the layers.)"""

import subprocess
import sys

import pytest

import onecycle


@pytest.mark.parametrize("module", ["onecycle", "onecycle.cli", "onecycle.recipes"])
def test_start_up_imports_nothing_heavy(module: str) -> None:
    heavy = "torch", "numpy", "scipy", "matplotlib", "PIL"
    code = f"import sys, {module}; print(*sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", onecycle.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert name in dir(onecycle)
    public = getattr(onecycle, name)
    assert isinstance(public, dict) or public.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'one_cicle'"):
        _ = onecycle.one_cicle  # pyright: ignore[reportAttributeAccessIssue]
