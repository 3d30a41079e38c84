"""Classifying files: `onecycle predict` against a plain PyTorch loop, and one image at a time.

    python -m benchmarks.prediction        10,000 small images and 2,000 photos: ten minutes

The images are made here. The network is the custom ResNet at the given width, trained for a moment:
speed does not depend on its weights. All contenders read the same files with Pillow, use the same
weights and write the same rows, each in processes of its own that take turns. The loop and the
single images use PyTorch's layers in fp32, as anybody would write it. Starting up (imports, loading
the network) is not counted.
"""

import argparse
import csv
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import onecycle
from onecycle import runtime
from onecycle.data.folder.streaming import decoded
from onecycle.inference import Classifier, formats, sources, stream
from onecycle.progress import SILENT

LOOP_BATCH = 256
SINGLE = 1000
"""Images classified one by one; more would take minutes, at the same speed."""

OURS, LOOP, ONE = "onecycle predict", "DataLoader, 2 workers", "one by one"
DECODING = "decoding alone"
PLAIN = {"ONECYCLE_KERNELS": "off"}
ENVIRONMENT = {
    OURS: {"OMP_WAIT_POLICY": "PASSIVE"},  # the command sets it
    LOOP: PLAIN,
    ONE: PLAIN,
    DECODING: {},
}
"""Of each contender's processes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--small", type=int, default=10_000, help="images of 32x32 pixels")
    parser.add_argument("--photos", type=int, default=2_000, help="photos of 640x480 pixels")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument(
        "--child", nargs=3, metavar=("WHO", "RUN", "IMAGES"), help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(*options.child)))
        return
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        run = train(root, options.width)
        make(root / "small", options.small, (32, 32))
        make(root / "photos", options.photos, (640, 480))
        print(f"date     {date.today()}, torch {torch.__version__}")
        print(f"machine  {runtime.cpu_model()}, {torch.get_num_threads()} threads")
        print(f"network  custom ResNet, width {options.width:g}, images of 32x32")
        for name in ("small", "photos"):
            compare(name, run, root / name, options.turns)


def make(root: Path, count: int, size: tuple[int, int]) -> None:
    """JPEG files of smooth noise, about as large as photos of that size."""
    root.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        coarse = rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        grain = rng.normal(0, 6, (size[1], size[0], 1))
        pixels = np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{index:05d}.jpg", quality=90)


def train(root: Path, width: float) -> Path:
    recipe = onecycle.override(
        onecycle.named("demo").recipe, width=width, head_scale=0.125, epochs=1, train_limit=512,
        test_limit=100, lr_max=0.05, lr_min=0.005,
    )  # fmt: skip
    return onecycle.train(recipe, runs=root / "runs", report=False).path


def compare(name: str, run: Path, images: Path, turns: int) -> None:
    size = sum(path.stat().st_size for path in images.iterdir()) / len(list(images.iterdir()))
    print(f"\n{name}: {len(list(images.iterdir())):,} files of {size / 1000:.1f} kB, {turns} turns")
    speeds: dict[str, list[float]] = {who: [] for who in ENVIRONMENT}
    for _ in range(turns):
        for who in ENVIRONMENT:
            words = [sys.executable, "-m", "benchmarks.prediction", "--child", who]
            environment = os.environ | ENVIRONMENT[who]
            found = subprocess.run(
                [*words, str(run), str(images)], env=environment, capture_output=True, check=True
            )
            answer = json.loads(found.stdout.splitlines()[-1])
            speeds[who].append(answer["images"] / answer["seconds"])
    for who, found in speeds.items():
        ratios = [ours / other for ours, other in zip(speeds[OURS], found, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        print(
            f"  {who:24} {statistics.median(found):8,.0f} images/s; predict is "
            f"{statistics.median(ratios):.2f} times as fast ({low:.2f} to {high:.2f})"
        )


def child(who: str, run: str, images: str) -> dict[str, Any]:
    """One contender's turn: how many images in how many seconds."""
    listed = sources.listed([images], SILENT)
    classifier = onecycle.load(run)
    work = {OURS: with_onecycle, LOOP: with_loader, ONE: one_by_one, DECODING: decoding}[who]
    with runtime.reused_memory():
        work(classifier, listed[:64])  # compiled kernels, memory, the files' folder
        started = time.perf_counter()
        count = work(classifier, listed[:SINGLE] if who == ONE else listed)
        return {"images": count, "seconds": time.perf_counter() - started}


def with_onecycle(classifier: Classifier, listed: list[sources.Source]) -> int:
    wanted = formats.Wanted(classifier.classes, 5, False, {})
    form, text, count = formats.Csv(wanted), io.StringIO(), 0
    for batch in stream.classified(classifier, listed, few=False):
        text.write("".join(map(form.row, formats.rows(batch, wanted))))
        count += len(batch.good)
    return count


def decoding(classifier: Classifier, listed: list[sources.Source]) -> int:
    """What `predict` does without the network."""
    paths = [source.path for source in listed]
    chunks = decoded(paths, classifier.preprocess.form, few=False)
    return sum(len(chunk.paths) for chunk in chunks if chunk)


class Files(Dataset[tuple[Tensor, int]]):
    """Images as the network takes them, one at a time."""

    def __init__(self, listed: list[sources.Source], classifier: Classifier) -> None:
        self.paths = [source.path for source in listed]
        self.side = classifier.preprocess.form.size[0]
        self.mean = torch.tensor(classifier.preprocess.mean)[:, None, None]
        self.std = torch.tensor(classifier.preprocess.std)[:, None, None]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.paths[index]) as image:
            image = image.convert("RGB")
            short = min(image.size)
            left, top = (image.width - short) // 2, (image.height - short) // 2
            box = (left, top, left + short, top + short)
            if image.size != (self.side, self.side):
                image = image.resize((self.side, self.side), Image.Resampling.BILINEAR, box=box)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)
        return (pixels - self.mean) / self.std, index


def with_loader(classifier: Classifier, listed: list[sources.Source]) -> int:
    loader = DataLoader(Files(listed, classifier), batch_size=LOOP_BATCH, num_workers=2)
    return written(classifier, listed, ((batch, index) for batch, index in loader))


def one_by_one(classifier: Classifier, listed: list[sources.Source]) -> int:
    files = Files(listed, classifier)
    singles = ((files[index][0][None], torch.tensor([index])) for index in range(len(files)))
    return written(classifier, listed, singles)


def written(
    classifier: Classifier, listed: list[sources.Source], batches: Iterator[tuple[Tensor, Tensor]]
) -> int:
    """Rows of the five most probable classes. The number of images."""
    network: nn.Module = classifier.network.float().eval()
    writer, count = csv.writer(io.StringIO()), 0
    with torch.inference_mode():
        for batch_BCHW, indices in batches:
            shares, labels = network(batch_BCHW).softmax(1).topk(5)
            for index, share_5, label_5 in zip(
                indices.tolist(), shares.tolist(), labels.tolist(), strict=True
            ):
                names = [classifier.classes[label] for label in label_5]
                writer.writerow([listed[index].name, *names, *share_5])
                count += 1
    return count


if __name__ == "__main__":
    main()
