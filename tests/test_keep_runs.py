"""What benchmarks/keep_runs.py keeps of runs: enough to compare them and to go on with trials."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from simulated_runs import write_run

import onecycle
from benchmarks.keep_runs import DROPPED_BITS, MOST_BYTES, keep, rounded
from onecycle.config import override
from onecycle.errors import InputError
from onecycle.experiments import compare
from onecycle.progress import SILENT
from onecycle.recipes import RECIPES

KEPT = Path(__file__).parents[1] / "benchmarks" / "runs"
TINY = override(
    RECIPES["demo"].recipe, epochs=2, train_limit=64, test_limit=40, image_size=16, width=0.0625,
    batch_size=32, crop_padding=2, cutout=0, precision="fp32", lr_max=0.05, lr_min=0.005,
)  # fmt: skip


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 20), st.integers(1, 5)),
        elements=st.floats(-1e4, 1e4, width=32),
    )
)
def test_rounded_logits_are_close_and_predict_the_same(logits_NK: np.ndarray) -> None:
    found_NK = rounded(logits_NK)
    assert np.array_equal(found_NK.argmax(axis=1), logits_NK.argmax(axis=1))
    step = 2.0 ** (DROPPED_BITS - 23)
    np.testing.assert_allclose(found_NK, logits_NK, rtol=step / 2, atol=1e-30)


@pytest.mark.faults  # slow: four processes, one after the other
def test_kept_runs_compare_as_before_and_their_trials_go_on(tmp_path: Path) -> None:
    folder, kept = tmp_path / "trials", tmp_path / "kept"

    def trained(place: Path, seeds: int) -> onecycle.trials.Trials:
        return onecycle.trials.run(
            TINY, {"cutout": [4]}, seeds=seeds, one_at_a_time=True, into=place, jobs=1, threads=1,
            reports="none", progress=SILENT,
        )  # fmt: skip

    trained(folder, 1)
    assert len(list(keep(folder, kept))) == 2
    columns = ["n", "train", "test", "interval", "gap", "loss", "peak", "best"]
    tables = [compare(place, columns=columns).to_markdown() for place in (folder, kept)]
    assert tables[0] == tables[1]
    errors = [[run.test.calibration_error for run in compare(p).runs] for p in (folder, kept)]
    assert errors[0] == pytest.approx(errors[1], abs=3e-3)
    files = {path.name for path in kept.rglob("*") if path.is_file()}
    assert files == {
        "recipe.toml", "environment.json", "network.json", "metrics.jsonl", "audit.json",
        "result.json", "predictions.npz", "trials.json",
    }  # fmt: skip
    assert str(tmp_path) not in "".join(p.read_text() for p in kept.rglob("*.json"))
    finished = {p.parent: p.read_bytes() for p in kept.rglob("result.json")}
    more = trained(kept, 2)
    assert not more.failed
    assert len(more.trials) == 4
    assert all((place / "result.json").read_bytes() == was for place, was in finished.items())


def test_a_single_run_gets_a_folder_of_its_own_and_nothing_else_is_touched(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    for seed in (0, 1):
        write_run(tmp_path / f"runs/seed={seed}", np.arange(20) > 3, seed=seed)
    list(keep(tmp_path / "runs", kept))
    write_run(tmp_path / "other", np.arange(20) > 5, cutout=4)
    assert list(keep(tmp_path / "other", kept)) == [kept / "other"]
    assert {path.name for path in kept.iterdir()} == {"seed=0", "seed=1", "other"}
    before = {path: path.stat().st_mtime_ns for path in kept.rglob("*")}
    list(keep(tmp_path / "runs", kept))
    assert before == {path: path.stat().st_mtime_ns for path in kept.rglob("*")}


@pytest.mark.parametrize("into", ["runs", "runs/seed=0", "."])
def test_folders_in_each_other_are_refused(into: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs/seed=0", np.arange(20) > 3, data="/tmp/photos")
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="are in each other"):
        list(keep(tmp_path / "runs", tmp_path / into))
    assert files == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_what_is_no_run_is_not_replaced(tmp_path: Path) -> None:
    write_run(tmp_path / "runs/seed=0", np.arange(20) > 3)
    treasure = tmp_path / "kept/seed=0/treasure"
    treasure.parent.mkdir(parents=True)
    treasure.write_text("gold")
    with pytest.raises(InputError, match="is not a run; remove it"):
        list(keep(tmp_path / "runs", tmp_path / "kept"))
    away = tmp_path / "linked"
    away.mkdir()
    (away / "seed=0").symlink_to(write_run(tmp_path / "elsewhere", np.arange(20) > 9))
    with pytest.raises(InputError, match="is not a run; remove it"):
        list(keep(tmp_path / "runs", away))
    assert treasure.read_text() == "gold"


def test_a_damaged_run_does_not_replace_a_good_copy(tmp_path: Path) -> None:
    run, kept = write_run(tmp_path / "runs/seed=0", np.arange(20) > 3), tmp_path / "kept"
    list(keep(tmp_path / "runs", kept))
    good = {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()}
    (run / "predictions.npz").write_bytes(b"no")
    assert list(keep(tmp_path / "runs", kept)) == []
    assert good == {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()}


def test_no_file_of_a_copy_names_a_folder_of_the_machine(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "runs/seed=0", np.arange(20) > 3, data="/tmp/secret/photos",
        init_from="/home/me/secret/w.safetensors",
    )  # fmt: skip
    found = json.loads((run / "environment.json").read_text())
    found["command"] = ["onecycle", "train", "--data=/home/me/secret/x", "/root/secret/y"]
    (run / "environment.json").write_text(json.dumps(found))
    list(keep(tmp_path / "runs", tmp_path / "kept"))
    texts = [path.read_text() for path in (tmp_path / "kept").rglob("*.[tj]*")]
    assert len(texts) >= 4
    assert not [text for text in texts if "secret" in text]
    assert '"--data=x","y"' in "".join(texts)


def test_the_kept_runs_are_small_and_name_no_folder_of_a_machine() -> None:
    files = [path for path in KEPT.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    assert not [path for path in files if path.suffix in (".safetensors", ".pt", ".pth", ".png")]
    for path in files:
        if path.suffix != ".npz":
            assert not re.search(r"/(home|root|tmp|work|mnt)/", path.read_text("utf-8")), path
