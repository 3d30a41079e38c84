"""`compare`: the table of contents of a comparison."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onecycle.config.names import unknown_name
from onecycle.errors import InputError
from onecycle.experiments import tables
from onecycle.experiments.cells import count_text, list_text
from onecycle.experiments.columns import checked_columns
from onecycle.experiments.groups import Group, group_runs, settings_of
from onecycle.experiments.mistakes import Mistakes, find_mistakes
from onecycle.experiments.pairs import DIFFERENT_IMAGES, MCNEMAR, WELCH, Pair, compare_pairs
from onecycle.experiments.reading import FinishedRun, LeftOut, read_runs, without_strangers

ALONE = "there is only one run, so nothing is compared; name two or more"


@dataclass(frozen=True, repr=False)
class Comparison:
    """How runs differ, and whether chance explains it. A notebook shows it as a table.

    Attributes:
        groups: runs of one recipe with different seeds, in the order of their first runs; the
            baseline comes first.
        pairs: every pair of groups, or each group and the baseline.
        mistakes: the images that all runs get wrong, and those that only one does; None with fewer
            than two runs on the same test images.
        notes: what a reader must know to read the figures correctly, one line each.
        left_out: runs that can't be compared, each with the reason.
        test_notes: those of the notes that are about the tests of pairs.
        baseline: the name of the group with which each other one is compared; None: all pairs are.
        columns: of the table of figures, as `--columns` names them; empty: the usual ones.
    """

    groups: tuple[Group, ...]
    pairs: tuple[Pair, ...]
    mistakes: Mistakes | None
    notes: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    test_notes: tuple[str, ...] = ()
    baseline: str | None = None
    columns: tuple[str, ...] = ()

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
        """One row for each group below the headings; figures in full precision."""
        return tables.to_csv(self)

    def __repr__(self) -> str:
        return f"<Comparison: {tables.subject(self)}>"

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def compare(
    runs: str | Path | Iterable[str | Path],
    *,
    baseline: str | Path = "",
    columns: Sequence[str] = (),
) -> Comparison:
    """Compare the recipes of finished runs over seeds, with intervals and tests.

    Runs whose recipes differ only in the seed form a group.

    Args:
        runs: run folders, or folders with runs in them.
        baseline: the name of a group, or a folder of its runs. Each other group is compared
            with it alone, and p values are corrected for these comparisons only. Empty: all pairs
            are compared.
        columns: of the table of figures, such as `("train", "test", "gap", "ece")`; empty: the
            usual ones. See docs/compare.md.

    Raises:
        InputError: a folder is missing or holds no runs, or none of the runs can be compared; the
            baseline or a column does not exist.
    """
    columns = checked_columns(columns)
    places = [runs] if isinstance(runs, str | Path) else list(runs)
    if not places:
        raise InputError("compare: no runs are given; name run folders, or folders of runs")
    finished, left_out = read_runs(places)
    found, strangers = without_strangers(finished)
    left_out += strangers
    if not found:
        rest = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        raise InputError(f"compare: no run can be compared: {left_out[0]}{rest}")
    groups, repeated = group_runs(found)
    chosen = _chosen(groups, baseline, found, left_out)
    if chosen:  # it comes first
        own = {run.path for run in chosen.runs}
        groups, repeated = group_runs(sorted(found, key=lambda run: run.path not in own))
        chosen = groups[0]
    pairs = compare_pairs(groups, chosen)
    return Comparison(
        groups=tuple(groups),
        pairs=tuple(pairs),
        mistakes=find_mistakes(groups),
        notes=(*_notes(groups, pairs), *repeated, *([ALONE] if len(found) == 1 else [])),
        left_out=tuple(left_out),
        test_notes=tuple(_test_notes(pairs)),
        baseline=chosen.name if chosen else None,
        columns=columns,
    )


def _chosen(
    groups: Sequence[Group],
    baseline: str | Path,
    runs: Sequence[FinishedRun],
    left_out: Sequence[LeftOut],
) -> Group | None:
    """The group of that name, or that of the runs in a folder; None for an empty text.

    `runs`: all that could be read; a group has only the newest of each seed.

    Raises:
        InputError: there is none.
    """
    if not str(baseline):
        return None
    for group in groups:
        if group.name == str(baseline):
            return group
    names = [group.name for group in groups]
    unknown = InputError(f"--baseline: {unknown_name('recipe', str(baseline), names)}")
    try:
        place = Path(baseline).resolve()
        if not place.is_dir():
            raise unknown
    except (OSError, ValueError):  # ValueError: a NUL in the name
        raise unknown from None
    settings = [settings_of(run) for run in runs if _within(run.path, place)]
    inside = [group for group in groups if group.settings in settings]
    if len(inside) == 1:
        return inside[0]
    for run in left_out:
        if run.path.resolve() == place:
            raise InputError(f"--baseline: '{baseline}' is left out: {run.reason}; name another")
    told = "has runs of several recipes" if inside else "has no run that is compared"
    raise InputError(
        f"--baseline: '{baseline}' {told}; name a run, or one of {', '.join(sorted(names))}"
    )


def _within(path: Path, place: Path) -> bool:
    return path.resolve().is_relative_to(place)


# ------------------------------------------------------------------------------------------ notes


def _notes(groups: Sequence[Group], pairs: Sequence[Pair]) -> list[str]:
    """What a reader must know to read the figures correctly."""
    notes = [_data_note(groups, pairs), *_test_notes(pairs)]
    notes.append(_where_told(groups, _machine, "machines", "times can't be compared"))
    notes.append(_where_told(groups, _version, "versions of the code", "they may differ in more"))
    return [note for note in notes if note]


def _data_note(groups: Sequence[Group], pairs: Sequence[Pair]) -> str:
    """Which groups used different data, and what that means for their tests."""
    by_data: dict[str, list[str]] = {}
    for group in groups:
        by_data.setdefault(group.runs[0].fingerprint, []).append(group.name)
    if len(by_data) == 1:
        return ""
    told = "; ".join(f"{list_text(who)}: {data}" for data, who in by_data.items())
    tested = [pair for pair in pairs if pair.p is not None]
    apart = any(pair.reason == DIFFERENT_IMAGES for pair in pairs)
    meaning = "accuracies on different test images can't be compared" if apart else ""
    if any(_data_of(groups, p.first) != _data_of(groups, p.second) for p in tested):
        same = "test images with equal names and labels are taken to be the same"
        meaning = f"{meaning}; {same}" if meaning else same
    return f"the runs used different data (fingerprints {told}); {meaning}"


def _data_of(groups: Sequence[Group], letter: str) -> str:
    return next(group.runs[0].fingerprint for group in groups if group.letter == letter)


def _test_notes(pairs: Sequence[Pair]) -> list[str]:
    """What the tests show, and what they don't."""
    notes, tested = [], [pair for pair in pairs if pair.p is not None]
    if any(pair.test == MCNEMAR for pair in tested):
        notes.append(
            "McNemar's test compares two trained networks, one run each, not their recipes: "
            "another seed gives another network; train each recipe with three seeds or more to "
            "compare recipes"
        )
    if any(pair.test not in (MCNEMAR, WELCH) for pair in tested):
        notes.append(
            "the test of a single run against several assumes that its recipe has the same spread "
            "as theirs; train it with more seeds"
        )
    if len(tested) > 1:
        notes.append(
            f"p values and intervals are corrected by Holm's method for {len(tested)} comparisons: "
            "an interval contains 0 where the two are not distinguishable"
        )
    return notes


def _where_told(
    groups: Sequence[Group], tell: Callable[[FinishedRun], str], what: str, so: str
) -> str:
    """A note if the runs differ in what `tell` returns, such as the machine or the version."""
    by_kind: dict[str, dict[str, None]] = {}  # the names in their order, each once
    for group in groups:
        for run in group.runs:
            by_kind.setdefault(tell(run), {})[group.name] = None
    if len(by_kind) < 2:
        return ""
    every = "all recipes" if len(groups) > 3 else ""
    told = "; ".join(
        f"{kind}: {(len(who) == len(groups) and every) or list_text([*who])}"
        for kind, who in by_kind.items()
    )
    return f"the runs come from different {what} ({told}); {so}"


def _machine(run: FinishedRun) -> str:
    name, threads = run.environment.device_name or run.result.device, run.environment.threads
    if run.result.device != "cpu" or threads is None:
        return name
    return f"{name}, {count_text(threads, 'thread')}"


def _version(run: FinishedRun) -> str:
    version, git = run.environment.versions.get("onecycle", "unknown"), run.environment.git
    commit = f" at {git.commit[:10]}" if git else ""
    return f"onecycle {version}{commit}, torch {run.result.torch}"
