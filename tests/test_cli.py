"""The command: what it answers, where it writes it, and with which exit code."""

import dataclasses
import io
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from asking import ask
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.cells import cell_len

from onecycle import __version__
from onecycle.cli import evaluation, main, screens, usage
from onecycle.cli.commands import COMMANDS, Command
from onecycle.cli.flags import parse
from onecycle.config import Recipe, from_toml, override, to_toml
from onecycle.config.declaring import Setting, settings
from onecycle.data import cache
from onecycle.data.describe import DataDescription, SplitDescription
from onecycle.data.image_set import LeftOut
from onecycle.errors import InputError, Interrupted, TrainingError
from onecycle.recipes import RECIPES
from onecycle.run_dir.checking import from_json
from onecycle.run_dir.records import Result

TINY = (
    "--epochs 1 --train-limit 256 --test-limit 64 --width 0.125 --batch-size 64 --lr-max 0.01 "
    "--lr-min 0.001"
)


def run(line: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command line in a process of its own."""
    command = [sys.executable, "-m", "onecycle", *shlex.split(line)]
    return subprocess.run(command, text=True, timeout=240, check=False, **more)


@pytest.fixture(autouse=True)
def ordinary_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.chdir(tmp_path)


# ---------------------------------------------------------------------------------------- the help


@pytest.mark.parametrize("line", ["", "-h", "--help", "help"])
def test_the_page_of_all_commands(line: str) -> None:
    answer = ask(line)
    assert (answer.code, answer.err) == (0, "")
    assert all(re.search(rf"^  {name} ", answer.out, re.MULTILINE) for name in COMMANDS)
    assert max(map(len, answer.out.splitlines())) <= 80


def test_the_version() -> None:
    assert ask("--version") == (0, f"onecycle {__version__}\n", "")


def test_help_is_instant_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from onecycle.cli import main; main(['--help']); "
        "heavy = {'torch', 'numpy', 'matplotlib', 'scipy', 'PIL', 'rich'}; "
        "print(*sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stderr.split() == []
    # Processor time: unlike the clock, it does not count what else the machine is doing.
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 0.5


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself_in_80_columns(name: str) -> None:
    answer = ask([name, "--help"])
    assert (answer.code, answer.err) == (0, "")
    assert max(map(len, answer.out.splitlines())) <= 80
    assert "\x1b" not in answer.out
    command = COMMANDS[name]
    flags = {f"--{flag.replace('_', '-')}" for flag in (*command.options, *command.fields)}
    shown = set(re.findall(r"(?<![\w-])--[a-z0-9-]+", answer.out))
    assert flags <= shown
    assert command.operand in answer.out


def test_help_groups_the_flags_tells_what_they_mean_and_shows_the_recipes_own_defaults() -> None:
    out = ask("train demo --help").out
    groups = re.findall(r"─ (.+ options) ─", out)
    assert groups == [
        f"{group} options"
        for group in (
            "common",
            "data",
            "network",
            "weights",
            "cycle",
            "optimizer",
            "transforms",
            "range-test",
            "machine",
            "other",
        )
    ]
    flat = " ".join(out.replace("│", " ").split())
    assert "--width X Factor on the network's channel counts. [0.25]" in flat
    assert "--nesterov, --no-nesterov Nesterov momentum (SGD only). [on]" in flat
    assert (
        "--lr-max X|auto|proven Rate at the peak; auto: from the range test; proven: from "
        "short trainings around it. [auto]" in flat
    )


def test_train_begins_with_three_examples_and_the_ten_flags_that_people_use() -> None:
    out = ask("train --help").out
    examples = re.findall(r"^  (onecycle .+)$", out, re.MULTILINE)
    assert len(examples) == 3
    assert out.index(examples[2]) < out.index("─ positional")
    _, _, common = out.partition("─ common options ─")
    flags = re.findall(r"^│ (--[a-z-]+)", common[: common.index("╰")], re.MULTILINE)
    assert flags == [
        "--data", "--epochs", "--batch-size", "--lr-max", "--image-size", "--width", "--cutout",
        "--seed", "--runs", "--threads",
    ]  # fmt: skip
    everywhere = re.findall(r"^│ (--[a-z0-9-]+)", out, re.MULTILINE)
    assert len(everywhere) == len(set(everywhere))  # none is shown twice


@pytest.mark.parametrize(
    "example", [example for command in COMMANDS.values() for example in command.examples]
)
def test_each_example_of_the_help_is_a_command_line(example: str) -> None:
    name, *words = example.split()
    command = COMMANDS[name]
    given = parse(words, command.words(name))
    assert len(given.operands) <= 1 or command.many
    assert len(f"  onecycle {example}") <= 80
    if name == "train":
        for word in words:
            if word.startswith("runs/"):
                Path(word).mkdir(parents=True)
                Path(word, "recipe.toml").write_text(to_toml(Recipe()))
        recipe = printed(example)
        assert all(
            getattr(recipe, k) == v for k, v in given.values.items() if k in settings(Recipe)
        )


def test_examples_stand_where_there_are_some() -> None:
    assert f"─ {usage.COMMON} options" not in ask("report --help").out
    assert "examples:" in ask("evaluate --help").out
    assert "examples:" not in ask("report --help").out


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160])
def test_recipes_fit_the_screen_with_nothing_cut(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    out = ask("recipes").out
    assert max(map(len, out.splitlines())) <= width
    flat = " ".join(out.split())
    for name, entry in RECIPES.items():
        assert re.search(rf"^{name} *$", out, re.MULTILINE)
        for text in (entry.summary, entry.measured_on, entry.device):
            assert text in flat
    assert "test accuracy 95.80 ± 0.80 % (n = 5), in 36 s" in flat
    if width >= 80:
        for entry in RECIPES.values():  # each in a line of its own
            assert f"  {entry.summary} " in out
            assert not entry.device or f", {entry.device} " in out


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def coloured(line: str) -> bool:
        with redirect_stdout(Terminal()) as out:
            main(line.split())
        return re.search(r"\x1b\[[\d;]*3\d", out.getvalue()) is not None

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured("train --help")
    assert not coloured("recipes")


# -------------------------------------------------------------------------------------- mistakes

MISTAKES = {
    "data shapes --mirror a\0b": "--mirror: 'a\\x00b' is not an address; give a URL",
    "trian demo": "unknown command 'trian'; did you mean 'train'?",
    "--quiet train demo": "unexpected '--quiet' before the command; see onecycle --help",
    "--verison": "unexpected '--verison' before the command; did you mean '--version'?",
    "--versoin": "unexpected '--versoin' before the command; did you mean '--version'?",
    "-v": "unexpected '-v' before the command; did you mean '--version'?",
    "--hlep": "unexpected '--hlep' before the command; did you mean '--help'?",
    "version": "unknown command 'version'; did you mean '--version'?",
    "hepl": "unknown command 'hepl'; did you mean 'help'?",
    "train --hlep": "unknown flag '--hlep'; did you mean '--help'?",
    "train": "which recipe? name one of demo, brief, ",
    "resume": "resume: needs RUN; see onecycle resume --help",
    "train dmo": "unknown recipe 'dmo'; did you mean 'demo'?",
    "train demo brief": "unexpected 'brief'; train takes one RECIPE, and 'demo' is it",
    "train demo epochs=3": "unexpected 'epochs=3'; did you mean '--epochs'?",
    "train demo --epoch 3": "unknown flag '--epoch'; did you mean '--epochs'?",
    "train demo -epochs 3": "unknown flag '-epochs'; did you mean '--epochs'?",
    "train demo —epochs 3": "unknown flag '—epochs'; did you mean '--epochs'?",
    "train demo --no-epochs": "unknown flag '--no-epochs'; did you mean '--epochs'?",
    "train demo --xyzzy 3": "unknown flag '--xyzzy'; see onecycle train --help",
    "resume r --epochs 3": "unknown flag '--epochs'; see onecycle resume --help",
    "recipes demo": "unexpected 'demo'; recipes takes only flags",
    "train demo --epochs": "--epochs: has no value; give a whole number",
    "train demo --lr-max --quiet": "--lr-max: has no value; give a number or auto",
    "train demo --mean --quiet": "--mean: has no value; give numbers or auto",
    "train demo --data=": "--data: is empty; give NAME|PATH",
    "train ''": "RECIPE: is empty; see onecycle train --help",
    "train demo --epochs banana": "epochs: 'banana' is not a whole number",
    "train demo --epochs 3.5": "epochs: '3.5' is not a whole number",
    "train demo --epochs=-3": "epochs: -3 is out of range; give a number at least 1",
    "train demo --epochs -3": "epochs: -3 is out of range; give a number at least 1",
    "train demo --lr-max banana": "lr_max: 'banana' is not a number; give a number or auto",
    "train demo --lr-max nan": "lr_max: nan is out of range; give a finite number more than 0",
    "train demo --lr-max -1e-3": "lr_max: -0.001 is out of range; give a finite number more than 0",
    "train demo --lr-max inf": "lr_max: inf is out of range",
    "train demo --flip 1.5": "flip: 1.5 is out of range",
    "train demo --mean red": "mean: 'red' is not a list of numbers in [0, 1], one per channel",
    "train demo --mean .5 .5x": "mean: ",
    "train demo --anneal cosin": "unknown anneal 'cosin'; did you mean 'cosine'?",
    "train demo --nesterov=maybe": "--nesterov: 'maybe' is not true or false; ",
    "train demo --no-nesterov=true": "--no-nesterov: takes no value; give it alone",
    "train demo --nesterov maybe": "unexpected 'maybe'; ",
    "train demo --seed 1 --seed 2": "--seed: is given twice; give it once",
    "train demo --nesterov --no-nesterov": "--nesterov: is given twice; give it once",
    "train demo --threads x": "--threads: 'x' is not a whole number",
    "train demo --threads -1": "--threads: -1 is out of range; give a number at least 0 and ",
    "train demo --threads 9999999999": "--threads: 9999999999 is out of range; ",
    "train demo --log tensorbord": "unknown --log 'tensorbord'; did you mean 'tensorboard'?",
    "train demo --quiet=x": "--quiet: 'x' is not true or false; ",
    "train demo.toml": "recipe: 'demo.toml' is a file; give it with --config",
    "train demo --config nowhere.toml": "nowhere.toml: can't be read: No such file",
    "train demo --config .": "--config: '.' is a folder without recipe.toml; name a run or ",
    "train demo --image-size 1": "image_size: 1 pixel is too few; give 8 or more, or 0 for ",
    "evaluate r --predictions nowhere/said.csv": "--predictions: there is no folder 'nowhere'",
    "evaluate r --predictions said.txt": "predictions: 'said.txt' has an unknown ending; name a ",
    "train demo --peak-epoch 5": "peak_epoch: 5 is not within the 5 epochs; ",
    "train demo --lr-min 1 --lr-max 0.1": "lr_min: 1 is above lr_max (0.1); lower it",
    "train demo --cutout 40 --train-limit 100 --test-limit 50": "cutout: 40 is larger than ",
    "train demo --mean 0 1 --train-limit 100 --test-limit 50": "mean: 2 given, but the images ",
    "train demo --device tpu": "device: unknown 'tpu'; choose one of ",
    "train demo --data nowhere": "data: there is no path 'nowhere'",
    "find-lr demo --plot nowhere/curve.png": "--plot: there is no folder 'nowhere'; make it first",
    "data nowhere": "data: there is no path 'nowhere'",
    "data": "data: needs NAME|PATH; see onecycle data --help",
    "data shapes --contact-sheet nowhere/sheet.png": "--contact-sheet: there is no folder "
    "'nowhere'; make it first",
    "data shapes --contact-sheet": "--contact-sheet: has no value; give FILE",
    "data shapes --keep-gb 3": "--keep-gb: needs --clean; give both",
    "data --clean shapes": "--clean: empties the whole cache; leave out 'shapes'",
    "data --clean --image-size 32": "--clean: can be combined only with --keep-gb; "
    "leave out --image-size",
    "data --clean --contact-sheet a.png": "--clean: can be combined only with "
    "--keep-gb; leave out --contact-sheet",
    "data --clean --keep-gb -1": "--keep-gb: -1.0 is out of range; give a finite number at least 0",
    "data --clean --keep-gb nan": "--keep-gb: nan is out of range; ",
    "data --clean --keep-gb inf": "--keep-gb: inf is out of range; ",
    "data --clean --keep-gb all": "--keep-gb: 'all' is not a number",
    "resume nowhere": "run: there is no folder 'nowhere'",
    "evaluate .": "run: '.' has no recipe.toml, so it is not a run folder",
    "report nowhere": "run: there is no folder 'nowhere'",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_line_that_names_it_and_leaves_nothing(line: str, tmp_path: Path) -> None:
    runs = ["--runs", str(tmp_path / "runs")] if line.startswith("train ") else []
    command, *rest = shlex.split(line)
    answer = ask([command, *runs, *rest, *(["--quiet"] if runs and "quiet" not in line else [])])
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("onecycle: error: ")
    assert answer.err.removeprefix("onecycle: error: ").startswith(MISTAKES[line])
    assert answer.err.count("\n") == 1
    assert answer.err.endswith("\n")
    assert len(answer.err) <= 250
    assert list(tmp_path.iterdir()) == []


BEFORE_IMAGES = {
    "--cutout 40": "cutout: 40 is larger than the image (32 pixels); lower it",
    "--image-size 16 --cutout 17": "cutout: 17 is larger than the image (16 pixels); lower it",
    "--cutout 0.01": "cutout: 0.01 of 32 pixels is less than half a pixel; give 0.02 or more, or ",
    "--crop-padding 0.99": "crop_padding: 32 can shift the whole image (32 pixels) out of view; ",
    "--crop-padding 32": "crop_padding: 32 can shift the whole image (32 pixels) out of view; ",
    "--data cifar10 --cutout 33": "cutout: 33 is larger than the image (32 pixels); lower it",
    "--data photos --image-size 8 --cutout 9": "cutout: 9 is larger than the image (8 pixels); ",
    "--mean 0.5": "mean: 1 given, but the images have 3 channels; give 3, or auto",
    "--data cifar10 --std .2 .2": "std: 2 given, but the images have 3 channels; give 3, or auto",
    "--train-limit 1": "train_limit: 1 image can't hold 10 classes; raise it",
    "--data cifar100 --test-limit 99": "test_limit: 99 images can't hold 100 classes; raise it",
    "--data cifar10 --train-limit 50001": "train_limit: 50001 is more than the 50,000 images ",
    "--val-fraction 0.0001": "val_fraction: 0.0001 of 1,000 images in a class leaves one split ",
    "--val-fraction 0.99999": "val_fraction: 0.99999 of 1,000 images in a class leaves one split ",
    "--model custom-resnt": "unknown model 'custom-resnt'; did you mean 'custom-resnet'?",
    "--device tpu": "device: unknown 'tpu'; choose one of ",
    "--runs FILE": "runs: can't make a folder in '",
    "--runs FILE/runs/deeper": "runs: can't make a folder in '",
    "--runs LINK": "runs: can't make a folder in '",
    f"--recipe {'x' * 250}": "runs: can't make a folder in 'runs': File name too long; name ",
}


@pytest.mark.parametrize("flags", BEFORE_IMAGES)
def test_what_can_be_refused_is_refused_before_there_are_images(
    flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*_: object, **__: object) -> NoReturn:
        raise AssertionError("images were asked for")

    monkeypatch.setattr("onecycle.training.preparation.splits_of", loaded)
    (tmp_path / "FILE").touch()
    (tmp_path / "LINK").symlink_to("LINK")
    answer = ask(f"train demo {flags}")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"onecycle: error: {BEFORE_IMAGES[flags]}")
    assert answer.err.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == ["FILE", "LINK"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_runs_that_may_not_be_written_are_refused_before_there_are_images(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    answer = ask("train demo --runs closed/runs")
    assert "Permission denied; name another folder" in answer.err


def test_a_tilde_behind_an_equals_sign_is_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my.toml").write_text('data = "~/pictures"\n')
    assert printed("train demo --data=~/photos").data == str(tmp_path / "photos")
    assert printed("train demo --config=~/my.toml").data == str(tmp_path / "pictures")
    assert printed("train demo --data=./~").data == "./~"


def test_a_mistake_in_a_file_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("epoch = 3\n")
    answer = ask("train demo --config my.toml")
    assert answer.code == 2
    assert answer.err == (
        "onecycle: error: my.toml: unknown recipe field 'epoch'; did you mean 'epochs'?\n"
    )


@pytest.mark.parametrize("word", ["x" * 5000, "a\nb\r\x1b[31mc", "\udcff", "٣", "{", "[bold]"])
def test_odd_words_are_answered_in_one_short_line(word: str) -> None:
    for argv in (["train", word], [word], ["train", "demo", "--epochs", word, "--flip", word]):
        answer = ask(argv)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err.count("\n") == 1
        assert len(answer.err) <= 450
        assert answer.err[:-1].isprintable()


# -------------------------------------------------------------------------------------- exit codes


def failing(error: BaseException) -> Command:
    def work(_: object) -> NoReturn:
        raise error

    return Command(work, "fails")


@pytest.mark.parametrize(
    ("error", "code", "err"),
    [
        (InputError("data: no; yes"), 2, "onecycle: error: data: no; yes\n"),
        (TrainingError("the loss\nblew up"), 1, "onecycle: error: the loss blew up\n"),
        (OSError(28, "No space left", "a/b"), 1, "onecycle: error: a/b: No space left\n"),
        (
            Interrupted(2, "my runs/x"),
            130,
            "onecycle: stopped; go on with: onecycle resume 'my runs/x'\n",
        ),
        (
            Interrupted(15, "runs/x"),
            143,
            "onecycle: stopped; go on with: onecycle resume runs/x\n",
        ),
        (Interrupted(15), 143, "onecycle: stopped\n"),
        (KeyboardInterrupt(), 130, "onecycle: stopped\n"),
        (BrokenPipeError(), 0, ""),
        (
            MemoryError(),
            1,
            "onecycle: error: out of memory; lower batch_size or width, or image_size\n",
        ),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried …"),
            1,
            "onecycle: error: out of memory; lower batch_size or width, or image_size\n",
        ),
    ],
)
def test_each_end_has_its_exit_code_and_line(
    error: BaseException, code: int, err: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COMMANDS, "fail", failing(error))
    assert ask("fail") == (code, "", err)


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "fail", failing(RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        ask("fail")


def test_sigterm_unwinds_and_the_handler_of_before_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unwound = []

    def work(_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            unwound.append(True)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setitem(COMMANDS, "wait", Command(work, "waits"))
    assert ask("wait") == (143, "", "onecycle: stopped\n")
    assert unwound == [True]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.faults
def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m onecycle train demo --print-config"
    for reader in ("head -n 1", "true"):
        line = f"{command} | {reader}; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, check=False, timeout=240
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.faults
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
def test_a_full_disk_is_one_line_and_exit_code_1() -> None:
    with open("/dev/full", "w") as full:
        done = run("recipes", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == "onecycle: error: No space left on device\n"


@pytest.mark.parametrize(
    ("encoding", "text", "shown"),
    [
        ("ascii", "0.5 ± caf\udce9", b"0.5 ? caf\xe9"),
        ("utf-8", "0.5 ± caf\udce9", "0.5 ± caf".encode() + b"\xe9"),
        ("ascii", "\ud800", b"?"),
    ],
)
def test_what_a_terminal_can_not_show_and_names_of_files(
    encoding: str, text: str, shown: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["--version"]) == 0
    stream.write(text)
    stream.flush()
    assert stream.buffer.getvalue().endswith(shown)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("nbclient.client", "nbclient is not installed; get it with: pip install 'onecycle[test]'"),
        (
            "tomli_w",
            "tomli-w is not installed; get it with: pip install --force-reinstall onecycle",
        ),
        (
            "PIL.Image",
            "pillow is not installed; get it with: pip install --force-reinstall onecycle",
        ),
        (
            "import_linter",
            "import-linter is not installed; get it with: pip install 'onecycle[lint]'",
        ),
    ],
)
def test_a_missing_dependency_names_the_extra_that_brings_it(
    module: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ModuleNotFoundError(f"No module named '{module}'", name=module)
    monkeypatch.setitem(COMMANDS, "fail", failing(error))
    assert ask("fail") == (2, "", f"onecycle: error: {line}\n")


def test_a_missing_module_of_its_own_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "fail", failing(ModuleNotFoundError("no", name="onecycle.x")))
    with pytest.raises(ModuleNotFoundError):
        ask("fail")


@pytest.mark.faults
def test_closed_streams_are_survived() -> None:
    line = f"{sys.executable} -m onecycle recipes >&- 2>&-"
    assert subprocess.run(["bash", "-c", line], check=False, timeout=240).returncode == 0


# -------------------------------------------------------------------------------------- the recipe


def printed(line: str) -> Recipe:
    """The recipe that a command line resolves to."""
    answer = ask(f"{line} --print-config")
    assert (answer.code, answer.err) == (0, "")
    return from_toml(answer.out)


LAYERS = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(1, 50),
        "lr_max": st.one_of(st.just("auto"), st.floats(1e-3, 10)),
        "cutout": st.integers(0, 32),
        "nesterov": st.booleans(),
        "anneal": st.sampled_from(["linear", "cosine"]),
        "mean": st.one_of(st.just("auto"), st.lists(st.floats(0, 1), min_size=1, max_size=4)),
        "data": st.sampled_from(["shapes", "a b", "-odd", "cifar10"]),
    },
)


def as_flags(values: dict[str, Any]) -> list[str]:
    flags = []
    for name, value in values.items():
        if isinstance(value, bool):
            flags.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, list):
            flags += [f"--{name}", *map(str, value)]
        else:
            flags.append(f"--{name}={value}")
    return flags


@given(name=st.sampled_from(sorted(RECIPES)), file=LAYERS, flags=LAYERS)
def test_a_flag_beats_the_file_and_the_file_beats_the_recipe(
    name: str, file: dict[str, Any], flags: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "layer.toml"
    path.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in file.items()))
    answer = ask(["train", name, "--config", str(path), *as_flags(flags), "--print-config"])
    assert answer.code == 0
    expected = dataclasses.asdict(RECIPES[name].recipe) | file | flags
    if "epochs" in file | flags:  # epochs that are given are obeyed
        expected["min_steps"] = flags.get("min_steps", file.get("min_steps", 0))
    assert tomllib.loads(answer.out) == {
        key: list(value) if isinstance(value, tuple) else value for key, value in expected.items()
    }


@pytest.mark.parametrize("name", RECIPES)
def test_a_printed_recipe_read_back_is_the_same(name: str, tmp_path: Path) -> None:
    first = ask(f"train {name} --lr-max 1e-3 --mean 0.1 0.2 0.3 --tta --print-config").out
    (tmp_path / "printed.toml").write_text(first)
    assert ask("find-lr --config printed.toml --print-config").out == first
    assert ask(f"train {name} --config printed.toml --print-config").out == first
    as_json = json.loads(ask("summary --config printed.toml --print-config --json").out)
    assert as_json == tomllib.loads(first)


def test_config_takes_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = override(RECIPES["demo"].recipe, data="photos", epochs=7, lr_max=0.3, mean=(0.1, 0.2))
    run_folder = tmp_path / "home" / "runs" / "demo-1"
    (tmp_path / "home" / "photos").mkdir(parents=True)
    run_folder.mkdir(parents=True)
    (run_folder / "recipe.toml").write_text(to_toml(recipe))
    assert printed(f"train --config {run_folder}") == recipe
    known = {"data_given": "photos", "data_path": str(tmp_path / "home" / "photos")}
    (run_folder / "environment.json").write_text(json.dumps(known))
    located = override(recipe, data=known["data_path"])
    for line in (f"train --config {run_folder}", f"train --config {run_folder}/recipe.toml"):
        assert printed(line) == located
        assert printed(f"{line} --data other --seed 3") == override(recipe, data="other", seed=3)
    monkeypatch.chdir(tmp_path / "home")
    assert printed("train --config runs/demo-1") == recipe
    answer = ask("train runs/demo-1")
    assert answer.err == (
        "onecycle: error: recipe: 'runs/demo-1' is a run; to train with its recipe, give it with "
        "--config; to go on with it, use onecycle resume\n"
    )


def test_a_numeric_peak_keeps_its_share_when_only_the_epochs_change(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("epochs = 24\npeak_epoch = 6\n")
    assert printed("train --config my.toml --epochs 8").peak_epoch == 2
    assert printed("train --config my.toml --epochs 8 --peak-epoch 6").peak_epoch == 6
    assert printed("train --config my.toml").peak_epoch == 6


TIED = {
    "base_momentum": 0.5,
    "max_momentum": 0.99,
    "lr_start": 1e-3,
    "lr_end": 2.0,
    "model_args": "depth=2",
    "head_lr_factor": 4.0,
}
"""Values of fields that are bounded by another or by 1, or have a form of their own."""


def another_value(setting: Setting) -> Any:
    """A value that is not the default, of the kind that is declared."""
    if setting.kind is bool:
        return not setting.default
    if setting.many:
        return (0.1, 0.2)
    if setting.kind is str:
        word = next((word for word in setting.words if word != setting.default), "other")
        return TIED.get(setting.name, word)
    return TIED.get(setting.name, {int: 17, float: 0.125}[setting.kind])


NEEDED = {"fold": {"folds": 20}}
"""What a field can't be without."""


@pytest.mark.parametrize("name", settings(Recipe))
@pytest.mark.parametrize("spelling", [str, lambda name: name.replace("_", "-")])
def test_every_field_of_a_recipe_is_a_flag(name: str, spelling: Callable[[str], str]) -> None:
    value = another_value(settings(Recipe)[name])
    if value is True:
        text = ""
    else:
        text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    needed = NEEDED.get(name, {})
    more = " ".join(f"--{other} {number}" for other, number in needed.items())
    assert printed(f"train demo --{spelling(name)} {text} {more}") == override(
        RECIPES["demo"].recipe, **{name: value}, **needed
    )


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("--nesterov", True),
        ("--nesterov true", True),
        ("--nesterov=True", True),
        ("--no-nesterov", False),
        ("--nesterov false", False),
        ("--nesterov=false", False),
        ("--no_nesterov", False),
    ],
)
def test_an_on_off_flag_in_every_spelling(words: str, value: bool) -> None:
    assert printed(f"train {words} demo").nesterov is value
    assert printed(f"train demo {words}").nesterov is value


