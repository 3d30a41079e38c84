"""The walk of examples/own_photos.md: its commands run as they stand, on fewer photos."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from browsing import MUST_RUN
from test_readme import ROOT, sh

EXAMPLES = ROOT / "examples"
WALK = (EXAMPLES / "own_photos.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for text in re.findall(r"^```sh\n(.*?)^```$", WALK, flags=re.MULTILINE | re.DOTALL)
    for line in text.splitlines()
]
REDUCED = {  # seconds in place of minutes
    "draw_photos.py": "draw_photos.py 100 4",
    "--image-size 64": "--image-size 48",
}
CLASSES = ("ball", "book", "mug")


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_the_walk(tmp_path: Path) -> None:
    assert WALK.count("\n```") == 2 * WALK.count("```sh\n")
    shutil.copytree(EXAMPLES, tmp_path, dirs_exist_ok=True)
    said = {}
    for command in COMMANDS:
        line = command
        for given, smaller in REDUCED.items():
            line = line.replace(given, smaller)
        run = next(tmp_path.glob("runs/*"), Path("none"))
        line = re.sub(r"\bRUN\b", str(run), line)
        try:
            said[command] = sh(line, tmp_path)
        except AssertionError as failed:
            if MUST_RUN or "npm" not in str(failed):
                raise
            pytest.skip("the page needs npm and its registry")
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = sum(Path(row["path"]).name.startswith(row["predicted"]) for row in rows)
    assert len(rows) == 12
    assert right >= 8, f"only {right} of 12 are right"
    copies = {path.name: path.parent.name for path in (tmp_path / "sorted").glob("*/*.jpg")}
    assert copies == {Path(row["path"]).name: row["predicted"] for row in rows}
    assert len(list((tmp_path / "explained" / "new").glob("*.png"))) == 12
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("data.png", "sheet.png"))
    check = json.loads((run / "export" / "model.check.json").read_text(encoding="utf-8"))
    assert check
    assert all(name in (tmp_path / "page.html").read_text(encoding="utf-8") for name in CLASSES)
