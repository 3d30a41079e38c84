"""The README keeps its word: its snippets run, and the links of all documents lead somewhere.

Snippets run as they stand, one command a line, except for what the tables below say. What they
change are flags and fields that any user can give.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from trained import Forks

from onecycle.data import shapes

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "examples/*.md")
    for path in ROOT.glob(pattern)
)
SNIPPETS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)

NOT_RUN = {
    ". .venv/bin/activate": "the commands of the environment that runs the tests are on the path",
    "onecycle sweep demo --space examples/space.toml --trials 5 --epochs 4 --val-fraction 0.2": (
        "it trains for minutes; test_sweep_faults.py runs a smaller one"
    ),
    "onecycle train custom-resnet-24": "it fetches CIFAR-10; test_download.py fetches a small set",
}
REDUCED_COMMANDS = ("onecycle train", "onecycle find-lr", "onecycle trials")
SMALL = {  # the flags that they get, unless the snippet gives them
    "--epochs": "1",
    "--train-limit": "60",
    "--test-limit": "30",
    "--width": "0.1",
    "--batch-size": "20",
    "--lr-steps": "12",
}
REDUCED_FIELDS = {  # in a Python snippet
    "epochs=3": "epochs=1, train_limit=60, test_limit=30, width=0.1, batch_size=20, lr_steps=12",
}
MAKE_ENDS_WITH = {  # what a make target comes down to once everything is installed
    "train": "onecycle train demo",
    "test": "python -m pytest -n 2 --dist loadfile",  # the suite that is running now
    "test-faults": "python -m pytest -n 2 --dist loadfile -m faults",
    "notebook": "jupyter lab notebooks/CIFAR10_Custom_ResNet.ipynb",
}

COMMANDS = [
    line
    for language, text in SNIPPETS
    if language in ("sh", "bash")
    for line in text.splitlines()
    if line and line not in NOT_RUN
]
PROGRAMS = [text for language, text in SNIPPETS if language == "python"]


def reduced(command: str) -> str:
    """The same command at a small size, if it is one that takes long."""
    if not command.startswith(REDUCED_COMMANDS):
        return command
    given = command.split()
    return " ".join(
        given + [f"{flag} {value}" for flag, value in SMALL.items() if flag not in given]
    )


def sh(command: str, cwd: Path) -> str:
    """Standard output of a shell command, which has to succeed."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    path = os.pathsep.join([str(Path(sys.executable).parent), settings["PATH"]])
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env=settings | {"PATH": path, "OMP_NUM_THREADS": "1"},  # tiny work, maybe on busy cores
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the README supposes: photos, CIFAR-10's folders, and one run."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("photos", "cifar10"):
        for split, images in (
            ("train", shapes.draw(80, "train")),
            ("test", shapes.draw(40, "test")),
        ):
            for index, label in enumerate(images.labels_N):
                place = folder / name / split / images.classes[label]
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(images.images_NHWC[index]).save(place / f"{index}.png")
    sh(reduced(MAKE_ENDS_WITH["train"]), folder)
    return folder


def test_every_snippet_is_of_a_kind_that_is_run() -> None:
    assert {language for language, _ in SNIPPETS} <= {"sh", "bash", "python"}
    assert README.count("\n```") == 2 * len(SNIPPETS)
    assert COMMANDS
    assert PROGRAMS


@pytest.mark.parametrize("command", [line for line in COMMANDS if not line.startswith("make ")])
def test_command(command: str, workplace: Path, forks: Forks) -> None:
    """In a process of its own. Without shell syntax, it need not import everything again."""
    assert command.startswith("onecycle "), f"no rule says how to run: {command}"
    run = next((workplace / "runs").iterdir())
    line = reduced(re.sub(r"\bRUN\b", str(run), command))
    if set(line) & set("|&;<>$`*?~#"):
        sh(line, workplace)
        return
    done = forks.run(line.removeprefix("onecycle "), code="", cwd=workplace)
    assert done.code == 0, f"{line}\n{done.out}\n{done.err}"


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("make ")])
def test_make_command(command: str, tmp_path: Path) -> None:
    _, target, *settings = command.split()
    venv = tmp_path / "venv"
    lines = sh(f"{command} -n VENV={venv}", ROOT).splitlines()
    assert lines[-1] == f"{venv}/bin/{MAKE_ENDS_WITH[target]}"
    installs = [line for line in lines if " pip install " in line]
    assert all("-c constraints.txt" in line for line in installs)
    for setting in settings:
        name, value = setting.split("=", 1)
        assert name == "TORCH_INDEX"
        assert [value in line for line in installs] == [
            line.endswith(" torch") for line in installs
        ]


def test_make_installs_nothing_the_second_time(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("bin/pip", ".installed", ".installed-dev", ".installed-notebook"):
        (tmp_path / name).touch()
    for target, end in MAKE_ENDS_WITH.items():
        assert sh(f"make {target} -n VENV={tmp_path}", ROOT) == f"{tmp_path}/bin/{end}\n"


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_program(program: str, tmp_path: Path) -> None:
    for field, smaller in REDUCED_FIELDS.items():
        program = program.replace(field, smaller)
    file = tmp_path / "snippet.py"
    file.write_text(program, encoding="utf-8")
    assert sh(f"python -W error {file}", tmp_path)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    for link in links:
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), f"{link} is not there"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text("utf-8")), f"{link}: no such heading"


def anchors(text: str) -> set[str]:
    """The anchors of a Markdown document's headings, made as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_no_figure_is_missing() -> None:
    assert "FIGURE" not in README
