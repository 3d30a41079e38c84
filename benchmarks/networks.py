"""Training steps of each built-in network on this machine, with and without the compiled kernels.

    python benchmarks/networks.py [--batch 128] [--steps 4] [--rounds 3]

Each measurement is a process of its own, since the kernels are chosen once. They take turns; the
best round of each is shown, in images per second of forward, backward and update at 32 x 32 pixels.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

import torch
from torch.nn import functional as F

from onecycle import kernels, models, runtime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(throughput(asked.one, asked.batch, asked.steps)))
        return
    print("| network | images/s | without kernels |\n|---|---:|---:|")
    for name in models.NETWORKS:
        best = {"on": 0.0, "off": 0.0}
        for _ in range(asked.rounds):
            for switch, before in best.items():
                best[switch] = max(before, in_a_process(name, switch, asked))
        print(f"| `{name}` | {best['on']:,.0f} | {best['off']:,.0f} |", flush=True)


def in_a_process(name: str, switch: str, asked: argparse.Namespace) -> float:
    """Images per second of a network with the kernels on or off."""
    command = [sys.executable, __file__, "--one", name]
    command += ["--batch", str(asked.batch), "--steps", str(asked.steps)]
    environment = os.environ | {kernels.SWITCH: switch}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def throughput(name: str, batch: int, steps: int) -> float:
    """Images per second of the fastest of `steps` steps, after one that is not counted."""
    stem: dict[str, Any] = {"stem": "small"} if "stem" in models.takes(name) else {}
    model = models.build(name, classes=10, **stem).train()
    model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    images_BCHW = torch.randn(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels_B = torch.randint(10, (batch,))
    precision = runtime.resolve_precision("auto", torch.device("cpu"))
    seconds = []
    with runtime.reused_memory():
        for _ in range(steps + 1):
            start = time.perf_counter()
            with runtime.autocast(torch.device("cpu"), precision):
                logits_BK = model(images_BCHW)
            F.cross_entropy(logits_BK.float(), labels_B).backward()
            optimizer.step()
            optimizer.zero_grad()
            seconds.append(time.perf_counter() - start)
    return batch / min(seconds[1:])


if __name__ == "__main__":
    main()
