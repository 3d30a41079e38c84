"""One declaration makes a setting: a flag, a key in TOML, a check, a condition, a difference."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from trained import TINY

from onecycle.cli import main
from onecycle.config import Recipe, differences, from_toml, override, to_toml
from onecycle.config.declaring import setting, settings
from onecycle.config.sizes import resolve_shares, shares
from onecycle.errors import InputError
from onecycle.recipes import RECIPES, NamedRecipe


@dataclass(frozen=True, kw_only=True)
class Wider(Recipe):
    ema_decay: float | Literal["auto"] = setting(
        "auto", group="averages", ge=0, lt=1, help="Decay of the averaged weights."
    )
    ema_every: int = setting(
        1, group="averages", unit="steps", ge=1, le=100, help="Steps between two averages."
    )
    ema_start: Literal["first", "peak"] = setting(
        "first", group="averages", help="Where averaging starts."
    )
    ema_border: int | float = setting(
        3, group="averages", unit="pixels", ge=0, le=64, help="Pixels that are left out."
    )


VALUES: dict[str, Any] = {
    "ema_decay": 0.75, "ema_every": 5, "ema_start": "peak", "ema_border": 0.125,
}  # fmt: skip


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "wide", NamedRecipe(recipe=Wider(recipe="wide"), summary=""))
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.usefixtures("wide")
def test_a_field_is_a_flag_with_help(capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"--{name.replace('_', '-')}={value}" for name, value in VALUES.items()]
    assert main(["train", "wide", *words, "--print-config"]) == 0
    assert from_toml(capsys.readouterr().out, base=Wider()) == Wider(recipe="wide", **VALUES)
    assert main(["train", "wide", "--help"]) == 0
    (_, _, group) = capsys.readouterr().out.partition("─ averages options ─")
    told = " ".join(group[: group.index("╰")].replace("│", " ").split())
    assert "--ema-decay X|auto Decay of the averaged weights. [auto]" in told
    assert "--ema-every STEPS Steps between two averages. [1]" in told
    assert "--ema-start first|peak Where averaging starts. [first]" in told
    assert "--ema-border PIXELS|SHARE Pixels that are left out. [3]" in told


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--ema-decay 1", "ema_decay: 1.0 is out of range; give a number at least 0 and less than"),
        ("--ema-decay x", "ema_decay: 'x' is not a number; give a number or auto"),
        ("--ema-every 0", "ema_every: 0 is out of range; give a number at least 1 and at most 100"),
        ("--ema-every 1.5", "ema_every: '1.5' is not a whole number"),
        ("--ema-start", "--ema-start: has no value; give first or peak"),
        ("--ema-start peek", "unknown ema_start 'peek'; did you mean 'peak'?"),
        ("--ema-border", "--ema-border: has no value; give a whole number or a share such as"),
        ("--ema-border x", "ema_border: 'x' is not a whole number; give a whole number or a share"),
        ("--ema-border 65", "ema_border: 65 is out of range; give a number at least 0 and at most"),
        ("--ema-border 1.0", "ema_border: 1.0 is not a share between 0 and 1; give a whole number"),
        ("--ema-border 2.5", "ema_border: 2.5 is not a share between 0 and 1; give a whole number"),
        ("--ema-border=-.5", "ema_border: -0.5 is not a share between 0 and 1; give a whole"),
        ("--ema-border nan", "ema_border: nan is not a share between 0 and 1; give a whole number"),
        ("--ema-evry 3", "unknown flag '--ema-evry'; did you mean '--ema-every'?"),
    ],
)
def test_a_field_is_checked(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "wide", *words.split(), "--print-config"]) == 2
    assert capsys.readouterr().err.startswith(f"onecycle: error: {message}")


def test_a_field_is_a_key_of_toml() -> None:
    recipe = override(Wider(), **VALUES)
    assert from_toml(to_toml(recipe), base=Wider()) == recipe
    assert differences(recipe, Wider()) == {
        name: (getattr(Wider(), name), value) for name, value in VALUES.items()
    }
    assert differences(recipe, Recipe()) == differences(recipe, Wider())
    with pytest.raises(InputError, match="unknown recipe field 'ema_decay'"):
        from_toml(to_toml(recipe))


@pytest.mark.parametrize(("text", "value"), [("0.0", 0), ("0", 0), ("8", 8), ("1", 1), (".5", 0.5)])
def test_a_share_stands_for_a_whole_number(text: str, value: float) -> None:
    border = settings(Wider)["ema_border"]
    found = border.check(border.read([text]))
    assert (found, type(found)) == (value, type(value))
    assert from_toml(to_toml(override(Wider(), ema_border=found)), base=Wider()).ema_border == value


@pytest.mark.parametrize(
    ("share", "shape", "pixels"),
    [(0.125, (32, 32), 4), (0.125, (20, 96), 3), (0.99, (96, 32), 32), (0.05, (10, 10), 1)],
)
def test_a_share_becomes_pixels_of_the_shorter_side(
    share: float, shape: tuple[int, int], pixels: int
) -> None:
    asked = Wider(ema_border=share, cutout=share, crop_padding=3)
    found = resolve_shares(asked, *shape)
    assert (found.ema_border, found.cutout, found.crop_padding) == (pixels, pixels, 3)  # pyright: ignore[reportAttributeAccessIssue]
    assert shares(asked) == {"cutout": share, "ema_border": share}
    assert shares(found) == {}
    assert resolve_shares(found, 8, 8) is found


def test_a_share_of_less_than_half_a_pixel_is_refused() -> None:
    message = r"cutout: 0.04 of 10 pixels is less than half a pixel; give 0.05 or more, or 0 for"
    with pytest.raises(InputError, match=message):
        resolve_shares(Recipe(cutout=0.04), 40, 10)


AS_IF_IT_WERE_DECLARED = """
import shlex, shutil, sys
from dataclasses import dataclass
from pathlib import Path
from onecycle import config
from onecycle.config.declaring import setting

