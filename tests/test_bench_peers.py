"""The benchmark of other trainers, as far as it goes without them."""

import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import speed
from benchmarks.peers import __main__ as peers
from benchmarks.peers import (
    catalogue,
    engine,
    network,
    referee,
    search,
    table,
    torch_parts,
    transforms,
    work,
)
from benchmarks.peers.turns import Turns
from onecycle import models
from onecycle.data.batches import normalise
from onecycle.data.transforms import Crop, Cutout, Flip
from onecycle.engine.plan import Plan
from onecycle.errors import InputError

ROOT = Path(__file__).parents[1]
GREY = (128 / 255, 127 / 255, 64 / 255)
"""Channel means that are whole colours, so that filling with them is exact."""


def some_images(count: int = 6, mean: tuple[float, ...] = GREY) -> work.Images:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return work.Images(pixels, np.arange(count) % 10, mean, (0.2, 0.25, 0.3), 10)


def test_plain_network_is_onecycles_function() -> None:
    torch.manual_seed(0)
    plain = network.PlainResNet(width=0.125).double()
    ours = models.build("custom-resnet", classes=10, width=0.125).double()
    pairs = zip(plain.state_dict().values(), ours.state_dict().values(), strict=True)
    for theirs, own in pairs:
        own.copy_(theirs)
    batch_BCHW = torch.randn(8, 3, 32, 32, dtype=torch.float64)
    results = []
    for model in (plain, ours):
        logits_BK = model(batch_BCHW)
        logits_BK.square().sum().backward()
        results.append((logits_BK, [p.grad for p in model.parameters()]))
    torch.testing.assert_close(results[0], results[1])


def test_networks_have_the_briefs_parameters() -> None:
    with torch.device("meta"):
        plain = network.PlainResNet()
    assert sum(p.numel() for p in plain.parameters()) == 6_573_130


TRANSFORMS = (Crop(work.PADDING), Flip(work.FLIP), Cutout(work.CUTOUT))


def batched(images: work.Images, draws: list[torch.Tensor]) -> np.ndarray:
    done = normalise(
        torch.from_numpy(images.images_NHWC), torch.tensor(images.mean), torch.tensor(images.std)
    )
    for transform, drawn in zip(TRANSFORMS, draws, strict=True):
        done = transform.apply(done, drawn)
    return done.numpy()


def drawn(draws: list[torch.Tensor], index: int) -> transforms.Draw:
    (top, left), (flip,), corner = (drawn[index].tolist() for drawn in draws)
    return transforms.Draw(top, left, flip, *corner)


@pytest.mark.parametrize("name", sorted(transforms.TRANSFORMS))
@given(seed=st.integers(0, 2**20))
def test_transforms_of_one_image_are_the_batched_ones(name: str, seed: int) -> None:
    images = some_images()
    draws = [each.draw(6, (32, 32), torch.Generator().manual_seed(seed)) for each in TRANSFORMS]
    transform = transforms.TRANSFORMS[name](images)
    singly = np.stack([transform(index, drawn(draws, index)) for index in range(6)])
    np.testing.assert_allclose(singly, batched(images, draws), atol=2e-5)
    assert singly.dtype == np.float32


@pytest.mark.parametrize("name", sorted(transforms.TRANSFORMS))
def test_border_differs_by_the_rounding_of_the_mean_colour_alone(name: str) -> None:
    images = some_images(mean=(0.4914, 0.4822, 0.4465))
    corner = transforms.Draw(0, 0, False, 20, 20)
    image_HWC = transforms.TRANSFORMS[name](images)(0, corner)
    border = np.abs(image_HWC[: work.PADDING]).max(axis=(0, 1))
    assert (border <= 0.5 / 255 / np.array(images.std) + 1e-5).all()


def test_every_position_is_drawn() -> None:
    draws = [transforms.draw(32, 32) for _ in range(2000)]
    assert {each.top for each in draws} == set(range(9)) == {each.left for each in draws}
    assert {each.cut_top for each in draws} == set(range(25)) == {each.cut_left for each in draws}
    assert 0.4 < statistics.mean(each.mirrored for each in draws) < 0.6


def test_data_set_goes_round_and_gives_tensors(tmp_path: Path) -> None:
    work.save(tmp_path, some_images())
    images = work.load(tmp_path)
    dataset = transforms.AugmentedImages(images, "numpy", length=20)
    assert len(dataset) == 20
    image_CHW, label = dataset[13]
    assert image_CHW.shape == (3, 32, 32)
    assert label == images.labels_N[1]