@pytest.mark.parametrize(
    "words", ["demo --mean .1 .2 3e-1", "--mean .1 .2 3e-1 demo", "demo --mean=.1,.2,0.3 --tta"]
)
def test_a_list_of_numbers_ends_where_they_end(words: str) -> None:
    assert printed(f"train {words}").mean == (0.1, 0.2, 0.3)


def test_words_after_two_dashes_are_no_flags() -> None:
    answer = ask("data -- --help-me")
    assert answer.err.startswith("onecycle: error: data: there is no path '--help-me'")


# ------------------------------------------------------------------------------------ what it says


def test_recipes_as_json_are_complete() -> None:
    answer = ask("recipes --json")
    rows = json.loads(answer.out)["recipes"]
    assert [row["name"] for row in rows] == list(RECIPES)
    for row in rows:
        named = RECIPES[row["name"]]
        assert from_toml(to_toml(named.recipe)) == override(Recipe(), **row["recipe"])
        assert row["summary"] == named.summary
        assert row["accuracy"] == named.accuracy


def test_the_table_of_recipes_shows_the_evidence_and_a_dash_where_there_is_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS")  # a pipe: nothing is folded
    measured = {
        "name": "fast",
        "summary": "a fast one",
        "accuracy": 0.9408,
        "spread": 0.0012,
        "n": 5,
        "minutes": 31.5,
        "device": "2-core CPU",
        "measured_on": "CIFAR-10",
    }
    unmeasured = dict.fromkeys(measured, None) | {"name": "new", "summary": "s", "device": ""}
    screens.recipes([measured, unmeasured | {"measured_on": "", "n": 0}])
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "fast a fast one 94.08 ± 0.12 % (n = 5) 31 min 30 s CIFAR-10, 2-core CPU" in lines
    assert "new s – – –" in lines


