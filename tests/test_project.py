"""What holds the project together: one version, workflows that can run, lines that can be read."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import onecycle
from benchmarks.wrapping import wrapped

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MARKDOWN = sorted(
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "benchmarks/*.md",
        "examples/*.md",
        "tests/*.md",
        ".github/*.md",
    )
    for path in ROOT.glob(pattern)
)
LONGEST = 120


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_version_changelog_and_citation_agree() -> None:
    heading = re.compile(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", re.MULTILINE)
    unreleased, (version, date), *_ = heading.findall(read("CHANGELOG.md"))
    assert unreleased == ("Unreleased", "")
    assert version == onecycle.__version__
    citation = yaml.safe_load(read("CITATION.cff"))
    assert (citation["version"], str(citation["date-released"])) == (version, date)


def test_addresses_of_the_package_are_those_of_the_citation() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    cited = {paper["url"] for paper in yaml.safe_load(read("CITATION.cff"))["references"]}
    assert set(project["urls"].values()) == cited


def steps(workflow: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


def targets_run() -> set[str]:
    """Targets of the Makefile that workflows and the hook call."""
    commands = [step["run"] for each in WORKFLOWS for step in steps(each) if "run" in step]
    for repository in yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]:
        commands += [hook["entry"] for hook in repository["hooks"]]
    return {target for line in commands for target in re.findall(r"^make ([\w-]+)", line, re.M)}


def test_workflows_and_the_hook_call_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    assert {"test", "lint", "docs", "test-faults"} <= targets_run() <= targets


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read_and_names_its_actions_versions(workflow: Path) -> None:
    assert yaml.safe_load(workflow.read_text(encoding="utf-8"))["permissions"] == {
        "contents": "read"
    }
    for used in [step["uses"] for step in steps(workflow) if "uses" in step]:
        assert re.fullmatch(r"actions/[\w-]+@v\d+\.\d+\.\d+", used)


def test_workflows_begin_with_the_lowest_python_that_the_package_allows() -> None:
    lowest = tomllib.loads(read("pyproject.toml"))["project"]["requires-python"]
    jobs = yaml.safe_load(read(".github/workflows/test.yml"))["jobs"]
    assert f">={jobs['test']['strategy']['matrix']['python'][0]}" == lowest


@pytest.mark.parametrize("document", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_line_of_prose_is_too_long(document: Path) -> None:
    """Tables, code and pictures need their length, and `compare --update` writes its own text."""
    text = re.sub(
        r"^```.*?^```$|^<!-- onecycle compare:.*?^<!-- end of onecycle compare -->$",
        "",
        document.read_text("utf-8"),
        flags=re.MULTILINE | re.DOTALL,
    )
    lines = [line for line in text.splitlines() if not line.startswith(("|", "    ", "![", "<!--"))]
    assert [line for line in lines if len(line) > LONGEST] == []


def test_result_files_are_wrapped_as_they_are_written() -> None:
    long = " ".join(["word"] * 30)
    table, picture = f"| {long} |", f"![{long}](x.png)"
    text = wrapped("\n".join([table, picture, f"- {long}", f"    {long}", "short"]))
    first, second, *rest = text.split("\n")
    assert (first, second) == (table, picture)
    assert rest == [
        "- " + " ".join(["word"] * 23),
        "  " + " ".join(["word"] * 7),
        f"    {long}",
        "short",
    ]
