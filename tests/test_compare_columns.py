"""`compare --baseline` and `--columns`, on the screen, in documents and as JSON."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import ask
from scipy import stats
from simulated_runs import CLASSES, write_run

import onecycle
from onecycle.errors import InputError
from onecycle.experiments import compare, rewrite
from onecycle.experiments.columns import COLUMNS
from onecycle.experiments.marked import END, Marking
from onecycle.run_dir import RunDir

COUNT = 200
index_N = np.arange(COUNT)
WAYS: dict[str, dict[str, Any]] = {
    "demo": {},
    "cutout 16": {"cutout": 16},
    "dropout 0.5": {"dropout": 0.5},
    "l1 1e-05": {"l1": 1e-5},
}


@pytest.fixture(autouse=True)
def study(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Four recipes of three seeds each; each further one is wrong about more images."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    for place, changes in enumerate(WAYS.values()):
        for seed in range(3):
            wrong, peak = 20 + 2 * place + (seed * (place + 1)) % 5, 0.1 + seed / 100
            figures = {"train_accuracy": 0.95, "test_loss": 0.25, "lr_max": peak}
            write_run(
                tmp_path / f"runs/{place}-{seed}", index_N >= wrong, figures=figures,
                found={"lr_max": "auto"}, seed=seed, **changes,
            )  # fmt: skip


def test_with_a_baseline_each_other_recipe_is_compared_with_it_alone() -> None:
    found = compare("runs", baseline="cutout 16")
    assert found.baseline == "cutout 16"
    assert [pair.second_name for pair in found.pairs] == ["demo", "dropout 0.5", "l1 1e-05"]
    values = {group.name: group.values("test_accuracy") for group in found.groups}
    p_values = []
    for pair in found.pairs:
        assert pair.first_name == "cutout 16"
        ours, base = values[pair.second_name], values["cutout 16"]
        assert pair.difference == pytest.approx(np.mean(ours) - np.mean(base))
        p_values.append(float(stats.ttest_ind(ours, base, equal_var=False).pvalue))
    assert [pair.p for pair in found.pairs] == pytest.approx(p_values)
    highest = 0.0
    for rank, place in enumerate(np.argsort(p_values)):  # Holm's method, step by step
        highest = max(highest, min(1.0, (3 - rank) * p_values[place]))
        assert found.pairs[place].p_holm == pytest.approx(highest)
    assert "corrected by Holm's method for 3 comparisons" in " ".join(found.notes)


def test_a_baseline_may_be_a_run_of_it(tmp_path: Path) -> None:
    by_name = compare("runs", baseline="cutout 16").to_json()
    assert compare("runs", baseline="runs/1-2").to_json() == by_name
    assert compare("runs", baseline=tmp_path / "runs" / "1-0").to_json() == by_name
    assert by_name["baseline"] == "cutout 16"
    Path("docs").mkdir()
    file = Path("docs/a.md")
    file.write_text(f"<!-- onecycle compare: x -->\n{END}\n")
    assert ask("compare runs --baseline runs/1-1 --update docs/a.md").code == 0
    text = file.read_text(encoding="utf-8")
    assert text.startswith("<!-- onecycle compare: baseline=../runs/1-1 ../runs -->\n")
    assert compare("runs", baseline="cutout 16").to_markdown() in text
    assert ask("compare --update docs/a.md --check").code == 0


def test_a_baseline_may_be_an_older_run_of_a_repeated_seed() -> None:
    write_run(
        Path("runs/repeated"), index_N >= 30, figures={"train_accuracy": 0.9, "test_loss": 0.3},
        found={"lr_max": "auto"}, seed=2, cutout=16,
    )  # fmt: skip
    by_name = compare("runs", baseline="cutout 16").to_json()
    for run in ("runs/1-2", "runs/repeated"):  # one of them does not count
        assert compare("runs", baseline=run).to_json() == by_name


def test_a_baseline_and_columns_are_flags_and_part_of_the_json() -> None:
    told = json.loads(ask("compare runs --baseline demo --json").out)
    assert told["baseline"] == "demo"
    assert [(p["first_name"], p["second_name"]) for p in told["pairs"]] == [
        ("demo", name) for name in list(WAYS)[1:]
    ]
    assert json.loads(ask("compare runs --json").out)["baseline"] is None
    out = ask("compare runs --baseline demo --columns train,test,gap").out
    assert "cutout 16 − demo" in out
    assert "dropout 0.5 − cutout 16" not in out
    assert "images/s" not in out


def test_columns_show_what_the_formulas_give() -> None:
    found = compare("runs", columns=["n", "gap", "loss", "ece", "peak", "test"])
    rows = found.to_markdown().split("\n\n")[1].splitlines()
    assert rows[0] == "|  | n | gap | test loss | ECE % | peak rate | test % |"
    accuracies = [1 - (20 + seed) / COUNT for seed in range(3)]
    confidence = math.e / (math.e + len(CLASSES) - 1)  # of logits 1, 0, 0
    errors = [100 * (accuracy - confidence) for accuracy in accuracies]
    mean, ece = 100 * np.mean(accuracies), np.mean(errors)
    assert rows[2] == (
        f"| demo | 3 | +{95 - mean:.2f} | 0.250 | {ece:.2f} ± {np.std(errors, ddof=1):.2f} "
        f"| 0.1 to 0.12 | {mean:.2f} ± {100 * np.std(accuracies, ddof=1):.2f} |"
    )
    group = found.to_json()["groups"][0]
    assert group["test_loss"] == pytest.approx(0.25)
    assert group["calibration_error"] == pytest.approx(ece / 100)


def test_the_calibration_error_is_that_of_the_report(tmp_path: Path) -> None:
    from onecycle.evaluate import Evaluation
    from onecycle.interpret import expected_calibration_error

    run = RunDir(write_run(tmp_path / "one", index_N >= 20))
    arrays = run.load_arrays("predictions.npz")
    logits_NK = np.random.default_rng(0).uniform(0, 3, arrays["logits"].shape).astype(np.float32)
    logits_NK[np.arange(COUNT), arrays["logits"].argmax(axis=1)] += 3
    run.save_arrays("predictions.npz", **(dict(arrays) | {"logits": logits_NK}))
    (test,) = [each.test for each in compare(tmp_path / "one").runs]
    expected = expected_calibration_error(Evaluation(logits_NK, arrays["labels"]))
    assert test.calibration_error == pytest.approx(expected, rel=1e-9)


def test_a_column_that_not_all_runs_have_shows_a_dash() -> None:
    figures, found = {"val_accuracy": 0.5}, {"lr_max": "auto"}
    write_run(Path("runs/one"), index_N > 9, figures=figures, found=found, cutout=4)
    rows = compare("runs", columns=["val", "tta"]).to_markdown().split("\n\n")[1].splitlines()
    assert rows[2:] == [*(f"| {name} | – | – |" for name in WAYS), "| cutout 4 | 50.00 | – |"]


def test_every_column_is_shown_and_told_of_in_the_help_and_the_docs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    found = compare("runs", columns=list(COLUMNS))
    headings = [column.heading for column in COLUMNS.values()]
    assert found.to_markdown().split("\n\n")[1].splitlines()[0] == f"|  | {' | '.join(headings)} |"
    assert "{" not in found.to_markdown()
    assert f"table: {', '.join(COLUMNS)}." in " ".join(ask("compare --help").out.split())
    page = Path(onecycle.__file__).parents[1] / "docs" / "compare.md"
    assert all(f"| `{name}` |" in page.read_text(encoding="utf-8") for name in COLUMNS)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--baseline cutout", "--baseline: unknown recipe 'cutout'; did you mean 'cutout 16'?"),
        ("--baseline x", "--baseline: unknown recipe 'x'; choose one of cutout 16, demo, "),
        ("--columns trian", "--columns: unknown column 'trian'; did you mean 'train'?"),
        ("--columns n,test,n", "--columns: 'n' is given twice; give it once"),
        ("--columns n,,test", "--columns: unknown column ''; choose one of"),
        ("--columns n --csv", "--columns: has no effect on --csv, which has all figures; leave"),
        ("--columns n --json", "--columns: has no effect on --json"),
        ("--baseline demo --csv", "--baseline: has no effect on --csv"),
        ("--baseline runs", "--baseline: 'runs' has runs of several recipes; name a run, or one"),
        ("--baseline .", "--baseline: '.' has runs of several recipes"),
        ("--baseline other", "--baseline: 'other' has no run that is compared; name a run, or"),
        ("--baseline runs/half", "--baseline: 'runs/half' is left out: it has not finished ("),
        (f"--baseline {'x' * 300}", "--baseline: unknown recipe 'xxx"),
    ],
)
def test_a_mistake_is_one_line(flags: str, told: str) -> None:
    Path("other").mkdir()
    (write_run(Path("runs/half"), index_N > 9) / "result.json").unlink()
    answer = ask(f"compare runs {flags}")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"onecycle: error: {told}")
    assert answer.err.count("\n") == 1


def test_flags_without_runs_belong_into_the_comment() -> None:
    Path("a.md").write_text(f"<!-- onecycle compare: runs -->\n{END}\n")
    for flag, value in (("baseline", "demo"), ("columns", "n")):
        answer = ask(f"compare --update a.md --{flag} {value}")
        assert answer.code == 2
        assert f"--{flag}: with --update it needs RUN... too" in answer.err


def test_a_group_is_called_by_the_recipe_only_if_it_is_as_in_the_recipe(tmp_path: Path) -> None:
    ways = [{"cutout": 16}, {"cutout": 16, "weight_decay": 0.1}, {}]
    for place, changes in enumerate(ways):
        write_run(tmp_path / f"known/{place}", index_N > 9, **changes)
        write_run(tmp_path / f"own/{place}", index_N > 9, recipe="mine", **changes)
    names = [group.name for group in compare("known").groups]
    assert names == ["cutout 16", "weight_decay 0.1, cutout 16", "demo"]
    assert [group.name for group in compare("own").groups] == [
        "mine",
        "weight_decay 0.1",
        "cutout 8",
    ]


def test_settings_are_left_out_of_a_document_only_where_names_tell_them(tmp_path: Path) -> None:
    usual = compare("runs").to_markdown().split("\n\n")[1].splitlines()
    assert usual[0].startswith("|  | dropout | l1 | cutout | n |")
    for place, (cutout, decay) in enumerate([(8, 0.123456), (16, 0.234567), (0, 0.345678)]):
        changes = {"cutout": cutout, "weight_decay": decay, "label_smoothing": decay / 10}
        write_run(tmp_path / f"long/{place}", index_N > 9, **changes)
    lettered = compare("long", columns=["n"]).to_markdown().split("\n\n")[1].splitlines()
    assert lettered[2].startswith("| demo A | 0.1235 |")
    for place, cutout in enumerate((8, 16)):
        write_run(tmp_path / f"named/{place}", index_N > 9, recipe=f"r{place}", cutout=cutout)
    named = compare("named", columns=["n"]).to_markdown().split("\n\n")[1].splitlines()
    assert named[2:] == ["| r0 | 8 | 1 |", "| r1 | 16 | 1 |"]


def test_the_spread_is_always_explained() -> None:
    said = "± is the standard deviation over seeds"
    for columns in (["val"], ["test"], ["train", "gap"], ["ece"], []):
        text = compare("runs", columns=columns).to_markdown()
        assert text.count(said) == (1 if columns != ["val"] else text.count(said))
    assert said not in compare("runs", columns=["n", "loss", "interval"]).to_markdown()
    assert compare("runs", columns="test").columns == ("test",)


def test_a_marked_table_keeps_its_baseline_and_columns() -> None:
    file = Path("a.md")
    file.write_text(
        f"<!-- onecycle compare: baseline='cutout 16' columns=test,ece runs -->\n{END}\n"
    )
    assert ask("compare --update a.md").code == 0
    expected = compare("runs", baseline="cutout 16", columns=["test", "ece"]).to_markdown()
    assert expected in file.read_text(encoding="utf-8")
    assert ask("compare --update a.md --check").code == 0
    assert ask("compare runs --baseline demo --columns n,gap --update a.md").code == 0
    text = file.read_text(encoding="utf-8")
    assert text.startswith("<!-- onecycle compare: baseline=demo columns=n,gap runs -->\n")
    assert compare("runs", baseline="demo", columns=["n", "gap"]).to_markdown() in text
    before, after = rewrite("a.md")
    assert before == after


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("columns=nn", "columns: unknown column 'nn'"),
        ("baseline=dem", "baseline: unknown recipe 'dem'; did you mean 'demo'?"),
        ("baseline=./gone", "baseline: unknown recipe 'gone'"),
        ("baseline=demo baseline=demo", "baseline is given twice; give it once"),
    ],
)
def test_a_mistake_in_a_comment_names_its_line(words: str, told: str) -> None:
    Path("a.md").write_text(f"\n<!-- onecycle compare: {words} runs -->\n{END}\n")
    answer = ask("compare --update a.md")
    assert answer.code == 2
    assert f"a.md: line 2: {told}" in answer.err


def test_an_update_keeps_what_it_is_not_asked_to_change() -> None:
    file = Path("a.md")
    file.write_text(f"<!-- onecycle compare: baseline=demo columns=n,gap gone -->\n{END}\n")
    stale = ask("compare runs --columns n,ece --update a.md --check")
    assert stale.code == 1
    remedy = stale.err.rpartition("update it with: onecycle ")[2]
    assert remedy == "compare runs --columns n,ece --update a.md\n"
    assert ask(remedy).code == 0
    text = file.read_text(encoding="utf-8")
    assert text.startswith("<!-- onecycle compare: baseline=demo columns=n,ece runs -->\n")
    assert compare("runs", baseline="demo", columns=["n", "ece"]).to_markdown() in text
    assert ask("compare --update a.md --check").code == 0


def test_a_name_stays_a_name_beside_a_folder_that_is_called_so() -> None:
    write_run(Path("demo"), index_N > 9, cutout=4)
    file = Path("a.md")
    file.write_text(f"<!-- onecycle compare: x -->\n{END}\n")
    assert ask("compare runs --baseline demo --update a.md").code == 0
    assert "baseline=demo runs" in file.read_text(encoding="utf-8")
    assert ask("compare --update a.md --check").code == 0


def test_with_many_recipes_the_screen_shows_all_differences_from_the_baseline() -> None:
    for place in range(14):
        found, dropout = {"lr_max": "auto"}, (place + 1) / 100
        write_run(Path(f"runs/more-{place}"), index_N > 9, found=found, dropout=dropout)
    answer = ask("compare runs --baseline 'dropout 0.05' --columns n")
    assert answer.code == 0, answer.err
    out = answer.out
    assert out.count("− dropout 0.05") == 17
    assert "other pair" not in out


def test_a_folder_that_looks_like_an_option_is_still_a_folder(tmp_path: Path) -> None:
    write_run(tmp_path / "columns=n/one", index_N > 9)
    Path("a.md").write_text(f"<!-- onecycle compare: x -->\n{END}\n")
    _, after = rewrite("a.md", ["columns=n"], Marking())
    Path("a.md").write_text(after, encoding="utf-8")
    assert "onecycle compare: ./columns=n -->" in after
    assert rewrite("a.md") == (after, after)
    Path("a.md").write_text(f"<!-- onecycle compare: columns=n -->\n{END}\n")
    with pytest.raises(InputError, match="names no runs"):
        rewrite("a.md")


def test_a_comparison_needs_no_pytorch() -> None:
    code = (
        "import sys; from onecycle.cli import main; "
        "assert main(['compare', 'runs', '--columns', 'ece']) == 0; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