@dataclass(frozen=True, kw_only=True)
class Wider(config.Recipe):
    ema_every: int = setting(1, group="averages", ge=1, le=100, help="Steps between averages.")

config.Recipe = Wider  # nothing else of the package has been imported yet
from onecycle.cli import main
"""

WORK = """
main(shlex.split(sys.argv[1]))
(one,) = Path("runs").iterdir()
two = Path(shutil.copytree(one, "runs/two"))
text = (two / "recipe.toml").read_text()
(two / "recipe.toml").write_text(text.replace("ema_every = 7", "ema_every = 8"))
main(["compare", "runs", "--json"])
(two / "result.json").unlink()  # as of a run that was stopped
sys.exit(main(["resume", str(two)]))
"""


def test_a_field_is_a_condition_of_resuming_and_a_difference_of_runs(tmp_path: Path) -> None:
    """A process of its own, where nothing has imported the class without the field."""
    line = TINY.replace("--epochs 3", "--epochs 1 --no-report --ema-every 7")
    code = f"{AS_IF_IT_WERE_DECLARED}{WORK}"
    done = subprocess.run(
        [sys.executable, "-c", code, line], cwd=tmp_path, capture_output=True, text=True,
        check=False, timeout=240,
    )  # fmt: skip
    compared = json.loads(done.stdout[done.stdout.index("\n{") :])
    told = [group["differences"] for group in compared["groups"]]
    assert told == [{"ema_every": "7"}, {"ema_every": "8"}]
    assert ": ema_every was 7 and is now 8. " in done.stderr
    assert done.returncode == 2


# -------------------------------------------------------------------------- incomplete declarations


def declared(annotation: Any, default: Any, **more: Any) -> type:
    """A class of one setting."""

    class Declared:
        name = default

    Declared.__annotations__ = {"name": annotation}
    if more:
        Declared.name = setting(default, **{"help": "What it is.", "group": "", **more})
    return dataclass(frozen=True)(Declared)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (declared(int, 3), "name: is not declared"),
        (declared(int, 3, help="", ge=0), "name: has no help"),
        (declared(int, 3, help="x"), "name: has no lower bound"),
        (declared(int, 3, ge=0, gt=0), "name: has two lower bounds"),
        (declared(int, 3, ge=0, le=9, lt=9), "name: has two upper bounds"),
        (declared(int, 3, ge=0, decides="imags"), "name: decides 'imags'"),
        (declared(tuple[float, ...], (0.5,), ge=0), "name: is a list; say by its unit"),
        (declared(int, 3, low=1), "name: .* unexpected keyword argument 'low'"),
        (declared(float | None, None, ge=0), "name: no setting can be"),
        (declared(int | str, 3, ge=0), "name: no setting can be"),
        (declared(bytes, b"", ge=0), "name: no setting can be"),
        (declared(dict[str, int], "", ge=0), "name: no setting can be"),
        (declared(bool | Literal["auto"], True, ge=0), "name: no setting can be"),
    ],
)
def test_an_incomplete_declaration_is_refused(kind: type, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        settings(kind)


@pytest.mark.parametrize(
    ("annotation", "default"), [(int, -1), (int, 1.5), (float, "x"), (Literal["a", "b"], "c")]
)
def test_a_default_that_its_declaration_does_not_allow_is_refused(
    annotation: Any, default: Any
) -> None:
    with pytest.raises(InputError, match="name"):
        settings(declared(annotation, default, ge=0))


def test_a_setting_that_has_the_name_of_an_option_is_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Clashing(Recipe):
        quiet: bool = setting(False, group="x", help="It is an option already.")

    from onecycle.cli.commands import COMMANDS

    with pytest.raises(TypeError, match="both an option and a setting of a recipe: quiet"):
        COMMANDS["train"].words("train", Clashing())
