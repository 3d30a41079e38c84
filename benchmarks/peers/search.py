"""The best setting of a contender: one factor after the other, keeping what is faster.

The setting kept so far and the one tried take turns, so that a busy machine slows both.
"""

import statistics
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date
from typing import Any

from benchmarks.peers import referee
from benchmarks.peers.catalogue import Contender
from benchmarks.peers.work import Setting, Work
from onecycle import runtime

MARGIN = 1.01
"""A tried setting is kept if it is this many times as fast, and faster in every single round."""
LOSING = 0.8
"""A tried setting this much slower in its warm-up is given up at once."""

REASON = 80
"""Characters of an error that the table shows."""


def search(
    contender: Contender, work: Work, *, turns: int, steps: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """What is kept of a contender: `best`, and each setting tried with its speed as a ratio.

    Raises:
        ContenderError: the start can't run here.
    """
    assert contender.start
    kept, tried = contender.start, []
    running = {"kept": referee.start(contender, kept, work)}
    with referee.all_ended(running):
        running["kept"].turn(1)
        for factor, value in variants(contender):
            setting = replace(kept, **{factor: value})
            entry = trial(contender, setting, work, running, turns=turns, steps=steps)
            tried.append({"setting": asdict(setting), "against": asdict(kept), **entry})
            tell(f"{setting.text()}: {entry}")
            if entry.get("kept"):
                kept = setting
    return {
        "best": asdict(kept),
        "start": asdict(contender.start),
        "tried": tried,
        "date": str(date.today()),
        "machine": runtime.cpu_model(),
        "batch_size": work.batch_size,
        "width": work.width,
    }


def variants(contender: Contender) -> list[tuple[str, Any]]:
    """Each factor with each value to try."""
    return [(factor, value) for factor, values in contender.tried.items() for value in values]


def trial(
    contender: Contender,
    setting: Setting,
    work: Work,
    running: dict[str, referee.Contestant],
    *,
    turns: int,
    steps: int,
) -> dict[str, Any]:
    """Measure `setting` against `running["kept"]`, and put it in its place if it is faster."""
    try:
        running["tried"] = referee.start(contender, setting, work)
        quick = running["tried"].turn(steps), running["kept"].turn(steps)
        pair = {name: running[name] for name in ("tried", "kept")}
        done = [] if speed_ratio(*quick) < LOSING else list(
            referee.rounds(pair, turns=turns, steps=steps)
        )  # fmt: skip
    except referee.ContenderError as error:
        end(running, "tried")
        return {"failed": str(error)}
    speeds = [speed_ratio(each["tried"], each["kept"]) for each in done] or [speed_ratio(*quick)]
    ratio = statistics.median(speeds)
    faster = ratio > MARGIN and min(speeds) > 1
    reached = [each["tried"].images_per_second for each in done] or [quick[0].images_per_second]
    if faster:
        running["kept"], running["tried"] = running["tried"], running["kept"]
    end(running, "tried")
    spread = [round(min(speeds), 3), round(max(speeds), 3)]
    middle = round(statistics.median(reached), 1)
    return {"ratio": round(ratio, 3), "spread": spread, "speed": middle, "kept": faster}


def speed_ratio(ours: referee.Turn, theirs: referee.Turn) -> float:
    return ours.images_per_second / theirs.images_per_second


def end(running: dict[str, referee.Contestant], name: str) -> None:
    contestant = running.pop(name, None)
    if contestant:
        contestant.__exit__(None, None, None)


def markdown(found: dict[str, Any], labels: dict[str, str]) -> str:
    """A table of all that was tried, a row for each setting."""
    lines = ["| trainer | tried | speed over the best before it | |", "|---|---|---:|---|"]
    for name, entry in found.items():
        start = Setting(**entry["start"]).text()
        lines.append(f"| {labels[name]} | {start} | | start |")
        for each in entry["tried"]:
            text = Setting(**each["setting"]).text()
            lines.append(f"| | {text} | {each.get('ratio', '')} | {verdict(each)} |")
    return "\n".join(lines)


def verdict(entry: dict[str, Any]) -> str:
    """What became of a setting, in a word or the first of the reason."""
    if "failed" in entry:
        return f"failed: {entry['failed'][:REASON]}".replace("|", "/")
    return "kept" if entry["kept"] else ""