def test_the_summary_of_the_briefs_network() -> None:
    found = json.loads(ask("summary brief --json").out)
    assert found["parameters"] == 6_573_130
    assert sum(layer["parameters"] for layer in found["layers"]) == 6_573_130
    fields = {"name", "output_shape", "parameters", "macs", "receptive_field", "jump"}
    assert all(fields <= set(layer) for layer in found["layers"])
    out = ask("summary brief").out
    assert max(map(len, out.splitlines())) <= 80
    assert re.search(r"^prep\.conv +64×32×32 +1,728 +1,769,472 +3 +1$", out, re.MULTILINE)
    assert "6,573,130" in out.splitlines()[-2]


@pytest.mark.parametrize("columns", [64, 80, 120])
def test_names_of_layers_are_broken_between_words(
    columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def make(classes, channels):\n"
        "    block = nn.Sequential()\n"
        "    block.add_module('depthwise_convolution', nn.Conv2d(channels, 16, 3))\n"
        "    net = nn.Sequential()\n"
        "    net.add_module('feature_extractor', nn.Sequential(block, nn.AdaptiveAvgPool2d(1)))\n"
        "    net.add_module('head', nn.Sequential(nn.Flatten(), nn.Linear(16, classes)))\n"
        "    return net\n"
    )
    out = ask(f"summary demo --head-scale 1 --model {tmp_path}/net.py:make").out
    table = out.splitlines()[3 : out.splitlines().index("")]
    assert max(map(len, table)) <= columns
    names = "".join(line.split(" ")[0] for line in table)
    assert names.startswith("feature_extractor.0.depthwise_convolutionfeature_extractor.1head.0")
    pieces = {word for line in table for word in re.split(r"[._]", line.split(" ")[0])}
    assert pieces <= {"feature", "extractor", "depthwise", "convolution", "head", "0", "1", ""}
    assert "448" in out.split()