def task(folder: Path, **changes: object) -> work.Work:
    """Small work on few images in `folder`."""
    work.save(folder, some_images(40))
    return replace(work.Work(str(folder), batch_size=8, width=0.0625, total_steps=100), **changes)


def test_rates_are_those_of_the_peers(tmp_path: Path) -> None:
    job = task(tmp_path)
    sgd, schedule = torch_parts.optimizer(torch.nn.Linear(1, 1), job, work.Setting())
    recipe = engine.recipe(job, work.Setting())
    theirs, ours = [], []
    for step in range(100):
        theirs.append(sgd.param_groups[0]["lr"])
        ours.append(Plan.of(recipe, 5).at(step).lr)
        sgd.step()
        schedule.step()
    np.testing.assert_allclose(ours, theirs, rtol=0.03)
    assert int(np.argmax(ours)) == int(np.argmax(theirs))


def test_recipe_takes_fields_from_the_command_line(tmp_path: Path) -> None:
    given_fields = peers.overrides(["momentum=0.8", "precision=fp32", "nesterov=false"])
    assert given_fields == {"momentum": 0.8, "precision": "fp32", "nesterov": False}
    recipe = engine.recipe(task(tmp_path, overrides=given_fields), work.Setting())
    assert (recipe.momentum, recipe.precision, recipe.nesterov) == (0.8, "fp32", False)
    with pytest.raises(InputError, match="momentum"):
        engine.recipe(task(tmp_path, overrides={"momentun": 0.8}), work.Setting())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--set momentun=0.8", "did you mean 'momentum'?"),
        ("--set momentum", "give a field and its value"),
        ("--data /nowhere", "/nowhere"),
        ("--contenders tensorflow", "tensorflow: unknown; there are textbook, bf16"),
        ("--turns 0", "give 1 or more"),
    ],
)
def test_mistakes_are_told_before_anything_starts(
    arguments: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["peers", *arguments.split()])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        peers.main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_turns_count_steps_and_leave_waiting_out() -> None:
    class SlowOrders(io.StringIO):
        def readline(self, *_: int) -> str:
            time.sleep(0.2)
            return super().readline()

    answers = io.StringIO()
    turns = Turns(SlowOrders("2\n3\n"), answers)

    def train() -> None:
        for step in range(100):
            turns.after_step(torch.tensor(float(step)), 10 + step)

    with pytest.raises(SystemExit):
        train()
    done = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert [each["losses"] for each in done] == [[0], [1, 2], [3, 4, 5]]
    assert [each["images"] for each in done] == [10, 11 + 12, 13 + 14 + 15]
    assert max(each["seconds"] for each in done) < 0.1


RESTLESS = """
import sys, threading, subprocess
from benchmarks.peers.turns import Turns
ticks = open(sys.argv[1], "ab", buffering=0)
subprocess.Popen(["sh", "-c", "while :; do printf . >> '%s'; done" % sys.argv[1]])
def tick():
    while True: ticks.write(b"."); threading.Event().wait(.001)
threading.Thread(target=tick, daemon=True).start()
turns = Turns(sys.stdin, sys.stdout)
for step in range(1000):
    turns.after_step(1.0 / (step + 1), 4)
"""


