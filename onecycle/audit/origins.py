"""Can the run be repeated and used, and is its test split separate from its train split?"""

from onecycle.audit.evidence import Evidence
from onecycle.audit.line import Line, unknown
from onecycle.errors import InputError
from onecycle.run_dir import ForeignEntry
from onecycle.run_dir.records import Duplicates
from onecycle.writing.names import printable
from onecycle.writing.numbers import counted


def lines(evidence: Evidence) -> list[Line]:
    """Seed, weights to start from, frozen stages, processes, weights on disk, repeated images."""
    return [
        _seed(evidence),
        *_initial(evidence),
        *_frozen(evidence),
        *_processes(evidence),
        _saved(evidence),
        *_duplicates(evidence),
    ]


def _seed(evidence: Evidence) -> Line:
    repeats = evidence.measured.initial_weights_repeat
    recipe = evidence.recipe
    given = f" and of {printable(recipe.init_from)}" if recipe.init_from else ""
    name, asked = "Seed", f"initial weights are those of seed {recipe.seed}{given}"
    if repeats is None:
        return unknown(name, asked)
    words = "made again: the same" if repeats else "made again: different"
    return Line(name, asked, words, bool(repeats))


def _initial(evidence: Evidence) -> list[Line]:
    """Whether the network had the loaded tensors before the first step, after the range test."""
    if not evidence.recipe.init_from:
        return []
    record, found = evidence.environment.initial_weights, evidence.measured.initial_weights_sha256
    name = "Weights to start from"
    if record is None or found is None:
        return [unknown(name, f"those of {printable(evidence.recipe.init_from)}")]
    asked = f"{counted(len(record.loaded), 'tensor')}, SHA-256 {record.sha256[:8]}…"
    passed = found == record.sha256 and len(record.loaded) > 0
    words = "the same before the first step" if passed else "different before the first step"
    return [Line(name, asked, words, passed)]


def _frozen(evidence: Evidence) -> list[Line]:
    """Whether the parameters and statistics of frozen stages are those before the first step."""
    stages, found = evidence.recipe.freeze, evidence.measured.frozen
    if not stages:
        return []
    name, asked = "Frozen stages", f"{stages}: as before the first step, to the bit"
    if found is None:
        return [unknown(name, asked)]
    passed = found.before == found.after and found.tensors > 0
    words = "the same" if passed else "different"
    return [Line(name, asked, f"{counted(found.tensors, 'tensor')}: {words}", passed)]


def _processes(evidence: Evidence) -> list[Line]:
    """Whether the processes that trained together ended with the same weights."""
    result, hashes = evidence.result, evidence.measured.weights_of_processes
    count = (result and result.processes) or 1
    if count == 1:
        return []
    name = "Processes"
    asked = f"the same weights in {'both' if count == 2 else f'all {count:,}'}, to the bit"
    if hashes is None:
        return [unknown(name, asked)]
    kinds = len(set(hashes))
    words = f"{counted(len(hashes), 'process', 'processes')}: "
    words += "the same" if kinds == 1 else f"{kinds:,} different"
    return [Line(name, asked, words, kinds == 1 and len(hashes) == count)]


def _saved(evidence: Evidence) -> Line:
    """Compare the newest checkpoint with the hash in the result."""
    name, asked = "Weights on disk", "those that were tested"
    if evidence.result is None:
        return unknown(name, asked)
    wanted = evidence.result.weights_sha256
    try:
        newest = evidence.run.newest_weights()
    except ForeignEntry:
        raise
    except InputError:
        return Line(name, asked, "every checkpoint is damaged", False)
    if newest is None:
        return Line(name, asked, "no checkpoint was saved", False)
    step, found = newest
    words = f"step {step:,}, SHA-256 {wanted[:8]}…" if found == wanted else "different"
    return Line(name, asked, words, found == wanted)


def _duplicates(evidence: Evidence) -> list[Line]:
    found = evidence.measured.duplicates
    if not found:
        return [unknown("Test images in train", "none, pixel by pixel")]
    return [_in_train(split, repeats) for split, repeats in found.items()]


def _in_train(split: str, repeats: Duplicates) -> Line:
    name = {"train_test": "Test images in train", "train_val": "Validation images in train"}
    count, unlike = repeats.images, repeats.conflicting_labels
    words = f"{count:,} of {repeats.of:,}"
    if unlike:
        words += f", {unlike:,} of them under another class"
    for first in repeats.examples[:1]:
        words += f"; for example {first.second} is {first.first}"
    return Line(name.get(split, split), "none, pixel by pixel", words, count == 0)