def test_data_counts_and_measures() -> None:
    line = "data shapes --train-limit 100 --test-limit 30 --val-fraction 0.2"
    answer = ask(f"{line} --json")
    found = json.loads(answer.out)
    counts = {name: split["images"] for name, split in found["splits"].items()}
    assert counts == {"train": 80, "val": 20, "test": 30}
    assert all(sum(s["class_counts"]) == s["images"] for s in found["splits"].values())
    assert found["image_shape"] == [32, 32, 3]
    assert len(found["mean"]) == len(found["std"]) == 3
    assert len(found["classes"]) == 10
    shown = ask(f"{line} --quiet")
    assert shown.err == ""
    rows = [" ".join(row.split()) for row in shown.out.splitlines()]
    assert rows[:5] == [
        "shapes",
        "what it is drawn shapes",
        "train 80 images, 8 in each class",
        "val 20 images, 2 in each class",
        "test 30 images, 3 in each class",
    ]
    assert f"fingerprint {found['fingerprint']}" in rows
    assert "equal images none, neither between the splits nor within one" in rows
    assert f"{found['classes'][0]} 8 10.0 % 2 10.0 % 3 10.0 %" in rows
    assert "warning" not in shown.out


def paint(path: Path, look: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(look).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Uneven classes, and in test one image of train under its own class and one under another."""
    for index in range(8):
        paint(tmp_path / f"photos/train/ant/{index}.png", index)
    for index in range(2):
        paint(tmp_path / f"photos/train/bee/{index}.png", 100 + index)
    for label, index, look in (("ant", 0, 3), ("ant", 1, 101), ("bee", 0, 200)):
        paint(tmp_path / f"photos/test/{label}/{index}.png", look)
    return tmp_path / "photos"


def test_data_warns_of_uneven_classes_and_of_copies(photos: Path) -> None:
    found = json.loads(ask("data photos --json").out)
    assert found["kind"] == "class folders"
    assert found["splits"]["train"]["imbalance"] == 4
    assert found["duplicates"]["train_test"]["images"] == 2
    assert found["duplicates"]["train_test"]["conflicting_labels"] == 1
    out = ask("data photos --quiet").out
    rows = [" ".join(row.split()) for row in out.splitlines()]
    assert max(map(len, out.splitlines())) <= 80
    assert "train 10 images, 2 to 8 in a class, a ratio of 4.0" in rows
    assert "2 of 3 test images are in train too, 1 of them under another class" in rows
    assert "test/ant/1.png (ant) = train/bee/1.png (bee)" in rows
    assert "test/ant/0.png = train/ant/3.png" in rows
    flat = " ".join(out.split())
    assert all(f"warning: {line}" in flat for line in found["warnings"])
    assert "(8 and 2); train with --class-weights balanced" in found["warnings"][0]
    bars = re.findall(r"^(ant|bee) .* (━+) *$", out, re.MULTILINE)
    assert [(name, len(bar)) for name, bar in bars] == [("ant", 20), ("bee", 5)]


def described(counts: list[int], names: list[str] | None = None) -> dict[str, Any]:
    """What `data` finds, as JSON, for a train split of these counts."""
    splits = {
        name: SplitDescription(tuple(each)) for name, each in (("train", counts), ("test", counts))
    }
    return DataDescription(
        source="mine",
        kind="class folders",
        fingerprint="0" * 16,
        image_shape=(32, 32, 1),
        bytes=10**6,
        mean=(0.5,),
        std=(0.25,),
        classes=tuple(names or (f"class_{index:03d}" for index in range(len(counts)))),
        splits=splits,
        duplicates={},
        left_out=LeftOut(),
    ).to_json()


def screen_of(found: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    screens.data(found)
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("classes", [2, 30, 31, 100, 1000])
def test_any_number_of_classes_fits_a_screen(
    classes: int, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    counts = [1 + index % 50 for index in range(classes)]
    out = screen_of(described(counts), capsys)
    lines = out.splitlines()
    assert len(lines) < 50
    assert max(map(len, lines)) <= width
    named = re.findall(r"class_\d{3}(?= )", out)
    if classes <= 120:
        assert {f"class_{index:03d}" for index in range(classes)} <= set(named)
    else:
        assert "880 in the middle left out; --json has all" in " ".join(out.split())
        assert "class_049 50" in " ".join(out.split())
        assert "class_950  1" in out


def test_odd_class_names_neither_break_the_table_nor_reach_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = ["x" * 300, "evil\x1b[31m\nname", "中文" * 30, "short", "\udcff"]
    for classes in (names, [*names, *(f"{index}" for index in range(40))]):
        out = screen_of(described([5, *range(6, 5 + len(classes))], classes), capsys)
        table = out.split("fingerprint")[1].split("warning")[0]
        assert max(map(cell_len, table.splitlines())) <= 80
        assert "\x1b" not in out
        assert r"evil\x1b[31m\nname" in table
        assert "…" in table


def test_data_draws_a_contact_sheet(photos: Path) -> None:
    answer = ask("data photos --contact-sheet sheet.png --quiet")
    assert (answer.code, answer.err) == (0, "")
    assert re.search(r"^  contact sheet +sheet\.png$", answer.out, re.MULTILINE)
    with Image.open("sheet.png") as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    first = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    places = np.argwhere((pixels == first[0, 0]).all(axis=2))
    top, left = places[0]  # the first training image, enlarged
    side = int((places[:, 0] == top).sum())
    tile = pixels[top : top + 8 * side : side, left : left + 8 * side : side]
    assert np.array_equal(tile, first)
    found = json.loads(ask("data photos --contact-sheet sheet.png --json").out)
    assert found["contact_sheet"] == "sheet.png"


def test_data_tells_what_it_left_out(photos: Path) -> None:
    (photos / "notes.txt").write_text("not an image")
    (photos / "train/ant/.hidden.png").write_bytes(b"")
    (photos / "train/ant/broken.png").write_bytes(b"broken")
    found = json.loads(ask("data photos --on-bad-image skip --json").out)
    assert found["left_out"]["hidden_files"] == found["left_out"]["other_files"] == 1
    assert [image["name"] for image in found["left_out"]["bad_images"]] == ["train/ant/broken.png"]
    out = ask("data photos --on-bad-image skip --quiet").out
    assert re.search(r"^  left out +1 hidden file, 1 other file .*broken\.png", out, re.MULTILINE)


def test_clean_removes_what_the_cache_holds(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONECYCLE_CACHE", str(tmp_path / "kept"))
    assert ask("data photos --quiet").code == 0
    held = sum(file.stat().st_size for file in (tmp_path / "kept").glob("*/*"))
    assert held > 13 * 8 * 8 * 3
    answer = ask("data --clean --keep-gb 1 --json")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out) == {"removed": 0, "freed_bytes": 0, "kept_bytes": held}
    shown = ask("data --clean")
    assert shown == (0, f"1 entry removed, {held / 1000:.1f} kB freed, 0 B kept\n", "")
    assert not list((tmp_path / "kept").glob("*/*"))
    assert ask("data --clean").out == "0 entries removed, 0 B freed, 0 B kept\n"


@pytest.mark.parametrize(("flags", "keep"), [("", 0), ("--keep-gb 1.5", 1_500_000_000)])
def test_gigabytes_are_kept_to_the_byte(
    flags: str, keep: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def clean(cache_dir: Path | None = None, *, keep_bytes: int = 0) -> cache.Cleaned:
        asked.append((cache_dir, keep_bytes))
        return cache.Cleaned(3, 184_320_128, keep_bytes)

    monkeypatch.setattr(cache, "clean", clean)
    kept = "1.5 GB" if keep else "0 B"
    answer = ask(f"data --clean {flags}")
    assert answer == (0, f"3 entries removed, 184.3 MB freed, {kept} kept\n", "")
    assert asked == [(None, keep)]


def test_find_lr_gives_the_rates_the_curve_and_a_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "find-lr demo --train-limit 256 --test-limit 64 --width 0.125 --lr-steps 10 --quiet"
    answer = ask(f"{line} --json --plot curve.png")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    assert 0 < found["lr_min"] <= found["lr_max"]
    assert all(set(s) == {"lr", "low", "high"} for s in found["suggestions"].values())
    assert len(found["curve"]["lr"]) == len(found["curve"]["loss"])
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    screens.found_rates(found, "curve.png")
    shown = capsys.readouterr().out
    assert all(re.search(rf"^{name} ", shown, re.MULTILINE) for name in found["suggestions"])
    assert f"--lr-min {found['lr_min']:.3g} --lr-max {found['lr_max']:.3g}" in shown


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """The one training of these tests, in a process of its own."""
    folder = tmp_path_factory.mktemp("trained")
    return run(f"train demo {TINY} --runs {folder} --json", capture_output=True)


def test_train_leaves_a_run_and_one_json_object(
    trained: subprocess.CompletedProcess[str],
) -> None:
    assert trained.returncode == 0, trained.stderr
    result = json.loads(trained.stdout)
    folder = Path(result.pop("run"))
    assert json.loads((folder / "result.json").read_text()) == result
    assert result["epochs"] == 1
    assert result["lr_max"] == 0.01
    recorded = json.loads((folder / "environment.json").read_text())["command"]
    assert recorded[:3] == ["onecycle", "train", "demo"]
    assert "\x1b" not in trained.stderr
    assert re.search(r"^training: 4 steps$", trained.stderr, re.MULTILINE)
    assert re.search(r"^epoch 1: train loss .+ test accuracy .+ %", trained.stderr, re.MULTILINE)


def test_evaluate_repeats_the_runs_figures(trained: subprocess.CompletedProcess[str]) -> None:
    result = json.loads(trained.stdout)
    answer = ask(["evaluate", result["run"], "--json", "--threads", "2"])
    assert answer.code == 0
    found = json.loads(answer.out)
    assert found["test_accuracy"] == result["test_accuracy"]
    assert found["test_loss"] == result["test_loss"]
    shown = ask(["evaluate", result["run"], "--quiet"])
    assert f"{100 * result['test_accuracy']:.2f} % of 64 images" in shown.out


def test_evaluate_shows_each_class_and_writes_predictions(
    trained: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    result = json.loads(trained.stdout)
    answer = ask(["evaluate", result["run"], "--predictions", "said.csv", "--json"])
    found = json.loads(answer.out)
    assert found["predictions"] == "said.csv"
    assert len((tmp_path / "said.csv").read_text().splitlines()) == 65
    out = ask(["evaluate", result["run"], "--quiet"]).out
    rows = [" ".join(line.split()) for line in out.splitlines()]
    for row, counts in zip(found["per_class"], found["confusion"], strict=True):
        (line,) = [line for line in rows if line.startswith(f"{row['class']} {row['images']} ")]
        assert f" {100 * row['accuracy']:.2f} % " in f"{line} "
        assert sum(counts) == row["images"]


def evaluated(classes: int) -> dict[str, Any]:
    """What an evaluation of so many classes of three images finds."""
    names = [f"class_{index:04d}" for index in range(classes)]
    rows = [
        {"class": name, "images": 3, "accuracy": index % 4 / 3, "predicted": 3, "precision": None}
        for index, name in enumerate(names)
    ]
    confusion = np.eye(classes, dtype=int) * 2 + np.eye(classes, k=1, dtype=int)
    return {
        "run": "runs/a", "data": "photos", "test_images": 3 * classes, "test_accuracy": 0.5,
        "test_loss": 1.0, "test_class_sizes": [3, 3], "test_balanced_accuracy": 0.5,
        "classes": names, "per_class": rows, "ignored_classes": {},
        "confusion": confusion.tolist() if classes <= 1000 else None,
    }  # fmt: skip


@pytest.mark.parametrize("classes", [2, 30, 31, 1000, 1001])
def test_an_evaluation_of_any_number_of_classes_fits_a_screen(
    classes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation.evaluated(evaluated(classes))
    out = capsys.readouterr().out
    assert len(out.splitlines()) < 45
    assert max(map(len, out.splitlines())) <= 80
    named = re.findall(r"^class_\d{4}", out, re.MULTILINE)
    assert len(named) == (classes if classes <= 30 else 20)
    assert (f"the worst 20 of {classes:,} classes; " in out) == (classes > 30)
    if classes > 30:
        assert out.count("  0.00 %") == min(20, -(-classes // 4))  # every fourth is always wrong


def test_resume_verify_proves_that_a_run_repeats(
    trained: subprocess.CompletedProcess[str],
) -> None:
    path = json.loads(trained.stdout)["run"]
    found = json.loads(ask(["resume", path, "--verify", "--json"]).out)
    assert found["equal"] is True
    assert (found["run"], found["to_step"]) == (path, 4)
    assert (found["first_step"], found["first_tensor"], found["told"]) == (None, None, "")
    told = ask(["resume", path, "--verify"])
    assert told.code == 0
    assert told.out == (
        f"{path}: trained steps 0 to 3 again; every rate, loss and figure and all "
        f"{found['tensors']} tensors are bit-identical\n"
    )


def test_a_replay_that_differs_exits_with_1_and_is_told_in_json(
    trained: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    run_folder = Path(shutil.copytree(json.loads(trained.stdout)["run"], tmp_path / "run"))
    steps = (run_folder / "steps.jsonl").read_text().splitlines()
    row = json.loads(steps[2])
    steps[2] = json.dumps(row | {"loss": row["loss"] + 1e-9})
    (run_folder / "steps.jsonl").write_text("".join(f"{line}\n" for line in steps))
    answer = ask(["resume", str(run_folder), "--verify", "--json", "--quiet"])
    assert answer.code == 1
    assert json.loads(answer.out)["first_step"] == 2
    assert answer.err.startswith(f"onecycle: error: {run_folder}: the replay differs: step 2: loss")
    assert answer.err.count("\n") == 1


def test_a_finished_run_is_shown_again(trained: subprocess.CompletedProcess[str]) -> None:
    result = json.loads(trained.stdout)
    assert json.loads(ask(["resume", result["run"], "--json"]).out) == result
    shown = ask(["resume", result["run"]]).out
    lines = {line[2:].split("  ")[0]: line for line in shown.splitlines() if line.startswith("  ")}
    assert f"{100 * result['test_accuracy']:.2f} %" in lines["test accuracy"]
    assert "0.001 → 0.01 → 0.001" in lines["learning rate"]
    assert lines["run folder"].endswith(f"  {result['run']}")  # in one piece, to be copied
    assert lines["report"].endswith(f"{result['run']}/report.html")


def show_trained(result: dict[str, Any]) -> None:
    screens.trained(Path(result["run"]), from_json(result, Result))


@pytest.mark.parametrize("show", [show_trained, evaluation.evaluated])
@pytest.mark.parametrize(("sizes", "shown"), [([5, 900], True), ([5, 5], False), (None, False)])
def test_balanced_accuracy_is_shown_where_the_test_classes_are_uneven(
    show: Callable[[Any], None],
    sizes: list[int] | None,
    shown: bool,
    trained: subprocess.CompletedProcess[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = json.loads(trained.stdout) | {"test_balanced_accuracy": 0.8421}
    assert result.pop("test_class_sizes") == [6, 7]  # 64 images of ten classes
    show(result | ({"test_class_sizes": sizes} if sizes else {}))
    line = "balanced accuracy  84.21 %  (mean over classes of 5 to 900 images)"
    assert (line in capsys.readouterr().out) is shown


def test_report_writes_the_file_that_it_names(trained: subprocess.CompletedProcess[str]) -> None:
    folder = json.loads(trained.stdout)["run"]
    path = Path(folder, "report.html")
    path.unlink(missing_ok=True)
    answer = ask(["report", folder])
    assert (answer.code, answer.out) == (0, f"{path}\n")
    assert path.read_text().lstrip().lower().startswith("<!doctype html")