def wait_until_gone(pid: int) -> bool:
    """Whether no process of the group is left, within five seconds."""
    for _ in range(500):
        try:
            os.killpg(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_contestants_do_nothing_between_their_turns(tmp_path: Path) -> None:
    ticks = tmp_path / "ticks"
    with referee.Contestant([sys.executable, "-c", RESTLESS, str(ticks)]) as contestant:
        group = contestant._process.pid
        assert contestant.first.losses == [1.0]
        turn = contestant.turn(3)
        assert turn.losses == [1 / 2, 1 / 3, 1 / 4]
        assert turn.images == 12
        time.sleep(0.05)
        before = ticks.stat().st_size
        time.sleep(0.3)
        assert ticks.stat().st_size == before > 0
        assert contestant.turn(1).losses == [1 / 5]
    assert wait_until_gone(group)


def test_failing_contender_says_why() -> None:
    command = "-m benchmarks.peers.contender nobody {} {}".split()
    with pytest.raises(referee.ContenderError, match="No module named 'benchmarks.peers.nobody'"):
        referee.Contestant([sys.executable, *command])


def test_contender_that_ends_is_noticed() -> None:
    once = "from benchmarks.peers.turns import Turns; import sys\n"
    once += "Turns(sys.stdin, sys.stdout).after_step(1.0, 4); sys.exit('out of memory')"
    with (
        referee.Contestant([sys.executable, "-c", once]) as contestant,
        pytest.raises(referee.ContenderError, match="out of memory"),
    ):
        contestant.turn(1)


def test_hanging_contender_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(referee, "LONGEST_TURN", 0.2)
    with pytest.raises(referee.ContenderError, match="no answer"):
        referee.Contestant([sys.executable, "-c", "import time; time.sleep(60)"])


def test_rounds_give_each_a_turn_and_reverse_the_order() -> None:
    order = []

    class Fake:
        seconds_per_step = 0.2

        def __init__(self, name: str) -> None:
            self.name = name

        def turn(self, steps: int) -> referee.Turn:
            order.append(self.name)
            return referee.Turn(1.0, steps, [1.0])

    contestants = {name: Fake(name) for name in "abc"}
    done = list(referee.rounds(contestants, turns=2, steps=5))
    assert "".join(order) == "abccba"
    assert [list(each) for each in done] == [["a", "b", "c"]] * 2


def test_slow_contenders_take_fewer_steps() -> None:
    steps_taken: dict[str, list[int]] = {"slow": [], "fast": []}

    class Fake:
        def __init__(self, name: str, seconds_per_step: float) -> None:
            self.name, self.seconds_per_step = name, seconds_per_step

        def turn(self, steps: int) -> referee.Turn:
            steps_taken[self.name].append(steps)
            return referee.Turn(steps * self.seconds_per_step, steps, [1.0])

    contestants = {"slow": Fake("slow", 3.0), "fast": Fake("fast", 1.0)}
    list(referee.rounds(contestants, turns=3, steps=5))
    assert steps_taken == {"slow": [2, 2, 2], "fast": [5, 5, 5]}
    contestants = {"slow": Fake("slow", 30.0)}
    list(referee.rounds(contestants, turns=1, steps=5))
    assert steps_taken["slow"] == [2, 2, 2, 1]


def test_contender_that_fails_in_its_turn_is_named() -> None:
    class Failing:
        seconds_per_step = 1.0

        def turn(self, steps: int) -> referee.Turn:
            raise referee.ContenderError("out of memory")

    with pytest.raises(referee.ContenderError, match="lightning best: out of memory"):
        list(referee.rounds({"lightning best": Failing()}, turns=1, steps=1))


def row(
    name: str,
    speeds: list[float],
    losses: tuple[float, float] = (2.3, 1.9),
    steps: int = 2,
    batch_size: int = 512,
) -> table.Row:
    first = referee.Turn(9.0, batch_size, [losses[0]], {"torch": "2.13.0"})
    images = steps * batch_size
    turns = [referee.Turn(images / speed, images, [losses[1]] * steps) for speed in speeds]
    return table.Row(name, "best", work.Setting(), 12.3, first, turns)


def test_table_has_medians_and_ratios_within_rounds() -> None:
    rows = [row("textbook", [100, 80, 90]), row(catalogue.OURS, [250, 240, 300])]
    lines = table.markdown(rows).splitlines()
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells[3] == "90 (80 to 100)"
    assert cells[4] == "3.00 (2.50 to 3.33)"  # 250/100, 240/80, 300/90
    assert cells[5:] == ["12", "2.30 → 1.90"]
    assert lines[3].count("|") == lines[0].count("|") == lines[1].count("|")
    assert table.best_peer(rows) is rows[0]
    assert "3.00 (2.50 to 3.33) times" in peers.summary(rows)


def test_table_doubts_what_does_not_learn_or_had_other_work() -> None:
    sound, stuck = row("bf16", [100, 100]), row("textbook", [50, 50], losses=(2.3, 2.3))
    assert table.doubts([sound]) == []
    assert table.doubts([sound, stuck]) == ["textbook (best): its loss does not fall"]
    smaller = row("accelerate", [100, 100], batch_size=480)
    assert table.doubts([sound, smaller]) == ["not all steps had as many images: 480, 512"]
    slow = row("textbook", [20, 20], steps=1)  # fewer steps, each as large
    assert table.doubts([sound, slow]) == []


SPEEDS = {"bf16": 2.0, "fp32": 1.0}


class Pretended:
    """A contestant whose speed follows from its setting, and that fails if compiled."""

    seconds_per_step = 0.1

    def __init__(self, contender: catalogue.Contender, setting: work.Setting, job: work.Work):
        if setting.compiled:
            raise referee.ContenderError("no compiler")
        self.speed = SPEEDS[setting.precision] * (1 + setting.workers / 10)

    def turn(self, steps: int) -> referee.Turn:
        return referee.Turn(steps / self.speed, steps, [1.0])

    def __exit__(self, *_: object) -> None:
        self.speed = 0.0


def test_search_keeps_what_is_faster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(referee, "start", Pretended)
    tried = {"workers": (0, 2), "precision": ("fp32",), "compiled": (True,)}
    start = work.Setting(precision="bf16", workers=1)
    contender = catalogue.Contender("some", "textbook", work.Setting(), start, tried)
    told: list[str] = []
    found = search.search(contender, task(tmp_path), turns=2, steps=1, tell=told.append)
    assert found["best"] == catalogue.as_entry(replace(start, workers=2))
    assert [each.get("kept") for each in found["tried"]] == [False, True, False, None]
    assert found["tried"][0]["ratio"] == pytest.approx(1 / 1.1, abs=1e-3)
    assert found["tried"][1]["ratio"] == pytest.approx(1.2 / 1.1, abs=2e-3)
    assert len(told) == 4
    text = search.markdown({"some": found}, {"some": "Some"})
    assert "failed: no compiler" in text
    assert len({line.count("|") for line in text.splitlines()}) == 1


def test_found_settings_are_kept_and_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(catalogue, "found_path", lambda device: tmp_path / f"{device}.json")
    assert catalogue.best_settings("cpu")["bf16"] == catalogue.QUICK
    best = replace(catalogue.QUICK, workers=0)
    catalogue.write_found("cpu", "bf16", {"best": catalogue.as_entry(best)})
    assert catalogue.best_settings("cpu")["lightning"] == best  # the same parts
    catalogue.write_found("cpu", "textbook", {"best": catalogue.as_entry(work.Setting())})
    assert list(catalogue.read_found("cpu")) == ["textbook", "bf16"]
    assert catalogue.best_settings("cpu")["bf16"] == best
    assert catalogue.best_settings("cuda")["bf16"] == catalogue.QUICK


def test_catalogue_tries_fields_of_a_setting_and_programs_exist() -> None:
    known = {each.name for each in fields(work.Setting)}
    for contender in catalogue.CONTENDERS.values():
        assert set(contender.tried) <= known
        assert (ROOT / "benchmarks" / "peers" / f"{contender.module}.py").exists()


def test_requirements_agree_with_the_constraints() -> None:
    def pins(path: Path) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)==(\S+)$", path.read_text(), re.MULTILINE))

    ours = pins(ROOT / "constraints.txt")
    theirs = pins(ROOT / "benchmarks" / "peers" / "requirements.txt")
    assert {"lightning", "accelerate", "transformers", "keras", "jax"} <= set(theirs)
    assert not set(ours) & set(theirs)


