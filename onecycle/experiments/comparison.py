"""`compare`: the table of contents of a comparison."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onecycle.errors import InputError
from onecycle.experiments import tables
from onecycle.experiments.cells import count_text, list_text
from onecycle.experiments.groups import Group, group_runs
from onecycle.experiments.mistakes import Mistakes, find_mistakes
from onecycle.experiments.pairs import DIFFERENT_IMAGES, MCNEMAR, WELCH, Pair, compare_pairs
from onecycle.experiments.reading import FinishedRun, LeftOut, read_runs

ALONE = "there is one run only, so nothing is compared; name two or more"


@dataclass(frozen=True, repr=False)
class Comparison:
    """What sets runs apart, and whether chance explains it. A notebook shows it as a table.

    Attributes:
        groups: runs of one recipe with different seeds, in the order of their first runs.
        pairs: each two groups.
        mistakes: what all runs get wrong, and what one alone; None with fewer than two runs on the
            same test images.
        notes: what has to be known to read the figures aright, one line each.
        left_out: runs that can't be compared, each with the reason.
    """

    groups: tuple[Group, ...]
    pairs: tuple[Pair, ...]
    mistakes: Mistakes | None
    notes: tuple[str, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def runs(self) -> list[FinishedRun]:
        """All runs that are compared, group by group."""
        return [run for group in self.groups for run in group.runs]

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values; see docs/compare.md."""
        return tables.to_json(self)

    def to_markdown(self) -> str:
        """Tables in Markdown."""
        return tables.to_markdown(self)

    def to_csv(self) -> str:
        """A line for each group, under a line of headings; figures in full precision."""
        return tables.to_csv(self)

    def __repr__(self) -> str:
        return f"<Comparison: {tables.subject(self)}>"

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def compare(runs: str | Path | Iterable[str | Path]) -> Comparison:
    """Compare finished runs: recipe by recipe, over seeds, with intervals and tests.

    Runs whose recipes differ in the seed alone form a group.

    Args:
        runs: run folders, or folders with runs in them.

    Raises:
        InputError: a folder is missing or holds no runs, or none of the runs can be compared.
    """
    places = [runs] if isinstance(runs, str | Path) else list(runs)
    if not places:
        raise InputError("compare: no runs are given; name run folders, or folders of runs")
    found, left_out = read_runs(places)
    if not found:
        rest = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        raise InputError(f"compare: no run can be compared: {left_out[0]}{rest}")
    groups, repeated = group_runs(found)
    pairs = compare_pairs(groups)
    return Comparison(
        groups=tuple(groups),
        pairs=tuple(pairs),
        mistakes=find_mistakes(groups),
        notes=(*_notes(groups, pairs), *repeated, *([ALONE] if len(found) == 1 else [])),
        left_out=tuple(left_out),
    )


# ------------------------------------------------------------------------------------------ notes


def _notes(groups: Sequence[Group], pairs: Sequence[Pair]) -> list[str]:
    """What a reader of the figures has to know."""
    notes = [_data_note(groups, pairs), *_test_notes(pairs)]
    notes.append(_where_told(groups, _machine, "machines", "times are not to be compared"))
    notes.append(_where_told(groups, _version, "versions of the code", "they may differ in more"))
    return [note for note in notes if note]


def _data_note(groups: Sequence[Group], pairs: Sequence[Pair]) -> str:
    """Which groups were trained on other data, and what that means for their tests."""
    by_data: dict[str, list[str]] = {}
    for group in groups:
        by_data.setdefault(group.runs[0].fingerprint, []).append(group.name)
    if len(by_data) == 1:
        return ""
    told = "; ".join(f"{list_text(who)}: {data}" for data, who in by_data.items())
    tested = [pair for pair in pairs if pair.p is not None]
    apart = any(pair.reason == DIFFERENT_IMAGES for pair in pairs)
    meaning = "accuracies on different test images are not to be compared" if apart else ""
    if any(_data_of(groups, p.first) != _data_of(groups, p.second) for p in tested):
        same = "test images with equal names and labels are taken to be the same"
        meaning = f"{meaning}; {same}" if meaning else same
    return f"the runs are of different data (fingerprints {told}); {meaning}"


def _data_of(groups: Sequence[Group], letter: str) -> str:
    return next(group.runs[0].fingerprint for group in groups if group.letter == letter)


def _test_notes(pairs: Sequence[Pair]) -> list[str]:
    """What the tests say, and what they do not."""
    notes, tested = [], [pair for pair in pairs if pair.p is not None]
    if any(pair.test == MCNEMAR for pair in tested):
        notes.append(
            "McNemar's test is of two trained networks, one run each, not of their recipes: "
            "another seed gives another network; train each recipe with three seeds or more to "
            "compare them"
        )
    if any(pair.test not in (MCNEMAR, WELCH) for pair in tested):
        notes.append(
            "a single run is tested against several as if its recipe spread as theirs does; train "
            "it with more seeds"
        )
    if len(tested) > 1:
        notes.append(
            f"p values and intervals are Holm's, for {len(tested)} comparisons at once: an "
            "interval holds 0 where the two are not distinguishable"
        )
    return notes


def _where_told(
    groups: Sequence[Group], tell: Callable[[FinishedRun], str], what: str, so: str
) -> str:
    """A note where not all runs are of one machine, or of one version."""
    by_kind: dict[str, dict[str, None]] = {}  # the names in their order, each once
    for group in groups:
        for run in group.runs:
            by_kind.setdefault(tell(run), {})[group.name] = None
    if len(by_kind) < 2:
        return ""
    told = "; ".join(f"{kind}: {list_text([*who])}" for kind, who in by_kind.items())
    return f"the runs are of different {what} ({told}); {so}"


def _machine(run: FinishedRun) -> str:
    name, threads = run.environment.device_name or run.result.device, run.environment.threads
    if run.result.device != "cpu" or threads is None:
        return name
    return f"{name}, {count_text(threads, 'thread')}"


def _version(run: FinishedRun) -> str:
    version, git = run.environment.versions.get("onecycle", "unknown"), run.environment.git
    commit = f" at {git.commit[:10]}" if git else ""
    return f"onecycle {version}{commit}, torch {run.result.torch}"
