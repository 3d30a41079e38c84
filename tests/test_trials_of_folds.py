"""`onecycle trials --folds`: a training for each fold, one figure for all images."""

import io
import json
import re
import shlex
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from small_folders import paint

from onecycle.cli import main
from onecycle.config import override
from onecycle.errors import InputError
from onecycle.experiments import join_folds
from onecycle.recipes import RECIPES
from onecycle.run_dir import RunDir
from onecycle.statistics import wilson
from onecycle.trials import results
from onecycle.trials.folds import across_folds, cross_validated

TINY = (
    "--epochs 1 --image-size 16 --width 0.0625 --batch-size 8 --crop-padding 2 --cutout 0 "
    "--precision fp32 --lr-max 0.05 --lr-min 0.005 --threads 1 --jobs 1 --quiet --json"
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """20 images in two classes, without a test split."""
    path = tmp_path_factory.mktemp("trials-of-folds") / "photos"
    for number, label in enumerate(("ant", "bee")):
        for index in range(10):
            paint(path / label / f"{index}.png", 100 * number + index)
    return path


@pytest.fixture(scope="module")
def done(photos, tmp_path_factory):
    """The answer of a cross-validation of two settings in two folds, and its folder."""
    into = tmp_path_factory.mktemp("folds-into") / "trials"
    line = f"trials demo dropout=0,0.25 --data {photos} --folds 2 {TINY} --into {into}"
    return ask(line), into


def ask(line):
    with redirect_stdout(io.StringIO()) as out:
        assert main(shlex.split(line)) == 0
    return json.loads(out.getvalue())


def test_every_fold_is_a_trial_of_one_seed(done):
    found, into = done
    names = [f"dropout={d},fold={f},seed=0" for d in ("0", "0.25") for f in (0, 1)]
    assert [trial["name"] for trial in found["trials"]] == names
    assert all((into / name / "result.json").is_file() for name in names)
    assert found["comparison"] is None
    assert found["reports"]["trials"] == []


def test_the_figure_counts_each_image_once(done):
    found, into = done
    assert len(found["cross_validations"]) == 2
    for row in found["cross_validations"]:
        value = f"{row['settings']['dropout']:g}"
        runs = [into / f"dropout={value},fold={fold},seed=0" for fold in (0, 1)]
        rights = [json.loads((run / "result.json").read_text())["test_accuracy"] for run in runs]
        assert row["accuracy"] == pytest.approx(np.mean(rights))  # both folds have ten images
        assert row["by_fold"] == pytest.approx(rights)
        low, high = wilson(round(20 * row["accuracy"]), 20)
        assert (row["low"], row["high"], row["images"]) == (low, high, 20)
        with np.load(into / f"predictions-dropout={value},seed=0.npz") as arrays:
            assert arrays["names"].tolist() == join_folds(runs).names_N.tolist()
            right_N = arrays["logits"].argmax(axis=1) == arrays["labels"]
        assert right_N.mean() == pytest.approx(row["accuracy"])
    accuracies = [row["accuracy"] for row in found["cross_validations"]]
    assert accuracies == sorted(accuracies, reverse=True)


def test_the_screen_has_a_row_for_each_and_going_on_changes_nothing(done, capsys):
    found, into = done
    assert main(["trials", "--into", str(into), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "cross-validation" in out
    assert "dropout=0.25 " in out
    assert str(into) in out.replace("\n", "")
    again = ask(f"trials --into {into} --quiet --json")
    assert again["cross_validations"] == found["cross_validations"]


def test_folds_are_added_unless_some_are_chosen():
    plain = RECIPES["demo"].recipe
    folded = override(plain, folds=3)
    assert across_folds(plain, {"cutout": (0,)}) == (plain, {"cutout": (0,)})
    every = {"cutout": (0,), "fold": (0, 1, 2)}
    assert across_folds(folded, {"cutout": (0,)}) == (folded, every)
    assert across_folds(folded, {"fold": (1,)}) == (folded, {"fold": (1,)})
    assert across_folds(override(folded, fold=2), {}) == (folded, {"fold": (2,)})
    assert across_folds(folded, {}, chosen=True) == (folded, {"fold": (0,)})
    with pytest.raises(InputError, match="folds: can't vary"):
        across_folds(folded, {"folds": (2, 3)})


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_a_chosen_fold_is_the_only_one(fold):
    for words in (f"--fold {fold}", f"fold={fold}"):
        found = ask(f"trials demo --folds 3 {words} --print-config --json")
        assert found["trials"] == [f"fold={fold},seed=0"]
    assert len(ask("trials demo --folds 3 --print-config --json")["trials"]) == 3


def test_the_others_can_be_added_to_a_chosen_fold(photos, tmp_path, capsys):
    into = tmp_path / "trials"
    line = f"trials demo --data {photos} --folds 2 {TINY} --into {into}"
    assert ask(f"{line} --fold 1")["cross_validations"] == []
    assert main(["report", str(into)]) == 2
    told = "no complete cross-validation: of 2 folds it lacks 0; give the command that began it"
    assert told in capsys.readouterr().err
    found = ask(line)
    assert [trial["name"] for trial in found["trials"]] == ["fold=0,seed=0", "fold=1,seed=0"]
    assert len(found["cross_validations"]) == 1
    assert found["cross_validations"][0]["images"] == 20


def test_no_fold_is_ever_the_best():
    assert results.chosen([], "auto", crossed=True).names == ()


# ------------------------------------------------------------------------- the pages on mistakes


def test_each_combination_has_a_page_on_its_mistakes(done):
    """The page lists the images that predictions.npz says are wrong, and no other."""
    found, into = done
    assert len(list(into.glob("*.html"))) == 2
    for row in found["cross_validations"]:
        value = f"{row['settings']['dropout']:g}"
        assert row["report"] == str(into / f"report-dropout={value},seed=0.html")
        text = Path(row["report"]).read_text(encoding="utf-8")
        assert f"<code>dropout={value}</code>" in text
        with np.load(row["predictions"]) as arrays:
            wrong_N = arrays["logits"].argmax(axis=1) != arrays["labels"]
            wrong, folds = arrays["names"][wrong_N], arrays["folds"][wrong_N]
        listed = re.findall(r'<span class="name">(.+?)<br>fold (\d), loss', text)
        expected = sorted(zip(wrong.tolist(), map(str, folds.tolist()), strict=True))
        assert sorted(listed[: len(expected)]) == expected
        assert "no picture" not in text


def test_report_draws_the_pages_again_from_the_folder_alone(done, photos, capsys):
    found, into = done
    pages = sorted(into.glob("*.html"))
    before = [page.read_bytes() for page in pages]
    for page in pages:
        page.unlink()
    photos.rename(photos.with_name("moved"))
    again = ask(f"report {into} --json")
    photos.with_name("moved").rename(photos)
    assert again["cross_validations"] == found["cross_validations"]
    assert [page.read_bytes() for page in pages] == before
    assert main(["report", str(into)]) == 0
    assert sorted(capsys.readouterr().out.split()) == list(map(str, pages))


def test_reports_none_draws_none_and_last_only_the_last_seed(done, tmp_path):
    _, into = done
    none = ask(f"trials --into {into} --reports none --quiet --json")
    assert [row["report"] for row in none["cross_validations"]] == [None, None]
    trials = [  # those of the other dropout stand for a second seed
        results.TrialResult(run.name, {"fold": fold}, seed, run, RunDir(run).result())
        for seed, value in ((0, "0"), (1, "0.25"))
        for fold in (0, 1)
        for run in [into / f"dropout={value},fold={fold},seed=0"]
    ]
    last = cross_validated(tmp_path, trials, 2, "last")
    assert sorted((row.seed, row.report is None) for row in last) == [(0, True), (1, False)]
    assert [path.name for path in tmp_path.glob("*.html")] == ["report-seed=1.html"]


def test_report_refuses_trials_without_a_whole_cross_validation(done, tmp_path, capsys):
    _, into = done
    begun = tmp_path / "begun"
    shutil.copytree(into, begun)
    for value in ("0", "0.25"):
        (begun / f"dropout={value},fold=1,seed=0" / "result.json").unlink()
    assert main(["report", str(begun)]) == 2
    told = capsys.readouterr().err
    assert "has no complete cross-validation (2 of 4 trainings finished); go on with: " in told
    plain = json.loads((begun / "trials.json").read_text())
    del plain["grid"]["fold"]
    (begun / "trials.json").write_text(json.dumps(plain))
    assert main(["report", str(begun)]) == 2
    assert "is a folder of trials; name one of its runs" in capsys.readouterr().err


def test_a_strangers_folder_runs_no_code_and_nothing_is_written_through_a_link(done, tmp_path):
    _, into = done
    strange, kept = tmp_path / "strange", tmp_path / "kept.txt"
    shutil.copytree(into, strange)
    kept.write_text("mine")
    code = tmp_path / "code.py"
    code.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef net(**_): ...\n")
    manifest = json.loads((strange / "trials.json").read_text())
    manifest["network"] = f"{code}:net"
    manifest["recipe"]["model"] = f"{code}:net"
    (strange / "trials.json").write_text(json.dumps(manifest))
    written = [*strange.glob("*.html"), *strange.glob("*.npz")]
    assert len(written) == 4
    for path in written:
        path.unlink()
        path.symlink_to(kept)
    ask(f"report {strange} --json")
    assert kept.read_text() == "mine"
    assert not any(path.is_symlink() for path in written)
    assert not (tmp_path / "ran").exists()
