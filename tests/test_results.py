"""The studies behind docs/results.md: what is trained, kept and chosen, and that the page holds."""

import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from simulated_runs import write_run
from small_folders import make_split

from benchmarks import results, what_it_sees
from benchmarks.results import HIGHER, STUDIES, Study, best_two, fetch, norms, page, train
from onecycle.config import override
from onecycle.engine.state import Training
from onecycle.experiments import compare
from onecycle.experiments.marked import END
from onecycle.recipes import RECIPES
from onecycle.run_dir import RunDir
from onecycle.training import prepare
from onecycle.trials import manifest

TINY = override(
    RECIPES["demo"].recipe, epochs=2, image_size=16, width=0.0625, batch_size=4, crop_padding=2,
    cutout=0, precision="fp32", lr_max=0.05, lr_min=0.005,
)  # fmt: skip


@pytest.mark.faults  # slow: processes, one after the other
def test_a_study_goes_on_elsewhere_from_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another machine, with the images elsewhere, after a stop within the second seed."""
    study = Study(lambda _: TINY, 2, results.higher_peak("tiny"))
    monkeypatch.setattr(results, "STUDIES", {"tiny": study})
    images = make_split(tmp_path / "here" / "photos")
    given = SimpleNamespace(
        data=str(images), work=tmp_path / "work", kept=tmp_path / "kept", jobs=1, seeds=1
    )

    def kept() -> dict[str, bytes]:
        return {path.parent.name: path.read_bytes() for path in given.kept.rglob("result.json")}

    train("tiny", given)
    names = {"seed=0", "cutout=16,seed=0", f"lr_max={HIGHER * 0.05:g},seed=0"}
    first = kept()
    assert set(first) == names
    given.seeds = 0
    train("tiny", given)
    second = kept()
    assert set(second) == names | {name.replace("seed=0", "seed=1") for name in names}
    assert first.items() <= second.items()
    assert not list(given.kept.rglob("*.safetensors"))
    shutil.rmtree(given.kept / "tiny" / "cutout=16,seed=1")
    elsewhere = shutil.copytree(images, tmp_path / "there" / "pictures")
    shutil.rmtree(images)
    given.data, given.work = str(elsewhere), tmp_path / "other"
    train("tiny", given)
    third = kept()
    assert set(third) == set(second)
    assert [name for name in third if third[name] != second[name]] == ["cutout=16,seed=1"]
    weights = [json.loads(each["cutout=16,seed=1"])["weights_sha256"] for each in (second, third)]
    assert weights[0] == weights[1]  # the same training again
    train("tiny", given)  # nothing is left
    assert kept() == third


def test_only_what_is_missing_is_fetched(tmp_path: Path) -> None:
    kept, work = tmp_path / "kept", tmp_path / "work"
    for name in ("seed=0", "seed=1"):
        write_run(kept / name, np.arange(20) > 3, seed=int(name[-1]))
    manifest.write(kept, manifest.new(TINY, {}, (0, 1), None, ()))
    write_run(work / "seed=0", np.arange(20) > 5)
    (work / "seed=1").mkdir()
    (work / "seed=1" / "half").write_text("")
    fetch(kept, work, "over/here")
    reached = [RunDir(work / name).result() for name in ("seed=0", "seed=1")]
    assert [each and each.test_accuracy for each in reached] == pytest.approx([14 / 20, 16 / 20])
    assert not (work / "seed=1" / "half").exists()
    found = manifest.read(work)
    assert found
    assert found.base().data == "over/here"
    fetch(tmp_path / "nothing", tmp_path / "new", "x")
    assert not (tmp_path / "new").exists()


def test_the_best_two_are_of_two_kinds_and_gain_something() -> None:
    reached = {
        "{}": 0.70,
        '{"weight_decay": 0.0005}': 0.74,
        '{"weight_decay": 5e-05}': 0.73,
        '{"dropout": 0.3}': 0.72,
        '{"l1": 1e-06}': 0.71,
        '{"cutout": 16}': 0.60,
    }
    assert best_two(reached) == {"weight_decay": 5e-4, "dropout": 0.3}
    assert best_two(reached | {"{}": 0.73}) == {"weight_decay": 5e-4}
    assert best_two(reached | {"{}": 0.80}) == {}


def test_what_is_best_together_is_read_from_a_finished_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = {"dropout": (0.1, 0.3), "l1": (1e-6,), "cutout": (16,)}
    base = override(TINY, cutout=8, val_fraction=0.1)
    monkeypatch.setattr(results, "STUDIES", {"study": Study(lambda _: base, 2)})
    asked = manifest.new(base, grid, (0, 1), None, (), one_at_a_time=True)
    reached = {"": 0.5, "dropout=0.1": 0.55, "dropout=0.3": 0.6, "l1=1e-06": 0.56, "cutout=16": 0.7}
    choose = results.together("study", width=0.5)
    with pytest.raises(SystemExit, match="study: is not finished"):
        choose(tmp_path)
    for name, accuracy in reached.items():
        for seed in (1, 0):  # that of cutout 16 is the last, so what is newest must not matter
            place = tmp_path / "study" / f"{name}{',' if name else ''}seed={seed}"
            moved = accuracy + (0.05 if seed else -0.05)
            write_run(place, np.arange(20) > 3, figures={"val_accuracy": moved}, seed=seed)
    manifest.write(tmp_path / "study", asked)
    found = choose(tmp_path)
    assert found == override(base, dropout=0.3, cutout=16, width=0.5)
    (tmp_path / "study" / "l1=1e-06,seed=1" / "result.json").unlink()
    with pytest.raises(SystemExit, match="l1=1e-06,seed=1 is not finished"):
        choose(tmp_path)


def test_the_studies_are_those_that_the_page_needs() -> None:
    for study in STUDIES.values():
        assert 1 <= study.seeds <= 5
    assert STUDIES["brief"].recipe(Path()).width == 1
    assert STUDIES["brief-quarter-decay"].recipe(Path()).weight_decay == 5e-4
    values = results.REGULARIZATION
    assert sum(map(len, values.values())) == 13


def test_norms_are_those_of_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(results, "PAGE", tmp_path / "docs" / "page.md")
    for name, norm in (("seed=0", 3.0), ("l1=1e-06,seed=0", 2.25)):
        run = RunDir(write_run(tmp_path / name, np.arange(20) > 3))
        run.write_json("audit.json", {"weight_norms": {"prep.conv.weight": norm}})
    assert norms(["../seed=0", "../l1=1e-06,seed=0"]).splitlines() == [
        "| layer | as it is | l1=1e-06 |",
        "|---|---:|---:|",
        "| prep.conv | 3.0 | 2.2 |",
    ]
    with pytest.raises(SystemExit, match="nowhere: has no norms"):
        norms(["../seed=0", "../nowhere"])


def test_the_page_of_results_is_up_to_date() -> None:
    page(check=True)


def test_a_page_gets_its_tables_norms_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document, images = tmp_path / "docs" / "page.md", tmp_path / "images"
    for folder in (document.parent, images):
        folder.mkdir()
    for name, value in (("PAGE", document), ("IMAGES", images), ("KEPT", tmp_path / "runs")):
        monkeypatch.setattr(results, name, value)
    for seed in (0, 1):
        run = RunDir(write_run(tmp_path / f"runs/study/seed={seed}", np.arange(20) > 3, seed=seed))
        run.write_json("audit.json", {"weight_norms": {"prep.conv.weight": 3.0}})
    document.write_text(
        f"<!-- onecycle compare: columns=n,gap ../runs/study -->\nold\n{END}\n\n"
        "<!-- weight norms: ../runs/study/seed=0 -->\nold\n<!-- end of weight norms -->\n\n"
        "![Curves](../benchmarks/images/results_curves_study.png)\n"
        "![Seeds](../benchmarks/images/results_seeds_study.png)\n"
    )
    with pytest.raises(SystemExit, match="out of date"):
        page(check=True)
    page(check=False)
    text = document.read_text(encoding="utf-8")
    assert "old" not in text
    assert compare(tmp_path / "runs/study", columns=["n", "gap"]).to_markdown() in text
    assert "| prep.conv | 3.0 |\n\n<!-- end" in text
    with (
        Image.open(images / "results_curves_study.png") as over_each_other,
        Image.open(images / "results_seeds_study.png") as side_by_side,
    ):
        assert over_each_other.width > side_by_side.width > 400
    page(check=True)
    contradicted = text.replace("| prep.conv | 3.0 |", "| prep.conv | 3.1 |")
    document.write_text(contradicted, encoding="utf-8")
    with pytest.raises(SystemExit, match="out of date"):
        page(check=True)
    page(check=False)
    (images / "results_seeds_study.png").unlink()
    with pytest.raises(SystemExit, match="out of date"):
        page(check=True)


# ------------------------------------------------------------------------- what a network sees


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Training:
    images = make_split(tmp_path_factory.mktemp("seen") / "photos")
    return prepare(override(TINY, data=str(images), image_size=32))[0]


def test_the_table_has_the_fields_of_the_briefs_network(untrained: Training) -> None:
    """Each 3 x 3 convolution adds 2 jumps and each pooling 1, which then doubles the jump."""
    found = what_it_sees.fields(untrained)
    rows = [row.split(" | ") for row in what_it_sees.table(untrained, found, found).splitlines()]
    assert [(row[0], row[1]) for row in rows[2:]] == [
        ("| prep", "3"),
        ("| layer1", str(3 + 2 + 1 + 2 * 4)),
        ("| layer2", str(14 + 4 + 2)),
        ("| layer3", str(20 + 8 + 4 + 2 * 16)),
    ]
    sides = [float(row[2]) for row in rows[2:]]
    assert sides == sorted(sides)
    assert sides[0] <= 3


def test_an_image_that_is_right_is_shown_for_each_class_that_has_one(untrained: Training) -> None:
    found = untrained.evaluate(untrained.test)
    right = found.predictions_N == found.labels_N
    firsts = [
        int(own[0])
        for label in range(len(untrained.test.classes))
        if len(own := np.flatnonzero(right & (found.labels_N == label)))
    ]
    assert what_it_sees.first_right(untrained).tolist() == firsts
    assert firsts


def test_the_pictures_of_what_a_network_sees_have_their_parts(untrained: Training) -> None:
    found = what_it_sees.fields(untrained)
    for figure, texts in (
        (what_it_sees.draw_fields(found, found), {"before", "after", *found}),
        (what_it_sees.draw_maps(untrained), {"What speaks for the class"}),
    ):
        drawn = {text.get_text() for axes in figure.axes for text in axes.texts}
        assert texts <= drawn | {text.get_text() for text in figure.texts}
        assert Image.open(io.BytesIO(results.compressed(figure))).mode == "P"
