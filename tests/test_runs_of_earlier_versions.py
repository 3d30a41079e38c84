"""Runs that version 0.1.0 left are still read: `tests/data` says how they were made."""

import json
import shutil
from pathlib import Path

import pytest

from onecycle import compare, evaluate_run
from onecycle.audit import audit
from onecycle.cli import main
from onecycle.inference.network import load_network
from onecycle.run_dir import RunDir
from onecycle.run_dir.checking import from_json
from onecycle.run_dir.records import Difference, Environment, Kernels, RangeTest

LEFT = Path(__file__).parent / "data" / "runs-of-0.1.0"
PLOTS = "lr_range_test one_cycle augmented_samples curves confusion misclassified".split()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Both, in a folder that may be written to."""
    return Path(shutil.copytree(LEFT, tmp_path / "runs"))


def result_of(run: Path) -> dict:
    return json.loads((run / "result.json").read_text())


def test_report_draws_all_of_a_finished_one(runs, capsys):
    assert main(["report", str(runs / "finished"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["drawn"] == PLOTS
    lines = [line for section in answer["audit"].values() for line in section]
    assert {line["passed"] for line in lines} == {True}
    assert len(lines) > 15
    assert any(line["asked"].endswith(": no annihilation phase") for line in lines)
    page = (runs / "finished" / "report.html").read_text()
    assert f"{100 * result_of(runs / 'finished')['test_accuracy']:.2f} %" in page


def test_report_shows_what_there_is_of_an_unfinished_one(runs, capsys):
    assert main(["report", str(runs / "unfinished"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    found = {line["found"] for section in answer["audit"].values() for line in section}
    assert "not measured yet" in found
    assert "1 of 3 epochs" in (runs / "unfinished" / "report.html").read_text()


def test_compare_takes_the_finished_one_and_names_the_other(runs):
    found = compare(runs)
    (run,) = found.runs
    assert run.result.test_accuracy == result_of(runs / "finished")["test_accuracy"]
    assert run.found == {"lr_min": "auto", "lr_max": "auto"}
    (left_out,) = found.left_out
    assert "it has not finished (1 of 3 epochs)" in left_out.reason


def test_evaluate_measures_both(runs):
    """The weights and the images are the same; only the order of sums may differ on another CPU."""
    finished, result = evaluate_run(runs / "finished", threads=1), result_of(runs / "finished")
    assert finished["test_loss"] == pytest.approx(result["test_loss"], rel=1e-3)
    assert finished["data_fingerprint"] == result["data_fingerprint"]
    (row,) = map(json.loads, (runs / "unfinished" / "metrics.jsonl").read_text().splitlines())
    loss = evaluate_run(runs / "unfinished", threads=1)["test_loss"]
    assert loss == pytest.approx(row["test_loss"], rel=1e-3)


def test_resume_goes_on_with_the_unfinished_one(runs, capsys):
    line = ["resume", str(runs / "unfinished"), "--quiet", "--no-report"]
    assert main(line) == 2  # the machine is another
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "cpu was a CPU and is now" in told
    assert main([*line, "--allow-differences"]) == 0
    result = result_of(runs / "unfinished")
    assert result["steps"] == 15
    assert "cpu" in {difference["what"] for difference in result["allowed_differences"]}


def test_the_network_needs_no_data(runs):
    network = load_network(RunDir.open(runs / "finished"))
    assert network.about.resize == "crop"  # of the recipe: it was not in network.json
    assert network.step == 10
    assert sum(p.numel() for p in network.model.parameters()) == 26_350


# ------------------------------------------------------------- what was said in words at that time


@pytest.mark.parametrize(
    ("text", "implementation", "reason"),
    [
        ("compiled", "compiled", None),
        ("compiled, convolutions too", "compiled with convolutions", None),
        ("pytorch (cuda)", "pytorch", "cuda"),
        ("pytorch (no compiler (gcc, cc))", "pytorch", "no compiler (gcc, cc)"),
    ],
)
def test_kernels_were_a_text(text, implementation, reason):
    read = from_json({"kernels": text}, Environment).kernels
    assert (read.implementation, read.reason) == (implementation, reason)
    change = from_json({"what": "kernels", "was": text, "now": "compiled"}, Difference)
    assert str(change.was) == str(read)
    assert change.now == Kernels(implementation="compiled")


def test_how_a_rate_was_found_was_said_in_words(runs):
    """Before `by` there was `why` alone; the audit checks the same lines by it."""
    run = RunDir.open(runs / "finished")
    before = audit(run)["Range test"]
    known = run.read_json("lr_range_test.json") or {}
    assert known["by"] == {"lr_min": "lr_min", "lr_max": "recommended"}
    del known["by"]
    assert from_json(known, RangeTest).by == {"lr_min": "lr_min", "lr_max": "recommended"}
    run.write_json("lr_range_test.json", known)
    assert audit(run)["Range test"] == before
