"""Any command line is answered with exit code 0, or with 2 and one line; never with a traceback.

Nothing is trained: a command that would train is asked to print its recipe instead.
"""

import io
import os
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reliability import fault
from trained import TINY, Forks, run_in

from onecycle.cli import main
from onecycle.cli.commands import COMMANDS
from onecycle.recipes import RECIPES

CALLS = 3000
"""Command lines of `make test-faults`, as docs/reliability.md states; `make test` takes 150."""

WORDS = st.sampled_from(
    "0 1 2 -1 0.5 1e-3 1e400 -0 nan inf auto proven true false none linear cosine sgd bf16 cpu "
    "cuda "
    "shapes cifar10 fine crop skip balanced RUN EMPTY FILE . .. / - -- --- = --= x=1 [bold] {} %s "
    "$HOME ~ * NUL 1_000 ٣ 0x10 1,2,3 0.5,0.5,0.5 9999999999999999999 .5 5. +1 demo brief".split()
) | st.text(max_size=12)
"""Values: what is meant, what is near it, and what is far off."""

SMALL = {
    "data": {"train_limit": "40", "test_limit": "20", "image_size": "8"},
    "summary": {"width": "0.1", "data": "shapes", "image_size": "16"},
}
"""Flags that keep a command that is really carried out small; the fuzz gives none of them then."""

PRINTS = ("find-lr", "train", "trials")


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    name = draw(st.sampled_from(sorted(COMMANDS)))
    command = COMMANDS[name]
    own = [f"--{flag.replace('_', '-')}" for flag in (*command.options, *command.fields)]
    kept = {f"--{flag.replace('_', '-')}": value for flag, value in SMALL.get(name, {}).items()}
    if name in PRINTS:
        kept["--print-config"] = ""
    free = [flag for flag in own if flag not in kept]
    odd = st.sampled_from(["--no-nesterov", "--no-json", "--epoch", "-x", "--data=", "-h"])
    flag = st.integers(0, 15).flatmap(lambda n: st.sampled_from(free) if n and free else odd)
    words = [name]
    if draw(st.integers(0, 9)):
        meant = {
            "RECIPE": sorted(RECIPES),
            "RECIPE F=A,B": [*sorted(RECIPES), "cutout=0,8"],
            "RUN": ["RUN"],
            "NAME|PATH": ["shapes"],
        }
        words.append(draw(st.sampled_from(meant.get(command.operand, ["x"])) | WORDS))
    for _ in range(draw(st.integers(0, 5))):
        words.append(draw(flag))
        words += draw(st.lists(WORDS, max_size=2))
    for flag, value in kept.items():
        words += [flag, value] if value else [flag]
    return words


@pytest.fixture(scope="module")
def places(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What some words stand for: a finished run, an empty folder, a file; all else is relative."""
    folder = tmp_path_factory.mktemp("places")
    assert forks.run(f"{TINY} --runs {folder / 'runs'}").code == 0
    (folder / "empty").mkdir()
    (folder / "file").write_text("epochs = 3\n")
    (folder / "here").mkdir()
    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONECYCLE_CACHE", str(folder / "cache"))
        patch.setenv("COLUMNS", "80")
        os.chdir(folder / "here")
        yield {
            "RUN": str(run_in(folder / "runs")),
            "EMPTY": str(folder / "empty"),
            "FILE": str(folder / "file"),
            "NUL": "a\0b",
        }
        os.chdir(before)


def assert_answered(line: list[str], places: dict[str, str]) -> None:
    words = [places.get(word, word) for word in line]
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = main(words)
    # An export may lose too much accuracy in 8 bits, and predict goes on past unreadable images.
    may_fail = words[:1] in (["export"], ["predict"])
    assert code in ((0, 1, 2) if may_fail else (0, 2)), (words, err.getvalue())
    if code:
        *told, last = err.getvalue().splitlines()
        assert last.startswith("onecycle: error: "), words
        assert last.isprintable(), words
        assert not any("Traceback" in text for text in told)
        assert out.getvalue() == "" or words[0] == "predict", words


@pytest.mark.faults
@given(line=command_lines())
@settings(max_examples=150)
def test_any_command_line_is_answered(line, places):
    assert_answered(line, places)


@fault("the command line is fuzzed: 3,000 calls")
@given(line=command_lines())
@settings(max_examples=CALLS)
def test_three_thousand_command_lines_are_answered(line, places):
    assert_answered(line, places)
