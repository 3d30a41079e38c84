"""Networks of the user's own: how their code is found, and that it runs only when asked for."""

import json
import re
import shlex
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from onecycle import cli, models, training
from onecycle.config import Recipe, differences, from_toml, override, to_toml
from onecycle.config.model_args import parsed, written
from onecycle.errors import InputError
from onecycle.experiments import compare
from onecycle.exporting import export
from onecycle.inference import load
from onecycle.progress import SILENT

NET = """
import pathlib
from dataclasses import dataclass
from torch import nn
from blocks import block

pathlib.Path(__file__ + ".ran").touch()

@dataclass
class Sizes:
    width: "int" = 4

class Net(nn.Module):
    def __init__(self, classes, channels, depth=1, dropout=0.0):
        super().__init__()
        width = Sizes().width
        self.body = nn.Sequential(*[block(width if i else channels, width) for i in range(depth)])
        self.drop = nn.Dropout(dropout)
        self.linear = nn.Linear(width, classes)

    def forward(self, batch):
        return self.linear(self.drop(self.body(batch).mean((2, 3))))

def make(classes, channels, depth=1, dropout=0.0):
    print("a line of the user's")
    return Net(classes, channels, depth, dropout)
"""

BLOCKS = """
from torch import nn

def block(channels_in, channels_out):
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.ReLU())
"""

TINY = Recipe(
    recipe="tiny", epochs=1, train_limit=60, test_limit=20, image_size=16, cutout=2, crop_padding=1,
    batch_size=30, lr_max=0.05, lr_min=0.005, precision="fp32",
)  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with `net.py` and `blocks.py`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "blocks.py").write_text(BLOCKS)
    return tmp_path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a network in a file, which then is removed."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "net.py").write_text(NET)
    (folder / "blocks.py").write_text(BLOCKS)
    name = f"{folder}/net.py:make"
    done = training.train(
        TINY, network=name, runs=folder / "runs", report=False, progress=SILENT, threads=1
    )
    (folder / "net.py.ran").unlink()
    return done.path


def has_run(run: Path) -> bool:
    """Whether the code of the fixture's network was imported since."""
    mark = run.parents[1] / "net.py.ran"
    found = mark.exists()
    mark.unlink(missing_ok=True)
    return found