@pytest.mark.faults
def test_textbook_and_engine_take_turns() -> None:
    """The command itself, in the processes that it starts, with real trainings."""
    command = "-m benchmarks.peers --contenders textbook,onecycle --set precision=fp32 --turns 2 "
    command += "--steps 4 --width 0.125 --batch-size 64 --device cpu"
    done = subprocess.run(
        [sys.executable, *command.split()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [each[2].strip() for each in rows[1:4]] == ["default", "best", ""]
    for each in rows[1:4]:
        first, last = (float(loss) for loss in each[7].split("→"))
        assert last < first < 3.5
    assert "onecycle with {'precision': 'fp32'}" in done.stdout


@pytest.mark.faults
def test_stopping_the_benchmark_leaves_no_contender() -> None:
    command = "-m benchmarks.peers --contenders onecycle --turns 100000 --width 0.0625 --device cpu"
    running = subprocess.Popen(
        [sys.executable, *command.split(), "--batch-size", "8"],
        cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with running:
        assert running.stderr
        assert "started" in running.stderr.readline()
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        group = int(children.read_text().split()[0])
        running.send_signal(signal.SIGTERM)
        running.communicate()
    assert running.returncode == 143
    assert wait_until_gone(group)


def test_speed_file_names_machine_versions_and_commit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sections = (
        speed.Section("Good", "platform", arguments=("--terse",)),
        speed.Section("Bad", "no_such_module", markdown=True),
    )
    monkeypatch.setattr(speed, "SECTIONS", sections)
    monkeypatch.setattr(sys, "argv", ["speed", "--output", str(tmp_path / "speed.md")])
    with pytest.raises(SystemExit, match="failed: Bad"):
        speed.main()
    text = (tmp_path / "speed.md").read_text()
    assert f"torch {torch.__version__}" in text
    assert re.search(r"^- commit: (unknown|[0-9a-f]{12}(, with changes)?)$", text, re.MULTILINE)
    assert "    python -m platform --terse\n\n```\n" in text
    assert "## Bad" in text


def test_benchmarks_that_make_bench_runs_exist() -> None:
    for section in speed.SECTIONS:
        path = ROOT.joinpath(*section.module.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()
