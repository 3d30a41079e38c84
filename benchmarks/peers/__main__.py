"""Other trainers against onecycle: same network, images, batch, transforms and optimizer.

    make bench                                         this and the other benchmarks, into a file
    .venv-bench/bin/python -m benchmarks.peers         the table alone: about 11 minutes on 2 cores
    … --width 0.125 --batch-size 32                    quicker, to try it
    … --set micro_batch=128                            onecycle alone with another recipe field
    … --search                                         find each peer's best setting anew: an hour

Prints Markdown; progress goes to standard error. Exit code 1: a network did not learn.
"""

import argparse
import signal
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.peers import catalogue, referee, search, table, work
from benchmarks.peers.catalogue import CONTENDERS, OURS
from onecycle.config import Recipe, override
from onecycle.data import load_splits
from onecycle.errors import InputError


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no contender is left over
    options = parse()
    try:
        carry_out(options)
    except InputError as error:
        tell(f"error: {error}")
        sys.exit(2)
    except referee.ContenderError as error:
        sys.exit(f"error: {error}")


def carry_out(options: argparse.Namespace) -> None:
    """Search or measure, and print."""
    with tempfile.TemporaryDirectory() as folder:
        task = prepared(options, Path(folder))
        if options.search:
            for name in options.contenders:
                find_best(name, task, options)
            return
        rows, absent = measure(task, options)
    print(report(rows, absent, task, options))
    if table.doubts(rows):
        sys.exit(1)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--contenders", type=names, default=usual(), help="by comma")
    parser.add_argument("--search", action="store_true", help="find the best settings instead")
    parser.add_argument("--turns", type=positive, default=3, help="turns of each that count")
    parser.add_argument("--steps", type=positive, default=2, help="steps of a turn")
    parser.add_argument("--batch-size", type=positive, default=512)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--data", default="shapes", help="as onecycle train takes it")
    parser.add_argument("--train-limit", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda if there is one")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    return parser.parse_args()


def positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: give 1 or more")
    return int(text)


def usual() -> list[str]:
    return [name for name, contender in CONTENDERS.items() if not contender.slow]


def names(text: str) -> list[str]:
    unknown = set(text.split(",")) - set(CONTENDERS)
    if unknown:
        known = ", ".join(CONTENDERS)
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: unknown; there are {known}")
    return text.split(",")


def overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """Recipe fields from `field=value`, where a value is TOML, or else text."""
    fields = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"--set {pair}: give a field and its value: --set micro_batch=128")
        try:
            fields[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            fields[name] = value
    return fields


def prepared(options: argparse.Namespace, folder: Path) -> work.Work:
    """The work, its images laid out in `folder`."""
    ours = overrides(options.set)
    override(Recipe(), **ours)  # a wrong field is told before anything starts
    train = load_splits(options.data, train_limit=options.train_limit).train
    mean, std = train.channel_statistics()
    pixels = train.images_NHWC[:]
    work.save(folder, work.Images(pixels, train.labels_N, mean, std, len(train.classes)))
    return work.Work(
        folder=str(folder),
        data=options.data,
        train_limit=options.train_limit,
        batch_size=options.batch_size,
        width=options.width,
        device=options.device or present_device(),
        overrides=ours,
    )


def present_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def entries(options: argparse.Namespace, device: str) -> Iterable[tuple[str, str, work.Setting]]:
    """Name, kind and setting of each row: the default and the best, where there is a choice."""
    best = catalogue.best_settings(device)
    for name in options.contenders:
        default = CONTENDERS[name].default
        if name not in best:
            yield name, "", default
        elif best[name] == default:
            yield name, "default, best", default
        else:
            yield name, "default", default
            yield name, "best", best[name]


def measure(task: work.Work, options: argparse.Namespace) -> tuple[list[table.Row], dict[str, str]]:
    """The rows, and why contenders are missing, by name."""
    rows, absent = [], {}
    running: dict[str, referee.Contestant] = {}
    kinds: dict[str, tuple[str, str, work.Setting]] = {}
    with referee.all_ended(running):
        for name, kind, setting in entries(options, task.device):
            key = f"{name} {kind}".strip()
            try:
                running[key] = warmed_up(CONTENDERS[name], setting, task)
            except referee.ContenderError as error:
                absent[key] = str(error)
                tell(f"{key}: left out: {error}")
                continue
            kinds[key] = (name, kind, setting)
            tell(f"{key}: started in {running[key].startup_seconds:.0f} s")
        done = list(referee.rounds(running, turns=options.turns, steps=options.steps, tell=tell))
        for key, one in running.items():
            turns = [each[key] for each in done]
            rows.append(table.Row(*kinds[key], one.startup_seconds, one.first, turns))
    return rows, absent


def warmed_up(
    contender: catalogue.Contender, setting: work.Setting, task: work.Work
) -> referee.Contestant:
    """A contestant that has made its first step, and one more unless that takes long.

    Raises:
        ContenderError: it can't run here.
    """
    contestant = referee.start(contender, setting, task)
    try:
        if contestant.first.seconds < referee.LONG_TURN:
            contestant.turn(1)
    except BaseException:
        contestant.__exit__(None, None, None)
        raise
    return contestant


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def find_best(name: str, task: work.Work, options: argparse.Namespace) -> None:
    """Search, and keep what was found in the file beside the catalogue."""
    if not CONTENDERS[name].start:
        return
    try:
        found = search.search(
            CONTENDERS[name],
            task,
            turns=options.turns,
            steps=options.steps,
            tell=lambda text: tell(f"{name}: {text}"),
        )
    except referee.ContenderError as error:
        tell(f"{name}: left out: {error}")
    else:
        catalogue.write_found(task.device, name, found)


def report(
    rows: list[table.Row], absent: dict[str, str], task: work.Work, options: argparse.Namespace
) -> str:
    """The Markdown that is printed."""
    parts = [
        heading(task, options),
        table.markdown(rows),
        summary(rows),
        *(f"Left out: {key}: {reason}." for key, reason in absent.items()),
        *(f"**Doubtful**: {doubt}." for doubt in table.doubts(rows)),
        versions(rows),
        tried(task.device),
    ]
    return "\n\n".join(part for part in parts if part)


def heading(task: work.Work, options: argparse.Namespace) -> str:
    """What was measured."""
    set_too = f" onecycle with {task.overrides}." if task.overrides else ""
    return (
        f"Width {task.width:g}, batch {task.batch_size}, {task.device}, data `{task.data}`. Each "
        f"had a turn of {options.steps} steps (fewer where these take more than "
        f"{referee.LONG_TURN:g} s) in each of {options.turns} rounds; median, and in brackets "
        f"lowest and highest.{set_too}"
    )


def summary(rows: list[table.Row]) -> str:
    """onecycle against the fastest peer, in a sentence."""
    ours = next((row for row in rows if row.name == OURS), None)
    peer = table.best_peer(rows)
    if not ours or not peer:
        return ""
    ratio = table.spread(table.ratios(ours, peer), 2)
    label = CONTENDERS[peer.name].label
    return (
        f"The fastest peer is {label} ({peer.setting.text()}): onecycle is {ratio} times as fast."
    )


def versions(rows: list[table.Row]) -> str:
    """What the contenders said of themselves."""
    said = {f"{name} {value}" for row in rows for name, value in row.first.about.items()}
    return f"Contenders' own words: {', '.join(sorted(said))}."


def tried(device: str) -> str:
    """What the searches tried."""
    found = catalogue.read_found(device)
    labels = {name: each.label for name, each in CONTENDERS.items()}
    without = [labels[name] for name in catalogue.best_settings(device) if name not in found]
    parts = []
    if found:
        days = sorted({entry["date"] for entry in found.values()})
        head = f"How the best settings were found ({', '.join(days)}, by `--search`):"
        parts += [head, search.markdown(found, labels)]
    if without:
        parts.append(
            f"Not searched for on this kind of device: {', '.join(without)}. Taken instead: what "
            "was found for another trainer of the same parts, else the start of a search."
        )
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