def refused(line: str, capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """The one line on standard error of a refused command line."""
    assert cli.main(shlex.split(line)) == code
    (told,) = [each for each in capsys.readouterr().err.splitlines() if "error:" in each]
    return told


# ------------------------------------------------------------------------------ finding the code


def test_a_file_is_found_with_what_lies_beside_it_and_nothing_is_left_there(here: Path) -> None:
    before, path = dict(sys.modules), list(sys.path)
    found = models.architecture("net.py:make", "net.py:make")
    model = models.build(found, classes=3, channels=1, depth=2)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    assert type(model).__module__ in sys.modules
    assert sys.path == path
    assert not list(here.rglob("__pycache__"))
    assert "net" not in set(sys.modules) - set(before)


def test_modules_of_the_same_name_in_two_folders_are_told_apart(here: Path) -> None:
    other = here / "other"
    other.mkdir()
    (other / "net.py").write_text(NET)
    (other / "blocks.py").write_text(BLOCKS.replace("nn.ReLU()", "nn.GELU()"))
    kinds = []
    for name in ("net.py:make", "other/net.py:make"):
        model = models.build(models.architecture(name, name), classes=3)
        kinds.append({type(each) for each in model.modules()})
    assert nn.ReLU in kinds[0]
    assert nn.GELU not in kinds[0]
    assert nn.GELU in kinds[1]


def test_a_module_is_found_in_the_current_folder(here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "__init__.py").write_text("")
    (here / "mine" / "nets.py").write_text(NET.replace("from blocks", "from mine.blocks"))
    (here / "mine" / "blocks.py").write_text(BLOCKS)
    try:
        found = models.architecture("mine.nets:Net", "mine.nets:Net")
        assert isinstance(models.build(found, classes=3), nn.Module)
    finally:
        for name in [each for each in sys.modules if each.split(".")[0] == "mine"]:
            del sys.modules[name]


@pytest.mark.parametrize(
    ("name", "source", "told"),
    [
        ("away.py:make", "", "there is no file 'away.py'"),
        ("net.py:mak", NET, "did you mean 'make'?"),
        ("net.py:Sizes.widht", NET, "has no 'widht'"),
        ("net.py:size", "size = 3", "is of type int; name a function"),
        ("net.py:make", "import nothing_here", "net.py, line 1: ModuleNotFoundError"),
        ("net.py:make", "def make(:\n", "net.py, line 1: SyntaxError"),
        ("net.py:make", "\n\n1 / 0", "net.py, line 3: ZeroDivisionError"),
        ("net.py:make", "import sys\nsys.exit(0)", "net.py, line 2: calls sys.exit(0)"),
        ("net.py:make", "raise Exception('a\\nb')", "net.py, line 1: Exception: a"),
        ("net.py:make", "raise BaseException('boo')", "net.py, line 1: BaseException: boo"),
        (
            "net.py:make",
            "def make(classes, channels):\n  raise GeneratorExit",
            "line 2: GeneratorEx",
        ),
        ("net.py:make", "async def make(classes, channels): ...", "returns coroutine; return an"),
        ("net.py:make", "def make(classes, channels): return 3", "returns int"),
        ("net.py:make", "def make(classes, channels):\n  1 / 0", "net.py, line 2: ZeroDivision"),
        ("net.py:make", "def make(classes): pass", "takes no argument 'channels'"),
        ("net.py:make", "def make(classes, channels, depth): pass", "needs the argument 'depth'"),
        ("os:system", "", "takes no argument 'classes'"),
        ("../x.py:f", "", "there is no file '../x.py'"),
        ("nothing_here.at_all:f", "", "there is no module 'nothing_here.at_all'"),
        ("..x:f", "", "can't be the name of a module"),
        (":f", "", "name both"),
        ("net.py:", "", "name both"),
    ],
)
def test_a_mistake_in_the_users_code_is_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], name: str, source: str, told: str
) -> None:
    (here / "net.py").write_text(source)
    assert told in refused(f"summary demo --model {name}", capsys)


def test_what_the_users_code_prints_does_not_spoil_json(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["summary", "demo", "--model", "net.py:make", "--json"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("{")
    assert "a line of the user's" in err


@pytest.mark.faults
def test_what_it_prints_in_a_pass_does_not_spoil_json_either(
    here: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talking = NET.replace(
        "def forward(self, batch):", "def forward(self, batch):\n        print(1)"
    )
    (here / "net.py").write_text(talking)
    assert cli.main(["evaluate", str(run), "--model", "net.py:make", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test_images"] == 20


@pytest.mark.faults
def test_what_it_prints_in_a_pass_does_not_run_through_rows(
    here: Path, run: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    talking = NET.replace(
        "def forward(self, batch):", "def forward(self, batch):\n        print('said')"
    )
    (here / "net.py").write_text(talking)
    Image.new("L", (16, 16)).save(here / "grey.png")
    words = ["predict", str(run), "grey.png", "--model", "net.py:make", "--format", "csv"]
    assert cli.main(words) == 0
    out, err = capfdbinary.readouterr()
    assert [line.split(b",")[0] for line in out.splitlines()] == [b"path", b"grey.png"]
    assert b"said" in err


def test_a_network_is_no_function_that_makes_one() -> None:
    with pytest.raises(InputError, match="give the function or the class that makes it"):
        training.describe(TINY, network=nn.Linear(2, 2))
    with pytest.raises(InputError, match="can't be called"):
        training.describe(TINY, network=3)  # pyright: ignore[reportArgumentType]


# ------------------------------------------------------------------------------------ arguments


@pytest.mark.parametrize(
    ("text", "found", "form"),
    [
        ("", {}, ""),
        (" depth = 03 , act=gelu,", {"depth": 3, "act": "gelu"}, "act=gelu,depth=3"),
        ("a=1e-3,b=-2.50,c=TRUE", {"a": 0.001, "b": -2.5, "c": True}, "a=0.001,b=-2.5,c=true"),
        ("a=nan,b=1e999,c=1_0", {"a": "nan", "b": "1e999", "c": "1_0"}, "a=nan,b=1e999,c=1_0"),
        ('a="x",b=a=b,c=', {"a": '"x"', "b": "a=b", "c": ""}, 'a="x",b=a=b,c='),
    ],
)
def test_arguments_have_one_form(text: str, found: dict[str, object], form: str) -> None:
    assert parsed(text) == found
    assert written(parsed(text)) == form
    recipe = Recipe(model_args=text)
    assert recipe.model_args == form
    assert from_toml(to_toml(recipe)) == recipe


@pytest.mark.parametrize("text", ["depth", "1a=2", "a=1,a=2", "a=x\ny", "=3", "a" * 5000])
def test_wrong_arguments_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="model_args: "):
        Recipe(model_args=text)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("dept=2", "no argument 'dept'; did you mean 'depth'?"),
        ("dropout=0.5", "'dropout' is a setting of its own; give --dropout"),
        ("classes=3", "'classes' follows from the images"),
    ],
)
def test_an_argument_that_a_network_does_not_take_is_refused(
    here: Path, arguments: str, told: str
) -> None:
    recipe = override(TINY, model_args=arguments)
    with pytest.raises(InputError, match=told):
        training.describe(recipe, network="net.py:make")


def test_a_built_in_network_says_which_further_arguments_it_has() -> None:
    with pytest.raises(InputError, match="it has none"):
        training.describe(override(TINY, model_args="depth=2"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("stochastic_depth=deep", "stochastic_depth=deep is not a number; give a number"),
        ("stochastic_depth=true", "stochastic_depth=true is not a number; give a number"),
        ("stochastic_depth=2", "stochastic_depth: 2 is out of range"),
        ("stochastic_depth=-0.1", "stochastic_depth: -0.1 is out of range"),
    ],
)
def test_a_built_in_network_refuses_values_that_its_argument_cannot_have(
    arguments: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"summary demo --model small-vit --head-scale 1 --model-args {arguments}"
    assert told in refused(line, capsys)


def test_a_file_without_a_function_is_told_what_to_add(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "give net.py:FUNCTION" in refused("summary demo --model net.py", capsys)


def test_settings_go_to_a_factory_that_declares_them(here: Path) -> None:
    recipe = override(TINY, model_args="depth=2", dropout=0.25)
    _, found = models.asked(recipe, "net.py:make")
    assert models.arguments(recipe, found) == {"dropout": 0.25, "depth": 2}
    with pytest.raises(InputError, match="has no such argument"):
        training.describe(override(recipe, width=0.5), network="net.py:make")


# ---------------------------------------------------------------------- only when it is asked for


RUN_COMMANDS = (
    "evaluate {}",
    "predict {} {}/steps.jsonl",
    "export {} --format pt2",
    "resume --verify {}",
    "train --config {}",
    "train --config {}/recipe.toml",
    "find-lr --config {}",
    "summary --config {}",
)


@pytest.mark.parametrize("line", RUN_COMMANDS)
def test_a_run_of_someone_else_runs_no_code(
    run: Path, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parents[1])
    assert "runs only when asked for" in refused(line.replace("{}", str(run)), capsys)
    assert not has_run(run)


def test_a_comparison_needs_no_code(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parents[1])
    assert cli.main(["compare", str(run)]) == 0
    assert not has_run(run)


@pytest.mark.faults
def test_a_report_needs_no_code(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parents[1])
    assert cli.main(["report", str(run)]) == 0
    assert not has_run(run)


def test_a_hostile_name_is_only_text(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = tmp_path / "stranger"
    shutil.copytree(run, stranger)
    (stranger / "evil.py").write_text(NET)
    text = (stranger / "recipe.toml").read_text()
    about = json.loads((stranger / "network.json").read_text())
    names = ("os:system", "../x.py:f", f"{stranger}/evil.py:make", "evil:make\\n\\u202e'$(id)'")
    for name in names:
        about["name"] = json.loads(f'"{name}"')
        (stranger / "network.json").write_text(json.dumps(about))
        model = next(line for line in text.splitlines() if line.startswith("model ="))
        (stranger / "recipe.toml").write_text(text.replace(model, f'model = "{name}"'))
        for line in RUN_COMMANDS:
            told = refused(line.replace("{}", str(stranger)), capsys)
            assert "runs only when asked for" in told
            assert told.isprintable()
        for work in (training.resume, training.verify, training.evaluate_run, load, export):
            if work is not training.resume:  # the run is finished
                with pytest.raises(InputError, match="runs only when asked for"):
                    work(stranger)
    assert not list(stranger.glob("*.ran"))


def test_hostile_arguments_are_refused_or_text(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = tmp_path / "stranger"
    shutil.copytree(run, stranger)
    about = json.loads((stranger / "network.json").read_text())
    for hostile in ({"depth": "1\n2"}, {"__class__": 3}, {"depth": [1]}, {"a b": 1}, {"x": "'"}):
        changed = about | {"arguments": about["arguments"] | hostile}
        (stranger / "network.json").write_text(json.dumps(changed))
        line = f"evaluate {stranger} --model {run.parents[1]}/net.py:make"
        assert "network.json: " in refused(line, capsys) or hostile == {"depth": [1]}
        (run.parents[1] / "net.py.ran").unlink(missing_ok=True)


def test_with_its_code_a_run_can_be_used(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "moved.py").write_text(NET)
    (tmp_path / "blocks.py").write_text(BLOCKS)
    name = f"{tmp_path}/moved.py:make"
    assert cli.main(["evaluate", str(run), "--model", name, "--json"]) == 0
    assert cli.main(["resume", "--verify", str(run), "--model", name, "--json"]) == 0
    assert load(run, network=name).classes
    assert not has_run(run)


def test_other_code_than_the_runs_is_told_from_a_damaged_file(
    here: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "net.py").write_text("def make(classes, channels): ...")
    told = refused(f"evaluate {run} --model net.py:make", capsys)
    assert "names the argument 'dropout', which the code does not take" in told
    assert "net.py:make" in told.split("then called ")[1]
    head = "def make(classes, channels, depth=1, dropout=0.0"
    for code, said in {
        f"{head}, width=1.0): ...": "has no argument 'width', which the code takes",
        f"{head}, *, extra): ...": "needs the argument 'extra')",
        "def make(classes, channels, **others): ...": "'dropout' is a setting of its own)",
    }.items():
        (here / "net.py").write_text(code)
        told = refused(f"evaluate {run} --model net.py:make", capsys)
        assert f"{said}; give the code that the run was trained with, then called " in told
        assert "network.json: " in told
        assert "damaged" not in told


def test_the_code_of_a_built_in_network_is_refused(here: Path) -> None:
    with pytest.raises(InputError, match="is built in; leave out --model"):
        models.architecture("custom-resnet", "net.py:make")
    assert not (here / "net.py.ran").exists()


def test_a_function_is_recorded_by_its_name(tmp_path: Path) -> None:
    recipe, found = models.asked(TINY, partial(tiny, depth=3))
    assert recipe.model == f"{__name__}:tiny"
    assert models.arguments(recipe, found) == {}


def tiny(classes: int, channels: int, depth: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(depth), nn.Flatten(), nn.Linear(channels * depth**2, classes)
    )


# ------------------------------------------------------------------------------------ its source


def source_of(name: models.Network, **arguments: int) -> str:
    found = models.architecture("net.py:make", name)
    return models.with_source(found, models.build(found, classes=3, **arguments)).source_sha256


def test_the_hash_follows_what_the_code_says_and_not_where_it_lies(here: Path) -> None:
    was = source_of("net.py:make")
    assert len(was) == 64
    other = here / "other"
    other.mkdir()
    (other / "moved.py").write_text(NET)
    (other / "blocks.py").write_text(BLOCKS)
    assert source_of("other/moved.py:make") == was
    (other / "blocks.py").write_text(f"{BLOCKS}# a comment")
    assert source_of("other/moved.py:make") != was
    assert source_of("net.py:Net") != was
    (here / "net.py").write_text(f"{NET}# a comment")
    assert source_of("net.py:make") != was


def test_the_hash_covers_functions_in_other_files_and_no_others(here: Path) -> None:
    (here / "blocks.py").write_text(f"import deeper\n{BLOCKS}")
    (here / "deeper.py").write_text("A = 1")
    (here / "beside.py").write_text("A = 1")
    was = source_of("net.py:make")
    (here / "beside.py").write_text("A = 2")
    assert source_of("net.py:make") == was
    (here / "deeper.py").write_text("A = 22")
    assert source_of("net.py:make") != was


def test_functions_without_a_source_cannot_be_compared() -> None:
    names: dict[str, Any] = {}
    exec("from torch import nn\ndef make(classes, channels):\n  return nn.Linear(2, 2)", names)
    assert source_of(names["make"]) == ""


def test_bound_arguments_belong_to_the_source() -> None:
    assert source_of(partial(tiny, depth=3)) != source_of(partial(tiny, depth=2))
    assert source_of(partial(tiny, depth=3)) == source_of(partial(tiny, depth=3))


def test_a_changed_source_is_said_or_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.py").write_text(f"{NET}# changed")
    (tmp_path / "blocks.py").write_text(BLOCKS)
    name = f"{tmp_path}/net.py:make"
    assert cli.main(["evaluate", str(run), "--model", name, "--json"]) == 0
    assert "network source: has changed since the run began" in capsys.readouterr().err
    unfinished = tmp_path / "run"
    shutil.copytree(run, unfinished)
    (unfinished / "result.json").unlink()
    told = refused(f"resume {unfinished} --model {name}", capsys)
    assert "network source has changed (SHA-256 " in told
    assert cli.main(["resume", str(unfinished), "--model", name, "--allow-differences"]) == 0
    (tmp_path / "net.py").write_text(NET.replace('width: "int" = 4', 'width: "int" = 6'))
    assert "restore its code" in refused(f"evaluate {run} --model {name}", capsys)


def test_runs_of_another_source_are_another_recipe(run: Path, tmp_path: Path) -> None:
    places = []
    for place, (name, source) in enumerate(
        (("a/net.py:f", "1"), ("net.py:f", "1"), ("net.py:f", "2"))
    ):
        copied = shutil.copytree(run, tmp_path / str(place))
        known = json.loads((copied / "environment.json").read_text())
        (copied / "environment.json").write_text(json.dumps(known | {"source_sha256": source * 64}))
        text = (copied / "recipe.toml").read_text().splitlines()
        changed = {"model =": f'model = "{name}"', "seed =": f"seed = {place}"}
        lines = [next((v for k, v in changed.items() if row.startswith(k)), row) for row in text]
        (copied / "recipe.toml").write_text("\n".join(lines))
        places.append(copied)
    found = compare(places)
    assert [group.n for group in found.groups] == [2, 1]
    assert [group.differences for group in found.groups] == [
        {"network source": "1" * 8},
        {"network source": "2" * 8},
    ]


# ------------------------------------------------------------------------------------ the manual


@pytest.mark.faults
def test_the_example_of_the_manual_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[1] / "docs" / "networks.md").read_text("utf-8")
    text = text.split("## Your own network")[1]
    code, commands, python = re.findall(r"```(?:python|sh)\n(.*?)```", text, re.DOTALL)[:3]
    Path("my_net.py").write_text(code)
    Image.new("RGB", (16, 16)).save("photo.png")
    small = (
        "--epochs 1 --train-limit 60 --test-limit 20 --image-size 16 --cutout 2 --crop-padding 1 "
        "--batch-size 30 --lr-max 0.05 --lr-min 0.005 --no-report --quiet"
    )
    for line in commands.splitlines():
        folder = next(iter(Path("runs").glob("*")), "")
        words = line.removeprefix("onecycle ").replace("RUN", str(folder))
        if words.startswith("train"):
            words = f"{words} {small}"
        assert cli.main(shlex.split(words)) == 0, capsys.readouterr().err
    recipe = f"onecycle.Recipe({', '.join(f'{k}={v!r}' for k, v in tiny_fields().items())},"
    python = python.replace("onecycle.Recipe(epochs=5,", recipe)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        exec(python, {})
    finally:
        sys.modules.pop("my_net", None)


def tiny_fields() -> dict[str, Any]:
    """The fields of the tiny recipe that are not the defaults."""
    return {name: here for name, (_, here) in differences(TINY, Recipe()).items()}
